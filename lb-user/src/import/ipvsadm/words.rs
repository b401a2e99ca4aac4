//! Lines as words with their places, and words as a rule.

use super::super::{Unreadable, source::Source};

/// A word and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'t> {
    pub(super) text: &'t str,
    /// Its line and column, from 1.
    pub(super) place: (usize, usize),
}

/// What a line asks for.
#[derive(Clone, Debug)]
pub(super) struct Rule<'t> {
    pub(super) line: usize,
    /// As it stands there.
    pub(super) text: &'t str,
    /// Its long name, without the hyphens.
    pub(super) command: &'static str,
    pub(super) options: Vec<Given<'t>>,
    /// What belongs to no option, such as the timeouts of `--set`.
    pub(super) rest: Vec<Word<'t>>,
}

/// An option, by its long name, and its value if it has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'t> {
    pub(super) name: &'static str,
    pub(super) value: Option<Word<'t>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// It says what is done.
    Command,
    Nothing,
    Value,
    /// A number, if one follows.
    Number,
}

/// ipvsadm(8), with the names of its long options.
const OPTIONS: &[(Option<char>, &str, Takes)] = &[
    (Some('A'), "add-service", Takes::Command),
    (Some('E'), "edit-service", Takes::Command),
    (Some('D'), "delete-service", Takes::Command),
    (Some('a'), "add-server", Takes::Command),
    (Some('e'), "edit-server", Takes::Command),
    (Some('d'), "delete-server", Takes::Command),
    (Some('C'), "clear", Takes::Command),
    (Some('R'), "restore", Takes::Command),
    (Some('S'), "save", Takes::Command),
    (Some('L'), "list", Takes::Command),
    (Some('l'), "list", Takes::Command),
    (Some('Z'), "zero", Takes::Command),
    (None, "set", Takes::Command),
    (None, "start-daemon", Takes::Command),
    (None, "stop-daemon", Takes::Command),
    (Some('h'), "help", Takes::Command),
    (Some('v'), "version", Takes::Command),
    (Some('t'), "tcp-service", Takes::Value),
    (Some('u'), "udp-service", Takes::Value),
    (None, "sctp-service", Takes::Value),
    (Some('f'), "fwmark-service", Takes::Value),
    (Some('6'), "ipv6", Takes::Nothing),
    (Some('s'), "scheduler", Takes::Value),
    (Some('b'), "sched-flags", Takes::Value),
    (None, "pe", Takes::Value),
    (Some('p'), "persistent", Takes::Number),
    (Some('M'), "netmask", Takes::Value),
    (Some('O'), "ops", Takes::Nothing),
    (Some('o'), "ops", Takes::Nothing),
    (Some('r'), "real-server", Takes::Value),
    (Some('g'), "gatewaying", Takes::Nothing),
    (Some('i'), "ipip", Takes::Nothing),
    (Some('m'), "masquerading", Takes::Nothing),
    (Some('w'), "weight", Takes::Value),
    (Some('x'), "u-threshold", Takes::Value),
    (Some('y'), "l-threshold", Takes::Value),
    (None, "tun-type", Takes::Value),
    (None, "tun-port", Takes::Value),
    (None, "tun-info", Takes::Nothing),
    (None, "tun-nocsum", Takes::Nothing),
    (None, "tun-csum", Takes::Nothing),
    (None, "tun-remcsum", Takes::Nothing),
    (None, "mcast-interface", Takes::Value),
    (None, "mcast-group", Takes::Value),
    (None, "mcast-port", Takes::Value),
    (None, "mcast-ttl", Takes::Value),
    (None, "sync-maxlen", Takes::Value),
    (None, "syncid", Takes::Value),
    (Some('c'), "connection", Takes::Nothing),
    (Some('n'), "numeric", Takes::Nothing),
    (None, "exact", Takes::Nothing),
    (None, "timeout", Takes::Nothing),
    (None, "daemon", Takes::Nothing),
    (None, "stats", Takes::Nothing),
    (None, "rate", Takes::Nothing),
    (None, "thresholds", Takes::Nothing),
    (None, "persistent-conn", Takes::Nothing),
    (None, "sort", Takes::Nothing),
    (None, "nosort", Takes::Nothing),
];

/// The words of a line up to its comment. Quotes around a whole word are a shell's and not part of it.
pub(super) fn words(text: &str, line: usize) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let (mut rest, mut column) = (text, 1);
    loop {
        let word = rest.trim_start();
        column += rest[..rest.len() - word.len()].chars().count();
        if word.is_empty() || word.starts_with('#') {
            return words;
        }
        let end = word.find(char::is_whitespace).unwrap_or(word.len());
        words.push(Word { text: bare(&word[..end]), place: (line, column) });
        column += word[..end].chars().count();
        rest = &word[end..];
    }
}

fn bare(word: &str) -> &str {
    let within = |quote| word.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(word)
}

/// Reads the words behind `ipvsadm`, or those of a line of `ipvsadm-save`.
pub(super) fn rule<'t>(
    words: &[Word<'t>],
    text: &'t str,
    source: Source<'_>,
) -> Result<Option<Rule<'t>>, Unreadable> {
    let mut reader = Reader { words: words.iter().copied().peekable(), source };
    let Some(first) = words.first() else { return Ok(None) };
    let mut rule =
        Rule { line: first.place.0, text, command: "", options: Vec::new(), rest: Vec::new() };
    while let Some(word) = reader.words.next() {
        reader.word(word, &mut rule)?;
    }
    if rule.command.is_empty() {
        let reason = "no command such as -A or -a; write rules as `ipvsadm-save -n` prints them";
        return Err(source.unreadable(first.place, reason));
    }
    Ok(Some(rule))
}

