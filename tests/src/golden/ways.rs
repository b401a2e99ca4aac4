//! VLAN tags and ports: with which tags frames arrive, and with which addresses and tags they must
//! leave.

use lb_common::Outcome;

use super::{Family, Ip, Kind, Row, cut_off, row, to_balancer};
use crate::{
    packet::{Link, SYN},
    world::{
        BALANCER, CLIENT, EVERYTHING, NO_VIP, Party, Port, STACKED, UNTAGGED, UNWRITTEN, WAYS, WEB,
        Way,
    },
};

const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;
/// Those of a frame by QinQ.
pub(super) const QINQ: [(u16, u16); 2] = [(SERVICE, 0xb007), (CUSTOMER, 0x4009)];
/// The bits of a control field that are the VLAN.
const VLAN: u16 = 0xfff;

/// The tags of a frame that arrives.
struct Arriving {
    claim: &'static str,
    /// EtherType and control field of each, from the outside in.
    tags: &'static [(u16, u16)],
}

const fn tagged(claim: &'static str, tags: &'static [(u16, u16)]) -> Arriving {
    Arriving { claim, tags }
}

/// None, one or two tags, with all kinds of priorities (PCP and DEI).
const ARRIVING: [Arriving; 7] = [
    tagged("untagged", &[]),
    tagged("in a VLAN", &[(CUSTOMER, 0x0005)]),
    tagged("in a VLAN with priority", &[(CUSTOMER, 0xb064)]),
    tagged("with a priority tag", &[(CUSTOMER, 0xe000)]),
    tagged("in a provider's VLAN", &[(SERVICE, 0x5006)]),
    tagged("by QinQ", &QINQ),
    tagged("behind two 802.1Q tags", &[(CUSTOMER, 0x6007), (CUSTOMER, 0x1009)]),
];

/// A frame from the router to the balancer that has these tags.
#[must_use]
pub fn arriving(tags: &[(u16, u16)]) -> Link {
    with(to_balancer(), tags)
}

pub(super) fn with(link: Link, tags: &[(u16, u16)]) -> Link {
    tags.iter().fold(link, |link, (kind, control)| link.tag(*kind, *control))
}

/// With which addresses and tags a frame leaves that arrived with these tags: the outer tag has the
/// priority of the outer or only one, the inner tag that of the inner or only one.
///
/// # Panics
///
/// Where the port is not there.
#[must_use]
pub fn expected(way: &Way, tags: &[(u16, u16)]) -> Link {
    let port = Port::number(way.port).expect("a port that is there");
    let priority = |tag: Option<&(u16, u16)>| tag.map_or(0, |(_, control)| control & !VLAN);
    let outer = port.outer.map(|(kind, vlan)| (kind, vlan | priority(tags.first())));
    let inner = (way.vlan != 0).then_some((CUSTOMER, way.vlan | priority(tags.last())));
    let tags: Vec<_> = outer.into_iter().chain(inner).collect();
    with(Link::new(port.mac, way.mac), &tags)
}

pub(super) fn rows(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    for way in &WAYS {
        rows.extend(ARRIVING.iter().map(|arriving| on_its_way(family, arriving, way)));
    }
    rows.extend(tagged_frames(family));
    rows.extend(tagged_fragments(family));
    rows.extend(pings(family));
    rows.extend(bounced(family));
    let whole = family.ip(arriving(&QINQ), CLIENT, WEB).tcp(1, 80).build();
    rows.extend(cut_off("a segment behind two tags", &whole));
    rows
}

fn on_its_way(family: Family, tags: &Arriving, way: &Way) -> Row {
    let claim = format!("{}, {}", tags.claim, way.claim);
    let behind = |link| family.ip(link, CLIENT, way.vip).udp(1, 2).payload(b"datagram").build();
    let frame = behind(arriving(tags.tags));
    if !way.is_there() {
        return row(claim, frame, Outcome::InterfaceGone);
    }
    row(claim, frame, Outcome::Forwarded).sent(behind(expected(way, tags.tags)))
}

/// Other packets than the usual one behind tags.
fn tagged_frames(family: Family) -> Vec<Row> {
    let way = &STACKED;
    let tags = [(CUSTOMER, 0x2005)];
    let to = |link, vip: Party| family.ip(link, CLIENT, vip);
    let row_of = |claim: &str, build: &dyn Fn(Ip) -> Vec<u8>| {
        let frame = build(to(arriving(&tags), way.vip));
        row(claim, frame, Outcome::Forwarded).sent(build(to(expected(way, &tags), way.vip)))
    };
    let quote = family.answer(way.vip).tcp(80, 40_000).packet();
    let web = |port| to(arriving(&tags), WEB).tcp(1, port).build();
    let padded = |ip: Ip| [&ip.tcp(1, 80).build()[..], &[0xee; 18]].concat();
    let unresolved = to(arriving(&tags), UNWRITTEN).tcp(1, 80).build();
    use Outcome::{NoService, NotVip, Truncated, Unresolved};
    vec![
        row_of("a tagged SYN", &|ip| ip.tcp(1, 80).flags(SYN).build()).begins(),
        row_of("a tagged ICMP error", &|ip| ip.message(Kind::TooBig).payload(&quote).build()),
        row_of("a tagged protocol without ports", &|ip| ip.raw(47, &[0; 8])),
        row_of("a tagged frame longer than its packet", &padded),
        row_of("a large tagged frame", &|ip| ip.udp(1, 2).payload(&[0xaa; 1472]).build()),
        row("a tagged segment to an unserved port", web(81), NoService),
        row("to a real that nobody has resolved", unresolved, Unresolved),
        row("to nobody of ours", to(arriving(&tags), NO_VIP).tcp(1, 80).build(), NotVip),
        row(
            "a tagged packet longer than its frame",
            to(arriving(&tags), WEB).length(21).tcp(1, 80).build(),
            Truncated,
        ),
    ]
}

