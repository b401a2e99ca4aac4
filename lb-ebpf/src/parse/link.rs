//! Ethernet and VLAN tags.

use lb_common::{Entrance, Outcome};
use network_types::eth::EtherType;

use crate::packet::{Ethernet, Packet, Tag, mac_bits, word16};

/// What comes before the IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The MAC address of the interface that the frame came in by.
    pub own: u64,
    /// The MAC address that the frame comes from.
    pub source: u64,
    /// The VLAN tags, and what follows them.
    pub tags: Tags,
}

/// The VLAN tags that a frame came with, in one word, which a function can be given in a register: the
/// `EtherType` of what follows (bits 0 to 15, in wire order), the control fields of the outer and of
/// the inner tag (bits 16 to 31 and 32 to 47; of a single one both; 0 without), and how many there are.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags(u64);

impl Tags {
    /// None.
    #[inline(always)]
    #[must_use]
    pub const fn none(ether_type: u16) -> Self {
        Self(ether_type as u64)
    }

    /// This one.
    #[inline(always)]
    #[must_use]
    pub const fn one(control: u16, ether_type: u16) -> Self {
        Self(ether_type as u64 | (control as u64) << 16 | (control as u64) << 32 | 1 << 48)
    }

    /// These two.
    #[inline(always)]
    #[must_use]
    pub const fn two(outer: u16, inner: u16, ether_type: u16) -> Self {
        Self(ether_type as u64 | (outer as u64) << 16 | (inner as u64) << 32 | 2 << 48)
    }

    /// How many: none, one or two. (The mask tells the verifier what it has forgotten.)
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> usize {
        (self.0 >> 48) as usize & 3
    }

    /// What follows, an `EtherType` in wire order.
    #[inline(always)]
    #[must_use]
    pub const fn ether_type(self) -> u16 {
        self.0 as u16
    }

    /// The control field of the outer or only tag, as a number; 0 without.
    #[inline(always)]
    #[must_use]
    pub const fn outer(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The control field of the inner or only tag, as a number; 0 without.
    #[inline(always)]
    #[must_use]
    pub const fn inner(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

impl Link {
    /// Where the IP header is in a frame without tags.
    pub const UNTAGGED: usize = size_of::<Ethernet>();

    /// Where the IP header is.
    #[inline(always)]
    #[must_use]
    pub const fn ip(&self) -> usize {
        Self::behind(self.tags.count())
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
pub fn read(packet: &Packet, entrance: &Entrance) -> Result<Link, Outcome> {
    let own = entrance.own.mac_bits();
    let ethernet: &Ethernet = packet.header(0)?;
    // A flooded frame for somebody else must not be forwarded a second time.
    if mac_bits(&ethernet.destination) != own {
        return Err(Outcome::NotForUs);
    }
    let source = mac_bits(&ethernet.source);
    Ok(Link { own, source, tags: Tags::none(word16(&ethernet.ether_type)) })
}

/// Reads up to two tags behind the Ethernet header. A third one is what follows, and no IP.
///
/// # Errors
///
/// [`Outcome::Truncated`] where the frame ends within a tag.
#[inline(always)]
pub fn read_tags(packet: &Packet, link: &Link) -> Result<Link, Outcome> {
    if !is_tag(link.tags.ether_type()) {
        return Ok(*link);
    }
    let (first, ether_type) = tag(packet, Link::behind(0))?;
    if !is_tag(ether_type) {
        return Ok(Link { tags: Tags::one(first, ether_type), ..*link });
    }
    let (second, ether_type) = tag(packet, Link::behind(1))?;
    Ok(Link { tags: Tags::two(first, second, ether_type), ..*link })
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
    link.tags.ether_type() == EtherType::Ipv4 as u16
}

/// Whether the frame carries IPv6.
#[inline(always)]
#[must_use]
pub const fn is_ipv6(link: &Link) -> bool {
    link.tags.ether_type() == EtherType::Ipv6 as u16
}
