//! What is noted of flows, and the moments of slots.

use std::sync::atomic::{Ordering, fence};

use lb_common::{Entry, Slot, Tick, Times};
use lb_ebpf::tables::Notes;

use super::{Kernel, tables::rings, wait_for_readers};
use crate::dataplane::flows::FlowTable;

impl Kernel {
    /// Says whether there is no room for the notes of new flows.
    pub fn set_full(&mut self, full: bool) {
        self.full.store(0, u64::from(full));
    }

    /// A table of noted flows.
    #[must_use]
    pub fn notes(&self, notes: Notes) -> &FlowTable {
        match notes {
            Notes::Pinned => &self.pinned,
            Notes::Fresh => &self.fresh,
            Notes::Datagrams => &self.datagrams,
        }
    }

    /// The moments of a slot of the arena.
    #[must_use]
    pub fn times(&self, index: u32) -> Times {
        Times(self.times.load(index as usize))
    }

    /// Makes moments of the marks that packets have left in these slots of the arena. `now` is the clock.
    ///
    /// A packet that finds a mark says nothing, so the moment must not be before that packet. Hence the clock is read
    /// once no mark is there any more: who comes then leaves one anew, and that stays, for the next time. A mark that is
    /// lost, since a packet has stored it just before something was stored here, is none: this moment is as good. And
    /// nobody but packets and the daemon writes these words, which are as old as the slots' openings in their other half.
    pub fn date_marks(&self, slots: impl IntoIterator<Item = u32>, now: impl Fn() -> Tick) {
        let word = |slot: u32| self.times.word(slot as usize);
        let times = slots.into_iter().map(|slot| (slot, self.times(slot)));
        let marked: Vec<(u32, Times)> = times.filter(|(_, times)| times.is_marked()).collect();
        let before = now();
        for (slot, times) in &marked {
            word(*slot).store(times.seen_at(before).0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        let after = now();
        for (slot, times) in marked {
            let [from, to] = [before, after].map(|moment| times.seen_at(moment).0);
            // Where it fails there is another mark.
            let _ = word(slot).compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// How many hashes of flows count as noted.
    #[must_use]
    pub fn noted_hashes(&self) -> u32 {
        self.noted.count()
    }

    /// Forgets which hashes of flows were noted, unless a slot is tracked.
    ///
    /// A flow's byte is asked for in a tracked slot only. Where none is, whoever finds a byte cleared has come after a slot
    /// was opened again, and a note that was made before that means nothing: the datapath does not heed what is older
    /// than the opening (`Question::find`). Should both be in one tick, so that it does, then the flow was noted in a slot
    /// that was closed since, which is done only when all of its flows are with the current owner: that is the previous
    /// one now, who gets what is unknown. Packets that have seen a tracked slot may still ask for their bytes: they are
    /// waited for. What stands in the tables counts here and not what is thought to: a plan that failed may have
    /// opened slots. And nobody else opens any meanwhile.
    ///
    /// As long as any slot is tracked, bytes only become more: where that goes on for long, with much that begins and ends,
    /// older flows take the longer way more and more often, and get to the same real.
    pub fn clear_noted(&mut self) {
        if self.noted.is_any() && !self.has_tracked() {
            wait_for_readers();
            self.noted.clear();
        }
    }

    /// Whether a slot of any service in force has a previous owner.
    pub(super) fn has_tracked(&self) -> bool {
        let is_tracked = |entry: &Entry| {
            let words = self.rings.half_words(entry.ring as usize, entry.ring_len as usize);
            words.iter().any(|word| Slot(word.load(Ordering::Relaxed)).is_tracked())
        };
        rings(&self.entries_in_force(), self.room()).into_iter().any(is_tracked)
    }
}
