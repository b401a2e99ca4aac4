//! Neighbour Discovery for IPv6 over Ethernet: RFC 4861, with duplicate address detection as in
//! RFC 4862, section 5.4.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv6Addr},
};

use etherparse::{
    EtherType, Ethernet2Slice, Icmpv6Slice, Icmpv6Type, IpNumber, Ipv6Slice, PacketBuilder,
    icmpv6::{
        Icmpv6PayloadSlice, NdpOptionSlice, NdpOptionsIterator, NeighborAdvertisementHeader,
        TYPE_NEIGHBOR_ADVERTISEMENT, TYPE_NEIGHBOR_SOLICITATION,
    },
};
use socket2::{Domain, SockFilter, Type};

use super::Conflict;
use crate::model::Mac;

pub(super) const ETHERTYPE: u16 = EtherType::IPV6.0;

/// What a router does not pass on still has it, so that who says it is on this link.
const HOP_LIMIT: u8 = 255;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The option that says the MAC address of the target: its type, and its length in 8 bytes.
const TARGET_MAC: [u8; 2] = [2, 1];

/// Groups that one socket joins: their memory counts against `net.core.optmem_max`.
const GROUPS: usize = 64;

/// Lets through solicitations and advertisements right behind the IPv6 header, so that other traffic
/// never fills the socket's queue.
pub(super) const FILTER: [SockFilter; 7] = [
    byte(20), // IPv6: next header
    unless(IpNumber::IPV6_ICMP.0 as u32, 4),
    byte(54), // ICMPv6: type
    SockFilter::new(JUMP_IF_EQUAL, 1, 0, TYPE_NEIGHBOR_SOLICITATION as u32),
    unless(TYPE_NEIGHBOR_ADVERTISEMENT as u32, 1),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
    SockFilter::new(RETURN, 0, 0, 0),
];

const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn byte(offset: u32) -> SockFilter {
    SockFilter::new(LOAD_BYTE, 0, 0, offset)
}

const fn unless(value: u32, skip: u8) -> SockFilter {
    SockFilter::new(JUMP_IF_EQUAL, 0, skip, value)
}

/// The frame that asks who has the address. It changes no cache, as it names no sender.
pub(super) fn question(own: Mac, address: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(address);
    frame(own, [Ipv6Addr::UNSPECIFIED, group], Icmpv6Type::NeighborSolicitation, &address.octets())
}

/// The frame that tells everyone who has the address (RFC 4861, section 7.2.6). It overrides what
/// they know, and does not make this machine a router in their eyes.
pub(super) fn announcement(own: Mac, address: Ipv6Addr) -> Vec<u8> {
    let flags = NeighborAdvertisementHeader { router: false, solicited: false, r#override: true };
    let message = [&address.octets()[..], &TARGET_MAC, &own.0].concat();
    frame(own, [address, ALL_NODES], Icmpv6Type::NeighborAdvertisement(flags), &message)
}

/// To a multicast group, from the first address to the second.
fn frame(own: Mac, [from, to]: [Ipv6Addr; 2], kind: Icmpv6Type, message: &[u8]) -> Vec<u8> {
    let [.., a, b, c, d] = to.octets();
    let packet = PacketBuilder::ethernet2(own.0, [0x33, 0x33, a, b, c, d])
        .ipv6(from.octets(), to.octets(), HOP_LIMIT)
        .icmpv6(kind);
    let mut frame = Vec::with_capacity(packet.size(message.len()));
    packet.write(&mut frame, message).expect("two dozen bytes fit into a packet");
    frame
}

/// The group that everyone is in who has an address that ends like this one (RFC 4291, 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Joins the groups in which others ask for the same addresses, until the sockets are dropped.
/// Beside the interface, the switches learn of it, which else may keep those frames to themselves.
pub(super) fn join(
    interface: u32,
    addresses: &BTreeSet<IpAddr>,
) -> io::Result<Vec<socket2::Socket>> {
    let group = |address: &IpAddr| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(solicited_node(*address)),
    };
    let groups: BTreeSet<Ipv6Addr> = addresses.iter().filter_map(group).collect();
    let groups: Vec<Ipv6Addr> = groups.into_iter().collect();
    groups.chunks(GROUPS).map(|groups| member(interface, groups)).collect()
}

