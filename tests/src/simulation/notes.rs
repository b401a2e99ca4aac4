//! The tables of this design, as the datapath sees them.

use std::cell::{Cell, RefCell};

use lb_common::{
    Entrance, Entry, Flow, FlowKey, FragmentKey, PortWord, RealWord, Seed, Slot, Tick, Times,
    limits,
};
use lb_ebpf::tables::{Notes, Shelf, Tables};
use lb_user::plan::Serving;

use super::{Lru, Why, random::Random};

/// Where a flow is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    #[default]
    Nowhere,
    /// In `FRESH`, unless that has forgotten it.
    Fresh,
    /// In `PINNED`.
    Pinned,
}

/// What is noted of a flow. A flow is in one table at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Note {
    /// What the datapath wrote.
    pub flow: Flow,
    /// The second in which `FRESH` was asked for it last.
    touched: u32,
    /// Where.
    pub place: Place,
    /// Why it was not promoted when that was tried last.
    pub why: Option<Why>,
    listed: bool,
}

/// Slots, their times, and who is noted. A flow's number is its client's address, so that no table must be
/// searched.
#[derive(Clone)]
pub struct World {
    /// The slots of the ring.
    pub slots: Vec<Slot>,
    /// Their times.
    times: Vec<Cell<Times>>,
    /// Who can serve.
    pub serving: Serving,
    notes: Vec<Cell<Note>>,
    /// Whom the sweeper has to look at.
    listed: RefCell<Vec<u32>>,
    /// `FRESH`.
    pub fresh: RefCell<Lru>,
    /// How many `PINNED` can hold.
    size: u32,
    pinned: Cell<u32>,
    peak: Cell<u32>,
    /// Of these, the flood's.
    foreign: Cell<u32>,
    second: Cell<u32>,
    /// Whether a flow was told that there is no room for it.
    no_room: Cell<bool>,
    /// Beginnings of this second.
    begun: Cell<u64>,
    /// What part of all that want to begin with a note can, of 2^32.
    beginning: Cell<u64>,
    /// Promotions of this second.
    promoted: Cell<u64>,
    /// What part of all that want to be promoted can be, of 2^32.
    chance: Cell<u64>,
    random: RefCell<Random>,
    refused: Cell<Why>,
    /// Whether the datapath was told that there is no room.
    full: Cell<bool>,
}

/// From which part of a table on there is no room for more flows, and below which there is again, as so
/// many eighths of it: as the daemon's sweeper says.
const ROOM: [u64; 2] = [6, 5];

/// How many flows may be noted in `FRESH` each second.
const BEGINNINGS: u64 = (limits::FRESH / limits::FRESH_PART) as u64;

const CERTAIN: u64 = 1 << 32;

impl World {
    /// A world with empty slots, for this many seconds, whose `PINNED` has room for `size`.
    pub fn new(len: u32, size: u32, seconds: u32) -> Self {
        Self {
            slots: vec![Slot::EMPTY; len as usize],
            times: vec![Cell::default(); len as usize],
            serving: Serving::default(),
            notes: Vec::new(),
            listed: RefCell::default(),
            fresh: RefCell::new(Lru::new(limits::FRESH, seconds)),
            size,
            pinned: Cell::new(0),
            peak: Cell::new(0),
            foreign: Cell::new(0),
            second: Cell::new(0),
            no_room: Cell::new(false),
            begun: Cell::new(0),
            beginning: Cell::new(CERTAIN),
            promoted: Cell::new(0),
            chance: Cell::new(CERTAIN),
            random: RefCell::new(Random(u64::from(size))),
            refused: Cell::new(Why::Budget),
            full: Cell::new(false),
        }
    }

    /// The most flows that `PINNED` has held.
    pub fn peak(&self) -> u64 {
        u64::from(self.peak.get())
    }

    /// A second begins, in which so many of a flood want to be promoted.
    pub fn begin_second(&self, second: u32, flood: u64) {
        let wanted = flood + self.promoted.get();
        let chance = (limits::PROMOTIONS * CERTAIN) / wanted.max(limits::PROMOTIONS);
        self.second.set(second);
        self.promoted.set(0);
        self.chance.set(chance);
        let room = u64::from(self.size - self.pinned.get());
        let taken = (flood * chance / CERTAIN).min(room) as u32;
        self.pin(taken);
        self.foreign.set(self.foreign.get() + taken);
    }

    /// A second begins, in which so many of a flood want to begin; how many of them are noted.
    pub fn let_begin(&self, flood: u64) -> u64 {
        let wanted = flood + self.begun.get();
        let chance = BEGINNINGS * CERTAIN / wanted.max(BEGINNINGS);
        self.begun.set(0);
        self.beginning.set(chance);
        if self.full.get() { 0 } else { flood * chance / CERTAIN }
    }

