//! Writes what the fuzzer begins with into a directory: the frames of the golden table, or the samples of what
//! can be imported.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: corpus process|import DIRECTORY";

fn main() -> Result<()> {
    let target = env::args().nth(1).context(USAGE)?;
    let dir: PathBuf = env::args_os().nth(2).context(USAGE)?.into();
    let inputs: Vec<Vec<u8>> = match target.as_str() {
        "process" => tests::golden::table().into_iter().map(|row| row.frame).collect(),
        "import" => tests::import::samples(),
        _ => bail!(USAGE),
    };
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    for (number, input) in inputs.iter().enumerate() {
        let file = dir.join(format!("golden-{number:03}"));
        fs::write(&file, input).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
