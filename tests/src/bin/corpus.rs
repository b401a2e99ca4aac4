//! Writes the frames of the golden table into a directory, for the fuzzer to begin with.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let dir: PathBuf = env::args_os().nth(1).context("usage: corpus DIRECTORY")?.into();
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    for (number, row) in tests::golden::table().iter().enumerate() {
        let file = dir.join(format!("golden-{number:03}"));
        fs::write(&file, &row.frame).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
