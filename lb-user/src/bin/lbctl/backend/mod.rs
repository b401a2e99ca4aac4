//! `lbctl backend`: the real servers' half of the installation.

mod check;
mod fleet;
mod host;
mod push;
mod report;
mod script;
mod select;
mod ssh;
mod target;

use clap::Subcommand;

use crate::{Session, failure::Failure};

/// Sets real servers up, and proves it.
#[derive(Debug, Subcommand)]
pub enum Backend {
    /// Prints what makes a machine a real server: a script, or files of its system
    Script(script::Script),
    /// Sets real servers up by SSH, many at once
    Push(push::Push),
    /// What the balancer sees of real servers beside what these see of themselves
    Check(check::Check),
}

impl Backend {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Script(command) => command.run(session),
            Self::Push(command) => command.run(session),
            Self::Check(command) => command.run(session),
        }
    }
}
