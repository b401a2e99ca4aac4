//! `cargo xtask lint`.

use anyhow::Result;

use crate::{run, setup::Setup};

/// How to lint.
#[derive(clap::Args)]
pub(crate) struct Lint {
    /// Format instead of only checking the format.
    #[arg(long)]
    fix: bool,
}

impl Lint {
    /// Formatting and clippy, warnings denied.
    pub(crate) fn run(self) -> Result<()> {
        Setup::default().run()?;
        let check: &[&str] = if self.fix { &[] } else { &["--check"] };
        run::run(run::cargo().args(["fmt", "--all"]).args(check))?;
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run::run(run::cargo().args(clippy))
    }
}
