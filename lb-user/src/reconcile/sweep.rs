//! The sweeper: goes through the noted flows, forgets the dead ones, closes slots that nothing needs open
//! any more, and lets those reals go that have left and that nothing names.
//!
//! The previous owner of a slot is given up once the flows that only the slot remembers must be dead: nothing
//! unknown came for the idle timeout. The slot is closed once, besides, none of the flows that are noted
//! lives on another real than the current one. A pass through
//! the tables is made in bounded steps. What it decides at its end holds for what was noted meanwhile, too:
//! in a slot that was over when the pass began that is noted on the current owner; and if an owner has
//! changed meanwhile, nothing is closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lb_common::{Flow, FlowKey, Member, RealWord, Slot, Tick, Times, limits};
use lb_ebpf::tables::Notes;

use super::{Reconciler, now};
use crate::{
    dataplane::{self, Cursor, Dataplane as _},
    model::{Ports, Protocol, UdpMode, Vip},
    plan::{Block, Changed, Occupant, Op, Serving},
};

/// Flows that one step looks at.
const STEP: usize = 16_384;

/// Between two steps of a pass.
const PAUSE: Duration = Duration::from_millis(5);

/// Between two passes, at most and at least.
const PERIOD: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// How long a flow of which only the beginning was seen, or that the client has closed, is taken for alive
/// after its last packet: as long as a client goes on trying to open it (RFC 6298, section 5;
/// net.ipv4.tcp_syn_retries), and as long as TIME-WAIT lasts with Linux.
const REST: Duration = Duration::from_secs(64);

/// From which part of a table on there is no room for more flows, and below which there is again, as
/// so many eighths of it.
const ROOM: [u64; 2] = [6, 5];

const TABLES: [Notes; 3] = [Notes::Pinned, Notes::Fresh, Notes::Datagrams];

/// Where the sweeper is.
#[derive(Debug)]
pub(super) struct Sweeper {
    due: Option<Instant>,
    pass: Option<Pass>,
    /// What the last whole pass has found.
    census: Census,
    /// Whether the datapath was told that there is no room.
    full: bool,
}

/// A pass that is under way.
#[derive(Debug)]
struct Pass {
    began: Timestamp,
    tick: Tick,
    /// Slots have got other owners since.
    disturbed: bool,
    table: usize,
    cursor: Cursor,
    census: Census,
    /// Slots, by ring, of which flows live on another real than the current one.
    held: BTreeSet<(u32, u32)>,
}

/// How many live flows are noted.
#[derive(Clone, Debug, Default)]
pub(super) struct Census {
    /// By ring and member.
    flows: BTreeMap<(u32, Member), u64>,
    /// In each of the tables.
    noted: [u64; TABLES.len()],
}

impl Pass {
    fn new() -> Self {
        Self {
            began: Timestamp::now(),
            tick: now(),
            disturbed: false,
            table: 0,
            cursor: Cursor::Start,
            census: Census::default(),
            held: BTreeSet::new(),
        }
    }
}

impl Census {
    /// The live flows that are noted on a member of the pool of the VIP with this ring.
    pub(super) fn flows(&self, ring: u32, member: Member) -> u64 {
        self.flows.get(&(ring, member)).copied().unwrap_or_default()
    }

    /// The live flows in each of the tables: established TCP, TCP that has begun, all others.
    pub(super) fn noted(&self) -> [u64; TABLES.len()] {
        self.noted
    }
}

impl Sweeper {
    /// A first pass is due: a former daemon may have left things to do.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: Some(now), pass: None, census: Census::default(), full: false }
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Slots have got other owners: there will be something to do.
    pub(super) fn wake(&mut self, now: Instant) {
        if let Some(pass) = &mut self.pass {
            pass.disturbed = true;
        }
        self.due.get_or_insert(now + PERIOD[0]);
    }

    /// Whether the datapath was told that there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// What the last pass has found.
    pub(super) fn census(&self) -> &Census {
        &self.census
    }
}

/// A VIP's ring, and who of its pool can serve the flows that they have.
pub(super) struct Ring<'a> {
    pub(super) block: &'a Block,
    serving: Serving,
}

impl<'a> Ring<'a> {
    pub(super) fn of(block: &'a Block) -> Self {
        let serving = block.members.values().filter(|occupant| occupant.word != RealWord::NONE);
        Self { block, serving: serving.map(|occupant| occupant.member).collect() }
    }
}

/// The times after which things of a VIP are over, in ticks.
#[derive(Clone, Copy, Debug)]
struct Limits {
    tcp: Option<u32>,
    others: Option<u32>,
    /// For TCP flows of which only the beginning was seen, or the end.
    rest: u32,
}

