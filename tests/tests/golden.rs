//! One table of packets, two engines: the datapath's code on the host, and the loaded object through
//! `BPF_PROG_TEST_RUN`. For each packet both must agree with the table on how it ends, on every byte of
//! the frame, and on every counter.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::{Counters, Outcome, PortWord, RealWord, Seed};
use lb_user::{
    dataplane::{Dataplane, Kernel, Loader, Memory},
    model::{HashMode, Mac, Ports},
    plan::{Desired, DesiredReal, DesiredVip, Plan, State, plan},
};
use tests::packet::{ACK, Link, RST, SYN, checksum};

const SEED: Seed = Seed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const BALANCER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 0x33]);

const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// tcp/80 and udp/53, not assigned to the balancer.
const WEB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// tcp/*, assigned to the balancer.
const ALL_TCP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
/// Everything.
const EVERYTHING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 30);
/// tcp/80 without a usable real.
const EMPTY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 40);
/// tcp/80 with a real whose MAC address nobody has written.
const UNWRITTEN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const NO_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

fn real(last: u8, usable: bool, word: RealWord) -> DesiredReal {
    DesiredReal { address: IpAddr::from([10, 0, 0, last]), weight: 1, word, usable }
}

fn pool() -> Vec<DesiredReal> {
    [11, 12, 13].map(|last| real(last, true, RealWord::new([2, 0, 0, 0, 0, last], 1))).to_vec()
}

fn vip(address: Ipv4Addr, ports: &[&str], local: bool, reals: Vec<DesiredReal>) -> DesiredVip {
    DesiredVip {
        name: format!("vip-{address}"),
        address,
        ports: ports.iter().map(|ports| ports.parse().expect("ports")).collect::<Vec<Ports>>(),
        hash: HashMode::Flow,
        ring_len: 1021,
        local,
        reals,
        sorry: None,
    }
}

fn world() -> Desired {
    let vips = vec![
        vip(WEB, &["tcp/80", "udp/53"], false, pool()),
        vip(ALL_TCP, &["tcp/*"], true, pool()),
        vip(EVERYTHING, &["any"], false, pool()),
        vip(EMPTY, &["tcp/80"], false, vec![real(11, false, RealWord::NONE)]),
        vip(UNWRITTEN, &["tcp/80"], false, vec![real(11, true, RealWord::NONE)]),
    ];
    Desired { seed: SEED, vips }
}

/// A packet, and how it must end.
struct Row {
    claim: &'static str,
    frame: Vec<u8>,
    outcome: Outcome,
}

fn row(claim: &'static str, frame: Vec<u8>, outcome: Outcome) -> Row {
    Row { claim, frame, outcome }
}

fn to_balancer() -> Link {
    Link::new(ROUTER, BALANCER)
}

fn tcp(destination: Ipv4Addr, port: u16) -> Vec<u8> {
    to_balancer().ipv4(CLIENT, destination).tcp(40_000, port).flags(ACK).payload(b"GET /").build()
}

fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(served());
    rows.extend(not_ours());
    rows.extend(errors());
    rows.extend(pings());
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
        row("IPv6, in this version", to_balancer().carry(0x86dd, &[0x60; 40]), NotIp),
        row(
            "a tagged frame, in this version",
            to_balancer().vlan(7).ipv4(CLIENT, WEB).tcp(1, 80).build(),
            NotIp,
        ),
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
    use Outcome::{EchoAnswered, Forwarded, Fragment, NoService, NotVip};
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
        row("a fragment of a ping", ip(WEB).fragment(0, true).icmp(8, 0).build(), Fragment),
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

/// What contradicts itself.
fn broken() -> Vec<Row> {
    let ip = |to| to_balancer().ipv4(CLIENT, to);
    use Outcome::{Fragment, Malformed, NotVip, Truncated};
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
        row("a first fragment", ip(WEB).fragment(0, true).udp(1, 53).build(), Fragment),
        row("a later fragment", ip(WEB).fragment(8, true).udp(1, 53).build(), Fragment),
        row("the last fragment", ip(WEB).fragment(64, false).udp(1, 53).build(), Fragment),
    ]
}

/// A valid frame cut off at every offset that the kernel's test run takes: 14 bytes and more.
fn truncated() -> Vec<Row> {
    let whole = to_balancer().ipv4(CLIENT, WEB).tcp(1, 80).build();
    (14..whole.len())
        .map(|length| row("a frame cut off", whole[..length].to_vec(), Outcome::Truncated))
        .collect()
}

/// Everything that can be seen of an engine after a packet.
#[derive(Debug, PartialEq)]
struct Seen {
    action: u32,
    frame: Vec<u8>,
    outcomes: Vec<u64>,
    steered: Vec<Counters>,
}

