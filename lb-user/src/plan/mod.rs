//! The pure planner: from what stands in the tables and what shall be, the writes that lead there.
//!
//! A plan applied reaches the desired state, and planning again yields nothing. Its order keeps
//! every packet on its way right: a real can be reached before a slot names it, slots are written
//! before a service names their ring, and nothing is given up before nothing names it any more.

mod desired;
mod draw;
mod needed;
mod packed;
mod slots;
mod state;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use lb_common::{Entry, Member, RealWord, Seed, Tick, limits};
use thiserror::Error;

pub use self::{
    desired::{Desired, DesiredReal, DesiredVip, Role},
    draw::Rings,
    needed::needed,
    packed::{Changed, Numbers, Slots},
    slots::{Serving, next_slots, opens},
    state::{Base, Block, Occupant, State},
    table::Table,
};
use self::{
    draw::{Sketch, draw},
    state::Extents,
};
use crate::model::{Ports, Protocol, Room};

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
    /// Note when slots are opened, before they are: one after the other get a previous owner.
    Open {
        /// The first one's index in the arena.
        first: u32,
        /// How many.
        count: u32,
        /// When.
        at: Tick,
    },
    /// Write slots one after the other.
    Slots(Changed),
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
        "vip \"{vip}\": no room for a ring of {slots} slots (all rings together have {room}): {}",
        advice(*room < Room::MOST.slots)
    )]
    NoRing {
        /// Whose ring.
        vip: String,
        /// Its length.
        slots: u32,
        /// The size of the arena.
        room: u32,
    },
    /// The arrays of reals are full.
    #[error(
        "vip \"{vip}\": no room for a pool of {places} places (all pools together have {room}): {}",
        advice(*room < Room::MOST.places)
    )]
    NoPool {
        /// Whose pool.
        vip: String,
        /// Its size.
        places: u32,
        /// The size of the arrays.
        room: u32,
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

/// What to do where there is no room.
fn advice(can_grow: bool) -> &'static str {
    if can_grow {
        "put it into the configuration file and restart lbd, which then makes larger tables; \
         nothing is interrupted"
    } else {
        "use fewer VIPs or smaller pools"
    }
}

/// The plan that leads from `actual` to `desired`.
///
/// # Errors
///
/// When the desired state does not fit the tables; nothing is to be written then.
pub fn plan(actual: &State, desired: &Desired) -> Result<Plan, PlanError> {
    plan_with(actual, desired, &Rings::default())
}

/// The same, with rings that were computed ahead.
///
/// # Errors
///
/// As [`plan`]'s.
pub fn plan_with(actual: &State, desired: &Desired, ahead: &Rings) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(actual, desired);
    let claims = claim(actual, desired);
    for (vip, claimed) in desired.vips.iter().zip(&claims) {
        let old = claimed.map(|index| &actual.blocks[index]);
        let block = planner.block(vip, old)?;
        planner.blocks.push(block);
    }
    planner.rings(&desired.vips, ahead);
    let entries = match planner.stays(&claims) {
        true => actual.entries.clone(),
        false => entries(&desired.vips, &planner.blocks)?,
    };
    if entries != actual.entries {
        planner.services.push(Op::Services(entries.clone()));
    }
    Ok(planner.finish(&claims, entries))
}

/// Gives the blocks of a former daemon, which does not tell names, those of the VIPs that go on with them.
pub fn recognise(state: &mut State, desired: &Desired) {
    let claims = claim(state, desired);
    for (vip, claimed) in desired.vips.iter().zip(claims) {
        if let Some(block) = claimed.and_then(|index| state.blocks.get_mut(index)) {
            block.name = Some(vip.name.clone());
        }
    }
}

/// Which block each VIP goes on with: the one of its name, or, where names are not known, one that
/// serves one of its keys.
fn claim(actual: &State, desired: &Desired) -> Vec<Option<usize>> {
    let (mut by_name, mut by_ring) = (HashMap::new(), HashMap::new());
    for (index, block) in actual.blocks.iter().enumerate() {
        match block.name.as_deref() {
            Some(name) => by_name.insert(name, index),
            None => by_ring.insert(block.ring, index),
        };
    }
    let mut claimed = |vip: &DesiredVip| {
        by_name.remove(vip.name.as_str()).or_else(|| {
            let mut rings = vip.keys().filter_map(|(key, _)| actual.ring(key));
            rings.find_map(|ring| by_ring.remove(&ring))
        })
    };
    desired.vips.iter().map(&mut claimed).collect()
}

/// Collects the writes of a plan in the steps of its order.
struct Planner<'a> {
    actual: &'a State,
    seed: Seed,
    now: Tick,
    blocks: Vec<Block>,
    /// The blocks whose rings are to be drawn, and whether their pools have moved.
    sketched: Vec<(usize, bool)>,
    /// Everything that is in use before the plan or after it: nothing else may be written to while packets still
    /// follow the old tables.
    slots_in_use: Extents,
    places_in_use: Extents,
    prepare: Vec<Op>,
    slots: Vec<Op>,
    services: Vec<Op>,
    /// Slots of VIPs that move to another pool: numbers that are new name nobody in the former one.
    moved_slots: Vec<Op>,
    retire: Vec<Op>,
}

