//! `MISC_CHECK` and `UDP_CHECK`.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Checker, words};
use crate::model::{CheckKind, ExecCheck};

/// What the program of a check finds the real's address in.
const REAL: &str = "LB_REAL";

/// A program with its arguments; those that are the real's address become a variable, since the check is
/// the same for all reals.
pub(super) fn exec(checker: &mut Checker<'_>) -> Vec<CheckKind> {
    let mut path = None;
    for it in std::mem::take(&mut checker.own) {
        match it.keyword() {
            "misc_path" if it.word(1).is_some() => path = Some(it),
            _ => checker.notes.push(words::note(words::CHECKER, it)),
        }
    }
    let Some(path) = path else {
        return checker.leave("it has no misc_path; write the program that checks");
    };
    // Of a string without quotes only the first word is the program; the arguments are within quotes.
    let mut command: Vec<String> = arguments(path.word(1).unwrap_or_default());
    if command.is_empty() {
        return checker.leave("its misc_path is empty; write the program that checks");
    }
    command.extend(path.values().skip(1).map(str::to_owned));
    let real = |word: &String| word.parse::<IpAddr>() == Ok(checker.target.address);
    if command.iter().any(real) {
        let words = command.iter().map(|word| match real(word) {
            true => format!("\"${REAL}\""),
            false => shell_quoted(word),
        });
        let line = format!("exec {}", words.collect::<Vec<_>>().join(" "));
        command = vec!["/bin/sh".to_owned(), "-c".to_owned(), line];
        checker.notes.push(path.note(format!("here with a difference: one check for all reals finds the address of each in ${REAL}; see to it that the program is on this machine")));
    }
    vec![CheckKind::Exec(ExecCheck { command, environment: BTreeMap::new() })]
}

/// The words of a command, apart by spaces that are not quoted.
fn arguments(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A datagram that must be answered.
pub(super) fn udp(checker: &mut Checker<'_>) -> Vec<CheckKind> {
    let (mut send, mut expect) = (Vec::new(), None);
    for it in std::mem::take(&mut checker.own) {
        let text: Vec<&str> = it.values().collect();
        match it.keyword() {
            "payload" => send = bytes(&text).0,
            "require_reply" => {
                let (bytes, whole) = bytes(&text);
                if !whole {
                    checker.notes.push(it.note("here with a difference: an answer is looked at up to the first digit that may be any"));
                }
                expect = Some(bytes);
            }
            _ => checker.notes.push(words::note(words::CHECKER, it)),
        }
    }
    match expect {
        Some(expect) if !send.is_empty() => {
            vec![CheckKind::Udp { port: checker.port, send, expect }]
        }
        _ => checker.leave("a udp check needs an answer to what it sends; write payload and require_reply, or `check = { type = \"icmp\" }`"),
    }
}

/// The bytes of digits in groups, in each of which two are a byte; up to a digit that may be any, and whether
/// there was none.
fn bytes(groups: &[&str]) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    for group in groups {
        for pair in group.as_bytes().chunks(2) {
            let byte = str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            let Some(byte) = byte else { return (bytes, false) };
            bytes.push(byte);
        }
    }
    (bytes, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_what_is_quoted_and_a_shell_gets_it_back() {
        for (text, expected) in [
            ("/bin/a b  c", "/bin/a b c"),
            ("/bin/a 'b c' \"d e\"", "/bin/a 'b c' 'd e'"),
            ("/bin/a '' x'y", "/bin/a '' xy"),
            ("a \"it's\"", "a 'it'\\''s'"),
        ] {
            let quoted: Vec<_> = arguments(text).iter().map(|word| shell_quoted(word)).collect();
            assert_eq!(quoted.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn digits_in_groups_are_bytes() {
        let groups: Vec<_> = "Ab12f 3 456 546443123".split(' ').collect();
        let expected = vec![0xab, 0x12, 0x0f, 0x03, 0x45, 0x06, 0x54, 0x64, 0x43, 0x12, 0x03];
        assert_eq!(bytes(&groups), (expected, true));
        assert_eq!(bytes(&["01xx02"]), (vec![1], false));
        assert_eq!(bytes(&["ä"]), (vec![], false));
    }
}
