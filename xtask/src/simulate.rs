//! `cargo xtask simulate`: a day of a large pool in fast time.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    command,
    setup::{self, Scope},
};

/// Count the flows that a day of deploys and failures breaks, in this design and in others.
#[derive(clap::Args)]
pub struct Options {
    /// Connections that are open at a time.
    #[arg(long, default_value_t = 1_000_000)]
    flows: u32,
    /// Real servers at the beginning.
    #[arg(long, default_value_t = 100)]
    reals: u16,
    /// How long, in hours.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// What all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Builds the simulation optimised, and runs it.
pub fn run(options: &Options) -> Result<ExitCode> {
    setup::ensure(Scope::Test)?;
    let Options { flows, reals, hours, seed } = options;
    let status = command::status(
        command::cargo()
            .args(["run", "--quiet", "--release", "--package=tests", "--bin=simulate", "--"])
            .arg(format!("--flows={flows}"))
            .arg(format!("--reals={reals}"))
            .arg(format!("--hours={hours}"))
            .arg(format!("--seed={seed}")),
    )?;
    Ok(command::exit_code(status))
}
