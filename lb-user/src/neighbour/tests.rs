use std::time::Duration;

use super::{
    netns::{BALANCER_MAC, Cable, MACHINE_MAC, Namespace, eth0},
    *,
};

/// For what takes milliseconds, or a second at most.
const DEADLINE: Duration = Duration::from_secs(20);

/// The loopback interface's index in every network namespace.
const LOOPBACK: u32 = 1;

const MACHINE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 2));

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

fn machine() -> Resolution {
    Resolution::Resolved(mac(MACHINE_MAC))
}

/// A watcher, and what it told.
struct Ears {
    watcher: Watcher,
    events: mpsc::Receiver<Event>,
}

impl Ears {
    fn new() -> Self {
        Self::with_room(1024)
    }

    fn with_room(room: usize) -> Self {
        let (sender, events) = mpsc::channel(room);
        Self { watcher: Watcher::start(sender).unwrap(), events }
    }

    fn track(&self, addresses: &[IpAddr]) {
        self.watcher.track([(eth0(), addresses.iter().copied().collect())].into());
    }

    async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        next.expect("no event").expect("the watcher is alive")
    }

    /// Waits for this event; others may come before it.
    async fn hear(&mut self, wanted: &Event) {
        while self.next().await != *wanted {}
    }

    async fn neighbour(&mut self, address: IpAddr, state: Resolution) {
        self.hear(&Event::Neighbour { interface: eth0(), address, state }).await;
    }
}

/// A cable with addresses on both ends.
fn addressed() -> Cable {
    let cable = Cable::new();
    cable.balancer.ip("addr add 10.9.0.1/24 dev eth0");
    cable.machine.ip("addr add 10.9.0.2/24 dev eth0");
    cable.balancer.ip("addr add fd00:9::1/64 dev eth0 nodad");
    cable.machine.ip("addr add fd00:9::2/64 dev eth0 nodad");
    cable
}

fn entries(namespace: &Namespace) -> String {
    let show = || {
        let done =
            std::process::Command::new("ip").args(["-d", "neigh", "show", "dev", "eth0"]).output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    namespace.run(show)
}

#[test]
fn a_live_neighbour_is_resolved() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        ears.track(&[MACHINE]);
        ears.neighbour(MACHINE, machine()).await;
    });
}

#[test]
fn a_live_ipv6_neighbour_is_resolved() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        let address = "fd00:9::2".parse().unwrap();
        ears.track(&[address]);
        ears.neighbour(address, machine()).await;
    });
}

#[test]
fn a_neighbour_that_the_kernel_knows_already_is_told_when_it_is_tracked() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        let mut first = Ears::new();
        first.track(&[MACHINE]);
        first.neighbour(MACHINE, machine()).await;
        let mut second = Ears::new();
        second.track(&[MACHINE]);
        second.neighbour(MACHINE, machine()).await;
    });
}

#[test]
fn a_neighbour_that_comes_alive_is_resolved() {
    let Cable { balancer, machine: there } = addressed();
    let late: IpAddr = "10.9.0.7".parse().unwrap();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        ears.track(&[late]);
        ears.neighbour(late, Resolution::Failed).await;
        there.ip("addr add 10.9.0.7/24 dev eth0");
        ears.neighbour(late, machine()).await;
    });
}

#[test]
fn an_ipv6_neighbour_that_comes_alive_is_resolved() {
    let Cable { balancer, machine: there } = addressed();
    let late: IpAddr = "fd00:9::7".parse().unwrap();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        ears.track(&[late]);
        ears.neighbour(late, Resolution::Failed).await;
        there.ip("addr add fd00:9::7/64 dev eth0 nodad");
        ears.neighbour(late, machine()).await;
    });
}

#[test]
fn a_changed_mac_that_is_announced_is_told() {
    let Cable { balancer, machine: there } = addressed();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        ears.track(&[MACHINE]);
        ears.neighbour(MACHINE, machine()).await;
        there.sysctl("ipv4/conf/eth0/arp_notify", "1");
        there.ip("link set eth0 address 02:00:00:00:00:99");
        ears.neighbour(MACHINE, Resolution::Resolved(mac("02:00:00:00:00:99"))).await;
    });
}

