//! The golden table: packets, and how each must end in the [world](crate::world).

use std::net::Ipv4Addr;

use lb_common::Outcome;
use lb_user::model::Mac;

use crate::{
    packet::{ACK, Link, RST, SYN},
    world::{
        ALL_TCP, BALANCER, CLIENT, EMPTY, EVERYTHING, NO_VIP, ROUTER, STRANGER, UNWRITTEN, WEB,
    },
};

/// A packet, and how it must end.
pub struct Row {
    /// What the row says.
    pub claim: &'static str,
    /// The frame as it arrives.
    pub frame: Vec<u8>,
    /// How it must end.
    pub outcome: Outcome,
}

fn row(claim: &'static str, frame: Vec<u8>, outcome: Outcome) -> Row {
    Row { claim, frame, outcome }
}

/// A frame from the router to the balancer.
#[must_use]
pub fn to_balancer() -> Link {
    Link::new(ROUTER, BALANCER)
}

fn tcp(destination: Ipv4Addr, port: u16) -> Vec<u8> {
    to_balancer().ipv4(CLIENT, destination).tcp(40_000, port).flags(ACK).payload(b"GET /").build()
}

/// All of it.
#[must_use]
pub fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(served());
    rows.extend(not_ours());
    rows.extend(errors());
    rows.extend(pings());
    rows.extend(fragments());
    rows.extend(broken());
    rows.extend(truncated());
    rows
}

/// What reaches a real.
fn served() -> Vec<Row> {
    let ip = |to| to_balancer().ipv4(CLIENT, to);
    let padded = |mut frame: Vec<u8>| {
        frame.resize(frame.len() + 18, 0xee);
        frame
    };
    use Outcome::Forwarded;
    vec![
        row("a segment to a served port", tcp(WEB, 80), Forwarded),
        row("a SYN begins a flow", ip(WEB).tcp(1, 80).flags(SYN).build(), Forwarded),
        row("a SYN with ACK does not", ip(WEB).tcp(1, 80).flags(SYN | ACK).build(), Forwarded),
        row("a RST goes the way of its flow", ip(WEB).tcp(1, 80).flags(RST).build(), Forwarded),
        row("a datagram to a served port", ip(WEB).udp(5353, 53).payload(b"?").build(), Forwarded),
        row("an empty datagram", ip(WEB).udp(5353, 53).build(), Forwarded),
        row("a TTL of 1 is the router's business", ip(WEB).ttl(1).tcp(2, 80).build(), Forwarded),
        row("IPv4 options", ip(WEB).options(&[1; 8]).tcp(3, 80).build(), Forwarded),
        row("the longest IPv4 header", ip(WEB).options(&[1; 40]).tcp(3, 80).build(), Forwarded),
        row("TCP options", ip(WEB).tcp(4, 80).options(&[1; 12]).build(), Forwarded),
        row("a frame longer than its packet", padded(tcp(WEB, 80)), Forwarded),
        row("don't fragment", ip(WEB).dont_fragment().tcp(5, 80).build(), Forwarded),
        row(
            "a wrong checksum is the real's business",
            ip(WEB).tcp(6, 80).checksum(1).build(),
            Forwarded,
        ),
        row("any TCP port", tcp(ALL_TCP, 12_345), Forwarded),
        row("any protocol with ports", ip(EVERYTHING).udp(1, 2).build(), Forwarded),
        row("any protocol without ports", ip(EVERYTHING).raw(47, &[0; 8]), Forwarded),
    ]
}

/// What is for the local stack, or for nobody.
fn not_ours() -> Vec<Row> {
    let from_router = |to| Link::new(ROUTER, to).ipv4(CLIENT, WEB).tcp(1, 80).build();
    let ip = |to| to_balancer().ipv4(CLIENT, to);
    use Outcome::{NoReal, NoService, NotForUs, NotIp, NotVip, Unresolved, VipLocal};
    vec![
        row("a flooded frame for another machine", from_router(STRANGER), NotForUs),
        row("a broadcast frame", from_router(Mac([0xff; 6])), NotForUs),
        row("a multicast frame", from_router(Mac([1, 0, 0x5e, 0, 0, 1])), NotForUs),
        row("ARP", to_balancer().carry(0x0806, &[0; 28]), NotIp),
        row("an address that is no VIP", tcp(NO_VIP, 80), NotVip),
        row(
            "a fragment to an address that is no VIP",
            ip(NO_VIP).fragment(8, true).udp(1, 53).build(),
            NotVip,
        ),
        row("a port nobody serves, elsewhere's address", tcp(WEB, 81), NoService),
        row("the port of another protocol", ip(WEB).udp(1, 80).build(), NoService),
        row("ICMP to elsewhere's address", ip(WEB).icmp(13, 0).build(), NoService),
        row("a protocol nobody serves, own address", ip(ALL_TCP).udp(1, 53).build(), VipLocal),
        row("ICMP to the own address", ip(ALL_TCP).icmp(13, 0).build(), VipLocal),
        row("a VIP without a usable real", tcp(EMPTY, 80), NoReal),
        row("a real that nobody has resolved", tcp(UNWRITTEN, 80), Unresolved),
    ]
}

