//! All limits of the datapath's tables, and the relations that must hold between them.
//!
//! Memory at the least sizes: 16 MiB of ring slots and 32 MiB of their times, 8.3 MiB of service table, 4 MiB
//! of bytes for hashes that are noted, 0.5 MiB of reals, 1 MiB of their addresses, 1 MiB of budgets, 2 MiB of counters for every CPU, and about 10 MiB
//! for the fragments under way. How many flows are noted is the configuration's to say, and a configuration
//! that needs more slots or places gets larger tables: 12 bytes a slot, and 40 a place with 32 more for
//! every CPU.

/// Slots in the arena that all rings share, unless the configuration needs more.
pub const RING_SLOTS: u32 = 1 << 22;

/// The most slots in the arena, for which it takes 1.5 GiB: 10 000 VIPs with 10 reals each need 41 million,
/// 100 VIPs with 1000 reals each 26 million.
pub const RING_SLOTS_MOST: u32 = 1 << 27;

/// Ring slots in one value of the arena's array: one cache line.
///
/// The kernel rounds an array's values up to 8 bytes (`array_map_alloc`, kernel/bpf/arraymap.c),
/// so 4-byte slots are packed and cost no more than they hold.
pub const SLOTS_PER_BLOCK: u32 = 16;

/// Entries in each of the two halves of the service table, of which one is read while the other is
/// laid out.
pub const TABLE_ENTRIES: u32 = 1 << 16;

/// Displacements in each of the two halves of the service table.
pub const TABLE_DISPLACEMENTS: u32 = 1 << 14;

/// The most service keys (an address, or an address with a protocol and a port) at once: the table
/// stays at most half full, so that a perfect layout is found at the first seed or soon after.
pub const SERVICE_KEYS: u32 = TABLE_ENTRIES / 2;

/// Pool places over all VIPs, one for each real server of each VIP, one for the VIP itself, and some for
/// the pool to grow, unless the configuration needs more.
pub const REALS: u32 = 1 << 16;

/// The most pool places over all VIPs.
pub const REALS_MOST: u32 = 1 << 19;

/// The most real servers in one VIP's pool, set by the 16 bits of a [`Member`](crate::Member).
pub const POOL: u32 = 4096;

/// The longest ring.
pub const RING_MAX: u32 = 262_139;

/// Ports, the ways out of the balancer, set by the 4 bits of a [`RealWord`](crate::RealWord); number 0
/// stands for none.
pub const PORTS: u32 = 16;

/// Counters of outcomes: with room for more kinds, so that a new one does not change the layout.
pub const OUTCOMES: u32 = 64;

/// Where among them stands what was forwarded to places of reals that have been cleared since: what is forwarded is
/// counted at the reals, and nowhere else.
pub const FORWARDED_BEFORE: u32 = OUTCOMES - 1;

/// Fragmented datagrams whose owner is remembered at once; beyond that, the oldest are forgotten.
/// Large, since the kernel's LRU maps evict in batches before they are full.
pub const FRAGMENTS: u32 = 1 << 16;

/// IPv6 extension headers that are looked through: as many as RFC 8200 (section 4.1) recommends before
/// a transport header, if none stands twice.
pub const EXTENSIONS: usize = 4;

/// Addresses that stand for a VIP at one machine.
pub const DETOURS: u32 = 1 << 17;

/// How long the owner of a fragmented datagram is remembered, in nanoseconds: what Linux allows for
/// reassembly (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_TIME: u64 = 30_000_000_000;

/// Pings that each CPU answers a second, and in one burst.
pub const ECHOES: u64 = 1000;

/// Flows of one VIP that may be promoted from `FRESH` to `PINNED` each second, and in one burst: who
/// opens connections only to fill that table needs that much longer.
pub const PROMOTIONS: u64 = 10_000;

/// The part of `FRESH` that beginnings may fill each second, and in one burst; more than that begin with the
/// previous owners. It cannot be full, then, before the sweeper has seen it coming.
pub const FRESH_PART: u32 = 8;

/// How old the time of a flow's last packet may be, in ticks, before the next packet renews it: so
/// that not every packet writes to memory that all CPUs read.
pub const TOUCH: u32 = 64;

/// Bytes that say of the hashes of flows whether one of them may be noted: 4 MiB.
///
/// As many as to be told apart by what of a flow's hash its slot does not use up. A flow that is noted nowhere is taken
/// for one that is as often as its byte is another's, too: with as many notes as [`PINNED`] and [`FRESH`] have room
/// for when nothing else is configured, that is every eleventh, and those only take the longer way. Of as many bits,
/// which would take an eighth of the memory, one could not be set but by an atomic instruction, which kernels
/// before 5.12 do not have. And 4 MiB stay in a processor's cache, or nearly.
pub const NOTED: u32 = 1 << 22;

/// Of those, in one value of their array: one cache line. (A value of a single byte would take eight.)
pub const NOTED_PER_BLOCK: u32 = 64;

/// Established TCP flows that are noted at most when nothing else is configured.
///
/// The kernel takes the memory for a table of flows when it makes it: 104 bytes for each entry, measured
/// on Linux 6.18 (88 for the entry, 16 for its bucket, of which there are as many as the next power of two:
/// up to 120 bytes in all for other sizes). So these are 26 MiB.
pub const PINNED: u32 = 1 << 18;

/// TCP flows that have begun, likewise: 13 MiB, 104 bytes each.
pub const FRESH: u32 = 1 << 17;

/// Flows of all other protocols, likewise: 13 MiB, 104 bytes each.
pub const DATAGRAMS: u32 = 1 << 17;

/// The highest weight of a real server.
pub const WEIGHT_MAX: u16 = 256;

const _: () = assert!(RING_SLOTS.is_multiple_of(SLOTS_PER_BLOCK));
const _: () = assert!(RING_SLOTS.is_power_of_two() && RING_SLOTS_MOST.is_power_of_two());
const _: () = assert!(RING_MAX <= RING_SLOTS && RING_SLOTS <= RING_SLOTS_MOST);
const _: () = assert!(RING_SLOTS_MOST <= 1 << 28, "the ring of a FlowKey has 28 bits");
const _: () =
    assert!(SLOTS_PER_BLOCK >= 1 << 4, "4 bits of a FlowKey's ring stand in its low bits");
const _: () = assert!(NOTED.is_power_of_two() && NOTED_PER_BLOCK.is_power_of_two());
const _: () = assert!(NOTED_PER_BLOCK >= 8 && NOTED_PER_BLOCK < NOTED);
const _: () = assert!(REALS.is_power_of_two() && REALS_MOST.is_power_of_two());
const _: () = assert!(TABLE_ENTRIES.is_power_of_two() && TABLE_DISPLACEMENTS.is_power_of_two());
const _: () = assert!(SERVICE_KEYS <= TABLE_ENTRIES / 2);
const _: () = assert!(POOL < u16::MAX as u32 && POOL * 2 <= REALS && REALS <= REALS_MOST);
const _: () = assert!(PORTS == 1 << 4);
const _: () = assert!(crate::Outcome::ALL.len() <= FORWARDED_BEFORE as usize);
