//! `cargo xtask bench`: what packets, configurations and requests cost on this machine.

use std::process::ExitCode;

use anyhow::Result;

use crate::{demo, setup::Scope};

/// Measure what packets, configurations and requests cost, beside what cannot be had cheaper. As root, in network
/// namespaces; takes minutes. `cargo xtask bench -- --help` has what ARGS may be.
#[derive(clap::Args)]
pub struct Options {
    /// For the benchmark: `--only PART,…`, `--rounds N`, `--check`, `--update-baseline`, `--output DIR`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Becomes the benchmark.
pub fn run(options: &Options) -> Result<ExitCode> {
    demo::play("bench", Scope::Test, options.args.iter().map(String::as_str))
}
