//! Frames longer than a page, which the kernel keeps in several buffers (Linux 5.18).

use aya::programs::Xdp;
use lb_common::Outcome;
use lb_user::dataplane::Kernel;
use tests::{
    golden::{Family, Ip, Kind, arriving, expected},
    invariant::{check_answer, check_arrived, reset_of},
    world::{Arrived, CLIENT, RESETTING, Seen, WAYS, WEB, engines, host, in_kernel},
};

use crate::{DROP, REDIRECT, TRANSMIT};

/// With the Ethernet header.
const JUMBO: usize = 9014;

/// Data that makes a UDP datagram a jumbo frame.
fn data(family: Family) -> Vec<u8> {
    let length = JUMBO - 14 - family.header() - 8;
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// Whether the kernel has taken the program that knows several buffers; says so if not.
fn takes_several_buffers(kernel: &mut Kernel) -> bool {
    let object = kernel.objects().next().expect("an object");
    let program: &mut Xdp = object.program_mut("lb").expect("the program").try_into().expect("XDP");
    let taken = program.fd().is_ok();
    if !taken {
        println!("skipped: this kernel has no XDP frames in several buffers (before 5.18)");
    }
    taken
}

/// The tags with which jumbo frames arrive here.
const TAGS: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 5)], &[(0x88a8, 6), (0x8100, 0x2007)]];

#[test]
fn a_jumbo_frame_is_sent_on_whole_and_counted_whole() {
    let (_, mut kernel, state) = engines();
    if !takes_several_buffers(&mut kernel) {
        return;
    }
    let bytes = |seen: &Seen| seen.steered.iter().map(|counters| counters.bytes).sum::<u64>();
    let mut before = 0;
    for family in Family::ALL {
        for (way, tags) in
            WAYS.iter().filter(|way| way.is_there()).flat_map(|way| TAGS.map(|tags| (way, tags)))
        {
            let build = |link| family.ip(link, CLIENT, way.vip).udp(1, 2).payload(&data(family));
            let frame = build(arriving(tags)).build();
            assert_eq!(frame.len(), JUMBO + tags.len() * 4);
            let seen = in_kernel(&mut kernel, &state, &frame);
            let action = if way.port == 1 { TRANSMIT } else { REDIRECT };
            assert_eq!(seen.action, action, "{}", way.claim);
            assert!(seen.frame == build(expected(way, tags)).build(), "{}: bytes", way.claim);
            assert_eq!(bytes(&seen) - before, frame.len() as u64, "{}: counted", way.claim);
            before = bytes(&seen);
        }
    }
}

#[test]
fn a_packet_longer_than_all_its_buffers_is_truncated() {
    let (_, mut kernel, _) = engines();
    if !takes_several_buffers(&mut kernel) {
        return;
    }
    for family in Family::ALL {
        let length = (JUMBO - 14 - family.header()) as u16;
        for (more, action) in [(0, TRANSMIT), (1, DROP)] {
            let ip = family.to(WEB).length(length + more);
            let frame = ip.udp(1, 53).payload(&data(family)).build();
            let (seen, after) = kernel.process(&frame).expect("a test run");
            assert_eq!(seen, action, "{family:?}: {more} more than there is");
            assert!(after[12..] == frame[12..], "{family:?}: bytes");
        }
    }
    let count = |outcome| kernel.outcome(outcome).expect("a counter");
    assert_eq!((count(Outcome::Forwarded), count(Outcome::Truncated)), (2, 2));
}

#[test]
fn a_jumbo_ping_is_answered() {
    let (_, mut kernel, _) = engines();
    if !takes_several_buffers(&mut kernel) {
        return;
    }
    for family in Family::ALL {
        let ping = family.to(WEB).message(Kind::EchoRequest).payload(&data(family)).build();
        let (action, answer) = kernel.process(&ping).expect("a test run");
        assert_eq!(action, TRANSMIT);
        check_answer(&ping, &answer);
    }
}

/// A segment of a connection that is to be reset.
fn to_be_reset(family: Family, tags: &[(u16, u16)]) -> Vec<u8> {
    let ip = family.ip(arriving(tags), CLIENT, RESETTING.vip);
    ip.tcp(1, 80).payload(&data(family)).build()
}

#[test]
fn a_reset_is_as_short_as_its_headers_whatever_it_answers() {
    let (memory, mut kernel, _) = engines();
    let takes = takes_several_buffers(&mut kernel);
    for family in Family::ALL {
        for tags in TAGS {
            let frame = to_be_reset(family, tags);
            let headers = 14 + tags.len() * 4 + family.header() + 20;
            for first in [headers, headers + 1, 3000, JUMBO] {
                let outcome = check_arrived(&memory, Arrived::new(&frame).in_buffers(first));
                assert_eq!(outcome, Outcome::Reset, "{family:?}: {first} bytes");
            }
            if takes {
                let (action, reset) = kernel.process(&frame).expect("a test run");
                assert_eq!((action, reset.len()), (TRANSMIT, headers), "{family:?}");
                assert_eq!(reset, reset_of(&frame), "{family:?}");
            }
        }
    }
}

#[test]
fn on_the_host_only_headers_must_be_in_the_first_buffer() {
    let (memory, _) = host();
    for family in Family::ALL {
        let headers = 14 + family.header() + 8;
        let ip: Ip = family.to(WEB);
        let frame = ip.udp(1, 53).payload(&data(family)).build();
        for first in [headers, headers + 1, 3000, JUMBO] {
            let outcome = check_arrived(&memory, Arrived::new(&frame).in_buffers(first));
            assert_eq!(outcome, Outcome::Forwarded, "{family:?}: {first} bytes");
        }
        for first in [0, 13, 14, headers - 1] {
            let outcome = check_arrived(&memory, Arrived::new(&frame).in_buffers(first));
            assert_eq!(outcome, Outcome::Truncated, "{family:?}: {first} bytes");
        }
    }
}
