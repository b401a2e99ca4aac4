//! What the daemon knows when it is asked for an examination.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use crate::model::{Mac, Ports, Protocol};

/// The facts, as they were at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Where links are pinned.
    pub pin_dir: PathBuf,
    /// Those that are configured, and their VLANs, as far as they are up.
    pub interfaces: Vec<InterfaceFacts>,
    /// All MAC addresses of this machine.
    pub macs: BTreeSet<Mac>,
    /// All addresses of this machine.
    pub addresses: BTreeSet<IpAddr>,
    /// All VIPs in service.
    pub vips: Vec<VipFacts>,
    /// Which of them is examined; all where none is named.
    pub only: Option<String>,
}

/// An interface.
#[derive(Clone, Debug)]
pub struct InterfaceFacts {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: Mac,
    /// How the program is attached there; on VLANs it never is.
    pub xdp: Xdp,
    /// The addresses that are assigned to it.
    pub addresses: Vec<IpAddr>,
}

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// Not at all: it is a VLAN, or the program could not be attached.
    None,
    /// In the driver.
    Native,
    /// In the generic hook, as the configuration wants it.
    GenericByChoice,
    /// In the generic hook, for want of something better.
    Generic,
}

/// A VIP.
#[derive(Clone, Debug)]
pub struct VipFacts {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// What it serves.
    pub ports: Vec<Ports>,
    /// Whether it is this machine that announces it.
    pub announced: bool,
    /// Whether the address is assigned to this machine.
    pub assigned: bool,
    /// Its reals, without those that the operator has disabled.
    pub reals: Vec<RealFacts>,
}

/// A real server.
#[derive(Clone, Debug)]
pub struct RealFacts {
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, or why there is none.
    pub reach: Result<Mac, String>,
    /// The index of the interface on whose network it is.
    pub interface: Option<u32>,
    /// The address that stands for the VIP at this real.
    pub detour: Option<IpAddr>,
    /// How often its neighbour entry was lost, or has got another MAC address, within the last hour.
    pub flaps: u32,
}

impl Snapshot {
    /// The VIPs that are examined.
    pub(super) fn examined(&self) -> impl Iterator<Item = &VipFacts> {
        self.vips.iter().filter(|vip| self.only.as_ref().is_none_or(|only| *only == vip.name))
    }

    /// The real with this MAC address; called by an address of the same family as `like`.
    pub(super) fn real_at(&self, mac: Mac, like: IpAddr) -> Option<&RealFacts> {
        let reals = self.vips.iter().flat_map(|vip| &vip.reals);
        reals
            .filter(|real| real.reach == Ok(mac))
            .max_by_key(|real| real.address.is_ipv6() == like.is_ipv6())
    }

    /// The interface with this index.
    pub(super) fn interface(&self, index: u32) -> Option<&InterfaceFacts> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    pub(super) fn is_vip(&self, address: IpAddr) -> bool {
        self.vips.iter().any(|vip| vip.address == address)
    }

    /// The address of this machine by which it speaks to a real: on the real's interface the one that
    /// has most of its beginning in common with the real's.
    pub(super) fn source(&self, real: &RealFacts) -> Option<IpAddr> {
        let on = &self.interface(real.interface?)?.addresses;
        let usable = |address: &&IpAddr| {
            address.is_ipv4() == real.address.is_ipv4() && !self.is_vip(**address)
        };
        on.iter().filter(usable).max_by_key(|own| common(**own, real.address)).copied()
    }
}

impl VipFacts {
    /// The TCP port by which it is tried; pinged where there is none.
    pub(super) fn port(&self) -> Option<u16> {
        self.ports.iter().find_map(|ports| match ports {
            Ports::One(Protocol::Tcp, port) => Some(*port),
            _ => None,
        })
    }

    /// Whether a TCP port is served.
    pub(super) fn serves(&self, port: u16) -> bool {
        self.ports.iter().any(|ports| ports.covers(Ports::One(Protocol::Tcp, port)))
    }
}

/// How many bits at the beginning are the same.
fn common(one: IpAddr, other: IpAddr) -> u32 {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}
