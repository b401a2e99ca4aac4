//! Where the programs under test are.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, ensure};

/// The path of `lbd` or `lbctl`.
///
/// They are in `$LB_BIN_DIR` if that is set. Else they are beside the running test
/// (`target/debug/deps/x` → `target/debug/lbd`), and once in a test process cargo is asked to bring
/// them up to date: it does not by itself, as they belong to another package, and a test of
/// yesterday's daemon is worth less than the fraction of a second.
pub fn path(name: &str) -> Result<PathBuf> {
    static DIR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let dir = DIR.get_or_init(|| match env::var_os("LB_BIN_DIR") {
        Some(dir) => Ok(dir.into()),
        None => build().map_err(|error| format!("{error:#}")),
    });
    let path = dir.as_ref().map_err(|error| anyhow!("{error}"))?.join(name);
    ensure!(path.is_file(), "{} does not exist", path.display());
    Ok(path)
}

fn build() -> Result<PathBuf> {
    let executable = env::current_exe()?;
    let dir = executable.parent().context("no directory")?;
    let dir =
        if dir.ends_with("deps") { dir.parent().context("no profile directory")? } else { dir };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "lb-user", "--bins"]);
    // What it told this test of itself: ring's build script looks at it, and all that depends on ring would be
    // compiled again.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "OUT_DIR"
        {
            cargo.env_remove(&*name);
        }
    }
    if dir.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.arg("--target-dir").arg(dir.parent().context("no target directory")?);
    let status = cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).status()?;
    ensure!(status.success(), "cannot build lbd and lbctl: {status}");
    Ok(dir.to_owned())
}
