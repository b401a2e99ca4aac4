//! `cargo xtask demo`: the balancer at work between network namespaces of this machine.

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

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
    play("demo", Scope::Demo, keep.into_iter().chain(options.down.then_some("--down")))
}

/// Installs what is needed, builds the programs optimised, and becomes this one of the lab's, as root.
pub fn play<'a>(
    program: &str,
    needs: Scope,
    arguments: impl Iterator<Item = &'a str>,
) -> Result<ExitCode> {
    let host = setup::ensure(needs)?;
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
    // Else the program would have them built again, by themselves, which are others for cargo.
    cargo.env("LB_BIN_DIR", built()?);
    if let Some(runner) = command::root_runner()? {
        cargo.env(command::runner_variable(&host), runner);
    }
    command::say(&cargo);
    // In this process's place, so that Ctrl-C and the exit code are the program's alone.
    Err(cargo.exec()).context("running cargo")
}

/// Where cargo puts optimised programs, beside this one.
fn built() -> Result<PathBuf> {
    let own = env::current_exe().context("where this program is")?;
    let target = own.parent().and_then(Path::parent).context("a target directory")?;
    Ok(target.join("release"))
}
