//! Where in the lines of a text something is put or cut. All positions are bytes.

use std::ops::Range;

/// The beginning of the line at `at`.
pub(super) fn start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The end of the line at `at`, before what ends it.
pub(super) fn end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    if text[at..end].ends_with('\r') { end - 1 } else { end }
}

/// The beginning of the line after the one at `at`.
pub(super) fn next(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// The white space that the line at `at` begins with.
pub(super) fn indent(text: &str, at: usize) -> &str {
    let line = &text[start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Whether only white space is before `at` in its line.
pub(super) fn begins_line(text: &str, at: usize) -> bool {
    text[start(text, at)..at].trim().is_empty()
}

/// Whether only white space and a comment follow `at` in its line.
pub(super) fn ends_line(text: &str, at: usize) -> bool {
    let rest = text[at..end(text, at)].trim_start();
    rest.is_empty() || rest.starts_with('#')
}

/// The line at `at`, trimmed.
fn line(text: &str, at: usize) -> &str {
    text[start(text, at)..end(text, at)].trim()
}

/// The beginning of the comment that stands directly above the line at `at`, or of that line.
pub(super) fn with_comment_above(text: &str, at: usize) -> usize {
    let mut top = start(text, at);
    while top > 0 && line(text, top - 1).starts_with('#') {
        top = start(text, top - 1);
    }
    top
}

/// The end of the comment lines below the line at `at` that do not lead to something else: those
/// that a blank line or the text's end follows.
pub(super) fn with_comment_below(text: &str, at: usize) -> usize {
    let after = next(text, at);
    let mut below = after;
    while below < text.len() && line(text, below).starts_with('#') {
        below = next(text, below);
    }
    if below == text.len() || line(text, below).is_empty() { below } else { after }
}

/// Whether the line above the one at `at` is blank; not at the text's beginning.
pub(super) fn blank_above(text: &str, at: usize) -> bool {
    let top = start(text, at);
    top > 0 && line(text, top - 1).is_empty()
}

/// Whole lines to cut so that the blank lines around them do not add up.
pub(super) fn without_double_blank(text: &str, mut cut: Range<usize>) -> Range<usize> {
    let blank_before = cut.start == 0 || blank_above(text, cut.start);
    while blank_before && cut.end < text.len() && line(text, cut.end).is_empty() {
        cut.end = next(text, cut.end);
    }
    while cut.end == text.len() && cut.start > 0 && blank_above(text, cut.start) {
        cut.start = start(text, cut.start - 1);
    }
    cut
}

/// The comma that follows an element at `at`, past white space and comments.
pub(super) fn comma_after(text: &str, at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        match text[at..].chars().next()? {
            ',' => return Some(at),
            '#' => at = next(text, at),
            _ => return None,
        }
    }
}

/// What to cut so that a key with its value, or an element of an array, is gone with its comma and,
/// if it has lines of its own, with its comments.
pub(super) fn cut_entry(text: &str, entry: Range<usize>) -> Vec<Range<usize>> {
    let comma = comma_after(text, entry.end);
    let close = comma.filter(|comma| text[entry.end..*comma].trim().is_empty());
    let end = close.map_or(entry.end, |comma| comma + 1);
    if begins_line(text, entry.start) && ends_line(text, end) {
        let lines = with_comment_above(text, entry.start)..next(text, end);
        let far = comma.filter(|comma| *comma >= lines.end).map(|comma| comma..comma + 1);
        return std::iter::once(lines).chain(far).collect();
    }
    let rest = match (close, comma) {
        (Some(_), _) => {
            let blanks = text[end..].len() - text[end..].trim_start_matches([' ', '\t']).len();
            entry.start..end + blanks
        }
        (None, Some(_)) => entry.clone(),
        (None, None) => last_entry(text, entry.clone()),
    };
    let far = comma.filter(|_| close.is_none()).map(|comma| comma..comma + 1);
    std::iter::once(rest).chain(far).collect()
}

/// The last entry goes with the comma before it.
fn last_entry(text: &str, entry: Range<usize>) -> Range<usize> {
    let before = text[..entry.start].trim_end();
    if before.ends_with(',') { before.len() - 1..entry.end } else { entry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_cut_with_its_comma_and_its_own_comments_only() {
        for (text, expected) in [
            ("[X, b]", "[b]"),
            ("[a, X]", "[a]"),
            ("[a, X, b]", "[a, b]"),
            ("[a, X,]", "[a, ]"),
            ("[X]", "[]"),
            ("[\n  a, # a\n  X, # x\n  b,\n]", "[\n  a, # a\n  b,\n]"),
            ("[\n  a,\n\n  # x\n  X\n  # end\n]", "[\n  a,\n\n  # end\n]"),
            ("[\n  X # x\n  , b\n]", "[\n   b\n]"),
            ("[\n  a,\n  X]", "[\n  a]"),
            ("[X # x\n, b]", "[ # x\n b]"),
            ("{ a = 1, X }", "{ a = 1 }"),
            ("a = 1\n# x\nX # x\nb = 2\n", "a = 1\nb = 2\n"),
        ] {
            let at = text.find('X').unwrap();
            let mut rest = text.to_owned();
            let mut cuts = cut_entry(text, at..at + 1);
            cuts.sort_by_key(|cut| std::cmp::Reverse(cut.start));
            cuts.into_iter().for_each(|cut| rest.replace_range(cut, ""));
            assert_eq!(rest, expected, "{text:?}");
        }
    }
}