    /// Whether a flow was told since the last call that there is no room for it.
    pub fn take_refused(&self) -> bool {
        self.no_room.replace(false)
    }

    /// Whether the tables count as full.
    pub fn is_full(&self) -> bool {
        self.full.get()
    }

    /// Says whether there is room for more flows, as the daemon does at each pass.
    pub fn tell_room(&self) {
        let [high, low] = ROOM;
        let eighths = if self.full.get() { low } else { high };
        let is_full = |held: u64, size: u32| held * 8 >= u64::from(size) * eighths;
        let pinned = u64::from(self.pinned.get());
        let fresh = self.fresh.borrow().used();
        self.full.set(is_full(pinned, self.size) || is_full(fresh, limits::FRESH));
    }

    /// A packet of an unknown flow comes in every slot that has moved.
    pub fn saw_all(&self) {
        let tracked = (0..).zip(&self.slots).filter(|(_, slot)| slot.is_tracked());
        tracked.for_each(|(index, _)| self.saw(index));
    }

    /// How many of `PINNED` are the flood's.
    pub fn foreign(&self) -> u32 {
        self.foreign.get()
    }

    /// So many of the flood's are forgotten.
    pub fn forget_foreign(&self, count: u32) {
        self.foreign.set(self.foreign.get() - count);
        self.pinned.set(self.pinned.get() - count);
    }

    fn pin(&self, count: u32) {
        self.pinned.set(self.pinned.get() + count);
        self.peak.set(self.peak.get().max(self.pinned.get()));
    }

    /// Slots that have just got a previous owner.
    pub fn open(&self, index: usize) {
        self.times[index].set(Times::opened_at(self.now()));
    }

    /// There are flows up to this number.
    pub fn grow(&mut self, flows: usize) {
        self.notes.resize(flows.max(self.notes.len()), Cell::default());
    }

    /// What is noted of a flow.
    pub fn note_of(&self, flow: u32) -> Note {
        self.notes[flow as usize].get()
    }

    /// A flow's number is given to another.
    pub fn clear(&self, flow: u32) {
        let note = self.note_of(flow);
        if note.place != Place::Nowhere || note.why.is_some() {
            self.put(flow, Note { place: Place::Nowhere, why: None, ..note });
        }
    }

    /// Writes a note, and counts.
    fn put(&self, flow: u32, mut note: Note) {
        let cell = &self.notes[flow as usize];
        let old = cell.get();
        if old.place == Place::Pinned && note.place != Place::Pinned {
            self.pinned.set(self.pinned.get() - 1);
        }
        if old.place == Place::Fresh {
            self.fresh.borrow_mut().remove(old.touched);
        }
        match note.place {
            Place::Nowhere => {}
            Place::Fresh => {
                note.touched = self.second.get();
                self.fresh.borrow_mut().insert(note.touched, 1);
            }
            Place::Pinned if old.place != Place::Pinned => self.pin(1),
            Place::Pinned => {}
        }
        if note.place != Place::Nowhere && !note.listed {
            note.listed = true;
            self.listed.borrow_mut().push(flow);
        }
        cell.set(note);
    }

    /// Takes what is noted of a flow away, as `FRESH` does with the oldest.
    pub fn evict(&self, flow: u32) {
        let note = self.note_of(flow);
        self.put(flow, Note { place: Place::Nowhere, why: Some(Why::Evicted), ..note });
    }

    /// What the daemon's sweeper does in one pass (`lb_user::reconcile`): forgets the dead, gives up
    /// previous owners, closes slots.
    pub fn sweep(&mut self, idle: u32, rest: u32) {
        let mut held = vec![false; self.slots.len()];
        let listed = std::mem::take(self.listed.get_mut());
        let kept = listed.into_iter().filter(|flow| {
            let note = self.note_of(*flow);
            let slot = self.slots[note.flow.slot as usize];
            let alive = self.is_alive(&note, idle, rest);
            if alive {
                held[note.flow.slot as usize] |= note.flow.member() != slot.current();
            } else {
                self.put(*flow, Note { place: Place::Nowhere, listed: false, ..note });
            }
            alive
        });
        let kept = kept.collect();
        *self.listed.get_mut() = kept;
        for (index, held) in held.into_iter().enumerate() {
            let slot = self.slots[index];
            let next = Slot::new(slot.current(), slot.current().filter(|_| held));
            let stays = held && !next.is_tracked();
            if slot.is_tracked() && !stays && self.is_over(index, idle) {
                self.slots[index] = next;
            }
        }
    }

