//! Packets of this machine's own sockets to addresses that stand for a VIP at one machine, and what that
//! machine answers.
//!
//! On its way out a packet gets the VIP as its destination and the machine's MAC address; on its way in,
//! before the IP stack sees it, the address that stands for it as its source. That is found by the VIP and
//! the MAC address that the packet comes from: nothing is remembered of flows, so whatever is sent over IP
//! gets through, fragments too, and what another machine answers does not.

mod ipv4;
mod ipv6;
mod sum;
#[cfg(test)]
mod tests;

use lb_common::detour::{Destination, Prefix, Proxy, ProxyKey};
use network_types::ip::IpProto;

pub use self::{ipv4::Ipv4, ipv6::Ipv6, sum::difference};

/// A packet as the kernel's queues have it, from its Ethernet header on. All of it may be read and written,
/// in however many buffers it is.
pub trait Skb {
    /// The index of the interface where it is.
    fn interface(&self) -> u32;

    /// So many bytes of it; `None` if it is shorter.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Replaces bytes of it. `counts` says whether they change the sum over all of it, which a network card
    /// may have found: they do, unless another change makes up for them.
    fn store<const N: usize>(&mut self, offset: usize, bytes: &[u8; N], counts: bool)
    -> Option<()>;

    /// Adapts the checksum of an IPv4 header.
    fn patch_header(&mut self, offset: usize, difference: u32) -> Option<()>;

    /// Adapts the checksum of what an IP packet carries.
    fn patch(&mut self, offset: usize, difference: u32, covers: Covers) -> Option<()>;
}

/// What has changed of all that a checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// An address in the header before, which a card that adds up the rest leaves to us.
    Address,
    /// The same for UDP, where 0 stands for no checksum (RFC 768).
    AddressUnlessZero,
    /// What is carried itself.
    Content,
}

/// What the daemon has written.
pub trait Tables {
    /// The addresses of this family that stand for something, or may one day.
    fn prefix<I: Ip>(&self) -> Prefix;

    /// For what an address stands.
    fn destination(&self, address: &ProxyKey) -> Option<&Destination>;

    /// What stands for a VIP at a machine.
    fn proxy(&self, destination: &Destination) -> Option<&Proxy>;
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on its way.
    Next,
    /// It must not leave.
    Drop,
}

/// An address family's header.
pub trait Ip {
    /// Where the source address is.
    const SOURCE: usize;
    /// Where the destination address is.
    const DESTINATION: usize;
    /// The protocol number of its ICMP.
    const ICMP: u8;
    /// Whether it is the one with the longer addresses.
    const IS_V6: bool;

    /// An address, as [`lb_common::Address::words`].
    fn address(skb: &impl Skb, offset: usize) -> Option<[u64; 2]>;

    /// What the header at `ip` is followed by.
    fn upper(skb: &impl Skb, ip: usize) -> Option<Upper>;

    /// Replaces an address in the header at `ip`, and the header's own checksum. What the packet carries
    /// has been adapted.
    fn set_address(
        skb: &mut impl Skb,
        ip: usize,
        field: usize,
        to: [u64; 2],
        difference: u32,
    ) -> Option<()>;

    /// Whether an ICMP message is an error about a packet that it quotes. Not one that tells of another
    /// way: it is about the VIP, not about the way that was taken.
    fn is_error(kind: u8) -> bool;

    /// Replaces the destination of the packet that the ICMP error at `icmp` quotes.
    fn set_quoted(skb: &mut impl Skb, icmp: usize, to: [u64; 2], difference: u32) -> Option<()>;
}

/// What follows an IP header and its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The protocol number.
    pub protocol: u8,
    /// Where its header is.
    pub offset: usize,
    /// Whether the packet is a fragment.
    pub is_fragment: bool,
    /// Whether it is a fragment but the first, so that there is no such header.
    pub is_later: bool,
}

/// Behind type, code, checksum and four more bytes an ICMP error quotes what it is about.
pub(crate) const QUOTE: usize = 8;

/// A MAC address in an Ethernet header, from which the packet comes.
const SOURCE_MAC: usize = 6;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// A packet that leaves.
#[inline(always)]
pub fn leave(skb: &mut impl Skb, tables: &impl Tables) -> Verdict {
    match network(skb) {
        Some((IPV4, ip)) => leave_as::<Ipv4>(skb, tables, ip),
        Some((IPV6, ip)) => leave_as::<Ipv6>(skb, tables, ip),
        _ => Verdict::Next,
    }
}

/// A packet that has arrived. All of them go on: one that cannot be understood is nobody's answer.
#[inline(always)]
pub fn arrive(skb: &mut impl Skb, tables: &impl Tables) -> Verdict {
    let _ = match network(skb) {
        Some((IPV4, ip)) => arrive_as::<Ipv4>(skb, tables, ip),
        Some((IPV6, ip)) => arrive_as::<Ipv6>(skb, tables, ip),
        _ => None,
    };
    Verdict::Next
}

