//! The two address families: what the datapath and the daemon do with an address, written once for
//! each.

use crate::{
    hash,
    layout::{Entry, FragmentKey, Seed},
};

/// An address of one of the families, in wire order.
pub trait Address: Copy + Default + Eq {
    /// The service key of this address with a protocol and a port. One with protocol and port 0
    /// stands for the address itself, one with port 0 for all ports of the protocol. Never zero for a
    /// machine's address, so a table's empty entries match nothing; keys of the two families differ.
    fn key(self, protocol: u8, port: u16) -> u64;

    /// What the datapath compares with [`Entry::service`]: of IPv4 the key, of IPv6 all but the address.
    fn service(self, protocol: u8, port: u16) -> u64;

    /// The address, where that is not all of it, and what [`Address::service`] says, for
    /// [`hash::service`].
    fn mixed(self, service: u64) -> u64;

    /// Whether an entry that is of this service is of this address, too.
    fn is_of(self, entry: &Entry) -> bool;

    /// The hash of a flow, of which the upper 32 bits are to be used. `ports` in wire order.
    fn flow(seed: &Seed, source: Self, destination: Self, ports: u32, protocol: u8) -> u64;

    /// The hash of a client alone.
    fn source(seed: &Seed, source: Self) -> u64;

    /// The address as two words: one of IPv4 is the second.
    fn words(self) -> [u64; 2];

    /// What the fragments of a datagram between these have in common.
    fn fragment(source: Self, destination: Self, identification: u32, protocol: u8) -> FragmentKey;
}

impl Entry {
    /// [`Address::mixed`] of the entry's own service.
    #[must_use]
    pub fn mixed(&self) -> u64 {
        if self.service & KEY_OF_V6 == 0 {
            self.service
        } else {
            V6(self.address).mixed(self.service)
        }
    }
}

/// An IPv4 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V4(pub u32);

/// An IPv6 address as two words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V6(pub [u64; 2]);

/// Set in the keys of IPv6, clear in those of IPv4.
const KEY_OF_V6: u64 = 1 << 24;

/// What IPv6 fragments have in the place of IPv4's protocol, which has eight bits only.
const NO_PROTOCOL: u32 = 1 << 8;

impl V4 {
    /// This address.
    #[must_use]
    pub const fn new(octets: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(octets))
    }
}

impl V6 {
    /// This address.
    #[must_use]
    pub const fn new(octets: [u8; 16]) -> Self {
        let words = u128::from_le_bytes(octets);
        Self([words as u64, (words >> 64) as u64])
    }
}

/// All of it fits the key.
impl Address for V4 {
    #[inline(always)]
    fn key(self, protocol: u8, port: u16) -> u64 {
        u64::from(self.0) << 32 | u64::from(protocol) << 16 | u64::from(port)
    }

    #[inline(always)]
    fn service(self, protocol: u8, port: u16) -> u64 {
        self.key(protocol, port)
    }

    #[inline(always)]
    fn mixed(self, service: u64) -> u64 {
        service
    }

    #[inline(always)]
    fn is_of(self, _: &Entry) -> bool {
        true
    }

    #[inline(always)]
    fn flow(seed: &Seed, source: Self, destination: Self, ports: u32, protocol: u8) -> u64 {
        hash::flow(seed, source.0, destination.0, ports, protocol)
    }

    #[inline(always)]
    fn source(seed: &Seed, source: Self) -> u64 {
        hash::flow(seed, source.0, 0, 0, 0)
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        [0, u64::from(self.0)]
    }

    #[inline(always)]
    fn fragment(source: Self, destination: Self, identification: u32, protocol: u8) -> FragmentKey {
        FragmentKey {
            source: source.words(),
            destination: destination.words(),
            identification,
            protocol: u32::from(protocol),
        }
    }
}

/// The key has a hash of it, the entry all of it.
impl Address for V6 {
    #[inline(always)]
    fn key(self, protocol: u8, port: u16) -> u64 {
        hash::key6(self.0, protocol, port) | KEY_OF_V6
    }

    #[inline(always)]
    fn service(self, protocol: u8, port: u16) -> u64 {
        KEY_OF_V6 | u64::from(protocol) << 16 | u64::from(port)
    }

    #[inline(always)]
    fn mixed(self, service: u64) -> u64 {
        hash::mixed6(self.0, service)
    }

    #[inline(always)]
    fn is_of(self, entry: &Entry) -> bool {
        entry.address == self.0
    }

    #[inline(always)]
    fn flow(seed: &Seed, source: Self, destination: Self, ports: u32, protocol: u8) -> u64 {
        hash::flow6(seed, source.0, destination.0, ports, protocol)
    }

    #[inline(always)]
    fn source(seed: &Seed, source: Self) -> u64 {
        hash::flow6(seed, source.0, [0; 2], 0, 0)
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        self.0
    }

    #[inline(always)]
    fn fragment(source: Self, destination: Self, identification: u32, _: u8) -> FragmentKey {
        FragmentKey {
            source: source.0,
            destination: destination.0,
            identification,
            protocol: NO_PROTOCOL,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn neighbouring_addresses_and_ports_have_keys_of_their_own() {
        let mut keys = BTreeSet::new();
        for last in 0..64 {
            let v4 = V4::new([192, 0, 2, last]);
            let v6 = V6::new([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            for protocol in [0, 6, 17] {
                for port in 0..64 {
                    assert!(keys.insert(v4.key(protocol, port)));
                    assert!(keys.insert(v6.key(protocol, port)));
                }
            }
        }
        assert!(!keys.contains(&0));
    }

    #[test]
    fn the_words_of_an_address_are_its_bytes() {
        assert_eq!(V4::new([192, 0, 2, 10]).0.to_le_bytes(), [192, 0, 2, 10]);
        let octets: [u8; 16] = core::array::from_fn(|index| index as u8);
        let V6(words) = V6::new(octets);
        assert_eq!([words[0].to_le_bytes(), words[1].to_le_bytes()].concat(), octets);
    }
}
