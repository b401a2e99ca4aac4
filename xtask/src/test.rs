//! `cargo xtask test`.

use anyhow::Result;

use crate::{run, setup::Setup};

/// What to test.
#[derive(clap::Args)]
pub(crate) struct Test {
    /// Handed on to `cargo test`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    /// Builds everything as whoever calls, runs it as root.
    pub(crate) fn run(self) -> Result<()> {
        Setup::default().run()?;
        println!("xtask: building the programs and all tests (a minute or two the first time)");
        // The tests start the daemon and the command that this makes.
        run::run(run::cargo().args(["build", "--package", "lb-user", "--bins"]))?;
        let mut cargo = run::cargo();
        cargo.args(["test", "--workspace"]).args(&self.arguments);
        if let Some(runner) = run::root_runner() {
            println!("xtask: tests run through sudo: they make network namespaces");
            cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", &runner);
            cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", &runner);
        }
        run::run(&mut cargo)?;
        println!("xtask: all tests passed");
        Ok(())
    }
}
