//! The benchmark. `cargo xtask bench` builds it and runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use tests::bench::{Options, Part, baseline::Baseline, figure::Section, machine, report};

/// Measure what packets, configurations and requests cost.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Cli {
    /// These parts only.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often each thing is measured.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Of the datapath, only rows with this text.
    #[arg(long, value_name = "TEXT")]
    rows: Option<String>,
    /// Less of everything, to see that it works; the figures mean little.
    #[arg(long)]
    quick: bool,
    /// Fail if a ratio is more than 15 % worse than in bench/baseline.json.
    #[arg(long, conflicts_with = "update_baseline")]
    check: bool,
    /// Write the ratios to bench/baseline.json.
    #[arg(long, conflicts_with = "quick")]
    update_baseline: bool,
    /// Where the report goes: report.md and report.json.
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let parts = if cli.only.is_empty() { Part::ALL.to_vec() } else { cli.only };
    let options = Options { rounds: cli.rounds.into(), quick: cli.quick, rows: cli.rows };
    let machine = machine();
    let mut sections = Vec::new();
    for part in parts {
        eprintln!("{part:?} …");
        sections.push(part.run(&options).with_context(|| format!("measuring {part:?}"))?);
        // After each part: if a later one fails, this much is known.
        write(&cli.output, &machine, &sections)?;
    }
    print!("{}", report::markdown(&machine, &sections));
    let path = root().join("bench/baseline.json");
    if cli.update_baseline {
        Baseline::of(&sections).write(&path)?;
    }
    if cli.check {
        let worse = Baseline::read(&path)?.worse(&sections);
        for line in &worse {
            eprintln!("worse: {line}");
        }
        if !worse.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        eprintln!("nothing is worse than bench/baseline.json by more than its tolerance");
    }
    Ok(ExitCode::SUCCESS)
}

/// The workspace's directory.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

fn write(dir: &Path, machine: &str, sections: &[Section]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let text = report::markdown(machine, sections);
    let json = serde_json::to_string_pretty(&report::json(machine, sections))? + "\n";
    for (name, content) in [("report.md", text), ("report.json", json)] {
        let path = dir.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
