//! What only IPv6 has: extension headers, a fragment header with 32 bits of identification, and
//! neighbour discovery.

use lb_common::{Outcome, limits};

use super::{Family, Row, cut_off, row, to_balancer};
use crate::{
    packet::Ipv6,
    world::{ALL_TCP, CLIENT, EVERYTHING, NO_VIP, Party, WEB},
};

const GRE: u8 = 47;
const UDP: u8 = 17;
const NO_NEXT_HEADER: u8 = 59;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = extensions();
    rows.extend(pairs());
    rows.extend(too_many_extensions());
    rows.extend(broken_extensions());
    rows.extend(cut_off("a segment behind extension headers", &chain(WEB, 2).tcp(1, 80).build()));
    rows.extend(fragments());
    rows.extend(identifications());
    rows.extend(icmp());
    rows.extend(discovery());
    for row in &mut rows {
        row.claim.insert_str(0, "V6: ");
    }
    rows
}

fn to(vip: Party) -> Ipv6 {
    to_balancer().ipv6(CLIENT.v6, vip.v6)
}

/// A header with so many extension headers, of all kinds in the order that RFC 8200 (section 4.1)
/// recommends.
fn chain(vip: Party, length: usize) -> Ipv6 {
    (0..length).fold(to(vip), |ip, index| match index % 4 {
        0 => ip.hop_by_hop(&[5, 2, 0, 0]),
        1 => ip.destination_options(&[1, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        2 => ip.routing(&[4, 0, 0, 0, 0, 0]),
        _ => ip.fragment(0, false, 99),
    })
}

fn extensions() -> Vec<Row> {
    let longest = [0; 255 * 8 + 6];
    use Outcome::{Forwarded, NoService, VipLocal};
    let mut rows = vec![
        row("a flow label", to(WEB).flow_label(0xabcde).tcp(1, 80).build(), Forwarded),
        row("hop-by-hop options", to(WEB).hop_by_hop(&[]).tcp(1, 80).build(), Forwarded),
        row("destination options", to(WEB).destination_options(&[]).udp(1, 53).build(), Forwarded),
        row("a routing header", to(WEB).routing(&[4, 0]).tcp(1, 80).build(), Forwarded),
        row("the longest options", to(WEB).hop_by_hop(&longest).tcp(1, 80).build(), Forwarded),
        row("no next header", to(EVERYTHING).raw(NO_NEXT_HEADER, &[]), Forwarded),
        row(
            "no next header behind options",
            to(WEB).hop_by_hop(&[]).raw(NO_NEXT_HEADER, &[]),
            NoService,
        ),
        row("GRE behind options", to(EVERYTHING).hop_by_hop(&[]).raw(GRE, &[0; 8]), Forwarded),
        row("an unserved port behind options", chain(WEB, 1).tcp(1, 81).build(), NoService),
        row("an unserved port behind options, here", chain(ALL_TCP, 1).udp(1, 1).build(), VipLocal),
    ];
    rows.extend((1..=limits::EXTENSIONS).map(|length| {
        let frame = chain(WEB, length).tcp(1, 80).build();
        row(format!("{length} extension headers"), frame, Forwarded)
    }));
    rows
}

/// Any two of them, in any order.
fn pairs() -> Vec<Row> {
    type Add = fn(Ipv6) -> Ipv6;
    const KINDS: [(&str, Add); 4] = [
        ("hop-by-hop options", |ip| ip.hop_by_hop(&[5, 2, 0, 0])),
        ("destination options", |ip| ip.destination_options(&[1; 14])),
        ("a routing header", |ip| ip.routing(&[4, 0, 0, 0, 0, 0])),
        ("an atomic fragment", |ip| ip.fragment(0, false, 96)),
    ];
    let pairs = KINDS.iter().flat_map(|first| KINDS.iter().map(move |second| (first, second)));
    pairs
        .map(|((first, add), (second, add_another))| {
            let frame = add_another(add(to(WEB))).udp(1, 53).build();
            row(format!("{first} and then {second}"), frame, Outcome::Forwarded)
        })
        .collect()
}

fn too_many_extensions() -> Vec<Row> {
    let five = |vip| chain(vip, limits::EXTENSIONS + 1);
    let fragment = |offset| chain(WEB, 3).hop_by_hop(&[]).fragment(offset, true, 98);
    use Outcome::{ExtensionHeaders, Forwarded, NotVip};
    vec![
        row("a fifth extension header", five(WEB).tcp(1, 80).build(), ExtensionHeaders),
        row("a fifth one to the own address", five(ALL_TCP).tcp(1, 80).build(), ExtensionHeaders),
        row("a fifth one where all is served", five(EVERYTHING).raw(GRE, &[]), ExtensionHeaders),
        row("a fifth one to no VIP", five(NO_VIP).tcp(1, 80).build(), NotVip),
        row("a fifth one that says fragment", fragment(0).udp(1, 53).build(), ExtensionHeaders),
        row(
            "a fourth one that says fragment",
            chain(WEB, 3).fragment(0, true, 97).udp(1, 53).build(),
            Forwarded,
        ),
        row(
            "a later fragment, whatever its content looks like",
            chain(WEB, 3).fragment(8, true, 97).raw(0, &[0; 8]),
            Forwarded,
        ),
    ]
}

/// Extension headers of which the packet does not have all.
fn broken_extensions() -> Vec<Row> {
    let whole = chain(WEB, 4).tcp(1, 80);
    let headers = whole.packet().len() - 40;
    let short =
        |vip: Party, length: usize| chain(vip, 4).payload_length(length as u16).tcp(1, 80).build();
    let long = |vip| to(vip).extension(0, &[4, 0, 0, 0, 0, 0, 0]).tcp(1, 80).build();
    use Outcome::{NotVip, Truncated};
    let mut rows = vec![
        row("options longer than the packet", long(WEB), Truncated),
        row("the same to no VIP", long(NO_VIP), NotVip),
        row("a packet that ends in an extension header to no VIP", short(NO_VIP, 4), NotVip),
        row(
            "extension headers and nothing behind them",
            to(WEB).hop_by_hop(&[]).raw(6, &[]),
            Truncated,
        ),
    ];
    rows.extend((0..headers).map(|length| {
        row(format!("a payload of {length} bytes and then padding"), short(WEB, length), Truncated)
    }));
    rows
}

fn fragments() -> Vec<Row> {
    let of = |id, offset, more| to(WEB).fragment(offset, more, id);
    let behind = |offset, more| to(WEB).hop_by_hop(&[]).routing(&[4, 0]).fragment(offset, more, 30);
    let icmp = to(EVERYTHING).fragment(0, true, 31).icmp(139, 0).payload(&[0; 8]).build();
    use Outcome::{Forwarded, Fragment};
    vec![
        row("a first fragment behind options", behind(0, true).udp(1, 53).build(), Forwarded),
        row("a later one behind options", behind(8, true).raw(UDP, &[0; 8]), Forwarded),
        row("a later one without the options", of(30, 16, false).raw(UDP, &[0; 8]), Forwarded),
        row("a later one that names another protocol", of(30, 24, true).raw(6, &[0; 8]), Forwarded),
        row(
            "a first fragment with destination options",
            of(32, 0, true).destination_options(&[]).udp(1, 53).build(),
            Forwarded,
        ),
        row("a later one of it", of(32, 16, false).raw(60, &[0; 8]), Forwarded),
        row("a first fragment of ICMP", icmp, Forwarded),
        row(
            "a later one of ICMP",
            to(EVERYTHING).fragment(16, false, 31).raw(58, &[0; 8]),
            Forwarded,
        ),
        row("an atomic fragment", of(33, 0, false).tcp(1, 80).build(), Forwarded),
        row("nothing follows it", of(33, 8, false).raw(6, &[0; 8]), Fragment),
    ]
}

/// The identification has 32 bits.
fn identifications() -> Vec<Row> {
    let first = |id| to(WEB).fragment(0, true, id).udp(1, 53).build();
    let later = |id| to(WEB).fragment(8, false, id).raw(UDP, &[0; 8]);
    use Outcome::{Forwarded, Fragment};
    vec![
        row("a first fragment of a large number", first(0xabcd_0040), Forwarded),
        row("a later one with the same lower half", later(0x0000_0040), Fragment),
        row("a later one with the same upper half", later(0xabcd_0000), Fragment),
        row("a later one with all of the number", later(0xabcd_0040), Forwarded),
    ]
}

fn icmp() -> Vec<Row> {
    let quote = Family::V6.answer(WEB).tcp(80, 40_000).packet();
    let from_vip = || to_balancer().ipv6(WEB.v6, CLIENT.v6);
    let options = from_vip().destination_options(&[]).tcp(80, 40_000).packet();
    let cut = from_vip().fragment(0, true, 1).tcp(80, 40_000).packet();
    let about = |quoted: &[u8]| to(WEB).icmp(2, 0).payload(quoted).build();
    let ping = |ip: Ipv6| ip.icmp(128, 0).build();
    let behind = to(WEB).hop_by_hop(&[]).icmp(2, 0).payload(&quote).build();
    let fragment = to(WEB).fragment(0, true, 50).icmp(2, 0).payload(&quote).build();
    use Outcome::{Forwarded, NoService, VipLocal};
    let mut rows = vec![
        row("a quote with other extension headers", about(&options), NoService),
        row("a quote that ends in its fragment header", about(&cut[..47]), NoService),
        row("a quote that ends behind it", about(&cut[..48]), NoService),
        row("a quote of a first fragment's ports", about(&cut[..52]), Forwarded),
        row("an error behind extension headers", behind, Forwarded),
        row("an error in fragments", fragment, NoService),
        row("a ping behind an extension header", ping(to(WEB).hop_by_hop(&[])), NoService),
        row("the same to the own address", ping(to(ALL_TCP).hop_by_hop(&[])), VipLocal),
        row("the same where all is served", ping(to(EVERYTHING).hop_by_hop(&[])), Forwarded),
        row("a ping in an atomic fragment", ping(to(WEB).fragment(0, false, 1)), NoService),
    ];
    rows.extend([0, 5, 100, 127, 138].map(|kind| {
        let frame = to(WEB).icmp(kind, 0).payload(&quote).build();
        row(format!("ICMP of type {kind}, which is no error we know"), frame, NoService)
    }));
    rows
}

fn discovery() -> Vec<Row> {
    let message = |kind, vip| to(vip).hop_limit(255).icmp(kind, 0).payload(&[0; 16]).build();
    use Outcome::{NeighbourDiscovery, NotVip};
    let to_each = |kind| {
        [
            row(format!("discovery of type {kind}"), message(kind, WEB), NeighbourDiscovery),
            row(format!("type {kind}, own address"), message(kind, ALL_TCP), NeighbourDiscovery),
            row(format!("type {kind}, all served"), message(kind, EVERYTHING), NeighbourDiscovery),
            row(format!("type {kind}, no VIP"), message(kind, NO_VIP), NotVip),
        ]
    };
    (133..=137).flat_map(to_each).collect()
}
