//! What holds for both families.

use lb_common::Outcome;
use lb_user::model::Mac;

use super::{Family, Kind, Row, cut_off, row, to_balancer};
use crate::{
    packet::{ACK, Link, RST, SYN},
    world::{
        ALL_TCP, BY_SOURCE, CLIENT, EMPTY, EVERYTHING, MIXED, NO_VIP, Party, ROUTER, STRANGER,
        UNWRITTEN, WEB,
    },
};

const GRE: u8 = 47;
const TCP: u8 = 6;
const UDP: u8 = 17;

pub(super) fn rows(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(served(family));
    rows.extend(unserved(family));
    rows.extend(not_ours(family));
    rows.extend(errors(family));
    rows.extend(quotes(family));
    rows.extend(pings(family));
    rows.extend(fragments(family));
    rows.extend(broken(family));
    let whole = family.to(WEB).tcp(1, 80).build();
    rows.extend(cut_off("a segment", &whole));
    rows
}

fn tcp(family: Family, destination: Party, port: u16) -> Vec<u8> {
    family.to(destination).tcp(40_000, port).flags(ACK).payload(b"GET /").build()
}

/// What reaches a real.
fn served(family: Family) -> Vec<Row> {
    let to = |to| family.to(to);
    let padded = |mut frame: Vec<u8>| {
        frame.resize(frame.len() + 18, 0xee);
        frame
    };
    use Outcome::Forwarded;
    vec![
        row("a segment to a served port", tcp(family, WEB, 80), Forwarded),
        row("a SYN begins a flow", to(WEB).tcp(1, 80).flags(SYN).build(), Forwarded).begins(),
        row("a SYN with ACK does not", to(WEB).tcp(1, 80).flags(SYN | ACK).build(), Forwarded),
        row("a RST goes the way of its flow", to(WEB).tcp(1, 80).flags(RST).build(), Forwarded),
        row("a datagram to a served port", to(WEB).udp(5353, 53).payload(b"?").build(), Forwarded),
        row("an empty datagram", to(WEB).udp(5353, 53).build(), Forwarded),
        row("the last hop is the router's business", to(WEB).hops(1).tcp(2, 80).build(), Forwarded),
        row("a traffic class", to(WEB).tos(0xb8).tcp(2, 80).build(), Forwarded),
        row("TCP options", to(WEB).tcp(4, 80).options(&[1; 12]).build(), Forwarded),
        row("a frame longer than its packet", padded(tcp(family, WEB, 80)), Forwarded),
        row("a wrong checksum is the real's", to(WEB).tcp(6, 80).checksum(1).build(), Forwarded),
        row("any TCP port", tcp(family, ALL_TCP, 12_345), Forwarded),
        row("TCP port 0 where all are served", tcp(family, ALL_TCP, 0), Forwarded),
        row("any UDP port beside single TCP ports", to(MIXED).udp(1, 2).build(), Forwarded),
        row("a single TCP port beside all of UDP", tcp(family, MIXED, 443), Forwarded),
        row("any protocol with ports", to(EVERYTHING).udp(1, 2).build(), Forwarded),
        row("any protocol without ports", to(EVERYTHING).raw(GRE, &[0; 8]), Forwarded),
        row("by the client's address alone", to(BY_SOURCE).udp(1, 2).build(), Forwarded),
    ]
}

/// What is a VIP's, and yet reaches no real.
fn unserved(family: Family) -> Vec<Row> {
    let to = |to| family.to(to);
    let other = |vip| to(vip).message(Kind::Other).build();
    use Outcome::{NoReal, NoService, Unresolved, VipLocal};
    vec![
        row("a port nobody serves, elsewhere's address", tcp(family, WEB, 81), NoService),
        row("the port of another protocol", to(WEB).udp(1, 80).build(), NoService),
        row("a protocol nobody serves, elsewhere's", to(WEB).raw(GRE, &[0; 8]), NoService),
        row("ICMP to elsewhere's address", other(WEB), NoService),
        row("a port nobody serves, own address", to(ALL_TCP).udp(1, 53).build(), VipLocal),
        row("a TCP port that is none of the single ones", tcp(family, MIXED, 81), VipLocal),
        row("a protocol nobody serves, own address", to(ALL_TCP).raw(GRE, &[0; 8]), VipLocal),
        row("ICMP to the own address", other(ALL_TCP), VipLocal),
        row("a VIP without a usable real", tcp(family, EMPTY, 80), NoReal),
        row("a real that nobody has resolved", tcp(family, UNWRITTEN, 80), Unresolved),
    ]
}

