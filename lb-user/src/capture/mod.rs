//! Captured frames as a file that other programs read: pcapng (draft-ietf-opsawg-pcapng), each frame as it came
//! and as it left, with a comment that says what was decided about it.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use lb_common::{Outcome, capture::Captured, layout::Rule};

use crate::model::{Ports, Protocol, Vip};

pub use self::{
    read::{Line, Lines, ReadError},
    write::Writer,
};

/// What places and ports are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The VIP and the real of each place.
    pub places: HashMap<u32, (Arc<str>, IpAddr)>,
    /// The interface of each port.
    pub ports: BTreeMap<u8, String>,
}

impl Names {
    /// What was decided about a frame, in words: `forwarded: vip web, real 10.0.0.11, by current, slot 17`.
    #[must_use]
    pub fn verdict(&self, captured: &Captured) -> String {
        let Some(outcome) = Outcome::from_index(captured.outcome) else {
            return format!("outcome {}", captured.outcome);
        };
        if outcome != Outcome::Forwarded {
            return format!("{}: {}", outcome.label(), outcome.describe());
        }
        let (vip, real) = match self.places.get(&captured.place) {
            Some((vip, real)) => (&**vip, real.to_string()),
            None => ("?", "?".to_owned()),
        };
        let rule = Rule::from_number(captured.rule).map_or("?", Rule::label);
        format!("forwarded: vip {vip}, real {real}, by {rule}, slot {}", captured.slot)
    }
}

/// What is told from others' where a frame is not sent to a real: that of a VIP, by where it goes.
#[derive(Clone, Debug)]
pub struct Only {
    address: IpAddr,
    own: Vec<Ports>,
    /// Of the VIPs that share the address.
    others: Vec<Ports>,
}

impl Only {
    /// What is for `vip`, one of these.
    #[must_use]
    pub fn of(vip: &Vip, all: &[Vip]) -> Self {
        let others = all.iter().filter(|one| one.address == vip.address && one.name != vip.name);
        Self {
            address: vip.address,
            own: vip.ports.clone(),
            others: others.flat_map(|one| one.ports.iter().copied()).collect(),
        }
    }

    /// Whether a frame is for the VIP; what has no port, or one that no VIP serves, is for all at its address.
    #[must_use]
    pub fn has(&self, frame: &[u8]) -> bool {
        let Some((address, port)) = destination(frame) else { return false };
        let theirs = |port| closeness(&self.others, port) > closeness(&self.own, port);
        address == self.address && !port.is_some_and(theirs)
    }
}

/// How closely ports name one: the closest serves it, and 0 does not.
fn closeness(ports: &[Ports], (protocol, port): (Protocol, u16)) -> u8 {
    let close = |ports: &Ports| match *ports {
        Ports::One(p, number) => {
            if (p, number) == (protocol, port) {
                3
            } else {
                0
            }
        }
        Ports::All(p) => {
            if p == protocol {
                2
            } else {
                0
            }
        }
        Ports::Any => 1,
    };
    ports.iter().map(close).max().unwrap_or(0)
}

/// Where a frame goes, if it is one of IP, and to which port, if that can be read.
fn destination(frame: &[u8]) -> Option<(IpAddr, Option<(Protocol, u16)>)> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let address = match packet.net? {
        LaxNetSlice::Ipv4(ip) => ip.header().destination_addr().into(),
        LaxNetSlice::Ipv6(ip) => ip.header().destination_addr().into(),
        LaxNetSlice::Arp(_) => return None,
    };
    let port = match packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Some((Protocol::Tcp, tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((Protocol::Udp, udp.destination_port())),
        _ => None,
    };
    Some((address, port))
}
