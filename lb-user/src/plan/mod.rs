//! The pure planner: from what stands in the tables and what shall be, the writes that lead there.
//!
//! A plan applied reaches the desired state, and planning again yields nothing. Its order keeps
//! every packet on its way right: a real can be reached before a slot names it, slots are written
//! before a service names their ring, and nothing is given up before nothing names it any more.

mod desired;
mod state;
mod table;

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{Entry, RealWord, Seed, Slot, limits};
use thiserror::Error;

pub use self::{
    desired::{Desired, DesiredReal, DesiredVip},
    state::{Base, Block, Occupant, State},
    table::Table,
};
use crate::{
    maglev::{self, Candidate},
    model::{Ports, Protocol},
};

/// One write to the dataplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Say who is at a place, or that nobody is.
    Address {
        /// The place.
        place: u32,
        /// The real's address.
        address: Option<IpAddr>,
    },
    /// Say how the real at a place is reached.
    Real {
        /// The place.
        place: u32,
        /// How.
        word: RealWord,
    },
    /// Set a place's counters to zero.
    ClearCounters {
        /// The place.
        place: u32,
    },
    /// Write slots one after the other.
    Slots {
        /// The first one's index in the arena.
        first: u32,
        /// What they become.
        slots: Vec<Slot>,
    },
    /// Replace the service table, and wait until no packet sees the old one.
    Services(Vec<Entry>),
    /// Add a place's counters to those of another and set them to zero.
    MoveCounters {
        /// The place that is given up.
        from: u32,
        /// The place that goes on counting.
        to: u32,
    },
}

/// What leads from one state to another.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The writes, in their order.
    pub ops: Vec<Op>,
    /// What stands in the tables afterwards.
    pub state: State,
}

/// What does not fit the tables.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// The arena is full.
    #[error(
        "vip \"{vip}\": no room for a ring of {slots} slots (all rings together may have {}); \
         use fewer VIPs or smaller pools",
        limits::RING_SLOTS
    )]
    NoRing {
        /// Whose ring.
        vip: String,
        /// Its length.
        slots: u32,
    },
    /// The arrays of reals are full.
    #[error(
        "vip \"{vip}\": no room for a pool of {places} places (all pools together may have {}); \
         use fewer VIPs or smaller pools",
        limits::REALS
    )]
    NoPool {
        /// Whose pool.
        vip: String,
        /// Its size.
        places: u32,
    },
    /// The service table is full.
    #[error(
        "{keys} addresses and ports are more than the {} that the service table holds; \
         use tcp/*, udp/* or any instead of single ports",
        limits::SERVICE_KEYS
    )]
    TooManyServices {
        /// How many.
        keys: usize,
    },
}

/// The plan that leads from `actual` to `desired`.
///
/// # Errors
///
/// When the desired state does not fit the tables; nothing is to be written then.
pub fn plan(actual: &State, desired: &Desired) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(actual);
    let claims = claim(actual, desired);
    for (vip, claimed) in desired.vips.iter().zip(&claims) {
        let old = claimed.map(|index| &actual.blocks[index]);
        let block = planner.block(&desired.seed, vip, old)?;
        planner.blocks.push(block);
    }
    let entries = entries(&desired.vips, &planner.blocks)?;
    if entries != actual.entries {
        planner.services.push(Op::Services(entries.clone()));
    }
    Ok(planner.finish(&claims, entries))
}

/// Which block each VIP goes on with: the one of its name, or, where names are not known, one that
/// serves one of its keys.
fn claim(actual: &State, desired: &Desired) -> Vec<Option<usize>> {
    let mut free = vec![true; actual.blocks.len()];
    let mut claimed = |vip: &DesiredVip| {
        let by_name = |block: &Block| block.name.as_deref() == Some(&vip.name);
        let by_key =
            |block: &Block| block.name.is_none() && vip.keys().any(|key| actual.serves(block, key));
        let candidates = || actual.blocks.iter().enumerate().filter(|(index, _)| free[*index]);
        let found = candidates()
            .find(|(_, block)| by_name(block))
            .or_else(|| candidates().find(|(_, block)| by_key(block)))
            .map(|(index, _)| index);
        if let Some(index) = found {
            free[index] = false;
        }
        found
    };
    desired.vips.iter().map(&mut claimed).collect()
}

/// Collects the writes of a plan in the four steps of its order.
struct Planner<'a> {
    actual: &'a State,
    blocks: Vec<Block>,
    prepare: Vec<Op>,
    slots: Vec<Op>,
    services: Vec<Op>,
    retire: Vec<Op>,
}

