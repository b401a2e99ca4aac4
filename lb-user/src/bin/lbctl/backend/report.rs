//! What the balancer sees of real servers beside what these see of themselves.

use std::{collections::BTreeMap, net::IpAddr};

use comfy_table::CellAlignment::Left;
use lb_user::{
    api::doctor::{Doctor, Finding},
    backend::{
        Setup, Vip,
        report::{Level, Line, Report},
    },
};
use serde::Serialize;

use crate::output::grid;

/// The script's account from one place, or why there is none.
#[derive(Clone, Debug)]
pub struct Account {
    /// The host or the file that it is from.
    pub source: String,
    /// Where the host is, if that is known.
    pub address: Option<IpAddr>,
    /// What the machine there says.
    pub found: Result<Report, String>,
}

/// All that is seen, sorted by real.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sight {
    /// The things seen.
    pub rows: Vec<Row>,
    /// How many of them are wrong.
    pub wrong: usize,
    /// How many of them could not be told, or may be intended.
    pub warnings: usize,
}

/// One thing that is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The VIP that it is about, if it is about one.
    pub vip: Option<String>,
    /// The real that it is about.
    pub real: Option<IpAddr>,
    /// What the machine calls itself, or where its account is from.
    pub machine: Option<String>,
    /// `balancer` or `real`.
    pub seen_from: &'static str,
    /// A subject of the script, or a code of the examination.
    pub subject: String,
    /// `ok`, `warning` or `wrong`.
    pub level: &'static str,
    /// What is seen.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
}

const BALANCER: &str = "balancer";
const REAL: &str = "real";

impl Sight {
    /// Puts together what both sides see. `doctor` is none where no balancer was asked.
    pub fn new(setup: &Setup, doctor: Option<&Doctor>, accounts: &[Account]) -> Self {
        let pool = Pool(&setup.vips);
        let mut rows: Vec<Row> = Vec::new();
        if let Some(doctor) = doctor {
            rows.extend(doctor.findings.iter().filter(|one| pool.knows(one)).map(of_balancer));
            rows.extend(pool.unfound(doctor));
        }
        accounts.iter().for_each(|account| rows.extend(pool.of_account(account)));
        rows.extend(pool.unasked(accounts));
        // What a side says of a real stays in its order.
        rows.sort_by_key(|row| (pool.place(row), row.machine.clone(), row.seen_from != BALANCER));
        let count = |level| rows.iter().filter(|row| row.level == level).count();
        let (wrong, warnings) = (count(word(Level::Wrong)), count(word(Level::Warning)));
        Self { rows, wrong, warnings }
    }

    /// A line for each thing that is not as it must be; what is, is counted.
    pub fn text(&self) -> String {
        let mut fine: BTreeMap<(Option<IpAddr>, &str), usize> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.level == word(Level::Ok)) {
            *fine.entry((row.real, row.seen_from)).or_default() += 1;
        }
        let mut cells = Vec::new();
        for row in &self.rows {
            let alike = (row.real, row.seen_from);
            match (row.level == word(Level::Ok), fine.remove(&alike)) {
                (true, None) => {}
                (true, Some(1)) => cells.push(row.cells()),
                (true, Some(count)) => cells.push(row.counted(count).cells()),
                (false, count) => {
                    cells.push(row.cells());
                    fine.extend(count.map(|count| (alike, count)));
                }
            }
        }
        let headings = ["VIP", "REAL", "SEEN FROM", "SUBJECT", "LEVEL", "TEXT"];
        format!("{}\n\n{}\n", grid(headings.map(|heading| (heading, Left)), cells), self.sum())
    }

    fn sum(&self) -> String {
        let fine = self.rows.len() - self.wrong - self.warnings;
        format!("{} wrong, {} warnings, {fine} ok", self.wrong, self.warnings)
    }
}

