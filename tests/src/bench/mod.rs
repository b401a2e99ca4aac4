//! The benchmark: what the datapath, the daemon and the whole cost on this machine, always beside something
//! else that was measured in the same run. `cargo xtask bench` runs it; BENCHMARKS.md says how to read it.

use std::{fs, thread};

use anyhow::Result;

pub mod baseline;
pub mod control;
pub mod datapath;
pub mod figure;
pub mod http;
pub mod latency;
pub mod live;
pub mod object;
pub mod report;

use figure::Section;

/// How thoroughly it is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many rounds there are, in each of which everything that is compared is measured once.
    pub rounds: usize,
    /// Less of everything, to see that it works: the figures mean little.
    pub quick: bool,
    /// Only rows of the datapath with this text.
    pub rows: Option<String>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// What one packet costs in the program.
    Datapath,
    /// Packets a second through two interfaces.
    Live,
    /// What configurations of many VIPs and reals cost.
    Control,
    /// What the way through the balancer adds to a round trip.
    Latency,
    /// HTTP requests, beside other balancers.
    Http,
}

impl Part {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Datapath, Self::Live, Self::Control, Self::Latency, Self::Http];

    /// Measures it.
    pub fn run(self, options: &Options) -> Result<Section> {
        match self {
            Self::Datapath => datapath::run(options),
            Self::Live => live::run(options),
            Self::Control => control::run(options),
            Self::Latency => latency::run(options),
            Self::Http => http::run(options),
        }
    }
}

/// What all figures depend on: the processor, its number of cores, the kernel.
#[must_use]
pub fn machine() -> String {
    let line = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let found = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        found.unwrap_or_default()
    };
    let model = line("/proc/cpuinfo", "model name");
    let model = model.split_once(": ").map_or("unknown processor", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = line("/proc/sys/kernel/osrelease", "");
    let hypervisor = if line("/proc/cpuinfo", "flags").contains(" hypervisor") {
        ", in a virtual machine"
    } else {
        ""
    };
    format!("{model}, {cores} cores{hypervisor}, Linux {kernel}")
}
