//! What is noted of the flows of slots that have moved, and when.

use crate::layout::{Member, shared};

/// A moment in units of 2^20 nanoseconds (about a millisecond) of the monotonic clock. It wraps after 52
/// days, so only moments that are closer together than half of that can be compared.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    const SHIFT: u32 = 20;

    /// The moment at this time of the monotonic clock.
    #[inline(always)]
    #[must_use]
    pub const fn at(nanoseconds: u64) -> Self {
        Self((nanoseconds >> Self::SHIFT) as u32)
    }

    /// How many ticks a time has, rounded up; the most that can be compared if it is longer.
    #[must_use]
    pub const fn ticks(nanoseconds: u128) -> u32 {
        let ticks = nanoseconds.div_ceil(1 << Self::SHIFT);
        if ticks > i32::MAX as u128 { i32::MAX as u32 } else { ticks as u32 }
    }

    /// How many ticks have passed since `earlier`; 0 if that is yet to come.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        let passed = self.0.wrapping_sub(earlier.0);
        if passed >> 31 == 0 { passed } else { 0 }
    }

    /// Whether this moment is before the other.
    #[inline(always)]
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0) >> 31 != 0
    }
}

/// The two moments that count for a tracked slot: when it was opened, which is when it got a previous
/// owner (bits 0 to 31), and when last a packet went to that one because nothing was known of its flow
/// (bits 32 to 63).
///
/// Packets do not ask the clock for that: they leave a mark, [`Times::MARK`], and only where there is none. It stands
/// for "since the sweeper looked", who makes a moment of it. A moment that happens to look like it is taken for one, and
/// so becomes a little later than it was.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times(pub u64);

impl Times {
    /// Those of a slot that is opened now.
    #[must_use]
    pub const fn opened_at(now: Tick) -> Self {
        Self(now.0 as u64 | (now.0 as u64) << 32)
    }

    /// What packets leave in the place of the moment when they came.
    pub const MARK: Tick = Tick(u32::MAX);

    /// The same slot, of which a packet of an unknown flow came last at this moment.
    #[must_use]
    pub const fn seen_at(self, moment: Tick) -> Self {
        Self(self.0 & u32::MAX as u64 | (moment.0 as u64) << 32)
    }

    /// Whether a packet of an unknown flow has come since the sweeper looked.
    #[inline(always)]
    #[must_use]
    pub const fn is_marked(self) -> bool {
        self.0 >> 32 == Self::MARK.0 as u64
    }

    /// How many ticks the slot has been without a packet of an unknown flow, since it was opened.
    #[must_use]
    pub const fn silent(self, now: Tick) -> u32 {
        let (seen, opened) = (now.since(self.seen()), now.since(self.opened()));
        match self.is_marked() {
            true => 0,
            false if seen < opened => seen,
            false => opened,
        }
    }

    /// Whether a packet of an unknown flow came later than `other` says of the same opening of the slot.
    #[must_use]
    pub const fn is_later_than(self, other: Self) -> bool {
        !other.is_marked() && (self.is_marked() || other.seen().is_before(self.seen()))
    }

    /// When the slot was opened.
    #[inline(always)]
    #[must_use]
    pub const fn opened(self) -> Tick {
        Tick(self.0 as u32)
    }

    /// When a packet of an unknown flow came last, unless there is a mark.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> Tick {
        Tick((self.0 >> 32) as u32)
    }
}

/// A flow of a tracked slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The client's address. One of IPv4 stands in the second word.
    pub source: [u64; 2],
    /// The ports as they lie in the packet; 0 for protocols without.
    pub ports: u32,
    /// The VIP by the first slot of its ring, which stays as long as the VIP, and the protocol (bits 24 to
    /// 31). A ring begins at a multiple of 16: bits 4 to 23 are those of the slot, and bits 0 to 3 are its
    /// bits 24 to 27, so that a key is the same however large the arena is.
    pub service: u32,
}
shared!(FlowKey, size = 24);

