//! One table of packets, two engines: the datapath's code on the host, and the loaded object through
//! `BPF_PROG_TEST_RUN`. For each packet both must agree with the table on how it ends, on every byte of
//! the frame, and on every counter.

mod capture;
mod flows;
mod jumbo;
mod moves;
mod room;

use std::collections::BTreeSet;

use lb_common::{Counters, Outcome, RealWord};
use lb_user::{dataplane::Kernel, plan::State};
use tests::{
    golden::{Family, Kind, Row, table},
    invariant::{check_answer, reset_of, sent_on},
    packet::checksum,
    world::{BALANCER, NOTES, Port, Seen, WEB, clock, engines, in_kernel, noted, on_host, places},
};

const DROP: u32 = 1;
const PASS: u32 = 2;
const TRANSMIT: u32 = 3;
const REDIRECT: u32 = 4;

/// Checks one packet's traces against its row, given what was seen before it.
fn check(row: &Row, state: &State, before: &Seen, after: &Seen) {
    let Row { claim, frame, outcome, .. } = row;
    for (index, counted) in Outcome::ALL.iter().enumerate() {
        let expected = u64::from(counted == outcome);
        let delta = after.outcomes[index] - before.outcomes[index];
        assert_eq!(delta, expected, "{claim}: counter {}", counted.label());
    }
    let pairs = before.steered.iter().zip(&after.steered);
    let changed: Vec<_> = (0..).zip(pairs).filter(|(_, (before, after))| before != after).collect();
    if *outcome == Outcome::Forwarded {
        let [(place, counters)] = changed[..] else {
            panic!("{claim}: {} reals counted it", changed.len());
        };
        check_counters(row, counters);
        return check_sent(row, word(state, place), after);
    }
    assert!(changed.is_empty(), "{claim}: nobody was steered to");
    assert_eq!(after.action, action(*outcome), "{claim}: action");
    match outcome {
        Outcome::EchoAnswered => check_ping(claim, frame, &after.frame),
        Outcome::Reset => {
            assert_eq!(after.frame, reset_of(frame), "{claim}: the reset");
            assert_eq!(Some(&after.frame), row.sent.as_ref(), "{claim}: the reset, built anew");
        }
        _ => assert_eq!(&after.frame, frame, "{claim}: the frame is untouched"),
    }
}

/// Said here once more, and in other words than where it is decided.
fn action(outcome: Outcome) -> u32 {
    use Outcome::{
        Bounced, EchoAnswered, EchoLimited, ExtensionHeaders, Forwarded, Fragment, InterfaceGone,
        Malformed, NeighbourDiscovery, NoReal, NoRoom, NoService, NotForUs, NotIp, NotVip, Reset,
        Truncated, Unresolved, VipLocal,
    };
    match outcome {
        Forwarded | EchoAnswered | Reset => TRANSMIT,
        NotForUs | NotIp | NotVip | VipLocal | NeighbourDiscovery => PASS,
        NoService | Truncated | Malformed | Fragment | EchoLimited | NoReal | Unresolved
        | ExtensionHeaders | Bounced | InterfaceGone | NoRoom => DROP,
    }
}

/// How the real at a place is reached.
fn word(state: &State, place: u32) -> RealWord {
    let (block, real) = state.occupant(place).expect("a pool");
    block.members[&real.expect("a real")].word
}

fn check_counters(row: &Row, (before, after): (&Counters, &Counters)) {
    let Row { claim, frame, .. } = row;
    assert_eq!(after.packets - before.packets, 1, "{claim}: packets");
    assert_eq!(after.bytes - before.bytes, frame.len() as u64, "{claim}: bytes");
    assert_eq!(after.flows - before.flows, u64::from(row.begins), "{claim}: flows");
}

fn check_sent(row: &Row, real: RealWord, after: &Seen) {
    let Row { claim, frame, sent, owner, .. } = row;
    let port = Port::number(real.port()).expect("a port that is there");
    let action = if port.mac == BALANCER { TRANSMIT } else { REDIRECT };
    assert_eq!(after.action, action, "{claim}: action");
    assert_eq!(after.frame, sent_on(frame, real, port.word()), "{claim}: the frame");
    if let Some(sent) = sent {
        assert_eq!(after.frame, *sent, "{claim}: the frame, built anew");
    }
    if let Some((last, rule)) = owner {
        assert_eq!(real.mac()[5], *last, "{claim}: its real");
        let by = after.verdict.map(|(_, _, by)| by);
        assert_eq!(by, Ok(*rule), "{claim}: the rule");
    }
}

