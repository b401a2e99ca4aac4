//! Frames that lack what a network card or an interface should have given them.

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::{Outcome, PortWord, RealWord};
use lb_user::dataplane::{Dataplane as _, Kernel};
use tests::{
    golden::{Family, arriving, expected},
    invariant::check_arrived,
    world::{
        Arrived, BALANCER, CLIENT, ELSEWHERE, ROUTER, TAGGED, UNTAGGED, WAYS, Way, engines, host,
        reached,
    },
};

use crate::{DROP, REDIRECT, TRANSMIT};

/// The room before a frame in a test run, of which the kernel takes the beginning for itself
/// (`XDP_PACKET_HEADROOM`, `struct xdp_frame`).
const ROOM: usize = 256 - 40;
const TAG: usize = 4;

fn frame(family: Family, way: &Way) -> Vec<u8> {
    family.ip(arriving(&[]), CLIENT, way.vip).tcp(1, 80).build()
}

/// The tags that a way needs.
fn tags(family: Family, way: &Way) -> usize {
    let after = family.ip(expected(way, &[]), CLIENT, way.vip).tcp(1, 80).build();
    (after.len() - frame(family, way).len()) / TAG
}

#[test]
fn a_frame_without_room_for_its_tags_is_dropped_on_the_host() {
    let (memory, _) = host();
    for family in Family::ALL {
        for way in WAYS.iter().filter(|way| way.is_there()) {
            let frame = frame(family, way);
            let needed = tags(family, way) * TAG;
            for room in 0..=8 {
                let arrived = Arrived::new(&frame).with_room(room);
                let enough = room >= needed;
                let outcome = if enough { Outcome::Forwarded } else { Outcome::NoRoom };
                assert_eq!(check_arrived(&memory, arrived), outcome, "{}: {room}", way.claim);
            }
        }
    }
}

