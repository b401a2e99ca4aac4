//! IPv4 (RFC 791) and the ICMP that belongs to it (RFC 792).

use lb_common::{Outcome, V4};
use network_types::{
    icmp::{Icmpv4Hdr, Icmpv4Type},
    ip::{IpProto, Ipv4Hdr},
};

use super::{
    Datagram, Family, Ports, Transport,
    link::{self, Link},
    quoted_transport, transport,
};
use crate::packet::{Packet, word16, word32};

/// The bits of a fragment field that are set in fragments only: "more fragments", and the offset
/// (RFC 791, section 3.1).
const FRAGMENT: u16 = 0x3fff;

/// The bits of a fragment field that are set in all fragments but the first.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Unreachable, time exceeded and parameter problem (RFC 792).
const ICMP_ERRORS: [u8; 3] = [3, 11, 12];

/// Version 4 and a header of five words: no options.
const PLAIN: u8 = 0x45;

impl Family for V4 {
    #[inline(always)]
    fn plain(packet: &Packet, link: &Link) -> Option<Datagram<Self>> {
        if !link::is_ipv4(link) {
            return None;
        }
        let ip: &Ipv4Hdr = packet.header(Link::UNTAGGED).ok()?;
        if ip.vihl != PLAIN || word16(&ip.frags) & FRAGMENT.to_be() != 0 {
            return None;
        }
        let length = usize::from(u16::from_be(word16(&ip.tot_len))).checked_sub(Ipv4Hdr::LEN)?;
        let (source, destination) = (V4(word32(&ip.src_addr)), V4(word32(&ip.dst_addr)));
        super::plain(packet, source, destination, ip.proto, Ipv4Hdr::LEN, length)
    }

    #[inline(always)]
    fn datagram(packet: &Packet, at: usize) -> Result<Datagram<Self>, Outcome> {
        let ip: &Ipv4Hdr = packet.header(at)?;
        let header = usize::from(ip.vihl & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes(ip.tot_len));
        if ip.vihl >> 4 != 4 || header < Ipv4Hdr::LEN {
            return Err(Outcome::Malformed);
        }
        let (offset, length) = (at + header, total.saturating_sub(header));
        let destination = V4(word32(&ip.dst_addr));
        let fragment = u16::from_be_bytes(ip.frags) & FRAGMENT;
        let end = at + total;
        if fragment == 0
            && ip.proto == IpProto::Icmp as u8
            && let Some(quoted) = quoted_flow(packet, offset, length, destination, end)
        {
            return Ok(quoted);
        }
        let (transport, ports) = if total < header {
            (Transport::Malformed, Ports::default())
        } else if fragment & FRAGMENT_OFFSET != 0 {
            (Transport::Later, Ports::default())
        } else if fragment == 0 && is_echo(packet, ip.proto, at, header, length) {
            (Transport::Echo, Ports::default())
        } else {
            transport(packet, ip.proto, offset, length)
        };
        Ok(Datagram {
            source: V4(word32(&ip.src_addr)),
            destination,
            protocol: ip.proto,
            transport,
            ports,
            identification: if fragment == 0 { 0 } else { u32::from(word16(&ip.id)) },
            is_first: fragment != 0 && fragment & FRAGMENT_OFFSET == 0,
            is_quoted: false,
            end,
        })
    }
}

#[inline(always)]
fn is_echo(packet: &Packet, protocol: u8, at: usize, header: usize, length: usize) -> bool {
    if protocol != IpProto::Icmp as u8 || header != Ipv4Hdr::LEN || length < Icmpv4Hdr::LEN {
        return false;
    }
    let Ok(icmp) = packet.header::<Icmpv4Hdr>(at + Ipv4Hdr::LEN) else {
        return false;
    };
    icmp.type_ == Icmpv4Type::Echo as u8 && icmp.code == 0
}

/// The flow that an ICMP error is about, as the client's packets have it: the error quotes a packet
/// that a real has sent from the VIP `sender`, and belongs to whoever owns that flow. It is how a
/// real learns of a smaller path MTU (RFC 1191).
#[inline(always)]
fn quoted_flow(
    packet: &Packet,
    offset: usize,
    length: usize,
    sender: V4,
    end: usize,
) -> Option<Datagram<V4>> {
    let icmp: &Icmpv4Hdr = packet.header(offset).ok()?;
    if !ICMP_ERRORS.contains(&icmp.type_) {
        return None;
    }
    let quote = offset + Icmpv4Hdr::LEN;
    let ip: &Ipv4Hdr = packet.header(quote).ok()?;
    let header = usize::from(ip.vihl & 0xf) * 4;
    let is_first = u16::from_be_bytes(ip.frags) & FRAGMENT_OFFSET == 0;
    let before = Icmpv4Hdr::LEN + header;
    if ip.vihl >> 4 != 4 || header < Ipv4Hdr::LEN || length < before || !is_first {
        return None;
    }
    // An error about a packet of somebody else says nothing about the VIP's flows.
    if V4(word32(&ip.src_addr)) != sender {
        return None;
    }
    let offset = quote + header;
    let (transport, ports) = quoted_transport(packet, ip.proto, offset, length - before)?;
    Some(Datagram {
        source: V4(word32(&ip.dst_addr)),
        destination: sender,
        protocol: ip.proto,
        transport,
        ports,
        identification: 0,
        is_first: false,
        is_quoted: true,
        end,
    })
}
