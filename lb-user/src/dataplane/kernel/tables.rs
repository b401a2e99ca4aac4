//! What stands in the tables, as a former daemon or this one has left it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, atomic::Ordering},
};

use lb_common::{Entry, Member, RealWord, Slot, TableWord, limits};

use super::Kernel;
use crate::{
    model::Room,
    plan::{Block, Occupant, State},
};

impl Kernel {
    /// What stands in the tables, as a former daemon has left it.
    #[must_use]
    pub fn state(&self) -> State {
        self.read(|_, _| None)
    }

    /// The same, where this is known: what stands there as it is known has its names and all that belongs to it,
    /// and shares its memory.
    #[must_use]
    pub fn state_beside(&self, known: &State) -> State {
        let by_ring: HashMap<u32, &Block> =
            known.blocks.iter().map(|block| (block.ring, block)).collect();
        self.read(|kernel, entry| {
            let known = *by_ring.get(&entry.ring)?;
            kernel.is_as(entry, known).then(|| known.clone())
        })
    }

    /// Whether a block stands in the tables as it is known.
    pub(super) fn is_as(&self, entry: &Entry, known: &Block) -> bool {
        let place = |of: &Entry| (of.pool, of.places, of.ring_len);
        if place(entry) != (known.pool, known.places, known.ring_len()) {
            return false;
        }
        let is_there = |(address, occupant): (&IpAddr, &Occupant)| {
            let place = occupant.member.place(known.pool) as usize;
            self.reals.load(place) == occupant.word.0 && self.address(place) == Some(*address)
        };
        let places = (1..known.places).map(|number| (known.pool + number) as usize);
        let taken = places.filter(|place| {
            self.addresses.load(place * 2) != 0 || self.addresses.load(place * 2 + 1) != 0
        });
        let words = self.rings.half_words(known.ring as usize, known.slots.len());
        let mut same = true;
        known.slots.each(0..known.slots.len(), |index, slot| {
            same &= words[index].load(Ordering::Relaxed) == slot.0;
        });
        same && known.members.iter().all(is_there) && taken.count() == known.members.len()
    }

    pub(super) fn read(&self, known: impl Fn(&Self, &Entry) -> Option<Block>) -> State {
        let mut entries = self.entries_in_force();
        entries.sort_by_key(|entry| entry.key);
        let room = self.room();
        let block = |entry| known(self, entry).unwrap_or_else(|| self.block(entry));
        let blocks = rings(&entries, room).into_iter().map(block).collect();
        State::new(room, blocks, entries)
    }

    /// The service table that is read; nothing if none ever was.
    pub(super) fn entries_in_force(&self) -> Vec<Entry> {
        let table = TableWord(self.table.load(0));
        if !table.is_written() {
            return Vec::new();
        }
        let first = table.half() * limits::TABLE_ENTRIES;
        let all = (first..first + table.entries()).map(|index| self.entry(index));
        all.filter(|entry| entry.key != 0).collect()
    }

    pub(super) fn entry(&self, index: u32) -> Entry {
        let first = index as usize * Entry::WORDS;
        Entry::from_words(std::array::from_fn(|offset| self.entries.load(first + offset)))
    }

    pub(super) fn block(&self, entry: &Entry) -> Block {
        let slots = (entry.ring..entry.ring + entry.ring_len)
            .map(|index| Slot(self.rings.half_word(index as usize).load(Ordering::Relaxed)))
            .collect();
        let members = (1..entry.places).filter_map(|number| {
            let member = Member::new(number as u16)?;
            let place = member.place(entry.pool) as usize;
            let word = RealWord(self.reals.load(place));
            self.address(place).map(|address| (address, Occupant { member, word }))
        });
        Block {
            name: None,
            ring: entry.ring,
            slots,
            pool: entry.pool,
            places: entry.places,
            members: Arc::new(members.collect()),
            base: Arc::default(),
            planned: None,
        }
    }

    pub(super) fn address(&self, place: usize) -> Option<IpAddr> {
        let (high, low) = (self.addresses.load(place * 2), self.addresses.load(place * 2 + 1));
        let address = Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
        (!address.is_unspecified()).then(|| address.to_canonical())
    }
}

/// One entry for each ring, by their places; none that reaches out of the arrays.
pub(super) fn rings(entries: &[Entry], room: Room) -> Vec<&Entry> {
    let inside = |entry: &&Entry| {
        entry.ring_len > 0
            && entry.ring.checked_add(entry.ring_len).is_some_and(|end| end <= room.slots)
            && entry.pool.checked_add(entry.places).is_some_and(|end| end <= room.places)
    };
    let mut rings: Vec<&Entry> = entries.iter().filter(inside).collect();
    rings.sort_by_key(|entry| entry.ring);
    rings.dedup_by_key(|entry| entry.ring);
    rings
}
