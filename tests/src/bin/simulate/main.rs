//! The simulation: a day of a large pool in fast time. `cargo xtask simulate` builds it and runs it.

use clap::Parser;
use tests::simulation;

/// Count the flows that a day of deploys and failures breaks, in this design and in others.
#[derive(Parser)]
struct Options {
    /// Connections that are open at a time.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    flows: u32,
    /// Real servers at the beginning.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=4000))]
    reals: u16,
    /// How long, in hours.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=240))]
    hours: u32,
    /// What all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let Options { flows, reals, hours, seed } = Options::parse();
    let options = simulation::Options { flows, reals, hours, seed, sleepers: true, progress: true };
    print!("{}", simulation::run(options));
}
