//! IPv6 and its extension headers (RFC 8200).

use std::net::Ipv6Addr;

use super::{Icmp, Link, Network, Tcp, Udp, transport::transports};

const ETHERTYPE: u16 = 0x86dd;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ICMP: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
const MORE_FRAGMENTS: u16 = 1;

/// The IPv6 header of a packet to be, and the extension headers behind it.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    link: Link,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    traffic_class: u8,
    flow_label: u32,
    hop_limit: u8,
    version: u8,
    payload_length: Option<u16>,
    next_header: Option<u8>,
    extensions: Vec<Extension>,
}

#[derive(Clone, Debug)]
struct Extension {
    kind: u8,
    /// All but the first byte, which says what follows.
    rest: Vec<u8>,
}

transports!(Ipv6, V6, ICMP);

impl Ipv6 {
    pub(super) fn new(link: Link, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            link,
            source,
            destination,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 64,
            version: 6,
            payload_length: None,
            next_header: None,
            extensions: Vec::new(),
        }
    }

    /// Sets the DSCP and ECN byte.
    #[must_use]
    pub fn traffic_class(mut self, class: u8) -> Self {
        self.traffic_class = class;
        self
    }

    /// Sets the flow label, of 20 bits.
    #[must_use]
    pub fn flow_label(mut self, label: u32) -> Self {
        self.flow_label = label & 0xf_ffff;
        self
    }

    /// Sets the hop limit, 64 otherwise.
    #[must_use]
    pub fn hop_limit(mut self, limit: u8) -> Self {
        self.hop_limit = limit;
        self
    }

    /// Says another version.
    #[must_use]
    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Says another payload length.
    #[must_use]
    pub fn payload_length(mut self, length: u16) -> Self {
        self.payload_length = Some(length);
        self
    }

    /// Says, in the last header before it, another protocol than what follows is.
    #[must_use]
    pub fn next_header(mut self, protocol: u8) -> Self {
        self.next_header = Some(protocol);
        self
    }

    /// Adds hop-by-hop options behind the headers there are; zeros (padding of one byte each) fill
    /// them up.
    #[must_use]
    pub fn hop_by_hop(self, options: &[u8]) -> Self {
        self.measured(HOP_BY_HOP, options)
    }

    /// Adds a routing header behind those there are: its type, the segments left, and what that
    /// type has; zeros fill it up.
    #[must_use]
    pub fn routing(self, data: &[u8]) -> Self {
        self.measured(ROUTING, data)
    }

    /// Adds destination options behind the headers there are; zeros (padding of one byte each) fill
    /// them up.
    #[must_use]
    pub fn destination_options(self, options: &[u8]) -> Self {
        self.measured(DESTINATION_OPTIONS, options)
    }

    /// Adds a fragment header behind those there are: this is the part of packet `id` which starts
    /// at this byte of what can be fragmented, a multiple of eight, and after which more come or
    /// not.
    #[must_use]
    pub fn fragment(self, offset: u16, more: bool, id: u32) -> Self {
        let place = offset & !7 | if more { MORE_FRAGMENTS } else { 0 };
        let rest = [&[0], &place.to_be_bytes()[..], &id.to_be_bytes()].concat();
        self.extension(FRAGMENT, &rest)
    }

    /// Adds any header behind those there are: what comes after its first byte, which says what
    /// follows. In most kinds the length is next, in units of eight bytes without the first.
    #[must_use]
    pub fn extension(mut self, kind: u8, rest: &[u8]) -> Self {
        self.extensions.push(Extension { kind, rest: rest.to_vec() });
        self
    }

    /// Adds a header of a kind that has its length in its second byte.
    fn measured(self, kind: u8, data: &[u8]) -> Self {
        let length = (2 + data.len()).next_multiple_of(8);
        let mut rest = vec![(length / 8 - 1) as u8];
        rest.extend(data);
        rest.resize(length - 1, 0);
        self.extension(kind, &rest)
    }

    /// The packet, from the IP header on.
    pub(super) fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let body = self.body(protocol, payload);
        let length = self.payload_length.unwrap_or(body.len() as u16);
        let first =
            u32::from(self.version) << 28 | u32::from(self.traffic_class) << 20 | self.flow_label;
        let mut packet = first.to_be_bytes().to_vec();
        packet.extend(length.to_be_bytes());
        packet.extend([self.kind(0, protocol), self.hop_limit]);
        packet.extend([self.source, self.destination].map(|address| address.octets()).concat());
        packet.extend(body);
        packet
    }

    /// The frame around such a packet.
    pub(super) fn frame(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        self.link.carry(ETHERTYPE, &self.packet(protocol, payload))
    }

    /// What transports put before their checksum: of the protocol it says what it is, whatever the
    /// chain of headers says.
    pub(super) fn pseudo_header(&self, protocol: u8, length: u32) -> Vec<u8> {
        let mut bytes = [self.source, self.destination].map(|address| address.octets()).concat();
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0, 0, protocol]);
        bytes
    }

    /// The extension headers, each of which says what the next is, and what they lead to.
    fn body(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for (index, extension) in self.extensions.iter().enumerate() {
            body.push(self.kind(index + 1, protocol));
            body.extend(&extension.rest);
        }
        body.extend(payload);
        body
    }

    /// What the extension header with this index is, or else what comes after the last one.
    fn kind(&self, index: usize, protocol: u8) -> u8 {
        let extension = self.extensions.get(index).map(|extension| extension.kind);
        extension.or(self.next_header).unwrap_or(protocol)
    }
}

