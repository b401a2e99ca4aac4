//! To be written.

use anyhow::{Result, bail};

use super::{Options, figure::Section};

/// Measures.
pub fn run(_: &Options) -> Result<Section> {
    bail!("live: to be written")
}
