use tokio::{sync::mpsc, time::timeout};

use super::*;
use crate::{
    dataplane::Port,
    model::RealState,
    neighbour::netns::{Cable, MACHINE_MAC},
};

const REAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11));
/// A real in a VLAN.
const TAGGED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 20, 11));
const MAC: Mac = Mac([2, 0, 0, 0, 0, 11]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 12]);

fn real(mac: Option<Mac>) -> Real {
    Real { address: REAL, weight: 1, state: RealState::Active, mac, force_up: false }
}

fn link(index: u32, name: &str, up: bool) -> Event {
    let mac = Some(Mac([2, 0, 0, 0, 0, index as u8]));
    Event::Link { index, link: Link { name: name.to_owned(), mac, up, vlan: None } }
}

fn direct(interface: u32) -> Result<Route, String> {
    Ok(Route { interface, gateway: None })
}

fn behind(interface: u32) -> Result<Route, String> {
    Ok(Route { interface, gateway: Some([10, 9, 9, 9].into()) })
}

/// Two configured interfaces, a third, and a real on the first one's network.
fn network() -> Network {
    let mut network = Network::new(&["eth0".to_owned(), "eth1".to_owned()]);
    for (index, name) in [(2, "eth0"), (3, "eth1"), (7, "eth7")] {
        network.learn(link(index, name, true), Instant::now());
    }
    network.set_route(REAL, direct(2));
    network
}

fn answer(network: &mut Network, interface: u32, mac: Mac) {
    let state = Resolution::Resolved(mac);
    network.learn(Event::Neighbour { interface, address: REAL, state }, Instant::now());
}

fn cut(reason: &str) -> Reach {
    Reach::Cut(reason.to_owned())
}

/// How the real is reached after these answers, one a second.
fn after(states: &[Resolution]) -> Reach {
    let mut network = network();
    let mut now = Instant::now();
    network.inherit(REAL, MAC);
    for state in states {
        network.end_doubts(now);
        network.learn(Event::Neighbour { interface: 2, address: REAL, state: *state }, now);
        now += DOUBT;
    }
    network.reach(&real(None))
}

#[test]
fn a_real_is_given_up_only_if_it_stays_silent() {
    let failed = Resolution::Failed;
    assert_eq!(after(&[failed]), Reach::Inherited(MAC));
    assert_eq!(after(&[failed, Resolution::Resolved(MAC)]), Reach::Resolved(MAC));
    assert_eq!(after(&[failed, failed]), Reach::Silent(Some(MAC)), "its MAC address is kept");
    assert_eq!(after(&[failed, failed, failed]), Reach::Silent(Some(MAC)));
    assert_eq!(after(&[failed, Resolution::Pending]), Reach::Silent(Some(MAC)));
}

#[test]
fn asking_again_changes_nothing_until_there_is_an_answer() {
    assert_eq!(after(&[Resolution::Pending]), Reach::Inherited(MAC));
    let resolved = Resolution::Resolved(OTHER);
    assert_eq!(after(&[Resolution::Pending, resolved]), Reach::Resolved(OTHER));
    assert_eq!(after(&[resolved, Resolution::Pending]), Reach::Resolved(OTHER));
}

#[test]
fn an_answer_counts_on_the_interface_that_routing_names() {
    let mut network = network();
    answer(&mut network, 3, OTHER);
    assert_eq!(network.reach(&real(None)), Reach::Unresolved);
    answer(&mut network, 2, MAC);
    assert_eq!(network.reach(&real(None)), Reach::Resolved(MAC));
    network.set_route(REAL, direct(3));
    assert_eq!(network.reach(&real(None)), Reach::Resolved(OTHER));
    assert_eq!(network.way(&real(None)).map(|way| way.device), Ok("eth1".to_owned()));
    assert_eq!(network.on_link(&[REAL].into()), [(3, [REAL].into())].into());
}

#[test]
fn an_interface_that_is_not_configured_leads_nowhere() {
    let mut network = network();
    network.set_route(REAL, direct(7));
    let reason = "reached through \"eth7\", which is not in [node] interfaces";
    assert_eq!(network.reach(&real(None)), cut(reason));
    assert_eq!(network.on_link(&[REAL].into()), BTreeMap::new());
}

