//! `cargo xtask fuzz`: the datapath's code, or imports, under libFuzzer and AddressSanitizer.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{
    command,
    setup::{self, Scope},
};

const VERSION: &str = "0.13.2";

/// Look for frames on which the datapath breaks, or for configurations on which their import does, with
/// libFuzzer and AddressSanitizer.
#[derive(clap::Args)]
pub struct Options {
    /// What is fed with what libFuzzer comes up with.
    #[arg(long, value_enum, default_value_t)]
    target: Target,
    /// For how long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum Target {
    /// Frames, to the datapath.
    #[default]
    Process,
    /// Configurations of other balancers, to their import.
    Import,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Import => "import",
        }
    }

    /// Where the corpus grows, below `target/fuzz`.
    fn corpus(self) -> &'static str {
        match self {
            Self::Process => "corpus",
            Self::Import => "corpus-import",
        }
    }

    /// Where what is found is kept, below `fuzz`.
    fn cases(self) -> &'static str {
        match self {
            Self::Process => "regressions",
            Self::Import => "regressions-import",
        }
    }

    /// No frame of the tests is longer, and what is behind the headers is not read. Configurations may be
    /// long, but what is wrong with one shows in a short one.
    fn max_length(self) -> u32 {
        match self {
            Self::Process => 2048,
            Self::Import => 4096,
        }
    }
}

/// Installs what is missing, writes the first corpus, and fuzzes; what is found is kept.
pub fn run(options: &Options) -> Result<ExitCode> {
    setup::ensure(Scope::Fuzz)?;
    let fuzzer = installed()?;
    let workspace = command::workspace();
    let (dir, target) = (workspace.join("fuzz"), workspace.join("target/fuzz"));
    let corpus = target.join(options.target.corpus());
    let cases = dir.join(options.target.cases());
    command::run(
        command::cargo()
            .args(["run", "--quiet", "--package=tests", "--bin=corpus", "--"])
            .arg(options.target.name())
            .arg(&corpus),
    )?;
    let before = files(&cases)?;
    eprintln!("fuzzing for {} s, after a build of some minutes the first time", options.seconds);
    let mut fuzz = command::cargo();
    fuzz.arg("fuzz")
        .args(["run", "--sanitizer=address", "--fuzz-dir"])
        .arg(&dir)
        .arg("--target-dir")
        .arg(target.join("build"))
        .arg(options.target.name())
        .arg(&corpus)
        .arg("--")
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-max_len={}", options.target.max_length()))
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", cases.display()))
        // Sanitizers are unstable flags, which a stable compiler takes with this.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", fuzzer);
    let status = command::status(&mut fuzz)?;
    for case in files(&cases)?.iter().filter(|case| !before.contains(case)) {
        eprintln!("found {}: the tests will replay it from now on", case.display());
    }
    Ok(command::exit_code(status))
}

/// Builds cargo-fuzz into `.tools` unless it is there; returns a PATH on which cargo finds it.
fn installed() -> Result<OsString> {
    let tools = command::workspace().join(".tools");
    let record = fs::read_to_string(tools.join(".crates2.json")).unwrap_or_default();
    if !record.contains(&format!("\"cargo-fuzz {VERSION} "))
        || !tools.join("bin/cargo-fuzz").exists()
    {
        eprintln!("building cargo-fuzz {VERSION}: about a minute, once");
        command::run(
            command::cargo()
                .args(["install", &format!("cargo-fuzz@{VERSION}"), "--locked", "--quiet"])
                .args(["--force", "--root"])
                .arg(&tools),
        )?;
    }
    let mut path = tools.join("bin").into_os_string();
    path.push(":");
    path.push(command::path());
    Ok(path)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}
