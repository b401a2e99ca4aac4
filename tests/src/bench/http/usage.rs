//! How busy the processors are.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// What all processors have done since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage(Duration);

impl Usage {
    /// Until now.
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("no ticks")?;
        let busy = busy(&text).with_context(|| format!("/proc/stat: {text}"))?;
        Ok(Self(Duration::from_secs(busy) / u32::try_from(ticks)?))
    }

    /// What was done after that.
    pub(super) fn since(self, before: Self) -> Duration {
        self.0.saturating_sub(before.0)
    }
}

/// Ticks in which somebody worked (proc_stat(5)): all but idle, iowait and what a hypervisor has taken. What
/// guests used, the last two, is in user and nice.
fn busy(stat: &str) -> Option<u64> {
    const IDLE: [usize; 3] = [3, 4, 7];
    const FIELDS: usize = 8;
    let words = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(FIELDS);
    let ticks: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
    let worked = ticks.iter().enumerate().filter(|(place, _)| !IDLE.contains(place));
    Some(worked.map(|(_, ticks)| ticks).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_not_busy() {
        assert_eq!(busy("cpu  1 20 300 9 9 4000 50000 9 9 9\ncpu0 9\n"), Some(54321));
        assert_eq!(busy("cpu0 1 2 3"), None);
    }
}