#[test]
fn a_neighbour_that_dies_is_told_without_a_packet_to_it() {
    let Cable { balancer, machine: there } = addressed();
    // The kernel trusts an answer for half a minute, and then waits for five seconds more.
    balancer.sysctl("ipv4/neigh/eth0/base_reachable_time_ms", "200");
    balancer.sysctl("ipv4/neigh/eth0/delay_first_probe_time", "1");
    balancer.sysctl("ipv4/neigh/eth0/retrans_time_ms", "100");
    balancer.run_async(async || {
        let mut ears = Ears::new();
        ears.track(&[MACHINE]);
        ears.neighbour(MACHINE, machine()).await;
        there.ip("addr del 10.9.0.2/24 dev eth0");
        ears.neighbour(MACHINE, Resolution::Failed).await;
        there.ip("addr add 10.9.0.2/24 dev eth0");
        ears.neighbour(MACHINE, machine()).await;
    });
}

#[test]
fn what_was_flushed_is_resolved_again() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        ears.track(&[MACHINE]);
        ears.neighbour(MACHINE, machine()).await;
        balancer.ip("neigh del 10.9.0.2 dev eth0");
        ears.neighbour(MACHINE, machine()).await;
    });
}

#[test]
fn neighbours_are_resolved_again_after_the_link_was_down() {
    let Cable { balancer, machine: there } = addressed();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        ears.track(&[MACHINE]);
        ears.neighbour(MACHINE, machine()).await;
        there.ip("link set eth0 down");
        ears.neighbour(MACHINE, Resolution::Pending).await;
        there.ip("link set eth0 up");
        ears.neighbour(MACHINE, machine()).await;
    });
}

#[test]
fn entries_that_the_operator_made_stay_as_they_are() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.ip("neigh add 10.9.0.50 lladdr 02:00:00:00:00:50 dev eth0 nud permanent");
    balancer.ip("neigh add 10.9.0.51 dev eth0 managed");
    let (permanent, managed) = ("10.9.0.50".parse().unwrap(), "10.9.0.51".parse().unwrap());
    let dead = "10.9.0.52".parse().unwrap();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        ears.track(&[permanent, managed]);
        ears.neighbour(permanent, Resolution::Resolved(mac("02:00:00:00:00:50"))).await;
        // The kernel gives up by itself.
        ears.neighbour(managed, Resolution::Failed).await;
        // By the time that this one has failed, the others had their turns.
        ears.track(&[permanent, managed, dead]);
        ears.neighbour(dead, Resolution::Failed).await;
    });
    let entries = entries(&balancer);
    assert!(entries.contains("10.9.0.50 lladdr 02:00:00:00:00:50 PERMANENT"), "{entries}");
    let managed = entries.lines().find(|line| line.starts_with("10.9.0.51"));
    assert!(managed.is_some_and(|line| line.contains("managed")), "{entries}");
}

#[test]
fn links_are_told_with_their_changes() {
    let Cable { balancer, machine: there } = Cable::new();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        let link = |mac_text: &str, up| Event::Link {
            index: eth0(),
            link: Link { name: "eth0".into(), mac: Some(mac(mac_text)), up, vlan: None },
        };
        let gone = Event::LinkGone { index: eth0(), name: "eth0".into() };
        ears.hear(&link(BALANCER_MAC, true)).await;
        there.ip("link set eth0 down");
        ears.hear(&link(BALANCER_MAC, false)).await;
        there.ip("link set eth0 up");
        ears.hear(&link(BALANCER_MAC, true)).await;
        balancer.ip("link set eth0 address 02:00:00:00:00:77");
        ears.hear(&link("02:00:00:00:00:77", true)).await;
        there.ip("link del eth0");
        ears.hear(&gone).await;
    });
}

#[test]
fn everything_that_is_there_at_the_start_is_told_before_the_list_is_said_to_be_complete() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        let mut links = Vec::new();
        let mut addresses = Vec::new();
        loop {
            match ears.next().await {
                Event::Link { link, .. } => links.push(link.name),
                Event::LocalAddress { address, .. } => addresses.push(address),
                Event::Listed => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(links, ["lo", "eth0"]);
        assert!(addresses.contains(&"10.9.0.1".parse().unwrap()), "{addresses:?}");
    });
}

#[test]
fn a_vlan_is_told_with_its_parent_and_its_tag() {
    let Cable { balancer, machine: _there } = Cable::new();
    for (kind, service) in [("802.1Q", false), ("802.1ad", true)] {
        let add = format!("link add link eth0 name eth0.20 type vlan protocol {kind} id 20");
        if !balancer.try_ip(&add) {
            return println!("skipped: this kernel makes no VLAN interfaces");
        }
        balancer.run_async(async || {
            let mut ears = Ears::new();
            let wanted = Vlan { parent: eth0(), tag: Tag { vlan: 20, service } };
            let told = loop {
                match ears.next().await {
                    Event::Link { link, .. } if link.name == "eth0.20" => break link.vlan,
                    Event::Listed => panic!("eth0.20 was not told"),
                    _ => {}
                }
            };
            assert_eq!(told, Some(wanted));
        });
        balancer.ip("link del eth0.20");
    }
}

