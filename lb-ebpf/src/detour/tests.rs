//! The packets' checksums, and what a network card says of their sums, stay right.

use std::collections::HashMap;

use lb_common::{
    detour::{Destination, Prefix, Proxy, ProxyKey},
    layout::mac_bits,
};
use proptest::{collection::vec, prelude::*};

use super::*;

/// A packet with a sum over all behind its Ethernet header, kept as the kernel does
/// (`inet_proto_csum_replace_by_diff`, `bpf_skb_store_bytes`).
struct Summed {
    bytes: Vec<u8>,
    sum: u64,
}

/// In one's complement, that is: modulo 0xffff. Of words as they lie in memory.
const MODULUS: u64 = 0xffff;

fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) | u64::from(*pair.get(1).unwrap_or(&0)) << 8;
    bytes.chunks(2).map(word).sum::<u64>() % MODULUS
}

impl Summed {
    fn new(bytes: Vec<u8>) -> Self {
        let sum = sum(&bytes[14..]);
        Self { bytes, sum }
    }

    fn add(&mut self, offset: usize, difference: u32) -> Option<()> {
        let field: [u8; 2] = self.load(offset)?;
        let sum = u64::from(!u16::from_le_bytes(field)) + u64::from(difference);
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        self.bytes[offset..offset + 2].copy_from_slice(&(!(folded as u16)).to_le_bytes());
        Some(())
    }
}

impl Skb for Summed {
    fn interface(&self) -> u32 {
        7
    }

    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..offset + N)?.try_into().ok()
    }

    fn store<const N: usize>(
        &mut self,
        offset: usize,
        bytes: &[u8; N],
        counts: bool,
    ) -> Option<()> {
        let place = self.bytes.get_mut(offset..offset + N)?;
        if counts {
            self.sum = (self.sum + MODULUS - sum(place) + sum(bytes)) % MODULUS;
        }
        place.copy_from_slice(bytes);
        Some(())
    }

    fn patch_header(&mut self, offset: usize, difference: u32) -> Option<()> {
        self.add(offset, difference)
    }

    fn patch(&mut self, offset: usize, difference: u32, covers: Covers) -> Option<()> {
        let unless_zero = covers == Covers::AddressUnlessZero;
        if unless_zero && self.load(offset)? == [0; 2] {
            return Some(());
        }
        self.add(offset, difference)?;
        if unless_zero && self.load(offset)? == [0; 2] {
            self.bytes[offset..offset + 2].copy_from_slice(&[0xff; 2]);
        }
        if covers != Covers::Content {
            let difference = u64::from(difference) % MODULUS;
            self.sum = (self.sum + MODULUS - difference) % MODULUS;
        }
        Some(())
    }
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

#[derive(Default)]
struct World {
    destinations: HashMap<[u64; 2], Destination>,
    proxies: Vec<(Destination, Proxy)>,
}

impl Tables for World {
    fn prefix<I: Ip>(&self) -> Prefix {
        // 198.18.0.0/15 and 2001:2::/48.
        let (first, mask): ([u8; 16], [u8; 16]) = if I::IS_V6 {
            let mut first = [0; 16];
            first[..4].copy_from_slice(&[0x20, 1, 0, 2]);
            let mut mask = [0; 16];
            mask[..6].fill(0xff);
            (first, mask)
        } else {
            let (mut first, mut mask) = ([0; 16], [0; 16]);
            first[8..12].copy_from_slice(&[198, 18, 0, 0]);
            mask[8..12].copy_from_slice(&[255, 254, 0, 0]);
            (first, mask)
        };
        Prefix { first: words(&first), mask: words(&mask) }
    }

    fn destination(&self, address: &ProxyKey) -> Option<&Destination> {
        self.destinations.get(&address.0)
    }

    fn proxy(&self, destination: &Destination) -> Option<&Proxy> {
        self.proxies.iter().find(|(known, _)| known == destination).map(|(_, proxy)| proxy)
    }
}

fn words(bytes: &[u8]) -> [u64; 2] {
    match bytes.len() {
        4 => [0, u64::from(u32::from_le_bytes(bytes.try_into().expect("4 bytes")))],
        _ => [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))),
    }
}

/// The addresses of one family: what stands for the VIP, the VIP, this machine's own, somebody else's.
fn addresses(v6: bool) -> [Vec<u8>; 4] {
    if !v6 {
        return [[198, 18, 0, 5], [192, 0, 2, 10], [10, 0, 0, 2], [10, 0, 0, 3]].map(Vec::from);
    }
    let long = |first: &[u8], last: u8| {
        let mut address = vec![0; 16];
        address[..first.len()].copy_from_slice(first);
        address[15] = last;
        address
    };
    let documentation = [0x20, 1, 0x0d, 0xb8];
    [
        long(&[0x20, 1, 0, 2], 5),
        long(&[&documentation[..], &[0, 2]].concat(), 0x10),
        long(&documentation, 2),
        long(&documentation, 3),
    ]
}

