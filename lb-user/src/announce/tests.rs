use std::{net::IpAddr, process::Command};

use super::*;
use crate::neighbour::netns::{BALANCER_MAC, Cable, MACHINE_MAC, Namespace, eth0};

const FREE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
const TAKEN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const ALSO_TAKEN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

fn own() -> Mac {
    mac(BALANCER_MAC)
}

fn taken(address: Ipv4Addr) -> Conflict {
    Conflict { address, mac: mac(MACHINE_MAC) }
}

/// A cable with `TAKEN` at its other end.
fn addressed() -> Cable {
    let cable = Cable::new();
    cable.balancer.ip("addr add 10.9.0.1/24 dev eth0");
    cable.machine.ip("addr add 10.9.0.2/24 dev eth0");
    cable
}

fn show(namespace: &Namespace, what: &[&str]) -> String {
    let show = || Command::new("ip").args(what).output().unwrap();
    String::from_utf8(namespace.run(show).stdout).unwrap()
}

#[test]
fn a_probe_names_who_has_the_address() {
    let Cable { balancer, machine } = addressed();
    machine.ip("addr add 10.9.0.3/24 dev eth0");
    balancer.run_async(async || {
        let addresses = [FREE, ALSO_TAKEN, TAKEN];
        let conflicts = probe(eth0(), own(), &addresses, PATIENCE).await.unwrap();
        assert_eq!(conflicts, [taken(TAKEN), taken(ALSO_TAKEN)]);
    });
    assert_eq!(show(&machine, &["-4", "neigh", "show"]), "", "a probe changes no cache");
}

#[test]
fn a_free_address_has_no_conflict() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        assert_eq!(probe(eth0(), own(), &[FREE], PATIENCE).await.unwrap(), []);
    });
}

#[test]
fn an_own_address_is_no_conflict() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.ip("addr add 10.9.0.100/32 dev eth0");
    balancer.run_async(async || {
        assert_eq!(probe(eth0(), own(), &[FREE], PATIENCE).await.unwrap(), []);
    });
}

#[test]
fn two_that_probe_for_the_same_address_see_each_other() {
    let Cable { balancer, machine } = addressed();
    // Long enough that each hears the other, however late one of the threads starts.
    let patience = Duration::from_secs(2);
    let other = || {
        machine.run_async(async || {
            let interface = eth0();
            loop {
                let found = probe(interface, mac(MACHINE_MAC), &[FREE], PATIENCE).await.unwrap();
                if !found.is_empty() {
                    return found;
                }
            }
        })
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let found = balancer.run_async(async || {
            let mut found = Vec::new();
            while found.is_empty() || !other.is_finished() {
                found.extend(probe(eth0(), own(), &[FREE], patience).await.unwrap());
            }
            found
        });
        assert_eq!(found.first(), Some(&taken(FREE)));
        assert_eq!(other.join().unwrap(), [Conflict { address: FREE, mac: own() }]);
    });
}

#[test]
fn an_interface_that_is_down_or_missing_is_an_error() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.ip("link set eth0 down");
    balancer.run_async(async || {
        assert!(probe(eth0(), own(), &[FREE], PATIENCE).await.is_err());
        assert!(gratuitous(eth0(), own(), &[FREE]).await.is_err());
        assert!(gratuitous(9999, own(), &[FREE]).await.is_err());
    });
}

#[test]
fn a_gratuitous_arp_changes_the_neighbours_cache() {
    let Cable { balancer, machine } = addressed();
    machine.ip("neigh add 10.9.0.100 lladdr 02:00:00:00:00:55 dev eth0 nud reachable");
    balancer.run_async(async || gratuitous(eth0(), own(), &[FREE]).await.unwrap());
    // On a veth a frame is received within the call that sends it, or soon after.
    let changed = || show(&machine, &["neigh", "show", "10.9.0.100"]).contains(BALANCER_MAC);
    let tries = std::iter::repeat_with(changed).take(2000);
    assert!(tries.into_iter().any(|changed| changed), "the old MAC address stays");
}

#[test]
fn both_forms_are_sent_for_every_address() {
    let Cable { balancer, machine } = addressed();
    machine.run_async(async || {
        let ears = Socket::open(eth0()).unwrap();
        balancer.run_async(async || gratuitous(eth0(), own(), &[FREE, TAKEN]).await.unwrap());
        for address in [FREE, TAKEN] {
            for operation in [Operation::Request, Operation::Reply] {
                let mut frame = [0; arp::FRAME];
                let heard = ears.receive(&mut frame);
                assert_eq!(
                    timeout(Duration::from_secs(20), heard).await.unwrap().unwrap(),
                    arp::FRAME
                );
                let wanted = Packet::announcement(operation, own(), address).broadcast();
                assert_eq!(frame, wanted);
            }
        }
    });
}

#[test]
fn addresses_are_assigned_and_removed_and_both_may_be_repeated() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        let addresses = Addresses::connect().unwrap();
        for (text, shown) in [("192.0.2.10", "192.0.2.10/32"), ("2001:db8::10", "2001:db8::10/128")]
        {
            let address: IpAddr = text.parse().unwrap();
            let interface = eth0();
            let assigned = || show(&balancer, &["addr", "show", "dev", "eth0"]).contains(shown);
            assert_eq!(addresses.assign(interface, address).await.unwrap(), Found::Absent);
            assert_eq!(addresses.assign(interface, address).await.unwrap(), Found::Present);
            assert!(assigned());
            assert_eq!(addresses.remove(interface, address).await.unwrap(), Found::Present);
            assert_eq!(addresses.remove(interface, address).await.unwrap(), Found::Absent);
            assert!(!assigned());
        }
        let nowhere = addresses.assign(9999, "192.0.2.10".parse().unwrap()).await;
        assert!(matches!(nowhere, Err(Error::Refused { interface: 9999, .. })));
    });
}
