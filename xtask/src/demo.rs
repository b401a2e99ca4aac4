//! `cargo xtask demo`: the balancer at work between network namespaces of this machine.

use std::{os::unix::process::CommandExt, process::ExitCode};

use anyhow::{Context, Result};

use crate::{
    command,
    setup::{self, Scope},
};

/// Show the balancer at work between network namespaces of this machine.
#[derive(clap::Args)]
pub struct Options {
    /// Leave everything running at the end, to look at.
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Remove what `--keep` left.
    #[arg(long)]
    down: bool,
}

/// Builds the programs optimised, and becomes the demo, as root.
pub fn run(options: &Options) -> Result<ExitCode> {
    let host = setup::ensure(Scope::Test)?;
    command::run(command::cargo().args([
        "build",
        "--release",
        "--package=lb-user",
        "--package=tests",
        "--bins",
    ]))?;
    let mut cargo = command::cargo();
    cargo.args(["run", "--quiet", "--release", "--package=tests", "--bin=demo", "--"]);
    cargo.args(options.keep.then_some("--keep")).args(options.down.then_some("--down"));
    if let Some(runner) = command::root_runner()? {
        cargo.env(command::runner_variable(&host), runner);
    }
    command::say(&cargo);
    // In this process's place, so that Ctrl-C and the exit code are the demo's alone.
    Err(cargo.exec()).context("running cargo")
}