impl FlowKey {
    /// The bits of a ring's first slot that stand where they are.
    const RING: u32 = 0xff_fff0;

    /// [`FlowKey::service`] of a ring and a protocol.
    #[inline(always)]
    #[must_use]
    pub const fn service(ring: u32, protocol: u8) -> u32 {
        ring & Self::RING | ring >> 24 | (protocol as u32) << 24
    }

    /// The first slot of the VIP's ring.
    #[must_use]
    pub const fn ring(&self) -> u32 {
        self.service & Self::RING | (self.service & 0xf) << 24
    }

    /// The protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        (self.service >> 24) as u8
    }
}

/// What is noted of a flow. One that was noted before its slot was opened is of another time and means
/// nothing.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// When it was noted.
    pub noted: Tick,
    /// When its last packet came, give or take [`limits::TOUCH`](crate::limits::TOUCH) ticks.
    pub seen: Tick,
    /// Its slot within the VIP's ring.
    pub slot: u32,
    /// The number of its real in the VIP's pool ([`Member::number`]), and what is known of the flow:
    /// [`Flow::ESTABLISHED`], [`Flow::ENDING`].
    pub owner: u32,
}
shared!(Flow, size = 16);

impl Flow {
    /// Set in `owner` once a packet but the first was seen: this is no mere SYN.
    pub const ESTABLISHED: u32 = 1 << 16;

    /// Set in `owner` once the client has closed or reset the connection: what follows soon still belongs to
    /// it, and a SYN begins another.
    pub const ENDING: u32 = 1 << 17;

    /// Its real.
    #[inline(always)]
    #[must_use]
    pub const fn member(&self) -> Option<Member> {
        Member::new(self.owner as u16)
    }

    /// Whether more than its first packet was seen.
    #[inline(always)]
    #[must_use]
    pub const fn is_established(&self) -> bool {
        self.owner & Self::ESTABLISHED != 0
    }

    /// Whether the client has closed it.
    #[inline(always)]
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        self.owner & Self::ENDING != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_compared_across_the_end_of_the_clock() {
        let (late, early) = (Tick(5), Tick(u32::MAX - 4));
        assert_eq!((late.since(early), early.since(late)), (10, 0));
        assert!(early.is_before(late) && !late.is_before(early) && !late.is_before(late));
        assert_eq!(Tick::at(3 << 20), Tick(3));
        assert_eq!((Tick::ticks(1), Tick::ticks(u128::MAX)), (1, i32::MAX as u32));
        let times = Times::opened_at(early);
        assert_eq!((times.opened(), times.seen()), (early, early));
    }

    #[test]
    fn a_mark_is_later_than_any_moment() {
        let times = Times::opened_at(Tick(7));
        let (seen, marked) = (times.seen_at(Tick(9)), times.seen_at(Times::MARK));
        assert!(marked.is_marked() && !seen.is_marked() && !times.is_marked());
        assert_eq!((marked.opened(), seen.opened()), (Tick(7), Tick(7)));
        assert_eq!([times, seen, marked].map(|times| times.silent(Tick(20))), [13, 11, 0]);
        assert!(seen.is_later_than(times) && marked.is_later_than(seen));
        assert!(!times.is_later_than(seen) && !seen.is_later_than(seen));
        assert!(!seen.is_later_than(marked) && !marked.is_later_than(marked));
    }

    #[test]
    fn a_key_tells_the_ring_and_the_protocol_wherever_the_ring_is() {
        for ring in [0, 16, 4096, (1 << 24) - 16, 1 << 24, (1 << 27) - 16, (1 << 28) - 16] {
            for protocol in [0, 6, 17, 255] {
                let service = FlowKey::service(ring, protocol);
                let key = FlowKey { service, ..FlowKey::default() };
                assert_eq!((key.ring(), key.protocol()), (ring, protocol));
                if ring < 1 << 24 {
                    assert_eq!(service, ring | u32::from(protocol) << 24, "as it always was");
                }
            }
        }
    }
}