fn xdp_action(outcome: Outcome) -> u32 {
    match outcome.action() {
        lb_common::Action::Drop => 1,
        lb_common::Action::Pass => 2,
        lb_common::Action::Transmit => 3,
    }
}

fn places(state: &State) -> std::ops::Range<u32> {
    0..state.blocks.iter().map(|block| block.pool + block.places).max().unwrap_or_default()
}

fn on_host(memory: &Memory, state: &State, frame: &[u8]) -> Seen {
    let mut frame = frame.to_vec();
    let outcome = memory.process(&mut frame).err().unwrap_or(Outcome::Forwarded);
    Seen {
        action: xdp_action(outcome),
        frame,
        outcomes: Outcome::ALL.iter().map(|outcome| memory.outcome(*outcome)).collect(),
        steered: places(state).map(|place| memory.steered(place)).collect(),
    }
}

fn in_kernel(kernel: &mut Kernel, state: &State, frame: &[u8]) -> Seen {
    let (action, frame) = kernel.process(frame).expect("a test run");
    let outcome = |outcome: &Outcome| kernel.outcome(*outcome).expect("a counter");
    Seen {
        action,
        frame,
        outcomes: Outcome::ALL.iter().map(outcome).collect(),
        steered: places(state).map(|place| kernel.steered(place).expect("a counter")).collect(),
    }
}

fn engines() -> (Memory, Kernel, State) {
    let mut memory = Memory::new(BALANCER.0, SEED);
    let loader = Loader { pin_dir: None, seed: SEED, log: false };
    let mut kernel = Kernel::load(&loader).expect("the object loads");
    kernel.set_port(PortWord::new(BALANCER.0));
    let Plan { ops, state } = plan(&State::default(), &world()).expect("a plan");
    let Ok(()) = memory.apply(&ops);
    kernel.apply(&ops).expect("the maps are written");
    (memory, kernel, state)
}

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
        return check_answer(claim, frame, &after.frame);
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

/// Checks the answer to a ping against the request.
fn check_answer(claim: &str, request: &[u8], answer: &[u8]) {
    let total = usize::from(u16::from_be_bytes([request[16], request[17]]));
    assert_eq!(answer[..6], request[6..12], "{claim}: destination");
    assert_eq!(answer[6..12], request[..6], "{claim}: source");
    assert_eq!(answer[26..30], request[30..34], "{claim}: from the VIP");
    assert_eq!(answer[30..34], request[26..30], "{claim}: to the client");
    assert_eq!((answer[22], answer[34], answer[35]), (64, 0, 0), "{claim}: TTL, type, code");
    assert_eq!(answer[38..], request[38..], "{claim}: identifier, sequence and data");
    assert_eq!(checksum(&[&answer[14..34]]), 0, "{claim}: IP checksum");
    assert_eq!(checksum(&[&answer[34..14 + total]]), 0, "{claim}: ICMP checksum");
}

#[test]
fn pings_beyond_the_rate_are_dropped_and_counted() {
    let (_, mut kernel, _) = engines();
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
    let (memory, mut kernel, state) = engines();
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
    let (_, mut kernel, state) = engines();
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
    let (memory, mut kernel, _) = engines();
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
    let (memory, mut kernel, _) = engines();
    for port in 1..500 {
        let mut packet = to_balancer().ipv4(CLIENT, WEB).tcp(port, 80).build();
        assert!(memory.process(&mut packet).is_ok());
        let quote = to_balancer().ipv4(WEB, CLIENT).tcp(80, port).packet();
        let router = Ipv4Addr::new(198, 51, 100, 1);
        let error = to_balancer().ipv4(router, WEB).icmp(3, 4).payload(&quote).build();
        assert_eq!(kernel.process(&error).expect("a test run").1[..12], packet[..12]);
    }
}

/// A program that grows is one that some kernel's verifier will refuse one day: a change here is a
/// change to be reviewed. Accept it with `UPDATE_SNAPSHOTS=1 cargo xtask test -- verifier`.
#[test]
fn the_verifiers_work_is_as_it_was_reviewed() {
    let (_, mut kernel, _) = engines();
    let Some(instructions) = kernel.verified_instructions().expect("an answer") else {
        return println!("this kernel does not say how many instructions it has verified");
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/verifier.txt");
    let found = format!("lb: {instructions} instructions processed by the verifier\n");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &found).expect("the snapshot is written");
    }
    let reviewed = std::fs::read_to_string(path).expect("a snapshot");
    assert_eq!(found, reviewed, "see the comment above this test");
    assert!(instructions < 100_000, "a tenth of what kernels accept");
}
