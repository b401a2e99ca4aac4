//! Why a configuration is refused: every problem with its place.

use std::{fmt, ops::Range, path::Path};

/// One refused value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The object, what is wrong with it and what would be right.
    pub message: String,
}

/// All that is wrong with a configuration: one problem or more, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Problem>);

impl Errors {
    /// Gives each message the line and column of its place, a range of bytes in `text`.
    pub(super) fn locate(text: &str, mut found: Vec<(Range<usize>, String)>) -> Self {
        found.sort_by_key(|(place, _)| place.start);
        let lines = Lines::of(text);
        let locate = |(place, message): (Range<usize>, String)| {
            let (line, column) = lines.position(text, place.start);
            Problem { line, column, message: one_line(&message) }
        };
        Self(found.into_iter().map(locate).collect())
    }

    /// The problems in the order of the text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    /// Shows a line `FILE:LINE:COLUMN: message` for each problem.
    #[must_use]
    pub fn at(&self, file: &Path) -> impl fmt::Display {
        let line =
            |p: &Problem| format!("{}:{}:{}: {}", file.display(), p.line, p.column, p.message);
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The messages without their places, in one line.
    #[must_use]
    pub fn messages(&self) -> String {
        self.0.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; and ")
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, column, message }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{line}:{column}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// A message quotes what was typed, which may be anything.
fn one_line(message: &str) -> String {
    let escaped = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    message.chars().map(escaped).collect()
}

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    /// The line, from 1, of a byte.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    fn position(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let before = text.get(self.0[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_line_and_a_column_in_characters() {
        let text = "a\n# äöü\nb = \"é\" 7\n";
        for (needle, line, column) in [("a", 1, 1), ("ü", 2, 5), ("7", 3, 9)] {
            let start = text.find(needle).unwrap();
            let errors = Errors::locate(text, vec![(start..start, needle.to_owned())]);
            assert_eq!((errors.0[0].line, errors.0[0].column), (line, column), "{needle}");
        }
    }

    #[test]
    fn problems_come_in_the_order_of_the_text_and_in_all_three_forms() {
        let errors =
            Errors::locate("ab\nc", vec![(3..4, "late".to_owned()), (1..2, "early".to_owned())]);
        assert_eq!(errors.to_string(), "1:2: early\n2:1: late");
        assert_eq!(
            errors.at(Path::new("/etc/lb.toml")).to_string(),
            "/etc/lb.toml:1:2: early\n/etc/lb.toml:2:1: late"
        );
        assert_eq!(errors.messages(), "early; and late");
    }
}