fn world(v6: bool) -> World {
    let [proxy, vip, own, _] = addresses(v6).map(|address| words(&address));
    let destination = Destination { vip, mac: mac_bits(MAC), interface: 7 };
    World {
        destinations: HashMap::from([(proxy, destination)]),
        proxies: vec![(destination, Proxy { address: proxy, own })],
    }
}

/// What is carried, and of which protocol.
#[derive(Clone, Debug)]
struct Carried {
    protocol: u8,
    payload: Vec<u8>,
    tags: usize,
}

fn carried() -> impl Strategy<Value = Carried> {
    let protocols = prop_oneof![Just(6u8), Just(17), Just(1), Just(58), Just(132)];
    (protocols, vec(any::<u8>(), 20..200), 0..3usize).prop_map(|(protocol, mut payload, tags)| {
        if protocol == 1 || protocol == 58 {
            payload[0] = if protocol == 1 { 0 } else { 129 };
        }
        Carried { protocol, payload, tags }
    })
}

fn place_of_sum(protocol: u8, v6: bool) -> Option<usize> {
    match protocol {
        6 => Some(16),
        17 => Some(6),
        1 if !v6 => Some(2),
        58 if v6 => Some(2),
        _ => None,
    }
}

/// The sum of which the checksum of what an IP packet carries is the complement; `None` if it has none.
fn carried_sum(ip: &[u8], v6: bool) -> Option<u64> {
    let (header, protocol, sources) = if v6 { (40, ip[6], 8..40) } else { (20, ip[9], 12..20) };
    let payload = &ip[header..];
    let place = place_of_sum(protocol, v6)?;
    if protocol == 17 && payload[place..place + 2] == [0; 2] {
        return None;
    }
    let pseudo = if protocol == 1 {
        0
    } else {
        sum(&ip[sources]) + sum(&[0, protocol]) + sum(&(payload.len() as u16).to_be_bytes())
    };
    Some((sum(payload) + pseudo) % MODULUS)
}

/// An Ethernet frame with right checksums.
fn frame(v6: bool, source: &[u8], destination: &[u8], carried: &Carried) -> Vec<u8> {
    let ip = packet(v6, source, destination, carried.protocol, &carried.payload);
    let mut frame = [[9; 6], MAC].concat();
    for _ in 0..carried.tags {
        frame.extend([0x81, 0, 0, 20]);
    }
    frame.extend(if v6 { [0x86, 0xdd] } else { [8, 0] });
    frame.extend(ip);
    frame
}

fn packet(v6: bool, source: &[u8], destination: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    let mut ip = if v6 {
        let [high, low] = length.to_be_bytes();
        [&[0x60, 0, 0, 0, high, low, protocol, 64], source, destination].concat()
    } else {
        let [high, low] = (length + 20).to_be_bytes();
        [&[0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0], source, destination].concat()
    };
    if !v6 {
        let check = !(sum(&ip) as u16);
        ip[10..12].copy_from_slice(&check.to_le_bytes());
    }
    let header = ip.len();
    ip.extend(payload);
    if let Some(place) = place_of_sum(protocol, v6) {
        ip[header + place..header + place + 2].copy_from_slice(&[1, 0]);
        let total = (carried_sum(&ip, v6).expect("it has one") + MODULUS - 1) % MODULUS;
        let check = !(total as u16);
        let check = if check == 0 { 0xffff } else { check };
        ip[header + place..header + place + 2].copy_from_slice(&check.to_le_bytes());
    }
    ip
}

/// That all sums are right.
fn assert_right(packet: &Summed, v6: bool, tags: usize) {
    assert_eq!(packet.sum, sum(&packet.bytes[14..]), "the sum over all");
    let ip = &packet.bytes[14 + 4 * tags..];
    if !v6 {
        assert_eq!(sum(&ip[..20]), 0, "the header's");
    }
    assert!(carried_sum(ip, v6).is_none_or(|sum| sum == 0), "what is carried");
}

