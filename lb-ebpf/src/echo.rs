//! Answers a ping of a VIP, at a bounded rate: the request goes back as its own answer.

use lb_common::{Outcome, V4, V6};
use network_types::{
    icmp::{Icmpv4Hdr, Icmpv4Type, Icmpv6Hdr, Icmpv6Type},
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use crate::{
    packet::{Ethernet, Frame, Packet, exchange},
    parse::link::Link,
    tables::Tables,
};

/// The TTL or hop limit of an answer: what is left of the request's may not do for the way back.
const TTL: u8 = 64;

/// An address family whose pings can be answered.
pub trait Ping {
    /// Turns the packet whose IP header, without options, is at `ip` into its answer.
    ///
    /// # Errors
    ///
    /// [`Outcome::Truncated`] where a header is missing; the packet is as it was then.
    fn turn(packet: &mut Packet, ip: usize) -> Result<(), Outcome>;
}

/// Turns the request into its answer.
#[inline(always)]
pub fn answer<A: Ping>(frame: &mut impl Frame, tables: &impl Tables, link: &Link) -> Outcome {
    if !tables.may_echo() {
        return Outcome::EchoLimited;
    }
    match turn::<A>(&mut frame.packet(), link.ip()) {
        Ok(()) => Outcome::EchoAnswered,
        Err(outcome) => outcome,
    }
}

#[inline(always)]
fn turn<A: Ping>(packet: &mut Packet, ip: usize) -> Result<(), Outcome> {
    A::turn(packet, ip)?;
    let ethernet: &mut Ethernet = packet.header_mut(0)?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    Ok(())
}

/// RFC 792. (A sum does not see that its parts, the addresses, have changed places.)
impl Ping for V4 {
    #[inline(always)]
    fn turn(packet: &mut Packet, at: usize) -> Result<(), Outcome> {
        // The last header first: one that is missing leaves the packet as it was.
        let icmp: &mut Icmpv4Hdr = packet.header_mut(at + Ipv4Hdr::LEN)?;
        let (request, reply) = (Icmpv4Type::Echo as u8, Icmpv4Type::EchoReply as u8);
        icmp.check = patched(icmp.check, [request, 0], [reply, 0]);
        icmp.type_ = reply;
        let ip: &mut Ipv4Hdr = packet.header_mut(at)?;
        ip.check = patched(ip.check, [ip.ttl, 0], [TTL, 0]);
        ip.ttl = TTL;
        core::mem::swap(&mut ip.src_addr, &mut ip.dst_addr);
        Ok(())
    }
}

/// RFC 4443, section 4. The hop limit is in no checksum.
impl Ping for V6 {
    #[inline(always)]
    fn turn(packet: &mut Packet, at: usize) -> Result<(), Outcome> {
        let icmp: &mut Icmpv6Hdr = packet.header_mut(at + Ipv6Hdr::LEN)?;
        let (request, reply) = (Icmpv6Type::EchoRequest as u8, Icmpv6Type::EchoReply as u8);
        icmp.check = patched(icmp.check, [request, 0], [reply, 0]);
        icmp.type_ = reply;
        let ip: &mut Ipv6Hdr = packet.header_mut(at)?;
        ip.hop_limit = TTL;
        exchange(&mut ip.src_addr, &mut ip.dst_addr);
        Ok(())
    }
}

/// A checksum after two bytes of what it covers have changed (RFC 1624, equation 3). Of the two
/// zeros of one's complement it takes the one that is right for a message of zeros, too.
#[inline(always)]
fn patched(checksum: [u8; 2], before: [u8; 2], after: [u8; 2]) -> [u8; 2] {
    let word = |bytes| u32::from(u16::from_be_bytes(bytes));
    let sum = (word(checksum) ^ 0xffff) + (word(before) ^ 0xffff) + word(after);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = !(folded as u16);
    (if checksum == 0 { 0xffff } else { checksum }).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In one's complement, that is: modulo 0xffff.
        #[test]
        fn a_patched_checksum_leaves_the_sum_as_it_was(checksum: [u8; 2], before: [u8; 2], after: [u8; 2]) {
            let sum = |words: [[u8; 2]; 2]| {
                words.map(|word| u32::from(u16::from_be_bytes(word))).iter().sum::<u32>() % 0xffff
            };
            let patched = patched(checksum, before, after);
            prop_assert_eq!(sum([checksum, before]), sum([patched, after]));
            prop_assert_ne!(patched, [0, 0]);
        }
    }
}
