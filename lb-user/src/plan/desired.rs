//! What the dataplane shall do: the configuration, and what is known of the reals.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::{Entry, RealWord, Seed, layout};

use crate::model::{HashMode, Ports, Vip};

/// Everything that shall be loaded.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The seed of the rings.
    pub seed: Seed,
    /// In the order of the configuration.
    pub vips: Vec<DesiredVip>,
}

/// One VIP that shall be loaded.
#[derive(Clone, Debug)]
pub struct DesiredVip {
    /// Its name in the configuration.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The ports it serves.
    pub ports: Vec<Ports>,
    /// What is hashed.
    pub hash: HashMode,
    /// The length of its ring, if it has none yet.
    pub ring_len: u32,
    /// Whether the address is assigned to this machine.
    pub local: bool,
    /// Its pool.
    pub reals: Vec<DesiredReal>,
    /// The real that gets everything while none of the pool is usable.
    pub sorry: Option<DesiredReal>,
}

/// One real server that shall be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredReal {
    /// Its address.
    pub address: IpAddr,
    /// Its weight; 0 owns no slot.
    pub weight: u16,
    /// How it is reached; [`RealWord::NONE`] if that was never known.
    pub word: RealWord,
    /// Whether it may get packets now.
    pub usable: bool,
}

impl DesiredVip {
    /// The VIP of the configuration, its reals as `real` knows them.
    ///
    /// # Panics
    ///
    /// With an IPv6 address, which the configuration refuses.
    #[must_use]
    pub fn new(vip: &Vip, local: bool, mut real: impl FnMut(IpAddr, u16) -> DesiredReal) -> Self {
        let IpAddr::V4(address) = vip.address else {
            unreachable!("the configuration holds IPv4 addresses only");
        };
        Self {
            name: vip.name.clone(),
            address,
            ports: vip.ports.clone(),
            hash: vip.hash,
            ring_len: vip.ring_len(),
            local,
            reals: vip.reals.iter().map(|wanted| real(wanted.address, wanted.weight)).collect(),
            sorry: vip.sorry.map(|address| real(address, 1)),
        }
    }

    /// The keys of its ports.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.ports.iter().map(|ports| service_key(self.address, *ports))
    }

    /// The flags of its entries.
    pub(super) fn flags(&self) -> u32 {
        match self.hash {
            HashMode::Flow => 0,
            HashMode::Source => Entry::SOURCE_HASH,
        }
    }

    /// Its whole pool, the sorry server included.
    pub(super) fn pool(&self) -> impl Iterator<Item = &DesiredReal> {
        self.reals.iter().chain(&self.sorry)
    }
}

/// An address as the datapath sees it: its bytes in wire order.
#[must_use]
pub fn wire_address(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

fn service_key(address: Ipv4Addr, ports: Ports) -> u64 {
    let (protocol, port) = match ports {
        Ports::Any => (0, 0),
        Ports::All(protocol) => (protocol.number(), 0),
        Ports::One(protocol, port) => (protocol.number(), port),
    };
    layout::key(wire_address(address), protocol, port)
}
