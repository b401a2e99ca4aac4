//! What stands in the dataplane's tables: where each VIP has its ring and its pool, and what they
//! hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use lb_common::{Entry, Member, RealWord};

use super::{DesiredVip, Numbers, Slots};
use crate::{maglev::Candidate, model::Room};

/// The contents of the tables, as last written or as read from the maps of a former daemon.
#[derive(Clone, Debug)]
pub struct State {
    /// How large the tables are.
    pub room: Room,
    /// One for each VIP.
    pub blocks: Vec<Block>,
    /// The service table, sorted by key.
    pub entries: Vec<Entry>,
    index: Index,
}

/// What one VIP has in the arrays.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its name; `None` when read from the maps, which do not know it.
    pub name: Option<String>,
    /// The first slot of its ring in the arena, a multiple of [`SLOTS_PER_BLOCK`](lb_common::limits::SLOTS_PER_BLOCK).
    pub ring: u32,
    /// Its slots.
    pub slots: Slots,
    /// The first place of its pool in the arrays of reals and of counters.
    pub pool: u32,
    /// The number of places of its pool, the first of which is the VIP's own.
    pub places: u32,
    /// Who is in the pool, by address.
    pub members: Arc<BTreeMap<IpAddr, Occupant>>,
    /// The ring by its reals alone, and for which reals that holds; shared between the VIPs and states in which it
    /// is the same.
    pub base: Arc<Base>,
    /// What it was planned for: if that is asked for again, nothing changes. `None` when read from the
    /// maps.
    pub planned: Option<Arc<DesiredVip>>,
}

/// A real in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its number.
    pub member: Member,
    /// How it is reached, as the datapath was told.
    pub word: RealWord,
}

/// What a ring was computed of, so that it is computed anew only when that changes.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// The reals with a weight.
    pub candidates: Vec<Candidate>,
    /// The owner of each slot if all reals take what is theirs, as an index into `candidates`.
    pub owners: Arc<Numbers>,
    /// The part of its slots that each of the reals takes, see [`maglev::deal`](crate::maglev::deal).
    pub parts: Vec<u16>,
}

/// Where the block of each name stood when that was asked for first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(OnceLock<HashMap<String, usize>>);

fn index(blocks: &[Block]) -> HashMap<String, usize> {
    let named = blocks.iter().enumerate();
    named.filter_map(|(index, block)| Some((block.name.clone()?, index))).collect()
}

impl Default for State {
    /// Nothing, in tables as large as can be.
    fn default() -> Self {
        Self::empty(Room::MOST)
    }
}

impl State {
    /// These contents of tables of this size.
    #[must_use]
    pub fn new(room: Room, blocks: Vec<Block>, entries: Vec<Entry>) -> Self {
        Self { room, blocks, entries, index: Index::default() }
    }

    /// Nothing, in tables of this size.
    #[must_use]
    pub fn empty(room: Room) -> Self {
        Self::new(room, Vec::new(), Vec::new())
    }

    /// The block of the VIP with this name.
    #[must_use]
    pub fn block(&self, name: &str) -> Option<&Block> {
        self.position(name).map(|index| &self.blocks[index])
    }

    /// Where the block of the VIP with this name stands.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let is_it = |block: &Block| block.name.as_deref() == Some(name);
        let known = self.index.0.get_or_init(|| index(&self.blocks)).get(name).copied();
        // Whoever changes names leaves the index as it was.
        known
            .filter(|index| self.blocks.get(*index).is_some_and(is_it))
            .or_else(|| self.blocks.iter().position(is_it))
    }

    /// Whose place this is: the VIP's block, and the real's address unless it is the VIP's own.
    #[must_use]
    pub fn occupant(&self, place: u32) -> Option<(&Block, Option<IpAddr>)> {
        let block = self
            .blocks
            .iter()
            .find(|block| (block.pool..block.pool + block.places).contains(&place))?;
        let real = block
            .members
            .iter()
            .find(|(_, occupant)| occupant.member.place(block.pool) == place)
            .map(|(address, _)| *address);
        Some((block, real))
    }
}

impl Block {
    /// The length of the ring.
    #[must_use]
    pub fn ring_len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The number of slots of which this member is the current owner.
    #[must_use]
    pub fn owned(&self, member: Member) -> u32 {
        self.slots.held().owned(member)
    }

    /// The number of slots that name this member as the previous owner: flows of which nothing is known
    /// go there.
    #[must_use]
    pub fn holds(&self, member: Member) -> u32 {
        self.slots.held().previous(member)
    }

    /// The number of slots that have a previous owner.
    #[must_use]
    pub fn tracked(&self) -> u32 {
        self.slots.tracked()
    }

    /// The numbers that nobody in the pool has, the lowest first.
    pub(super) fn free_members(&self) -> impl Iterator<Item = Member> + use<> {
        let taken: BTreeSet<u16> =
            self.members.values().map(|occupant| occupant.member.number()).collect();
        let numbers = (1..self.places).map(|number| number as u16);
        numbers.filter(move |number| !taken.contains(number)).filter_map(Member::new)
    }
}

/// Which parts of an array are in use.
#[derive(Debug, Default)]
pub(super) struct Extents {
    /// Where the parts begin, and how long they are; none reaches into the next.
    used: BTreeMap<u32, u32>,
    /// Of each length, no gap before this place is as long.
    from: BTreeMap<u32, u32>,
}

impl Extents {
    /// These parts are in use (start and length). The same may come twice.
    pub(super) fn new(used: impl IntoIterator<Item = (u32, u32)>) -> Self {
        Self { used: used.into_iter().collect(), from: BTreeMap::new() }
    }

    /// Takes the first gap of `length` below `limit`.
    pub(super) fn take(&mut self, length: u32, limit: u32) -> Option<u32> {
        let mut start = self.from.get(&length).copied().unwrap_or_default();
        // The one before may reach beyond it.
        let before = self.used.range(..start).next_back();
        start = before.map_or(start, |(other, length)| start.max(other + length));
        for (other, other_length) in self.used.range(start..) {
            if start + length <= *other {
                break;
            }
            start = start.max(other + other_length);
        }
        // Nothing becomes free as long as this lives.
        self.from.insert(length, start);
        let fits = start.checked_add(length).is_some_and(|end| end <= limit);
        fits.then(|| {
            self.used.insert(start, length);
            start
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_fit(
        used: impl IntoIterator<Item = (u32, u32)>,
        length: u32,
        limit: u32,
    ) -> Option<u32> {
        Extents::new(used).take(length, limit)
    }

    #[test]
    fn the_first_gap_that_is_large_enough_is_taken() {
        assert_eq!(first_fit([], 10, 10), Some(0));
        assert_eq!(first_fit([], 11, 10), None);
        assert_eq!(first_fit([(0, 5), (8, 2)], 3, 20), Some(5));
        assert_eq!(first_fit([(8, 2), (0, 5)], 4, 20), Some(10));
        assert_eq!(first_fit([(0, 5), (8, 2)], 11, 20), None);
    }

    #[test]
    fn gaps_are_taken_one_after_another() {
        let mut extents = Extents::new([(0, 5), (8, 2), (14, 1), (8, 2)]);
        let taken: Vec<_> = [4, 3, 4, 1, 2].map(|length| extents.take(length, 22)).into();
        assert_eq!(taken, [Some(10), Some(5), Some(15), Some(19), Some(20)]);
        assert_eq!(extents.take(1, 22), None);
    }
}