impl<'a> Planner<'a> {
    fn new(actual: &'a State) -> Self {
        Self {
            actual,
            blocks: Vec::new(),
            prepare: Vec::new(),
            slots: Vec::new(),
            services: Vec::new(),
            retire: Vec::new(),
        }
    }

    /// Everything that is in use before the plan or after it: nothing else may be written to
    /// while packets still follow the old tables.
    fn used(&self) -> impl Iterator<Item = &Block> {
        self.actual.blocks.iter().chain(&self.blocks)
    }

    fn block(
        &mut self,
        seed: &Seed,
        vip: &DesiredVip,
        old: Option<&Block>,
    ) -> Result<Block, PlanError> {
        let (ring, slots) = match old {
            Some(old) => (old.ring, old.slots.clone()),
            None => (self.new_ring(vip)?, Vec::new()),
        };
        let ring_len = old.map_or(vip.ring_len, Block::ring_len);
        let (pool, places) = self.pool(vip, old)?;
        let mut block = Block {
            name: Some(vip.name.clone()),
            ring,
            slots,
            pool,
            places,
            members: BTreeMap::new(),
            base: old.map(|old| old.base.clone()).unwrap_or_default(),
        };
        self.members(vip, old, &mut block);
        block.base.update(vip, seed, ring_len);
        let slots = block.dealt(vip, seed, ring_len);
        self.write_slots(&block, &slots);
        block.slots = slots;
        Ok(block)
    }

    fn new_ring(&self, vip: &DesiredVip) -> Result<u32, PlanError> {
        let extents = self.used().map(|block| (block.ring, Block::ring_extent(block.ring_len())));
        state::first_fit(extents, Block::ring_extent(vip.ring_len), limits::RING_SLOTS)
            .ok_or_else(|| PlanError::NoRing { vip: vip.name.clone(), slots: vip.ring_len })
    }

    /// The pool that the VIP has, or one with room to grow if it is new or too small.
    fn pool(&self, vip: &DesiredVip, old: Option<&Block>) -> Result<(u32, u32), PlanError> {
        let stay = old.map_or(0, |old| old.members.len());
        let come = vip
            .pool()
            .filter(|real| old.is_none_or(|old| !old.members.contains_key(&real.address)))
            .count();
        let needed = (stay + come + 1) as u32;
        if let Some(old) = old.filter(|old| needed <= old.places) {
            return Ok((old.pool, old.places));
        }
        let places = (needed + needed / 2).next_power_of_two().max(8);
        let extents = self.used().map(|block| (block.pool, block.places));
        let pool = state::first_fit(extents, places, limits::REALS)
            .ok_or_else(|| PlanError::NoPool { vip: vip.name.clone(), places })?;
        Ok((pool, places))
    }

    /// Gives each real its number and tells the datapath how to reach it. A real that stays keeps
    /// its number; one that leaves keeps it until this plan is done.
    fn members(&mut self, vip: &DesiredVip, old: Option<&Block>, block: &mut Block) {
        let former = old.map(|old| old.members.clone()).unwrap_or_default();
        let moved = old.is_none_or(|old| old.pool != block.pool);
        block.members = former.clone();
        if moved {
            self.prepare.push(Op::ClearCounters { place: block.pool });
            let counters = old.map(|old| Op::MoveCounters { from: old.pool, to: block.pool });
            self.retire.extend(counters);
        }
        for real in vip.pool() {
            let known = former.get(&real.address).copied();
            let Some(member) = known.map(|known| known.member).or_else(|| block.free_member())
            else {
                unreachable!("the pool was made large enough");
            };
            let place = member.place(block.pool);
            // The last known MAC address stays for flows that are still under way.
            let word = match known {
                Some(known) if real.word == RealWord::NONE => known.word,
                _ => real.word,
            };
            if moved || known.is_none() {
                self.prepare.push(Op::Address { place, address: Some(real.address) });
                self.prepare.push(Op::ClearCounters { place });
            }
            if moved || known.is_none_or(|known| known.word != word) {
                self.prepare.push(Op::Real { place, word });
            }
            if let (Some(old), true, Some(_)) = (old, moved, known) {
                self.retire.push(Op::MoveCounters { from: member.place(old.pool), to: place });
            }
            block.members.insert(real.address, Occupant { member, word });
        }
        self.leavers(vip, old, block);
    }

    /// Reals that are no longer in the pool: what they counted stays with the VIP. A pool that is
    /// given up is nobody's.
    fn leavers(&mut self, vip: &DesiredVip, old: Option<&Block>, block: &mut Block) {
        let stays = |address: &IpAddr| vip.pool().any(|real| real.address == *address);
        block.members.retain(|address, _| stays(address));
        let Some(old) = old else {
            return;
        };
        for (address, occupant) in &old.members {
            let place = occupant.member.place(old.pool);
            if !stays(address) {
                self.retire.push(Op::MoveCounters { from: place, to: block.pool });
            }
            if !stays(address) || old.pool != block.pool {
                self.retire.push(Op::Address { place, address: None });
            }
        }
    }