#[cfg(test)]
mod tests {
    use lb_user::model::Mac;

    use super::*;
    use crate::packet::checksum;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

    fn ip() -> Ipv6 {
        Link::new(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])).ipv6(A, B)
    }

    /// The sum over the transport at this byte of the packet and its pseudo header, which must be
    /// zero.
    fn sum(packet: &[u8], transport: usize, protocol: u8) -> u16 {
        let (headers, segment) = packet.split_at(transport);
        let length = (segment.len() as u32).to_be_bytes();
        checksum(&[&headers[8..40], &length, &[0, 0, 0, protocol], segment])
    }

    #[test]
    fn the_header_says_what_was_set() {
        let packet = ip().traffic_class(0xb8).flow_label(0x12345).hop_limit(7).udp(1, 2).packet();
        assert_eq!(packet[..8], [0x6b, 0x81, 0x23, 0x45, 0, 8, 17, 7]);
        assert_eq!(packet[8..40], [A.octets(), B.octets()].concat());
        assert_eq!(packet.len(), 48);
        let frame = ip().udp(1, 2).build();
        assert_eq!(frame[12..14], [0x86, 0xdd]);
        assert_eq!(frame[14..], ip().udp(1, 2).packet());
    }

    #[test]
    fn transport_checksums_include_the_pseudo_header() {
        let tcp = ip().tcp(1, 2).options(&[2, 4, 5, 0xb4]).payload(b"odd").packet();
        assert_eq!(sum(&tcp, 40, 6), 0);
        assert_eq!(sum(&ip().udp(1, 2).payload(b"hello").packet(), 40, 17), 0);
        let echo = ip().icmp(128, 0).rest([0, 1, 0, 2]).payload(b"ping").packet();
        assert_eq!(sum(&echo, 40, 58), 0);
    }

    /// From a capture of Linux 6.18: `ping -6 -c1 -s0 ::1`.
    #[test]
    fn an_echo_request_is_as_linux_makes_it() {
        let link = Link::new(Mac([0; 6]), Mac([0; 6]));
        let echo = link.ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST).icmp(128, 0);
        let packet = echo.rest([0x40, 0x1c, 0, 1]).packet();
        assert_eq!(packet[42..44], [0x3f, 0x9e]);
    }

    #[test]
    fn every_extension_header_says_what_comes_next() {
        let chain = ip()
            .hop_by_hop(&[5, 2, 0, 0])
            .destination_options(&[])
            .routing(&[0, 0])
            .fragment(1448, true, 0x0102_0304)
            .extension(51, &[4, 0])
            .udp(1, 2)
            .payload(b"x")
            .packet();
        assert_eq!(chain[4..7], [0, 4 * 8 + 3 + 9, 0]);
        assert_eq!(chain[40..48], [60, 0, 5, 2, 0, 0, 0, 0]);
        assert_eq!(chain[48..56], [43, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(chain[56..64], [44, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(chain[64..72], [51, 0, 0x05, 0xa9, 1, 2, 3, 4]);
        assert_eq!(chain[72..75], [17, 4, 0]);
        assert_eq!(sum(&chain, 75, 17), 0);
    }

    #[test]
    fn options_of_more_than_six_bytes_take_another_unit() {
        let packet = ip().hop_by_hop(&[1, 5, 0, 0, 0, 0, 0]).raw(59, &[]);
        assert_eq!(packet[14 + 40..][..2], [59, 1]);
        assert_eq!(packet.len(), 14 + 40 + 16);
        assert_eq!(ip().routing(&[0; 6]).raw(59, &[]).len(), 14 + 40 + 8);
    }

    #[test]
    fn what_is_set_otherwise_is_said_as_it_was_set() {
        let packet = ip().version(4).payload_length(3).next_header(99).udp(1, 2).packet();
        assert_eq!((packet[0], &packet[4..7]), (0x40, &[0, 3, 99][..]));
        assert_eq!(sum(&packet, 40, 17), 0, "whatever the header says");
        let packet = ip().next_header(99).hop_by_hop(&[]).udp(1, 2).packet();
        assert_eq!((packet[6], packet[40]), (0, 99));
    }
}
