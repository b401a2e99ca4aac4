//! `cargo xtask soak`: every change of a pool under load and floods, and what broke.

use std::process::ExitCode;

use anyhow::Result;

use crate::{demo, setup::Scope};

/// Change a pool in every way while 2000 connections are open, also under floods, and count those that
/// break; then count how many would have without memory of flows. Fails if any broke.
#[derive(clap::Args)]
pub struct Options {
    /// For the soak: `--connections N`, `--flaps N`, `--flood FRAMES`, `--only TEXT` for events by
    /// name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Becomes the soak.
pub fn run(options: &Options) -> Result<ExitCode> {
    demo::play("soak", Scope::Test, options.args.iter().map(String::as_str))
}