struct Reader<'w, 't, 'a> {
    words: std::iter::Peekable<std::iter::Copied<std::slice::Iter<'w, Word<'t>>>>,
    source: Source<'a>,
}

impl<'t> Reader<'_, 't, '_> {
    fn word(&mut self, word: Word<'t>, rule: &mut Rule<'t>) -> Result<(), Unreadable> {
        match word.text.strip_prefix("--") {
            Some(long) => self.long(word, long, rule),
            None if word.text.len() > 1 && word.text.starts_with('-') => {
                self.shorts(word, &word.text[1..], rule)
            }
            None => {
                rule.rest.push(word);
                Ok(())
            }
        }
    }

    fn long(
        &mut self,
        word: Word<'t>,
        text: &'t str,
        rule: &mut Rule<'t>,
    ) -> Result<(), Unreadable> {
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let found = OPTIONS.iter().find(|(_, long, _)| *long == name);
        let (_, name, takes) = found.ok_or_else(|| self.unknown(word))?;
        let attached = attached.map(|text| Word { text, ..word });
        self.given(word, name, *takes, attached, rule)
    }

    /// Letters can stand together; what is behind one that takes a value is the value.
    fn shorts(
        &mut self,
        word: Word<'t>,
        letters: &'t str,
        rule: &mut Rule<'t>,
    ) -> Result<(), Unreadable> {
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let found = OPTIONS.iter().find(|(short, _, _)| *short == Some(letter));
            let (_, name, takes) = found.ok_or_else(|| self.unknown(word))?;
            let rest = letters.as_str();
            let digits = rest.starts_with(|c: char| c.is_ascii_digit());
            let whole = *takes == Takes::Value || *takes == Takes::Number && digits;
            let attached = (whole && !rest.is_empty())
                .then(|| Word { text: rest.strip_prefix('=').unwrap_or(rest), ..word });
            self.given(word, name, *takes, attached, rule)?;
            if attached.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn given(
        &mut self,
        word: Word<'t>,
        name: &'static str,
        takes: Takes,
        attached: Option<Word<'t>>,
        rule: &mut Rule<'t>,
    ) -> Result<(), Unreadable> {
        let value = match takes {
            Takes::Command => {
                if !rule.command.is_empty() {
                    let reason =
                        format!("a second command beside --{}; one line has one", rule.command);
                    return Err(self.source.unreadable(word.place, reason));
                }
                rule.command = name;
                return Ok(());
            }
            Takes::Nothing => None,
            Takes::Number => attached.or_else(|| {
                let digits = |word: &Word<'_>| word.text.bytes().all(|byte| byte.is_ascii_digit());
                self.words.next_if(digits)
            }),
            Takes::Value => Some(attached.or_else(|| self.words.next()).ok_or_else(|| {
                self.source.unreadable(word.place, format!("--{name} has no value behind it"))
            })?),
        };
        rule.options.push(Given { name, value });
        Ok(())
    }

    fn unknown(&self, word: Word<'_>) -> Unreadable {
        let reason = format!("{:?} is no option of ipvsadm", word.text);
        self.source.unreadable(word.place, reason)
    }
}

impl<'t> Rule<'t> {
    /// The value of the last of this name.
    pub(super) fn value(&self, name: &str) -> Option<Word<'t>> {
        self.options.iter().rev().find(|given| given.name == name)?.value
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|given| given.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<Rule<'_>, String> {
        let words = words(text, 7);
        let rule = rule(&words, text, Source(Path::new("f")));
        rule.map(Option::unwrap).map_err(|error| error.to_string())
    }

    fn shown(rule: &Rule<'_>) -> String {
        let option = |given: &Given<'_>| match given.value {
            Some(value) => format!("{}={}", given.name, value.text),
            None => given.name.to_owned(),
        };
        let options: Vec<_> = rule.options.iter().map(option).collect();
        format!("{} {}", rule.command, options.join(" "))
    }

    #[test]
    fn every_spelling_of_a_rule_is_the_same_rule() {
        let expected = "add-service tcp-service=192.0.2.10:80 scheduler=wrr persistent=300";
        for text in [
            "-A -t 192.0.2.10:80 -s wrr -p 300",
            "  -A -t192.0.2.10:80 -swrr -p300  # web",
            "-At 192.0.2.10:80 -s=wrr -p 300",
            "--add-service --tcp-service=192.0.2.10:80 --scheduler wrr --persistent 300",
            "-A -t \"192.0.2.10:80\" -s 'wrr' --persistent=300",
        ] {
            assert_eq!(read(text).map(|rule| shown(&rule)).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn persistence_needs_no_number() {
        let rule = read("-A -t 192.0.2.10:80 -p -s rr").unwrap();
        assert_eq!(shown(&rule), "add-service tcp-service=192.0.2.10:80 persistent scheduler=rr");
    }

    #[test]
    fn what_is_no_rule_is_told_with_its_place() {
        for (text, expected) in [
            ("-A -t", "f:7:4: --tcp-service has no value behind it"),
            ("-A --frobnicate 3", "f:7:4: \"--frobnicate\" is no option of ipvsadm"),
            ("-A -a", "f:7:4: a second command beside --add-service; one line has one"),
            (
                "é -t 1",
                "f:7:1: no command such as -A or -a; write rules as `ipvsadm-save -n` prints them",
            ),
        ] {
            assert_eq!(read(text).map(|rule| shown(&rule)), Err(expected.to_owned()), "{text}");
        }
    }
}
