//! What the dataplane shall do: the configuration, and what is known of the reals.

use std::net::IpAddr;

use lb_common::{Address as _, Entry, RealWord, Seed, V4, V6};

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
    pub address: IpAddr,
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
    #[must_use]
    pub fn new(vip: &Vip, local: bool, mut real: impl FnMut(IpAddr, u16) -> DesiredReal) -> Self {
        Self {
            name: vip.name.clone(),
            address: vip.address,
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
        self.ports.iter().map(|ports| match ports {
            Ports::Any => self.key(0, 0),
            Ports::All(protocol) => self.key(protocol.number(), 0),
            Ports::One(protocol, port) => self.key(protocol.number(), *port),
        })
    }

    /// The key of its address itself.
    pub(super) fn address_key(&self) -> u64 {
        self.key(0, 0)
    }

    fn key(&self, protocol: u8, port: u16) -> u64 {
        match self.address {
            IpAddr::V4(address) => V4::new(address.octets()).key(protocol, port),
            IpAddr::V6(address) => V6::new(address.octets()).key(protocol, port),
        }
    }

    /// The address as it stands in its entries.
    pub(super) fn address_words(&self) -> [u64; 2] {
        match self.address {
            IpAddr::V4(_) => [0; 2],
            IpAddr::V6(address) => V6::new(address.octets()).0,
        }
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
