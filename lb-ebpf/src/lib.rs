//! The datapath: what becomes of a frame that the network card delivers.
//!
//! The same code runs in the kernel, as the XDP program that `main` makes of it, and on the host,
//! in tests and in the daemon's predictions.
//!
//! A frame is never looked at beyond its headers, nothing is allocated, and nothing loops.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod packet;

#[cfg(not(target_arch = "bpf"))]
pub mod host;

pub mod tables;

pub mod parse;

pub mod service;

pub mod ring;

pub mod flow;

pub mod fragment;

pub mod forward;

pub mod echo;

pub mod reset;

pub mod count;

pub mod detour;

pub mod bench;

use lb_common::{Entrance, Outcome, V4, V6, layout::Rule};

use crate::{
    echo::Ping,
    flow::Owner,
    packet::Frame,
    parse::{
        Datagram, Family, Transport,
        link::{self, Link},
    },
    reset::Reset,
    tables::{Count, Shelf, Tables},
};

/// Where a frame was steered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// The real's place in the arrays of reals and of counters.
    pub place: u32,
    /// The slot within the service's ring; 0 for a fragment but the first, which has no ports.
    pub slot: u32,
    /// The rule that chose the real.
    pub rule: Rule,
    /// Whether the frame begins a TCP connection.
    pub begins: bool,
    /// The port that it leaves by.
    pub port: u8,
    /// The length of the frame as it came, in bytes.
    pub length: u64,
}

/// How a frame ended, and, if it was forwarded, where it was steered.
///
/// (Not a `Result`: kernels before 6.3 let no program read what only one of two ways has written, as
/// compilers like to do.)
#[derive(Clone, Copy)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// Nothing in particular unless it was forwarded.
    pub forward: Forward,
}

impl Ended {
    #[inline(always)]
    fn with(outcome: Outcome) -> Self {
        Self { outcome, forward: Forward::default() }
    }
}

/// Decides about one frame, rewrites it if it is to be sent on, and counts it.
///
/// # Errors
///
/// How the frame ended if it was not forwarded; it is untouched then, but for an answered ping.
pub fn process(
    frame: &mut impl Frame,
    tables: &impl Tables,
    counters: &impl Count,
) -> Result<Forward, Outcome> {
    match decide(frame, tables, counters) {
        Ended { outcome: Outcome::Forwarded, forward } => Ok(forward),
        Ended { outcome, .. } => Err(outcome),
    }
}

/// The same for the kernel.
#[inline(always)]
pub fn decide(frame: &mut impl Frame, tables: &impl Tables, counters: &impl Count) -> Ended {
    steer(frame, tables, |ended| {
        count::frame(counters, &ended);
        ended
    })
}

/// Most frames take the first or the second turn: plain packets of slots that have not moved, or of connections that
/// are older than that. All others,
/// whatever is special about them, begin anew in one of the others.
///
/// Each of them ends by itself, so that what comes after is the compiler's to fit to how it can end there.
#[inline(always)]
fn steer(frame: &mut impl Frame, tables: &impl Tables, end: impl Fn(Ended) -> Ended) -> Ended {
    let entrance = tables.entrance();
    let packet = frame.packet();
    let link = match link::read(&packet, &entrance) {
        Ok(link) => link,
        Err(outcome) => return end(Ended::with(outcome)),
    };
    if let Some(datagram) = V4::plain(&packet, &link) {
        return plain_turn(frame, tables, &entrance, &link, &datagram, end);
    }
    if let Some(datagram) = V6::plain(&packet, &link) {
        return plain_turn(frame, tables, &entrance, &link, &datagram, end);
    }
    match link::read_tags(&packet, &link) {
        Ok(link) if link::is_ipv4(&link) => end(begin_anew::<V4>(frame, tables)),
        Ok(link) if link::is_ipv6(&link) => end(begin_anew::<V6>(frame, tables)),
        Ok(_) => end(Ended::with(Outcome::NotIp)),
        Err(outcome) => end(Ended::with(outcome)),
    }
}

/// The turn of a plain packet.
#[inline(always)]
fn plain_turn<A: Family + Ping + Reset>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    entrance: &Entrance,
    link: &Link,
    datagram: &Datagram<A>,
    end: impl Fn(Ended) -> Ended,
) -> Ended {
    match short_path(frame, tables, entrance, link, datagram) {
        Some(Ok(forward)) => end(Ended { outcome: Outcome::Forwarded, forward }),
        Some(Err(outcome)) => end(Ended::with(outcome)),
        None => end(begin_anew::<A>(frame, tables)),
    }
}

