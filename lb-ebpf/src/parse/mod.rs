//! From bytes to what steering needs to know of them. Reads headers, decides nothing.

mod ipv4;
mod ipv6;
pub mod link;

use lb_common::{Address, Outcome};
use network_types::{ip::IpProto, tcp::TcpHdr, udp::UdpHdr};

use self::link::Link;
use crate::packet::{Packet, PortPair, word16};

/// A datagram on its way somewhere, or the flow that an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Where it ends by its own account, as an offset in the frame.
    pub end: usize,
}

/// What kind of transport header a datagram has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// That of TCP or UDP.
    Ports,
    /// A ping (ICMP echo request) right behind an IP header without options.
    Echo,
    /// A message by which neighbours are found (RFC 4861).
    Discovery,
    /// A protocol that is not looked into.
    Opaque,
    /// A fragment but the first, which has the transport header.
    Later,
    /// The TCP or UDP header is not all there.
    Truncated,
    /// There are more extension headers than are looked through.
    Beyond,
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
    let (transport @ Transport::Ports, ports) = transport(packet, protocol, offset, length) else {
        return None;
    };
    let (identification, is_first) = (0, false);
    Some(Datagram {
        source,
        destination,
        protocol,
        transport,
        ports,
        identification,
        is_first,
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
    Ok(ports(&header.source, &header.dest, begins))
}

#[inline(always)]
fn udp(packet: &Packet, offset: usize, length: usize) -> Result<Ports, Outcome> {
    if length < UdpHdr::LEN {
        return Err(Outcome::Truncated);
    }
    let header: &UdpHdr = packet.header(offset)?;
    Ok(ports(&header.src, &header.dst, false))
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
    Some((Transport::Ports, ports(&pair.destination, &pair.source, false)))
}

#[inline(always)]
fn ports(source: &[u8; 2], destination: &[u8; 2], begins: bool) -> Ports {
    let (source, destination) = (word16(source), word16(destination));
    Ports {
        both: u32::from(source) | u32::from(destination) << 16,
        destination: u16::from_be(destination),
        begins,
    }
}
