//! IPv6 (RFC 8200) and its ICMP (RFC 4443).

use lb_common::limits;
use network_types::ip::IpProto;

use super::{Covers, Ip, QUOTE, Skb, Upper};

/// IPv6.
pub struct Ipv6;

/// The size of its header.
const HEADER: usize = 40;

const FRAGMENT_OFFSET: u16 = !7;

impl Ip for Ipv6 {
    const SOURCE: usize = 8;
    const DESTINATION: usize = 24;
    const ICMP: u8 = IpProto::Ipv6Icmp as u8;
    const IS_V6: bool = true;

    #[inline(always)]
    fn address(skb: &impl Skb, offset: usize) -> Option<[u64; 2]> {
        let first = u64::from_le_bytes(skb.load(offset)?);
        let second = u64::from_le_bytes(skb.load(offset + 8)?);
        Some([first, second])
    }

    #[inline(always)]
    fn upper(skb: &impl Skb, ip: usize) -> Option<Upper> {
        let [protocol] = skb.load(ip + 6)?;
        let mut upper =
            Upper { protocol, offset: ip + HEADER, is_fragment: false, is_later: false };
        for _ in 0..limits::EXTENSIONS {
            if !is_extension(upper.protocol) || upper.is_later {
                break;
            }
            let [next, length, offset @ ..] = skb.load::<4>(upper.offset)?;
            if upper.protocol == IpProto::Ipv6Frag as u8 {
                upper.is_fragment = true;
                upper.is_later = u16::from_be_bytes(offset) & FRAGMENT_OFFSET != 0;
                upper.offset += 8;
            } else {
                upper.offset += (usize::from(length) + 1) * 8;
            }
            upper.protocol = next;
        }
        Some(upper)
    }

    /// The header has no checksum of its own: the sum over all changes, and where the packet carries a
    /// checksum that covers the addresses it has changed back by that.
    #[inline(always)]
    fn set_address(
        skb: &mut impl Skb,
        ip: usize,
        field: usize,
        to: [u64; 2],
        _: u32,
    ) -> Option<()> {
        store(skb, ip + field, to, true)
    }

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    /// The error's checksum makes up for it: the sum over all stays.
    #[inline(always)]
    fn set_quoted(skb: &mut impl Skb, icmp: usize, to: [u64; 2], difference: u32) -> Option<()> {
        skb.patch(icmp + 2, difference, Covers::Content)?;
        store(skb, icmp + QUOTE + Self::DESTINATION, to, false)
    }
}

#[inline(always)]
fn store(skb: &mut impl Skb, offset: usize, to: [u64; 2], counts: bool) -> Option<()> {
    skb.store(offset, &to[0].to_le_bytes(), counts)?;
    skb.store(offset + 8, &to[1].to_le_bytes(), counts)
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    protocol == IpProto::HopOpt as u8
        || protocol == IpProto::Ipv6Route as u8
        || protocol == IpProto::Ipv6Frag as u8
        || protocol == IpProto::Ipv6Opts as u8
}
