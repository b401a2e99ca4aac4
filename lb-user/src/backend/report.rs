//! What the script's `check` and `status` print, read back: also after somebody copied it from a
//! terminal, with prompts, quotation marks and lines of something else around it.

use std::net::IpAddr;

use anstream::adapter::strip_str;

words! {
    /// How it is with one thing on a real server.
    Level, "level" {
        /// As it must be.
        Ok = "ok",
        /// It could not be told, or may be intended.
        Warning = "warning",
        /// Clients are not served, or the balancer is robbed of the VIP.
        Wrong = "wrong",
    }
}

/// One machine's account of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the machine calls itself.
    pub machine: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// What was looked at, in the order of the script.
    pub lines: Vec<Line>,
    /// The sum; none where the end of the output is missing.
    pub result: Option<Sum>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How it is.
    pub level: Level,
    /// `sysctl`, `address`, `service`, …
    pub subject: String,
    /// What was seen.
    pub text: String,
    /// What to do about it, if the script knows.
    pub fixes: Vec<String>,
}

/// The last line of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The worst of the levels.
    pub level: Level,
    /// How often there was each of them, for people.
    pub text: String,
}

/// A text without any account in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is nothing of the script's in it.
    #[error("there is no output of the script in it: paste what `sh lb-backend.sh check` prints")]
    Foreign,
    /// The beginning is missing, which tells the machine.
    #[error(
        "the line `machine ...` is missing: paste the whole output of `sh lb-backend.sh check`"
    )]
    Headless,
}

/// Reads all accounts in a text. A machine that is in it twice counts by the last one.
pub fn read(text: &str) -> Result<Vec<Report>, Unreadable> {
    let mut reports: Vec<Report> = Vec::new();
    let mut headless = false;
    let text = strip_str(text).to_string();
    for said in text.split(['\n', '\r']).filter_map(Said::of) {
        let open = reports.last_mut().filter(|report| report.result.is_none());
        match (said, open) {
            (Said::Machine(report), _) => {
                reports.retain(|former| !former.is_same_machine(&report));
                reports.push(report);
            }
            (_, None) => headless |= reports.is_empty(),
            (Said::Line(line), Some(report)) => report.lines.push(line),
            (Said::Fix(fix), Some(report)) => {
                report.lines.last_mut().into_iter().for_each(|line| line.fixes.push(fix.clone()));
            }
            (Said::Result(sum), Some(report)) => report.result = Some(sum),
        }
    }
    match (reports.is_empty(), headless) {
        (false, _) => Ok(reports),
        (true, true) => Err(Unreadable::Headless),
        (true, false) => Err(Unreadable::Foreign),
    }
}

impl Report {
    fn is_same_machine(&self, other: &Self) -> bool {
        (&self.machine, &self.addresses) == (&other.machine, &other.addresses)
    }

    /// How many lines have this level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.lines.iter().filter(|line| line.level == level).count()
    }

    /// Whether nothing was lost on the way here: the sum is there and is the sum of the lines.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.result.as_ref().is_some_and(|sum| {
            sum.text.split(", ").all(|part| match part.split_once(' ') {
                Some((count, level)) => match (count.parse::<usize>(), level.parse()) {
                    (Ok(count), Ok(level)) => self.count(level) == count,
                    _ => true,
                },
                None => true,
            })
        })
    }
}

/// What one line of the text says.
enum Said {
    Machine(Report),
    Line(Line),
    Fix(String),
    Result(Sum),
}

impl Said {
    fn of(line: &str) -> Option<Self> {
        let line = bare(line);
        let mut words = line.split_whitespace();
        let (first, second) = (words.next()?, words.next()?);
        let rest = words.collect::<Vec<_>>().join(" ");
        match first {
            "machine" => machine(second, &rest).map(Self::Machine),
            "fix" => Some(Self::Fix(format!("{second} {rest}").trim_end().to_owned())),
            "result" => Some(Self::Result(Sum { level: second.parse().ok()?, text: rest })),
            level => Some(Self::Line(Line {
                level: level.parse().ok()?,
                subject: Some(second).filter(|word| is_subject(word))?.to_owned(),
                text: rest,
                fixes: Vec::new(),
            })),
        }
    }
}

/// A machine has a name and nothing else but addresses; else the line is prose.
fn machine(name: &str, addresses: &str) -> Option<Report> {
    let addresses = addresses.split(' ').filter(|word| !word.is_empty()).map(address);
    Some(Report {
        machine: name.to_owned(),
        addresses: addresses.collect::<Option<_>>()?,
        lines: Vec::new(),
        result: None,
    })
}

/// An address, whatever prefix length or zone goes with it.
fn address(word: &str) -> Option<IpAddr> {
    word.split(['/', '%']).next()?.parse().ok()
}

