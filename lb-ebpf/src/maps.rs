//! The kernel's maps as the datapath's tables. Arrays all: their look-ups are inlined.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, xdp_action},
    helpers::{bpf_ktime_get_ns, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    macros::map,
    maps::{Array, DevMap, HashMap, LruHashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::{
    Action, Bucket, Counters, Entrance, Entry, Flow, FlowKey, FragmentKey, FragmentOwner, LAYOUT,
    NotedBlock, Outcome, PortWord, RealWord, Seed, Slot, SlotBlock, Tick, Times, limits,
};

use lb_ebpf::{
    Ended,
    packet::{Frame, Packet},
    tables::{Count, Notes, Shelf, Tables},
};

/// Flags of the arrays that the daemon writes through a mapping, one atomic store a word.
pub const MAPPED: u32 = BPF_F_MMAPABLE;

#[map]
static PORTS: Array<u64> = Array::with_max_entries(limits::PORTS, MAPPED);
/// The interface at each port.
#[map]
static DEVICES: DevMap = DevMap::with_max_entries(limits::PORTS, 0);
/// What each port is, for the daemon that takes over; the datapath never looks.
#[map]
static INTERFACES: Array<[u8; 32]> = Array::with_max_entries(limits::PORTS, MAPPED);
/// Which service table is in force, for the daemon that takes over; the datapath looks into `ENTRANCE`.
#[map]
static TABLE: Array<u64> = Array::with_max_entries(1, MAPPED);
/// What every packet asks. Not pinned: of this instance alone, at its own port.
#[map]
static ENTRANCE: Array<Entrance> = Array::with_max_entries(1, MAPPED);
#[map]
static DISPLACE: Array<u64> = Array::with_max_entries(limits::TABLE_DISPLACEMENTS * 2, MAPPED);
#[map]
static ENTRIES: Array<Entry> = Array::with_max_entries(limits::TABLE_ENTRIES * 2, MAPPED);
#[map]
static RINGS: Array<SlotBlock> =
    Array::with_max_entries(limits::RING_SLOTS / limits::SLOTS_PER_BLOCK, MAPPED);
/// The moments of each slot.
#[map]
static TIMES: Array<u64> = Array::with_max_entries(limits::RING_SLOTS, MAPPED);
#[map]
static REALS: Array<u64> = Array::with_max_entries(limits::REALS, MAPPED);
/// The address of the real at each place, for the daemon that takes over; the datapath never looks.
#[map]
static ADDRESSES: Array<[u8; 16]> = Array::with_max_entries(limits::REALS, MAPPED);
#[map]
static STEERED: PerCpuArray<Counters> = PerCpuArray::with_max_entries(limits::REALS, 0);
#[map]
static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(limits::OUTCOMES, 0);

#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentOwner> =
    LruHashMap::with_max_entries(limits::FRAGMENTS, 0);
/// Three tables of flows; their sizes are the loader's to set.
#[map]
static PINNED: HashMap<FlowKey, Flow> = HashMap::with_max_entries(limits::PINNED, 0);
#[map]
static FRESH: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(limits::FRESH, 0);
#[map]
static DATAGRAMS: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(limits::DATAGRAMS, 0);
/// A byte for each hash that a TCP flow has which was noted, and behind them a value for the daemon (`Noted`).
#[map]
static NOTED: Array<NotedBlock> =
    Array::with_max_entries(limits::NOTED / limits::NOTED_PER_BLOCK + 1, MAPPED);
/// Not 0 while there is no room for more flows.
#[map]
static FULL: Array<u64> = Array::with_max_entries(1, MAPPED);
/// What each VIP may still promote, at its own place. Not pinned, as little as those of pings: a new
/// program starts with full buckets.
#[map]
static BUDGETS: Array<Bucket> = Array::with_max_entries(limits::REALS, 0);
/// What may still be noted in `FRESH`.
#[map]
static BEGINNINGS: Array<Bucket> = Array::with_max_entries(1, 0);
#[map]
static ECHO: PerCpuArray<Bucket> = PerCpuArray::with_max_entries(1, 0);

/// The shelves.
#[map]
static ASIDE: PerCpuArray<[u64; ASIDE_WORDS]> = PerCpuArray::with_max_entries(2, 0);

const ASIDE_WORDS: usize = 20;

/// Set by the loader; constants for the verifier.
#[unsafe(no_mangle)]
static SEED: Seed = Seed([0; 2]);
#[unsafe(no_mangle)]
static PORT: u8 = 0;
/// What it costs to note a flow in `FRESH`.
#[unsafe(no_mangle)]
static BEGINNING: u64 = Bucket::cost((limits::FRESH / limits::FRESH_PART) as u64);
/// For whoever looks at the object: the daemon knows it from the same constant.
#[used]
#[unsafe(no_mangle)]
static LAYOUT_VERSION: u32 = LAYOUT;

/// A frame that has arrived; `FRAGS` says whether it may have several buffers, which takes Linux 5.18.
pub struct Live<'a, const FRAGS: bool>(pub &'a XdpContext);

impl<const FRAGS: bool> Frame for Live<'_, FRAGS> {
    #[inline(always)]
    fn packet(&mut self) -> Packet<'_> {
        // SAFETY: the context's own bounds; the frame is the program's alone while it runs.
        unsafe { Packet::new(self.0.data() as *mut u8, self.0.data_end() as *mut u8) }
    }

    #[inline(always)]
    fn whole(&self) -> u64 {
        if FRAGS {
            // SAFETY: the context that the program was given.
            unsafe { bpf_xdp_get_buff_len(self.0.as_ptr().cast()) }
        } else {
            self.0.data_end() as u64 - self.0.data() as u64
        }
    }

    #[inline(always)]
    fn move_start(&mut self, by: i32) -> Result<(), Outcome> {
        // SAFETY: the context that the program was given. Bounds are read from it anew afterwards.
        match unsafe { bpf_xdp_adjust_head(self.0.as_ptr().cast(), by) } {
            0 => Ok(()),
            _ => Err(Outcome::NoRoom),
        }
    }

    #[inline(always)]
    fn cut_end(&mut self, length: u64) {
        let more = self.whole().saturating_sub(length);
        if more != 0 {
            // SAFETY: the context that the program was given. It stays as long as it is where that
            // fails, which nobody minds behind an IP packet.
            unsafe { bpf_xdp_adjust_tail(self.0.as_ptr().cast(), -(more as i32)) };
        }
    }

    #[inline(always)]
    fn redirect(&mut self, port: u8) -> Result<(), Outcome> {
        match DEVICES.redirect(u32::from(port), 0) {
            Ok(_) => Ok(()),
            Err(_) => Err(Outcome::InterfaceGone),
        }
    }
}

