//! The nodes, their interfaces and cables, as data; and how they are laid.
//!
//! ```text
//! client eth0 ── wan router lan ─── router │ switch  │ balancer ── eth0 balancer
//!                                          │  (br0)  │ real1    ── eth0 real1 …
//!                    router lan2 ── router │ switch2 │ balancer ── eth1 balancer
//!                                          │  (br0)  │ real2    ── eth0 real2 …
//! ```
//! The switches' ports are called after who is at the other end.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, process::Command, thread};

use anyhow::{Result, anyhow};
use lb_user::model::Mac;

use crate::{
    address::{self, Segment},
    lab::LabOptions,
    netns::Netns,
    process::Output,
};

/// Those who have addresses.
pub(crate) struct Node {
    pub name: String,
    interfaces: Vec<Interface>,
    /// In the words of `ip route add`.
    routes: Vec<String>,
    forwards: bool,
}

struct Interface {
    name: &'static str,
    /// Its IPv4 address; the others are those beside it.
    address: IpAddr,
}

impl Node {
    fn new(name: &str, interfaces: &[(&'static str, IpAddr)], router: IpAddr) -> Self {
        let interfaces =
            interfaces.iter().map(|(name, address)| Interface { name, address: *address });
        let routes = [router, address::beside(router)].map(|via| format!("default via {via}"));
        let (interfaces, routes) = (interfaces.collect(), routes.into());
        Self { name: name.to_owned(), interfaces, routes, forwards: false }
    }

    fn interfaces_on(&self, segment: Segment) -> impl Iterator<Item = &Interface> {
        let on = move |interface: &&Interface| Segment::of(interface.address) == segment;
        self.interfaces.iter().filter(on)
    }
}

/// The switch's name.
pub(crate) const SWITCH: &str = "switch";
/// The name of the second LAN's switch.
pub(crate) const SECOND_SWITCH: &str = "switch2";

/// The switch of a LAN.
pub(crate) fn switch(segment: Segment) -> Option<&'static str> {
    match segment {
        Segment::Outside => None,
        Segment::Lan => Some(SWITCH),
        Segment::SecondLan => Some(SECOND_SWITCH),
    }
}

/// The switches of a lab.
pub(crate) fn switches(options: &LabOptions) -> &'static [&'static str] {
    if options.second_lan_reals > 0 { &[SWITCH, SECOND_SWITCH] } else { &[SWITCH] }
}

/// What a real server with this number is called.
pub(crate) fn real_name(number: u8) -> String {
    format!("real{number}")
}

/// What the balancer with this number is called.
pub(crate) fn balancer_name(number: u8) -> String {
    if number == 1 { "balancer".to_owned() } else { format!("balancer{number}") }
}

/// The addresses of the real servers of a lab, in the order of their numbers.
pub(crate) fn reals(options: &LabOptions) -> Vec<IpAddr> {
    let near = (1..=options.reals).map(address::real);
    near.chain((1..=options.second_lan_reals).map(address::far_real)).collect()
}

/// The switches' ports towards the balancers: which switch, which port.
pub(crate) fn balancer_ports(options: &LabOptions) -> impl Iterator<Item = (&'static str, String)> {
    let LabOptions { balancers, .. } = *options;
    let ports = move |switch| (1..=balancers).map(move |number| (switch, balancer_name(number)));
    switches(options).iter().copied().flat_map(ports)
}

/// All nodes of a lab.
pub(crate) fn nodes(options: &LabOptions) -> Vec<Node> {
    let mut nodes = vec![
        Node::new("client", &[("eth0", address::CLIENT)], address::ROUTER_WAN),
        router(options),
    ];
    nodes.extend((1..=options.balancers).map(|number| balancer(options, number)));
    for (number, address) in (1..).zip(reals(options)) {
        let router = match Segment::of(address) {
            Segment::SecondLan => address::ROUTER_SECOND_LAN,
            _ => address::ROUTER_LAN,
        };
        nodes.push(Node::new(&real_name(number), &[("eth0", address)], router));
    }
    nodes
}

fn router(options: &LabOptions) -> Node {
    let mut interfaces = vec![("wan", address::ROUTER_WAN), ("lan", address::ROUTER_LAN)];
    if options.second_lan_reals > 0 {
        interfaces.push(("lan2", address::ROUTER_SECOND_LAN));
    }
    let routes = [address::VIPS, address::VIPS6].map(|vips| format!("{vips} dev lan"));
    let node = Node::new("router", &interfaces, address::ROUTER_WAN);
    Node { forwards: true, routes: routes.into(), ..node }
}

fn balancer(options: &LabOptions, number: u8) -> Node {
    let address = address::balancer(number);
    let mut interfaces = vec![("eth0", address)];
    if options.second_lan_reals > 0 {
        interfaces.push(("eth1", address::on_second_lan(address)));
    }
    Node::new(&balancer_name(number), &interfaces, address::ROUTER_LAN)
}