/// The path of a plain packet; `None` where its slot has moved and its flow is to be looked up, or where its
/// connection is to be reset.
#[inline(always)]
fn short_path<A: Family>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    entrance: &Entrance,
    link: &Link,
    datagram: &Datagram<A>,
) -> Option<Result<Forward, Outcome>> {
    let service = match service::lookup(tables, entrance.table, datagram) {
        Ok(service) => service,
        Err(outcome) => return Some(Err(outcome)),
    };
    let hash = ring::hash(tables, service, datagram);
    let slot = ring::slot(service, hash);
    let owner = match flow::plain_owner(tables, service, slot, hash, datagram)? {
        Ok(owner) => owner,
        Err(outcome) => return Some(Err(outcome)),
    };
    // All of it is there.
    let length = frame.packet().len();
    match send(frame, tables, link, datagram, owner, slot, length) {
        Err(Outcome::Reset) => None,
        ended => Some(ended),
    }
}

#[inline(always)]
fn begin_anew<A: Family + Ping + Reset>(frame: &mut impl Frame, tables: &impl Tables) -> Ended {
    let mut forward = Forward::default();
    match special::<A>(frame, tables, &mut forward) {
        Ok(()) => Ended { outcome: Outcome::Forwarded, forward },
        Err(outcome) => Ended::with(outcome),
    }
}

/// Not inlined: what it keeps in mind would slow down the others. It begins anew, so that to the
/// verifier it is the same from wherever it is called.
#[inline(never)]
fn special<A: Family + Ping + Reset>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    forward: &mut Forward,
) -> Result<(), Outcome> {
    let nothing = (Link::default(), Datagram::<A>::default());
    let ended = tables.aside(Shelf::Datagram, nothing, |(link, datagram)| {
        read(frame, tables, link, datagram)?;
        path(frame, tables, link, datagram, forward)
    });
    ended.unwrap_or(Err(Outcome::Malformed))
}

/// Reads a frame with all that it may have. A function of its own for its share of the stack.
#[inline(never)]
fn read<A: Family>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    link: &mut Link,
    datagram: &mut Datagram<A>,
) -> Result<(), Outcome> {
    let packet = frame.packet();
    *link = link::read_tags(&packet, &link::read(&packet, &tables.entrance())?)?;
    *datagram = A::datagram(&packet, link.ip())?;
    let (end, first) = (datagram.end as u64, packet.len());
    if end > first && end > frame.whole() {
        // Whether it matters depends on whom it is for.
        datagram.transport = Transport::Truncated;
    }
    Ok(())
}

/// The whole path on one screen.
#[inline(always)]
fn path<A: Family + Ping + Reset>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    link: &Link,
    datagram: &Datagram<A>,
    forward: &mut Forward,
) -> Result<(), Outcome> {
    let (owner, slot) = match service::lookup(tables, tables.entrance().table, datagram) {
        Ok(service) => {
            let hash = ring::hash(tables, service, datagram);
            let slot = ring::slot(service, hash);
            (flow::owner(tables, service, slot, hash, datagram)?, slot)
        }
        Err(Outcome::Fragment) => (fragment::owner(tables, datagram)?, 0),
        Err(Outcome::EchoAnswered) => return Err(echo::answer::<A>(frame, tables, link)),
        Err(outcome) => return Err(outcome),
    };
    let length = frame.packet().len().max(datagram.end as u64);
    match send(frame, tables, link, datagram, owner, slot, length) {
        Ok(sent) => {
            *forward = sent;
            fragment::remember(tables, datagram, owner.place);
        }
        Err(Outcome::Reset) => return Err(reset::answer::<A>(frame, link.ip())),
        Err(outcome) => return Err(outcome),
    }
    Ok(())
}

/// The last stage that both paths have: to the real server at this place.
#[inline(always)]
fn send<A>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    link: &Link,
    datagram: &Datagram<A>,
    owner: Owner,
    slot: u32,
    length: u64,
) -> Result<Forward, Outcome> {
    let real = tables.real(owner.place);
    forward::rewrite(frame, tables, link, real)?;
    Ok(Forward {
        place: owner.place,
        slot,
        rule: owner.rule,
        begins: datagram.ports.begins,
        port: real.port(),
        length,
    })
}
