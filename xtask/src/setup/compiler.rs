//! The compiler for BPF, chosen in the order of lb-user/build.rs.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::plan::LLVM;
use crate::command;

const BPF: &str = "bpfel-unknown-none";

/// What compiles for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// A rustc that has `core` for BPF.
    Rustc {
        /// The major version of its LLVM.
        llvm: u32,
    },
    /// Rustup's nightly with its sources.
    Nightly {
        /// The major version of its LLVM.
        llvm: u32,
    },
}

impl Compiler {
    /// The major version of its LLVM.
    pub fn llvm(&self) -> u32 {
        match self {
            Self::Rustc { llvm } | Self::Nightly { llvm } => *llvm,
        }
    }
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// The triple of the machine it runs on.
    pub host: String,
    /// The major version of its LLVM.
    pub llvm: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        let llvm = value("LLVM version: ")?.split('.').next()?.parse().ok()?;
        Some(Self { host: value("host: ")?.to_owned(), llvm })
    }

    fn of(rustc: &mut Command) -> Option<Self> {
        Self::parse(&printed(rustc.arg("-vV"))?)
    }
}

/// The compiler for this machine.
pub fn host() -> Result<Version> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Version::of(&mut Command::new(rustc)).context("`rustc -vV` does not tell host and LLVM")
}

/// The compiler for BPF that the build will use, if there is one that the linker can serve.
pub fn find() -> Result<Option<Compiler>> {
    if let Some(rustc) = env::var_os("LB_EBPF_RUSTC").map(PathBuf::from) {
        let llvm = with_core(&rustc);
        let llvm = llvm
            .with_context(|| format!("LB_EBPF_RUSTC={}: no `core` for {BPF}", rustc.display()))?;
        ensure!(LLVM.contains(&llvm), "LB_EBPF_RUSTC has LLVM {llvm}, bpf-linker knows {LLVM:?}");
        return Ok(Some(Compiler::Rustc { llvm }));
    }
    if let Some(llvm) = rustcs().iter().find_map(|rustc| with_core(rustc)) {
        // One too old, as in Debian without its security suite, hides what comes after it.
        return Ok(LLVM.contains(&llvm).then_some(Compiler::Rustc { llvm }));
    }
    Ok(nightly().map(|llvm| Compiler::Nightly { llvm }))
}

/// Every rustc on PATH, once, and the one Debian installs.
fn rustcs() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/bin".into()]);
    let mut seen = BTreeSet::new();
    dirs.map(|dir| dir.join("rustc"))
        .filter(|rustc| fs::canonicalize(rustc).is_ok_and(|file| seen.insert(file)))
        .collect()
}

/// The LLVM of this rustc, if it has `core` for BPF.
fn with_core(rustc: &Path) -> Option<u32> {
    let libdir = printed(Command::new(rustc).args(["--print", "target-libdir", "--target", BPF]))?;
    let mut files = fs::read_dir(libdir.trim_end()).ok()?.flatten();
    files.find(|file| file.file_name().to_string_lossy().starts_with("libcore-"))?;
    Some(Version::of(&mut Command::new(rustc))?.llvm)
}

/// The LLVM of rustup's nightly, if its sources are there, of which `core` is then built.
fn nightly() -> Option<u32> {
    // Without rustup, or without a nightly, there is none: no reason to stop.
    let rustup = command::find("rustup")?;
    let rustc = || {
        let mut rustc = Command::new(&rustup);
        rustc.args(["run", "nightly", "rustc"]);
        rustc
    };
    let sysroot = printed(rustc().args(["--print", "sysroot"]))?;
    let core = Path::new(sysroot.trim_end()).join("lib/rustlib/src/rust/library/core");
    core.exists().then(|| Version::of(&mut rustc()))?.map(|version| version.llvm)
}

/// What a command prints, if there is such a command and it succeeds.
fn printed(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_and_the_llvm_are_read_from_a_version() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
            binary: rustc\n\
            host: x86_64-unknown-linux-gnu\n\
            release: 1.96.0\n\
            LLVM version: 22.1.8\n";
        let version = Version { host: "x86_64-unknown-linux-gnu".into(), llvm: 22 };
        assert_eq!(Version::parse(text), Some(version));
    }

    #[test]
    fn a_version_without_llvm_is_none() {
        assert_eq!(Version::parse("rustc 1.96.0\nhost: x86_64-unknown-linux-gnu\n"), None);
    }
}
