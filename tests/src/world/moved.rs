//! VIPs whose slots have moved from one real to another, so that it counts when a flow began.

use std::{net::IpAddr, sync::Arc, time::Duration};

use lb_common::{RealWord, Slot, Tick};
use lb_user::plan::{Block, Changed, DesiredVip, Op, State};
use nix::time::{ClockId, clock_gettime};

use super::{Party, Real, vip, vips};

/// The real that had all slots before: the last byte of its addresses.
pub const OLD: u8 = 21;
/// The one that has them now.
pub const NEW: u8 = 22;
/// One that may get them next.
pub const NEXT: u8 = 23;

/// How long after a move unknown datagrams count as old: longer than any test takes.
const GRACE: Duration = Duration::from_secs(600);

/// What is with the owner of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// There is none.
    Nobody,
    /// It serves.
    Serves,
    /// It cannot be reached any more.
    Gone,
    /// Its connections are to be reset.
    Resets,
}

/// A VIP that serves everything and whose slots have all moved.
pub struct Moved {
    /// The VIP.
    pub vip: Party,
    current: Owner,
    previous: Owner,
    ago: Duration,
    per_packet: bool,
}

const fn moved(last: u8, previous: Owner, current: Owner) -> Moved {
    Moved { vip: vip(last), current, previous, ago: Duration::ZERO, per_packet: false }
}

/// Moved just now.
pub const MOVED: Moved = moved(110, Owner::Serves, Owner::Serves);
/// Moved so long ago that unknown datagrams are new.
pub const SETTLED: Moved =
    Moved { ago: Duration::from_secs(3600), ..moved(111, Owner::Serves, Owner::Serves) };
/// Datagrams have no flows.
pub const PER_PACKET: Moved =
    Moved { per_packet: true, ..moved(112, Owner::Serves, Owner::Serves) };
/// The previous owner is gone.
pub const ORPHANED: Moved = moved(113, Owner::Gone, Owner::Serves);
/// Nobody takes what begins.
pub const ENDING: Moved = moved(114, Owner::Serves, Owner::Nobody);
/// The connections of the previous owner are reset.
pub const RESETTING: Moved = moved(115, Owner::Resets, Owner::Serves);
/// The same, and nobody takes what begins.
pub const ENDED: Moved = moved(116, Owner::Resets, Owner::Nobody);
/// Not moved: the owner is the one whose connections are reset.
pub const STAYED: Moved = moved(117, Owner::Nobody, Owner::Resets);

/// One of each kind.
pub const ALL_MOVED: [Moved; 8] =
    [MOVED, SETTLED, PER_PACKET, ORPHANED, ENDING, RESETTING, ENDED, STAYED];

impl Owner {
    fn is(self, last: u8) -> Option<u8> {
        (self != Self::Nobody).then_some(last)
    }

    fn word(self, last: u8) -> RealWord {
        match self {
            Self::Nobody | Self::Serves => word(last),
            Self::Gone => RealWord::NONE,
            Self::Resets => RealWord::RESET,
        }
    }
}

fn word(last: u8) -> RealWord {
    RealWord::new([2, 0, 0, 0, 0, last], 1)
}

impl Moved {
    /// The VIP in both families, as it was when it was added.
    pub(super) fn desired(&self) -> [DesiredVip; 2] {
        let reals = [OLD, NEW, NEXT].map(|last| Real { last, usable: true, word: word(last) });
        let (grace, per_packet) = (Tick::ticks(GRACE.as_nanos()), self.per_packet);
        vips(self.vip, &["any"], false, &reals).map(|vip| DesiredVip { grace, per_packet, ..vip })
    }

    /// Moves its slots, and says so in the state.
    pub(super) fn begin(&self, state: &mut State, now: Tick) -> Vec<Op> {
        let opened = Tick(now.0.wrapping_sub(Tick::ticks(self.ago.as_nanos())));
        let (current, previous) = (self.current.is(NEW), self.previous.is(OLD));
        let mut ops = owners(state, self.vip, current, previous, opened);
        for (last, owner) in [(OLD, self.previous), (NEW, self.current)] {
            ops.extend(reached(state, self.vip, last, owner.word(last)));
        }
        ops
    }
}

/// The time, as the loaded object reads it.
///
/// # Panics
///
/// Where there is no monotonic clock.
#[must_use]
pub fn clock() -> Tick {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    Tick::at(Duration::from(now).as_nanos() as u64)
}

/// Gives all slots of a VIP these owners, as if they were opened at this moment.
#[must_use]
pub fn owners(
    state: &State,
    vip: Party,
    current: Option<u8>,
    previous: Option<u8>,
    opened: Tick,
) -> Vec<Op> {
    let of = |block: &Block| {
        let member = |last: u8| {
            let mut members = block.members.iter();
            members.find(|(address, _)| is_last(**address, last)).map(|(_, real)| real.member)
        };
        let slot = Slot::new(current.and_then(member), previous.and_then(member));
        let (first, count) = (block.ring, block.ring_len());
        let slots = vec![slot; count as usize];
        [Op::Open { first, count, at: opened }, Op::Slots(Changed::neighbours(first, slots))]
    };
    state.blocks.iter().filter(|block| is_of(block, vip)).flat_map(of).collect()
}

/// Says how a real of a VIP is reached from now on, in the state, too.
#[must_use]
pub fn reached(state: &mut State, vip: Party, last: u8, word: RealWord) -> Vec<Op> {
    let mut ops = Vec::new();
    for block in state.blocks.iter_mut().filter(|block| is_of(block, vip)) {
        let members = Arc::make_mut(&mut block.members).iter_mut();
        for (_, real) in members.filter(|(address, _)| is_last(**address, last)) {
            real.word = word;
            ops.push(Op::Real { place: real.member.place(block.pool), word });
        }
    }
    ops
}

fn is_of(block: &Block, vip: Party) -> bool {
    let names =
        [IpAddr::from(vip.v4), IpAddr::from(vip.v6)].map(|address| format!("vip-{address}"));
    block.name.as_ref().is_some_and(|name| names.contains(name))
}

fn is_last(address: IpAddr, last: u8) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[3] == last,
        IpAddr::V6(address) => address.octets()[15] == last,
    }
}
