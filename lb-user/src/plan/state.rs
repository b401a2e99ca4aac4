//! What stands in the dataplane's tables: where each VIP has its ring and its pool, and what they
//! hold.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use lb_common::{Entry, Member, RealWord, Slot};

use super::DesiredVip;
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
}

/// What one VIP has in the arrays.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its name; `None` when read from the maps, which do not know it.
    pub name: Option<String>,
    /// The first slot of its ring in the arena, a multiple of [`SLOTS_PER_BLOCK`](lb_common::limits::SLOTS_PER_BLOCK).
    pub ring: u32,
    /// Its slots, shared between the states in which they are the same.
    pub slots: Arc<[Slot]>,
    /// The first place of its pool in the arrays of reals and of counters.
    pub pool: u32,
    /// The number of places of its pool, the first of which is the VIP's own.
    pub places: u32,
    /// Who is in the pool, by address.
    pub members: BTreeMap<IpAddr, Occupant>,
    /// The ring by its reals alone, and for which reals that holds; shared like `slots`.
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
    pub owners: Arc<[u16]>,
    /// The part of its slots that each of the reals takes, see [`maglev::deal`](crate::maglev::deal).
    pub parts: Vec<u16>,
    /// The owner of each slot with these parts.
    pub holders: Vec<Option<u16>>,
}

impl Default for State {
    /// Nothing, in tables as large as can be.
    fn default() -> Self {
        Self::empty(Room::MOST)
    }
}

impl State {
    /// Nothing, in tables of this size.
    #[must_use]
    pub fn empty(room: Room) -> Self {
        Self { room, blocks: Vec::new(), entries: Vec::new() }
    }

    /// The block of the VIP with this name.
    #[must_use]
    pub fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.name.as_deref() == Some(name))
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
        self.slots.iter().filter(|slot| slot.current() == Some(member)).count() as u32
    }

    /// The number of slots that name this member as the previous owner: flows of which nothing is known
    /// go there.
    #[must_use]
    pub fn holds(&self, member: Member) -> u32 {
        self.slots.iter().filter(|slot| slot.previous() == Some(member)).count() as u32
    }

    /// The number of slots that have a previous owner.
    #[must_use]
    pub fn tracked(&self) -> u32 {
        self.slots.iter().filter(|slot| slot.is_tracked()).count() as u32
    }

    /// The lowest number that nobody in the pool has.
    pub(super) fn free_member(&self) -> Option<Member> {
        (1..self.places)
            .filter_map(|number| Member::new(number as u16))
            .find(|member| self.members.values().all(|occupant| occupant.member != *member))
    }
}

/// The first gap of `length` in `0..limit` between the used extents (start and length).
pub(super) fn first_fit(
    used: impl IntoIterator<Item = (u32, u32)>,
    length: u32,
    limit: u32,
) -> Option<u32> {
    let used: BTreeMap<u32, u32> = used.into_iter().collect();
    let mut start = 0;
    for (other, other_length) in used {
        if start + length <= other {
            break;
        }
        start = start.max(other + other_length);
    }
    (start + length <= limit).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_fit_takes_the_first_gap_that_is_large_enough() {
        assert_eq!(first_fit([], 10, 10), Some(0));
        assert_eq!(first_fit([], 11, 10), None);
        assert_eq!(first_fit([(0, 5), (8, 2)], 3, 20), Some(5));
        assert_eq!(first_fit([(8, 2), (0, 5)], 4, 20), Some(10));
        assert_eq!(first_fit([(0, 5), (8, 2)], 11, 20), None);
    }
}
