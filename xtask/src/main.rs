//! The project's automation: `cargo xtask setup | build | test | lint | demo`. Builds with stable Rust alone
//! and imports no crate of the project, so that it runs when they are broken.

mod build;
mod demo;
mod lint;
mod run;
mod setup;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, tests and shows the load balancer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the build and the tests need and is missing, or say what to install.
    Setup(setup::Setup),
    /// Build lbd and lbctl into target/release.
    Build(build::Build),
    /// Run all tests, as root for the network namespaces.
    Test(test::Test),
    /// Check formatting and run clippy.
    Lint(lint::Lint),
    /// Show the main job, end to end, on real traffic in network namespaces.
    Demo(demo::Demo),
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Setup(setup) => setup.run(),
        Task::Build(build) => build.run(),
        Task::Test(test) => test.run(),
        Task::Lint(lint) => lint.run(),
        Task::Demo(demo) => demo.run(),
    }
}
