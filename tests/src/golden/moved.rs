//! Slots that have moved: whose a flow is depends on when it began, which its packets tell or do not.

use lb_common::{Outcome, layout::Rule};

use super::{
    Family, Ip, Kind, Row, arriving, row,
    ways::{QINQ, with},
};
use crate::{
    packet::{ACK, FIN, Link, PSH, RST, SYN, Tcp},
    world::{
        BALANCER, CLIENT, ENDED, ENDING, MOVED, Moved, NEW, OLD, ORPHANED, PER_PACKET, Party,
        RESETTING, ROUTER, SETTLED, STAYED,
    },
};

const GRE: u8 = 47;
const UDP: u8 = 17;

pub(super) fn rows(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(connections(family));
    rows.extend(older_connections(family));
    rows.extend(datagrams(family));
    rows.extend(fragments(family));
    rows.extend(errors(family));
    rows.extend(without_a_previous_owner(family));
    rows.extend(without_a_current_owner(family));
    rows.extend(reset(family));
    rows.extend(not_reset(family));
    rows.extend(reset_in_a_slot_that_has_not_moved(family));
    rows
}

fn to(claim: &str, frame: Vec<u8>, owner: u8, rule: Rule) -> Row {
    row(claim, frame, Outcome::Forwarded).to(owner, rule)
}

/// A segment of the client's flow with this port.
fn segment(family: Family, to: &Moved, port: u16, flags: u8) -> Vec<u8> {
    family.to(to.vip).tcp(port, 80).flags(flags).build()
}

fn datagram(family: Family, to: &Moved, port: u16) -> Vec<u8> {
    family.to(to.vip).udp(port, 53).payload(b"?").build()
}

/// An error about what a real has sent to this port of the client's.
fn error(family: Family, from: &Moved, port: u16) -> Vec<u8> {
    let quote = family.answer(from.vip).tcp(80, port).packet();
    family.to(from.vip).message(Kind::TooBig).payload(&quote).build()
}

/// Connections that begin after the move.
fn connections(family: Family) -> Vec<Row> {
    let sent = |flags| segment(family, &MOVED, 1000, flags);
    let tagged = family.ip(arriving(&QINQ), CLIENT, MOVED.vip).tcp(1000, 80).build();
    use Rule::{Current, Fresh, Pinned};
    vec![
        to("a SYN goes to the new owner", sent(SYN), NEW, Current).begins(),
        to("the same SYN again is known", sent(SYN), NEW, Fresh).begins(),
        to("a segment follows what was noted of its SYN", sent(ACK), NEW, Fresh),
        to("the next one, too, which is pinned by then", sent(PSH | ACK), NEW, Pinned),
        to("the same flow behind tags", tagged, NEW, Pinned),
        to("a SYN of a connection that is pinned", sent(SYN), NEW, Pinned).begins(),
        to("the end of a connection that is pinned", sent(FIN | ACK), NEW, Pinned),
        to("a reset of a connection that is pinned", sent(RST), NEW, Pinned),
    ]
}

/// Connections of which nothing is known but that they do not begin.
fn older_connections(family: Family) -> Vec<Row> {
    let sent = |flags| segment(family, &MOVED, 1001, flags);
    let settled = segment(family, &SETTLED, 1001, ACK);
    let per_packet = segment(family, &PER_PACKET, 1001, ACK);
    use Rule::Previous;
    vec![
        to("an unknown segment goes to the previous owner", sent(ACK), OLD, Previous),
        to("and again, since nothing was noted of it", sent(PSH | ACK), OLD, Previous),
        to("a SYN with ACK does not begin anything", sent(SYN | ACK), OLD, Previous),
        to("the end of an unknown connection", sent(FIN | ACK), OLD, Previous),
        to("a reset of an unknown connection", sent(RST), OLD, Previous),
        to("a segment without flags", sent(0), OLD, Previous),
        to("an unknown segment long after the move", settled, OLD, Previous),
        to("an unknown segment where datagrams have no flows", per_packet, OLD, Previous),
    ]
}

/// What has no beginning: old for a time, then new.
fn datagrams(family: Family) -> Vec<Row> {
    let gre = |vip: &Moved| family.to(vip.vip).raw(GRE, &[0; 8]);
    let moved = || datagram(family, &MOVED, 2000);
    let settled = || datagram(family, &SETTLED, 2000);
    let single = || datagram(family, &PER_PACKET, 2000);
    use Rule::{Current, Pinned, Previous};
    vec![
        to("an unknown datagram soon after the move", moved(), OLD, Previous),
        to("the next one was noted", moved(), OLD, Pinned),
        to("an unknown datagram long after the move", settled(), NEW, Current),
        to("the next one was noted, too", settled(), NEW, Pinned),
        to("a protocol without ports soon after the move", gre(&MOVED), OLD, Previous),
        to("its next packet was noted", gre(&MOVED), OLD, Pinned),
        to("a protocol without ports long after the move", gre(&SETTLED), NEW, Current),
        to("a datagram that has no flow", single(), NEW, Current),
        to("another one of none", single(), NEW, Current),
        to("a protocol without ports that has no flow", gre(&PER_PACKET), NEW, Current),
    ]
}