/// Pings, and what looks like them.
fn pings() -> Vec<Row> {
    let ip = |to| to_balancer().ipv4(CLIENT, to);
    let ping = |to| ip(to).icmp(8, 0).rest([0x12, 0x34, 0, 1]);
    use Outcome::{EchoAnswered, Forwarded, NoService, NotVip};
    vec![
        row("a ping", ping(WEB).payload(b"0123456789").build(), EchoAnswered),
        row("an empty ping", ping(WEB).build(), EchoAnswered),
        row("a ping of an odd length", ping(WEB).payload(b"odd").build(), EchoAnswered),
        row("a large ping", ping(WEB).payload(&[0xff; 1400]).build(), EchoAnswered),
        row("a ping on its last hop", ip(WEB).ttl(1).icmp(8, 0).build(), EchoAnswered),
        row("a ping that is zero but for its type", ip(WEB).icmp(8, 0).build(), EchoAnswered),
        row("a ping of an address that is assigned here", ping(ALL_TCP).build(), EchoAnswered),
        row("a ping where everything is served", ping(EVERYTHING).build(), EchoAnswered),
        row("a ping where no real is", ping(EMPTY).build(), EchoAnswered),
        row("a ping of nobody of ours", ping(NO_VIP).build(), NotVip),
        row("a ping with IP options", ip(WEB).options(&[1; 4]).icmp(8, 0).build(), NoService),
        row("a ping that is cut off", ip(WEB).total_length(27).icmp(8, 0).build(), NoService),
        row("a fragment of a ping", ip(WEB).id(1).fragment(0, true).icmp(8, 0).build(), NoService),
        row("an answer to a ping", ip(WEB).icmp(0, 0).build(), NoService),
        row("other ICMP where everything is served", ip(EVERYTHING).icmp(13, 0).build(), Forwarded),
    ]
}

/// What a router says of a packet that a real sent from a VIP.
fn errors() -> Vec<Row> {
    let quote = |from| to_balancer().ipv4(from, CLIENT);
    let answer = quote(WEB).tcp(80, 40_000).packet();
    let says = |kind, code, quoted: &[u8]| {
        to_balancer().ipv4(CLIENT, WEB).icmp(kind, code).payload(quoted).build()
    };
    let about = |quoted: &[u8]| says(3, 4, quoted);
    let udp = quote(WEB).udp(53, 5353).packet();
    let options = quote(WEB).options(&[1; 8]).tcp(80, 40_000).packet();
    let unserved = quote(WEB).tcp(81, 40_000).packet();
    let strangers = quote(NO_VIP).tcp(80, 40_000).packet();
    let later = quote(WEB).fragment(8, true).tcp(80, 40_000).packet();
    let first = quote(WEB).fragment(0, true).tcp(80, 40_000).packet();
    use Outcome::{Forwarded, NoService, NotVip};
    vec![
        row("fragmentation needed", about(&answer), Forwarded),
        row("host unreachable", says(3, 1, &answer), Forwarded),
        row("time exceeded", says(11, 0, &answer), Forwarded),
        row("a parameter problem", says(12, 0, &answer), Forwarded),
        row("an error about a datagram", about(&udp), Forwarded),
        row("a quote with IP options", about(&options), Forwarded),
        row("a quote of a first fragment", about(&first), Forwarded),
        row("the least that must be quoted", about(&answer[..28]), Forwarded),
        row("just the ports", about(&answer[..24]), Forwarded),
        row("a quote without both ports", about(&answer[..23]), NoService),
        row("a quote that ends in its IP header", about(&answer[..19]), NoService),
        row("no quote at all", about(&[]), NoService),
        row("a quote of a later fragment", about(&later), NoService),
        row("a quote of a port nobody serves", about(&unserved), NoService),
        row("a quote of somebody else's packet", about(&strangers), NoService),
        row("a redirect", says(5, 1, &answer), NoService),
        row(
            "an error to an address that is no VIP",
            to_balancer().ipv4(CLIENT, NO_VIP).icmp(3, 4).payload(&strangers).build(),
            NotVip,
        ),
    ]
}

