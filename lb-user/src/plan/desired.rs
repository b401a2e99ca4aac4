//! What the dataplane shall do: the configuration, and what is known of the reals.

use std::net::IpAddr;

use lb_common::{Address, Entry, RealWord, Seed, Tick, V4, V6};

use crate::{
    maglev::WHOLE,
    model::{HashMode, Ports, Real, UdpMode, Vip},
};

/// Everything that shall be loaded.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The seed of the rings.
    pub seed: Seed,
    /// The time of the plan.
    pub now: Tick,
    /// In the order of the configuration.
    pub vips: Vec<DesiredVip>,
}

/// One VIP that shall be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// How many ticks after a change unknown flows of protocols without a beginning count as old.
    pub grace: u32,
    /// Whether such protocols have no flows, so that each packet goes to the current owner.
    pub per_packet: bool,
    /// Its pool.
    pub reals: Vec<DesiredReal>,
    /// The real that gets everything new while none of the pool takes it.
    pub sorry: Option<DesiredReal>,
    /// Who has left the pool and keeps its number for the flows it has. None of them is in `reals` or
    /// `sorry`, and one that has no number any more gets none.
    pub leaving: Vec<DesiredReal>,
}

/// One real server that shall be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredReal {
    /// Its address.
    pub address: IpAddr,
    /// Its weight; 0 owns no slot.
    pub weight: u16,
    /// How it is reached; [`RealWord::NONE`] if that is not known.
    pub word: RealWord,
    /// What it does now.
    pub role: Role,
}

/// What a real does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes new flows.
    Active {
        /// The part of its slots that it takes, of 256; less than that while it starts slowly.
        part: u16,
    },
    /// Takes no new flows and keeps those it has.
    Draining,
    /// Its flows are being reset. Slots go on to name it, so that its flows find their reset.
    Reset,
    /// Serves nobody: its flows are dead.
    Out,
}

impl Role {
    /// One that takes all that is its own.
    pub const ACTIVE: Self = Self::Active { part: WHOLE };

    /// The part of its slots that it takes, of 256.
    #[must_use]
    pub const fn part(self) -> u16 {
        match self {
            Self::Active { part } => part,
            Self::Draining | Self::Reset | Self::Out => 0,
        }
    }

    /// Whether it may own slots.
    #[must_use]
    pub const fn takes_new(self) -> bool {
        self.part() > 0
    }

    /// Whether slots may name it for the flows it has.
    #[must_use]
    pub const fn serves(self) -> bool {
        !matches!(self, Self::Out)
    }
}

impl DesiredReal {
    /// What the datapath is told of it, which knows this much of it already.
    pub(super) fn word(&self, known: RealWord) -> RealWord {
        match self.role {
            Role::Active { .. } | Role::Draining if self.word != RealWord::NONE => self.word,
            // The last known MAC address stays for flows that are under way.
            Role::Active { .. } | Role::Draining if known != RealWord::RESET => known,
            Role::Active { .. } | Role::Draining | Role::Out => RealWord::NONE,
            Role::Reset => RealWord::RESET,
        }
    }
}

impl DesiredVip {
    /// The VIP of the configuration, its reals as `real` knows them.
    #[must_use]
    pub fn new(vip: &Vip, local: bool, mut real: impl FnMut(&Real) -> DesiredReal) -> Self {
        Self {
            name: vip.name.clone(),
            address: vip.address,
            ports: vip.ports.clone(),
            hash: vip.hash,
            ring_len: vip.ring_len(),
            local,
            grace: Tick::ticks(vip.udp_idle_timeout.as_nanos()),
            per_packet: vip.udp == UdpMode::Packet,
            reals: vip.reals.iter().map(&mut real).collect(),
            sorry: vip.sorry.map(|address| real(&Real::plain(address))),
            leaving: Vec::new(),
        }
    }

    /// The keys and the services of its ports ([`Entry::key`], [`Entry::service`]).
    pub(super) fn keys(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ports.iter().map(|ports| match ports {
            Ports::Any => self.key(0, 0),
            Ports::All(protocol) => self.key(protocol.number(), 0),
            Ports::One(protocol, port) => self.key(protocol.number(), *port),
        })
    }

    /// The same of its address itself.
    pub(super) fn address_key(&self) -> (u64, u64) {
        self.key(0, 0)
    }

    fn key(&self, protocol: u8, port: u16) -> (u64, u64) {
        fn of(address: impl Address, protocol: u8, port: u16) -> (u64, u64) {
            (address.key(protocol, port), address.service(protocol, port))
        }
        match self.address {
            IpAddr::V4(address) => of(V4::new(address.octets()), protocol, port),
            IpAddr::V6(address) => of(V6::new(address.octets()), protocol, port),
        }
    }

    /// Whether its entries say the same of it as of this one, if both have the same ring and pool.
    pub(super) fn has_entries_of(&self, other: &Self) -> bool {
        let of = |vip: &'_ Self| (vip.address, vip.local, vip.hash, vip.grace, vip.per_packet);
        of(self) == of(other) && self.ports == other.ports
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
        let hash = match self.hash {
            HashMode::Flow => 0,
            HashMode::Source => Entry::SOURCE_HASH,
        };
        hash | if self.per_packet { Entry::PER_PACKET } else { 0 }
    }

    /// Its whole pool, the sorry server included.
    pub(super) fn pool(&self) -> impl Iterator<Item = &DesiredReal> {
        self.reals.iter().chain(&self.sorry)
    }
}
