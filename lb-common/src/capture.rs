//! What a capture takes of frames, and of which.

use crate::{Outcome, layout::shared, limits};

/// The most bytes of a frame that are taken: all headers, and the beginning of what they carry.
pub const SNAP: usize = 256;

/// Frames that each CPU hands on of an interface at most in a second, and in one burst: who looks on shall not
/// slow down what he looks at.
pub const RATE: u64 = 2000;

/// The size of the ring buffer, in bytes: room for the frames of about a second.
pub const RING: u32 = 1 << 20;

/// The words of the bitmap of places: that of a place is word `place / 64`, bit `place % 64`.
pub const PLACE_WORDS: u32 = limits::REALS_MOST / 64;

/// Which frames are wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A bit for each outcome, at its [`index`](Outcome::index).
    pub outcomes: u64,
    /// Whether of those that are forwarded only some are wanted: those to the places in the bitmap.
    pub places: u32,
    /// One of so many is looked at; of 0 and 1, all.
    pub sample: u32,
}
shared!(Wanted, size = 16);

impl Wanted {
    /// Whether frames that end so are wanted.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, outcome: Outcome) -> bool {
        self.outcomes >> outcome.index() & 1 != 0
    }
}

/// A frame at one moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Its length in bytes.
    pub length: u32,
    /// How many of them were taken; 0 of a frame that was not sent on.
    pub taken: u32,
    /// These.
    pub bytes: [u8; SNAP],
}
shared!(Sight, size = 8 + SNAP);

impl Sight {
    /// The bytes that were taken.
    #[must_use]
    pub fn seen(&self) -> &[u8] {
        &self.bytes[..(self.taken as usize).min(SNAP)]
    }
}

/// A frame that was captured: as it came and as it was sent on, and what was decided about it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When, in nanoseconds of the monotonic clock.
    pub time: u64,
    /// [`Outcome::index`].
    pub outcome: u32,
    /// The slot within the VIP's ring; meaningless unless forwarded.
    pub slot: u32,
    /// The place of the chosen real ([`Member::place`](crate::Member::place)); meaningless unless forwarded.
    pub place: u32,
    /// A [`Rule`](crate::layout::Rule); meaningless unless forwarded.
    pub rule: u32,
    /// The number of the port that it left by; meaningless unless forwarded.
    pub port: u32,
    /// Whether the frame was looked at as it came: not 0 of all that are handed on.
    pub looked_at: u32,
    /// As it came.
    pub came: Sight,
    /// As it left.
    pub left: Sight,
}
shared!(Captured, size = 32 + 2 * size_of::<Sight>());

const _: () = assert!(RING.is_power_of_two() && RING.is_multiple_of(4096));
const _: () = assert!(limits::OUTCOMES <= u64::BITS);
const _: () = assert!(limits::REALS_MOST.is_multiple_of(64));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_wanted_by_their_bits() {
        let wanted = Wanted { outcomes: 1 << Outcome::NoReal.index(), ..Wanted::default() };
        for outcome in Outcome::ALL {
            assert_eq!(wanted.has(*outcome), *outcome == Outcome::NoReal);
        }
    }
}
