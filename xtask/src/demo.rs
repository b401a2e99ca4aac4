//! `cargo xtask demo`.

use anyhow::Result;

use crate::{build::Build, run};

/// How to show it.
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// Leave the lab up, and say how to get a shell in each of its namespaces.
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Remove the lab that --keep has left.
    #[arg(long)]
    down: bool,
}

impl Demo {
    /// Builds everything as whoever calls, runs the demo as root.
    pub(crate) fn run(self) -> Result<()> {
        println!("xtask: building (a minute or two the first time)");
        Build::RELEASE.run()?;
        let demo = ["build", "--release", "--package", "tests", "--bin", "demo"];
        run::run(run::cargo().args(demo))?;
        let mut demo = run::as_root(run::root().join("target/release/demo"));
        demo.args(self.keep.then_some("--keep")).args(self.down.then_some("--down"));
        let status = demo.status()?;
        std::process::exit(status.code().unwrap_or(1))
    }
}