impl Row {
    fn new(seen_from: &'static str, subject: &str, level: Level, text: impl Into<String>) -> Self {
        let (vip, real, machine, fix) = (None, None, None, None);
        let (subject, level, text) = (subject.to_owned(), word(level), text.into());
        Self { vip, real, machine, seen_from, subject, level, text, fix }
    }

    /// One row for many that are as they must be.
    fn counted(&self, count: usize) -> Self {
        let text = format!("{count} things are as they must be");
        Self { vip: None, subject: "all".to_owned(), text, ..self.clone() }
    }

    fn cells(&self) -> [String; 6] {
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
        let text = match &self.fix {
            Some(fix) => format!("{}; fix: {fix}", self.text),
            None => self.text.clone(),
        };
        let real = self.real.map(|real| real.to_string()).or_else(|| self.machine.clone());
        [
            or_dash(self.vip.clone()),
            or_dash(real),
            self.seen_from.to_owned(),
            self.subject.clone(),
            self.level.to_owned(),
            text,
        ]
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Wrong => "wrong",
    }
}

fn of_balancer(finding: &Finding) -> Row {
    let Finding { code, note, vip, real, interface, message, fix } = finding;
    let level = if *note { Level::Warning } else { Level::Wrong };
    Row {
        vip: vip.clone(),
        real: *real,
        machine: interface.clone().filter(|_| real.is_none()),
        fix: Some(fix.clone()),
        ..Row::new(BALANCER, code, level, message.clone())
    }
}

/// The VIPs that were asked about.
struct Pool<'a>(&'a [Vip]);