impl<'a> Planner<'a> {
    fn new(actual: &'a State, desired: &Desired) -> Self {
        Self {
            actual,
            seed: desired.seed,
            now: desired.now,
            blocks: Vec::with_capacity(desired.vips.len()),
            sketched: Vec::new(),
            slots_in_use: Extents::new(
                actual.blocks.iter().map(|block| (block.ring, Room::ring(block.ring_len()))),
            ),
            places_in_use: Extents::new(
                actual.blocks.iter().map(|block| (block.pool, block.places)),
            ),
            prepare: Vec::new(),
            slots: Vec::new(),
            services: Vec::new(),
            moved_slots: Vec::new(),
            retire: Vec::new(),
        }
    }

    fn block(&mut self, vip: &DesiredVip, old: Option<&Block>) -> Result<Block, PlanError> {
        if let Some(old) = old.filter(|old| old.planned.as_deref() == Some(vip)) {
            return Ok(old.clone());
        }
        let ring = match old {
            Some(old) => old.ring,
            None => self.new_ring(vip)?,
        };
        let (pool, places) = self.pool(vip, old)?;
        let mut block = Block {
            name: Some(vip.name.clone()),
            ring,
            slots: old.map(|old| old.slots.clone()).unwrap_or_default(),
            pool,
            places,
            members: old.map(|old| Arc::clone(&old.members)).unwrap_or_default(),
            base: old.map(|old| Arc::clone(&old.base)).unwrap_or_default(),
            planned: Some(Arc::new(vip.clone())),
        };
        match old {
            None => self.prepare.push(Op::ClearCounters { place: pool }),
            Some(old) if old.pool != pool => self.resettle(old, &block),
            Some(_) => {}
        }
        self.members(vip, &mut block);
        self.sketched.push((self.blocks.len(), old.is_some_and(|old| old.pool != pool)));
        Ok(block)
    }

    fn new_ring(&mut self, vip: &DesiredVip) -> Result<u32, PlanError> {
        let room = self.actual.room.slots;
        self.slots_in_use.take(Room::ring(vip.ring_len), room).ok_or_else(|| PlanError::NoRing {
            vip: vip.name.clone(),
            slots: vip.ring_len,
            room,
        })
    }

    /// The pool that the VIP has, or one with room to grow if it is new or too small.
    fn pool(&mut self, vip: &DesiredVip, old: Option<&Block>) -> Result<(u32, u32), PlanError> {
        let stay = old.map_or(0, |old| old.members.len());
        let come = vip
            .pool()
            .filter(|real| old.is_none_or(|old| !old.members.contains_key(&real.address)))
            .count();
        let members = (stay + come) as u32;
        if let Some(old) = old.filter(|old| members < old.places) {
            return Ok((old.pool, old.places));
        }
        let (places, room) = (Room::pool(members), self.actual.room.places);
        let pool = self.places_in_use.take(places, room).ok_or_else(|| PlanError::NoPool {
            vip: vip.name.clone(),
            places,
            room,
        })?;
        Ok((pool, places))
    }

    /// Takes all members to another pool, as they are and with their numbers.
    fn resettle(&mut self, old: &Block, block: &Block) {
        self.prepare.push(Op::ClearCounters { place: block.pool });
        self.retire.push(Op::MoveCounters { from: old.pool, to: block.pool });
        for (address, occupant) in old.members.iter() {
            let to = occupant.member.place(block.pool);
            self.settle(to, *address, occupant.word);
            self.vacate(occupant.member.place(old.pool), to);
        }
    }

    /// Makes a place somebody's.
    fn settle(&mut self, place: u32, address: IpAddr, word: RealWord) {
        self.prepare.push(Op::Address { place, address: Some(address) });
        self.prepare.push(Op::ClearCounters { place });
        self.prepare.push(Op::Real { place, word });
    }

    /// Makes a place nobody's; what was counted there is counted elsewhere.
    fn vacate(&mut self, place: u32, heir: u32) {
        self.retire.push(Op::MoveCounters { from: place, to: heir });
        self.give_up(place);
    }

    fn give_up(&mut self, place: u32) {
        self.retire.push(Op::Address { place, address: None });
        self.retire.push(Op::Real { place, word: RealWord::NONE });
    }

