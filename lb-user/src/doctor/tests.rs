//! What follows from what, one observation at a time: whatever a lab cannot have is here.

use std::net::IpAddr;

use super::*;
use crate::{
    announce::Conflict,
    model::{Mac, Ports, Protocol},
};

const REAL: Mac = Mac([2, 0, 0, 0, 0, 11]);
const SECOND: Mac = Mac([2, 0, 0, 0, 0, 12]);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 99]);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn interface(index: u32, name: &str) -> InterfaceFacts {
    let addresses = vec![address("10.0.0.2"), address("2001:db8:a::2")];
    let mac = Mac([2, 0, 0, 0, 0, 2]);
    InterfaceFacts { index, name: name.to_owned(), mac, xdp: Xdp::Native, addresses }
}

fn vip(name: &str, at: &str, reals: [&str; 2]) -> VipFacts {
    let real = |(text, mac)| RealFacts {
        address: address(text),
        reach: Ok(mac),
        interface: Some(2),
        detour: None,
        flaps: 0,
    };
    VipFacts {
        name: name.to_owned(),
        address: address(at),
        ports: vec![Ports::One(Protocol::Tcp, 80)],
        announced: true,
        assigned: true,
        reals: reals.into_iter().zip([REAL, SECOND]).map(real).collect(),
    }
}

/// Two VIPs, one of each family, on an interface.
fn snapshot() -> Snapshot {
    Snapshot {
        interfaces: vec![interface(2, "eth0")],
        vips: vec![
            vip("web", "192.0.2.10", ["10.0.0.11", "10.0.0.12"]),
            vip("web6", "2001:db8:2::10", ["2001:db8:a::11", "2001:db8:a::12"]),
        ],
        ..Snapshot::default()
    }
}

fn healthy(snapshot: &Snapshot) -> Observations {
    let open = RealObservation { vip: Some(Answer::Open), own: Some(Answer::Open), far: None };
    let keys = snapshot
        .vips
        .iter()
        .flat_map(|vip| (0..vip.reals.len()).map(|place| (vip.name.clone(), place)));
    let mtu = Some(1500);
    let found = InterfaceObservation { takes_xdp: Some(true), mtu, ..Default::default() };
    let found = snapshot.interfaces.iter().map(|interface| (interface.index, found.clone()));
    Observations {
        reals: keys.map(|key| (key, open)).collect(),
        interfaces: found.collect(),
        machine: MachineObservation {
            forwards: [Some(false); 2],
            neighbours: [Some(1024); 2],
            synchronised: Some(true),
        },
        ..Observations::default()
    }
}

