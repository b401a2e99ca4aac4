//! Ethernet and VLAN tags.

use lb_common::Outcome;
use network_types::eth::EtherType;

use crate::{
    packet::{Ethernet, Packet, Tag, mac_bits, word16},
    tables::Tables,
};

/// What comes before the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The MAC address of the interface that the frame came in by.
    pub own: u64,
    /// The MAC address that the frame comes from.
    pub source: u64,
    /// What follows, an `EtherType` in wire order.
    pub ether_type: u16,
    /// How many tags there are: none, one or two.
    pub tags: usize,
    /// The control field of the outer or only tag, as a number; 0 without.
    pub outer: u16,
    /// The control field of the inner or only tag, as a number; 0 without.
    pub inner: u16,
}

impl Link {
    /// Where the IP header is in a frame without tags.
    pub const UNTAGGED: usize = size_of::<Ethernet>();

    /// Where the IP header is. (The mask tells the verifier what it has forgotten.)
    #[inline(always)]
    #[must_use]
    pub const fn ip(&self) -> usize {
        Self::behind(self.tags & 3)
    }

    /// Where the IP header is behind so many tags.
    #[inline(always)]
    #[must_use]
    pub const fn behind(tags: usize) -> usize {
        Self::UNTAGGED + tags * size_of::<Tag>()
    }
}

/// The tag of a customer (IEEE 802.1Q, 9.5), in wire order.
pub(crate) const CUSTOMER_TAG: u16 = u16::to_be(0x8100);

/// The tag of a provider (IEEE 802.1ad), in wire order.
pub(crate) const SERVICE_TAG: u16 = u16::to_be(0x88a8);

/// Reads the Ethernet header of a frame that is addressed to the interface it came in by.
///
/// # Errors
///
/// The outcome that the frame has without further ado.
#[inline(always)]
pub fn read(packet: &Packet, tables: &impl Tables) -> Result<Link, Outcome> {
    let own = tables.port(tables.port_number()).mac_bits();
    let ethernet: &Ethernet = packet.header(0)?;
    // A flooded frame for somebody else must not be forwarded a second time.
    if mac_bits(&ethernet.destination) != own {
        return Err(Outcome::NotForUs);
    }
    let source = mac_bits(&ethernet.source);
    let ether_type = word16(&ethernet.ether_type);
    Ok(Link { own, source, ether_type, tags: 0, outer: 0, inner: 0 })
}

/// Reads up to two tags behind the Ethernet header. A third one is what follows, and no IP.
///
/// # Errors
///
/// [`Outcome::Truncated`] where the frame ends within a tag.
#[inline(always)]
pub fn read_tags(packet: &Packet, link: &Link) -> Result<Link, Outcome> {
    if !is_tag(link.ether_type) {
        return Ok(*link);
    }
    let (first, ether_type) = tag(packet, Link::behind(0))?;
    if !is_tag(ether_type) {
        return Ok(Link { ether_type, tags: 1, outer: first, inner: first, ..*link });
    }
    let (second, ether_type) = tag(packet, Link::behind(1))?;
    Ok(Link { ether_type, tags: 2, outer: first, inner: second, ..*link })
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    ether_type == CUSTOMER_TAG || ether_type == SERVICE_TAG
}

/// The control field of the tag at `offset`, and the type of what follows it.
#[inline(always)]
fn tag(packet: &Packet, offset: usize) -> Result<(u16, u16), Outcome> {
    let tag: &Tag = packet.header(offset)?;
    Ok((u16::from_be_bytes(tag.control), word16(&tag.next)))
}

/// Whether the frame carries IPv4.
#[inline(always)]
#[must_use]
pub const fn is_ipv4(link: &Link) -> bool {
    link.ether_type == EtherType::Ipv4 as u16
}

/// Whether the frame carries IPv6.
#[inline(always)]
#[must_use]
pub const fn is_ipv6(link: &Link) -> bool {
    link.ether_type == EtherType::Ipv6 as u16
}
