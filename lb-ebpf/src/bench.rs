//! What the benchmark and its programs (`bin/bench.rs`) agree on. No part of the balancer.

/// What a wrapper changes in a frame from run to run: offsets in the frame, 0 where there is nothing. Set by the
/// loader; constants for the verifier.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// Where the client's address ends: its last 4 bytes (IPv4) or 8 bytes (IPv6) number the flow.
    pub client: u32,
    /// Where the VIP's address ends, likewise: it numbers the service.
    pub vip: u32,
    /// Where the two ports are.
    pub ports: u32,
    /// Where the identification of a fragment is: 2 bytes (IPv4) or 4 (IPv6), which number the flow.
    pub identification: u32,
    /// Not 0 where the addresses are of IPv6.
    pub is_v6: u32,
    /// Not 0 where the client's port is the second one: in what an ICMP error quotes.
    pub is_quoted: u32,
}

/// The course of a wrapper's runs. One value, read and written by one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Course {
    /// How many flows there are, 1 or more, one packet of each after the other.
    pub flows: u32,
    /// How many services, 1 or more, likewise.
    pub services: u32,
    /// Number of the next flow.
    pub flow: u32,
    /// Number of the next service.
    pub service: u32,
    /// What the last 4 bytes of the first client's address are, as a number.
    pub first_client: u32,
    /// The same of the first VIP.
    pub first_vip: u32,
    /// The VIP's port, as a number.
    pub port: u32,
    /// How many runs are left.
    pub left: u32,
    /// The MAC address that frames are for, and the one that they are from, as in
    /// [`lb_common::layout::mac_bits`].
    pub macs: [u64; 2],
    /// How many of them are timed: the last ones. Those before let each flow have been seen.
    pub timed: u64,
    /// When the first of these began and when the last one ended, in nanoseconds of the monotonic clock.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// How often the target has returned each of the XDP actions; [`Course::OTHER`] for anything else.
    pub codes: [u64; 8],
}

impl Course {
    /// Where codes are counted that are no XDP action: the target was not called, or is none.
    pub const OTHER: usize = 7;

    /// The number of words.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// The words that stand in memory.
    #[must_use]
    pub const fn words(&self) -> [u64; Self::WORDS] {
        const fn join(low: u32, high: u32) -> u64 {
            low as u64 | (high as u64) << 32
        }
        let [to, from] = self.macs;
        let [a, b, c, d, e, f, g, h] = self.codes;
        let flows = join(self.flows, self.services);
        let next = join(self.flow, self.service);
        let firsts = join(self.first_client, self.first_vip);
        let rest = join(self.port, self.left);
        [
            flows, next, firsts, rest, to, from, self.timed, self.first, self.last, a, b, c, d, e,
            f, g, h,
        ]
    }

    /// The inverse of [`Course::words`].
    #[must_use]
    pub const fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [flows, next, firsts, rest, to, from, timed, first, last, a, b, c, d, e, f, g, h] =
            words;
        Self {
            flows: flows as u32,
            services: (flows >> 32) as u32,
            flow: next as u32,
            service: (next >> 32) as u32,
            first_client: firsts as u32,
            first_vip: (firsts >> 32) as u32,
            port: rest as u32,
            left: (rest >> 32) as u32,
            macs: [to, from],
            timed,
            first,
            last,
            codes: [a, b, c, d, e, f, g, h],
        }
    }

    /// The port of the client of a flow.
    #[inline(always)]
    #[must_use]
    pub const fn client_port(flow: u32) -> u16 {
        1024 + (flow & 0x7fff) as u16
    }
}

/// The hash of a service's key in the floors' table: one multiplication, and its upper half over the lower, which
/// the key's upper half would not reach.
#[inline(always)]
#[must_use]
pub const fn floor_hash(key: u64, seed: u64) -> u64 {
    let hash = (key ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 32)
}

/// Displacements of the floors' table of services.
pub const FLOOR_DISPLACEMENTS: u32 = 1 << 14;

/// Entries of it.
pub const FLOOR_ENTRIES: u32 = 1 << 16;

/// Slots of the floors' one ring: the length of Katran's.
pub const FLOOR_RING: u32 = 65_536;

/// Slots of each ring of the floor whose services do not share one: about as many as the balancer's rings have for
/// ten reals.
pub const FLOOR_OWN_RING: u32 = 4096;

/// Slots in one value of the array of these rings: one cache line.
pub const FLOOR_BLOCK: u32 = 16;

/// Reals of each of the floors' services.
pub const FLOOR_POOL: u32 = 10;

/// Places of the floors' reals.
pub const FLOOR_REALS: u32 = 1 << 17;

/// Flows that the floor with a table of flows remembers.
pub const FLOOR_FLOWS: u32 = 1 << 21;

/// Which displacement is a key's.
#[inline(always)]
#[must_use]
pub const fn floor_bucket(hash: u64) -> u32 {
    (hash >> 50) as u32 & (FLOOR_DISPLACEMENTS - 1)
}

/// Which entry is a key's.
#[inline(always)]
#[must_use]
pub const fn floor_entry(hash: u64, displacement: u32) -> u32 {
    ((hash >> 16) as u32 ^ displacement) & (FLOOR_ENTRIES - 1)
}

/// A service of the floors: a key and what a packet for it needs.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default)]
pub struct FloorService {
    /// Of IPv4: address, port and protocol. Of IPv6: a mixture of all.
    pub key: u64,
    /// The first slot of its ring, and the first place of its reals.
    pub ring: u32,
    /// How many slots it has.
    pub ring_len: u32,
    /// Where its counters are.
    pub number: u32,
    /// Zero.
    pub reserved: u32,
    /// Zero.
    pub more: u64,
}

/// What a generator of live frames sends: copies of one UDP datagram from many sources. One value, read and
/// written by one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// The whole frame but for what numbers the flow. Frames come back to the generator's pool as they were
    /// left, so all of it is written each time.
    pub frame: [u64; Stream::LENGTH / 8],
    /// How many sources there are, 1 or more, one frame of each after the other.
    pub flows: u32,
    /// Number of the next one's flow.
    pub flow: u32,
    /// What the last 4 bytes of the first source's address are, as a number.
    pub first_source: u32,
    /// Not 0 where the addresses are of IPv6.
    pub is_v6: u32,
    /// The sum of the 16-bit words of the IPv4 header, but for its checksum and the source.
    pub header_sum: u32,
    /// How many frames are left.
    pub left: u32,
    /// When the first frame and the last one were made, in nanoseconds of the monotonic clock.
    pub first: u64,
    /// See `first`.
    pub last: u64,
}

impl Stream {
    /// How long the frame is, without the checksum that network cards add.
    pub const LENGTH: usize = 64;
}