#[test]
fn a_real_goes_down_with_its_interface_and_comes_back_with_it() {
    let mut network = network();
    answer(&mut network, 2, MAC);
    network.learn(link(2, "eth0", false), Instant::now());
    assert_eq!(network.reach(&real(None)), cut("interface eth0 is down"));
    // The kernel drops the routes of an interface that the operator puts down.
    network.set_route(REAL, behind(7));
    assert_eq!(network.reach(&real(None)), cut("interface eth0 is down"));
    assert_eq!(network.device(&real(None)), Some("eth0".to_owned()));
    network.learn(link(2, "eth0", true), Instant::now());
    assert_eq!(network.reach(&real(None)), Reach::Resolved(MAC));
}

#[test]
fn a_real_whose_interface_is_gone_waits_for_the_one_that_takes_its_place() {
    let mut network = network();
    answer(&mut network, 2, MAC);
    network.learn(Event::LinkGone { index: 2, name: "eth0".into() }, Instant::now());
    network.set_route(REAL, Err("Network is unreachable".to_owned()));
    assert_eq!(network.reach(&real(None)), cut("interface eth0 is missing"));
    network.learn(link(12, "eth0", false), Instant::now());
    network.set_route(REAL, behind(7));
    assert_eq!(network.reach(&real(None)), cut("interface eth0 is down"));
    network.learn(link(12, "eth0", true), Instant::now());
    network.set_route(REAL, behind(7));
    assert_eq!(network.reach(&real(None)), Reach::Behind([10, 9, 9, 9].into()));
    network.set_route(REAL, direct(12));
    assert_eq!(network.reach(&real(None)), Reach::Unresolved);
    answer(&mut network, 12, OTHER);
    assert_eq!(network.reach(&real(None)), Reach::Resolved(OTHER));
}

#[test]
fn a_route_that_was_never_there_is_missed_with_the_interface_that_may_have_it() {
    let mut network = network();
    network.set_route(REAL, behind(7));
    assert_eq!(network.reach(&real(None)), Reach::Behind([10, 9, 9, 9].into()));
    network.learn(Event::LinkGone { index: 3, name: "eth1".into() }, Instant::now());
    assert_eq!(network.reach(&real(None)), cut("no route to it: interface eth1 is missing"));
}

#[test]
fn a_static_mac_address_needs_a_way_but_no_route_where_there_is_only_one() {
    let mut network = network();
    assert_eq!(network.reach(&real(Some(MAC))), Reach::Static(MAC));
    network.set_route(REAL, behind(3));
    assert_eq!(network.way(&real(Some(MAC))).map(|way| way.device), Ok("eth1".to_owned()));
    network.set_route(REAL, Err("Network is unreachable".to_owned()));
    assert!(matches!(network.reach(&real(Some(MAC))), Reach::Cut(_)));

    let mut single = Network::new(&["eth0".to_owned()]);
    single.learn(link(2, "eth0", true), Instant::now());
    single.set_route(REAL, Err("Network is unreachable".to_owned()));
    assert_eq!(single.reach(&real(Some(MAC))), Reach::Static(MAC));
    single.set_route(REAL, behind(7));
    assert_eq!(single.reach(&real(Some(MAC))), Reach::Static(MAC));
}

#[test]
fn what_happened_is_told_once() {
    let mut network = network();
    let mut news = |event: Option<Event>| {
        event.into_iter().for_each(|event| network.learn(event, Instant::now()));
        (network.take_moved(), Vec::from_iter(network.take_returned()))
    };
    assert_eq!(news(None), (true, vec![2, 3, 7]));
    assert_eq!(news(None), (false, vec![]));
    assert_eq!(news(Some(link(2, "eth0", false))), (true, vec![]));
    assert_eq!(news(Some(link(2, "eth0", true))), (true, vec![2]));
    let state = Resolution::Resolved(MAC);
    let answer = Event::Neighbour { interface: 2, address: REAL, state };
    assert_eq!(news(Some(answer)), (false, vec![]));
}

/// A network that is kept up to date as the reconciler does it.
struct Followed {
    network: Network,
    watcher: Watcher,
    events: mpsc::Receiver<Event>,
}

