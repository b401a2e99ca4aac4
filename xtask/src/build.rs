//! `cargo xtask build`: everything, the BPF object within the daemon.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    command,
    setup::{self, Scope},
};

/// Build everything: `lbd` with the BPF object in it, `lbctl`, the tests' lab and demo.
#[derive(clap::Args)]
pub struct Options {
    /// Optimised, as for use; the default.
    #[arg(long, conflicts_with = "debug")]
    release: bool,
    /// Not optimised, and quicker to build. The BPF object is always optimised.
    #[arg(long)]
    debug: bool,
}

/// Installs what the build needs, and builds.
pub fn run(options: &Options) -> Result<ExitCode> {
    setup::ensure(Scope::Build)?;
    let mut cargo = command::cargo();
    cargo.args(["build", "--workspace"]);
    if options.release || !options.debug {
        cargo.arg("--release");
    }
    Ok(command::exit_code(command::status(&mut cargo)?))
}