/// Lays all cables and configures all nodes. Namespaces are found by node name.
pub(crate) fn lay(
    options: &LabOptions,
    nodes: &[Node],
    spaces: &BTreeMap<String, Netns>,
) -> Result<()> {
    let space = |name: &str| spaces.get(name).ok_or_else(|| anyhow!("no namespace {name}"));
    for (name, netns) in spaces {
        let forwards = nodes.iter().any(|node| node.name == *name && node.forwards);
        netns.sysctl(&parameters(forwards))?;
    }
    let plan = Plan { nodes, spaces, mtu: options.mtu };
    for segment in [Segment::Outside, Segment::Lan, Segment::SecondLan] {
        if let Some(netns) = spaces.get(switch(segment).unwrap_or(SWITCH)) {
            netns.ip_batch(&plan.cables(segment)?)?;
        }
    }
    // Mostly waiting for `ip` and `ethtool` to start.
    thread::scope(|scope| {
        let work: Vec<_> = nodes
            .iter()
            .map(|node| space(&node.name).map(|netns| scope.spawn(|| configure(node, netns))))
            .collect::<Result<_>>()?;
        work.into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("panicked"))))
    })?;
    balancer_ports(options)
        .try_for_each(|(switch, port)| keep_tags_in_frames(space(switch)?, &port))
}

/// Parameters are inherited from the host in part, so all that matter are set. No IPv6 address
/// assigns itself, none is tentative, and multicast memberships are reported at once: a LAN is
/// silent until somebody speaks.
fn parameters(forwards: bool) -> Vec<(&'static str, &'static str)> {
    let forwarding = if forwards { "1" } else { "0" };
    let mut all = vec![("ipv4/ip_forward", forwarding), ("ipv6/conf/all/forwarding", forwarding)];
    for (everywhere, later, value) in [
        ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/arp_ignore", "ipv4/conf/default/arp_ignore", "0"),
        ("ipv4/conf/all/arp_announce", "ipv4/conf/default/arp_announce", "0"),
        ("ipv4/conf/all/send_redirects", "ipv4/conf/default/send_redirects", "0"),
        ("ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/all/accept_ra", "ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/all/autoconf", "ipv6/conf/default/autoconf", "0"),
        ("ipv6/conf/all/addr_gen_mode", "ipv6/conf/default/addr_gen_mode", "1"),
        (
            "ipv6/conf/all/mldv2_unsolicited_report_interval",
            "ipv6/conf/default/mldv2_unsolicited_report_interval",
            "0",
        ),
    ] {
        all.extend([(everywhere, value), (later, value)]);
    }
    all
}

/// Who is to be connected.
struct Plan<'a> {
    nodes: &'a [Node],
    spaces: &'a BTreeMap<String, Netns>,
    mtu: u32,
}

impl Plan<'_> {
    /// The commands that make the cables of a segment and, in its switch's namespace, the bridge.
    fn cables(&self, segment: Segment) -> Result<String> {
        let mut lines = String::new();
        let Some(switch) = switch(segment) else {
            let client = self.end("client", "eth0", address::mac(address::CLIENT))?;
            let router = self.end("router", "wan", address::mac(address::ROUTER_WAN))?;
            writeln!(lines, "link add {client} type veth peer {router}")?;
            return Ok(lines);
        };
        let fifth = if segment == Segment::Lan { 2 } else { 4 };
        writeln!(
            lines,
            "link add br0 address {} type bridge stp_state 0 mcast_snooping 0",
            Mac([2, 0, 0, 0, fifth, 0xfe])
        )?;
        for node in self.nodes {
            for Interface { name, address } in node.interfaces_on(segment) {
                let mac = address::mac(*address);
                let near = self.end(&node.name, name, mac)?;
                let port = self.end(switch, &node.name, Mac([2, 0, 0, 0, fifth, mac.0[5]]))?;
                writeln!(lines, "link add {near} type veth peer {port}")?;
                writeln!(lines, "link set {} master br0 up", node.name)?;
            }
        }
        lines.push_str("link set br0 up\n");
        Ok(lines)
    }

    /// One end of a cable.
    fn end(&self, node: &str, interface: &str, mac: Mac) -> Result<String> {
        let netns = self.spaces.get(node).ok_or_else(|| anyhow!("no namespace {node}"))?;
        Ok(format!(
            "name {interface} address {mac} mtu {} netns {}",
            self.mtu,
            netns.path().display()
        ))
    }
}

fn configure(node: &Node, netns: &Netns) -> Result<()> {
    let mut lines = "link set lo up\n".to_owned();
    for Interface { name, address } in &node.interfaces {
        writeln!(lines, "addr add {address}/24 dev {name}")?;
        writeln!(lines, "addr add {}/64 dev {name} nodad", address::beside(*address))?;
        writeln!(lines, "addr add {}/64 dev {name} nodad", address::link_local(*address))?;
        writeln!(lines, "link set {name} up")?;
    }
    for route in &node.routes {
        writeln!(lines, "route add {route}")?;
    }
    netns.ip_batch(&lines)?;
    node.interfaces.iter().try_for_each(|interface| send_plain_frames(netns, interface.name))
}

/// A veth leaves checksums, segmentation and VLAN tags to a network card that is not there, and
/// trusts the kernel at the other end to know. XDP hands frames on as they are, without that
/// knowledge: the receiver would find wrong checksums, frames longer than the wire or none of the
/// tags, and drop them in silence.
fn send_plain_frames(netns: &Netns, interface: &str) -> Result<()> {
    ethtool(netns, interface, &["tx", "tso", "gso", "gro", "txvlan", "rxvlan"])
}

/// Has tags stand in the frames that a port of a switch sends to XDP.
fn keep_tags_in_frames(netns: &Netns, port: &str) -> Result<()> {
    ethtool(netns, port, &["txvlan", "rxvlan"])
}

/// Switches features off.
fn ethtool(netns: &Netns, interface: &str, features: &[&str]) -> Result<()> {
    let mut command: Command = netns.command("ethtool");
    command.args(["-K", interface]);
    for feature in features {
        command.args([feature, "off"]);
    }
    Output::of(&mut command)?.success().map(drop)
}
