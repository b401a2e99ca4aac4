//! What stands in the tables that the daemon writes and the datapath reads.
//!
//! Words that change while packets flow are single integers, written by one atomic store: a reader
//! sees the old value or the new one, never half of each. What does not fit a word stands in the
//! half of the service table that nobody reads, until [`TableWord`] makes it the one that is read.
//!
//! All of it is little-endian memory, as the BPF object is built (`bpfel`).

use core::num::NonZeroU16;

use crate::limits;

/// The version of everything in this module and of the tables' names and sizes.
///
/// It stands in the object and in the pin directory. Of the pinned tables of a former layout a daemon takes those that
/// have not changed, and what it knows how to translate; those of a later one it leaves alone.
pub const LAYOUT: u32 = 5;

#[cfg(not(target_endian = "little"))]
compile_error!("the datapath is built for little-endian machines (bpfel)");

/// Declares that a struct is shared between the planes: its size is what was counted (hence no
/// hidden padding), and any bit pattern is a value of it.
macro_rules! shared {
    ($name:ty, size = $size:expr) => {
        const _: () = assert!(size_of::<$name>() == $size);
        #[cfg(feature = "user")]
        // SAFETY: `repr(C)` or `repr(transparent)` over integers, without padding by the assertion
        // above, so every byte is initialised and every bit pattern valid.
        unsafe impl aya::Pod for $name {}
    };
}

pub(crate) use shared;

/// The secret that seeds the flow hash: equal on all balancers of a group, unknown to clients.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u64; 2]);
shared!(Seed, size = 16);

/// A real server's number in the pool of its VIP, from 1: zero, as in memory nobody wrote, names
/// no real and can never steer a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(NonZeroU16);

impl Member {
    /// The member with this number; `None` for 0.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, 1 or more.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.get()
    }

    /// Where this member of the pool at `pool` stands in the arrays of reals and of counters.
    ///
    /// The pool's first place is nobody's: its counters keep what members that left had counted.
    #[inline(always)]
    #[must_use]
    pub const fn place(self, pool: u32) -> u32 {
        pool.wrapping_add(self.0.get() as u32)
    }
}

/// One slot of a ring: who owns it now (`current`), and who owned it before the ring moved under
/// flows that may still be alive (`previous`).
///
/// A slot without a previous owner is *stable*: every packet goes to `current` and no table of
/// flows is read.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    /// A slot that nobody owns: packets that hash to it have nowhere to go.
    pub const EMPTY: Self = Self(0);

    /// The stable slot of this owner.
    #[inline(always)]
    #[must_use]
    pub const fn stable(current: Member) -> Self {
        Self(current.number() as u32)
    }

    /// The slot with these owners.
    #[must_use]
    pub const fn new(current: Option<Member>, previous: Option<Member>) -> Self {
        const fn number(member: Option<Member>) -> u32 {
            match member {
                Some(member) => member.number() as u32,
                None => 0,
            }
        }
        Self(number(current) | number(previous) << 16)
    }

    /// Whether there was another owner before, whose flows may still be alive.
    #[inline(always)]
    #[must_use]
    pub const fn is_tracked(self) -> bool {
        self.0 >> 16 != 0
    }

    /// Who takes new flows.
    #[inline(always)]
    #[must_use]
    pub const fn current(self) -> Option<Member> {
        Member::new(self.0 as u16)
    }

    /// Who took the flows older than the last change; `None` in a stable slot.
    #[inline(always)]
    #[must_use]
    pub const fn previous(self) -> Option<Member> {
        Member::new((self.0 >> 16) as u16)
    }
}

/// The slots of one value of the arena's array.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct SlotBlock(pub [u32; limits::SLOTS_PER_BLOCK as usize]);
shared!(SlotBlock, size = 4 * limits::SLOTS_PER_BLOCK as usize);

/// The bytes of one value of the array of noted hashes: each 1 once a TCP flow with such a hash was noted.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct NotedBlock(pub [u8; limits::NOTED_PER_BLOCK as usize]);
shared!(NotedBlock, size = limits::NOTED_PER_BLOCK as usize);

const MAC_MASK: u64 = (1 << 48) - 1;

/// How a real server is reached: its MAC address (bits 0 to 47, in memory as on the wire), its VLAN
/// (bits 48 to 59, 0 for none) and its port (bits 60 to 63, see [`PortWord`]). Zero is nobody.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealWord(pub u64);

