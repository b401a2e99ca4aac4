//! From bytes to what steering needs to know of them. Reads headers, decides nothing.

use lb_common::Outcome;
use network_types::{
    eth::EtherType,
    icmp::{Icmpv4Hdr, Icmpv4Type},
    ip::{IpProto, Ipv4Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

use crate::packet::{Ethernet, Packet, PortPair, mac_bits, word16, word32};

/// An IPv4 datagram on its way somewhere, or the flow that an ICMP error is about. Addresses in wire
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The client's address.
    pub source: u32,
    /// The address that may be a VIP.
    pub destination: u32,
    /// The protocol number.
    pub protocol: u8,
    /// What its transport header says.
    pub transport: Transport,
    /// What it shares with the other fragments of its datagram, in wire order.
    pub identification: u16,
    /// Whether it is the first of several fragments.
    pub is_first: bool,
}

/// What a datagram's transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP or UDP.
    Ports(Ports),
    /// A ping (ICMP echo request) in an IP header without options.
    Echo,
    /// A protocol that is not looked into.
    Opaque,
    /// A fragment but the first, which has the transport header.
    Later,
    /// The TCP or UDP header is not all there.
    Truncated,
}

/// The ports of a TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Both as they lie in memory: source in the lower, destination in the upper half.
    pub both: u32,
    /// The destination port, as a number.
    pub destination: u16,
    /// Whether it begins a TCP connection: SYN without ACK.
    pub begins: bool,
}

/// The bits of a fragment field that are set in fragments only: "more fragments", and the offset
/// (RFC 791, section 3.1).
const FRAGMENT: u16 = 0x3fff;

/// The bits of a fragment field that are set in all fragments but the first.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Unreachable, time exceeded and parameter problem (RFC 792).
const ICMP_ERRORS: [u8; 3] = [3, 11, 12];

/// Where the IP header is.
pub(crate) const IP: usize = size_of::<Ethernet>();

/// Reads a frame that is addressed to the interface with the MAC address `own`.
///
/// # Errors
///
/// The outcome that the frame has without further ado.
#[inline(always)]
pub fn datagram(packet: &Packet, own: u64) -> Result<Datagram, Outcome> {
    let ethernet: &Ethernet = packet.header(0)?;
    // A flooded frame for somebody else must not be forwarded a second time.
    if mac_bits(&ethernet.destination) != own {
        return Err(Outcome::NotForUs);
    }
    if word16(&ethernet.ether_type) != EtherType::Ipv4 as u16 {
        return Err(Outcome::NotIp);
    }
    ipv4(packet)
}

#[inline(always)]
fn ipv4(packet: &Packet) -> Result<Datagram, Outcome> {
    let ip: &Ipv4Hdr = packet.header(IP)?;
    let header = usize::from(ip.vihl & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes(ip.tot_len));
    if ip.vihl >> 4 != 4 || header < Ipv4Hdr::LEN || total < header {
        return Err(Outcome::Malformed);
    }
    if IP + total > packet.len() as usize {
        return Err(Outcome::Truncated);
    }
    let (offset, length) = (IP + header, total - header);
    let destination = word32(&ip.dst_addr);
    let fragment = u16::from_be_bytes(ip.frags) & FRAGMENT;
    if fragment == 0
        && ip.proto == IpProto::Icmp as u8
        && let Some(quoted) = quoted_flow(packet, offset, length, destination)
    {
        return Ok(quoted);
    }
    let transport = if fragment & FRAGMENT_OFFSET != 0 {
        Transport::Later
    } else if fragment == 0 && is_echo(packet, ip.proto, header, length) {
        Transport::Echo
    } else {
        transport(packet, ip.proto, offset, length)
    };
    Ok(Datagram {
        source: word32(&ip.src_addr),
        destination,
        protocol: ip.proto,
        transport,
        identification: word16(&ip.id),
        is_first: fragment != 0 && fragment & FRAGMENT_OFFSET == 0,
    })
}

#[inline(always)]
fn is_echo(packet: &Packet, protocol: u8, ip_header: usize, length: usize) -> bool {
    if protocol != IpProto::Icmp as u8 || ip_header != Ipv4Hdr::LEN || length < Icmpv4Hdr::LEN {
        return false;
    }
    let Ok(icmp) = packet.header::<Icmpv4Hdr>(IP + Ipv4Hdr::LEN) else {
        return false;
    };
    icmp.type_ == Icmpv4Type::Echo as u8 && icmp.code == 0
}

/// The flow that an ICMP error is about, as the client's packets have it: the error quotes a packet
/// that a real has sent from the VIP `sender`, and belongs to whoever owns that flow. It is how a
/// real learns of a smaller path MTU (RFC 1191).
#[inline(always)]
fn quoted_flow(packet: &Packet, offset: usize, length: usize, sender: u32) -> Option<Datagram> {
    let icmp: &Icmpv4Hdr = packet.header(offset).ok()?;
    if !ICMP_ERRORS.contains(&icmp.type_) {
        return None;
    }
    let quote = offset + Icmpv4Hdr::LEN;
    let ip: &Ipv4Hdr = packet.header(quote).ok()?;
    let header = usize::from(ip.vihl & 0xf) * 4;
    let has_ports = ip.proto == IpProto::Tcp as u8 || ip.proto == IpProto::Udp as u8;
    let is_first = u16::from_be_bytes(ip.frags) & FRAGMENT_OFFSET == 0;
    let needed = Icmpv4Hdr::LEN + header + size_of::<PortPair>();
    if ip.vihl >> 4 != 4 || header < Ipv4Hdr::LEN || length < needed || !has_ports || !is_first {
        return None;
    }
    // An error about a packet of somebody else says nothing about the VIP's flows.
    if word32(&ip.src_addr) != sender {
        return None;
    }
    let pair: &PortPair = packet.header(quote + header).ok()?;
    Some(Datagram {
        source: word32(&ip.dst_addr),
        destination: sender,
        protocol: ip.proto,
        transport: Transport::Ports(ports(&pair.destination, &pair.source, false)),
        identification: 0,
        is_first: false,
    })
}

/// Reads the transport header at `offset`, of which the IP header says that `length` bytes are
/// there: what follows in the frame is padding.
#[inline(always)]
fn transport(packet: &Packet, protocol: u8, offset: usize, length: usize) -> Transport {
    let ports = if protocol == IpProto::Tcp as u8 {
        tcp(packet, offset, length)
    } else if protocol == IpProto::Udp as u8 {
        udp(packet, offset, length)
    } else {
        return Transport::Opaque;
    };
    match ports {
        Ok(ports) => Transport::Ports(ports),
        Err(_) => Transport::Truncated,
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

#[inline(always)]
fn ports(source: &[u8; 2], destination: &[u8; 2], begins: bool) -> Ports {
    let (source, destination) = (word16(source), word16(destination));
    Ports {
        both: u32::from(source) | u32::from(destination) << 16,
        destination: u16::from_be(destination),
        begins,
    }
}
