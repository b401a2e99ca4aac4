//! What an examination has found, before anything follows from it.

use std::collections::{BTreeMap, BTreeSet};

use super::packet::Answer;
use crate::{announce::Conflict, model::Mac};

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    /// Of the interfaces, by their index.
    pub interfaces: BTreeMap<u32, InterfaceObservation>,
    /// Of this machine.
    pub machine: MachineObservation,
    /// Of each real of each VIP, by the VIP's name and the real's place in its pool.
    pub reals: BTreeMap<(String, usize), RealObservation>,
    /// Who else says to have a VIP.
    pub claims: BTreeSet<Conflict>,
    /// Which VIP's answers arrive at this machine, and from whom.
    pub returned: BTreeSet<Conflict>,
}

/// Of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceObservation {
    /// Whether the driver takes XDP programs, where the kernel says so.
    pub takes_xdp: Option<bool>,
    /// The features that are on.
    pub features: BTreeSet<String>,
    /// The longest packet.
    pub mtu: Option<u32>,
    /// The VLANs on it with their longest packets.
    pub vlans: Vec<(String, u32)>,
    /// The other end, if it is a veth whose other end is in this network namespace, too.
    pub peer: Option<Peer>,
    /// The XDP programs of others on it: where each sits, and what it is.
    pub strangers: Vec<(String, String)>,
}

/// The other end of a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its longest packet.
    pub mtu: Option<u32>,
    /// Whether it takes what XDP sends: it has an XDP program, or GRO.
    pub takes: bool,
}

/// Of this machine; nothing is known where the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineObservation {
    /// Whether it forwards packets of IPv4 and of IPv6.
    pub forwards: [Option<bool>; 2],
    /// How many neighbours of IPv4 and of IPv6 the kernel's table may hold.
    pub neighbours: [Option<u64>; 2],
    /// Whether its clock is synchronised.
    pub synchronised: Option<bool>,
}

/// Of a real server of a VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealObservation {
    /// How it answers at the VIP.
    pub vip: Option<Answer>,
    /// How it answers at its own address.
    pub own: Option<Answer>,
    /// Whether it answers at the VIP an address that it can reach through its router only.
    pub far: Option<bool>,
}

impl Observations {
    /// Who of these machines says to have the VIP.
    pub(super) fn claims(&self, vip: std::net::IpAddr) -> impl Iterator<Item = Mac> {
        let claims = self.claims.iter();
        claims.filter(move |claim| claim.address == vip).map(|claim| claim.mac)
    }

    /// From whom the VIP's answers arrive here.
    pub(super) fn returned(&self, vip: std::net::IpAddr) -> impl Iterator<Item = Mac> {
        let returned = self.returned.iter();
        returned.filter(move |frame| frame.address == vip).map(|frame| frame.mac)
    }
}