impl RealWord {
    /// Nobody: a real that cannot serve, not even the flows that it has.
    pub const NONE: Self = Self(0);

    /// A real whose drain is over and whose TCP flows are to be reset. (No MAC address is just one bit
    /// of a group address.)
    pub const RESET: Self = Self(1);

    /// The word for this MAC address, reached untagged through this port (1 to 15).
    #[must_use]
    pub const fn new(mac: [u8; 6], port: u8) -> Self {
        assert!(port != 0 && (port as u32) < limits::PORTS);
        Self(mac_bits(mac) | (port as u64) << 60)
    }

    /// The same real in this VLAN (1 to 4094): its frames get an 802.1Q tag.
    #[must_use]
    pub const fn in_vlan(self, vlan: u16) -> Self {
        assert!(vlan > 0 && vlan < VLAN_MASK);
        Self(self.0 & !((VLAN_MASK as u64) << 48) | (vlan as u64) << 48)
    }

    /// The MAC address as the low 48 bits.
    #[inline(always)]
    #[must_use]
    pub const fn mac_bits(self) -> u64 {
        self.0 & MAC_MASK
    }

    /// The MAC address in wire order.
    #[must_use]
    pub const fn mac(self) -> [u8; 6] {
        mac_bytes(self.0)
    }

    /// The VLAN, 0 for none.
    #[inline(always)]
    #[must_use]
    pub const fn vlan(self) -> u16 {
        (self.0 >> 48) as u16 & VLAN_MASK
    }

    /// The number of the port, 0 in a word that nobody wrote.
    #[inline(always)]
    #[must_use]
    pub const fn port(self) -> u8 {
        (self.0 >> 60) as u8
    }

    /// Whether the real is reached untagged through this port: one comparison, which most packets are
    /// decided by.
    #[inline(always)]
    #[must_use]
    pub const fn is_untagged_at(self, port: u8) -> bool {
        self.0 >> 48 == (port as u64) << 12
    }
}

/// A way out of the balancer: the MAC address of one of its interfaces (bits 0 to 47), and the outer
/// VLAN tag (QinQ, bits 48 to 59, 0 for none) that all frames get which leave this way; bit 60 says
/// that it is an 802.1ad tag and not an 802.1Q one. Zero while unknown.
///
/// Which interface it is stands beside, in the table of devices.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortWord(pub u64);

impl PortWord {
    /// The word for an interface with this MAC address.
    #[must_use]
    pub const fn new(mac: [u8; 6]) -> Self {
        Self(mac_bits(mac))
    }

    /// The same interface with an outer tag: this VLAN (1 to 4094), by 802.1ad or by 802.1Q.
    #[must_use]
    pub const fn in_outer_vlan(self, vlan: u16, service: bool) -> Self {
        assert!(vlan > 0 && vlan < VLAN_MASK);
        Self(self.0 & MAC_MASK | (vlan as u64) << 48 | (service as u64) << 60)
    }

    /// The MAC address as the low 48 bits.
    #[inline(always)]
    #[must_use]
    pub const fn mac_bits(self) -> u64 {
        self.0 & MAC_MASK
    }

    /// The VLAN of the outer tag, 0 for none.
    #[inline(always)]
    #[must_use]
    pub const fn outer_vlan(self) -> u16 {
        (self.0 >> 48) as u16 & VLAN_MASK
    }

    /// Whether the outer tag is an 802.1ad one.
    #[inline(always)]
    #[must_use]
    pub const fn is_service_tag(self) -> bool {
        self.0 >> 60 & 1 != 0
    }
}

/// The bits of a tag's control field that are the VLAN (IEEE 802.1Q, 9.6).
pub const VLAN_MASK: u16 = 0xfff;

/// A MAC address as the low 48 bits of a little-endian word: stored back as 4 and 2 bytes, it is in
/// wire order again.
#[inline(always)]
#[must_use]
pub const fn mac_bits(mac: [u8; 6]) -> u64 {
    u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
}

/// The inverse of [`mac_bits`].
#[inline(always)]
#[must_use]
pub const fn mac_bytes(bits: u64) -> [u8; 6] {
    let b = bits.to_le_bytes();
    [b[0], b[1], b[2], b[3], b[4], b[5]]
}

