//! The datapath: what becomes of a frame that the network card delivers.
//!
//! The same code runs in the kernel, as the XDP program that `main` makes of it, and on the host,
//! in tests and in the daemon's predictions.
//!
//! A frame is never looked at beyond its headers, nothing is allocated, and nothing loops.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod packet;

pub mod tables;

pub mod parse;

pub mod service;

pub mod ring;

pub mod flow;

pub mod fragment;

pub mod forward;

pub mod echo;

pub mod count;

use lb_common::{Outcome, layout::Rule};

use crate::{
    packet::Packet,
    parse::Transport,
    tables::{Count, Tables},
};

/// Where a frame was steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The real's place in the arrays of reals and of counters.
    pub place: u32,
    /// The slot within the service's ring; 0 for a fragment but the first, which has no ports.
    pub slot: u32,
    /// The rule that chose the real.
    pub rule: Rule,
    /// Whether the frame begins a TCP connection.
    pub begins: bool,
}

/// Decides about one frame, rewrites it if it is to be sent on, and counts it.
///
/// # Errors
///
/// How the frame ended if it was not forwarded; it is untouched then, but for an answered ping.
#[inline(always)]
pub fn process(
    packet: &mut Packet,
    tables: &impl Tables,
    counters: &impl Count,
) -> Result<Forward, Outcome> {
    let mut verdict = steer(packet, tables);
    if verdict == Err(Outcome::EchoAnswered) {
        verdict = Err(echo::answer(packet, tables));
    }
    count::frame(counters, &verdict, packet.len());
    verdict
}

/// The whole path on one screen.
#[inline(always)]
fn steer(packet: &mut Packet, tables: &impl Tables) -> Result<Forward, Outcome> {
    let datagram = parse::datagram(packet, tables.port().mac_bits())?;
    let (owner, slot) = match service::lookup(tables, &datagram) {
        Ok(service) => {
            let slot = ring::slot(tables, service, &datagram);
            (flow::owner(tables, service, slot)?, slot)
        }
        Err(Outcome::Fragment) => (fragment::owner(tables, &datagram)?, 0),
        Err(outcome) => return Err(outcome),
    };
    forward::rewrite(packet, tables, tables.real(owner.place))?;
    fragment::remember(tables, &datagram, owner.place);
    let begins = matches!(datagram.transport, Transport::Ports(ports) if ports.begins);
    Ok(Forward { place: owner.place, slot, rule: owner.rule, begins })
}
