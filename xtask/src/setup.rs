//! `cargo xtask setup`: installs whatever the build and the tests need and this machine lacks.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

mod apt;
mod compiler;
mod deb;
mod linker;
mod plan;
mod python;
mod unpacked;

pub use deb::program as cargo_deb;
pub use plan::Scope;
use plan::{Machine, Step};

/// Install what the build and the tests need and this machine lacks.
#[derive(clap::Args)]
pub struct Options {
    /// Only what the build needs, not what the tests and the demo use.
    #[arg(long)]
    build_only: bool,
}

/// Installs what is missing, and says that all is there.
pub fn run(options: &Options) -> Result<ExitCode> {
    ensure(if options.build_only { Scope::Build } else { Scope::Test })?;
    println!("this machine has all that is needed");
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing, one step after the other; returns the triple of the host. Where
/// nothing is missing, it only looks.
pub fn ensure(scope: Scope) -> Result<String> {
    let mut done = None;
    let mut machine = look()?;
    while let Some(step) = plan::next(&machine, scope) {
        // What a step installs must be there when one looks again.
        ensure!(done.as_ref() != Some(&step), "{}", step.in_vain());
        match &step {
            Step::Packages(packages) => apt::install(packages)?,
            Step::Linker { llvm } => linker::install(*llvm)?,
            Step::Deb => deb::install()?,
            Step::Unpacked => unpacked::fetch()?,
            Step::Python => python::fetch()?,
        }
        done = Some(step);
        machine = look()?;
    }
    if machine.lacks_unpacked(scope) {
        eprintln!(
            "there is no apt-get: the tests that check what lbctl prints for real servers by \
             Debian's programs cannot run here, and will fail"
        );
    }
    Ok(compiler::host()?.host)
}

fn look() -> Result<Machine> {
    Ok(Machine {
        programs: plan::programs().filter(|name| crate::command::find(name).is_some()).collect(),
        compiler: compiler::find().context("looking for a compiler for BPF")?,
        own_linker: linker::own()?,
        linker_on_path: linker::on_path(),
        deb: deb::there(),
        apt: crate::command::find("apt-get").is_some(),
        unpacked: unpacked::there(),
        python: python::there(),
        venv: python::there() || python::makes_environments(),
    })
}
