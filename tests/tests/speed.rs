//! What the ways through the datapath cost, one packet after another of the same flow. Nothing is held to
//! a figure here: `cargo xtask test -- --test speed -- --ignored --nocapture` prints them.

use std::time::Instant;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::{RealWord, layout::Rule};
use lb_user::{
    dataplane::{Dataplane as _, Kernel},
    model::{HashMode, Ports, Protocol},
    plan::{Desired, DesiredReal, DesiredVip, Role, State, plan},
};
use tests::{
    golden::Family,
    packet::{ACK, SYN},
    world::{
        BALANCER, MOVED, NEW, OLD, Party, SEED, SETTLED, clock, engines, owners, reached, traced,
    },
};

const REPEAT: u32 = 1_000_000;
const ROUNDS: usize = 5;
const REDIRECT: u32 = 4;

/// A way through the datapath.
struct Way {
    claim: &'static str,
    vip: Party,
    /// What comes before, and then what is measured.
    before: Vec<Vec<u8>>,
    frame: Vec<u8>,
    rule: Rule,
}

fn ways(family: Family) -> Vec<Way> {
    let (stable, moved) = (SETTLED.vip, MOVED.vip);
    let tcp = |vip, port, flags| family.to(vip).tcp(port, 80).flags(flags).build();
    let udp = |vip| family.to(vip).udp(4, 53).build();
    let way = |claim, vip, before, frame, rule| Way { claim, vip, before, frame, rule };
    let begun = vec![tcp(moved, 1, SYN), tcp(moved, 1, ACK)];
    vec![
        way("TCP, a slot that has not moved", stable, vec![], tcp(stable, 1, ACK), Rule::Current),
        way("TCP, moved: pinned", moved, begun, tcp(moved, 1, ACK), Rule::Pinned),
        way(
            "TCP, moved: a SYN again",
            moved,
            vec![tcp(moved, 2, SYN)],
            tcp(moved, 2, SYN),
            Rule::Fresh,
        ),
        way(
            "TCP, moved: unknown, to the previous",
            moved,
            vec![],
            tcp(moved, 3, ACK),
            Rule::Previous,
        ),
        way("UDP, a slot that has not moved", stable, vec![], udp(stable), Rule::Current),
        way("UDP, moved: noted", moved, vec![udp(moved)], udp(moved), Rule::Pinned),
    ]
}

/// Nanoseconds for each time that the program runs on the frame, which it finds as it has left it.
fn measure(kernel: &mut Kernel, frame: &[u8]) -> u64 {
    let mut output = vec![0; frame.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut output);
    options.repeat = REPEAT;
    let object = kernel.objects().next().expect("an object");
    let names = ["lb", "lb_linear"];
    let loaded = names.into_iter().find(|name| {
        let program = object.program(name).map(<&Xdp>::try_from);
        matches!(program, Some(Ok(program)) if program.fd().is_ok())
    });
    let program = object.program_mut(loaded.expect("a loaded program")).expect("the program");
    let program: &mut Xdp = program.try_into().expect("XDP");
    let result = program.test_run(options).expect("a test run");
    assert_eq!(result.return_value, REDIRECT, "still forwarded the last time");
    result.duration.as_nanos() as u64
}

/// The frame that has been forwarded must be one that is forwarded: the reals are behind another port, and
/// have the MAC address of the port at which frames come in. So each figure includes a redirect.
#[test]
#[ignore = "prints figures"]
fn what_a_packet_costs_in_a_slot_that_has_moved() {
    let (_, mut kernel, mut state) = engines();
    let mut ops = owners(&state, SETTLED.vip, Some(NEW), None, clock());
    for (vip, last) in [(SETTLED.vip, NEW), (MOVED.vip, NEW), (MOVED.vip, OLD)] {
        ops.extend(reached(&mut state, vip, last, RealWord::new(BALANCER.0, 2)));
    }
    kernel.apply(&ops).expect("the maps are written");
    for family in Family::ALL {
        let mut stable = 0;
        for Way { claim, vip, before, frame, rule } in ways(family) {
            for frame in before {
                kernel.process(&frame).expect("a test run");
            }
            let (place, _, by) = traced(&mut kernel, &frame).expect("it is forwarded");
            let (block, _) = state.occupant(place).expect("a pool");
            let name = block.name.as_ref().expect("a name");
            assert!([vip.v4.to_string(), vip.v6.to_string()].iter().any(|vip| name.ends_with(vip)));
            assert_eq!(by, rule, "{claim}");
            let mut rounds: Vec<u64> = (0..ROUNDS).map(|_| measure(&mut kernel, &frame)).collect();
            rounds.sort_unstable();
            let median = rounds[ROUNDS / 2];
            if rule == Rule::Current {
                stable = median;
            }
            let ratio = median as f64 / stable as f64;
            println!("{family:?}: {claim}: {median} ns, {ratio:.1} times ({rounds:?})");
        }
    }
}

/// A VIP over these reals, with a ring of this length.
fn pool(number: u32, ring_len: u32, reals: u8, last: Role) -> DesiredVip {
    let real = |octet: u8| DesiredReal {
        address: [10, 0, 0, octet].into(),
        weight: 1,
        word: RealWord::new([2, 0, 0, 0, 0, octet], 1),
        role: if octet == reals { last } else { Role::ACTIVE },
    };
    DesiredVip {
        name: format!("vip{number}"),
        address: (0xc633_6400 + number).to_be_bytes().into(),
        ports: vec![Ports::One(Protocol::Tcp, 80)],
        hash: HashMode::Flow,
        ring_len,
        local: false,
        grace: 0,
        per_packet: false,
        reals: (1..=reals).map(real).collect(),
        sorry: None,
        leaving: Vec::new(),
    }
}

/// Plans and carries out what these VIPs ask for.
fn change(kernel: &mut Kernel, state: &State, claim: &str, vips: Vec<DesiredVip>) -> State {
    let start = Instant::now();
    let plan = plan(state, &Desired { seed: SEED, now: clock(), vips }).expect("a plan");
    let planned = start.elapsed();
    kernel.apply(&plan.ops).expect("the maps are written");
    let applied = start.elapsed() - planned;
    println!("{claim}: planned in {planned:.1?}, {} writes in {applied:.1?}", plan.ops.len());
    plan.state
}

#[test]
#[ignore = "a measurement"]
fn what_a_change_of_many_slots_costs() {
    let (_, mut kernel, state) = engines();
    let one = |last| vec![pool(0, 65_537, 100, last)];
    let state = change(&mut kernel, &state, "65537 slots, 100 reals, new", one(Role::ACTIVE));
    let state = change(&mut kernel, &state, "  one real drains", one(Role::Draining));
    let state = change(&mut kernel, &state, "  and is gone", one(Role::Out));
    let mut more = one(Role::Out);
    more.extend([pool(1, 65_537, 101, Role::ACTIVE)].map(|vip| DesiredVip {
        name: "vip0".to_owned(),
        address: more[0].address,
        ..vip
    }));
    more.remove(0);
    let state = change(&mut kernel, &state, "  one real more, all of the ring anew", more);
    let many = |last| (0..1000).map(|number| pool(number, 4093, 10, last)).collect();
    let state = change(&mut kernel, &state, "1000 VIPs, 10 reals each, new", many(Role::ACTIVE));
    let state = change(&mut kernel, &state, "  nothing changes", many(Role::ACTIVE));
    let state = change(&mut kernel, &state, "  one real of each drains", many(Role::Draining));
    let state = change(&mut kernel, &state, "  one real of each is gone", many(Role::Out));
    change(&mut kernel, &state, "  and is back", many(Role::ACTIVE));
}
