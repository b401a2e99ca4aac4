//! IPv6 (RFC 8200), the ICMP that belongs to it (RFC 4443) and neighbour discovery (RFC 4861).

use lb_common::{Outcome, V6, limits};
use network_types::{
    icmp::{Icmpv6Hdr, Icmpv6Type},
    ip::{IpProto, Ipv6Hdr},
};

use super::{
    Datagram, Family, Ports, Transport,
    link::{self, Link},
    quoted_transport, transport,
};
use crate::packet::{Extension, Packet, word32, words64};

/// The bits of a fragment header's offset field that are the offset.
const FRAGMENT_OFFSET: u16 = !7;

/// The bit that says that more fragments follow.
const MORE_FRAGMENTS: u16 = 1;

/// Unreachable, too big, time exceeded and parameter problem (RFC 4443, section 2.1).
const ICMP_ERRORS: core::ops::RangeInclusive<u8> = 1..=4;

/// Router and neighbour solicitation and advertisement, and redirect (RFC 4861, section 4).
const DISCOVERY: core::ops::RangeInclusive<u8> = 133..=137;

/// What the extension headers lead to.
struct Upper {
    /// The protocol number.
    protocol: u8,
    /// Where its header is.
    offset: usize,
    /// The identification if the datagram is a fragment, in wire order.
    identification: u32,
    /// The offset and "more fragments", as a number; 0 unless it is a fragment.
    fragment: u16,
}

impl Family for V6 {
    #[inline(always)]
    fn plain(packet: &Packet, link: &Link) -> Option<Datagram<Self>> {
        if !link::is_ipv6(link) {
            return None;
        }
        let ip: &Ipv6Hdr = packet.header(Link::UNTAGGED).ok()?;
        if ip.vcf[0] >> 4 != 6 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes(ip.payload_len));
        let (source, destination) = (V6(words64(&ip.src_addr)), V6(words64(&ip.dst_addr)));
        super::plain(packet, source, destination, ip.next_hdr, Ipv6Hdr::LEN, length)
    }

    #[inline(always)]
    fn datagram(packet: &Packet, at: usize) -> Result<Datagram<Self>, Outcome> {
        let ip: &Ipv6Hdr = packet.header(at)?;
        if ip.vcf[0] >> 4 != 6 {
            return Err(Outcome::Malformed);
        }
        let end = at + Ipv6Hdr::LEN + usize::from(u16::from_be_bytes(ip.payload_len));
        let destination = V6(words64(&ip.dst_addr));
        let datagram = Datagram {
            source: V6(words64(&ip.src_addr)),
            destination,
            protocol: ip.next_hdr,
            transport: Transport::Opaque,
            ports: Ports::default(),
            identification: 0,
            is_first: false,
            is_quoted: false,
            end,
        };
        let upper = match upper(packet, ip.next_hdr, at + Ipv6Hdr::LEN, end) {
            Ok(upper) => upper,
            // Whether it matters depends on whom it is for.
            Err(transport) => return Ok(Datagram { transport, ..datagram }),
        };
        let length = end.wrapping_sub(upper.offset);
        let datagram = Datagram {
            protocol: upper.protocol,
            identification: upper.identification,
            is_first: upper.fragment & FRAGMENT_OFFSET == 0 && upper.fragment != 0,
            ..datagram
        };
        if upper.fragment & FRAGMENT_OFFSET != 0 {
            return Ok(Datagram { transport: Transport::Later, ..datagram });
        }
        if upper.protocol == IpProto::Ipv6Icmp as u8 && upper.fragment == 0 {
            return Ok(icmp(packet, &upper, at, length, datagram));
        }
        let (transport, ports) = transport(packet, upper.protocol, upper.offset, length);
        Ok(Datagram { transport, ports, ..datagram })
    }
}

