//! Answers a ping of a VIP, at a bounded rate: the request goes back as its own answer.

use lb_common::Outcome;
use network_types::{
    icmp::{Icmpv4Hdr, Icmpv4Type},
    ip::Ipv4Hdr,
};

use crate::{
    packet::{Ethernet, Packet},
    parse::IP,
    tables::Tables,
};

/// The TTL of an answer: what is left of the request's may not do for the way back.
const TTL: u8 = 64;

/// Turns the request into its answer (RFC 792).
#[inline(always)]
pub fn answer(packet: &mut Packet, tables: &impl Tables) -> Outcome {
    if !tables.may_echo() {
        return Outcome::EchoLimited;
    }
    match turn(packet) {
        Ok(()) => Outcome::EchoAnswered,
        Err(outcome) => outcome,
    }
}

#[inline(always)]
fn turn(packet: &mut Packet) -> Result<(), Outcome> {
    // The last header first: one that is missing leaves the frame as it was.
    let icmp: &mut Icmpv4Hdr = packet.header_mut(IP + Ipv4Hdr::LEN)?;
    let (request, reply) = (Icmpv4Type::Echo as u8, Icmpv4Type::EchoReply as u8);
    icmp.check = patched(icmp.check, [request, 0], [reply, 0]);
    icmp.type_ = reply;
    let ip: &mut Ipv4Hdr = packet.header_mut(IP)?;
    ip.check = patched(ip.check, [ip.ttl, 0], [TTL, 0]);
    ip.ttl = TTL;
    // A sum does not see that its parts have changed places.
    core::mem::swap(&mut ip.src_addr, &mut ip.dst_addr);
    let ethernet: &mut Ethernet = packet.header_mut(0)?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    Ok(())
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