/// Which half of the service table is read, how large it is and with which seed it was laid out:
/// the one word whose store makes a new table the one in force.
///
/// Bits 0 to 31: seed; 32 to 39: log2 of the number of entries; 40 to 47: log2 of the number of
/// displacements; 48: the half; 56: set in every word that was written.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableWord(pub u64);

impl TableWord {
    /// The word for a table of `1 << entries` entries and `1 << displacements` displacements.
    #[must_use]
    pub const fn new(seed: u32, entries: u32, displacements: u32, half: u32) -> Self {
        assert!(1 << entries <= limits::TABLE_ENTRIES);
        assert!(1 << displacements <= limits::TABLE_DISPLACEMENTS);
        assert!(half < 2);
        Self(
            seed as u64
                | (entries as u64) << 32
                | (displacements as u64) << 40
                | (half as u64) << 48
                | 1 << 56,
        )
    }

    /// Whether a table was ever put in force.
    #[inline(always)]
    #[must_use]
    pub const fn is_written(self) -> bool {
        self.0 != 0
    }

    /// The half that is read, 0 or 1.
    #[inline(always)]
    #[must_use]
    pub const fn half(self) -> u32 {
        (self.0 >> 48) as u32 & 1
    }

    /// The seed of the layout.
    #[inline(always)]
    #[must_use]
    pub const fn seed(self) -> u32 {
        self.0 as u32
    }

    /// The number of entries in use, a power of two.
    #[inline(always)]
    #[must_use]
    pub const fn entries(self) -> u32 {
        1 << ((self.0 >> 32) as u32 & 31)
    }

    /// The number of displacements in use, a power of two.
    #[inline(always)]
    #[must_use]
    pub const fn displacements(self) -> u32 {
        1 << ((self.0 >> 40) as u32 & 31)
    }

    /// Where the displacement for a service with this hash stands: by the hash's highest bits.
    #[inline(always)]
    #[must_use]
    pub const fn displacement_index(self, hash: u64) -> u32 {
        let log2 = (self.0 >> 40) & 31;
        self.half() * limits::TABLE_DISPLACEMENTS + (((hash >> 32) << log2) >> 32) as u32
    }

    /// Where the entry for a service with this hash and displacement stands: by the highest bits of the
    /// hash's lower half.
    #[inline(always)]
    #[must_use]
    pub const fn entry_index(self, hash: u64, displacement: u64) -> u32 {
        let log2 = (self.0 >> 32) & 31;
        let low = (hash ^ displacement) & u32::MAX as u64;
        self.half() * limits::TABLE_ENTRIES + ((low << log2) >> 32) as u32
    }
}

/// What every packet asks first, in one place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entrance {
    /// The word of the port that frames come in on.
    pub own: PortWord,
    /// Which service table is in force.
    pub table: TableWord,
}
shared!(Entrance, size = 16);

/// One entry of the service table: a key and what a packet that matches it needs, in a cache line.
/// It is never changed in the half that is read.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// See [`Address::key`](crate::Address::key); 0 in an unused entry. For the daemon: the datapath compares
    /// `service`.
    pub key: u64,
    /// The first slot of the VIP's ring in the arena.
    pub ring: u32,
    /// The length of the ring, a prime; 0 where the entry only says that the address is a VIP's.
    pub ring_len: u32,
    /// The first place of the VIP's pool in the arrays of reals and of counters.
    pub pool: u32,
    /// [`Entry::SOURCE_HASH`] and its fellows.
    pub flags: u32,
    /// The number of places of the pool, for the daemon that takes over.
    pub places: u32,
    /// How many ticks after a slot was opened unknown flows of protocols without a beginning count as
    /// old: the VIP's `udp_idle_timeout`.
    pub grace: u32,
    /// The IPv6 address as two words in wire order, of which the key has a hash only; zero for IPv4.
    pub address: [u64; 2],
    /// See [`Address::service`](crate::Address::service). (Zero before layout 4.)
    pub service: u64,
    /// Zero. Keeps an entry from straddling two cache lines.
    pub padding: u64,
}
shared!(Entry, size = 64);