    /// Writes the slots that differ, neighbours together.
    fn write_slots(&mut self, block: &Block, slots: &[Slot]) {
        let mut start = 0;
        let differs = |index: usize| block.slots.get(index) != Some(&slots[index]);
        while start < slots.len() {
            let length = (start..slots.len()).take_while(|index| differs(*index)).count();
            if length > 0 {
                let changed = slots[start..start + length].to_vec();
                self.slots.push(Op::Slots { first: block.ring + start as u32, slots: changed });
            }
            start += length.max(1);
        }
    }

    fn finish(mut self, claims: &[Option<usize>], entries: Vec<Entry>) -> Plan {
        for (index, block) in self.actual.blocks.iter().enumerate() {
            if !claims.contains(&Some(index)) {
                let places = block.members.values().map(|gone| gone.member.place(block.pool));
                self.retire.extend(places.map(|place| Op::Address { place, address: None }));
            }
        }
        let steps = [self.prepare, self.slots, self.services, self.retire];
        Plan {
            ops: steps.into_iter().flatten().collect(),
            state: State { blocks: self.blocks, entries },
        }
    }
}

impl Base {
    /// Builds the ring anew if other reals own it than did.
    fn update(&mut self, vip: &DesiredVip, seed: &Seed, ring_len: u32) {
        let candidates: Vec<Candidate> = vip
            .reals
            .iter()
            .filter(|real| real.weight > 0)
            .map(|real| Candidate { address: real.address, weight: real.weight })
            .collect();
        if candidates != self.candidates || self.owners.is_empty() {
            self.owners = maglev::ring(&candidates, seed, ring_len);
            self.candidates = candidates;
        }
    }
}

impl Block {
    /// The slots, with those of unusable reals dealt to the usable ones, or to the sorry server if
    /// there are none.
    fn dealt(&self, vip: &DesiredVip, seed: &Seed, ring_len: u32) -> Vec<Slot> {
        let reals: BTreeMap<IpAddr, &DesiredReal> =
            vip.reals.iter().map(|real| (real.address, real)).collect();
        let candidates = &self.base.candidates;
        let usable: Vec<bool> =
            candidates.iter().map(|candidate| reals[&candidate.address].usable).collect();
        let sorry = vip.sorry.filter(|sorry| sorry.usable).map(|sorry| sorry.address);
        let slot = |address: Option<IpAddr>| {
            address.map_or(Slot::EMPTY, |address| Slot::stable(self.members[&address].member))
        };
        if !usable.contains(&true) {
            return vec![slot(sorry); ring_len as usize];
        }
        let members: Vec<Slot> =
            candidates.iter().map(|candidate| slot(Some(candidate.address))).collect();
        maglev::deal(&self.base.owners, candidates, &usable, seed)
            .into_iter()
            .map(|owner| owner.map_or(Slot::EMPTY, |owner| members[usize::from(owner)]))
            .collect()
    }
}

impl State {
    fn serves(&self, block: &Block, key: u64) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.key == key && entry.ring_len != 0 && entry.ring == block.ring)
    }
}

/// The service table for these VIPs, sorted by key: an entry for each of their ports, and one for
/// each address, which says what becomes of the rest.
fn entries(vips: &[DesiredVip], blocks: &[Block]) -> Result<Vec<Entry>, PlanError> {
    let mut entries = BTreeMap::new();
    for vip in vips {
        let key = vip.address_key();
        let address: &mut Entry = entries.entry(key).or_default();
        (address.key, address.address) = (key, vip.address_words());
        address.flags |= if vip.local { Entry::LOCAL } else { 0 };
        for ports in &vip.ports {
            address.flags |= match ports {
                Ports::All(Protocol::Tcp) => Entry::ALL_TCP,
                Ports::All(Protocol::Udp) => Entry::ALL_UDP,
                Ports::Any | Ports::One(..) => 0,
            };
        }
    }
    for (vip, block) in vips.iter().zip(blocks) {
        for key in vip.keys() {
            let entry: &mut Entry = entries.entry(key).or_default();
            *entry = Entry {
                key,
                ring: block.ring,
                ring_len: block.ring_len(),
                pool: block.pool,
                flags: entry.flags | vip.flags(),
                places: block.places,
                address: vip.address_words(),
                ..Entry::default()
            };
        }
    }
    if entries.len() > limits::SERVICE_KEYS as usize {
        return Err(PlanError::TooManyServices { keys: entries.len() });
    }
    Ok(entries.into_values().collect())
}
