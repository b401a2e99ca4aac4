//! One table of packets, two engines: the datapath's code on the host, and the loaded object through
//! `BPF_PROG_TEST_RUN`. For each packet both must agree with the table on how it ends, on every byte of
//! the frame, and on every counter.

use std::net::Ipv4Addr;

use lb_common::{Counters, Outcome};
use tests::{
    golden::{Row, table, to_balancer},
    invariant::check_answer,
    packet::{SYN, checksum},
    world::{BALANCER, CLIENT, Seen, WEB, engines, in_kernel, on_host, places, world, xdp_action},
};

/// Checks one packet's traces against its row, given what was seen before it.
fn check(row: &Row, before: &Seen, after: &Seen) {
    let Row { claim, frame, outcome } = row;
    assert_eq!(after.action, xdp_action(*outcome), "{claim}: action");
    for (index, counted) in Outcome::ALL.iter().enumerate() {
        let expected = u64::from(counted == outcome);
        let delta = after.outcomes[index] - before.outcomes[index];
        assert_eq!(delta, expected, "{claim}: counter {}", counted.label());
    }
    let deltas =
        before.steered.iter().zip(&after.steered).filter(|(before, after)| before != after);
    let deltas: Vec<_> = deltas.collect();
    if *outcome == Outcome::EchoAnswered {
        assert!(deltas.is_empty(), "{claim}: nobody was steered to");
        return check_ping(claim, frame, &after.frame);
    }
    if *outcome != Outcome::Forwarded {
        assert_eq!(&after.frame, frame, "{claim}: the frame is untouched");
        assert!(deltas.is_empty(), "{claim}: nobody was steered to");
        return;
    }
    let [(before, after_one)] = deltas[..] else {
        panic!("{claim}: {} reals counted it", deltas.len());
    };
    let begins = frame[23] == 6 && frame[14 + usize::from(frame[14] & 0xf) * 4 + 13] & 0x12 == 0x02;
    assert_eq!(after_one.packets - before.packets, 1, "{claim}: packets");
    assert_eq!(after_one.bytes - before.bytes, frame.len() as u64, "{claim}: bytes");
    assert_eq!(after_one.flows - before.flows, u64::from(begins), "{claim}: flows");
    assert_eq!(after.frame[..5], [2, 0, 0, 0, 0], "{claim}: destination");
    assert!((11..=13).contains(&after.frame[5]), "{claim}: destination");
    assert_eq!(after.frame[6..12], BALANCER.0, "{claim}: source");
    assert_eq!(after.frame[12..], frame[12..], "{claim}: everything else");
}

/// Checks the answer to a ping against the request, whose checksums are right.
fn check_ping(claim: &str, request: &[u8], answer: &[u8]) {
    let total = usize::from(u16::from_be_bytes([request[16], request[17]]));
    check_answer(request, answer);
    assert_eq!(checksum(&[&answer[14..34]]), 0, "{claim}: IP checksum");
    assert_eq!(checksum(&[&answer[34..14 + total]]), 0, "{claim}: ICMP checksum");
}

#[test]
fn all_fragments_of_a_datagram_go_to_the_real_of_its_flow() {
    let (memory, mut kernel, _) = engines(&world());
    for port in 1..500u16 {
        let ip = || to_balancer().ipv4(CLIENT, WEB).id(port);
        let mut whole = ip().udp(port, 53).build();
        assert!(memory.process(&mut whole).is_ok());
        let first = ip().fragment(0, true).udp(port, 53).payload(&[0; 16]).build();
        let later = ip().fragment(24, false).raw(17, &[0; 100]);
        for fragment in [first, later] {
            assert_eq!(kernel.process(&fragment).expect("a test run").1[..12], whole[..12]);
        }
    }
}

#[test]
fn pings_beyond_the_rate_are_dropped_and_counted() {
    let (_, mut kernel, _) = engines(&world());
    let ping = to_balancer().ipv4(CLIENT, WEB).icmp(8, 0).build();
    // More than all CPUs answer in the seconds that this may take at the very most.
    for _ in 0..20_000 {
        kernel.process(&ping).expect("a test run");
    }
    let count = |outcome| kernel.outcome(outcome).expect("a counter");
    assert!(count(Outcome::EchoAnswered) >= lb_common::limits::ECHOES);
    assert!(count(Outcome::EchoLimited) > 0);
    assert_eq!(count(Outcome::EchoAnswered) + count(Outcome::EchoLimited), 20_000);
}

#[test]
fn each_packet_ends_as_the_table_says_in_both_engines() {
    let (memory, mut kernel, state) = engines(&world());
    let nothing = |frame: &[u8]| Seen {
        action: 0,
        frame: frame.to_vec(),
        outcomes: vec![0; Outcome::ALL.len()],
        steered: vec![Counters::default(); places(&state).len()],
    };
    let mut before = nothing(&[]);
    for row in table() {
        let host = on_host(&memory, &state, &row.frame);
        let loaded = in_kernel(&mut kernel, &state, &row.frame);
        assert_eq!(host, loaded, "{}: the engines differ", row.claim);
        check(&row, &before, &loaded);
        before = loaded;
    }
}

#[test]
fn every_outcome_is_reached_by_the_table() {
    let table = table();
    // Limited by a rate, and so not by what a packet is: a test of its own reaches it.
    for outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::EchoLimited) {
        assert!(table.iter().any(|row| row.outcome == *outcome), "{}", outcome.label());
    }
}

#[test]
fn a_trace_says_what_the_datapath_does_and_counts_nothing() {
    let (_, mut kernel, state) = engines(&world());
    for row in table() {
        let traced = kernel.trace(&row.frame).expect("a trace");
        assert_eq!(traced.outcome, row.outcome.index(), "{}", row.claim);
        let seen: u64 =
            Outcome::ALL.iter().map(|outcome| kernel.outcome(*outcome).expect("a counter")).sum();
        assert_eq!(seen, 0, "{}", row.claim);
        if row.outcome == Outcome::Forwarded {
            let (block, real) = state.occupant(traced.place).expect("an occupant");
            assert!(real.is_some());
            assert!(traced.slot < block.ring_len());
        }
    }
    assert!(places(&state).all(|place| kernel.steered(place).expect("a counter").packets == 0));
}

#[test]
fn both_engines_steer_a_thousand_flows_alike() {
    let (memory, mut kernel, _) = engines(&world());
    for flow in 0..1000u16 {
        let client = Ipv4Addr::from(u32::from(CLIENT) + u32::from(flow) * 77);
        let frame = to_balancer().ipv4(client, WEB).tcp(flow, 80).flags(SYN).build();
        let mut host = frame.clone();
        assert!(memory.process(&mut host).is_ok());
        assert_eq!(kernel.process(&frame).expect("a test run").1, host);
    }
}

#[test]
fn an_error_goes_to_the_real_that_owns_the_flow_it_quotes() {
    let (memory, mut kernel, _) = engines(&world());
    for port in 1..500 {
        let mut packet = to_balancer().ipv4(CLIENT, WEB).tcp(port, 80).build();
        assert!(memory.process(&mut packet).is_ok());
        let quote = to_balancer().ipv4(WEB, CLIENT).tcp(80, port).packet();
        let router = Ipv4Addr::new(198, 51, 100, 1);
        let error = to_balancer().ipv4(router, WEB).icmp(3, 4).payload(&quote).build();
        assert_eq!(kernel.process(&error).expect("a test run").1[..12], packet[..12]);
    }
}
