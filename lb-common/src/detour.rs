//! What stands in the tables of detours: addresses that stand for a VIP at one machine.
//!
//! The daemon writes them and the programs read them; they vanish with the daemon, so that no layout is
//! to be kept. Addresses are as in [`Address::words`](crate::Address::words).

use crate::layout::shared;

/// A VIP at one machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// The VIP.
    pub vip: [u64; 2],
    /// The machine's MAC address, as in [`mac_bits`](crate::layout::mac_bits).
    pub mac: u64,
    /// The index of the interface on whose network it is.
    pub interface: u64,
}
shared!(Destination, size = 32);

/// What stands for it, and for whom.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The address that stands for the VIP at the machine.
    pub address: [u64; 2],
    /// This machine's own address, from which such an address is spoken to.
    pub own: [u64; 2],
}
shared!(Proxy, size = 32);

/// An address that stands for something, as the key of a table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyKey(pub [u64; 2]);
shared!(ProxyKey, size = 16);

/// A range of addresses: those that are equal where the mask has ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The first of them.
    pub first: [u64; 2],
    /// Which bits count.
    pub mask: [u64; 2],
}
shared!(Prefix, size = 32);

impl Prefix {
    /// Whether an address is one of them.
    #[inline(always)]
    #[must_use]
    pub const fn contains(&self, address: [u64; 2]) -> bool {
        address[0] & self.mask[0] == self.first[0] && address[1] & self.mask[1] == self.first[1]
    }
}