/// Checks the answer to a ping against the request, whose checksums are right.
fn check_ping(claim: &str, request: &[u8], answer: &[u8]) {
    check_answer(request, answer);
    // Behind the tags, of which the table has no more than two.
    let ip =
        (12..).step_by(4).find(|at| [0x08, 0x86].contains(&answer[*at]) && answer[at + 1] != 0xa8);
    let (ether_type, packet) = answer[ip.expect("an EtherType")..].split_at(2);
    if ether_type == [0x08, 0x00] {
        assert_eq!(checksum(&[&packet[..20]]), 0, "{claim}: IP checksum");
        assert_eq!(checksum(&[&packet[20..]]), 0, "{claim}: ICMP checksum");
    } else {
        let (ip, message) = packet.split_at(40);
        let length = (message.len() as u32).to_be_bytes();
        let sum = checksum(&[&ip[8..], &length, &[0, 0, 0, 58], message]);
        assert_eq!(sum, 0, "{claim}: ICMPv6 checksum");
    }
}

#[test]
fn each_packet_ends_as_the_table_says_in_both_engines() {
    let (mut memory, mut kernel, state) = engines();
    let mut before = Seen {
        action: 0,
        frame: Vec::new(),
        verdict: Err(Outcome::NotIp),
        outcomes: vec![0; Outcome::ALL.len()],
        steered: vec![Counters::default(); places(&state).len()],
    };
    for row in table() {
        memory.set_now(clock());
        let host = on_host(&memory, &state, &row.frame);
        let loaded = in_kernel(&mut kernel, &state, &row.frame);
        assert_eq!(host, loaded, "{}: the engines differ", row.claim);
        check(&row, &state, &before, &loaded);
        before = loaded;
    }
}

#[test]
fn every_outcome_is_reached_by_the_table() {
    /// Those that do not depend on what a packet is: tests of their own reach them (a rate below, a
    /// frame without room in `room`).
    const NOT_BY_PACKETS: [Outcome; 2] = [Outcome::EchoLimited, Outcome::NoRoom];
    let table = table();
    for outcome in Outcome::ALL.iter().filter(|outcome| !NOT_BY_PACKETS.contains(outcome)) {
        assert!(table.iter().any(|row| row.outcome == *outcome), "{}", outcome.label());
    }
}

#[test]
fn claims_are_made_once() {
    let mut seen = BTreeSet::new();
    let again: Vec<_> = table().into_iter().filter(|row| !seen.insert(row.claim.clone())).collect();
    let again: Vec<_> = again.iter().map(|row| &row.claim).collect();
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn a_trace_counts_nothing_and_leaves_no_note() {
    let (_, mut kernel, state) = engines();
    let times = |kernel: &Kernel| {
        let rings = state.blocks.iter().map(|block| block.ring..block.ring + block.ring_len());
        rings.flatten().map(|index| kernel.times(index)).collect::<Vec<_>>()
    };
    let before = times(&kernel);
    for row in table() {
        let traced = kernel.trace(&row.frame).expect("a trace");
        if traced.outcome == Outcome::Forwarded.index() {
            let (block, real) = state.occupant(traced.place).expect("an occupant");
            assert!(real.is_some());
            assert!(traced.slot < block.ring_len());
        }
    }
    let counted = Outcome::ALL.iter().map(|outcome| kernel.outcome(*outcome).expect("a counter"));
    assert_eq!(counted.sum::<u64>(), 0);
    assert!(places(&state).all(|place| kernel.steered(place).expect("a counter").packets == 0));
    assert!(NOTES.iter().all(|notes| noted(&kernel, *notes).is_empty()));
    assert!(times(&kernel) == before, "no slot's times are touched");
}

#[test]
fn pings_beyond_the_rate_are_dropped_and_counted() {
    let (_, mut kernel, _) = engines();
    let pings = Family::ALL.map(|family| family.to(WEB).message(Kind::EchoRequest).build());
    // More than all CPUs answer in the seconds that this may take at the very most.
    for ping in pings.iter().cycle().take(20_000) {
        kernel.process(ping).expect("a test run");
    }
    let count = |outcome| kernel.outcome(outcome).expect("a counter");
    assert!(count(Outcome::EchoAnswered) >= lb_common::limits::ECHOES);
    assert!(count(Outcome::EchoLimited) > 0);
    assert_eq!(count(Outcome::EchoAnswered) + count(Outcome::EchoLimited), 20_000);
}
