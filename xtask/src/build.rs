//! `cargo xtask build`.

use anyhow::Result;

use crate::{run, setup::Setup};

/// How to build.
#[derive(clap::Args)]
pub(crate) struct Build {
    /// Build without optimisation, into target/debug.
    #[arg(long)]
    debug: bool,
}

impl Build {
    /// The optimised build.
    pub(crate) const RELEASE: Self = Self { debug: false };

    /// Builds the programs.
    pub(crate) fn run(self) -> Result<()> {
        Setup::default().run()?;
        let profile: &[&str] = if self.debug { &[] } else { &["--release"] };
        let programs = ["--package", "lb-user", "--bins"];
        run::run(run::cargo().arg("build").args(profile).args(programs))
    }
}
