//! The project's automation: `cargo xtask setup | build | test | lint | asan | bench | fuzz | soak | demo |
//! simulate | dist`.
//!
//! It imports no product crate, so that it works while they do not compile.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod asan;
mod bench;
mod build;
mod command;
mod demo;
mod dist;
mod fuzz;
mod kernel;
mod lint;
mod setup;
mod simulate;
mod soak;
mod test;

/// Builds, tests and shows the load balancer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Setup(setup::Options),
    Build(build::Options),
    Test(test::Options),
    Lint(lint::Options),
    Asan(asan::Options),
    Bench(bench::Options),
    Fuzz(fuzz::Options),
    Soak(soak::Options),
    Demo(demo::Options),
    Simulate(simulate::Options),
    Dist(dist::Options),
}

fn main() -> ExitCode {
    run(Cli::parse().task).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup(options) => setup::run(&options),
        Task::Build(options) => build::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Lint(options) => lint::run(&options),
        Task::Asan(options) => asan::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Simulate(options) => simulate::run(&options),
        Task::Dist(options) => dist::run(&options),
    }
}
