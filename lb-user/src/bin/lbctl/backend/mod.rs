//! `lbctl backend`: the real servers' half of the installation.

mod script;
mod select;

use clap::Subcommand;

use crate::{Session, failure::Failure};

/// Sets real servers up, and proves it.
#[derive(Debug, Subcommand)]
pub enum Backend {
    /// Prints what makes a machine a real server: a script, or files of its system
    Script(script::Script),
}

impl Backend {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Script(command) => command.run(session),
        }
    }
}
