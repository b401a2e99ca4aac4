use std::{
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    process::Command,
};

use super::*;
use crate::neighbour::netns::{BALANCER_MAC, Cable, MACHINE_MAC, Namespace, eth0};

/// Addresses of one family, in this order.
struct Family {
    balancer: IpAddr,
    taken: IpAddr,
    also_taken: IpAddr,
    free: IpAddr,
    /// Of the network that they are in.
    prefix: u8,
    /// Of one address.
    host: u8,
}

const V4: Family = Family {
    balancer: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)),
    taken: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)),
    also_taken: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 3)),
    free: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 100)),
    prefix: 24,
    host: 32,
};

const V6: Family = Family {
    balancer: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    taken: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
    also_taken: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3)),
    free: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
    prefix: 64,
    host: 128,
};

const FAMILIES: [Family; 2] = [V4, V6];

impl Family {
    /// A cable with `taken` and `also_taken` at its other end.
    fn addressed(&self) -> Cable {
        let cable = Cable::new();
        self.address(&cable);
        cable
    }

    fn address(&self, cable: &Cable) {
        // Without `nodad` it takes a moment even where nothing is asked.
        let nodad = if self.balancer.is_ipv6() { "nodad" } else { "" };
        let add = |address| format!("addr add {address}/{} dev eth0 {nodad}", self.prefix);
        cable.balancer.ip(&add(self.balancer));
        for address in [self.taken, self.also_taken] {
            cable.machine.ip(&add(address));
        }
    }
}

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

fn own() -> Mac {
    mac(BALANCER_MAC)
}

fn taken(address: IpAddr) -> Conflict {
    Conflict { address, mac: mac(MACHINE_MAC) }
}

fn show(namespace: &Namespace, what: &[&str]) -> String {
    let show = || Command::new("ip").args(what).output().unwrap();
    String::from_utf8(namespace.run(show).stdout).unwrap()
}

#[test]
fn a_probe_names_who_has_the_address_in_both_families_at_once() {
    let cable = V4.addressed();
    V6.address(&cable);
    let Cable { balancer, machine } = cable;
    balancer.run_async(async || {
        let addresses: Vec<_> =
            FAMILIES.into_iter().flat_map(|of| [of.free, of.also_taken, of.taken]).collect();
        let conflicts = probe(eth0(), own(), &addresses, PATIENCE).await.unwrap();
        assert_eq!(conflicts, [V4.taken, V4.also_taken, V6.taken, V6.also_taken].map(taken));
    });
    assert_eq!(show(&machine, &["neigh", "show", "nud", "all", "to", "10.9.0.0/24"]), "");
    assert_eq!(show(&machine, &["neigh", "show", "nud", "all", "to", "2001:db8::/64"]), "");
}

#[test]
fn a_free_address_has_no_conflict() {
    for family in FAMILIES {
        let Cable { balancer, machine: _there } = family.addressed();
        balancer.run_async(async || {
            assert_eq!(probe(eth0(), own(), &[family.free], PATIENCE).await.unwrap(), []);
        });
    }
}

#[test]
fn an_own_address_is_no_conflict() {
    for family in FAMILIES {
        let Cable { balancer, machine: _there } = family.addressed();
        balancer.ip(&format!("addr add {}/{} dev eth0", family.free, family.host));
        balancer.run_async(async || {
            assert_eq!(probe(eth0(), own(), &[family.free], PATIENCE).await.unwrap(), []);
        });
    }
}

#[test]
fn two_that_probe_for_the_same_address_see_each_other() {
    for family in FAMILIES {
        see_each_other(&family.addressed(), family.free);
    }
}

fn see_each_other(Cable { balancer, machine }: &Cable, free: IpAddr) {
    // Long enough that each hears the other, however late one of the threads starts.
    let patience = Duration::from_secs(2);
    let other = || {
        machine.run_async(async || {
            let interface = eth0();
            loop {
                let found = probe(interface, mac(MACHINE_MAC), &[free], PATIENCE).await.unwrap();
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
                found.extend(probe(eth0(), own(), &[free], patience).await.unwrap());
            }
            found
        });
        assert_eq!(found.first(), Some(&taken(free)));
        assert_eq!(other.join().unwrap(), [Conflict { address: free, mac: own() }]);
    });
}

