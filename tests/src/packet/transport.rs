//! TCP (RFC 9293), UDP (RFC 768) and ICMP (RFC 792, RFC 4443).

use super::{Ipv4, Ipv6, checksum::checksum};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// TCP flag: no more data.
pub const FIN: u8 = 1 << 0;
/// TCP flag: a connection begins.
pub const SYN: u8 = 1 << 1;
/// TCP flag: a connection is refused or broken.
pub const RST: u8 = 1 << 2;
/// TCP flag: hand on to the reader.
pub const PSH: u8 = 1 << 3;
/// TCP flag: the acknowledgement counts.
pub const ACK: u8 = 1 << 4;

/// The network layer below a transport.
#[derive(Clone, Debug)]
pub enum Network {
    /// IPv4.
    V4(Ipv4),
    /// IPv6.
    V6(Ipv6),
}

impl Network {
    pub(super) fn carry(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(ip) => ip.frame(protocol, payload),
            Self::V6(ip) => ip.frame(protocol, payload),
        }
    }

    fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(ip) => ip.packet(protocol, payload),
            Self::V6(ip) => ip.packet(protocol, payload),
        }
    }

    fn pseudo_header(&self, protocol: u8, length: usize) -> Vec<u8> {
        match self {
            Self::V4(ip) => ip.pseudo_header(protocol, length as u16),
            Self::V6(ip) => ip.pseudo_header(protocol, length as u32),
        }
    }

    /// ICMPv4 has none in its checksum, ICMPv6 has.
    fn icmp_pseudo_header(&self, protocol: u8, length: usize) -> Vec<u8> {
        match self {
            Self::V4(_) => Vec::new(),
            Self::V6(_) => self.pseudo_header(protocol, length),
        }
    }
}

/// Writes what may follow a network layer.
macro_rules! transports {
    ($ip:ty, $family:ident, $icmp:expr) => {
        impl $ip {
            /// Goes on with TCP.
            #[must_use]
            pub fn tcp(self, source: u16, destination: u16) -> Tcp {
                Tcp::new(Network::$family(self), source, destination)
            }

            /// Goes on with UDP.
            #[must_use]
            pub fn udp(self, source: u16, destination: u16) -> Udp {
                Udp::new(Network::$family(self), source, destination)
            }

            /// Goes on with an ICMP message of this type and code.
            #[must_use]
            pub fn icmp(self, kind: u8, code: u8) -> Icmp {
                Icmp::new(Network::$family(self), $icmp, kind, code)
            }

            /// The frame, with these bytes behind: another protocol, or a later fragment.
            #[must_use]
            pub fn raw(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
                Network::$family(self).carry(protocol, payload)
            }
        }
    };
}

pub(super) use transports;

/// Writes the ends of every transport: the payload, the frame, the packet as ICMP errors quote it.
macro_rules! ends {
    ($transport:ty) => {
        impl $transport {
            /// Adds data.
            #[must_use]
            pub fn payload(mut self, payload: &[u8]) -> Self {
                self.payload.extend(payload);
                self
            }

            /// Says another checksum.
            #[must_use]
            pub fn checksum(mut self, checksum: u16) -> Self {
                self.checksum = Some(checksum);
                self
            }

            /// The frame.
            #[must_use]
            pub fn build(&self) -> Vec<u8> {
                self.network.carry(self.protocol(), &self.segment())
            }

            /// The packet alone, from the IP header on.
            #[must_use]
            pub fn packet(&self) -> Vec<u8> {
                self.network.packet(self.protocol(), &self.segment())
            }
        }
    };
}

/// A TCP segment to be; an acknowledgement without data if nothing else is said.
#[derive(Clone, Debug)]
pub struct Tcp {
    network: Network,
    source: u16,
    destination: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    header_words: Option<u8>,
    checksum: Option<u16>,
    payload: Vec<u8>,
}

ends!(Tcp);

impl Tcp {
    pub(super) fn new(network: Network, source: u16, destination: u16) -> Self {
        Self {
            network,
            source,
            destination,
            sequence: 1,
            acknowledgement: 1,
            flags: ACK,
            window: u16::MAX,
            options: Vec::new(),
            header_words: None,
            checksum: None,
            payload: Vec::new(),
        }
    }

    /// Sets the flags, these and no others.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// Sets sequence and acknowledgement number.
    #[must_use]
    pub fn numbers(mut self, sequence: u32, acknowledgement: u32) -> Self {
        (self.sequence, self.acknowledgement) = (sequence, acknowledgement);
        self
    }

    /// Sets the window, all that there may be otherwise.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Adds options; zeros (end of list) fill them up to whole words.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options.extend(options);
        self.options.resize(self.options.len().next_multiple_of(4), 0);
        self
    }

    /// Says another header length, in words of four bytes.
    #[must_use]
    pub fn header_words(mut self, words: u8) -> Self {
        self.header_words = Some(words);
        self
    }

    fn protocol(&self) -> u8 {
        TCP
    }

    fn segment(&self) -> Vec<u8> {
        let words = self.header_words.unwrap_or((5 + self.options.len() / 4) as u8);
        let mut segment = [self.source, self.destination].map(u16::to_be_bytes).concat();
        segment.extend([self.sequence, self.acknowledgement].map(u32::to_be_bytes).concat());
        let [high, low] = self.window.to_be_bytes();
        segment.extend([words << 4, self.flags, high, low, 0, 0, 0, 0]);
        segment.extend(&self.options);
        segment.extend(&self.payload);
        let pseudo = self.network.pseudo_header(TCP, segment.len());
        let sum = self.checksum.unwrap_or_else(|| checksum(&[&pseudo, &segment]));
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }
}

