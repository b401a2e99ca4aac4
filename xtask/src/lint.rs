//! `cargo xtask lint`: format and lints, as they must be before a commit.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    command,
    setup::{self, Scope},
};

/// The workspace, and the fuzzer's. They share a target directory here, so that clippy reads the
/// dependencies they have in common once.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

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
    for workspace in WORKSPACES {
        let manifest = ["--manifest-path", workspace];
        command::run(command::cargo().arg("fmt").args(manifest).arg("--all").args(check))?;
    }
    for workspace in WORKSPACES {
        let mut clippy = command::cargo();
        clippy.arg("clippy").args(["--manifest-path", workspace, "--target-dir=target"]);
        clippy.args(["--workspace", "--all-targets", "--", "-D", "warnings"]);
        // Instead of compiling libFuzzer, which only linking would want.
        clippy.env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a");
        command::run(&mut clippy)?;
    }
    Ok(ExitCode::SUCCESS)
}
