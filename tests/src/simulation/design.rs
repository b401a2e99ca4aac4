//! The designs that are compared.

use std::collections::VecDeque;

use lb_common::{Entry, Member, Slot, V4};
use lb_ebpf::{
    flow,
    parse::{Datagram, Ports, Transport},
};
use lb_user::plan::{next_slots, opens};

use super::{
    FLOOD, IDLE, Lru,
    flows::Client,
    notes::{Place, SECOND, World},
    pool::{Life, Pool},
};

/// Why a flow of this design was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was silent for longer than the idle timeout.
    Idle,
    /// `FRESH` had forgotten its beginning before its next packet came.
    Evicted,
    /// The budget refused its promotion, and `FRESH` has forgotten it.
    Budget,
    /// `PINNED` was full, and `FRESH` has forgotten it.
    Full,
    /// None of these: the design's fault.
    Other,
}

impl Why {
    /// All of them, by their index.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Evicted, Self::Budget, Self::Full, Self::Other];
}

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// There is none.
    None,
    /// SYNs, each of another flow.
    Syn,
    /// A SYN and a segment with ACK of each flow.
    SynAck,
}

impl Flood {
    /// New flows a second.
    fn rate(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Syn => FLOOD,
            Self::SynAck => FLOOD / 2,
        }
    }
}

/// What has become of the flows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Connections, with those that were there at the beginning.
    pub flows: u64,
    /// Of these, how many were broken though their real lived.
    pub broken: u64,
    /// How many died with their real.
    pub lost: u64,
    /// Why they were broken, by [`Why::ALL`].
    pub why: [u64; Why::ALL.len()],
    /// How many began with the previous owner, since there was no room to note them.
    pub late: u64,
    /// Seconds in which there was no room, and slots were open.
    pub crowded: u64,
}

/// How a design decides.
#[derive(Clone)]
enum Kind {
    /// By the ring of the moment.
    Current,
    /// By a table of flows, else by the ring of the moment.
    Table(Lru),
    /// Like this project.
    Tracked(Box<Tracked>),
}

/// A design with a flood upon it.
#[derive(Clone)]
pub struct Design {
    /// What it is called.
    pub name: &'static str,
    /// What comes over it.
    pub flood: Flood,
    /// Whether its rings are rebuilt at every change.
    pub rebuilds: bool,
    /// What has become of its flows.
    pub tally: Tally,
    kind: Kind,
}

/// What a design is asked about: a flow, when it sent before, and where its packets went.
pub struct Packet<'a> {
    /// Its number.
    pub flow: u32,
    /// Its slot.
    pub slot: u32,
    /// The second of the last packet before.
    pub last: u32,
    /// Now, in seconds.
    pub now: u32,
    /// The client's times.
    pub client: &'a Client,
}

/// What a packet says about its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Begins,
    Goes,
    Ends,
}

impl Packet<'_> {
    /// What one says that is not the first.
    fn says(&self) -> Says {
        if self.client.closes_at(self.now) { Says::Ends } else { Says::Goes }
    }
}

impl Design {
    /// A design without flow tables.
    #[must_use]
    pub fn current(name: &'static str, rebuilds: bool) -> Self {
        Self::new(name, rebuilds, Kind::Current)
    }

    /// Maglev with a table of all flows, like Katran's, of 2^20 entries. (Katran leaves its table alone where a
    /// core sees more than 125 000 new flows a second, `MAX_CONN_RATE`; this flood, spread over eight cores or
    /// more, is below that.)
    #[must_use]
    pub fn table(seconds: u32) -> Self {
        let name = "Maglev, LRU table of 1 Mi flows";
        Self::new(name, true, Kind::Table(Lru::new(1 << 20, seconds)))
    }

    /// This design.
    #[must_use]
    pub fn tracked(name: &'static str, pinned: u32, len: u32, seconds: u32) -> Self {
        let tracked = Tracked::new(len, pinned, seconds);
        Self::new(name, false, Kind::Tracked(Box::new(tracked)))
    }

    fn new(name: &'static str, rebuilds: bool, kind: Kind) -> Self {
        Self { name, flood: Flood::None, rebuilds, tally: Tally::default(), kind }
    }

    /// The same, with all that has happened to it, upon which a flood comes now.
    #[must_use]
    pub fn flooded(&self, flood: Flood) -> Self {
        Self { flood, ..self.clone() }
    }

    /// Reads what a packet of this flow will need, so that memory fetches it for many at once.
    #[must_use]
    pub fn warm(&self, flow: u32) -> bool {
        self.notes(flow)
    }

    /// The ring has other owners.
    pub fn change(&mut self, owners: &[Option<Member>], pool: &Pool) {
        if let Kind::Tracked(tracked) = &mut self.kind {
            tracked.change(owners, pool);
        }
    }

