//! Which address stands for what: handed out in blocks, each of which has one route.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::Detour;
use crate::model::ProbePrefixes;

/// Bits of an address within its block.
const BITS: u32 = 8;

/// The addresses of a block that are handed out. (Some machines take its first or its last for something
/// else.)
const PLACES: u8 = 254;

/// Where a block's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Network {
    /// By which interface.
    pub(super) interface: u32,
    /// From which address of this machine.
    pub(super) own: IpAddr,
}

/// The addresses of both families.
#[derive(Debug)]
pub(super) struct Addresses {
    v4: Blocks,
    v6: Blocks,
}

impl Addresses {
    pub(super) fn new(prefixes: ProbePrefixes) -> Self {
        let ProbePrefixes { v4, v6 } = prefixes;
        Self { v4: Blocks::new(v4.0.into(), v4.1), v6: Blocks::new(v6.0.into(), v6.1) }
    }

    /// Hands out addresses to exactly these, each in a block of its network. Those that have one keep it. What
    /// others had is handed out last: a socket may still be talking to it. `None` where there are too many.
    pub(super) fn assign(
        &mut self,
        wanted: &BTreeMap<Detour, Network>,
    ) -> BTreeMap<Detour, Option<IpAddr>> {
        let of = |v4: bool| -> BTreeMap<Detour, Network> {
            let those = wanted.iter().filter(|(detour, _)| detour.vip.is_ipv4() == v4);
            those.map(|(detour, network)| (*detour, *network)).collect()
        };
        let mut assigned = self.v4.assign(&of(true));
        assigned.append(&mut self.v6.assign(&of(false)));
        assigned
    }

    /// The first addresses of all blocks that are in use, and where their packets go.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (IpAddr, Network)> {
        self.v4.in_use().chain(self.v6.in_use())
    }

    /// The next hop of all routes of a family, which is no machine: an address that nothing stands for.
    pub(super) fn next_hop(&self, v4: bool) -> IpAddr {
        let blocks = if v4 { &self.v4 } else { &self.v6 };
        blocks.address(blocks.count, PLACES)
    }

    /// The length of a block's prefix.
    pub(super) fn length(address: IpAddr) -> u8 {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        bits - BITS as u8
    }
}

/// The blocks of one family.
#[derive(Debug)]
struct Blocks {
    first: IpAddr,
    /// How many there are, without the last, in which the next hop is.
    count: u64,
    used: BTreeMap<u64, Block>,
}

/// A block that is in use.
#[derive(Debug)]
struct Block {
    network: Network,
    places: BTreeMap<u8, Detour>,
    /// The place that was handed out last.
    last: u8,
}

