//! On which processors things run.

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Keeps the calling thread, and what it starts, on one of the processors that this process may use: the first for
/// 0, the second for 1 and so on, and the first again after the last.
pub fn pin(number: usize) -> Result<()> {
    let mut one = CpuSet::new();
    let all = allowed()?;
    one.set(all[number % all.len()])?;
    sched_setaffinity(Pid::from_raw(0), &one).context("cannot choose a processor")
}

/// Those that this process may use.
fn allowed() -> Result<Vec<usize>> {
    // The whole process's, whatever the calling thread has chosen.
    let set = sched_getaffinity(Pid::this())?;
    let all: Vec<_> =
        (0..CpuSet::count()).filter(|number| set.is_set(*number).unwrap_or(false)).collect();
    anyhow::ensure!(!all.is_empty(), "no processor");
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_told_and_others_are_free() -> Result<()> {
        let before = allowed()?;
        let chosen = thread::spawn(|| {
            pin(1)?;
            let set = sched_getaffinity(Pid::from_raw(0))?;
            let chosen = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
            Ok::<_, anyhow::Error>(chosen.collect::<Vec<_>>())
        });
        let chosen = chosen.join().expect("no panic")?;
        assert_eq!(chosen, [before[1 % before.len()]]);
        assert_eq!(allowed()?, before);
        Ok(())
    }
}