impl Limits {
    fn of(vip: &Vip) -> Self {
        let ticks = |time: Duration| Tick::ticks(time.as_nanos());
        let serves = |protocol| {
            let is_it = |ports: &Ports| match ports {
                Ports::Any => true,
                Ports::All(of) | Ports::One(of, _) => *of == protocol,
            };
            vip.ports.iter().any(is_it)
        };
        let flows = vip.udp == UdpMode::Flow && serves(Protocol::Udp);
        Self {
            tcp: serves(Protocol::Tcp).then(|| ticks(vip.idle_timeout)),
            others: flows.then(|| ticks(vip.udp_idle_timeout)),
            rest: ticks(vip.idle_timeout.min(REST)),
        }
    }

    /// Whether a noted flow is alive. (What it says of its last packet may be somewhat old.)
    fn is_alive(&self, notes: Notes, flow: &Flow, now: Tick) -> bool {
        let limit = match notes {
            Notes::Fresh if !flow.is_established() => Some(self.rest),
            Notes::Pinned | Notes::Fresh if flow.is_ending() => Some(self.rest),
            Notes::Pinned | Notes::Fresh => self.tcp,
            Notes::Datagrams => self.others,
        };
        limit.is_some_and(|limit| now.since(flow.seen) <= limit.saturating_add(limits::TOUCH))
    }

    /// Whether flows that are older than the slot's opening, which nobody has noted, must be dead.
    fn is_over(&self, slot: Slot, times: Times, now: Tick) -> bool {
        if slot.previous() == slot.current() {
            return true;
        }
        let silent = times.silent(now);
        let tcp = self.tcp.is_none_or(|limit| silent > limit.saturating_add(limits::TOUCH));
        tcp && self.others.is_none_or(|limit| now.since(times.opened()) > limit)
    }
}

impl Reconciler {
    /// Does one step, and what is to be done at the end of a pass.
    pub(super) fn sweep(&mut self) {
        let mut pass = self.sweeper.pass.take().unwrap_or_else(Pass::new);
        if let Err(error) = self.sweep_notes(&mut pass) {
            log::error!("sweeping: {error}");
            self.sweeper.due = Some(Instant::now() + PERIOD[1]);
            return;
        }
        if pass.table < TABLES.len() {
            self.sweeper.pass = Some(pass);
            self.sweeper.due = Some(Instant::now() + PAUSE);
            return;
        }
        if !pass.disturbed {
            self.close(&pass);
        }
        if self.state.blocks.iter().all(|block| block.tracked() == 0) {
            self.kernel.clear_noted();
        }
        self.tell_room(&pass.census);
        let released = self.release(&pass);
        self.sweeper.census = pass.census;
        self.sweeper.due = self.next_pass().map(|wait| Instant::now() + wait);
        if released {
            self.reconcile();
        }
    }