/// Goes through the extension headers, of which it does not read the content.
#[inline(always)]
fn upper(packet: &Packet, first: u8, offset: usize, end: usize) -> Result<Upper, Transport> {
    let mut upper = Upper { protocol: first, offset, identification: 0, fragment: 0 };
    for _ in 0..limits::EXTENSIONS {
        if !is_extension(upper.protocol) {
            break;
        }
        let Ok(extension) = packet.header::<Extension>(upper.offset) else {
            return Err(Transport::Truncated);
        };
        if upper.protocol == IpProto::Ipv6Frag as u8 {
            let fragment = u16::from_be_bytes(extension.offset);
            upper.fragment = fragment & (FRAGMENT_OFFSET | MORE_FRAGMENTS);
            upper.identification = word32(&extension.identification);
            upper.offset += size_of::<Extension>();
        } else {
            upper.offset += (usize::from(extension.length) + 1) * 8;
        }
        upper.protocol = extension.next;
        if upper.offset > end {
            return Err(Transport::Truncated);
        }
        if upper.fragment & FRAGMENT_OFFSET != 0 {
            // What follows is the middle of something.
            break;
        }
    }
    let is_later = upper.fragment & FRAGMENT_OFFSET != 0;
    if is_extension(upper.protocol) && !is_later { Err(Transport::Beyond) } else { Ok(upper) }
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    protocol == IpProto::HopOpt as u8
        || protocol == IpProto::Ipv6Route as u8
        || protocol == IpProto::Ipv6Frag as u8
        || protocol == IpProto::Ipv6Opts as u8
}

#[inline(always)]
fn icmp(
    packet: &Packet,
    upper: &Upper,
    at: usize,
    length: usize,
    datagram: Datagram<V6>,
) -> Datagram<V6> {
    let Ok(icmp) = packet.header::<Icmpv6Hdr>(upper.offset) else {
        return datagram;
    };
    if length < Icmpv6Hdr::LEN {
        return datagram;
    }
    if ICMP_ERRORS.contains(&icmp.type_) {
        let quote = upper.offset + Icmpv6Hdr::LEN;
        return quoted_flow(packet, quote, length - Icmpv6Hdr::LEN, &datagram).unwrap_or(datagram);
    }
    let transport = if DISCOVERY.contains(&icmp.type_) {
        Transport::Discovery
    } else if icmp.type_ == Icmpv6Type::EchoRequest as u8
        && icmp.code == 0
        && upper.offset == at + Ipv6Hdr::LEN
    {
        Transport::Echo
    } else {
        Transport::Opaque
    };
    Datagram { transport, ..datagram }
}

/// The flow that an ICMP error is about, as with IPv4; here it is "packet too big" that tells a real
/// of a smaller path MTU (RFC 8201). A quote with other extension headers than that of a first
/// fragment is not understood.
#[inline(always)]
fn quoted_flow(
    packet: &Packet,
    quote: usize,
    length: usize,
    error: &Datagram<V6>,
) -> Option<Datagram<V6>> {
    let ip: &Ipv6Hdr = packet.header(quote).ok()?;
    let sender = V6(words64(&ip.src_addr));
    if ip.vcf[0] >> 4 != 6 || sender != error.destination {
        return None;
    }
    let (mut protocol, mut header) = (ip.next_hdr, Ipv6Hdr::LEN);
    if protocol == IpProto::Ipv6Frag as u8 {
        let fragment: &Extension = packet.header(quote + Ipv6Hdr::LEN).ok()?;
        if u16::from_be_bytes(fragment.offset) & FRAGMENT_OFFSET != 0 {
            return None;
        }
        protocol = fragment.next;
        header += size_of::<Extension>();
    }
    if length < header || is_extension(protocol) {
        return None;
    }
    let offset = quote + header;
    let (transport, ports) = quoted_transport(packet, protocol, offset, length - header)?;
    let source = V6(words64(&ip.dst_addr));
    Some(Datagram { source, protocol, transport, ports, is_quoted: true, ..*error })
}
