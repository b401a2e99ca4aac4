//! Places in the file that is read.

use std::path::Path;

use super::{Note, Origin, Unreadable};

/// The file that is read.
#[derive(Clone, Copy)]
pub(super) struct Source<'a>(pub(super) &'a Path);

impl Source<'_> {
    /// What stands in a line.
    pub(super) fn origin(self, line: usize, words: &str) -> Origin {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        Origin { file: self.0.to_owned(), line, words }
    }

    pub(super) fn note(self, line: usize, words: &str, reason: impl Into<String>) -> Note {
        self.origin(line, words).note(reason)
    }

    /// Why nothing can be made of it, with the line and column of the place.
    pub(super) fn unreadable(
        self,
        (line, column): (usize, usize),
        message: impl Into<String>,
    ) -> Unreadable {
        Unreadable { file: self.0.to_owned(), line, column, message: message.into() }
    }
}
