//! Configurations of other balancers in our words.
//!
//! text → a tree of theirs, with places → a [`Draft`] → TOML. What cannot be carried over stands as a
//! comment where it would have stood, and is told once more at the end: nothing is dropped in silence.

mod draft;

use std::path::PathBuf;

pub use draft::{Draft, DraftReal, DraftVip, Note};

words! {
    /// Whose configuration it is.
    Kind, "kind" {
        /// `keepalived.conf`.
        Keepalived = "keepalived",
        /// What `ipvsadm-save -n` prints.
        Ipvsadm = "ipvsadm",
        /// What `/cfg/dump` of an Alteon prints.
        Alteon = "alteon",
        /// The YAML (or JSON) of vc5.
        Vc5 = "vc5",
    }
}

/// A configuration in our words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// A whole configuration file, which `lbd --check` accepts.
    pub toml: String,
    /// What it lacks of the original, and why, in the order of the original.
    pub omissions: Vec<Note>,
}

/// Why nothing could be made of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {message}", .file.display())]
pub struct Unreadable {
    /// The file, or one that it includes.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong there, and what would be right.
    pub message: String,
}
