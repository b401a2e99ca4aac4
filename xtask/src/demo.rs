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

/// Becomes the demo.
pub fn run(options: &Options) -> Result<ExitCode> {
    let keep = options.keep.then_some("--keep");
    play("demo", keep.into_iter().chain(options.down.then_some("--down")))
}

/// Builds the programs optimised, and becomes this one of the lab's, as root.
pub fn play<'a>(program: &str, arguments: impl Iterator<Item = &'a str>) -> Result<ExitCode> {
    let host = setup::ensure(Scope::Test)?;
    command::run(command::cargo().args([
        "build",
        "--release",
        "--package=lb-user",
        "--package=tests",
        "--bins",
    ]))?;
    let mut cargo = command::cargo();
    cargo.args(["run", "--quiet", "--release", "--package=tests", "--bin", program, "--"]);
    cargo.args(arguments);
    if let Some(runner) = command::root_runner()? {
        cargo.env(command::runner_variable(&host), runner);
    }
    command::say(&cargo);
    // In this process's place, so that Ctrl-C and the exit code are the program's alone.
    Err(cargo.exec()).context("running cargo")
}
