//! Where the programs under test are.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

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
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--package", "lb-user", "--bins"]);
    if dir.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.arg("--target-dir").arg(dir.parent().context("no target directory")?);
    let status = cargo.status()?;
    ensure!(status.success(), "cannot build lbd and lbctl: {status}");
    Ok(dir.to_owned())
}

/// The cargo that started this, in the package's directory, as if from a shell: what it says of the package that it
/// runs would make it build again what looks at such variables, here and, back in the shell, there.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "OUT_DIR"
            || text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
        {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}