/// The `EtherType` and where the header of that kind is. Tags are mostly not in the packet but beside it,
/// or have been taken away by the interface for the VLAN.
#[inline(always)]
fn network(skb: &impl Skb) -> Option<(u16, usize)> {
    let mut at = 12;
    let mut kind = u16::from_be_bytes(skb.load(at)?);
    for _ in 0..2 {
        if TAGS.contains(&kind) {
            at += 4;
            kind = u16::from_be_bytes(skb.load(at)?);
        }
    }
    Some((kind, at + 2))
}

#[inline(always)]
fn leave_as<I: Ip>(skb: &mut impl Skb, tables: &impl Tables, ip: usize) -> Verdict {
    let Some(address) = I::address(skb, ip + I::DESTINATION) else {
        return Verdict::Next;
    };
    if !tables.prefix::<I>().contains(address) {
        return Verdict::Next;
    }
    match send::<I>(skb, tables, ip, address) {
        Some(()) => Verdict::Next,
        // Nobody has such an address: least of all whoever this would get to.
        None => Verdict::Drop,
    }
}

#[inline(always)]
fn send<I: Ip>(
    skb: &mut impl Skb,
    tables: &impl Tables,
    ip: usize,
    address: [u64; 2],
) -> Option<()> {
    let destination = tables.destination(&ProxyKey(address))?;
    if destination.interface != u64::from(skb.interface()) {
        return None;
    }
    readdress::<I>(skb, ip, I::DESTINATION, address, destination.vip)?;
    let [a, b, c, d, e, f, _, _] = destination.mac.to_le_bytes();
    skb.store(0, &[a, b, c, d], false)?;
    skb.store(4, &[e, f], false)
}

#[inline(always)]
fn arrive_as<I: Ip>(skb: &mut impl Skb, tables: &impl Tables, ip: usize) -> Option<()> {
    let own = I::address(skb, ip + I::DESTINATION)?;
    let source = I::address(skb, ip + I::SOURCE)?;
    let mac = source_mac(skb)?;
    let interface = u64::from(skb.interface());
    if let Some(proxy) = tables.proxy(&Destination { vip: source, mac, interface })
        && proxy.own == own
    {
        readdress::<I>(skb, ip, I::SOURCE, source, proxy.address)?;
    }
    let icmp = error::<I>(skb, ip)?;
    let quote = icmp + QUOTE;
    if I::address(skb, quote + I::SOURCE)? != own {
        return None;
    }
    let vip = I::address(skb, quote + I::DESTINATION)?;
    let proxy = tables.proxy(&Destination { vip, mac, interface })?;
    if proxy.own != own {
        return None;
    }
    I::set_quoted(skb, icmp, proxy.address, difference(vip, proxy.address))
}

/// As [`lb_common::layout::mac_bits`]. In integers, as all that is loaded and stored: for other sizes LLVM
/// would call functions.
#[inline(always)]
fn source_mac(skb: &impl Skb) -> Option<u64> {
    let low = u32::from_le_bytes(skb.load(SOURCE_MAC)?);
    let high = u16::from_le_bytes(skb.load(SOURCE_MAC + 4)?);
    Some(u64::from(low) | u64::from(high) << 32)
}

/// Where the ICMP error is, if the packet is one.
#[inline(always)]
fn error<I: Ip>(skb: &impl Skb, ip: usize) -> Option<usize> {
    let upper = I::upper(skb, ip)?;
    if upper.protocol != I::ICMP || upper.is_fragment {
        return None;
    }
    let [kind] = skb.load(upper.offset)?;
    I::is_error(kind).then_some(upper.offset)
}

/// Replaces an address, and adapts all checksums that cover it: first that of what is carried, which may not
/// be all there. Then nothing has changed.
#[inline(always)]
fn readdress<I: Ip>(
    skb: &mut impl Skb,
    ip: usize,
    field: usize,
    from: [u64; 2],
    to: [u64; 2],
) -> Option<()> {
    let upper = I::upper(skb, ip)?;
    let difference = difference(from, to);
    if !upper.is_later {
        if upper.protocol == IpProto::Tcp as u8 {
            skb.patch(upper.offset + 16, difference, Covers::Address)?;
        } else if upper.protocol == IpProto::Udp as u8 {
            skb.patch(upper.offset + 6, difference, Covers::AddressUnlessZero)?;
        } else if upper.protocol == I::ICMP && I::IS_V6 {
            // Unlike that of IPv4 it covers the addresses (RFC 4443, section 2.3).
            skb.patch(upper.offset + 2, difference, Covers::Address)?;
        }
    }
    I::set_address(skb, ip, field, to, difference)
}