    /// A second begins, with or without the flood.
    pub fn begin_second(&mut self, now: u32, flooded: bool) {
        let rate = if flooded { self.flood.rate() } else { 0 };
        match &mut self.kind {
            Kind::Current => {}
            Kind::Table(lru) => lru.insert(now, rate as u32),
            Kind::Tracked(tracked) => {
                let crowded = tracked.begin_second(now, rate, self.flood);
                self.tally.crowded += u64::from(crowded);
            }
        }
    }

    /// There are flows up to this number.
    pub fn grow(&mut self, flows: usize) {
        if let Kind::Tracked(tracked) = &mut self.kind {
            tracked.world.grow(flows);
        }
    }

    /// Whether something is noted under this flow's number.
    #[must_use]
    pub fn notes(&self, flow: u32) -> bool {
        match &self.kind {
            Kind::Tracked(tracked) => tracked.world.note_of(flow).place != Place::Nowhere,
            Kind::Current | Kind::Table(_) => false,
        }
    }

    /// The flow's number is free.
    pub fn clear(&self, flow: u32) {
        if let Kind::Tracked(tracked) = &self.kind {
            tracked.world.clear(flow);
        }
    }

    /// A connection begins; returns whom it is with, if there is anybody.
    pub fn connect(
        &mut self,
        packet: &Packet,
        owners: &[Option<Member>],
        pool: &Pool,
    ) -> Option<Life> {
        self.tally.flows += 1;
        let owner = owners[packet.slot as usize];
        match &mut self.kind {
            Kind::Current => pool.life(owner),
            Kind::Table(lru) => {
                lru.insert(packet.now, 1);
                pool.life(owner)
            }
            Kind::Tracked(tracked) => {
                let (life, next) = tracked.connect(packet, pool);
                self.tally.late += u64::from(tracked.began_late(packet, pool));
                if life != next {
                    self.tally.broken += 1;
                    self.tally.why[Why::Evicted as usize] += 1;
                }
                next
            }
        }
    }

    /// A packet of a connection with `life`; returns whom the client is with after it: another one, if it had
    /// to connect anew.
    #[inline]
    pub fn packet(
        &mut self,
        packet: &Packet,
        life: Option<Life>,
        owners: &[Option<Member>],
        pool: &Pool,
    ) -> Option<Life> {
        let owner = || pool.life(owners[packet.slot as usize]);
        let to = match &mut self.kind {
            Kind::Current => owner(),
            Kind::Table(lru) => {
                let held = lru.touch(packet.last, packet.now);
                if held { life } else { owner() }
            }
            Kind::Tracked(tracked) => pool.life(tracked.owner(packet, packet.says())),
        };
        if life.is_some_and(|life| to == Some(life) && pool.is_alive(life)) {
            return to;
        }
        self.end(packet, life, pool);
        self.connect(packet, owners, pool)
    }

    /// Counts a connection that goes no further.
    #[cold]
    fn end(&mut self, packet: &Packet, life: Option<Life>, pool: &Pool) {
        match life {
            None => {}
            Some(life) if !pool.is_alive(life) => self.tally.lost += 1,
            Some(_) => {
                self.tally.broken += 1;
                let why = match &self.kind {
                    _ if packet.now - packet.last > IDLE => Why::Idle,
                    Kind::Tracked(tracked) => {
                        tracked.world.note_of(packet.flow).why.unwrap_or(Why::Other)
                    }
                    Kind::Current | Kind::Table(_) => Why::Other,
                };
                self.tally.why[why as usize] += 1;
            }
        }
        self.clear(packet.flow);
    }

    /// Lets the sweeper go through the flows.
    pub fn sweep(&mut self) {
        if let Kind::Tracked(tracked) = &mut self.kind {
            tracked.sweep();
        }
    }

    /// The most flows that were noted at once: in tables that forget, and in such as do not.
    #[must_use]
    pub fn noted(&self) -> [u64; 2] {
        match &self.kind {
            Kind::Current => [0, 0],
            Kind::Table(lru) => [lru.peak(), 0],
            Kind::Tracked(tracked) => [tracked.world.fresh.borrow().peak(), tracked.world.peak()],
        }
    }

    /// The largest part of the slots that was open at once, in percent.
    #[must_use]
    pub fn open(&self) -> Option<f64> {
        match &self.kind {
            Kind::Tracked(tracked) => Some(100.0 * tracked.most),
            Kind::Current | Kind::Table(_) => None,
        }
    }
}

/// How long counts as alive what is a mere SYN or was closed by the client, in seconds: as the daemon's
/// sweeper says.
const REST: u32 = 64;

/// This design: its tables and a service.
#[derive(Clone)]
struct Tracked {
    world: World,
    service: Entry,
    /// The share of the slots that are open, now and at most.
    share: f64,
    most: f64,
    /// What FRESH takes in a second, flood or not.
    inserted: u64,
    /// The flood's entries in `PINNED` and in `FRESH`, by the second.
    pinned: VecDeque<(u32, u32)>,
    fresh: VecDeque<(u32, u32)>,
}