/// Fragments, one after another: what came before counts.
fn fragments() -> Vec<Row> {
    let of = |id, offset, more| to_balancer().ipv4(CLIENT, WEB).id(id).fragment(offset, more);
    let all = |id, offset, more| {
        to_balancer().ipv4(CLIENT, EVERYTHING).id(id).fragment(offset, more).raw(47, &[0; 8])
    };
    let late = |id, offset, more| of(id, offset, more).raw(17, &[0xaa; 24]);
    let stranger = to_balancer().ipv4(NO_VIP, WEB).id(7).fragment(8, true).raw(17, &[0; 8]);
    use Outcome::{Forwarded, Fragment, NoService, NotVip, Truncated};
    vec![
        row("a later fragment that comes first", late(7, 8, true), Fragment),
        row("a first fragment", of(7, 0, true).udp(1, 53).build(), Forwarded),
        row("the next fragment", late(7, 8, true), Forwarded),
        row("the last fragment, before another", late(7, 64, false), Forwarded),
        row("a fragment that was late", late(7, 32, true), Forwarded),
        row("a fragment of another datagram", late(8, 8, true), Fragment),
        row("of another client", stranger, Fragment),
        row("of another protocol", of(7, 8, true).raw(6, &[0; 24]), Fragment),
        row("a first fragment of a segment", of(9, 0, true).tcp(1, 80).build(), Forwarded),
        row("the rest of the segment", of(9, 24, false).raw(6, &[0; 24]), Forwarded),
        row(
            "a first fragment without all of its header",
            of(10, 0, true).raw(6, &[0; 8]),
            Truncated,
        ),
        row("what would follow it", of(10, 8, false).raw(6, &[0; 24]), Fragment),
        row("a first fragment to no port of ours", of(11, 0, true).udp(1, 54).build(), NoService),
        row("what would follow that", late(11, 8, false), Fragment),
        row("a first fragment without ports", all(12, 0, true), Forwarded),
        row("what follows it", all(12, 8, false), Forwarded),
        row(
            "fragments to an address that is no VIP",
            to_balancer().ipv4(CLIENT, NO_VIP).id(7).fragment(8, true).raw(17, &[0; 8]),
            NotVip,
        ),
    ]
}

/// What contradicts itself.
fn broken() -> Vec<Row> {
    let ip = |to| to_balancer().ipv4(CLIENT, to);
    use Outcome::{Malformed, NotVip, Truncated};
    vec![
        row("IP version 6 in an IPv4 frame", ip(WEB).version(6).tcp(1, 80).build(), Malformed),
        row("an IP header of 16 bytes", ip(WEB).header_words(4).tcp(1, 80).build(), Malformed),
        row("an IP header of no bytes", ip(WEB).header_words(0).tcp(1, 80).build(), Malformed),
        row(
            "an IP length below the header's",
            ip(WEB).total_length(19).tcp(1, 80).build(),
            Malformed,
        ),
        row(
            "an IP length beyond the frame",
            ip(WEB).total_length(41).tcp(1, 80).build(),
            Truncated,
        ),
        row("the largest IP length", ip(WEB).total_length(65_535).tcp(1, 80).build(), Truncated),
        row(
            "an IP length within the TCP header",
            ip(WEB).total_length(39).tcp(1, 80).build(),
            Truncated,
        ),
        row(
            "an IP length within the UDP header",
            ip(WEB).total_length(27).udp(1, 53).build(),
            Truncated,
        ),
        row("the same to nobody of ours", ip(NO_VIP).total_length(39).tcp(1, 80).build(), NotVip),
        row("options beyond the packet", ip(WEB).header_words(15).udp(1, 53).build(), Malformed),
    ]
}

/// A valid frame cut off at every offset that the kernel's test run takes: 14 bytes and more.
fn truncated() -> Vec<Row> {
    let whole = to_balancer().ipv4(CLIENT, WEB).tcp(1, 80).build();
    (14..whole.len())
        .map(|length| row("a frame cut off", whole[..length].to_vec(), Outcome::Truncated))
        .collect()
}