impl Entry {
    /// Hash the client's address alone, so that one client stays with one real.
    pub const SOURCE_HASH: u32 = 1;
    /// On the entry of an address: it is assigned to this machine, whose own stack gets what no
    /// service matches.
    pub const LOCAL: u32 = 1 << 1;
    /// On the entry of an address: there is an entry for all its TCP ports.
    pub const ALL_TCP: u32 = 1 << 2;
    /// On the entry of an address: there is an entry for all its UDP ports.
    pub const ALL_UDP: u32 = 1 << 3;
    /// Datagrams of UDP, and of whatever else is not TCP, have no flows: each goes to the current owner.
    pub const PER_PACKET: u32 = 1 << 4;

    /// The number of 64-bit words of an entry.
    pub const WORDS: usize = size_of::<Self>() / size_of::<u64>();

    /// The entry as the words that stand in memory.
    #[must_use]
    pub const fn words(&self) -> [u64; Self::WORDS] {
        const fn join(low: u32, high: u32) -> u64 {
            low as u64 | (high as u64) << 32
        }
        let [first, second] = self.address;
        [
            self.key,
            join(self.ring, self.ring_len),
            join(self.pool, self.flags),
            join(self.places, self.grace),
            first,
            second,
            self.service,
            self.padding,
        ]
    }

    /// The inverse of [`Entry::words`].
    #[must_use]
    pub const fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [key, ring, pool, places, first, second, service, padding] = words;
        Self {
            key,
            ring: ring as u32,
            ring_len: (ring >> 32) as u32,
            pool: pool as u32,
            flags: (pool >> 32) as u32,
            places: places as u32,
            grace: (places >> 32) as u32,
            address: [first, second],
            service,
            padding,
        }
    }

    /// Whether this flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// What was steered to one real of one VIP, on one CPU. Monotone.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames.
    pub packets: u64,
    /// Bytes of those frames, Ethernet header included.
    pub bytes: u64,
    /// TCP connections begun: segments with SYN and without ACK. (UDP has no such mark.)
    pub flows: u64,
    /// Zero. Keeps a counter from straddling two cache lines.
    pub reserved: u64,
}
shared!(Counters, size = 32);

/// What the fragments of one datagram have in common (RFC 791, section 3.2; RFC 8200, section 4.5).
/// Addresses and identification in wire order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FragmentKey {
    /// The client. An IPv4 address stands in the second word.
    pub source: [u64; 2],
    /// The VIP, likewise.
    pub destination: [u64; 2],
    /// The identification: 16 bits of IPv4, 32 of IPv6.
    pub identification: u32,
    /// The protocol, by which IPv4 tells datagrams apart; one that IPv4 does not have for IPv6.
    pub protocol: u32,
}
shared!(FragmentKey, size = 40);

/// Who has got the first fragment of a datagram.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentOwner {
    /// When, in nanoseconds of the monotonic clock.
    pub since: u64,
    /// The real's place.
    pub place: u32,
    /// Zero.
    pub reserved: u32,
}
shared!(FragmentOwner, size = 16);

/// What may still be done: a token bucket.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it was filled last, in nanoseconds of the monotonic clock.
    pub filled: u64,
    /// What it holds, in nanoseconds of time.
    pub credit: u64,
}
shared!(Bucket, size = 16);

impl Bucket {
    const SECOND: u64 = 1_000_000_000;

    /// What one costs where there may be this many a second, 1 or more; to be had from the loader or the
    /// compiler, since a program that might divide by zero is refused.
    #[must_use]
    pub const fn cost(rate: u64) -> u64 {
        Self::SECOND / rate
    }

    /// Takes what one costs, if there is as much at this time.
    #[inline(always)]
    pub fn take(&mut self, now: u64, cost: u64) -> bool {
        let credit = self.credit.saturating_add(now.wrapping_sub(self.filled));
        let credit = if credit > Self::SECOND { Self::SECOND } else { credit };
        let enough = credit >= cost;
        self.filled = now;
        self.credit = if enough { credit - cost } else { credit };
        enough
    }
}

/// By which rule a flow's real was chosen.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The slot's current owner.
    #[default]
    Current = 1,
    /// The owner of the datagram's first fragment.
    Fragment = 2,
    /// The slot's previous owner: the flow is older than the change, for all that is known.
    Previous = 3,
    /// Who the flow is noted to belong to.
    Pinned = 4,
    /// The same, noted when it began, and not known to be more than a beginning.
    Fresh = 5,
}

