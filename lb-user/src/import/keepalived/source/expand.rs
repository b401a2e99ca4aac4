//! Parameters, sequences and braces: text that stands for other text.

use std::collections::BTreeMap;

/// The longest line that parameters may make, in bytes.
const LONGEST: usize = 1 << 16;

/// The most values of a sequence.
const VALUES: usize = 65_536;

/// The most patterns that the braces of an include stand for.
const PATTERNS: usize = 256;

/// The text with every parameter that is known replaced once; nothing where there is none. What is put in
/// may have parameters again: then lines are read anew.
pub(super) fn substituted(
    text: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    let mut out = String::new();
    let (mut rest, mut replaced) = (text, false);
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        match parameter(after).and_then(|(name, length)| Some((value(name, parameters)?, length))) {
            Some((value, length)) => {
                replaced = true;
                out.push_str(value);
                rest = &after[length..];
            }
            None => {
                out.push('$');
                rest = &after[1..];
            }
        }
        if out.len() > LONGEST {
            return Err(format!("its parameters make more than {LONGEST} bytes; shorten them"));
        }
    }
    out.push_str(rest);
    Ok(replaced.then_some(out))
}

fn value<'a>(name: &str, parameters: &'a BTreeMap<String, String>) -> Option<&'a str> {
    parameters.get(name).map(String::as_str)
}

/// The name of the parameter at the beginning, and how much of the text it takes: `${NAME}`, or `$NAME`
/// before white space.
fn parameter(text: &str) -> Option<(&str, usize)> {
    let bare = &text[1..];
    if let Some(braced) = bare.strip_prefix('{') {
        let end = braced.find('}')?;
        return Some((&braced[..end], end + 3));
    }
    let end = bare.find(char::is_whitespace).unwrap_or(bare.len());
    (end > 0).then_some((&bare[..end], end + 1))
}

/// `~SEQ(…)` or `~LST(…)`: names, and the values that they have one time after the other.
pub(super) struct Sequence {
    pub(super) names: Vec<String>,
    pub(super) values: Vec<Vec<String>>,
}

impl Sequence {
    /// Reads one at the beginning of a line; gives what stands behind it, too.
    pub(super) fn read<'t>(
        text: &'t str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<(Self, &'t str), String> {
        let wrong =
            || "neither ~SEQ(NAME, FIRST, STEP, LAST) nor ~LST(NAME, VALUE, ...)".to_owned();
        let (head, rest) = text.split_once('(').ok_or_else(wrong)?;
        let (inside, rest) = rest.split_once(')').ok_or_else(wrong)?;
        let inside = substituted(inside, parameters)?.unwrap_or_else(|| inside.to_owned());
        let parts = parts(&inside);
        let sequence = match head.trim_end() {
            "~SEQ" => numbers(&parts, |number| number.to_string()),
            "~SEQx" => numbers(&parts, |number| format!("{number:x}")),
            "~LST" => list(&parts),
            _ => None,
        };
        Ok((sequence.ok_or_else(wrong)?, rest))
    }
}

/// What stands between commas that are not within braces.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn numbers(parts: &[&str], shown: fn(i64) -> String) -> Option<Sequence> {
    let (name, numbers) = parts.split_first()?;
    let numbers: Vec<i64> = numbers.iter().map(|part| number(part)).collect::<Option<_>>()?;
    let (first, step, last) = match numbers[..] {
        [last] => (if last > 0 { 1 } else { -1 }, None, last),
        [first, last] => (first, None, last),
        [first, step, last] => (first, Some(step), last),
        _ => return None,
    };
    let step = step.unwrap_or(if last >= first { 1 } else { -1 });
    if step == 0 {
        return None;
    }
    let within = |number: &i64| if step > 0 { *number <= last } else { *number >= last };
    let all = std::iter::successors(Some(first), |number| number.checked_add(step));
    let values: Vec<_> =
        all.take_while(within).take(VALUES + 1).map(|number| vec![shown(number)]).collect();
    (values.len() <= VALUES).then(|| Sequence { names: vec![(*name).to_owned()], values })
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn list(parts: &[&str]) -> Option<Sequence> {
    let group = |text: &&str| -> Vec<String> {
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let split = |inner: &str| inner.split(',').map(|part| part.trim().to_owned()).collect();
        inner.map_or_else(|| vec![(*text).to_owned()], split)
    };
    let (names, values) = parts.split_first()?;
    let names = group(names);
    let values: Vec<Vec<String>> = values.iter().map(group).collect();
    values.iter().all(|values| values.len() == names.len()).then_some(Sequence { names, values })
}

/// The patterns that one with braces stands for, as in csh: `{a,b}/*.conf`.
pub(super) fn braces(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        let outer = pattern.find('{').and_then(|start| Some((start, closing(&pattern[start..])?)));
        match outer {
            Some((start, length)) if open.len() + done.len() < PATTERNS => {
                let (before, after) = (&pattern[..start], &pattern[start + length + 1..]);
                let inner = parts(&pattern[start + 1..start + length]);
                open.extend(inner.iter().rev().map(|part| format!("{before}{part}{after}")));
            }
            _ => done.push(pattern),
        }
    }
    done
}

/// Where the brace closes that the text begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Option<Vec<String>> {
        let sequence = Sequence::read(text, &BTreeMap::new()).ok()?.0;
        Some(sequence.values.into_iter().map(|values| values.join("/")).collect())
    }

    #[test]
    fn sequences_count_up_down_and_in_hexadecimal_and_lists_take_several_names() {
        for (text, expected) in [
            ("~SEQ(A, 0, 3) x", "0 1 2 3"),
            ("~SEQ(A, 2) x", "1 2"),
            ("~SEQ(A, -2) x", "-1 -2"),
            ("~SEQ(A, 168, 2, 172) x", "168 170 172"),
            ("~SEQx(A, 0x90, 0x10, 0xc0) x", "90 a0 b0 c0"),
            ("~SEQx(A, 0x12, -1, 0x10) x", "12 11 10"),
            ("~LST(A, a, b) x", "a b"),
            ("~LST({A, B}, {10,1},{20,4}) x", "10/1 20/4"),
        ] {
            assert_eq!(values(text).unwrap().join(" "), expected, "{text}");
        }
        for text in ["~SEQ(A", "~SEQ(A, x) y", "~SEQ(A, 1, 0, 9) y", "~SEQ(A, 0, 99999999) y"] {
            assert_eq!(values(text), None, "{text}");
        }
    }

    #[test]
    fn parameters_are_replaced_where_they_end_and_unknown_ones_stay() {
        let parameters = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expected) in [
            ("x $A y", Some("x 1 y")),
            ("x $A", Some("x 1")),
            ("10.${A}.0 ${B}", Some("10.1.0 ${B}")),
            ("$AB ${", None),
            ("$", None),
        ] {
            assert_eq!(substituted(text, &parameters).unwrap().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn braces_stand_for_each_of_their_parts() {
        assert_eq!(braces("a/*.conf"), ["a/*.conf"]);
        assert_eq!(braces("{foo/{,cat,dog},bar}"), ["foo/", "foo/cat", "foo/dog", "bar"]);
        assert_eq!(braces("a{b"), ["a{b"]);
        assert!(braces(&"{a,b}".repeat(40)).len() <= PATTERNS + 1);
    }
}
