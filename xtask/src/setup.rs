//! `cargo xtask setup`: installs whatever the build and the tests need and is missing. A second run finds
//! everything in place and does nothing.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::run::{self, as_root, find, output};

/// Nothing to choose.
#[derive(clap::Args, Default)]
pub(crate) struct Setup {}

/// The target of the BPF object.
const TARGET: &str = "bpfel-unknown-none";

/// The linker's version; it is chosen together with aya's.
const LINKER: &str = "bpf-linker@0.13.0";

/// Programs that the tests and the demo start, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("ip", "iproute2"),
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("tcpdump", "tcpdump"),
];

/// The Debian packages with a compiler that has `core` for the BPF target, from bookworm-security.
const COMPILER: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

/// A compiler for the BPF target.
enum Compiler {
    /// One with a precompiled `core`.
    Ready(PathBuf),
    /// A rustup nightly with rust-src.
    Nightly,
}

impl Setup {
    /// Installs what is missing.
    pub(crate) fn run(self) -> Result<()> {
        let packages = missing_packages(|program| find(program).is_some(), compiler().is_some());
        if !packages.is_empty() {
            install(&packages)?;
        }
        let compiler = compiler().with_context(|| manual(COMPILER))?;
        if !run::root().join(".tools/bin/bpf-linker").exists() && !on_path_for(&compiler) {
            build_linker(&compiler)?;
        }
        Ok(())
    }
}

/// The Debian packages to install, given what is there.
fn missing_packages(has: impl Fn(&str) -> bool, compiler: bool) -> Vec<&'static str> {
    let programs = PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package);
    let compilers = COMPILER.iter().copied().filter(|_| !compiler);
    programs.chain(compilers).collect()
}

/// Installs packages without letting them start services.
fn install(packages: &[&str]) -> Result<()> {
    if find("apt-get").is_none() {
        bail!("{}", manual(packages));
    }
    println!("xtask: installing {} (up to 120 MB, once)", packages.join(" "));
    run::run(as_root("sh").args(["-c", INSTALL, "sh"]).args(packages)).with_context(|| manual(packages))
}

/// Installs its arguments. A policy of our own, unless the machine has one, keeps packages such as
/// nginx from starting their services.
const INSTALL: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
"#;

/// What to install by hand.
fn manual(packages: &[&str]) -> String {
    format!(
        "install by hand: {} (Debian's names; instead of rustc-web and libstd-rust-web-dev-bpf, \
         `rustup toolchain install nightly --component rust-src` and `cargo install bpf-linker` will do), \
         then run this again",
        packages.join(", ")
    )
}

/// A compiler that can build the object: the same choice as in lb-user/build.rs.
fn compiler() -> Option<Compiler> {
    let given = std::env::var_os("LB_EBPF_RUSTC").map(PathBuf::from);
    let known = [find("rustc"), Some("/usr/bin/rustc".into())];
    let ready = given.into_iter().chain(known.into_iter().flatten()).find(|rustc| has_core(rustc));
    ready.map(Compiler::Ready).or_else(|| nightly().then_some(Compiler::Nightly))
}

fn has_core(rustc: &Path) -> bool {
    let libdir = output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]));
    let files = libdir.and_then(|dir| fs::read_dir(dir.trim()).ok());
    files.is_some_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

fn nightly() -> bool {
    let sysroot = output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
    sysroot.is_some_and(|sysroot| {
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists()
    })
}

/// A linker of the user's own serves the nightly it was installed for; rustc-web wants its LLVM.
fn on_path_for(compiler: &Compiler) -> bool {
    matches!(compiler, Compiler::Nightly) && find("bpf-linker").is_some()
}

/// Builds the linker against the LLVM of the compiler whose output it links.
fn build_linker(compiler: &Compiler) -> Result<()> {
    let Compiler::Ready(rustc) = compiler else {
        bail!("bpf-linker is missing: `cargo install {LINKER}`, then run this again");
    };
    let version = output(Command::new(rustc).arg("-vV")).unwrap_or_default();
    let llvm = llvm_major(&version)
        .with_context(|| format!("{} does not say its LLVM version", rustc.display()))?;
    let library = find_llvm(llvm).with_context(|| {
        format!("libLLVM of version {llvm} is missing: {}", manual(&[&format!("libllvm{llvm}")]))
    })?;
    // The crate looks for lib/libLLVM.so below a prefix; llvm-dev, which has it, is not needed else.
    let tools = run::root().join(".tools");
    let prefix = tools.join("llvm");
    fs::create_dir_all(prefix.join("lib"))?;
    let link = prefix.join("lib/libLLVM.so");
    if fs::symlink_metadata(&link).is_ok() {
        fs::remove_file(&link)?;
    }
    symlink(&library, &link)?;
    println!("xtask: building {LINKER} for LLVM {llvm} (about a minute, once)");
    let mut cargo = run::cargo();
    cargo.args(["install", "--quiet", LINKER, "--locked", "--no-default-features"]);
    cargo.arg(format!("--features=llvm-{llvm}")).arg("--root").arg(&tools);
    run::run(cargo.env("LLVM_PREFIX", &prefix))
}

/// The LLVM major in the output of `rustc -vV`.
fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

fn find_llvm(major: u32) -> Option<PathBuf> {
    let dirs = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let names = [format!("libLLVM.so.{major}.1"), format!("libLLVM-{major}.so")];
    let files = dirs.iter().flat_map(|dir| names.iter().map(move |name| Path::new(dir).join(name)));
    files.into_iter().find(|file| file.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_major_is_read_from_rustc() {
        let version = "rustc 1.96.0\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_major(version), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        assert!(missing_packages(|_| true, true).is_empty());
        assert_eq!(missing_packages(|program| program != "nginx", true), ["nginx-light"]);
        assert_eq!(missing_packages(|_| true, false), COMPILER);
    }
}