impl Blocks {
    /// Those with the prefix of this length.
    fn new(prefix: IpAddr, length: u8) -> Self {
        let own = if prefix.is_ipv4() { 32 } else { 128 } - u32::from(length);
        // More are never needed, and fewer would be told when the configuration is read.
        let bits = own.saturating_sub(BITS).min(32);
        let host = 1u128.checked_shl(own).map_or(u128::MAX, |size| size - 1);
        let first = match prefix {
            IpAddr::V4(address) => {
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !(host as u32)))
            }
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !host)),
        };
        Self { first, count: (1 << bits) - 1, used: BTreeMap::new() }
    }

    fn assign(&mut self, wanted: &BTreeMap<Detour, Network>) -> BTreeMap<Detour, Option<IpAddr>> {
        let mut assigned: BTreeMap<Detour, Option<IpAddr>> =
            self.kept(wanted).map(|(detour, address)| (detour, Some(address))).collect();
        let new: Vec<_> =
            wanted.iter().filter(|(detour, _)| !assigned.contains_key(detour)).collect();
        let mut without = Vec::new();
        let mut taken = Vec::new();
        for (detour, network) in new {
            match self.take(*detour, *network) {
                Some((number, place)) => taken.push((*detour, number, place)),
                None => without.push((*detour, *network)),
            }
        }
        self.release(wanted);
        for (detour, network) in without {
            match self.take(detour, network) {
                Some((number, place)) => taken.push((detour, number, place)),
                None => drop(assigned.insert(detour, None)),
            }
        }
        let address = |(detour, number, place)| (detour, Some(self.address(number, place)));
        assigned.extend(taken.into_iter().map(address));
        assigned
    }

    /// Those that are wanted where they are.
    fn kept(&self, wanted: &BTreeMap<Detour, Network>) -> impl Iterator<Item = (Detour, IpAddr)> {
        self.used.iter().flat_map(move |(number, block)| {
            let stay = block
                .places
                .iter()
                .filter(|(_, detour)| wanted.get(detour) == Some(&block.network));
            stay.map(|(place, detour)| (*detour, self.address(*number, *place)))
        })
    }

    /// A free place in a block of the network: not one that was free just now, if there is another.
    fn take(&mut self, detour: Detour, network: Network) -> Option<(u64, u8)> {
        let open =
            |block: &Block| block.network == network && block.places.len() < usize::from(PLACES);
        let open = self.used.iter().find(|(_, block)| open(block)).map(|(number, _)| *number);
        let number = match open {
            Some(number) => number,
            None => (0..self.count).find(|number| !self.used.contains_key(number))?,
        };
        let empty = || Block { network, places: BTreeMap::new(), last: 0 };
        let block = self.used.entry(number).or_insert_with(empty);
        let place = (block.last + 1..=PLACES)
            .chain(1..=block.last)
            .find(|place| !block.places.contains_key(place))?;
        block.places.insert(place, detour);
        block.last = place;
        Some((number, place))
    }

    /// Takes back what is not wanted where it is.
    fn release(&mut self, wanted: &BTreeMap<Detour, Network>) {
        for block in self.used.values_mut() {
            let network = block.network;
            block.places.retain(|_, detour| wanted.get(detour) == Some(&network));
        }
        self.used.retain(|_, block| !block.places.is_empty());
    }

    fn in_use(&self) -> impl Iterator<Item = (IpAddr, Network)> {
        self.used.iter().map(|(number, block)| (self.address(*number, 0), block.network))
    }

    fn address(&self, number: u64, place: u8) -> IpAddr {
        let offset = u128::from(number) << BITS | u128::from(place);
        match self.first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() | offset as u32).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() | offset).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::{collection::btree_map, prelude::*};

    use super::*;
    use crate::model::Mac;

    /// With three blocks of IPv4.
    fn small() -> ProbePrefixes {
        ProbePrefixes {
            v4: (Ipv4Addr::new(198, 18, 4, 0), 22),
            v6: (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48),
        }
    }

    fn detour(v4: bool, vip: u8, mac: u8, interface: u32) -> Detour {
        let vip = match v4 {
            true => Ipv4Addr::new(192, 0, 2, vip).into(),
            false => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, vip.into()).into(),
        };
        Detour { vip, mac: Mac([2, 0, 0, 0, 0, mac]), interface }
    }

    fn network(v4: bool, interface: u32, last: u8) -> Network {
        let own = match v4 {
            true => Ipv4Addr::new(10, 0, 0, last).into(),
            false => Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, last.into()).into(),
        };
        Network { interface, own }
    }

    fn wanted() -> impl Strategy<Value = BTreeMap<Detour, Network>> {
        let fields = (any::<bool>(), 0..3u8, 0..120u8, 1..3u32);
        btree_map(fields, 0..2u8, 0..300).prop_map(|wanted| {
            let entry = |((v4, vip, mac, interface), own)| {
                (detour(v4, vip, mac, interface), network(v4, interface, own))
            };
            wanted.into_iter().map(entry).collect()
        })
    }

    proptest! {
        #[test]
        fn no_two_share_an_address_and_whoever_stays_keeps_it(
            turns in proptest::collection::vec(wanted(), 1..8),
        ) {
            let mut addresses = Addresses::new(small());
            let mut before = BTreeMap::new();
            for wanted in turns {
                let now = addresses.assign(&wanted);
                prop_assert!(now.keys().eq(wanted.keys()));
                let given: Vec<_> = now.values().flatten().collect();
                prop_assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
                let blocks: HashMap<IpAddr, Network> = addresses.blocks().collect();
                prop_assert_eq!(blocks.len(), addresses.blocks().count());
                for (detour, address) in &now {
                    let Some(address) = address else { continue };
                    prop_assert_eq!(blocks.get(&block(*address)), Some(&wanted[detour]));
                    prop_assert_ne!(block(*address), block(addresses.next_hop(address.is_ipv4())));
                    prop_assert_eq!(address.is_ipv4(), detour.vip.is_ipv4());
                }
                for (detour, (network, address)) in &before {
                    if wanted.get(detour) == Some(network) {
                        prop_assert_eq!(now[detour], Some(*address));
                    }
                }
                before = now
                    .into_iter()
                    .filter_map(|(detour, address)| Some((detour, (wanted[&detour], address?))))
                    .collect();
            }
        }
    }

    fn block(address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & !0xff).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0xff).into(),
        }
    }

    /// Of one network, so many.
    fn many(count: u16, own: u8) -> BTreeMap<Detour, Network> {
        let one = |number: u16| {
            let [high, low] = number.to_be_bytes();
            (detour(true, high, low, 1), network(true, 1, own))
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn blocks_that_are_free_again_are_used_again() {
        let mut addresses = Addresses::new(small());
        let all = u16::from(PLACES) * 3;
        for own in [1, 2, 3] {
            let assigned = addresses.assign(&many(all, own));
            assert!(assigned.values().all(Option::is_some));
            assert_eq!(addresses.blocks().count(), 3);
            assert!(addresses.assign(&BTreeMap::new()).is_empty());
            assert_eq!(addresses.blocks().count(), 0);
        }
        let assigned = addresses.assign(&many(all + 5, 1));
        assert_eq!(assigned.values().filter(|address| address.is_none()).count(), 5);
        // Even where all are taken by others until now.
        assert!(addresses.assign(&many(all, 2)).values().all(Option::is_some));
    }

    #[test]
    fn what_was_given_back_is_not_given_to_the_next() {
        let mut addresses = Addresses::new(ProbePrefixes::default());
        let only = |mac| BTreeMap::from([(detour(true, 1, mac, 1), network(true, 1, 1))]);
        let mut seen = BTreeSet::new();
        for mac in 0..100 {
            let assigned = addresses.assign(&only(mac));
            assert!(seen.insert(assigned.values().next().copied()));
        }
    }

    #[test]
    fn the_next_hop_is_in_the_last_block() {
        let addresses = Addresses::new(ProbePrefixes::default());
        assert_eq!(addresses.next_hop(true).to_string(), "198.19.255.254");
        let v6 = addresses.next_hop(false);
        assert_eq!(v6.to_string(), "2001:2::ff:ffff:fffe");
        let wide = ProbePrefixes { v6: (Ipv6Addr::UNSPECIFIED, 16), ..small() };
        assert_eq!(Addresses::new(wide).next_hop(true).to_string(), "198.18.7.254");
    }
}
