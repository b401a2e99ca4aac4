//! How much room VIPs take in the datapath's arrays, and how large these are made for it.

use std::{
    iter::Sum,
    ops::{Add, RangeInclusive},
};

use lb_common::limits;

use super::Vip;

/// Room in the arrays whose sizes depend on the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Slots, for rings.
    pub slots: u32,
    /// Places, for pools.
    pub places: u32,
}

impl Room {
    /// What arrays have at least.
    pub const LEAST: Self = Self { slots: limits::RING_SLOTS, places: limits::REALS };

    /// What they can have at most.
    pub const MOST: Self = Self { slots: limits::RING_SLOTS_MOST, places: limits::REALS_MOST };

    /// What one VIP takes.
    #[must_use]
    pub fn of(vip: &Vip) -> Self {
        let members = vip.reals.len() as u32 + u32::from(vip.sorry.is_some());
        Self { slots: Self::ring(vip.ring_len()), places: Self::pool(members) }
    }

    /// The slots that a ring takes: whole array values, so that no two rings share one.
    #[must_use]
    pub fn ring(length: u32) -> u32 {
        length.next_multiple_of(limits::SLOTS_PER_BLOCK)
    }

    /// The places that a pool takes which is made for so many: with one for the VIP itself, and some to
    /// grow.
    #[must_use]
    pub fn pool(members: u32) -> u32 {
        let needed = members + 1;
        (needed + needed / 2).next_power_of_two().max(8)
    }

    /// How large arrays are made that must have this room: with half as much again for what is added
    /// while they are in use, or, of large ones, which take long to make, a quarter.
    #[must_use]
    pub fn to_grow(self) -> Self {
        Self {
            slots: size(self.slots, Self::LEAST.slots..=Self::MOST.slots),
            places: size(self.places, Self::LEAST.places..=Self::MOST.places),
        }
    }

    /// Whether something that takes so much has room in this.
    #[must_use]
    pub fn holds(self, needed: Self) -> bool {
        needed.slots <= self.slots && needed.places <= self.places
    }

    /// The larger of both, in slots and in places.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { slots: self.slots.max(other.slots), places: self.places.max(other.places) }
    }
}

fn size(needed: u32, sizes: RangeInclusive<u32>) -> u32 {
    let (needed, most) = (u64::from(needed), u64::from(*sizes.end()));
    let doubled = (needed * 3 / 2).min(most).next_power_of_two();
    let step = most / 128;
    let finer = (needed * 5 / 4).next_multiple_of(step).max(16 * step);
    let wanted = if doubled > 16 * step { finer } else { doubled };
    (wanted.min(most) as u32).clamp(*sizes.start(), *sizes.end())
}

impl Add for Room {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            slots: self.slots.saturating_add(other.slots),
            places: self.places.saturating_add(other.places),
        }
    }
}

impl Sum for Room {
    fn sum<I: Iterator<Item = Self>>(rooms: I) -> Self {
        rooms.fold(Self { slots: 0, places: 0 }, Self::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(slots: u32, places: u32) -> Room {
        Room { slots, places }
    }

    #[test]
    fn small_configurations_get_the_least_and_none_gets_more_than_the_most() {
        assert_eq!(room(0, 0).to_grow(), Room::LEAST);
        assert_eq!(room(2_796_202, 43_690).to_grow(), Room::LEAST);
        assert_eq!(room(2_796_204, 43_692).to_grow(), room(1 << 23, 1 << 16));
        assert_eq!(Room::MOST.to_grow(), Room::MOST);
        assert_eq!(room(u32::MAX, u32::MAX).to_grow(), Room::MOST);
        assert!(Room::MOST.holds(Room::LEAST) && !Room::LEAST.holds(Room::MOST));
    }

    #[test]
    fn the_largest_that_is_promised_has_room_to_grow() {
        let equal =
            |vips: u32, slots, reals| room(vips * Room::ring(slots), vips * Room::pool(reals));
        let many = equal(10_000, 4093, 10);
        assert_eq!(many, room(40_960_000, 160_000));
        assert_eq!(many.to_grow(), room(49 << 20, 49 << 12));
        let wide = equal(100, limits::RING_MAX, 1000);
        assert_eq!(wide, room(26_214_400, 204_800));
        assert_eq!(wide.to_grow(), room(32 << 20, 63 << 12));
        assert_eq!((many + wide).to_grow(), room(81 << 20, 112 << 12));
        assert_eq!([many, wide].into_iter().sum::<Room>(), many + wide);
    }
}