/// What is for the local stack, or for nobody.
fn not_ours(family: Family) -> Vec<Row> {
    let sent_to = |mac| family.ip(Link::new(ROUTER, mac), CLIENT, WEB).tcp(1, 80).build();
    use Outcome::{NotForUs, NotVip};
    vec![
        row("a flooded frame for another machine", sent_to(STRANGER), NotForUs),
        row("a broadcast frame", sent_to(Mac([0xff; 6])), NotForUs),
        row("a multicast frame", sent_to(Mac([1, 0, 0x5e, 0, 0, 1])), NotForUs),
        row("an address that is no VIP", tcp(family, NO_VIP, 80), NotVip),
        row(
            "a fragment to an address that is no VIP",
            family.to(NO_VIP).fragment(1, 8, true).udp(1, 53).build(),
            NotVip,
        ),
    ]
}

/// What a router says of a packet that a real sent from a VIP: for whom it is.
fn errors(family: Family) -> Vec<Row> {
    let answer = family.answer(WEB).tcp(80, 40_000).packet();
    let about = |quoted: &[u8]| family.to(WEB).message(Kind::TooBig).payload(quoted).build();
    let udp = family.answer(WEB).udp(53, 5353).packet();
    let unserved = family.answer(WEB).tcp(81, 40_000).packet();
    let strangers = family.answer(NO_VIP).tcp(80, 40_000).packet();
    let to_stranger = family.to(NO_VIP).message(Kind::TooBig).payload(&strangers).build();
    let gre = family.answer(EVERYTHING).raw(GRE, &[0; 8]).split_off(14);
    let about_gre = family.to(EVERYTHING).message(Kind::TooBig).payload(&gre).build();
    use Outcome::{Forwarded, NoService, NotVip};
    let mut rows = vec![
        row("an error about a datagram", about(&udp), Forwarded),
        row("an error about a protocol without ports", about_gre, Forwarded),
        row("a quote of a port nobody serves", about(&unserved), NoService),
        row("a quote of somebody else's packet", about(&strangers), NoService),
        row("an error to an address that is no VIP", to_stranger, NotVip),
    ];
    rows.extend(family.errors().iter().map(|kind| {
        let error = family.to(WEB).icmp(*kind, 0).payload(&answer).build();
        row(format!("an ICMP error of type {kind}"), error, Forwarded)
    }));
    rows
}

/// How much of the packet an error must quote.
fn quotes(family: Family) -> Vec<Row> {
    let answer = family.answer(WEB).tcp(80, 40_000).packet();
    let later = family.answer(WEB).fragment(1, 8, true).tcp(80, 40_000).packet();
    let first = family.answer(WEB).fragment(1, 0, true).tcp(80, 40_000).packet();
    let wrong = family.answer(WEB).version(5).tcp(80, 40_000).packet();
    let about = |quoted: &[u8]| family.to(WEB).message(Kind::TooBig).payload(quoted).build();
    let header = family.header();
    use Outcome::{Forwarded, NoService};
    vec![
        row("the least that must be quoted", about(&answer[..header + 8]), Forwarded),
        row("just the ports", about(&answer[..header + 4]), Forwarded),
        row("a quote without both ports", about(&answer[..header + 3]), NoService),
        row("a quote of an IP header", about(&answer[..header]), NoService),
        row("a quote that ends in its IP header", about(&answer[..header - 1]), NoService),
        row("no quote at all", about(&[]), NoService),
        row("a quote of another version", about(&wrong), NoService),
        row("a quote of a first fragment", about(&first), Forwarded),
        row("a quote of a later fragment", about(&later), NoService),
        row(
            "ports behind the end of the packet",
            family
                .to(WEB)
                .length(8 + header as u16 + 3)
                .message(Kind::TooBig)
                .payload(&answer)
                .build(),
            NoService,
        ),
    ]
}

