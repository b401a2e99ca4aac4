//! `cargo xtask lint`: format and lints, as they must be before a commit.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    command,
    setup::{self, Scope},
};

/// Check the format and the lints.
#[derive(clap::Args)]
pub struct Options {
    /// Format the code instead of only checking its format.
    #[arg(long)]
    fix: bool,
}

/// Runs rustfmt and clippy; a warning is a failure.
pub fn run(options: &Options) -> Result<ExitCode> {
    // Clippy reads the daemon, and the daemon includes the BPF object.
    setup::ensure(Scope::Build)?;
    let check = if options.fix { &[][..] } else { &["--check"] };
    command::run(command::cargo().args(["fmt", "--all"]).args(check))?;
    command::run(command::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(ExitCode::SUCCESS)
}
