//! From bytes to what steering needs to know of them. Reads headers, decides nothing.

mod ipv4;
mod ipv6;
pub mod link;

use lb_common::{Address, Outcome};
use network_types::{ip::IpProto, tcp::TcpHdr, udp::UdpHdr};

use self::link::Link;
use crate::packet::{Packet, PortPair, word16};

/// A datagram on its way somewhere, or the flow that an ICMP error is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram<A> {
    /// The client's address.
    pub source: A,
    /// The address that may be a VIP.
    pub destination: A,
    /// The protocol number.
    pub protocol: u8,
    /// What kind of transport header it has.
    pub transport: Transport,
    /// What that header says of [`Transport::Ports`]; zero for all others.
    ///
    /// Not within the variant: what a variant lacks would be memory that nobody wrote, which kernels
    /// before 6.3 let no program read.
    pub ports: Ports,
    /// What it shares with the other fragments of its datagram, in wire order.
    pub identification: u32,
    /// Whether it is the first of several fragments.
    pub is_first: bool,
    /// Whether this is not the datagram itself: an ICMP error quotes it.
    pub is_quoted: bool,
    /// Where it ends by its own account, as an offset in the frame.
    pub end: usize,
}

/// What kind of transport header a datagram has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// That of TCP or UDP.
    #[default]
    Ports,
    /// A ping (ICMP echo request) right behind an IP header without options.
    Echo,
    /// A message by which neighbours are found (RFC 4861).
    Discovery,
    /// A protocol that is not looked into.
    Opaque,
    /// A fragment but the first, which has the transport header.
    Later,
    /// A header, or the rest of what the packet says that it has, is not all there.
    Truncated,
    /// There are more extension headers than are looked through.
    Beyond,
    /// The lengths in the IP header contradict each other.
    Malformed,
}

/// The ports of a TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Both as they lie in memory: source in the lower, destination in the upper half.
    pub both: u32,
    /// The destination port, as a number.
    pub destination: u16,
    /// Whether it begins a TCP connection: SYN without ACK.
    pub begins: bool,
    /// Whether its sender ends a TCP connection: FIN or RST.
    pub ends: bool,
}

/// An address family that can be read.
pub trait Family: Address {
    /// Reads what most frames carry: untagged, in one buffer, a whole TCP segment or UDP datagram in an
    /// IP header without options. `None` if anything is special; [`Family::datagram`] reads that, and
    /// would read the same here.
    fn plain(packet: &Packet, link: &Link) -> Option<Datagram<Self>>;

    /// Reads the packet whose IP header is at `ip`, which is not more than 22.
    ///
    /// # Errors
    ///
    /// The outcome that the frame has without further ado.
    fn datagram(packet: &Packet, ip: usize) -> Result<Datagram<Self>, Outcome>;
}

/// What [`Family::plain`] finds between two addresses, given the IP header's size and the length that it
/// tells of all that follows it.
#[inline(always)]
fn plain<A>(
    packet: &Packet,
    source: A,
    destination: A,
    protocol: u8,
    header: usize,
    length: usize,
) -> Option<Datagram<A>> {
    let offset = Link::UNTAGGED + header;
    let end = offset + length;
    if end as u64 > packet.len() {
        return None;
    }
    // The same for both protocols, so that it is in one place in memory and in one register.
    let pair: &PortPair = packet.header(offset).ok()?;
    let both = ports(&pair.source, &pair.destination);
    let ports = if protocol == IpProto::Tcp as u8 {
        let ports = tcp(packet, offset, length).ok()?;
        Ports { begins: ports.begins, ends: ports.ends, ..both }
    } else if protocol == IpProto::Udp as u8 {
        udp(packet, offset, length).ok()?;
        both
    } else {
        return None;
    };
    Some(Datagram {
        source,
        destination,
        protocol,
        transport: Transport::Ports,
        ports,
        identification: 0,
        is_first: false,
        is_quoted: false,
        end,
    })
}

/// Reads the transport header at `offset`, of which the IP header says that `length` bytes are
/// there: what follows in the frame is padding.
#[inline(always)]
fn transport(packet: &Packet, protocol: u8, offset: usize, length: usize) -> (Transport, Ports) {
    let ports = if protocol == IpProto::Tcp as u8 {
        tcp(packet, offset, length)
    } else if protocol == IpProto::Udp as u8 {
        udp(packet, offset, length)
    } else {
        return (Transport::Opaque, Ports::default());
    };
    match ports {
        Ok(ports) => (Transport::Ports, ports),
        Err(_) => (Transport::Truncated, Ports::default()),
    }
}

#[inline(always)]
fn tcp(packet: &Packet, offset: usize, length: usize) -> Result<Ports, Outcome> {
    if length < TcpHdr::LEN {
        return Err(Outcome::Truncated);
    }
    let header: &TcpHdr = packet.header(offset)?;
    let begins = header.syn() != 0 && header.ack() == 0;
    let ends = header.fin() != 0 || header.rst() != 0;
    Ok(Ports { begins, ends, ..ports(&header.source, &header.dest) })
}

#[inline(always)]
fn udp(packet: &Packet, offset: usize, length: usize) -> Result<Ports, Outcome> {
    if length < UdpHdr::LEN {
        return Err(Outcome::Truncated);
    }
    let header: &UdpHdr = packet.header(offset)?;
    Ok(ports(&header.src, &header.dst))
}

/// The transport of the flow whose real has sent the packet that an ICMP error quotes: the client's
/// packets have its ports the other way round. `None` where the quote does not reach the ports.
#[inline(always)]
fn quoted_transport(
    packet: &Packet,
    protocol: u8,
    offset: usize,
    length: usize,
) -> Option<(Transport, Ports)> {
    if protocol != IpProto::Tcp as u8 && protocol != IpProto::Udp as u8 {
        return Some((Transport::Opaque, Ports::default()));
    }
    if length < size_of::<PortPair>() {
        return None;
    }
    let pair: &PortPair = packet.header(offset).ok()?;
    Some((Transport::Ports, ports(&pair.destination, &pair.source)))
}

