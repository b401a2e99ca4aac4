//! cargo-deb, which makes Debian packages, built into `.tools`.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::command;

const VERSION: &str = "3.8.0";

/// Where it is.
pub fn program() -> PathBuf {
    command::workspace().join(".tools/bin/cargo-deb")
}

/// Whether it is there, of the right version, and runs.
pub fn there() -> bool {
    let output = Command::new(program()).arg("--version").output();
    output.is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).trim().ends_with(VERSION)
    })
}

/// Builds it.
pub fn install() -> Result<()> {
    eprintln!("building cargo-deb {VERSION}: about two minutes, once");
    let mut cargo = command::cargo();
    cargo
        .args(["install", &format!("cargo-deb@{VERSION}"), "--locked", "--force", "--quiet"])
        .arg("--root")
        .arg(command::workspace().join(".tools"));
    command::run(&mut cargo)
}