/// Pings, and what looks like them.
fn pings(family: Family) -> Vec<Row> {
    let to = |to| family.to(to);
    let empty = |to| family.to(to).message(Kind::EchoRequest);
    let ping = |to| empty(to).rest([0x12, 0x34, 0, 1]);
    let other_code = match family {
        Family::V4 => to(WEB).icmp(8, 1),
        Family::V6 => to(WEB).icmp(128, 1),
    };
    use Outcome::{EchoAnswered, Forwarded, NoService, NotVip};
    vec![
        row("a ping", ping(WEB).payload(b"0123456789").build(), EchoAnswered),
        row("an empty ping", ping(WEB).build(), EchoAnswered),
        row("a ping of an odd length", ping(WEB).payload(b"odd").build(), EchoAnswered),
        row("a large ping", ping(WEB).payload(&[0xff; 1400]).build(), EchoAnswered),
        row(
            "a ping on its last hop",
            to(WEB).hops(1).message(Kind::EchoRequest).build(),
            EchoAnswered,
        ),
        row("a ping that is zero but for its type", empty(WEB).build(), EchoAnswered),
        row("a ping of an address that is assigned here", ping(ALL_TCP).build(), EchoAnswered),
        row("a ping where everything is served", ping(EVERYTHING).build(), EchoAnswered),
        row("a ping where no real is", ping(EMPTY).build(), EchoAnswered),
        row("a ping of nobody of ours", ping(NO_VIP).build(), NotVip),
        row("a ping with a code", other_code.build(), NoService),
        row(
            "a ping that is cut off",
            to(WEB).length(7).message(Kind::EchoRequest).build(),
            NoService,
        ),
        row(
            "a fragment of a ping",
            to(WEB).fragment(1, 0, true).message(Kind::EchoRequest).build(),
            NoService,
        ),
        row("an answer to a ping", to(WEB).message(Kind::EchoReply).build(), NoService),
        row(
            "other ICMP where everything is served",
            to(EVERYTHING).message(Kind::Other).build(),
            Forwarded,
        ),
    ]
}

/// Fragments, one after another: what came before counts.
fn fragments(family: Family) -> Vec<Row> {
    let of = |id, offset, more| family.to(WEB).fragment(id, offset, more);
    let all = |id, offset, more| family.to(EVERYTHING).fragment(id, offset, more).raw(GRE, &[0; 8]);
    let late = |id, offset, more| of(id, offset, more).raw(UDP, &[0xaa; 24]);
    let from = |source| family.ip(to_balancer(), source, WEB);
    let stranger = from(NO_VIP).fragment(7, 8, true).raw(UDP, &[0; 8]);
    let elsewhere = family.to(NO_VIP).fragment(7, 8, true).raw(UDP, &[0; 8]);
    let no_port = of(11, 0, true).udp(1, 54).build();
    use Outcome::{Forwarded, Fragment, NoService, NotVip, Truncated};
    vec![
        row("a later fragment that comes first", late(7, 8, true), Fragment),
        row("a first fragment", of(7, 0, true).udp(1, 53).build(), Forwarded),
        row("the next fragment", late(7, 8, true), Forwarded),
        row("the last fragment, before another", late(7, 64, false), Forwarded),
        row("a fragment that was late", late(7, 32, true), Forwarded),
        row("a fragment of another datagram", late(8, 8, true), Fragment),
        row("of another client", stranger, Fragment),
        row("to another VIP", all(7, 8, true), Fragment),
        row("to an address that is no VIP", elsewhere, NotVip),
        row("a first fragment of a segment", of(9, 0, true).tcp(1, 80).build(), Forwarded),
        row("the rest of the segment", of(9, 24, false).raw(TCP, &[0; 24]), Forwarded),
        row("a first fragment with half a header", of(10, 0, true).raw(TCP, &[0; 8]), Truncated),
        row("what would follow it", of(10, 8, false).raw(TCP, &[0; 24]), Fragment),
        row("a first fragment to no port of ours", no_port, NoService),
        row("what would follow that", late(11, 8, false), Fragment),
        row("a first fragment without ports", all(12, 0, true), Forwarded),
        row("what follows it", all(12, 8, false), Forwarded),
        row("a datagram that is no fragment", of(13, 0, false).udp(1, 53).build(), Forwarded),
        row("what pretends to follow it", late(13, 8, false), Fragment),
    ]
}

/// What contradicts itself.
fn broken(family: Family) -> Vec<Row> {
    let to = |to| family.to(to);
    let other = match family {
        Family::V4 => 6,
        Family::V6 => 4,
    };
    use Outcome::{Malformed, NotVip, Truncated};
    vec![
        row(
            "the version of the other family",
            to(WEB).version(other).tcp(1, 80).build(),
            Malformed,
        ),
        row("no version", to(WEB).version(0).tcp(1, 80).build(), Malformed),
        row("a length beyond the frame", to(WEB).length(21).tcp(1, 80).build(), Truncated),
        row("the largest length", to(WEB).length(u16::MAX).tcp(1, 80).build(), Truncated),
        row("a length within the TCP header", to(WEB).length(19).tcp(1, 80).build(), Truncated),
        row("a length within the UDP header", to(WEB).length(7).udp(1, 53).build(), Truncated),
        row("a length of nothing", to(WEB).length(0).udp(1, 53).build(), Truncated),
        row("the same to nobody of ours", to(NO_VIP).length(19).tcp(1, 80).build(), NotVip),
        row("beyond the frame to nobody of ours", to(NO_VIP).length(21).tcp(1, 80).build(), NotVip),
    ]
}