impl Rule {
    /// The rule with this number; `None` for 0.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Current),
            2 => Some(Self::Fragment),
            3 => Some(Self::Previous),
            4 => Some(Self::Pinned),
            5 => Some(Self::Fresh),
            _ => None,
        }
    }

    /// The word in a trace.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Fragment => "fragment",
            Self::Previous => "previous",
            Self::Pinned => "pinned",
            Self::Fresh => "fresh",
        }
    }
}

/// What the trace program says of the one packet it was run on.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceRecord {
    /// [`Outcome::index`](crate::Outcome::index).
    pub outcome: u32,
    /// The slot within the VIP's ring; meaningless unless forwarded.
    pub slot: u32,
    /// The place of the chosen real ([`Member::place`]); meaningless unless forwarded.
    pub place: u32,
    /// A [`Rule`]; meaningless unless forwarded.
    pub rule: u32,
}
shared!(TraceRecord, size = 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritten_word_names_nobody() {
        assert_eq!(Slot::default().current(), None);
        assert_eq!(Slot::default().previous(), None);
        assert_eq!(RealWord::default().port(), 0);
        assert!(!TableWord::default().is_written());
    }

    #[test]
    fn a_mac_address_survives_its_word() {
        let mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0xfe];
        let word = RealWord::new(mac, 15).in_vlan(4094);
        assert_eq!(word.mac(), mac);
        assert_eq!((word.port(), word.vlan()), (15, 4094));
        let port = PortWord::new(mac).in_outer_vlan(4094, true);
        assert_eq!((port.outer_vlan(), port.is_service_tag()), (4094, true));
        assert_eq!(PortWord::new(mac).outer_vlan(), 0);
        assert_eq!(word.mac_bits(), PortWord::new(mac).mac_bits());
        assert_eq!(mac_bits(mac).to_le_bytes()[..6], mac);
    }

    #[test]
    fn an_entry_is_its_words() {
        let words = core::array::from_fn(|index| (index as u64 + 1) * 0x0123_4567_89ab_cdef);
        assert_eq!(Entry::from_words(words).words(), words);
        let entry = Entry { key: 1, ring: 2, ring_len: 3, ..Entry::default() };
        assert_eq!(entry.words()[..2], [1, 3 << 32 | 2]);
    }

    #[test]
    fn a_bucket_gives_a_second_of_credit_at_once_and_then_what_time_brings() {
        let mut bucket = Bucket::default();
        let start = 1 << 40;
        let given = |bucket: &mut Bucket, now| {
            (0..5000).filter(|_| bucket.take(now, Bucket::cost(limits::ECHOES))).count() as u64
        };
        assert_eq!(given(&mut bucket, start), limits::ECHOES);
        assert_eq!(given(&mut bucket, start), 0);
        assert_eq!(given(&mut bucket, start + Bucket::SECOND / 2), limits::ECHOES / 2);
        assert_eq!(given(&mut bucket, start + 100 * Bucket::SECOND), limits::ECHOES);
    }

    #[test]
    fn a_slot_is_its_owners() {
        let (a, b) = (Member::new(7), Member::new(u16::MAX));
        let slot = Slot::new(a, b);
        assert_eq!((slot.current(), slot.previous(), slot.is_tracked()), (a, b, true));
        assert_eq!(Slot::new(a, None), Slot::stable(a.expect("a member")));
        assert_eq!(Slot::new(None, None), Slot::EMPTY);
        assert!(Slot::new(None, b).is_tracked());
    }

    #[test]
    fn the_halves_of_the_service_table_do_not_overlap() {
        let (low, high) = (TableWord::new(7, 16, 14, 0), TableWord::new(7, 16, 14, 1));
        for hash in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            for displacement in [0, 1, u64::from(u32::MAX)] {
                assert!(low.entry_index(hash, displacement) < limits::TABLE_ENTRIES);
                assert!(high.entry_index(hash, displacement) >= limits::TABLE_ENTRIES);
                assert!(high.entry_index(hash, displacement) < 2 * limits::TABLE_ENTRIES);
            }
            assert!(low.displacement_index(hash) < limits::TABLE_DISPLACEMENTS);
            assert!(high.displacement_index(hash) >= limits::TABLE_DISPLACEMENTS);
        }
        assert_eq!(high.seed(), 7);
    }
}
