//! Programs from PyPI that only tests run, in an environment of their own below `.tools/python`: nothing of the
//! machine's Python is changed.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::command;

/// What is asked for; pip adds what it needs.
const PACKAGES: [&str; 1] = ["schemathesis==4.32.5"];

/// The file in the environment that says for which packages it was made.
const ASKED: &str = "asked-for";

/// Whether they are all there.
pub fn there() -> bool {
    fs::read_to_string(root().join(ASKED)).is_ok_and(|asked| asked == list())
}

/// Whether environments can be made: Debian's python3 needs another package for that.
pub fn makes_environments() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import venv, ensurepip"]).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// Makes the environment anew, with all of them.
pub fn fetch() -> Result<()> {
    eprintln!("fetching {} from PyPI, for a test: once", PACKAGES.join(", "));
    let root = root();
    let mut venv = Command::new("python3");
    command::run(venv.args(["-m", "venv", "--clear"]).arg(&root))?;
    let mut pip = Command::new(root.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    command::run(&mut pip).context(
        "the test of what docs/openapi.json says needs schemathesis, which could not be fetched from \
         PyPI; is there a network? Where there is a mirror, name it with PIP_INDEX_URL",
    )?;
    let asked = root.join(ASKED);
    fs::write(&asked, list()).with_context(|| format!("writing {}", asked.display()))
}

fn root() -> PathBuf {
    command::workspace().join(".tools/python")
}

fn list() -> String {
    PACKAGES.map(|name| format!("{name}\n")).concat()
}
