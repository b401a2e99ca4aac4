//! `lbctl export`.

use serde::Serialize;

use crate::{Session, failure::Failure};

pub const EXAMPLES: &str = "\
Prints TOML as it is; with -o json or -o yaml an object whose field `toml` holds that text.

Example:
  lbctl export > /root/lbd-backup.toml";

/// The configuration as a value of a structured answer.
#[derive(Serialize)]
struct Export {
    toml: String,
}

pub fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let export = Export { toml: session.client.export()? };
    Ok(session.output.show(&export, |export| export.toml.clone())?)
}
