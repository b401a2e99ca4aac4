//! What only IPv4 has: options, a header length, a total length, and a protocol in what keeps fragments
//! together.

use lb_common::Outcome;

use super::{Family, Row, row, to_balancer};
use crate::{
    packet::Ipv4,
    world::{CLIENT, NO_VIP, Party, WEB},
};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = headers();
    rows.extend(icmp());
    rows.extend(fragments());
    for row in &mut rows {
        row.claim.insert_str(0, "V4: ");
    }
    rows
}

fn to(vip: Party) -> Ipv4 {
    to_balancer().ipv4(CLIENT.v4, vip.v4)
}

fn headers() -> Vec<Row> {
    use Outcome::{Forwarded, Malformed, NotVip, Truncated};
    vec![
        row("options", to(WEB).options(&[1; 8]).tcp(3, 80).build(), Forwarded),
        row("the longest header", to(WEB).options(&[1; 40]).tcp(3, 80).build(), Forwarded),
        row("don't fragment", to(WEB).dont_fragment().tcp(5, 80).build(), Forwarded),
        row("a header of 16 bytes", to(WEB).header_words(4).tcp(1, 80).build(), Malformed),
        row("a header of no bytes", to(WEB).header_words(0).tcp(1, 80).build(), Malformed),
        row("a length below the header's", to(WEB).total_length(19).tcp(1, 80).build(), Malformed),
        // As a segment has it that is longer than the field can say, between machines that agreed on it.
        row("no length to nobody of ours", to(NO_VIP).total_length(0).tcp(1, 80).build(), NotVip),
        row("options beyond the packet", to(WEB).header_words(15).udp(1, 53).build(), Malformed),
        row(
            "ports beyond the packet's options",
            to(WEB).options(&[1; 40]).total_length(67).udp(1, 53).build(),
            Truncated,
        ),
    ]
}

fn icmp() -> Vec<Row> {
    let quote = || Family::V4.answer(WEB).tcp(80, 40_000).packet();
    let options = to_balancer().ipv4(WEB.v4, CLIENT.v4).options(&[1; 8]).tcp(80, 40_000).packet();
    let short = to_balancer().ipv4(WEB.v4, CLIENT.v4).header_words(4).tcp(80, 40_000).packet();
    let about = |quoted: &[u8]| to(WEB).icmp(3, 4).payload(quoted).build();
    let with_options = to(WEB).options(&[1; 8]).icmp(3, 4).payload(&quote()).build();
    let fragment = to(WEB).id(20).fragment(0, true).icmp(3, 4).payload(&quote()).build();
    use Outcome::{Forwarded, NoService};
    vec![
        row("a quote with options", about(&options), Forwarded),
        row("an error with options", with_options, Forwarded),
        row("a quote of an impossible header", about(&short), NoService),
        row("an error in fragments", fragment, NoService),
        row("a redirect", to(WEB).icmp(5, 1).payload(&quote()).build(), NoService),
        row("a source quench", to(WEB).icmp(4, 0).payload(&quote()).build(), NoService),
        row("a ping with options", to(WEB).options(&[1; 4]).icmp(8, 0).build(), NoService),
    ]
}

fn fragments() -> Vec<Row> {
    let of = |protocol, offset, more| {
        to(WEB).id(21).fragment(offset, more).raw(protocol, &[0, 1, 0, 53, 0, 24, 0, 0])
    };
    use Outcome::{Forwarded, Fragment};
    vec![
        row("a first fragment of UDP", of(17, 0, true), Forwarded),
        row("a later one of another protocol", of(6, 8, true), Fragment),
        row("a later one of UDP", of(17, 8, true), Forwarded),
    ]
}