/// Fragments follow the first one by whichever VLAN they come.
fn tagged_fragments(family: Family) -> Vec<Row> {
    let way = &STACKED;
    let part = |link, id, offset: u16| {
        let ip = family.ip(link, CLIENT, way.vip).fragment(id, offset, true);
        if offset == 0 { ip.udp(1, 2).build() } else { ip.raw(17, &[0xaa; 24]) }
    };
    let row_of = |claim, tags: &[(u16, u16)], offset| {
        let frame = part(arriving(tags), 40, offset);
        row(claim, frame, Outcome::Forwarded).sent(part(expected(way, tags), 40, offset))
    };
    vec![
        row_of("a tagged first fragment", &[(CUSTOMER, 5)], 0),
        row_of("a later one with the same tag", &[(CUSTOMER, 5)], 8),
        row_of("a later one with another tag", &[(CUSTOMER, 6)], 16),
        row_of("a later one without a tag", &[], 24),
        row_of("a later one with two tags", &[(SERVICE, 7), (CUSTOMER, 8)], 32),
        row(
            "a tagged fragment of nothing known",
            part(arriving(&[(CUSTOMER, 5)]), 41, 8),
            Outcome::Fragment,
        ),
    ]
}

/// An answer goes back by the VLAN by which the ping came.
fn pings(family: Family) -> Vec<Row> {
    let ping = |tags| {
        let ip = family.ip(arriving(tags), CLIENT, EVERYTHING);
        ip.message(Kind::EchoRequest).payload(b"ping!").build()
    };
    ARRIVING
        .iter()
        .map(|Arriving { claim, tags }| {
            row(format!("a ping {claim}"), ping(tags), Outcome::EchoAnswered)
        })
        .collect()
}

/// A real that sends to the VIP what it should have kept; whether its interface is there or not.
fn bounced(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    for way in &WAYS {
        let link = || Link::new(way.mac, BALANCER);
        let from = |link: Link| family.ip(link, CLIENT, way.vip).tcp(1, 80).build();
        let claim = |tags: &str| format!("back {}, {tags}", way.claim);
        rows.push(row(claim("untagged"), from(link()), Outcome::Bounced));
        rows.push(row(claim("tagged"), from(link().vlan(100)), Outcome::Bounced));
    }
    let way = &UNTAGGED;
    let part = |link, offset| family.ip(link, CLIENT, way.vip).fragment(60, offset, true);
    let first = part(Link::new(way.mac, BALANCER), 0).udp(1, 2).build();
    rows.push(row("a first fragment from the real", first, Outcome::Bounced));
    let later = part(to_balancer(), 8).raw(17, &[0; 8]);
    rows.push(row("what would follow that fragment", later, Outcome::Fragment));
    let ping = family.ip(Link::new(way.mac, BALANCER), CLIENT, way.vip);
    let ping = ping.message(Kind::EchoRequest).build();
    rows.push(row("a ping from the real", ping, Outcome::EchoAnswered));
    rows
}

/// What is no IP at all, with tags or without.
pub(super) fn not_ip() -> Vec<Row> {
    let three = [(SERVICE, 1), (CUSTOMER, 2), (CUSTOMER, 3)];
    let segment = |link| Family::V4.ip(link, CLIENT, WEB).tcp(1, 80).build();
    let other = to_balancer().tag(0x9100, 1);
    use Outcome::{NotIp, Truncated};
    vec![
        row("ARP", to_balancer().carry(0x0806, &[0; 28]), NotIp),
        row("ARP in a VLAN", arriving(&[(CUSTOMER, 5)]).carry(0x0806, &[0; 28]), NotIp),
        row("ARP by QinQ", arriving(&QINQ).carry(0x0806, &[0; 28]), NotIp),
        row("an Ethernet header alone", to_balancer().carry(0x0806, &[]), NotIp),
        row("three tags", segment(arriving(&three)), NotIp),
        row("a tag of another kind", segment(other), NotIp),
        row("a tag cut off", to_balancer().carry(CUSTOMER, &[0, 5, 8]), Truncated),
        row("nothing behind an announced tag", to_balancer().carry(CUSTOMER, &[]), Truncated),
        row(
            "a second tag cut off",
            arriving(&[(SERVICE, 5)]).carry(CUSTOMER, &[0, 5, 8]),
            Truncated,
        ),
        row("nothing behind a tag", arriving(&[(CUSTOMER, 5)]).carry(0x0800, &[]), Truncated),
        row(
            "an IPv6 packet said to be IPv4",
            Family::V6.ip(to_balancer().ethertype(0x0800), CLIENT, WEB).tcp(1, 80).build(),
            Outcome::Malformed,
        ),
        row(
            "an IPv4 packet said to be IPv6",
            Family::V4.ip(to_balancer().ethertype(0x86dd), CLIENT, WEB).tcp(1, 80).build(),
            Outcome::Malformed,
        ),
    ]
}