    /// Looks at the next flows of the tables, and forgets those that are dead.
    fn sweep_notes(&self, pass: &mut Pass) -> Result<(), dataplane::Error> {
        let Some(notes) = TABLES.get(pass.table).copied() else {
            return Ok(());
        };
        let table = self.kernel.notes(notes);
        let flows = table.read(&mut pass.cursor, STEP)?;
        // Mostly there are none: rings are at rest.
        let rings: BTreeMap<u32, (Ring<'_>, Limits)> =
            if flows.is_empty() { BTreeMap::new() } else { self.rings().collect() };
        let (mut dead, now) = (Vec::new(), now());
        for (key, flow) in &flows {
            let ring = rings.get(&key.ring());
            let ring = ring.filter(|(_, limits)| limits.is_alive(notes, flow, now));
            match ring.and_then(|(ring, _)| Some((ring, self.heeded(ring, key, flow)?))) {
                Some((ring, member)) => {
                    *pass.census.flows.entry((key.ring(), member)).or_default() += 1;
                    let slot = ring.block.slots.get(flow.slot as usize);
                    if slot.and_then(|slot| slot.current()) != Some(member) {
                        pass.held.insert((key.ring(), flow.slot));
                    }
                }
                None => dead.push(*key),
            }
        }
        pass.census.noted[pass.table] += (flows.len() - dead.len()) as u64;
        if pass.cursor == Cursor::End {
            (pass.table, pass.cursor) = (pass.table + 1, Cursor::Start);
        }
        table.delete(&dead)
    }

    /// The real that a flow is noted on, if the datapath would heed that: it was noted since its slot was
    /// opened, and its real serves.
    pub(super) fn heeded(&self, ring: &Ring<'_>, key: &FlowKey, flow: &Flow) -> Option<Member> {
        let tracked =
            ring.block.slots.get(flow.slot as usize).is_some_and(|slot| slot.is_tracked());
        let opened = self.kernel.times(key.ring() + flow.slot).opened();
        let heeds = tracked && !flow.noted.is_before(opened);
        flow.member().filter(|member| heeds && ring.serving.has(*member))
    }

    /// The VIPs by the first slot of their ring, with their limits.
    fn rings(&self) -> impl Iterator<Item = (u32, (Ring<'_>, Limits))> {
        self.config.model.vips.iter().filter_map(|vip| {
            let block = self.state.block(&vip.name)?;
            Some((block.ring, (Ring::of(block), Limits::of(vip))))
        })
    }

    /// Closes the slots that need not be open any more, once what packets have marked since the last time has its moment.
    /// (While there was no daemon marks have stood: they count as left now, so such slots close later.) One in which noted flows still live elsewhere stays
    /// open for those, and gives up the previous owner.
    fn close(&mut self, pass: &Pass) {
        let mut ops = Vec::new();
        for vip in &self.config.model.vips {
            let limits = Limits::of(vip);
            let Some(index) = self.state.position(&vip.name) else {
                continue;
            };
            let block = &mut self.state.blocks[index];
            if block.tracked() == 0 {
                continue;
            }
            let ring = block.ring;
            let tracked = (ring..).zip(block.slots.iter()).filter(|(_, slot)| slot.is_tracked());
            self.kernel.date_marks(tracked.map(|(index, _)| index), now);
            let next = |(index, slot): (u32, Slot)| {
                let over = slot.is_tracked()
                    && limits.is_over(slot, self.kernel.times(ring + index), pass.tick);
                let held = pass.held.contains(&(ring, index));
                let next = Slot::new(slot.current(), slot.current().filter(|_| held));
                // Who owns nothing cannot stand in for the previous owner.
                let stays = !over || next == slot || held && !next.is_tracked();
                (!stays).then_some((index, next))
            };
            let changed: Vec<_> = (0..).zip(block.slots.iter()).filter_map(next).collect();
            if changed.is_empty() {
                continue;
            }
            let mut slots = block.slots.to_vec();
            for (index, slot) in &changed {
                slots[*index as usize] = *slot;
            }
            block.slots = slots.into();
            let parts = changed.iter().map(|(index, _)| *index..*index + 1).collect();
            ops.push(Op::Slots(Changed { ring, slots: block.slots.clone(), parts }));
            log::debug!("vip {}: {} slots closed", vip.name, changed.len());
        }
        if let Err(error) = self.kernel.apply(&ops) {
            log::error!("closing slots: {error}");
        }
    }

    /// Tells the datapath whether there is room for more flows. Where there is none, flows begin with the
    /// previous owners of their slots, which takes no note: what moves then moves later, and nothing breaks.
    fn tell_room(&mut self, census: &Census) {
        let [high, low] = ROOM;
        let eighths = if self.sweeper.full { low } else { high };
        let is_full = |(noted, notes): (&u64, &Notes)| {
            *noted * 8 >= u64::from(self.kernel.notes(*notes).size()) * eighths
        };
        // Whatever is driven out of the third was noted for nothing else than another change.
        let full = census.noted.iter().zip(&TABLES).take(2).any(is_full);
        if full != self.sweeper.full {
            match full {
                true => log::warn!(
                    "the tables of flows are nearly full: until there is room, new flows of slots that have \
                     moved begin with the previous owner; raise pinned_flows and fresh_flows in [node]"
                ),
                false => log::info!("there is room in the tables of flows again"),
            }
        }
        self.sweeper.full = full;
        self.kernel.set_full(full);
    }

    /// Lets those go that have left and that nothing names any more. Returns whether there were any.
    fn release(&mut self, pass: &Pass) -> bool {
        let gone: Vec<(String, IpAddr)> =
            self.config.model.vips.iter().flat_map(|vip| self.nameless(vip, pass)).collect();
        for (vip, address) in &gone {
            log::info!("vip {vip} real {address}: its last flow has ended, it is removed");
            self.ledger.release(vip, *address);
        }
        !gone.is_empty()
    }

    fn nameless(&self, vip: &Vip, pass: &Pass) -> Vec<(String, IpAddr)> {
        let left = self.ledger.left(&vip.name).map(|(real, _)| real.address);
        let is_nameless = |address: &IpAddr| {
            let drain =
                self.ledger.course(&vip.name, *address).and_then(|course| course.drain.as_ref());
            // One that left during the pass is looked at by the next.
            if drain.is_some_and(|drain| drain.since >= pass.began) {
                return false;
            }
            let Some(block) = self.state.block(&vip.name) else {
                return true;
            };
            block.members.get(address).is_none_or(|Occupant { member, .. }| {
                block.holds(*member) == 0 && pass.census.flows(block.ring, *member) == 0
            })
        };
        left.filter(is_nameless).map(|address| (vip.name.clone(), address)).collect()
    }

    /// How long until the next pass is due: a part of the time after which the first thing can be over.
    fn next_pass(&self) -> Option<Duration> {
        let wait = |vip: &Vip| {
            let block = self.state.block(&vip.name)?;
            let left = self.ledger.left(&vip.name).next().is_some();
            (left || block.tracked() > 0).then(|| vip.idle_timeout.min(vip.udp_idle_timeout) / 4)
        };
        let wait = self.config.model.vips.iter().filter_map(wait).min();
        let leftovers = (self.sweeper.census.noted != [0; TABLES.len()]).then_some(PERIOD[1]);
        let [least, most] = PERIOD;
        wait.or(leftovers).map(|wait| wait.clamp(least, most))
    }
}
