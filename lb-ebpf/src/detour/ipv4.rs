//! IPv4 (RFC 791) and its ICMP (RFC 792).

use network_types::ip::IpProto;

use super::{Ip, QUOTE, Skb, Upper};

/// IPv4.
pub struct Ipv4;

/// Where a header's checksum is.
const SUM: usize = 10;

const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Unreachable, time exceeded and parameter problem.
const ERRORS: [u8; 3] = [3, 11, 12];

impl Ip for Ipv4 {
    const SOURCE: usize = 12;
    const DESTINATION: usize = 16;
    const ICMP: u8 = IpProto::Icmp as u8;
    const IS_V6: bool = false;

    #[inline(always)]
    fn address(skb: &impl Skb, offset: usize) -> Option<[u64; 2]> {
        Some([0, u64::from(u32::from_le_bytes(skb.load(offset)?))])
    }

    #[inline(always)]
    fn upper(skb: &impl Skb, ip: usize) -> Option<Upper> {
        let [first] = skb.load(ip)?;
        let [protocol] = skb.load(ip + 9)?;
        let fragment = u16::from_be_bytes(skb.load(ip + 6)?);
        Some(Upper {
            protocol,
            offset: ip + usize::from(first & 0xf) * 4,
            is_fragment: fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0,
            is_later: fragment & FRAGMENT_OFFSET != 0,
        })
    }

    /// The header's checksum makes up for the address: the sum over all stays.
    #[inline(always)]
    fn set_address(
        skb: &mut impl Skb,
        ip: usize,
        field: usize,
        to: [u64; 2],
        difference: u32,
    ) -> Option<()> {
        skb.patch_header(ip + SUM, difference)?;
        skb.store(ip + field, &(to[1] as u32).to_le_bytes(), false)
    }

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        ERRORS.contains(&kind)
    }

    /// As the quoted header has a checksum too, that of the error stays.
    #[inline(always)]
    fn set_quoted(skb: &mut impl Skb, icmp: usize, to: [u64; 2], difference: u32) -> Option<()> {
        Self::set_address(skb, icmp + QUOTE, Self::DESTINATION, to, difference)
    }
}