impl Tracked {
    fn new(len: u32, pinned: u32, seconds: u32) -> Self {
        Self {
            world: World::new(len, pinned, seconds),
            service: Entry { ring_len: len, ..Entry::default() },
            share: 0.0,
            most: 0.0,
            inserted: 0,
            pinned: VecDeque::new(),
            fresh: VecDeque::new(),
        }
    }

    fn change(&mut self, owners: &[Option<Member>], pool: &Pool) {
        self.world.serving = pool.serving();
        let next = next_slots(&self.world.slots, owners.iter().copied(), &self.world.serving);
        for (index, (old, new)) in self.world.slots.iter().zip(&next).enumerate() {
            if opens(*old, *new) {
                self.world.open(index);
            }
        }
        self.world.slots = next;
        self.measure();
    }

    fn measure(&mut self) {
        let open = self.world.slots.iter().filter(|slot: &&Slot| slot.is_tracked()).count();
        self.share = open as f64 / self.world.slots.len() as f64;
        self.most = self.most.max(self.share);
    }

    /// Lets so many of a flood begin, if there is room; returns whether there is none where it is needed.
    fn begin_second(&mut self, now: u32, rate: u64, flood: Flood) -> bool {
        let comes = (rate as f64 * self.share) as u64;
        self.forget_foreign(now, flood);
        self.world.tell_room();
        self.inserted = self.world.let_begin(comes);
        let before = self.world.foreign();
        self.world.begin_second(now, if flood == Flood::SynAck { self.inserted } else { 0 });
        let pinned = self.world.foreign() - before;
        let fresh = self.inserted as u32 - pinned;
        self.world.fresh.borrow_mut().insert(now, fresh);
        if self.inserted > 0 {
            self.pinned.push_back((now, pinned));
            self.fresh.push_back((now, fresh));
        } else if comes > 0 {
            self.world.saw_all();
        }
        self.world.is_full() && self.share > 0.0
    }

    /// The flood's flows never end. Those that are no mere SYNs count as alive for the idle timeout.
    fn forget_foreign(&mut self, now: u32, flood: Flood) {
        let limit = if flood == Flood::SynAck { IDLE } else { REST };
        while let Some((second, count)) = before(&mut self.fresh, now.saturating_sub(limit)) {
            self.world.fresh.borrow_mut().remove_foreign(second, count);
        }
        while let Some((_, count)) = before(&mut self.pinned, now.saturating_sub(IDLE)) {
            self.world.forget_foreign(count);
        }
    }

    fn sweep(&mut self) {
        self.world.sweep(IDLE * SECOND, REST * SECOND);
        self.measure();
    }

    /// Who gets a packet.
    #[inline]
    fn owner(&self, packet: &Packet, says: Says) -> Option<Member> {
        let slot = self.world.slots[packet.slot as usize];
        if !slot.is_tracked() {
            return slot.current();
        }
        let datagram = Datagram {
            source: V4(packet.flow),
            destination: V4(1),
            protocol: 6,
            transport: Transport::Ports,
            ports: Ports {
                both: 1,
                destination: 80,
                begins: says == Says::Begins,
                ends: says == Says::Ends,
            },
            ..Datagram::default()
        };
        let owner = flow::owner(&self.world, &self.service, packet.slot, 0, &datagram).ok()?;
        Member::new(owner.place as u16)
    }

    /// Whether the flow that has just begun belongs to the previous owner only since there was no room.
    fn began_late(&self, packet: &Packet, pool: &Pool) -> bool {
        let slot = self.world.slots[packet.slot as usize];
        let moved = slot.is_tracked() && slot.previous() != slot.current();
        self.world.take_refused() && moved && pool.life(slot.previous()).is_some()
    }

    /// The SYN and the segment after it, a round trip later; and the last one, if it has ended by then. The
    /// client is with whom each of the first two comes to.
    fn connect(&mut self, packet: &Packet, pool: &Pool) -> (Option<Life>, Option<Life>) {
        let life = pool.life(self.owner(packet, Says::Begins));
        let lasts = self.world.fresh.borrow().lasts(self.inserted);
        // What the flood brings in a second is known, not whether there is room in the next.
        if u64::from(packet.client.round_trip).min(1000) > lasts
            && self.world.note_of(packet.flow).place == Place::Fresh
        {
            self.world.evict(packet.flow);
        }
        let next = pool.life(self.owner(packet, Says::Goes));
        if packet.says() == Says::Ends {
            self.owner(packet, Says::Ends);
        }
        (life, next)
    }
}

/// Takes the first of these that is of a second before.
fn before(counts: &mut VecDeque<(u32, u32)>, second: u32) -> Option<(u32, u32)> {
    counts.front().filter(|(of, _)| *of < second)?;
    counts.pop_front()
}