/// The maps, from a frame's point of view. `NOTES` says whether it may leave a trace in the tables of
/// flows.
pub struct Maps<const NOTES: bool>;

/// A constant that the loader has set in the object's read-only data.
///
/// Volatile, since the compiler knows only the value before the loader's.
#[inline(always)]
fn constant<T: Copy>(value: &'static T) -> T {
    // SAFETY: a reference is valid to read.
    unsafe { core::ptr::read_volatile(value) }
}

/// The monotonic clock, in nanoseconds.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn word(array: &'static Array<u64>, index: u32) -> u64 {
    let Some(word) = array.get_ptr(index) else {
        return 0;
    };
    // SAFETY: a value of the array, aligned to its 8 bytes; the daemon replaces it by single
    // stores, so this load sees one of its values.
    unsafe { core::ptr::read_volatile(word) }
}

/// Where the byte of a hash stands.
#[inline(always)]
fn noted_byte(byte: u32) -> Option<*mut u8> {
    let block = NOTED.get_ptr_mut(byte / limits::NOTED_PER_BLOCK)?;
    let within = (byte % limits::NOTED_PER_BLOCK) as usize;
    // SAFETY: the index is below the number of bytes in a block.
    Some(unsafe { block.cast::<u8>().add(within) })
}

#[inline(always)]
fn noted(notes: Notes, key: &FlowKey) -> Option<*mut Flow> {
    match notes {
        Notes::Pinned => PINNED.get_ptr_mut(key),
        Notes::Fresh => FRESH.get_ptr_mut(key),
        Notes::Datagrams => DATAGRAMS.get_ptr_mut(key),
    }
}

