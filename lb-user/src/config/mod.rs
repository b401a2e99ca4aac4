//! The configuration file: read, checked, edited in place and replaced atomically.
//!
//! text → `raw` (a tree with places) → `check` (all that is wrong, or a model) → `machine` (whether
//! programs and certificates are there). Nothing else makes a [`Model`] out of text: an edit is made
//! in the text and read again.

pub(crate) mod certificates;
pub mod change;
mod check;
pub mod edit;
pub mod error;
pub mod export;
mod machine;
mod raw;
pub mod store;

use toml::de::DeTable;

pub use check::parse_address;
pub use error::{Errors, Problem};

use crate::model::Model;

/// Reads and checks a configuration, and that this machine has what it needs.
///
/// # Errors
///
/// Everything that is wrong with it, or the first mistake in its TOML syntax.
pub fn parse(text: &str) -> Result<Model, Errors> {
    let Reading { model, needs } = read(text)?;
    machine::check(text, &needs, &[])?;
    Ok(model)
}

/// Reads and checks a configuration; what this machine lacks of what it needs is told beside it.
///
/// # Errors
///
/// Everything that is wrong with it, or the first mistake in its TOML syntax.
pub fn parse_tolerant(text: &str) -> Result<(Model, Option<Errors>), Errors> {
    let Reading { model, needs } = read(text)?;
    Ok((model, machine::check(text, &needs, &[]).err()))
}

/// What a text says, wherever it is read.
struct Reading {
    model: Model,
    /// What it needs of the machine on which it is put in force.
    needs: Vec<machine::Need>,
}

fn read(text: &str) -> Result<Reading, Errors> {
    let tree = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let problems = raw::Problems::of(text);
    match check::model(&tree, &problems) {
        Some(model) if problems.none() => Ok(Reading { model, needs: problems.into_needs() }),
        _ => Err(problems.into_errors()),
    }
}

/// Only the first mistake: what the parser says of the rest of a broken line is mostly wrong.
fn syntax(text: &str, error: &toml::de::Error) -> Errors {
    let message = format!("not TOML: {}", error.message().replace('\n', " "));
    Errors::locate(text, vec![(error.span().unwrap_or(0..0), message)])
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests;