    /// Gives each real its number and tells the datapath how to reach it. A real that stays keeps
    /// its number. One that is neither wanted nor leaving loses it, and what it counted stays with
    /// the VIP.
    fn members(&mut self, vip: &DesiredVip, block: &mut Block) {
        let former = Arc::clone(&block.members);
        let mut free = block.free_members();
        let members = Arc::make_mut(&mut block.members);
        let leaving = vip.leaving.iter().filter(|real| former.contains_key(&real.address));
        let mut stay = BTreeSet::new();
        for real in vip.pool().chain(leaving) {
            let known = former.get(&real.address);
            let Some(member) = known.map(|known| known.member).or_else(|| free.next()) else {
                unreachable!("the pool was made large enough");
            };
            let place = member.place(block.pool);
            let word = real.word(known.map_or(RealWord::NONE, |known| known.word));
            match known {
                None => self.settle(place, real.address, word),
                Some(known) if known.word == word => {}
                // No slot names it as the current owner any more once it cannot take flows. (Whoever resets and led
                // nowhere before may be named as the previous one from now on.)
                Some(known)
                    if word == RealWord::NONE
                        || word == RealWord::RESET && known.word.port() != 0 =>
                {
                    self.retire.push(Op::Real { place, word });
                }
                Some(_) => self.prepare.push(Op::Real { place, word }),
            }
            members.insert(real.address, Occupant { member, word });
            stay.insert(real.address);
        }
        for occupant in former.iter().filter(|(address, _)| !stay.contains(address)).map(|(_, o)| o)
        {
            self.vacate(occupant.member.place(block.pool), block.pool);
        }
        members.retain(|address, _| stay.contains(address));
    }

    /// Draws the rings of what is new or has changed. Slots that differ are written neighbours together, and before
    /// them when they were opened.
    fn rings(&mut self, vips: &[DesiredVip], ahead: &Rings) {
        let sketch =
            |(index, _): &(usize, bool)| Sketch { vip: &vips[*index], block: &self.blocks[*index] };
        let sketches: Vec<_> = self.sketched.iter().map(sketch).collect();
        let drawn = draw(&sketches, &self.seed, self.now, ahead);
        for ((index, moves), drawn) in self.sketched.iter().zip(drawn) {
            let block = &mut self.blocks[*index];
            block.base = drawn.base;
            block.slots = drawn.slots.unwrap_or_else(|| block.slots.clone());
            let ops = if *moves { &mut self.moved_slots } else { &mut self.slots };
            ops.extend(drawn.ops);
        }
    }

    /// Whether all services stay as they were: those of the same VIPs, with their rings and pools.
    fn stays(&self, claims: &[Option<usize>]) -> bool {
        let stays = |(new, claimed): (&Block, &Option<usize>)| {
            let Some(old) = claimed.map(|index| &self.actual.blocks[index]) else {
                return false;
            };
            let place = |block: &Block| (block.ring, block.ring_len(), block.pool, block.places);
            let planned = old.planned.as_deref().zip(new.planned.as_deref());
            place(old) == place(new) && planned.is_some_and(|(old, new)| new.has_entries_of(old))
        };
        claims.len() == self.actual.blocks.len() && self.blocks.iter().zip(claims).all(stays)
    }

    fn finish(mut self, claims: &[Option<usize>], entries: Vec<Entry>) -> Plan {
        let claimed: BTreeSet<usize> = claims.iter().copied().flatten().collect();
        for (index, block) in self.actual.blocks.iter().enumerate() {
            if !claimed.contains(&index) {
                let members = block.members.values();
                members.for_each(|gone| self.give_up(gone.member.place(block.pool)));
            }
        }
        let steps = [self.prepare, self.slots, self.services, self.moved_slots, self.retire];
        Plan {
            ops: steps.into_iter().flatten().collect(),
            state: State::new(self.actual.room, self.blocks, entries),
        }
    }
}

impl Block {
    /// The length of the ring, or the one that the VIP wants if it has none yet.
    fn ring_len_of(&self, vip: &DesiredVip) -> u32 {
        if self.slots.is_empty() { vip.ring_len } else { self.ring_len() }
    }

    fn member(&self, real: &DesiredReal) -> Option<Member> {
        self.members.get(&real.address).map(|occupant| occupant.member)
    }

    fn serving(&self, vip: &DesiredVip) -> Serving {
        let serving = vip.pool().chain(&vip.leaving).filter(|real| real.role.serves());
        serving.filter_map(|real| self.member(real)).collect()
    }
}

impl State {
    /// The ring of the service with this key.
    fn ring(&self, key: u64) -> Option<u32> {
        let index = self.entries.binary_search_by_key(&key, |entry| entry.key).ok()?;
        Some(&self.entries[index]).filter(|entry| entry.ring_len != 0).map(|entry| entry.ring)
    }
}

/// The service table for these VIPs, sorted by key: an entry for each of their ports, and one for
/// each address, which says what becomes of the rest.
fn entries(vips: &[DesiredVip], blocks: &[Block]) -> Result<Vec<Entry>, PlanError> {
    let mut entries = BTreeMap::new();
    for vip in vips {
        let (key, service) = vip.address_key();
        let address: &mut Entry = entries.entry(key).or_default();
        (address.key, address.service) = (key, service);
        address.address = vip.address_words();
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
        for (key, service) in vip.keys() {
            let entry: &mut Entry = entries.entry(key).or_default();
            *entry = Entry {
                key,
                service,
                ring: block.ring,
                ring_len: block.ring_len(),
                pool: block.pool,
                flags: entry.flags | vip.flags(),
                places: block.places,
                grace: vip.grace,
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

#[cfg(test)]
mod tests;