#[inline(always)]
fn ports(source: &[u8; 2], destination: &[u8; 2]) -> Ports {
    let (source, destination) = (word16(source), word16(destination));
    Ports {
        both: u32::from(source) | u32::from(destination) << 16,
        destination: u16::from_be(destination),
        begins: false,
        ends: false,
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{V4, V6};
    use network_types::eth::EtherType;
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::{link::Tags, *};

    /// What is written over random bytes, so that some frames are plain ones and others nearly.
    #[derive(Clone, Debug)]
    struct Header {
        first: u8,
        protocol: u8,
        fragment: u16,
        /// By how much the length that is told is less than the truth.
        missing: u16,
    }

    fn header(plain: u8, second: u8) -> impl Strategy<Value = Header> {
        let first = prop_oneof![8 => Just(plain), 1 => Just(second), 1 => any::<u8>()];
        let protocol = prop_oneof![4 => Just(6), 4 => Just(17), 1 => any::<u8>()];
        let fragment = prop_oneof![4 => Just(0), 4 => Just(0x4000), 1 => any::<u16>()];
        let missing = prop_oneof![4 => 0..64u16, 1 => any::<u16>()];
        (first, protocol, fragment, missing).prop_map(|(first, protocol, fragment, missing)| {
            Header { first, protocol, fragment, missing }
        })
    }

    fn ipv4(bytes: &mut [u8], header: &Header) {
        let length = (bytes.len() as u16).wrapping_sub(14).wrapping_sub(header.missing);
        bytes[14] = header.first;
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
        bytes[20..22].copy_from_slice(&header.fragment.to_be_bytes());
        bytes[23] = header.protocol;
    }

    fn ipv6(bytes: &mut [u8], header: &Header) {
        let length = (bytes.len() as u16).wrapping_sub(14 + 40).wrapping_sub(header.missing);
        bytes[14] = header.first;
        bytes[18..20].copy_from_slice(&length.to_be_bytes());
        bytes[20] = header.protocol;
    }

    fn link(ether_type: EtherType) -> Link {
        Link { own: 1, source: 2, tags: Tags::none(ether_type as u16) }
    }

    /// Whether the frame is a plain one; panics where that is not what it is in full.
    fn is_plain<A: Family + core::fmt::Debug>(bytes: &mut [u8], ether_type: EtherType) -> bool {
        let link = link(ether_type);
        let packet = Packet::from_slice(bytes);
        let Some(plain) = A::plain(&packet, &link) else {
            return false;
        };
        assert_eq!(Ok(plain), A::datagram(&packet, link.ip()));
        assert!(plain.end as u64 <= packet.len(), "all of it is there");
        true
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_plain_in_ipv4_is_read_alike_in_full(
            mut bytes in vec(any::<u8>(), 34..120), header in header(0x45, 0x46), cut: Index,
        ) {
            ipv4(&mut bytes, &header);
            is_plain::<V4>(&mut bytes, EtherType::Ipv4);
            let length = cut.index(bytes.len());
            is_plain::<V4>(&mut bytes[..length], EtherType::Ipv4);
        }

        #[test]
        fn what_is_plain_in_ipv6_is_read_alike_in_full(
            mut bytes in vec(any::<u8>(), 54..140), header in header(0x60, 0x6f), cut: Index,
        ) {
            ipv6(&mut bytes, &header);
            is_plain::<V6>(&mut bytes, EtherType::Ipv6);
            let length = cut.index(bytes.len());
            is_plain::<V6>(&mut bytes[..length], EtherType::Ipv6);
        }
    }

    #[test]
    fn whole_segments_and_datagrams_without_options_are_plain() {
        for protocol in [6, 17] {
            let header = |first| Header { first, protocol, fragment: 0x4000, missing: 0 };
            let mut bytes = vec![0; 100];
            ipv4(&mut bytes, &header(0x45));
            assert!(is_plain::<V4>(&mut bytes, EtherType::Ipv4));
            assert!(!is_plain::<V4>(&mut bytes, EtherType::Ipv6), "of the other family");
            assert!(!is_plain::<V4>(&mut bytes[..99], EtherType::Ipv4), "cut off");
            ipv6(&mut bytes, &header(0x60));
            assert!(is_plain::<V6>(&mut bytes, EtherType::Ipv6));
            assert!(!is_plain::<V6>(&mut bytes, EtherType::Ipv4), "of the other family");
            assert!(!is_plain::<V6>(&mut bytes[..99], EtherType::Ipv6), "cut off");
        }
    }

    #[test]
    fn what_is_special_is_not_plain() {
        let plain = Header { first: 0x45, protocol: 6, fragment: 0, missing: 0 };
        for special in [
            Header { first: 0x46, ..plain },
            Header { first: 0x65, ..plain },
            Header { protocol: 1, ..plain },
            Header { fragment: 0x2000, ..plain },
            Header { fragment: 1, ..plain },
            Header { missing: 100, ..plain },
        ] {
            let mut bytes = vec![0; 100];
            ipv4(&mut bytes, &special);
            assert!(!is_plain::<V4>(&mut bytes, EtherType::Ipv4), "{special:?}");
        }
        for protocol in [0, 43, 44, 58, 60] {
            let mut bytes = vec![0; 100];
            ipv6(&mut bytes, &Header { first: 0x60, protocol, ..plain });
            assert!(!is_plain::<V6>(&mut bytes, EtherType::Ipv6), "{protocol}");
        }
    }
}
