//! The arena of rings, watched while a daemon writes it.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use aya::maps::MapData;
use lb_common::Slot;
use memmap2::{MmapOptions, MmapRaw};

use super::stage::pinned_rings;
use crate::{Lab, wait::PATIENCE};

/// Between two looks at all slots, while nobody counts the time.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two looks at a slot, while the time is counted.
const LOOK: Duration = Duration::from_micros(50);

/// All slots, through a mapping of our own.
pub(super) struct Arena {
    memory: MmapRaw,
}

/// The current owners of all slots.
pub(super) type Owners = Vec<u16>;

impl Arena {
    /// What the daemon of this lab has pinned.
    pub(super) fn of(lab: &Lab) -> Result<Self> {
        lab.in_balancer(|| {
            let map = MapData::from_pin(pinned_rings(&lab.pin_dir())?)?;
            let info = map.info()?;
            let length = info.max_entries() as usize * info.value_size() as usize;
            let memory =
                MmapOptions::new().len(length).map_raw_read_only(map.fd().as_fd().as_raw_fd())?;
            Ok(Self { memory })
        })
    }

    fn slots(&self) -> usize {
        self.memory.len() / size_of::<u32>()
    }

    fn slot(&self, index: usize) -> Slot {
        assert!(index < self.slots());
        // SAFETY: within the mapping, by the assertion.
        let word = unsafe { self.memory.as_mut_ptr().cast::<u32>().add(index) };
        // SAFETY: page-aligned plus a multiple of 4; lives as long as the mapping that `&self` keeps; it is only
        // loaded from, as the daemon's other mapping is stored to by whole words.
        let word = unsafe { AtomicU32::from_ptr(word) };
        Slot(word.load(Ordering::Relaxed))
    }

    /// The owners once nothing has moved for a while, and no slot has a previous owner.
    pub(super) fn at_rest(&self) -> Result<Owners> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Owners::new();
        let mut same = 0;
        while same < 3 {
            thread::sleep(PAUSE);
            let slots = || (0..self.slots()).map(|index| self.slot(index));
            let now: Owners = slots().map(owner).collect();
            let rests = now == last && !slots().any(|slot| slot.is_tracked());
            same = if rests { same + 1 } else { 0 };
            last = now;
            if Instant::now() > deadline {
                bail!("the rings do not come to rest");
            }
        }
        Ok(last)
    }

    /// Waits until these slots have these owners; when the last of them has.
    pub(super) fn wait(&self, slots: &[(usize, u16)]) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        // Who was not there yet when looked at last is looked at first.
        let mut left = slots.len();
        loop {
            while left > 0 && owner(self.slot(slots[left - 1].0)) == slots[left - 1].1 {
                left -= 1;
            }
            let now = Instant::now();
            if left == 0 {
                return Ok(now);
            }
            if now > deadline {
                bail!("{left} of {} slots have not moved", slots.len());
            }
            // Or the daemon would have a processor less.
            thread::sleep(LOOK);
        }
    }
}

fn owner(slot: Slot) -> u16 {
    slot.current().map_or(0, |member| member.number())
}

/// The slots whose owners differ, with those that they have afterwards.
pub(super) fn moved(before: &Owners, after: &Owners) -> Vec<(usize, u16)> {
    let pairs = before.iter().zip(after).enumerate();
    pairs
        .filter(|(_, (before, after))| before != after)
        .map(|(slot, (_, after))| (slot, *after))
        .collect()
}