#[test]
fn the_kernels_own_search_for_a_duplicate_is_heard() {
    let Cable { balancer, machine } = V6.addressed();
    machine.sysctl("ipv6/conf/eth0/accept_dad", "1");
    machine.sysctl("ipv6/conf/eth0/dad_transmits", "100");
    machine.ip(&format!("addr add {}/64 dev eth0", V6.free));
    balancer.run_async(async || {
        // Without a question of ours: it would make the other give up at once.
        let socket = Protocol::Nd.open(eth0()).unwrap();
        let heard = async {
            let mut frame = [0; LONGEST];
            loop {
                let length = socket.receive(&mut frame).await.unwrap();
                // It looks for its link-local address, too.
                let claim = nd::claim(&frame[..length]);
                if let Some(claim) = claim.filter(|claim| claim.address == V6.free) {
                    return claim;
                }
            }
        };
        assert_eq!(timeout(Duration::from_secs(20), heard).await.unwrap(), taken(V6.free));
    });
}

#[test]
fn the_group_in_which_others_ask_is_joined_for_as_long_as_it_takes() {
    let Cable { balancer, machine: _there } = Cable::new();
    balancer.run(|| {
        let joined = || show(&balancer, &["maddr", "show", "dev", "eth0"]);
        let groups = ["ff02::1:ff00:10\n", "33:33:ff:00:00:10"];
        let membership = nd::join(eth0(), &BTreeSet::from([V6.free])).unwrap();
        assert!(groups.iter().all(|group| joined().contains(group)), "{}", joined());
        drop(membership);
        assert!(!groups.iter().any(|group| joined().contains(group)), "{}", joined());
    });
}

#[test]
fn hundreds_of_addresses_are_probed_for_at_once() {
    let Cable { balancer, machine: _there } = V6.addressed();
    balancer.run_async(async || {
        let address =
            |last: u32| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(last)));
        let addresses: Vec<IpAddr> = (2..1000).map(address).collect();
        let conflicts = probe(eth0(), own(), &addresses, Duration::from_secs(2)).await.unwrap();
        assert_eq!(conflicts, [V6.taken, V6.also_taken].map(taken));
    });
}

#[test]
fn other_traffic_does_not_reach_the_probe() {
    let Cable { balancer, machine } = V6.addressed();
    balancer.run_async(async || {
        let socket = Protocol::Nd.open(eth0()).unwrap();
        machine.run(|| {
            let sender = UdpSocket::bind((V6.taken, 0)).unwrap();
            for _ in 0..100 {
                sender.send_to(&[0; 1000], (V6.balancer, 9)).unwrap();
            }
        });
        let mut frame = [0; LONGEST];
        while let Ok(length) = timeout(PATIENCE, socket.receive(&mut frame)).await {
            let length = length.unwrap();
            assert!(length < 100 && [135, 136].contains(&frame[54]), "{:?}", &frame[..length]);
        }
    });
}

#[test]
fn an_interface_that_is_down_or_missing_is_an_error() {
    for family in FAMILIES {
        let Cable { balancer, machine: _there } = family.addressed();
        balancer.ip("link set eth0 down");
        balancer.run_async(async || {
            let free = [family.free];
            assert!(probe(eth0(), own(), &free, PATIENCE).await.is_err());
            assert!(probe(9999, own(), &free, PATIENCE).await.is_err());
            assert!(gratuitous(eth0(), own(), &free).await.is_err());
            assert!(gratuitous(9999, own(), &free).await.is_err());
        });
    }
}