proptest! {
    #[test]
    fn what_leaves_is_for_the_vip_and_its_checksums_are_right(v6: bool, carried in carried()) {
        let [proxy, vip, own, _] = addresses(v6);
        let mut packet = Summed::new(frame(v6, &own, &proxy, &carried));
        prop_assert_eq!(leave(&mut packet, &world(v6)), Verdict::Next);
        assert_right(&packet, v6, carried.tags);
        let mut expected = Summed::new(frame(v6, &own, &vip, &carried)).bytes;
        expected[..6].copy_from_slice(&MAC);
        prop_assert_eq!(packet.bytes, expected);
    }

    #[test]
    fn what_arrives_is_from_what_stands_for_the_vip_and_its_checksums_are_right(
        v6: bool, carried in carried(),
    ) {
        let [proxy, vip, own, _] = addresses(v6);
        let mut packet = Summed::new(frame(v6, &vip, &own, &carried));
        arrive(&mut packet, &world(v6));
        assert_right(&packet, v6, carried.tags);
        prop_assert_eq!(packet.bytes, frame(v6, &proxy, &own, &carried));
    }

    #[test]
    fn an_error_is_about_what_stands_for_the_vip(v6: bool, by_vip: bool, carried in carried()) {
        let [proxy, vip, own, other] = addresses(v6);
        let sender = if by_vip { &vip } else { &other };
        let quoted = packet(v6, &own, &vip, carried.protocol, &carried.payload);
        let (protocol, kind) = if v6 { (58, 1) } else { (1, 3) };
        let error = Carried {
            protocol,
            payload: [&[kind, 3, 0, 0, 0, 0, 0, 0], &quoted[..]].concat(),
            tags: carried.tags,
        };
        let mut packet = Summed::new(frame(v6, sender, &own, &error));
        arrive(&mut packet, &world(v6));
        assert_right(&packet, v6, carried.tags);
        let ip = &packet.bytes[14 + 4 * carried.tags..];
        let (source, header) = if v6 { (8, 40) } else { (12, 20) };
        let length = proxy.len();
        prop_assert_eq!(&ip[source..source + length], if by_vip { &proxy[..] } else { &other[..] });
        let quote = &ip[header + 8..];
        prop_assert_eq!(&quote[source..source + length], &own[..]);
        prop_assert_eq!(&quote[source + length..source + 2 * length], &proxy[..]);
        if !v6 {
            prop_assert_eq!(sum(&quote[..20]), 0, "the quoted header");
        }
    }

    #[test]
    fn fragments_but_the_first_change_their_addresses_alone(v6: bool, payload in vec(any::<u8>(), 1..99)) {
        let [proxy, vip, own, _] = addresses(v6);
        let fragment = |source: &[u8]| {
            let (protocol, carried) = match v6 {
                true => (44, [&[17, 0, 5, 0xa0, 1, 2, 3, 4], &payload[..]].concat()),
                false => (132, payload.clone()),
            };
            let mut frame = frame(v6, source, &own, &Carried { protocol, payload: carried, tags: 0 });
            if !v6 {
                // "Next" of the IPv4 header, and its checksum.
                frame[14 + 6..14 + 8].copy_from_slice(&[0, 185]);
                frame[14 + 9] = 17;
                frame[24..26].copy_from_slice(&[0; 2]);
                let check = !(sum(&frame[14..34]) as u16);
                frame[24..26].copy_from_slice(&check.to_le_bytes());
            }
            frame
        };
        let mut packet = Summed::new(fragment(&vip));
        arrive(&mut packet, &world(v6));
        prop_assert_eq!(packet.sum, sum(&packet.bytes[14..]));
        prop_assert_eq!(packet.bytes, fragment(&proxy));
    }

    #[test]
    fn any_bytes_are_taken(bytes in vec(any::<u8>(), 14..200), v6: bool) {
        let mut packet = Summed::new(bytes.clone());
        leave(&mut packet, &world(v6));
        arrive(&mut packet, &world(v6));
        prop_assert_eq!(packet.bytes.len(), bytes.len());
    }
}

fn segment() -> Carried {
    Carried { protocol: 6, payload: vec![0; 40], tags: 0 }
}

#[test]
fn what_is_of_others_stays_as_it_is() {
    for v6 in [false, true] {
        let [proxy, vip, own, other] = addresses(v6);
        let unchanged = |bytes: Vec<u8>, way: fn(&mut Summed, &World) -> Verdict| {
            let mut packet = Summed::new(bytes.clone());
            let verdict = way(&mut packet, &world(v6));
            assert_eq!(packet.bytes, bytes);
            verdict
        };
        assert_eq!(unchanged(frame(v6, &own, &other, &segment()), leave), Verdict::Next);
        unchanged(frame(v6, &vip, &other, &segment()), arrive);
        unchanged(frame(v6, &other, &own, &segment()), arrive);
        let mut from_another = frame(v6, &vip, &own, &segment());
        from_another[11] = 0x0c;
        unchanged(from_another, arrive);
        let mut unknown = proxy;
        *unknown.last_mut().expect("bytes") = 6;
        assert_eq!(unchanged(frame(v6, &own, &unknown, &segment()), leave), Verdict::Drop);
    }
}

#[test]
fn what_would_leave_by_another_interface_does_not() {
    for v6 in [false, true] {
        let [proxy, _, own, _] = addresses(v6);
        let mut world = world(v6);
        world.destinations.values_mut().for_each(|destination| destination.interface = 8);
        let mut packet = Summed::new(frame(v6, &own, &proxy, &segment()));
        assert_eq!(leave(&mut packet, &world), Verdict::Drop);
    }
}

#[test]
fn datagrams_without_a_checksum_get_none() {
    let [proxy, vip, own, _] = addresses(false);
    let carried = Carried { protocol: 17, payload: vec![0; 30], tags: 0 };
    let mut bytes = frame(false, &vip, &own, &carried);
    bytes[40..42].copy_from_slice(&[0; 2]);
    let mut packet = Summed::new(bytes);
    arrive(&mut packet, &world(false));
    assert_eq!(packet.bytes[40..42], [0; 2]);
    assert_eq!(packet.bytes[26..30], proxy[..]);
}