impl<const NOTES: bool> Tables for Maps<NOTES> {
    #[inline(always)]
    fn port_number(&self) -> u8 {
        constant(&PORT)
    }

    #[inline(always)]
    fn entrance(&self) -> Entrance {
        let Some(entrance) = ENTRANCE.get_ptr(0) else {
            return Entrance::default();
        };
        // SAFETY: a value of the array, whose words the daemon replaces by single stores.
        let own = unsafe { core::ptr::read_volatile(&raw const (*entrance).own) };
        // SAFETY: as above.
        let table = unsafe { core::ptr::read_volatile(&raw const (*entrance).table) };
        Entrance { own, table }
    }

    #[inline(always)]
    fn port(&self, number: u8) -> PortWord {
        PortWord(word(&PORTS, u32::from(number)))
    }

    #[inline(always)]
    fn seed(&self) -> Seed {
        constant(&SEED)
    }

    #[inline(always)]
    fn displacement(&self, index: u32) -> u64 {
        word(&DISPLACE, index)
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> Option<&Entry> {
        ENTRIES.get(index)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Slot {
        let Some(block) = RINGS.get_ptr(index / limits::SLOTS_PER_BLOCK) else {
            return Slot::EMPTY;
        };
        let within = (index % limits::SLOTS_PER_BLOCK) as usize;
        // SAFETY: the index is below the number of slots in a block.
        let slot = unsafe { block.cast::<u32>().add(within) };
        // SAFETY: within a value of the array, aligned; as in `word`.
        Slot(unsafe { core::ptr::read_volatile(slot) })
    }

    #[inline(always)]
    fn real(&self, place: u32) -> RealWord {
        RealWord(word(&REALS, place))
    }

    #[inline(always)]
    fn now(&self) -> Tick {
        Tick::at(now())
    }

    #[inline(always)]
    fn times(&self, index: u32) -> Times {
        Times(word(&TIMES, index))
    }

    #[inline(always)]
    fn saw(&self, index: u32) {
        if let Some(times) = TIMES.get_ptr_mut(index).filter(|_| NOTES) {
            // SAFETY: the upper half of a value of the array, aligned.
            let seen = unsafe { times.cast::<Tick>().add(1) };
            // SAFETY: as above; other packets store the same, and the daemon a moment that is not before this one.
            unsafe { seen.write_volatile(Times::MARK) };
        }
    }

    #[inline(always)]
    fn may_be_noted(&self, byte: u32) -> bool {
        // SAFETY: a byte of the array; whoever stores at the same time stores a whole one.
        noted_byte(byte).is_none_or(|byte| unsafe { byte.read_volatile() } != 0)
    }

    #[inline(always)]
    fn will_note(&self, byte: u32) {
        if let Some(byte) = noted_byte(byte).filter(|_| NOTES) {
            // SAFETY: as above; other packets store the same.
            unsafe { byte.write_volatile(1) };
        }
    }

    #[inline(always)]
    fn find(&self, notes: Notes, key: &FlowKey) -> Option<Flow> {
        let flow = noted(notes, key)?;
        // SAFETY: a value of the map, which stays readable while the program runs. Other CPUs may
        // change it, field by field, each of which makes sense with each.
        Some(unsafe { flow.read_volatile() })
    }

    #[inline(always)]
    fn note(&self, notes: Notes, key: &FlowKey, flow: &Flow) -> bool {
        if !NOTES {
            return false;
        }
        let noted = match notes {
            Notes::Pinned => PINNED.insert(key, flow, 0),
            Notes::Fresh => FRESH.insert(key, flow, 0),
            Notes::Datagrams => DATAGRAMS.insert(key, flow, 0),
        };
        noted.is_ok()
    }

    #[inline(always)]
    fn renew(&self, notes: Notes, key: &FlowKey, flow: &Flow) {
        if let Some(noted) = noted(notes, key).filter(|_| NOTES) {
            // SAFETY: as in `find`.
            unsafe { noted.write_volatile(*flow) };
        }
    }

    #[inline(always)]
    fn forget(&self, notes: Notes, key: &FlowKey) {
        if !NOTES {
            return;
        }
        // One that is not there is forgotten already.
        let _ = match notes {
            Notes::Pinned => PINNED.remove(key),
            Notes::Fresh => FRESH.remove(key),
            Notes::Datagrams => DATAGRAMS.remove(key),
        };
    }

    #[inline(always)]
    fn has_room(&self) -> bool {
        let Some(bucket) = BEGINNINGS.get_ptr_mut(0).filter(|_| word(&FULL, 0) == 0) else {
            return false;
        };
        let cost = constant(&BEGINNING);
        // SAFETY: as in `may_promote`.
        !NOTES || unsafe { &mut *bucket }.take(now(), cost)
    }

    #[inline(always)]
    fn may_promote(&self, pool: u32) -> bool {
        let Some(bucket) = BUDGETS.get_ptr_mut(pool).filter(|_| NOTES) else {
            return false;
        };
        // SAFETY: a value of the array. CPUs that take from it at the same time may take more than
        // there is, by a few.
        unsafe { &mut *bucket }.take(now(), const { Bucket::cost(limits::PROMOTIONS) })
    }

    #[inline(always)]
    fn aside<T: Copy, R>(
        &self,
        shelf: Shelf,
        value: T,
        then: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        const { assert!(size_of::<T>() <= ASIDE_WORDS * 8 && align_of::<T>() <= 8) };
        let place = || ASIDE.get_ptr_mut(shelf as u32).map(|words| words.cast::<T>());
        // SAFETY: large and aligned enough by the assertion; this CPU's value, and nothing else on
        // this CPU writes to it while the program runs.
        unsafe { place()?.write(value) };
        // Looked up anew, so that the compiler does not know what is there, either.
        // SAFETY: what was written just now, and nobody else refers to it: one value a shelf.
        Some(then(unsafe { &mut *place()? }))
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<u32> {
        let owner = FRAGMENTS.get_ptr(key)?;
        // SAFETY: a value of the map, which stays readable while the program runs.
        let owner = unsafe { &*owner };
        (now().wrapping_sub(owner.since) < limits::FRAGMENT_TIME).then_some(owner.place)
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, place: u32) {
        let owner = FragmentOwner { since: now(), place, reserved: 0 };
        // A map that is full forgets the oldest; where even that fails, the others are dropped.
        let _ = FRAGMENTS.insert(key, owner, 0);
    }

    #[inline(always)]
    fn may_echo(&self) -> bool {
        let Some(bucket) = ECHO.get_ptr_mut(0) else {
            return false;
        };
        let now = now();
        // SAFETY: this CPU's value; nothing else on this CPU takes from it while the program runs.
        unsafe { &mut *bucket }.take(now, const { Bucket::cost(limits::ECHOES) })
    }
}

impl Count for Maps<true> {
    #[inline(always)]
    fn outcome(&self, outcome: Outcome) {
        if let Some(counter) = OUTCOMES.get_ptr_mut(outcome.index()) {
            // SAFETY: this CPU's value; nothing else on this CPU counts while the program runs.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn steered(&self, place: u32, bytes: u64, begins: bool) {
        if let Some(counters) = STEERED.get_ptr_mut(place) {
            // SAFETY: as above.
            let counters = unsafe { &mut *counters };
            counters.packets += 1;
            counters.bytes += bytes;
            counters.flows += u64::from(begins);
        }
    }
}

/// What XDP shall do with a frame that has ended so.
#[inline(always)]
pub fn action(ended: &Ended) -> u32 {
    let Ended { outcome, forward } = ended;
    if *outcome == Outcome::Forwarded && forward.port != Maps::<true>.port_number() {
        return xdp_action::XDP_REDIRECT;
    }
    match outcome.action() {
        Action::Transmit => xdp_action::XDP_TX,
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
    }
}