#[test]
fn an_announcement_changes_the_neighbours_cache() {
    for family in FAMILIES {
        let Cable { balancer, machine } = family.addressed();
        let free = family.free.to_string();
        machine.ip(&format!("neigh add {free} lladdr 02:00:00:00:00:55 dev eth0 nud reachable"));
        balancer.run_async(async || gratuitous(eth0(), own(), &[family.free]).await.unwrap());
        // On a veth a frame is received within the call that sends it, or soon after.
        let changed = || show(&machine, &["neigh", "show", &free]).contains(BALANCER_MAC);
        let tries = std::iter::repeat_with(changed).take(2000);
        assert!(tries.into_iter().any(|changed| changed), "{free}: the old MAC address stays");
    }
}

#[test]
fn every_form_is_sent_for_every_address() {
    for (family, protocol) in [(V4, Protocol::Arp), (V6, Protocol::Nd)] {
        let Cable { balancer, machine } = family.addressed();
        let addresses = [family.taken, family.free];
        machine.run_async(async || {
            let ears = protocol.open(eth0()).unwrap();
            balancer.run_async(async || gratuitous(eth0(), own(), &addresses).await.unwrap());
            for wanted in addresses.iter().flat_map(|address| announcements(own(), *address)) {
                let mut frame = [0; LONGEST];
                let heard = timeout(Duration::from_secs(20), ears.receive(&mut frame)).await;
                assert_eq!(frame[..heard.unwrap().unwrap()], wanted);
            }
        });
    }
}

#[test]
fn addresses_are_assigned_and_removed_and_both_may_be_repeated() {
    for family in FAMILIES {
        let Cable { balancer, machine: _there } = family.addressed();
        let shown = format!("{}/{} ", family.free, family.host);
        balancer.run_async(async || {
            let addresses = Addresses::connect().unwrap();
            let (interface, address) = (eth0(), family.free);
            let assigned = || show(&balancer, &["addr", "show", "dev", "eth0"]).contains(&shown);
            assert_eq!(addresses.assign(interface, address).await.unwrap(), Found::Absent);
            assert_eq!(addresses.assign(interface, address).await.unwrap(), Found::Present);
            assert!(assigned());
            assert_eq!(addresses.remove(interface, address).await.unwrap(), Found::Present);
            assert_eq!(addresses.remove(interface, address).await.unwrap(), Found::Absent);
            assert!(!assigned());
            let nowhere = addresses.assign(9999, address).await;
            assert!(matches!(nowhere, Err(Error::Refused { interface: 9999, .. })));
        });
    }
}

#[test]
fn an_assigned_address_is_usable_at_once_and_no_source_for_what_begins_here() {
    for family in FAMILIES {
        let Cable { balancer, machine: _there } = family.addressed();
        // As on any machine, where it would take a second or two.
        balancer.sysctl("ipv6/conf/eth0/accept_dad", "1");
        balancer.run_async(async || {
            let addresses = Addresses::connect().unwrap();
            addresses.assign(eth0(), family.free).await.unwrap();
            UdpSocket::bind((family.free, 0)).unwrap();
            // It has more of its beginning in common with the VIP than with the balancer.
            let neighbour = match family.free {
                IpAddr::V4(vip) => IpAddr::V4(Ipv4Addr::from_bits(vip.to_bits() + 1)),
                IpAddr::V6(vip) => IpAddr::V6(Ipv6Addr::from_bits(vip.to_bits() + 1)),
            };
            let any = if neighbour.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect((neighbour, 9)).unwrap();
            assert_eq!(socket.local_addr().unwrap().ip(), family.balancer);
        });
    }
}

#[test]
fn an_interface_without_ipv6_is_said_to_be_one() {
    let Cable { balancer, machine: _there } = Cable::new();
    balancer.sysctl("ipv6/conf/eth0/disable_ipv6", "1");
    balancer.run_async(async || {
        let addresses = Addresses::connect().unwrap();
        let refused = addresses.assign(eth0(), "2001:db8::10".parse().unwrap()).await;
        assert!(matches!(refused, Err(Error::NoIpv6 { .. })), "{refused:?}");
    });
}