    fn is_alive(&self, note: &Note, idle: u32, rest: u32) -> bool {
        let (flow, slot) = (note.flow, note.flow.slot as usize);
        let limit = match note.place {
            Place::Nowhere => return false,
            Place::Fresh if !self.fresh.borrow().holds(note.touched) => return false,
            Place::Fresh if !flow.is_established() => rest,
            Place::Fresh | Place::Pinned if flow.is_ending() => rest,
            Place::Fresh | Place::Pinned => idle,
        };
        let serves = flow.member().is_some_and(|member| self.serving.has(member));
        self.slots[slot].is_tracked()
            && !flow.noted.is_before(self.times[slot].get().opened())
            && serves
            && self.now().since(flow.seen) <= limit + limits::TOUCH
    }

    fn is_over(&self, index: usize, idle: u32) -> bool {
        let (slot, times, now) = (self.slots[index], self.times[index].get(), self.now());
        slot.previous() == slot.current() || times.silent(now) > idle + limits::TOUCH
    }

    fn flow(key: &FlowKey) -> u32 {
        key.source[1] as u32
    }
}

/// A tick is taken for a millisecond.
pub const SECOND: u32 = 1000;

impl Tables for World {
    fn port_number(&self) -> u8 {
        1
    }

    fn port(&self, _: u8) -> PortWord {
        PortWord::default()
    }

    fn seed(&self) -> Seed {
        Seed([0; 2])
    }

    fn entrance(&self) -> Entrance {
        Entrance::default()
    }

    fn displacement(&self, _: u32) -> u64 {
        0
    }

    fn entry(&self, _: u32) -> Option<&Entry> {
        None
    }

    fn slot(&self, index: u32) -> Slot {
        self.slots[index as usize]
    }

    fn real(&self, place: u32) -> RealWord {
        let member = lb_common::Member::new(place as u16);
        if member.is_some_and(|member| self.serving.has(member)) {
            RealWord::new([2, 0, 0, 0, 0, 1], 1)
        } else {
            RealWord::NONE
        }
    }

    fn now(&self) -> Tick {
        Tick(self.second.get() * SECOND)
    }

    fn times(&self, index: u32) -> Times {
        self.times[index as usize].get()
    }

    /// The sweeper would make this moment of the mark, or one soon after.
    fn saw(&self, index: u32) {
        let times = &self.times[index as usize];
        times.set(times.get().seen_at(self.now()));
    }

    /// Only the longer way is simulated.
    fn may_be_noted(&self, _: u32) -> bool {
        true
    }

    fn will_note(&self, _: u32) {}

    fn find(&self, notes: Notes, key: &FlowKey) -> Option<Flow> {
        let note = self.note_of(Self::flow(key));
        match (notes, note.place) {
            (Notes::Pinned, Place::Pinned) => Some(note.flow),
            (Notes::Fresh, Place::Fresh) => {
                if self.fresh.borrow().holds(note.touched) {
                    self.put(Self::flow(key), note);
                    return Some(note.flow);
                }
                let why = note.why.or(Some(Why::Evicted));
                self.put(Self::flow(key), Note { place: Place::Nowhere, why, ..note });
                None
            }
            _ => None,
        }
    }

    fn note(&self, notes: Notes, key: &FlowKey, flow: &Flow) -> bool {
        let old = self.note_of(Self::flow(key));
        let place = if notes == Notes::Pinned { Place::Pinned } else { Place::Fresh };
        let full = self.pinned.get() >= self.size && old.place != Place::Pinned;
        if place == Place::Pinned && full {
            self.refused.set(Why::Full);
            return false;
        }
        self.put(Self::flow(key), Note { flow: *flow, place, ..old });
        true
    }

    /// Only called for flows that were found; for one in `FRESH`, when it was not promoted.
    fn renew(&self, notes: Notes, key: &FlowKey, flow: &Flow) {
        let cell = &self.notes[Self::flow(key) as usize];
        let note = cell.get();
        let why = if notes == Notes::Fresh { Some(self.refused.get()) } else { note.why };
        cell.set(Note { flow: *flow, why, ..note });
    }

    fn forget(&self, notes: Notes, key: &FlowKey) {
        let note = self.note_of(Self::flow(key));
        if note.place == Place::Fresh && notes == Notes::Fresh {
            self.put(Self::flow(key), Note { place: Place::Nowhere, ..note });
        }
    }

    /// As the bucket gives on the average of a second.
    fn has_room(&self) -> bool {
        let (begun, chance) = (self.begun.get(), self.beginning.get());
        self.begun.set(begun + 1);
        let lucky = chance >= CERTAIN || self.random.borrow_mut().next() >> 32 < chance;
        let has_room = !self.full.get() && begun < BEGINNINGS && lucky;
        self.no_room.set(!has_room);
        has_room
    }

