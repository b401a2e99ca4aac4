//! The demo: the balancer at work between network namespaces of this machine. `cargo xtask demo`
//! builds what it needs and runs it as root.

mod acts;
mod connection;
mod echo;
mod keep;
mod stage;
mod tally;

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use nix::unistd::Uid;
use tests::{Lab, Persist};

use stage::Stage;

/// Show the balancer at work between network namespaces of this machine.
#[derive(Parser)]
#[command(disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
struct Options {
    /// Leave everything running at the end, to look at.
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Remove what `--keep` left.
    #[arg(long)]
    down: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the demo runs of itself, in namespaces.
#[derive(Subcommand)]
enum Part {
    /// A UDP echo.
    #[command(hide = true)]
    UdpEcho {
        /// Where to listen.
        place: SocketAddr,
        /// Whom to answer as.
        name: String,
    },
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went as it should.
fn run(options: &Options) -> Result<bool> {
    if let Some(Part::UdpEcho { place, name }) = &options.part {
        tests::udp_echo::serve_at(*place, name)?;
        return Ok(true);
    }
    ensure!(Uid::effective().is_root(), "network namespaces need root: run `cargo xtask demo`");
    match (options.down, options.keep) {
        (true, _) => keep::remove(&Persist::demo()),
        (_, true) => keep::play_and_stay(&Persist::demo()),
        _ => play(Stage::set(Lab::new(stage::LAB)?)?),
    }
}

/// The whole demo; nothing of it is left but what it printed. Where something went wrong, that
/// includes the daemon's log.
fn play(mut stage: Stage) -> Result<bool> {
    let verdict = acts::play(&mut stage);
    if verdict.good {
        stage.forget_log()?;
    }
    drop(stage);
    println!("\n{verdict}");
    Ok(verdict.good)
}

/// Announces what is done next.
fn step(text: &str) {
    println!("\n* {text}");
}

/// Shows what came of it.
fn show(text: &str) {
    for line in text.trim_end().lines() {
        println!("    {line}");
    }
}
