//! The datapath in this process's memory: the packet code of the kernel on tables of our own.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::IpAddr,
};

use lb_common::{
    Counters, Entrance, Entry, Flow, FlowKey, FragmentKey, Outcome, PortWord, RealWord, Seed, Slot,
    TableWord, Tick, Times, limits,
};
use lb_ebpf::{
    Forward,
    packet::Frame,
    tables::{Count, Notes, Shelf, Tables},
};

use super::Dataplane;
use crate::plan::{Op, Table};

/// Tables in memory. Sparse: what nobody wrote is zero, as in the kernel.
pub struct Memory {
    ports: BTreeMap<u8, PortWord>,
    seed: Seed,
    table: Option<Table>,
    slots: BTreeMap<u32, Vec<Slot>>,
    reals: BTreeMap<u32, RealWord>,
    addresses: BTreeMap<u32, IpAddr>,
    now: Cell<Tick>,
    full: bool,
    times: RefCell<BTreeMap<u32, Times>>,
    flows: RefCell<BTreeMap<(Notes, FlowKey), Flow>>,
    noted: RefCell<BTreeSet<u32>>,
    doubts: bool,
    fragments: RefCell<BTreeMap<FragmentKey, u32>>,
    counts: RefCell<Counts>,
}

#[derive(Default)]
struct Counts {
    outcomes: BTreeMap<u32, u64>,
    steered: BTreeMap<u32, Counters>,
}

impl Memory {
    /// Empty tables of a balancer whose interface, at port 1, has this MAC address: frames come in
    /// there.
    #[must_use]
    pub fn new(mac: [u8; 6], seed: Seed) -> Self {
        Self {
            ports: BTreeMap::from([(1, PortWord::new(mac))]),
            seed,
            table: None,
            slots: BTreeMap::new(),
            reals: BTreeMap::new(),
            addresses: BTreeMap::new(),
            now: Cell::default(),
            full: false,
            times: RefCell::default(),
            flows: RefCell::default(),
            noted: RefCell::default(),
            doubts: false,
            fragments: RefCell::default(),
            counts: RefCell::default(),
        }
    }

    /// Says what a port is.
    pub fn set_port(&mut self, number: u8, word: PortWord) {
        self.ports.insert(number, word);
    }

    /// Says what time it is: here it passes only so.
    pub fn set_now(&mut self, now: Tick) {
        self.now.set(now);
    }

    /// Forgets what packets have left behind: the flows and the owners of first fragments that were noted.
    pub fn forget(&self) {
        self.flows.borrow_mut().clear();
        self.noted.borrow_mut().clear();
        self.fragments.borrow_mut().clear();
    }

    /// Says whether there is no room for the notes of new flows.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Forgets which hashes of flows were noted; nothing of a flow that is noted since its slot was opened is to be
    /// forgotten so.
    pub fn clear_noted(&self) {
        self.noted.borrow_mut().clear();
    }

    /// Says whether all hashes count as noted, so that each flow of a tracked slot is looked up.
    pub fn set_doubts(&mut self, doubts: bool) {
        self.doubts = doubts;
    }

    /// Runs the datapath on a frame, which is rewritten if it is forwarded.
    ///
    /// # Errors
    ///
    /// How the frame ended if it was not forwarded.
    pub fn process(&self, frame: &mut impl Frame) -> Result<Forward, Outcome> {
        lb_ebpf::process(frame, self, self)
    }

    /// How many frames ended so.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        let counts = self.counts.borrow();
        match outcome {
            Outcome::Forwarded => counts.steered.values().map(|counters| counters.packets).sum(),
            _ => counts.outcomes.get(&outcome.index()).copied().unwrap_or_default(),
        }
    }

    /// What was steered to the real at a place.
    #[must_use]
    pub fn steered(&self, place: u32) -> Counters {
        self.counts.borrow().steered.get(&place).copied().unwrap_or_default()
    }

    /// Who is at a place.
    #[must_use]
    pub fn address(&self, place: u32) -> Option<IpAddr> {
        self.addresses.get(&place).copied()
    }

    fn write(&mut self, op: &Op) {
        match op {
            Op::Address { place, address: Some(address) } => {
                self.addresses.insert(*place, *address);
            }
            Op::Address { place, address: None } => {
                self.addresses.remove(place);
            }
            Op::Real { place, word } => {
                self.reals.insert(*place, *word);
            }
            Op::ClearCounters { place } => {
                self.counts.get_mut().steered.remove(place);
            }
            Op::Open { first, count, at } => {
                let opened = (*first..first + count).map(|index| (index, Times::opened_at(*at)));
                self.times.get_mut().extend(opened);
            }
            Op::Slots(changed) => changed.each(|index, slot| self.write_slot(index, slot)),
            Op::Services(entries) => {
                let half = self.table.as_ref().map_or(0, |table| 1 - table.word.half());
                self.table = Table::lay_out(entries, half);
                assert!(self.table.is_some(), "no layout for {} entries", entries.len());
            }
            Op::MoveCounters { from, to } => {
                let steered = &mut self.counts.get_mut().steered;
                let moved = steered.remove(from).unwrap_or_default();
                let total = steered.entry(*to).or_default();
                total.packets += moved.packets;
                total.bytes += moved.bytes;
                total.flows += moved.flows;
            }
        }
    }

    /// Slots are kept in the blocks of the kernel's array.
    fn write_slot(&mut self, index: u32, slot: Slot) {
        let block = self
            .slots
            .entry(index / limits::SLOTS_PER_BLOCK)
            .or_insert_with(|| vec![Slot::EMPTY; limits::SLOTS_PER_BLOCK as usize]);
        block[(index % limits::SLOTS_PER_BLOCK) as usize] = slot;
    }
}