impl Pool<'_> {
    /// All reals, in the order of the VIPs.
    fn reals(&self) -> impl Iterator<Item = (&Vip, IpAddr)> {
        self.0.iter().flat_map(|vip| vip.reals.iter().map(move |real| (vip, *real)))
    }

    /// Whether a finding is about the VIPs, or about the balancer itself.
    fn knows(&self, finding: &Finding) -> bool {
        finding.vip.as_ref().is_none_or(|name| self.0.iter().any(|vip| is_called(vip, name)))
    }

    /// The balancer's rows stand first, those of strangers last.
    fn place(&self, row: &Row) -> usize {
        let of_real = |real| self.reals().position(|(_, known)| known == real);
        match row.real.map(of_real) {
            Some(Some(position)) => position + 1,
            None if row.seen_from == BALANCER => 0,
            _ => usize::MAX,
        }
    }

    /// The reals of which the balancer has found nothing.
    fn unfound(&self, doctor: &Doctor) -> impl Iterator<Item = Row> {
        let clean = |vip: &Vip, real: IpAddr| {
            !doctor.findings.iter().any(|one| {
                one.real == Some(real) && one.vip.as_ref().is_some_and(|name| is_called(vip, name))
            })
        };
        let reals = self.reals().filter(move |(vip, real)| clean(vip, *real));
        reals.map(|(vip, real)| Row {
            vip: vip.name.clone(),
            real: Some(real),
            ..Row::new(BALANCER, "doctor", Level::Ok, "nothing is found")
        })
    }

    /// What a machine says of itself.
    fn of_account(&self, account: &Account) -> Vec<Row> {
        let report = match &account.found {
            Ok(report) => report,
            Err(why) => return vec![self.failed(account, why)],
        };
        let of_line = |line: &Line| {
            let vip = self.0.iter().find(|vip| mentions(&line.text, vip.address));
            let text = line.text.clone();
            Row {
                vip: vip.map(name),
                real: self.real_of(report, account, vip),
                machine: Some(report.machine.clone()),
                fix: Some(line.fixes.join("; or: ")).filter(|fixes| !fixes.is_empty()),
                ..Row::new(REAL, &line.subject, line.level, text)
            }
        };
        let doubts = self.doubts(report, account).into_iter();
        doubts.chain(report.lines.iter().map(of_line)).collect()
    }

    fn failed(&self, account: &Account, why: &str) -> Row {
        let known = |real: &IpAddr| self.reals().any(|(_, known)| known == *real);
        Row {
            real: account.address.filter(known),
            machine: Some(account.source.clone()),
            ..Row::new(REAL, "check", Level::Wrong, why)
        }
    }

    /// Whether the account is one of the machine, and of the VIPs, that were asked about.
    fn doubts(&self, report: &Report, account: &Account) -> Vec<Row> {
        let real = self.real_of(report, account, None);
        let mut doubts = Vec::new();
        let mut doubt = |vip: Option<&Vip>, text: String, fix: &str| {
            doubts.push(Row {
                vip: vip.map(name),
                real,
                machine: Some(report.machine.clone()),
                fix: Some(fix.to_owned()),
                ..Row::new(REAL, "check", Level::Warning, text)
            });
        };
        if real.is_none() && self.reals().next().is_some() {
            let text = format!("{} ({}) is in no pool", report.machine, account.source);
            doubt(None, text, "name its VIP, or add it with `lbctl real add`");
        }
        if !report.is_whole() {
            let text = format!("the end of its account is missing in {}", account.source);
            doubt(None, text, "take the whole output, from `machine` to `result`");
        }
        for vip in self.0.iter().filter(|vip| self.is_due(vip, report)) {
            if !report.lines.iter().any(|line| mentions(&line.text, vip.address)) {
                let text = format!("its account says nothing of {}", vip.address);
                doubt(Some(vip), text, "use the script that `lbctl backend script` prints now");
            }
        }
        doubts
    }

    /// Whether a machine must have the VIP: it is in the pool, or there is no pool to tell.
    fn is_due(&self, vip: &Vip, report: &Report) -> bool {
        vip.reals.is_empty() || vip.reals.iter().any(|real| report.addresses.contains(real))
    }

    /// Which real of a VIP, or of any of them, the machine is.
    fn real_of(&self, report: &Report, account: &Account, vip: Option<&Vip>) -> Option<IpAddr> {
        let is_machine = |real: &IpAddr| {
            report.addresses.contains(real) || account.address.as_ref() == Some(real)
        };
        let of_vip = vip.into_iter().flat_map(|vip| &vip.reals).copied().find(is_machine);
        of_vip.or_else(|| self.reals().map(|(_, real)| real).find(is_machine))
    }

    /// The reals that nobody has an account of.
    fn unasked(&self, accounts: &[Account]) -> Vec<Row> {
        let is_of = |account: &Account, real: IpAddr| {
            let addresses = account.found.as_ref().map(|report| &report.addresses[..]);
            account.address == Some(real) || addresses.unwrap_or_default().contains(&real)
        };
        let unasked =
            self.reals().filter(|(_, real)| !accounts.iter().any(|one| is_of(one, *real)));
        let rows = unasked.map(|(vip, real)| Row {
            vip: Some(name(vip)),
            real: Some(real),
            fix: Some(format!("--ssh {real}, --all-reals or --pasted FILE")),
            ..Row::new(REAL, "check", Level::Warning, "was not asked")
        });
        rows.collect()
    }
}

fn name(vip: &Vip) -> String {
    vip.name.clone().unwrap_or_else(|| vip.address.to_string())
}

/// Whether the balancer calls it so: VIPs of one address are one for a real.
fn is_called(vip: &Vip, name: &str) -> bool {
    vip.name.iter().flat_map(|names| names.split(',')).any(|known| known == name)
}

/// Whether an address stands in the text, with a port or without.
fn mentions(text: &str, address: IpAddr) -> bool {
    let bare = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_hexdigit() && c != ':');
        let word = word.split(['/', ']', '%']).next().unwrap_or_default();
        let parsed = word.parse::<IpAddr>().ok();
        parsed.or_else(|| word.rsplit_once(':')?.0.parse().ok()) == Some(address)
    };
    text.split([' ', ',', ';', '(', '`', '[', '=']).any(bare)
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
