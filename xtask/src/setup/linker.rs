//! bpf-linker, built into `.tools` with the LLVM of the compiler for BPF.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::command;

const VERSION: &str = "0.13.0";

fn tools() -> PathBuf {
    command::workspace().join(".tools")
}

/// The LLVM of the linker in `.tools`, if it is there, of the right version, and runs.
pub fn own() -> Result<Option<u32>> {
    let installed = tools().join(".crates2.json");
    if !installed.exists() || !runs(&tools().join("bin/bpf-linker")) {
        return Ok(None);
    }
    let text = fs::read_to_string(&installed)
        .with_context(|| format!("reading {}", installed.display()))?;
    Ok(built_with(&text))
}

/// Whether another one is on PATH.
pub fn on_path() -> bool {
    command::find("bpf-linker").is_some_and(|linker| runs(&linker))
}

/// It does not when its LLVM was removed or replaced by another.
fn runs(linker: &Path) -> bool {
    let output = Command::new(linker).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// The LLVM that cargo's record of installed programs names as a feature of the linker.
fn built_with(record: &str) -> Option<u32> {
    let (_, linker) = record.split_once(&format!("\"bpf-linker {VERSION} "))?;
    let (_, features) = linker.split_once("\"features\":[")?;
    let (features, _) = features.split_once(']')?;
    let mut features = features.split(',').map(|feature| feature.trim_matches('"'));
    features.find_map(|feature| feature.strip_prefix("llvm-")?.parse().ok())
}

/// Builds it.
pub fn install(llvm: u32) -> Result<()> {
    let prefix = prefix(llvm)?;
    eprintln!("building bpf-linker {VERSION} with LLVM {llvm}: about a minute, once");
    let mut cargo = command::cargo();
    cargo
        .args(["install", &format!("bpf-linker@{VERSION}"), "--locked", "--no-default-features"])
        .args(["--force", "--quiet", "--features", &format!("llvm-{llvm}"), "--root"])
        .arg(tools())
        .env("LLVM_PREFIX", prefix);
    command::run(&mut cargo)
}

/// A directory as the linker's build wants it, with `lib/libLLVM.so`: a link to the library that
/// the compiler brought, in place of LLVM's development package.
fn prefix(llvm: u32) -> Result<PathBuf> {
    let library = library(llvm).with_context(|| {
        format!("no libLLVM.so.{llvm} in /usr/lib; Debian's package is libllvm{llvm}")
    })?;
    let prefix = tools().join(format!("llvm-{llvm}"));
    let link = prefix.join("lib/libLLVM.so");
    fs::create_dir_all(prefix.join("lib"))?;
    if fs::symlink_metadata(&link).is_ok() {
        fs::remove_file(&link).with_context(|| format!("replacing {}", link.display()))?;
    }
    symlink(&library, &link).with_context(|| format!("linking {}", link.display()))?;
    Ok(prefix)
}

/// `/usr/lib/x86_64-linux-gnu/libLLVM.so.22.1`, and where others have it.
fn library(llvm: u32) -> Option<PathBuf> {
    let multiarch = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let mut dirs: Vec<_> = multiarch.filter(|dir| dir.is_dir()).collect();
    dirs.push(format!("/usr/lib/llvm-{llvm}/lib").into());
    dirs.sort();
    let name = format!("libLLVM.so.{llvm}");
    dirs.iter().find_map(|dir| {
        let mut files = fs::read_dir(dir).ok()?.flatten();
        let file = files.find(|file| file.file_name().to_string_lossy().starts_with(&name))?;
        Some(file.path())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_llvm_is_read_from_cargos_record() {
        let record = r#"{"installs":{"bpf-linker 0.13.0 (registry+https://github.com)":
            {"version_req":"=0.13.0","bins":["bpf-linker"],"features":["llvm-22"]}}}"#;
        assert_eq!(built_with(record), Some(22));
    }

    #[test]
    fn a_linker_of_another_version_does_not_count() {
        let record = r#"{"installs":{"bpf-linker 0.9.0 (r)":{"features":["llvm-22"]}}}"#;
        assert_eq!(built_with(record), None);
    }
}
