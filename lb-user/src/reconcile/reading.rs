//! The file, read again aside from the owner of the state: names may be another machine's to say, and files
//! another's to give.

use std::{fs, path::Path};

use crate::{api::access::Rights, config, model::Model};

/// What was found in the file.
#[derive(Debug)]
pub struct Reading {
    /// What the file said, if it could be read.
    text: Option<String>,
    pub(super) read: Result<Loaded, String>,
}

/// A configuration that can be put in force.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) text: String,
    pub(super) model: Model,
    pub(super) rights: Rights,
}

impl Reading {
    /// Reads it. This may take its time.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let reason = format!("{}: {error}", path.display());
                return Self { text: None, read: Err(reason) };
            }
        };
        let read = match config::parse(&text) {
            Ok(model) => {
                let rights = Rights::of(model.access.as_ref());
                Ok(Loaded { text: text.clone(), model, rights })
            }
            Err(errors) => Err(errors.at(path).to_string()),
        };
        Self { text: Some(text), read }
    }

    /// Whether the file still says this: it may have been changed meanwhile, by `lbctl`, too.
    #[must_use]
    pub fn is_current(&self, path: &Path) -> bool {
        fs::read_to_string(path).ok() == self.text
    }
}