fn member(interface: u32, groups: &[Ipv6Addr]) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    for group in groups {
        socket.join_multicast_v6(group, interface)?;
    }
    Ok(socket)
}

/// What the sender of a frame from the wire claims: the address that it advertises, or the one that
/// it is about to use and looks for another owner of. Anything may stand there; what RFC 4861,
/// sections 7.1.1 and 7.1.2, has discarded claims nothing.
pub(super) fn claim(frame: &[u8]) -> Option<Conflict> {
    let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).ok()?;
    if ethernet.ether_type() != EtherType::IPV6 {
        return None;
    }
    let packet = Ipv6Slice::from_slice(ethernet.payload_slice()).ok()?;
    let target = target(&packet).filter(|target| !target.is_multicast())?;
    Some(Conflict { address: target.into(), mac: Mac(ethernet.source()) })
}

/// What the sender of a frame from the wire says to have.
pub(super) fn assertion(frame: &[u8]) -> Option<Conflict> {
    // Where the filter looks, too: a claim stands right behind the IPv6 header.
    claim(frame).filter(|_| frame.get(54) == Some(&TYPE_NEIGHBOR_ADVERTISEMENT))
}

fn target(packet: &Ipv6Slice<'_>) -> Option<Ipv6Addr> {
    let header = packet.header();
    let (from, to) = (header.source_addr(), header.destination_addr());
    let icmp = packet.payload().ip_number == IpNumber::IPV6_ICMP;
    // Length 0 would be read as all that there is: a jumbogram's, which this is not.
    if header.hop_limit() != HOP_LIMIT || header.payload_length() == 0 || !icmp {
        return None;
    }
    let message = Icmpv6Slice::from_slice(packet.payload().payload).ok()?;
    if !message.is_checksum_valid(from.octets(), to.octets()) {
        return None;
    }
    match (message.icmp_type(), message.payload_slice().ok()?) {
        (
            Icmpv6Type::NeighborAdvertisement(flags),
            Icmpv6PayloadSlice::NeighborAdvertisement(message),
        ) => {
            let fits = well_formed(message.options_iterator());
            (fits && !(to.is_multicast() && flags.solicited)).then(|| message.target_address())
        }
        (Icmpv6Type::NeighborSolicitation, Icmpv6PayloadSlice::NeighborSolicitation(message)) => {
            let target = message.target_address();
            let options = || message.options_iterator();
            let detects = from.is_unspecified() && to == solicited_node(target);
            (detects && well_formed(options()) && !names_sender(options())).then_some(target)
        }
        _ => None,
    }
}

fn well_formed(mut options: NdpOptionsIterator<'_>) -> bool {
    options.all(|option| option.is_ok())
}