/// A first fragment is its flow's, the others are the first one's.
fn fragments(family: Family) -> Vec<Row> {
    let first = |vip: &Moved, id| {
        family.to(vip.vip).fragment(id, 0, true).udp(2001, 53).payload(&[0xaa; 16]).build()
    };
    let later = |vip: &Moved, id| family.to(vip.vip).fragment(id, 24, false).raw(UDP, &[0xaa; 24]);
    use Rule::{Current, Fragment, Pinned, Previous};
    vec![
        to("a first fragment soon after the move", first(&MOVED, 50), OLD, Previous),
        to("what follows it there", later(&MOVED, 50), OLD, Fragment),
        to("a first fragment of the same flow", first(&MOVED, 51), OLD, Pinned),
        to("what follows that", later(&MOVED, 51), OLD, Fragment),
        to("the flow without fragments", datagram(family, &MOVED, 2001), OLD, Pinned),
        to("a first fragment long after the move", first(&SETTLED, 52), NEW, Current),
        to("what follows it then", later(&SETTLED, 52), NEW, Fragment),
        to("a first fragment that has no flow", first(&PER_PACKET, 53), NEW, Current),
        to("what follows one that has no flow", later(&PER_PACKET, 53), NEW, Fragment),
    ]
}

/// An error goes to whom the next packet of the flow would go, and nothing is learnt from it.
fn errors(family: Family) -> Vec<Row> {
    let (about, sent) =
        (|| error(family, &MOVED, 1002), |flags| segment(family, &MOVED, 1002, flags));
    let of_udp = || {
        let quote = family.answer(MOVED.vip).udp(53, 2002).packet();
        family.to(MOVED.vip).message(Kind::TooBig).payload(&quote).build()
    };
    let resetting = error(family, &RESETTING, 1002);
    use Rule::{Current, Fresh, Pinned, Previous};
    vec![
        to("an error about an unknown connection", about(), OLD, Previous),
        to("a SYN after it is as new as ever", sent(SYN), NEW, Current).begins(),
        to("an error about a SYN", about(), NEW, Fresh),
        to("another one, since the first pinned nothing", about(), NEW, Fresh),
        to("the connection's first segment after them", sent(ACK), NEW, Fresh),
        to("an error about a connection that is pinned", about(), NEW, Pinned),
        to("an error about an unknown datagram", of_udp(), OLD, Previous),
        to("another one, since the first noted nothing", of_udp(), OLD, Previous),
        to("the datagram itself", datagram(family, &MOVED, 2002), OLD, Previous),
        to("an error about a datagram that was noted", of_udp(), OLD, Pinned),
        to("an error about a connection that is to be reset", resetting, NEW, Current),
    ]
}

fn without_a_previous_owner(family: Family) -> Vec<Row> {
    let (sent, datagram) = (
        |port, flags| segment(family, &ORPHANED, port, flags),
        || datagram(family, &ORPHANED, 2003),
    );
    use Rule::{Current, Pinned};
    vec![
        to("an older connection whose real is gone", sent(1003, ACK), NEW, Current),
        to("a SYN after the older owner is gone", sent(1004, SYN), NEW, Current).begins(),
        to("an older datagram whose real is gone", datagram(), NEW, Current),
        to("the next one, which was noted", datagram(), NEW, Pinned),
    ]
}

fn without_a_current_owner(family: Family) -> Vec<Row> {
    let sent = |vip, flags| segment(family, vip, 1005, flags);
    let datagram = |vip| datagram(family, vip, 2005);
    use Outcome::NoReal;
    use Rule::{Pinned, Previous};
    vec![
        row("a SYN that nobody takes", sent(&ENDING, SYN), NoReal),
        to("an older connection where nobody takes new ones", sent(&ENDING, ACK), OLD, Previous),
        to("a datagram where nobody takes new ones", datagram(&ENDING), OLD, Previous),
        to("the next one of its flow", datagram(&ENDING), OLD, Pinned),
        row("a SYN that nobody takes, where others are reset", sent(&ENDED, SYN), NoReal),
        row("a datagram that nobody takes, where others are reset", datagram(&ENDED), NoReal),
    ]
}