fn is_subject(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The line without what terminals, mails and `lbctl backend push` put before it.
fn bare(line: &str) -> &str {
    let line = line.trim_start_matches(|c: char| c == '>' || c.is_whitespace());
    match line.split_once("| ") {
        Some((host, rest)) if !host.contains(char::is_whitespace) => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
machine   real1  10.0.0.11 2001:db8:a::11
ok        sysctl    net.ipv4.conf.all.arp_ignore is 1
wrong     address   192.0.2.10 is not on lo
fix       run `sh lb-backend.sh apply`
fix       or add it by hand
warning   route     there is no default route for IPv6
result    wrong     1 wrong, 1 warning, 1 ok
";

    fn expected() -> Report {
        let line = |level, subject: &str, text: &str, fixes: &[&str]| Line {
            level,
            subject: subject.into(),
            text: text.into(),
            fixes: fixes.iter().map(|fix| (*fix).to_owned()).collect(),
        };
        let fixes = ["run `sh lb-backend.sh apply`", "or add it by hand"];
        Report {
            machine: "real1".into(),
            addresses: vec!["10.0.0.11".parse().unwrap(), "2001:db8:a::11".parse().unwrap()],
            lines: vec![
                line(Level::Ok, "sysctl", "net.ipv4.conf.all.arp_ignore is 1", &[]),
                line(Level::Wrong, "address", "192.0.2.10 is not on lo", &fixes),
                line(Level::Warning, "route", "there is no default route for IPv6", &[]),
            ],
            result: Some(Sum { level: Level::Wrong, text: "1 wrong, 1 warning, 1 ok".into() }),
        }
    }

    #[test]
    fn an_account_is_read_with_its_fixes_and_its_sum() {
        assert_eq!(read(OUTPUT), Ok(vec![expected()]));
        assert!(expected().is_whole());
    }

    #[test]
    fn what_copy_and_paste_does_to_it_does_not_matter() {
        let collapsed = OUTPUT.split(' ').filter(|word| !word.is_empty());
        let collapsed = collapsed.collect::<Vec<_>>().join(" ");
        let prompt = "root@real1:~# sh lb-backend.sh check";
        for pasted in [
            collapsed,
            OUTPUT.replace('\n', "\r\n"),
            OUTPUT.replace("  ", "\u{a0} \t"),
            OUTPUT.lines().map(|line| format!("> {line}\n")).collect(),
            OUTPUT.lines().map(|line| format!("root@[2001:db8::1]:22| {line}\n")).collect(),
            format!("{prompt}\n\u{1b}[?2004l\r{OUTPUT}\u{1b}[?2004hroot@real1:~# \nlogout\n"),
            format!("\u{1b}[?2004l\u{1b}[0m{OUTPUT}"),
            format!("\n\nHello,\nok here it is. result below.\n{OUTPUT}\nfix your mail, ok\n"),
        ] {
            assert_eq!(read(&pasted), Ok(vec![expected()]), "{pasted:?}");
        }
    }

    #[test]
    fn several_machines_are_told_apart_and_one_that_is_in_twice_counts_by_the_last() {
        let second = OUTPUT.replace("10.0.0.11", "10.0.0.12");
        let later = "machine real1 10.0.0.11 2001:db8:a::11\nresult ok 0 wrong, 0 warning, 0 ok\n";
        let reports = read(&format!("{OUTPUT}{second}{later}")).unwrap();
        let addresses: Vec<_> =
            reports.iter().map(|report| report.addresses[0].to_string()).collect();
        assert_eq!(addresses, ["10.0.0.12", "10.0.0.11"]);
        assert!(reports[1].lines.is_empty() && reports[1].is_whole());
    }

    #[test]
    fn an_account_that_lost_lines_is_not_whole() {
        let lines: Vec<_> = OUTPUT.lines().collect();
        for lost in [1, 2, 5, 6] {
            let mut left = lines.clone();
            left.remove(lost);
            let report = read(&left.join("\n")).unwrap().remove(0);
            assert!(!report.is_whole(), "{left:?}");
        }
    }

    #[test]
    fn a_text_without_an_account_is_refused_and_so_is_one_without_a_machine() {
        for text in ["", "\r\n", "sh: lb-backend.sh: not found", "machine learning is fun", "ok"] {
            assert_eq!(read(text), Err(Unreadable::Foreign), "{text}");
        }
        let headless = OUTPUT.split_once('\n').unwrap().1;
        assert_eq!(read(headless), Err(Unreadable::Headless));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[ -~\u{1b}\r\n\u{a0}]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn any_beginning_of_an_account_is_read_or_refused(end in 0..OUTPUT.len()) {
            let _ = read(&OUTPUT[..end]);
        }
    }
}
