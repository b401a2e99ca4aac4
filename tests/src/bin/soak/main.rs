//! The soak: every change there is, under load, and what broke. `cargo xtask soak` builds what it
//! needs and runs it as root.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use nix::unistd::Uid;
use tests::{
    LoadOptions,
    changes::{Event, Events, Memory, Report, Stage, StageOptions},
};

/// Change the pool in every way while connections are open, and count those that break.
#[derive(Parser)]
struct Options {
    /// How many connections are open all the time.
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// How often a flapping real does.
    #[arg(long, default_value_t = 20)]
    flaps: usize,
    /// How many frames each flood is of, at least.
    #[arg(long, default_value_t = 1_000_000)]
    flood: u64,
    /// Only events whose name contains one of these, and no run without memory.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,
}

impl Options {
    fn stage(&self, memory: Memory) -> StageOptions {
        let load = LoadOptions {
            period: Duration::from_secs(1),
            patience: Duration::from_secs(30),
            ..LoadOptions::connections(self.connections)
        };
        StageOptions { load, memory, flaps: self.flaps, flood: self.flood }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing broke that should not.
fn run(options: &Options) -> Result<bool> {
    ensure!(Uid::effective().is_root(), "network namespaces need root: run `cargo xtask soak`");
    println!("{} connections and all else, through every change:", options.connections);
    let is_wanted = |event: &Event| options.only.iter().any(|text| event.name.contains(text));
    let mut events = Events::ALL.to_vec();
    events.retain(|event| options.only.is_empty() || is_wanted(event));
    let good = soak(options.stage(Memory::Seconds(10)), &events)?.is_good();
    if !options.only.is_empty() {
        return Ok(good);
    }
    println!("\nThe same without memory (idle_timeout = 1ms): what would have broken:");
    let without = [Events::NOTHING, Events::ADD, Events::WEIGH];
    let broken = soak(options.stage(Memory::None), &without)?.broken_connections();
    let verdict = if good { "Nothing broke that lived" } else { "Connections broke" };
    println!("\n{verdict}; without memory {broken} would have.");
    Ok(good)
}

/// Plays these events, and shows each row as it comes.
fn soak(options: StageOptions, events: &[Event]) -> Result<Report> {
    let mut stage = Stage::set(options)?;
    let mut report = Report::default();
    println!("{}", Report::head());
    for event in events {
        let row = stage.play(event)?;
        println!("{row}");
        report.rows.push(row);
    }
    if report.is_good() || options.memory == Memory::None {
        stage.forget_log()?;
    }
    stage.end()?;
    Ok(report)
}