/// What is found, as code, VIP, real, interface.
fn found(snapshot: &Snapshot, seen: &Observations) -> Vec<(Code, String)> {
    let findings = diagnose(snapshot, seen);
    let about = |finding: Finding| {
        assert!(!finding.message.is_empty() && !finding.fix.is_empty(), "{finding:?}");
        let real = finding.real.map(|real| real.to_string());
        let parts = [finding.vip, real, finding.interface];
        (finding.code, parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    };
    findings.into_iter().map(about).collect()
}

#[track_caller]
fn finds(change: impl FnOnce(&mut Snapshot, &mut Observations), expected: &[(Code, &str)]) {
    let mut snapshot = snapshot();
    let mut seen = healthy(&snapshot);
    change(&mut snapshot, &mut seen);
    let found = found(&snapshot, &seen);
    let found: Vec<_> = found.iter().map(|(code, about)| (*code, about.as_str())).collect();
    assert_eq!(found, expected);
}

/// The first real of a VIP is found so.
fn first(seen: &mut Observations, vip: &str, at_vip: Answer, at_own: Answer) {
    let observation = RealObservation { vip: Some(at_vip), own: Some(at_own), far: None };
    seen.reals.insert((vip.to_owned(), 0), observation);
}

#[test]
fn where_all_is_well_or_nothing_was_seen_nothing_is_found() {
    finds(|_, _| {}, &[]);
    finds(|_, seen| *seen = Observations::default(), &[]);
}

#[test]
fn how_a_server_does_follows_from_its_answers_at_both_addresses() {
    use Answer::{Open, Refused, Silent};
    use Code::{NotListening, ServiceDown, VipMissing};
    for (at_vip, at_own, expected) in [
        (Open, Open, None),
        (Open, Refused, None),
        (Open, Silent, None),
        (Refused, Open, Some(NotListening)),
        (Refused, Refused, Some(ServiceDown)),
        (Refused, Silent, Some(ServiceDown)),
        (Silent, Open, Some(VipMissing)),
        (Silent, Refused, Some(VipMissing)),
        (Silent, Silent, Some(ServiceDown)),
    ] {
        for (vip, about) in [("web", "web 10.0.0.11"), ("web6", "web6 2001:db8:a::11")] {
            let expected: Vec<_> = expected.into_iter().map(|code| (code, about)).collect();
            finds(|_, seen| first(seen, vip, at_vip, at_own), &expected);
        }
    }
}

#[test]
fn who_answers_no_ping_at_all_is_not_judged_by_pings() {
    let pinged = |snapshot: &mut Snapshot| {
        snapshot.vips[0].ports = vec![Ports::One(Protocol::Udp, 53)];
    };
    finds(
        |snapshot, seen| {
            pinged(snapshot);
            first(seen, "web", Answer::Silent, Answer::Silent);
        },
        &[],
    );
    finds(
        |snapshot, seen| {
            pinged(snapshot);
            first(seen, "web", Answer::Silent, Answer::Open);
        },
        &[(Code::VipMissing, "web 10.0.0.11")],
    );
}

#[test]
fn of_a_real_without_a_mac_address_nothing_else_is_said() {
    finds(
        |snapshot, seen| {
            snapshot.vips[0].reals[1].reach = Err("nobody answers".to_owned());
            snapshot.vips[0].reals[1].flaps = 9;
            first(seen, "web", Answer::Open, Answer::Open);
        },
        &[(Code::RipUnresolved, "web 10.0.0.12")],
    );
}

#[test]
fn who_answers_for_a_vip_is_its_real_or_a_stranger() {
    let claim = |vip, mac| Conflict { address: address(vip), mac };
    finds(
        |_, seen| seen.claims.extend([claim("192.0.2.10", REAL), claim("2001:db8:2::10", SECOND)]),
        &[(Code::AnswersArp, "web 10.0.0.11"), (Code::AnswersArp, "web6 2001:db8:a::12")],
    );
    finds(
        |_, seen| seen.claims.extend([claim("192.0.2.10", STRANGER)]),
        &[(Code::StrangerAnswers, "web")],
    );
    // It is somebody else's to announce.
    finds(
        |snapshot, seen| {
            snapshot.vips[0].announced = false;
            seen.claims.extend([claim("192.0.2.10", STRANGER), claim("192.0.2.10", REAL)]);
        },
        &[(Code::AnswersArp, "web 10.0.0.11")],
    );
}

#[test]
fn who_sends_answers_through_this_machine_is_named() {
    for (mac, about) in [(SECOND, "web 10.0.0.12"), (STRANGER, "web")] {
        let conflict = Conflict { address: address("192.0.2.10"), mac };
        finds(|_, seen| seen.returned.extend([conflict]), &[(Code::ReturnsThroughBalancer, about)]);
    }
}

#[test]
fn rp_filter_is_suspected_only_beside_a_real_that_answers_from_afar() {
    let far = |seen: &mut Observations, place: usize, far: Option<bool>| {
        seen.reals.get_mut(&("web".to_owned(), place)).unwrap().far = far;
    };
    for (one, other, expected) in [
        (Some(false), Some(true), Some((Code::RpFilter, "web 10.0.0.11"))),
        (Some(false), Some(false), None),
        (Some(false), None, None),
        (Some(true), Some(true), None),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        finds(
            |_, seen| {
                far(seen, 0, one);
                far(seen, 1, other);
            },
            &expected,
        );
    }
    // The other one may be on another network, where another router is.
    finds(
        |snapshot, seen| {
            snapshot.vips[0].reals[1].interface = Some(3);
            far(seen, 0, Some(false));
            far(seen, 1, Some(true));
        },
        &[],
    );
}

#[test]
fn a_neighbour_that_comes_and_goes_is_found() {
    finds(|snapshot, _| snapshot.vips[0].reals[0].flaps = 2, &[]);
    finds(
        |snapshot, _| snapshot.vips[0].reals[0].flaps = 3,
        &[(Code::NeighbourFlapping, "web 10.0.0.11")],
    );
}

/// The observation of eth0.
fn eth0(seen: &mut Observations) -> &mut InterfaceObservation {
    seen.interfaces.get_mut(&2).unwrap()
}

#[test]
fn generic_xdp_is_found_where_native_would_work_and_nobody_chose_it() {
    for (xdp, takes, expected) in [
        (Xdp::Generic, Some(true), vec![(Code::XdpGeneric, "eth0")]),
        (Xdp::Generic, Some(false), vec![]),
        (Xdp::Generic, None, vec![]),
        (Xdp::GenericByChoice, Some(true), vec![]),
        (Xdp::Native, Some(true), vec![]),
    ] {
        finds(
            |snapshot, seen| {
                snapshot.interfaces[0].xdp = xdp;
                eth0(seen).takes_xdp = takes;
            },
            &expected,
        );
    }
}

#[test]
fn what_network_cards_do_to_packets_is_found_and_hidden_tags_only_where_there_are_some() {
    let on = |seen: &mut Observations, feature: &str| {
        eth0(seen).features.insert(feature.to_owned());
    };
    finds(|_, seen| on(seen, "rx-lro"), &[(Code::Lro, "eth0")]);
    finds(|_, seen| on(seen, "rx-gro-hw"), &[(Code::GroHw, "eth0")]);
    finds(|_, seen| on(seen, "rx-gro"), &[]);
    finds(|_, seen| on(seen, "rx-vlan-hw-parse"), &[]);
    finds(
        |_, seen| {
            on(seen, "rx-vlan-hw-parse");
            eth0(seen).vlans = vec![("eth0.100".to_owned(), 1500)];
        },
        &[(Code::RxVlan, "eth0")],
    );
}

#[test]
fn an_mtu_that_differs_on_the_way_is_found_once() {
    finds(|_, seen| eth0(seen).vlans = vec![("eth0.100".to_owned(), 1400)], &[(Code::Mtu, "eth0")]);
    finds(
        |snapshot, seen| {
            snapshot.interfaces.push(interface(3, "eth1"));
            let jumbo = InterfaceObservation { mtu: Some(9000), ..eth0(seen).clone() };
            seen.interfaces.insert(3, jumbo);
        },
        &[(Code::Mtu, "eth0")],
    );
}

#[test]
fn the_other_end_of_a_veth_matters_to_native_xdp_only() {
    for (xdp, takes, expected) in [
        (Xdp::Native, false, vec![(Code::VethPeer, "eth0")]),
        (Xdp::Native, true, vec![]),
        (Xdp::GenericByChoice, false, vec![]),
    ] {
        finds(
            |snapshot, seen| {
                snapshot.interfaces[0].xdp = xdp;
                let name = "far".to_owned();
                eth0(seen).peer = Some(Peer { name, mtu: Some(1500), takes });
            },
            &expected,
        );
    }
}

#[test]
fn other_programs_are_found_each() {
    finds(
        |_, seen| {
            let program = "XDP program 7".to_owned();
            eth0(seen).strangers =
                ["eth0", "eth0.100"].map(|on| (on.to_owned(), program.clone())).into();
        },
        &[(Code::SecondXdp, "eth0"), (Code::SecondXdp, "eth0")],
    );
}

#[test]
fn forwarding_is_found_together_with_an_address_that_is_not_here() {
    finds(|_, seen| seen.machine.forwards = [Some(true); 2], &[]);
    finds(|snapshot, _| snapshot.vips[0].assigned = false, &[]);
    finds(
        |snapshot, seen| {
            snapshot.vips[1].assigned = false;
            seen.machine.forwards = [Some(true); 2];
        },
        &[(Code::IpForward, "")],
    );
}

#[test]
fn a_table_of_neighbours_with_too_little_room_is_found_by_family() {
    finds(|_, seen| seen.machine.neighbours = [Some(2), Some(2)], &[]);
    finds(|_, seen| seen.machine.neighbours = [Some(2), Some(1)], &[(Code::GcThresh, "")]);
    finds(|_, seen| seen.machine.neighbours = [None, None], &[]);
}

#[test]
fn the_clock_is_a_note_and_nothing_else_is() {
    finds(|_, seen| seen.machine.synchronised = Some(false), &[(Code::Clock, "")]);
    let notes: Vec<_> = Code::ALL.iter().filter(|code| code.is_note()).collect();
    assert_eq!(notes, [&Code::Clock]);
}

#[test]
fn one_vip_is_examined_alone_and_others_still_name_machines() {
    finds(
        |snapshot, seen| {
            snapshot.only = Some("web".to_owned());
            let conflict = Conflict { address: address("192.0.2.10"), mac: STRANGER };
            snapshot.vips[1].reals[0].reach = Ok(STRANGER);
            seen.claims.extend([conflict]);
            first(seen, "web6", Answer::Silent, Answer::Open);
        },
        &[(Code::StrangerAnswers, "web")],
    );
}

#[test]
fn labels_are_words_of_their_own() {
    let labels: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.label()).collect();
    assert_eq!(labels.len(), Code::ALL.len());
    assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
}