/// The segment by this link, and the reset that goes back for it.
fn answered(
    family: Family,
    claim: &str,
    vip: Party,
    tags: &[(u16, u16)],
    of: impl Fn(Tcp) -> Tcp,
) -> Row {
    const NUMBERS: (u32, u32) = (0x8000_0001, 0xfedc_ba98);
    let segment = family.ip(arriving(tags), CLIENT, vip).tcp(1006, 80);
    let back = with(Link::new(BALANCER, ROUTER), tags);
    let ip = match family.ip(back, vip, CLIENT) {
        Ip::V4(ip) => Ip::V4(ip.dont_fragment()),
        ip @ Ip::V6(_) => ip,
    };
    let reset = ip.tcp(80, 1006).flags(RST).numbers(NUMBERS.1, 0).window(0).build();
    row(claim, of(segment.numbers(NUMBERS.0, NUMBERS.1)).build(), Outcome::Reset).sent(reset)
}

/// Connections that are older than the move, of a real whose drain is over.
fn reset(family: Family) -> Vec<Row> {
    let by = |claim, tags, of: fn(Tcp) -> Tcp| answered(family, claim, RESETTING.vip, tags, of);
    let sent = |flags| segment(family, &RESETTING, 1007, flags);
    let datagram = || datagram(family, &RESETTING, 2007);
    let nobody = answered(family, "an older one where nobody is left", ENDED.vip, &[], |tcp| tcp);
    let mut padded = by("a segment shorter than its frame", &[], |tcp| tcp);
    padded.frame.extend([0xee; 6]);
    use Rule::{Current, Fresh, Pinned};
    vec![
        by("an older segment is answered with a reset", &[], |tcp| tcp),
        by("with data", &[], |tcp| tcp.payload(b"GET / HTTP/1.1\r\n")),
        by("with an odd number of bytes", &[], |tcp| tcp.payload(b"odd")),
        by("with much data", &[], |tcp| tcp.payload(&[0xaa; 1400])),
        by("with TCP options", &[], |tcp| tcp.options(&[1; 12])),
        by("with the most TCP options, and data", &[], |tcp| tcp.options(&[1; 40]).payload(b"!")),
        by("with a wrong checksum", &[], |tcp| tcp.checksum(1)),
        by("with FIN", &[], |tcp| tcp.flags(FIN | ACK)),
        by("with SYN and ACK", &[], |tcp| tcp.flags(SYN | ACK)),
        by("with an empty window", &[], |tcp| tcp.window(0)),
        by("in a VLAN", &[(0x8100, 0xb005)], |tcp| tcp.payload(b"tagged")),
        by("by QinQ", &QINQ, |tcp| tcp.options(&[1; 4]).payload(b"twice tagged")),
        padded,
        nobody,
        to("a SYN beside those goes to the new owner", sent(SYN), NEW, Current).begins(),
        to("its connection is not reset", sent(ACK), NEW, Fresh),
        to("not later either", sent(ACK), NEW, Pinned),
        to("a datagram is never reset", datagram(), NEW, Current),
        to("it was noted", datagram(), NEW, Pinned),
    ]
}

/// What a host does not answer with a reset, or not so simply.
fn not_reset(family: Family) -> Vec<Row> {
    let sent = |flags| segment(family, &RESETTING, 1008, flags);
    let part = || family.to(RESETTING.vip).fragment(54, 0, true).tcp(1008, 80).build();
    let later = family.to(RESETTING.vip).fragment(54, 24, false).raw(6, &[0; 24]);
    let optional = match family.to(RESETTING.vip) {
        Ip::V4(ip) => ip.options(&[1; 4]).tcp(1008, 80),
        Ip::V6(ip) => ip.hop_by_hop(&[]).tcp(1008, 80),
    };
    use Outcome::{Fragment, NoReal};
    vec![
        row("a reset is not reset", sent(RST), NoReal),
        row("a reset with ACK is not either", sent(RST | ACK), NoReal),
        row("nor what acknowledges nothing", sent(FIN), NoReal),
        row("nor what has no flags", sent(0), NoReal),
        row("nor behind options", optional.build(), NoReal),
        row("nor a first fragment", part(), NoReal),
        row("what would follow a first fragment that is lost", later, Fragment),
    ]
}

/// As it may be for a moment, between two writes of a plan.
fn reset_in_a_slot_that_has_not_moved(family: Family) -> Vec<Row> {
    let sent = |flags| segment(family, &STAYED, 1009, flags);
    let empty = family.to(STAYED.vip).udp(2009, 53).build();
    use Outcome::NoReal;
    vec![
        answered(family, "a connection of the only owner", STAYED.vip, &[], |tcp| tcp),
        answered(family, "the same in a VLAN", STAYED.vip, &[(0x8100, 5)], |tcp| tcp),
        row("a SYN to the only owner", sent(SYN), NoReal),
        row("a datagram to the only owner", datagram(family, &STAYED, 2009), NoReal),
        row("an empty datagram to the only owner", empty, NoReal),
    ]
}
