//! Configurations of other balancers in our words.
//!
//! text → a tree of theirs, with places → a [`Draft`] → TOML. What cannot be carried over stands as a
//! comment where it would have stood, and is told once more at the end: nothing is dropped in silence.

mod alteon;
mod draft;
mod ipvsadm;
mod keepalived;
mod merge;
mod services;
mod source;
mod text;
mod vc5;
mod weights;
mod write;

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use draft::{Draft, DraftCheck, DraftReal, DraftVip, Note, Origin, check, paced};

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

/// What the original does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where XDP is to be attached, whatever interfaces the original names.
    pub interfaces: Vec<String>,
    /// Which machine it is for, where a configuration has lines for several (keepalived's config-id).
    pub machine: Option<String>,
}

/// Finds the files that an include names, with their text, in the order in which they are read.
pub type Files<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<(PathBuf, String)>>;

/// A configuration in our words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// A whole configuration file, which `lbd --check` accepts.
    pub toml: String,
    /// How many VIPs there are in it.
    pub vips: usize,
    /// How many reals there are in their pools.
    pub reals: usize,
    /// What it lacks of the original, and why, in the order of the original.
    pub omissions: Vec<Note>,
    /// What is good to know, though nothing is missing.
    pub remarks: Vec<String>,
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

/// Makes a configuration of ours out of one of theirs.
///
/// # Errors
///
/// What is wrong with the original, if it cannot be read.
pub fn import(
    kind: Kind,
    text: &str,
    file: &Path,
    options: &Options,
    files: Files<'_>,
) -> Result<Imported, Unreadable> {
    let mut draft = match kind {
        Kind::Keepalived => keepalived::read(text, file, options.machine.as_deref(), files),
        Kind::Ipvsadm => ipvsadm::read(text, file),
        Kind::Alteon => alteon::read(text, file),
        Kind::Vc5 => vc5::read(text, file),
    }?;
    if draft.vips.is_empty() && draft.notes.is_empty() {
        let message = "there is nothing in it: is it the right file?".to_owned();
        return Err(Unreadable { file: file.to_owned(), line: 1, column: 1, message });
    }
    if !options.interfaces.is_empty() {
        draft.interfaces.clone_from(&options.interfaces);
    }
    write::write(draft, file)
}