/// Where a tag comes or goes, other bytes stand for a moment where the source address is looked for: whoever's
/// address they make, the frame does not come from there.
#[test]
fn a_frame_whose_tags_change_is_sent_on_whatever_its_bytes_look_like() {
    const VLAN: u16 = 9;
    let (mut memory, mut state) = host();
    let (_, mut kernel, _) = engines();
    let [_, _, a, b, c, d] = BALANCER.0;
    let [e, f, .., g, h] = ROUTER.0;
    let ([kind, of_tag], [high, low]) = (0x8100_u16.to_be_bytes(), VLAN.to_be_bytes());
    let added = RealWord::new([a, b, c, d, e, f], 1).in_vlan(VLAN);
    let removed = RealWord::new([g, h, kind, of_tag, high, low], 1);
    type Case<'a> = (&'a Way, RealWord, &'a [(u16, u16)]);
    let cases: [Case<'_>; 2] = [(&TAGGED, added, &[]), (&UNTAGGED, removed, &[(0x8100, VLAN)])];
    for (way, word, tags) in cases {
        let [.., last] = way.mac.0;
        let ops = reached(&mut state, way.vip, last, word);
        let Ok(()) = memory.apply(&ops);
        kernel.apply(&ops).expect("the maps are written");
        for family in Family::ALL {
            let frame = family.ip(arriving(tags), CLIENT, way.vip).tcp(1, 80).build();
            assert_eq!(check_arrived(&memory, Arrived::new(&frame)), Outcome::Forwarded);
            let (action, sent) = kernel.process(&frame).expect("a test run");
            assert_eq!((action, &sent[..6]), (TRANSMIT, &word.mac()[..]), "{}", way.claim);
        }
    }
}

#[test]
fn a_first_fragment_without_room_is_not_remembered() {
    let (memory, _) = host();
    for family in Family::ALL {
        let part = |offset| {
            let ip = family.ip(arriving(&[]), CLIENT, TAGGED.vip);
            ip.fragment(70, offset, true).raw(47, &[0; 8])
        };
        let first = Arrived::new(&part(0)).with_room(0);
        assert_eq!(check_arrived(&memory, first), Outcome::NoRoom);
        assert_eq!(check_arrived(&memory, Arrived::new(&part(8))), Outcome::Fragment);
    }
}

#[test]
fn a_real_behind_an_interface_that_went_gets_nothing_on_the_host() {
    let (memory, _) = host();
    for family in Family::ALL {
        for way in &WAYS {
            let arrived = Arrived::new(&frame(family, way)).without_interfaces();
            let own = way.port == 1;
            let outcome = if own { Outcome::Forwarded } else { Outcome::InterfaceGone };
            assert_eq!(check_arrived(&memory, arrived), outcome, "{}", way.claim);
        }
    }
}

#[test]
fn a_real_behind_an_interface_that_went_gets_nothing_until_it_is_back() {
    let (_, mut kernel, _) = engines();
    let way = &ELSEWHERE;
    let frame = frame(Family::V6, way);
    for (interface, action) in [(None, DROP), (Some(1), REDIRECT), (None, DROP)] {
        kernel.set_device(way.port, interface).expect("the devices are written");
        assert_eq!(kernel.process(&frame).expect("a test run").0, action);
    }
    assert_eq!(kernel.outcome(Outcome::InterfaceGone).expect("a counter"), 2);
}

#[test]
fn nothing_leaves_by_a_port_that_has_no_address() {
    let ((mut memory, _), (_, mut kernel, _)) = (host(), engines());
    let way = &ELSEWHERE;
    memory.set_port(way.port, PortWord::default());
    kernel.set_port(way.port, PortWord::default());
    for family in Family::ALL {
        let frame = frame(family, way);
        assert_eq!(check_arrived(&memory, Arrived::new(&frame)), Outcome::InterfaceGone);
        assert_eq!(kernel.process(&frame).expect("a test run"), (DROP, frame));
    }
    assert_eq!(kernel.outcome(Outcome::InterfaceGone).expect("a counter"), 2);
}

/// Runs the balancer on a frame that has metadata before it, which takes of the room: the action, and
/// the frame as it is then. `None` where the kernel does not take so much metadata.
fn run(kernel: &mut Kernel, metadata: usize, frame: &[u8]) -> Option<(u32, Vec<u8>)> {
    let input = [&vec![0; metadata], frame].concat();
    // struct xdp_md: data, data_end, data_meta, and three numbers of interfaces and queues.
    let context = [metadata as u32, input.len() as u32, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
    let mut output = vec![0; input.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(&input);
    options.ctx_in = Some(&context);
    options.data_out = Some(&mut output);
    let object = kernel.objects().next().expect("an object");
    // One of the two is loaded.
    let names = ["lb", "lb_linear"];
    let loaded = names.into_iter().find(|name| {
        let program = object.program(name).map(<&Xdp>::try_from);
        matches!(program, Some(Ok(program)) if program.fd().is_ok())
    });
    let program = object.program_mut(loaded.expect("a loaded program")).expect("the program");
    let program: &mut Xdp = program.try_into().expect("XDP");
    let result = program.test_run(options).ok()?;
    output.truncate(result.data_size_out as usize);
    Some((result.return_value, output.split_off(metadata)))
}

#[test]
fn a_frame_without_room_for_its_tags_is_dropped_in_the_kernel() {
    let (_, mut kernel, _) = engines();
    let mut dropped = 0;
    for family in Family::ALL {
        for way in WAYS.iter().filter(|way| way.is_there()) {
            let (frame, needed) = (frame(family, way), tags(family, way));
            for room in 0..=2 {
                let Some((action, after)) = run(&mut kernel, ROOM - room * TAG, &frame) else {
                    return println!("skipped: this kernel takes no {ROOM} bytes of metadata");
                };
                dropped += u64::from(room < needed);
                assert_eq!(action == DROP, room < needed, "{}: room for {room}", way.claim);
                assert!(action != DROP || after == frame, "{}: untouched", way.claim);
            }
        }
    }
    assert_eq!(kernel.outcome(Outcome::NoRoom).expect("a counter"), dropped);
}
