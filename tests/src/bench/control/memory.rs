//! What memory a process has, and what its maps have.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

const MEBI: f64 = (1 << 20) as f64;

/// Memory of its own, in mebibytes: arrays that are mapped into it do not count.
pub(super) fn resident(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")).context("no RssAnon")?;
    Ok(kibibytes.trim().parse::<f64>()? * 1024.0 / MEBI)
}

/// The memory of all maps that a process holds, each counted once, in mebibytes.
pub(super) fn maps(process: u32) -> Result<f64> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // One that was closed since the list was read is no map's: those stay open.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let number = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        if let (Some(map), Some(bytes)) = (number("map_id:"), number("memlock:")) {
            maps.insert(map, bytes);
        }
    }
    Ok(maps.values().sum::<u64>() as f64 / MEBI)
}
