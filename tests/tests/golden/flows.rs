//! To whom packets go: those that belong together go to the same real.

use lb_common::Outcome;
use lb_user::dataplane::{Kernel, Memory};
use tests::{
    golden::{Family, Ip, Kind, arriving, to_balancer},
    packet::SYN,
    world::{Arrived, BY_SOURCE, CLIENT, EVERYTHING, Party, WEB, client, engines},
};

const GRE: u8 = 47;
const FLOWS: u16 = 500;

/// The real's place, on which both engines agree.
fn place(memory: &Memory, kernel: &mut Kernel, frame: &[u8]) -> u32 {
    let forward = memory.process(&mut Arrived::new(frame)).expect("it is forwarded");
    let traced = kernel.trace(frame).expect("a trace");
    assert_eq!(traced.outcome, Outcome::Forwarded.index());
    assert_eq!((traced.place, traced.slot), (forward.place, forward.slot));
    forward.place
}

fn from(family: Family, source: Party, vip: Party) -> Ip {
    family.ip(to_balancer(), source, vip)
}

/// Panics unless all frames of each flow go to the same real, and the flows to many.
fn assert_together(frames: impl Fn(Family, u16) -> Vec<Vec<u8>>) {
    let (memory, mut kernel, _) = engines();
    for family in Family::ALL {
        let mut places: Vec<u32> = (1..=FLOWS)
            .map(|flow| {
                let frames = frames(family, flow);
                let [first, others @ ..] = &frames[..] else { panic!("no frames") };
                let owner = place(&memory, &mut kernel, first);
                for other in others {
                    assert_eq!(place(&memory, &mut kernel, other), owner, "{family:?} {flow}");
                }
                owner
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 3, "{family:?}: each real has flows");
    }
}

#[test]
fn both_engines_steer_flows_alike() {
    assert_together(|family, flow| {
        let source = client(flow.wrapping_mul(77));
        vec![from(family, source, WEB).tcp(flow, 80).flags(SYN).build()]
    });
}

#[test]
fn all_fragments_of_a_datagram_go_to_the_real_of_its_flow() {
    assert_together(|family, flow| {
        let part = |offset, more| family.to(WEB).fragment(flow, offset, more);
        vec![
            family.to(WEB).udp(flow, 53).build(),
            part(0, true).udp(flow, 53).payload(&[0; 16]).build(),
            part(24, false).raw(17, &[0; 100]),
        ]
    });
}

#[test]
fn an_error_goes_to_the_real_that_owns_the_flow_it_quotes() {
    assert_together(|family, port| {
        let quote = family.answer(WEB).tcp(80, port).packet();
        let router = from(family, client(1), WEB);
        vec![
            family.to(WEB).tcp(port, 80).build(),
            router.message(Kind::TooBig).payload(&quote).build(),
        ]
    });
}

/// Addresses and protocol are all that a packet without ports tells of its flow.
#[test]
fn an_error_about_a_protocol_without_ports_goes_to_the_owner_of_its_addresses() {
    assert_together(|family, flow| {
        let quote = family.ip(to_balancer(), EVERYTHING, client(flow)).raw(GRE, &[0; 8]);
        let router = family.to(EVERYTHING);
        vec![
            from(family, client(flow), EVERYTHING).raw(GRE, &[0; 8]),
            router.message(Kind::TooBig).payload(&quote[14..]).build(),
        ]
    });
}

#[test]
fn a_client_stays_with_one_real_where_its_address_alone_counts() {
    assert_together(|family, flow| {
        let to = || from(family, client(flow), BY_SOURCE);
        vec![
            to().tcp(1, 80).build(),
            to().tcp(2, 443).build(),
            to().udp(3, 53).build(),
            to().raw(GRE, &[0; 8]),
        ]
    });
}

#[test]
fn neither_tags_nor_extension_headers_part_a_flow() {
    assert_together(|family, port| {
        let tagged = |tags| family.ip(arriving(tags), CLIENT, WEB).tcp(port, 80).build();
        let optional = match family {
            Family::V4 => to_balancer().ipv4(CLIENT.v4, WEB.v4).options(&[1; 8]).tcp(port, 80),
            Family::V6 => to_balancer().ipv6(CLIENT.v6, WEB.v6).hop_by_hop(&[]).tcp(port, 80),
        };
        vec![
            tagged(&[]),
            tagged(&[(0x8100, 5)]),
            tagged(&[(0x88a8, 6), (0x8100, 7)]),
            optional.build(),
        ]
    });
}