fn names_sender(mut options: NdpOptionsIterator<'_>) -> bool {
    options.any(|option| matches!(option, Ok(NdpOptionSlice::SourceLinkLayerAddress(_))))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
    const CLAIMED: Option<Conflict> = Some(Conflict { address: IpAddr::V6(VIP), mac: OWN });

    const SOURCE_MAC: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 1];
    const NONCE: [u8; 8] = [14, 1, 1, 2, 3, 4, 5, 6];
    const NO_LENGTH: [u8; 8] = [14, 0, 1, 2, 3, 4, 5, 6];

    fn solicitation(from: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        let message = [&target.octets(), options].concat();
        frame(OWN, [from, to], Icmpv6Type::NeighborSolicitation, &message)
    }

    fn advertisement(to: Ipv6Addr, target: Ipv6Addr, solicited: bool, options: &[u8]) -> Vec<u8> {
        let flags = NeighborAdvertisementHeader { router: true, solicited, r#override: false };
        let message = [&target.octets(), options].concat();
        frame(OWN, [VIP, to], Icmpv6Type::NeighborAdvertisement(flags), &message)
    }

    #[test]
    fn a_probe_looks_as_rfc_4862_wants_it() {
        #[rustfmt::skip]
        let expected = [
            0x33, 0x33, 0xff, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 0x86, 0xdd,
            0x60, 0, 0, 0, 0, 24, 58, 255,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x12, 0x34, 0x56,
            135, 0, 0xe4, 0x1e, 0, 0, 0, 0,
            0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56,
        ];
        assert_eq!(question(OWN, VIP), expected);
    }

    #[test]
    fn an_announcement_overrides_and_names_the_mac_address() {
        #[rustfmt::skip]
        let expected = [
            0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd,
            0x60, 0, 0, 0, 0, 32, 58, 255,
            0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56,
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            136, 0, 0x90, 0x5c, 0x20, 0, 0, 0,
            0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56,
            2, 1, 2, 0, 0, 0, 0, 1,
        ];
        assert_eq!(announcement(OWN, VIP), expected);
    }

    #[test]
    fn who_advertises_an_address_or_looks_for_its_owner_claims_it() {
        let group = solicited_node(VIP);
        let nobody = Ipv6Addr::UNSPECIFIED;
        for frame in [
            question(OWN, VIP),
            announcement(OWN, VIP),
            solicitation(nobody, group, VIP, &NONCE),
            advertisement(ALL_NODES, VIP, false, &[]),
            advertisement(VIP, VIP, true, &NONCE),
        ] {
            assert_eq!(claim(&frame), CLAIMED, "{frame:?}");
        }
    }

    #[test]
    fn who_looks_for_an_owner_asserts_nothing_and_who_advertises_does() {
        assert_eq!(assertion(&question(OWN, VIP)), None);
        assert_eq!(assertion(&announcement(OWN, VIP)), CLAIMED);
    }

    #[test]
    fn what_the_rfc_has_discarded_and_ordinary_questions_claim_nothing() {
        let group = solicited_node(VIP);
        let nobody = Ipv6Addr::UNSPECIFIED;
        for frame in [
            solicitation("2001:db8::1".parse().unwrap(), group, VIP, &SOURCE_MAC),
            solicitation(nobody, ALL_NODES, VIP, &[]),
            solicitation(nobody, VIP, VIP, &[]),
            solicitation(nobody, group, VIP, &SOURCE_MAC),
            solicitation(nobody, group, VIP, &NO_LENGTH),
            solicitation(nobody, group, VIP, &NONCE[..7]),
            solicitation(nobody, solicited_node(ALL_NODES), ALL_NODES, &[]),
            advertisement(ALL_NODES, VIP, true, &[]),
            advertisement(ALL_NODES, VIP, false, &NO_LENGTH),
            advertisement(ALL_NODES, ALL_NODES, false, &[]),
            frame(OWN, [VIP, ALL_NODES], Icmpv6Type::RouterSolicitation, &VIP.octets()),
        ] {
            assert_eq!(claim(&frame), None, "{frame:?}");
        }
    }

    #[test]
    fn every_truncation_is_refused_and_padding_is_not() {
        let mut frame = announcement(OWN, VIP);
        for length in 0..frame.len() {
            assert_eq!(claim(&frame[..length]), None, "{length}");
        }
        frame.extend([0; 18]);
        assert_eq!(claim(&frame), CLAIMED);
    }

    /// From the Ethernet type on; before it stands who sends it and who receives it, behind the
    /// version a label that means nothing here.
    #[test]
    fn every_wrong_bit_is_refused() {
        for frame in [question(OWN, VIP), announcement(OWN, VIP)] {
            for bit in (12 * 8..frame.len() * 8).filter(|bit| !(14 * 8 + 4..18 * 8).contains(bit)) {
                let mut wrong = frame.clone();
                wrong[bit / 8] ^= 0x80 >> (bit % 8);
                assert_eq!(claim(&wrong), None, "bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(frame in vec(any::<u8>(), 0..200)) {
            claim(&frame);
        }

        #[test]
        fn any_message_is_survived_and_claims_its_target_at_most(
            kind in 133..=137u8,
            code in 0..2u8,
            rest: [u8; 4],
            message in vec(any::<u8>(), 0..60),
        ) {
            let kind = Icmpv6Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: rest };
            let claimed = claim(&frame(OWN, [VIP, ALL_NODES], kind, &message));
            if let Some(Conflict { address, mac }) = claimed {
                let target = Ipv6Addr::from(*message.first_chunk::<16>().unwrap());
                prop_assert_eq!((address, mac), (target.into(), OWN));
            }
        }
    }
}
