//! The bytes that say of hashes of flows whether a TCP flow with such a hash may be noted (`NOTED`).
//!
//! The datapath stores 1 into a flow's byte before it notes the flow, and never anything else. Where it finds 0, it asks
//! no table: so a byte may be 1 for nothing, and must never be 0 for a flow whose note counts. This is who takes
//! ones away, and who knows what is not to be trusted.
//!
//! Behind the bytes stands for which seed they are. Who finds there what he did not expect fills them: an array that was
//! made just now, beside tables of flows that a former version has filled without it, or that was left by one with
//! another seed.

use std::collections::BTreeMap;

use lb_common::{Entry, Seed, hash, limits};

use super::mapped::Mapped;

/// The bytes.
pub(super) struct Noted {
    words: Mapped,
    /// Of the rings of all services in force, whether clients alone are hashed.
    by_source: BTreeMap<u32, bool>,
}

/// The 64-bit words that are bytes of hashes. The next one is the mark of the seed.
const WORDS: usize = limits::NOTED as usize / size_of::<u64>();

/// A word of ones.
const ONES: u64 = u64::from_ne_bytes([1; size_of::<u64>()]);

impl Noted {
    /// Takes the array as it is, if it is this seed's. Else, unless there can be no note of any flow (`nothing`), all
    /// hashes count as noted.
    pub(super) fn new(words: Mapped, seed: &Seed, nothing: bool) -> Self {
        let noted = Self { words, by_source: BTreeMap::new() };
        let mark = hash::mark(seed);
        if noted.words.load(WORDS) != mark {
            if !nothing {
                noted.fill(ONES);
            }
            noted.words.store(WORDS, mark);
        }
        noted
    }

    /// These are the services in force.
    pub(super) fn know(&mut self, entries: &[Entry]) {
        self.by_source = by_source(entries);
    }

    /// These services will be in force. If one of them begins to hash in the other way, its flows have other hashes than
    /// those under which they were noted: then all count as noted.
    pub(super) fn expect(&mut self, entries: &[Entry]) {
        let by_source = by_source(entries);
        let changes =
            |(ring, is): (&u32, &bool)| by_source.get(ring).is_some_and(|will| will != is);
        if self.by_source.iter().any(changes) {
            self.fill(ONES);
        }
        self.by_source = by_source;
    }

    /// Whether any hash counts as noted.
    pub(super) fn is_any(&self) -> bool {
        (0..WORDS).any(|index| self.words.load(index) != 0)
    }

    /// How many hashes count as noted.
    pub(super) fn count(&self) -> u32 {
        (0..WORDS).map(|index| self.words.load(index).count_ones()).sum()
    }

    /// No hash counts as noted any more.
    pub(super) fn clear(&mut self) {
        self.fill(0);
    }

    fn fill(&self, word: u64) {
        (0..WORDS).for_each(|index| self.words.store(index, word));
    }
}

fn by_source(entries: &[Entry]) -> BTreeMap<u32, bool> {
    let services = entries.iter().filter(|entry| entry.ring_len > 0);
    services.map(|entry| (entry.ring, entry.has(Entry::SOURCE_HASH))).collect()
}