    /// As the bucket gives on the average of a second.
    fn may_promote(&self, _: u32) -> bool {
        let (promoted, chance) = (self.promoted.get(), self.chance.get());
        self.promoted.set(promoted + 1);
        let lucky = chance >= CERTAIN || self.random.borrow_mut().next() >> 32 < chance;
        if !lucky || promoted >= limits::PROMOTIONS {
            self.refused.set(Why::Budget);
            return false;
        }
        true
    }

    fn aside<T: Copy, R>(
        &self,
        _: Shelf,
        mut value: T,
        then: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        Some(then(&mut value))
    }

    fn fragment(&self, _: &FragmentKey) -> Option<u32> {
        None
    }

    fn remember_fragment(&self, _: &FragmentKey, _: u32) {}

    fn may_echo(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::Member;

    fn world(pinned: u32) -> World {
        let mut world = World::new(1021, pinned, 1000);
        world.grow(10);
        world
    }

    fn key(flow: u64) -> FlowKey {
        FlowKey { source: [0, flow], ..FlowKey::default() }
    }

    #[test]
    fn a_full_table_refuses_and_says_why() {
        let world = world(1);
        let flow = Flow::default();
        assert!(world.note(Notes::Fresh, &key(2), &flow));
        assert!(world.note(Notes::Pinned, &key(1), &flow));
        assert!(!world.note(Notes::Pinned, &key(2), &flow));
        world.renew(Notes::Fresh, &key(2), &flow);
        assert_eq!((world.note_of(2).place, world.note_of(2).why), (Place::Fresh, Some(Why::Full)));
        world.clear(1);
        assert!(world.note(Notes::Pinned, &key(2), &flow));
        assert_eq!(world.peak(), 1);
    }

    #[test]
    fn a_promoted_flow_leaves_room_among_the_fresh() {
        let world = world(10);
        world.note(Notes::Fresh, &key(1), &Flow::default());
        assert!(world.find(Notes::Fresh, &key(1)).is_some());
        world.note(Notes::Pinned, &key(1), &Flow::default());
        assert!(world.find(Notes::Fresh, &key(1)).is_none());
        assert!(world.find(Notes::Pinned, &key(1)).is_some());
    }

    #[test]
    fn a_flood_of_beginnings_drives_out_who_is_fresh_and_nobody_else() {
        let world = world(10);
        world.note(Notes::Fresh, &key(1), &Flow::default());
        world.note(Notes::Pinned, &key(2), &Flow::default());
        world.begin_second(1, 0);
        world.fresh.borrow_mut().insert(1, limits::FRESH);
        assert!(world.find(Notes::Fresh, &key(1)).is_none());
        assert_eq!(world.note_of(1).why, Some(Why::Evicted));
        assert!(world.find(Notes::Pinned, &key(2)).is_some());
    }

    #[test]
    fn there_is_no_room_from_seven_eighths_on_until_below_six() {
        let world = world(80);
        let room = |pinned| {
            world.pinned.set(pinned);
            world.tell_room();
            !world.is_full()
        };
        assert_eq!([59, 60, 50, 49, 59].map(room), [true, false, false, true, true]);
        world.fresh.borrow_mut().insert(0, limits::FRESH);
        assert!(!room(0));
    }

    #[test]
    fn what_a_client_has_closed_is_forgotten_soon_and_what_fell_silent_late() {
        let mut world = world(10);
        world.slots[0] = Slot::new(Member::new(1), Member::new(2));
        world.serving = [1, 2].into_iter().filter_map(Member::new).collect();
        for (flow, flags) in [(1, Flow::ENDING), (2, 0)] {
            let owner = 1 | Flow::ESTABLISHED | flags;
            world.note(Notes::Pinned, &key(flow), &Flow { owner, ..Flow::default() });
        }
        world.begin_second(70, 0);
        world.sweep(900 * SECOND, 64 * SECOND);
        assert_eq!([1, 2].map(|flow| world.note_of(flow).place), [Place::Nowhere, Place::Pinned]);
        world.begin_second(910, 0);
        world.sweep(900 * SECOND, 64 * SECOND);
        assert_eq!(world.note_of(2).place, Place::Nowhere);
    }

    #[test]
    fn a_flood_has_its_part_of_the_budget_and_of_the_room() {
        let world = world(15_000);
        world.begin_second(1, 1_000_000);
        assert_eq!(world.foreign(), 9_999);
        let promoted = (0..10_000).filter(|_| world.may_promote(0)).count();
        assert!((50..200).contains(&promoted), "{promoted}");
        world.begin_second(2, 1_000_000);
        assert_eq!(world.foreign(), 15_000);
        world.forget_foreign(15_000);
        world.begin_second(3, 0);
        assert!(world.may_promote(0));
    }
}