/// A UDP datagram to be.
#[derive(Clone, Debug)]
pub struct Udp {
    network: Network,
    source: u16,
    destination: u16,
    length: Option<u16>,
    checksum: Option<u16>,
    payload: Vec<u8>,
}

ends!(Udp);

impl Udp {
    pub(super) fn new(network: Network, source: u16, destination: u16) -> Self {
        Self { network, source, destination, length: None, checksum: None, payload: Vec::new() }
    }

    /// Says another length.
    #[must_use]
    pub fn length(mut self, length: u16) -> Self {
        self.length = Some(length);
        self
    }

    fn protocol(&self) -> u8 {
        UDP
    }

    fn segment(&self) -> Vec<u8> {
        let length = self.length.unwrap_or((8 + self.payload.len()) as u16);
        let mut segment = [self.source, self.destination, length, 0].map(u16::to_be_bytes).concat();
        segment.extend(&self.payload);
        let pseudo = self.network.pseudo_header(UDP, segment.len());
        // A sum of zero would say that there is none.
        let sum = || Some(checksum(&[&pseudo, &segment])).filter(|sum| *sum != 0).unwrap_or(0xffff);
        let sum = self.checksum.unwrap_or_else(sum);
        segment[6..8].copy_from_slice(&sum.to_be_bytes());
        segment
    }
}

/// An ICMP message to be.
#[derive(Clone, Debug)]
pub struct Icmp {
    network: Network,
    protocol: u8,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    checksum: Option<u16>,
    payload: Vec<u8>,
}

ends!(Icmp);

impl Icmp {
    pub(super) fn new(network: Network, protocol: u8, kind: u8, code: u8) -> Self {
        Self { network, protocol, kind, code, rest: [0; 4], checksum: None, payload: Vec::new() }
    }

    /// Sets the second word of the header: the echo's identifier and number, or zeros and the MTU.
    #[must_use]
    pub fn rest(mut self, rest: [u8; 4]) -> Self {
        self.rest = rest;
        self
    }

    fn protocol(&self) -> u8 {
        self.protocol
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = vec![self.kind, self.code, 0, 0];
        segment.extend(self.rest);
        segment.extend(&self.payload);
        let pseudo = self.network.icmp_pseudo_header(self.protocol, segment.len());
        let sum = self.checksum.unwrap_or_else(|| checksum(&[&pseudo, &segment]));
        segment[2..4].copy_from_slice(&sum.to_be_bytes());
        segment
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use lb_user::model::Mac;

    use super::*;
    use crate::packet::Link;

    const A: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    fn ip() -> Ipv4 {
        Link::new(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])).ipv4(A, B)
    }

    /// The sums over header and over segment with pseudo header, which must be zero.
    fn sums(packet: &[u8]) -> (u16, u16) {
        let header = usize::from(packet[0] & 0xf) * 4;
        let (ip, segment) = packet.split_at(header);
        let length = (segment.len() as u16).to_be_bytes();
        let pseudo = [&ip[12..20], &[0, ip[9]], &length].concat();
        (checksum(&[ip]), checksum(&[&pseudo, segment]))
    }

    #[test]
    fn header_and_transport_checksums_are_right() {
        let tcp = ip().options(&[1, 1, 1]).tcp(1, 2).options(&[2, 4, 5, 0xb4]).payload(b"odd");
        assert_eq!(sums(&tcp.packet()), (0, 0));
        assert_eq!(sums(&ip().udp(1, 2).payload(b"hello").packet()), (0, 0));
        let icmp = ip().icmp(8, 0).rest([0, 1, 0, 2]).payload(b"ping").packet();
        assert_eq!((checksum(&[&icmp[..20]]), checksum(&[&icmp[20..]])), (0, 0));
    }

    #[test]
    fn a_frame_is_the_packet_behind_its_ethernet_header() {
        let udp = ip().udp(1, 2).payload(b"hello");
        let frame = udp.build();
        assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(frame[14..], udp.packet());
        assert_eq!(frame[16..18], 33u16.to_be_bytes());
    }

    #[test]
    fn tags_stand_between_addresses_and_ethertype_in_the_order_they_were_added() {
        let link = Link::new(Mac([2; 6]), Mac([4; 6])).tag(0x88a8, 7).vlan(100);
        let frame = link.ipv4(A, B).raw(99, b"x");
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 7, 0x81, 0, 0, 100, 8, 0]);
        assert_eq!(frame[22 + 9], 99);
    }

    #[test]
    fn what_is_set_otherwise_is_said_as_it_was_set() {
        let lying = ip().version(6).header_words(15).total_length(9).protocol(1).checksum(0x1234);
        let packet = lying.fragment(1480, true).udp(1, 2).length(3).checksum(4).packet();
        assert_eq!((packet[0], packet[9]), (0x6f, 1));
        assert_eq!((&packet[2..4], &packet[10..12]), (&[0, 9][..], &[0x12, 0x34][..]));
        assert_eq!(packet[6..8], ((1480 / 8) | 0x2000_u16).to_be_bytes());
        assert_eq!(packet[24..28], [0, 3, 0, 4]);
    }
}
