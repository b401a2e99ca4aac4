//! Resets a TCP connection whose real has been drained: the client's segment goes back as the reset that
//! a host without the connection would answer (RFC 9293, section 3.10.7.1).

use core::mem::swap;

use lb_common::{Outcome, V4, V6};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use crate::packet::{Ethernet, Frame, Packet, Segment, exchange, word16, word32, words64};

/// The TTL or hop limit of a reset.
const TTL: u8 = 64;

/// Version 4 and a header of five words: no options.
const PLAIN: u8 = 0x45;

/// The bits of a fragment field that are set in fragments only, as in `parse`.
const FRAGMENT: u16 = 0x3fff;

/// "Don't fragment", alone in its field.
const WHOLE: u16 = 0x4000;

/// An address family in which connections can be reset.
pub trait Reset {
    /// The length of its header without options.
    const HEADER: usize;

    /// Turns the IP header at `ip` into that of the reset, and returns the sum of its addresses, in the
    /// TCP checksum.
    ///
    /// # Errors
    ///
    /// [`Outcome::Truncated`] where it is not all there, [`Outcome::NoReal`] where it is not one without
    /// options of a whole TCP segment. The packet is as it was then.
    fn turn(packet: &mut Packet, ip: usize) -> Result<u64, Outcome>;
}

/// Turns the segment whose IP header is at `ip` into its reset. What cannot be answered so is lost
/// ([`Outcome::NoReal`]): a reset, a segment without ACK, a fragment, one with IP options, a datagram.
#[inline(never)]
pub fn answer<A: Reset>(frame: &mut impl Frame, ip: usize) -> Outcome {
    if let Err(outcome) = turn::<A>(&mut frame.packet(), ip) {
        return outcome;
    }
    let length = ip + A::HEADER + size_of::<Segment>();
    frame.cut_end(length as u64);
    Outcome::Reset
}

#[inline(always)]
fn turn<A: Reset>(packet: &mut Packet, ip: usize) -> Result<(), Outcome> {
    let segment: &Segment = packet.header(ip + A::HEADER).map_err(|_| Outcome::NoReal)?;
    if segment.flags & Segment::RST != 0 || segment.flags & Segment::ACK == 0 {
        return Err(Outcome::NoReal);
    }
    let addresses = A::turn(packet, ip)?;
    reset(packet.header_mut(ip + A::HEADER)?, addresses);
    let ethernet: &mut Ethernet = packet.header_mut(0)?;
    swap(&mut ethernet.source, &mut ethernet.destination);
    Ok(())
}

/// The reset has the place in the sequence that the client expects next: no other would be believed
/// (RFC 5961, section 3.2).
#[inline(always)]
fn reset(segment: &mut Segment, addresses: u64) {
    const WORDS: u8 = 5 << 4;
    swap(&mut segment.source, &mut segment.destination);
    segment.sequence = segment.acknowledgement;
    segment.acknowledgement = [0; 4];
    segment.words = WORDS;
    segment.flags = Segment::RST;
    segment.window = [0; 2];
    segment.urgent = [0; 2];
    let sum = addresses
        + constant(u16::from(IpProto::Tcp as u8))
        + constant(size_of::<Segment>() as u16)
        + u64::from(word16(&segment.source))
        + u64::from(word16(&segment.destination))
        + u64::from(word32(&segment.sequence))
        + constant(u16::from_be_bytes([WORDS, Segment::RST]));
    segment.check = checksum(sum);
}

/// RFC 791.
impl Reset for V4 {
    const HEADER: usize = Ipv4Hdr::LEN;

    #[inline(always)]
    fn turn(packet: &mut Packet, at: usize) -> Result<u64, Outcome> {
        let ip: &mut Ipv4Hdr = packet.header_mut(at)?;
        let is_whole = u16::from_be_bytes(ip.frags) & FRAGMENT == 0;
        if ip.vihl != PLAIN || !is_whole || ip.proto != IpProto::Tcp as u8 {
            return Err(Outcome::NoReal);
        }
        let length = (Ipv4Hdr::LEN + size_of::<Segment>()) as u16;
        (ip.tos, ip.id, ip.ttl) = (0, [0; 2], TTL);
        (ip.tot_len, ip.frags) = (length.to_be_bytes(), WHOLE.to_be_bytes());
        swap(&mut ip.src_addr, &mut ip.dst_addr);
        let addresses = u64::from(word32(&ip.src_addr)) + u64::from(word32(&ip.dst_addr));
        ip.check = checksum(
            addresses
                + constant(u16::from_be_bytes([PLAIN, 0]))
                + constant(length)
                + constant(WHOLE)
                + constant(u16::from_be_bytes([TTL, IpProto::Tcp as u8])),
        );
        Ok(addresses)
    }
}

/// RFC 8200.
impl Reset for V6 {
    const HEADER: usize = Ipv6Hdr::LEN;

    #[inline(always)]
    fn turn(packet: &mut Packet, at: usize) -> Result<u64, Outcome> {
        let ip: &mut Ipv6Hdr = packet.header_mut(at)?;
        if ip.next_hdr != IpProto::Tcp as u8 {
            return Err(Outcome::NoReal);
        }
        ip.vcf = [0x60, 0, 0, 0];
        ip.payload_len = (size_of::<Segment>() as u16).to_be_bytes();
        ip.hop_limit = TTL;
        exchange(&mut ip.src_addr, &mut ip.dst_addr);
        let halves =
            |address: &[u8; 16]| words64(address).map(|word| (word >> 32) + (word & 0xffff_ffff));
        let ([a, b], [c, d]) = (halves(&ip.src_addr), halves(&ip.dst_addr));
        Ok(a + b + c + d)
    }
}

/// A number among what is summed up, which is as it lies in memory: sums in one's complement do not
/// mind the order of bytes (RFC 1071, section 2).
#[inline(always)]
fn constant(number: u16) -> u64 {
    u64::from(number.to_be())
}

/// The checksum (RFC 1071) of words of which this is the sum.
#[inline(always)]
fn checksum(sum: u64) -> [u8; 2] {
    let fold = |sum: u64| (sum & 0xffff) + (sum >> 16);
    (!(fold(fold(fold(fold(sum)))) as u16)).to_ne_bytes()
}