impl Dataplane for Memory {
    type Error = Infallible;

    fn apply(&mut self, ops: &[Op]) -> Result<(), Infallible> {
        ops.iter().for_each(|op| self.write(op));
        Ok(())
    }
}

impl Tables for Memory {
    fn port_number(&self) -> u8 {
        1
    }

    fn port(&self, number: u8) -> PortWord {
        self.ports.get(&number).copied().unwrap_or_default()
    }

    fn seed(&self) -> Seed {
        self.seed
    }

    fn entrance(&self) -> Entrance {
        let table = self.table.as_ref().map_or(TableWord::default(), |table| table.word);
        Entrance { own: self.port(self.port_number()), table }
    }

    fn displacement(&self, index: u32) -> u64 {
        let within = (index % limits::TABLE_DISPLACEMENTS) as usize;
        self.table
            .as_ref()
            .and_then(|table| table.displacements.get(within))
            .map_or(0, |displacement| u64::from(*displacement))
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        self.table.as_ref()?.entries.get((index % limits::TABLE_ENTRIES) as usize)
    }

    fn slot(&self, index: u32) -> Slot {
        let within = (index % limits::SLOTS_PER_BLOCK) as usize;
        let block = self.slots.get(&(index / limits::SLOTS_PER_BLOCK));
        block.map_or(Slot::EMPTY, |block| block[within])
    }

    fn real(&self, place: u32) -> RealWord {
        self.reals.get(&place).copied().unwrap_or_default()
    }

    fn now(&self) -> Tick {
        self.now.get()
    }

    fn times(&self, index: u32) -> Times {
        self.times.borrow().get(&index).copied().unwrap_or_default()
    }

    fn saw(&self, index: u32) {
        let mut times = self.times.borrow_mut();
        let times = times.entry(index).or_default();
        *times = times.seen_at(Times::MARK);
    }

    fn may_be_noted(&self, byte: u32) -> bool {
        self.doubts || self.noted.borrow().contains(&byte)
    }

    fn will_note(&self, byte: u32) {
        self.noted.borrow_mut().insert(byte);
    }

    fn find(&self, notes: Notes, key: &FlowKey) -> Option<Flow> {
        self.flows.borrow().get(&(notes, *key)).copied()
    }

    fn note(&self, notes: Notes, key: &FlowKey, flow: &Flow) -> bool {
        self.flows.borrow_mut().insert((notes, *key), *flow);
        true
    }

    fn renew(&self, notes: Notes, key: &FlowKey, flow: &Flow) {
        self.note(notes, key, flow);
    }

    fn forget(&self, notes: Notes, key: &FlowKey) {
        self.flows.borrow_mut().remove(&(notes, *key));
    }

    fn has_room(&self) -> bool {
        !self.full
    }

    fn may_promote(&self, _: u32) -> bool {
        true
    }

    fn aside<T: Copy, R>(&self, _: Shelf, value: T, then: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = value;
        Some(then(&mut value))
    }

    fn fragment(&self, key: &FragmentKey) -> Option<u32> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, place: u32) {
        self.fragments.borrow_mut().insert(*key, place);
    }

    /// Predictions and tests do not depend on how many there were.
    fn may_echo(&self) -> bool {
        true
    }
}

impl Count for Memory {
    fn outcome(&self, outcome: Outcome) {
        *self.counts.borrow_mut().outcomes.entry(outcome.index()).or_default() += 1;
    }

    fn steered(&self, place: u32, bytes: u64, begins: bool) {
        let mut counts = self.counts.borrow_mut();
        let counters = counts.steered.entry(place).or_default();
        counters.packets += 1;
        counters.bytes += bytes;
        counters.flows += u64::from(begins);
    }
}