#[test]
fn local_addresses_are_told_as_they_come_and_go() {
    let balancer = Namespace::new();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        for (text, prefix) in [("192.0.2.10", 32), ("2001:db8::10", 128)] {
            let address = text.parse().unwrap();
            let told = |present| Event::LocalAddress { interface: LOOPBACK, address, present };
            balancer.ip(&format!("addr add {text}/{prefix} dev lo"));
            ears.hear(&told(true)).await;
            balancer.ip(&format!("addr del {text}/{prefix} dev lo"));
            ears.hear(&told(false)).await;
        }
    });
}

/// Makes the kernel say more than a socket holds while nobody listens, then does one thing more.
fn drown(namespace: &Namespace, last: &str) {
    let line =
        |n: u32| format!("neigh replace 10.9.0.99 lladdr 02:00:00:00:00:{:02x} dev eth0\n", n % 2);
    let lines: String = (0..30_000).map(line).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, lines + last + "\n").unwrap();
    namespace.ip(&format!("-batch {}", file.path().display()));
}

#[test]
fn what_is_lost_while_nobody_listens_is_noticed() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        let mut ears = Ears::new();
        let address = "192.0.2.10".parse().unwrap();
        let local = |present| Event::LocalAddress { interface: LOOPBACK, address, present };
        ears.track(&[MACHINE]);
        ears.neighbour(MACHINE, machine()).await;
        // The runtime has this one thread, so nothing is read meanwhile.
        drown(&balancer, "addr add 192.0.2.10/32 dev lo");
        ears.hear(&local(true)).await;
        drown(&balancer, "addr del 192.0.2.10/32 dev lo");
        ears.hear(&local(false)).await;
        drown(&balancer, "neigh replace 10.9.0.2 lladdr 02:00:00:00:00:98 dev eth0");
        ears.neighbour(MACHINE, Resolution::Resolved(mac("02:00:00:00:00:98"))).await;
        drown(&balancer, "link set eth0 address 02:00:00:00:00:97");
        let (name, mac) = ("eth0".into(), Some(mac("02:00:00:00:00:97")));
        let link = Link { name, mac, up: true, vlan: None };
        ears.hear(&Event::Link { index: eth0(), link }).await;
    });
}

/// While the events wait to be taken the kernel's messages pile up and are lost.
#[test]
fn what_is_lost_while_events_are_not_taken_is_noticed() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.run_async(async || {
        let mut ears = Ears::with_room(1);
        let address = "192.0.2.10".parse().unwrap();
        let local = |present| Event::LocalAddress { interface: LOOPBACK, address, present };
        for _ in 0..3 {
            // The first event waits for room while the second drowning goes on.
            drown(&balancer, "addr add 192.0.2.10/32 dev lo");
            tokio::task::yield_now().await;
            drown(&balancer, "addr add 192.0.2.11/32 dev lo");
            ears.hear(&local(true)).await;
            drown(&balancer, "addr del 192.0.2.10/32 dev lo");
            tokio::task::yield_now().await;
            drown(&balancer, "addr del 192.0.2.11/32 dev lo");
            ears.hear(&local(false)).await;
        }
    });
}

#[test]
fn a_route_names_the_interface_and_the_gateway() {
    let Cable { balancer, machine: _there } = addressed();
    balancer.ip("route add 198.51.100.0/24 via 10.9.0.2");
    balancer.ip("route add unreachable 203.0.113.0/24");
    balancer.run_async(async || {
        let watcher = Ears::new().watcher;
        let route = async |text: &str| watcher.route(text.parse().unwrap()).await;
        let interface = eth0();
        assert_eq!(route("10.9.0.2").await.unwrap(), Route { interface, gateway: None });
        assert_eq!(route("fd00:9::2").await.unwrap(), Route { interface, gateway: None });
        assert_eq!(
            route("198.51.100.9").await.unwrap(),
            Route { interface, gateway: Some(MACHINE) }
        );
        for nowhere in ["203.0.113.1", "192.0.2.1", "2001:db8::1", "10.9.0.1", "224.0.0.9"] {
            let error = route(nowhere).await.unwrap_err();
            assert!(matches!(error, Error::NoRoute { .. }), "{nowhere}: {error}");
        }
    });
}
