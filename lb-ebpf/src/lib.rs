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

pub mod count;

use lb_common::{Outcome, V4, V6, layout::Rule};

use crate::{
    echo::Ping,
    packet::Frame,
    parse::{
        Datagram, Family, Transport,
        link::{self, Link},
    },
    tables::{Count, Tables},
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
    let mut forward = Forward::default();
    match decide(frame, tables, counters, &mut forward) {
        Outcome::Forwarded => Ok(forward),
        outcome => Err(outcome),
    }
}

/// The same for the kernel: how the frame ended, and, filled in if it was forwarded, where it was
/// steered. (Not one or the other, since kernels before 6.3 let no program read what only one of two
/// ways has written, as compilers like to do.)
#[inline(always)]
pub fn decide(
    frame: &mut impl Frame,
    tables: &impl Tables,
    counters: &impl Count,
    forward: &mut Forward,
) -> Outcome {
    let outcome = match steer(frame, tables, forward) {
        Ok(()) => Outcome::Forwarded,
        Err(outcome) => outcome,
    };
    count::frame(counters, outcome, forward);
    outcome
}

/// Most frames take the first or the second turn; all others, whatever is special about them, one of
/// the others. The path behind is the same.
#[inline(always)]
fn steer(
    frame: &mut impl Frame,
    tables: &impl Tables,
    forward: &mut Forward,
) -> Result<(), Outcome> {
    let packet = frame.packet();
    let link = link::read(&packet, tables)?;
    if let Some(datagram) = V4::plain(&packet, &link) {
        return path(frame, tables, &link, &datagram, forward);
    }
    if let Some(datagram) = V6::plain(&packet, &link) {
        return path(frame, tables, &link, &datagram, forward);
    }
    let link = link::read_tags(&packet, &link)?;
    if link::is_ipv4(&link) {
        special::<V4>(frame, tables, forward)
    } else if link::is_ipv6(&link) {
        special::<V6>(frame, tables, forward)
    } else {
        Err(Outcome::NotIp)
    }
}

/// Not inlined: what it keeps in mind would slow down the others. It begins anew, so that to the
/// verifier it is the same from wherever it is called.
#[inline(never)]
fn special<A: Family + Ping>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    forward: &mut Forward,
) -> Result<(), Outcome> {
    let packet = frame.packet();
    let link = link::read(&packet, tables)?;
    let link = link::read_tags(&packet, &link)?;
    let datagram = A::datagram(&packet, link.ip())?;
    let (link, mut datagram) = tables.opaque((link, datagram))?;
    let end = datagram.end as u64;
    if end > frame.packet().len() && end > frame.whole() {
        // Whether it matters depends on whom it is for.
        datagram.transport = Transport::Truncated;
    }
    path(frame, tables, &link, &datagram, forward)
}

/// The whole path on one screen.
#[inline(always)]
fn path<A: Family + Ping>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    link: &Link,
    datagram: &Datagram<A>,
    forward: &mut Forward,
) -> Result<(), Outcome> {
    let first = frame.packet().len();
    let (owner, slot) = match service::lookup(tables, datagram) {
        Ok(service) => {
            let slot = ring::slot(tables, service, datagram);
            (flow::owner(tables, service, slot)?, slot)
        }
        Err(Outcome::Fragment) => (fragment::owner(tables, datagram)?, 0),
        Err(Outcome::EchoAnswered) => return Err(echo::answer::<A>(frame, tables, link)),
        Err(outcome) => return Err(outcome),
    };
    let real = tables.real(owner.place);
    forward::rewrite(frame, tables, link, real)?;
    fragment::remember(tables, datagram, owner.place);
    *forward = Forward {
        place: owner.place,
        slot,
        rule: owner.rule,
        begins: datagram.ports.begins,
        port: real.port(),
        length: first.max(datagram.end as u64),
    };
    Ok(())
}
