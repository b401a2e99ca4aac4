//! Arrays of the kernel's, mapped into this process: a store here is what the datapath reads next.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};

use super::error::Error;

/// A mapped array (`BPF_F_MMAPABLE`), seen as words.
pub(super) struct Mapped {
    memory: MmapRaw,
}

impl Mapped {
    /// Maps an array, which has this name.
    pub(super) fn of(map: &MapData, name: &str) -> Result<Self, Error> {
        let info = map.info().map_err(|error| Error::kernel(format!("map {name}"), &error))?;
        let stride = (info.value_size() as usize).next_multiple_of(8);
        let length = info.max_entries() as usize * stride;
        let memory = MmapOptions::new().len(length).map_raw(map.fd().as_fd().as_raw_fd());
        let failed = |error| Error::kernel(format!("mapping {name} into memory"), &error);
        Ok(Self { memory: memory.map_err(failed)? })
    }

    /// How many 64-bit words it has.
    pub(super) fn words(&self) -> usize {
        self.memory.len() / 8
    }

    /// The 64-bit word with this index.
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        assert!((index + 1) * 8 <= self.memory.len());
        // SAFETY: within the mapping, by the assertion.
        let word = unsafe { self.memory.as_mut_ptr().cast::<u64>().add(index) };
        // SAFETY: page-aligned plus a multiple of 8; lives as long as the mapping that `&self`
        // keeps; the kernel's programs access it by whole loads and stores only.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// The 32-bit word with this index.
    pub(super) fn half_word(&self, index: usize) -> &AtomicU32 {
        assert!((index + 1) * 4 <= self.memory.len());
        // SAFETY: within the mapping, by the assertion.
        let word = unsafe { self.memory.as_mut_ptr().cast::<u32>().add(index) };
        // SAFETY: as in `word`, with a multiple of 4.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// The 32-bit words from this one on, so many.
    pub(super) fn half_words(&self, first: usize, count: usize) -> &[AtomicU32] {
        assert!(first <= self.memory.len() / 4 && count <= self.memory.len() / 4 - first);
        // SAFETY: within the mapping, by the assertion.
        let start = unsafe { self.memory.as_mut_ptr().cast::<AtomicU32>().add(first) };
        // SAFETY: an atomic word is laid out as the word is; aligned, and alive, as in `half_word`.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    pub(super) fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Relaxed)
    }

    /// Stores a word, after everything that was stored before it.
    pub(super) fn store(&self, index: usize, word: u64) {
        self.word(index).store(word, Ordering::Release);
    }
}