impl Followed {
    fn new(configured: &[&str]) -> Self {
        let (sender, events) = mpsc::channel(1024);
        let configured: Vec<String> = configured.iter().map(|name| (*name).to_owned()).collect();
        let watcher = Watcher::start(sender).unwrap();
        Self { network: Network::new(&configured), watcher, events }
    }

    /// Follows the kernel until this holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Network) -> bool) {
        let addresses = [REAL, TAGGED].into();
        while !holds(&self.network) {
            let event = timeout(Duration::from_secs(20), self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("not in time: {what}"));
            self.network.learn(event.unwrap(), Instant::now());
            if self.network.is_listed() && self.network.take_moved() {
                self.network.find_routes(&self.watcher, &addresses).await;
                self.watcher.track(self.network.on_link(&addresses));
            }
        }
    }

    async fn reach(&mut self, wanted: Reach) {
        self.until(&format!("{wanted:?}"), |network| network.reach(&real(None)) == wanted).await;
    }
}

/// Lays a second cable, from `eth1` to `eth1`, with the real at its other end.
fn lay_second(Cable { balancer, machine }: &Cable, mac: Mac) {
    Cable::lay(balancer, machine, "eth1", "02:00:00:00:02:01", &mac.to_string());
    balancer.ip("addr add 10.0.0.1/24 dev eth1");
    machine.ip("addr add 10.0.0.11/24 dev eth1");
}

#[test]
fn interfaces_are_followed_as_they_come_and_change_and_go() {
    let cable = Cable::new();
    cable.balancer.run_async(async || {
        let mut site = Followed::new(&["eth0", "eth1"]);
        site.reach(cut("no route to it: interface eth1 is missing")).await;
        lay_second(&cable, MAC);
        site.reach(Reach::Resolved(MAC)).await;
        cable.balancer.ip("link set eth1 down");
        site.reach(cut("interface eth1 is down")).await;
        cable.balancer.ip("link set eth1 up");
        site.reach(Reach::Resolved(MAC)).await;
        cable.machine.ip("link set eth1 down");
        site.reach(cut("interface eth1 is down")).await;
        cable.machine.ip("link set eth1 up");
        site.reach(Reach::Resolved(MAC)).await;

        let index = site.network.interfaces.index("eth1").unwrap();
        site.network.take_returned();
        cable.balancer.ip("link set eth1 address 02:00:00:00:02:02");
        let changed = Some(Mac([2, 0, 0, 0, 2, 2]));
        let has_changed = |network: &Network| {
            network.interfaces.find("eth1").is_some_and(|(_, link)| link.mac == changed)
        };
        site.until("another MAC address", has_changed).await;
        assert_eq!(site.network.take_returned(), [index].into());

        cable.balancer.ip("link del eth1");
        site.reach(cut("interface eth1 is missing")).await;
        lay_second(&cable, OTHER);
        site.reach(Reach::Resolved(OTHER)).await;
        assert_ne!(site.network.interfaces.index("eth1"), Some(index));
    });
}

#[test]
fn a_real_in_a_vlan_is_reached_through_the_interface_below() {
    let Cable { balancer, machine } = Cable::new();
    for namespace in [&balancer, &machine] {
        if !namespace.try_ip("link add link eth0 name eth0.20 type vlan id 20") {
            return println!("skipped: this kernel makes no VLAN interfaces");
        }
        namespace.ip("link set eth0.20 up");
    }
    balancer.ip("addr add 10.0.20.1/24 dev eth0.20");
    machine.ip("addr add 10.0.20.11/24 dev eth0.20");
    balancer.run_async(async || {
        let mut site = Followed::new(&["eth0"]);
        let tagged = Real { address: TAGGED, ..real(None) };
        let resolved = Reach::Resolved(MACHINE_MAC.parse().unwrap());
        let is_resolved = |network: &Network| network.reach(&tagged) == resolved;
        site.until("resolved", is_resolved).await;
        let way = site.network.way(&tagged).unwrap();
        assert_eq!((way.port, way.vlan), (Port::of("eth0"), Some(20)));
        assert_eq!(way.device, "eth0.20");
        balancer.ip("link del eth0.20");
        let missing = cut("interface eth0.20 is missing");
        site.until("missing", |network| network.reach(&tagged) == missing).await;
    });
}
