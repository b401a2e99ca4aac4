//! The nodes, their interfaces and cables, as data; and how they are laid.
//!
//! ```text
//! client eth0 ── wan router lan ── router │ switch │ balancer ── eth0 balancer
//!                                         │  (br0) │ real1    ── eth0 real1 …
//! ```
//! The switch's ports are called after who is at the other end.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, process::Command, thread};

use anyhow::{Result, anyhow};
use lb_user::model::Mac;

use crate::{address, netns::Netns, process::Output};

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
    address: IpAddr,
}

impl Node {
    fn new(name: &str, interfaces: &[(&'static str, IpAddr)], routes: Vec<String>) -> Self {
        let interfaces = interfaces.iter().map(|(name, address)| Interface {
            name,
            address: *address,
        });
        Self {
            name: name.to_owned(),
            interfaces: interfaces.collect(),
            routes,
            forwards: false,
        }
    }
}

/// The switch's name.
pub(crate) const SWITCH: &str = "switch";

/// What a real server with this number is called.
pub(crate) fn real_name(number: u8) -> String {
    format!("real{number}")
}

/// All nodes of a lab with so many real servers.
pub(crate) fn nodes(reals: u8) -> Vec<Node> {
    let default = |router: IpAddr| vec![format!("default via {router}")];
    let lan_node =
        |name: &str, own| Node::new(name, &[("eth0", own)], default(address::ROUTER_LAN));
    let mut nodes = vec![
        Node::new(
            "client",
            &[("eth0", address::CLIENT)],
            default(address::ROUTER_WAN),
        ),
        Node {
            forwards: true,
            ..Node::new(
                "router",
                &[("wan", address::ROUTER_WAN), ("lan", address::ROUTER_LAN)],
                vec![format!("{} dev lan", address::VIPS)],
            )
        },
        lan_node("balancer", address::BALANCER),
    ];
    nodes.extend((1..=reals).map(|number| lan_node(&real_name(number), address::real(number))));
    nodes
}

/// Lays all cables and configures all nodes. Namespaces are found by node name.
pub(crate) fn lay(nodes: &[Node], spaces: &BTreeMap<String, Netns>) -> Result<()> {
    let space = |name: &str| {
        spaces
            .get(name)
            .ok_or_else(|| anyhow!("no namespace {name}"))
    };
    for (name, netns) in spaces {
        let forwards = nodes.iter().any(|node| node.name == *name && node.forwards);
        netns.sysctl(&parameters(forwards))?;
    }
    space(SWITCH)?.ip_batch(&cables(nodes, spaces)?)?;
    // Mostly waiting for `ip` and `ethtool` to start.
    thread::scope(|scope| {
        let work: Vec<_> = nodes
            .iter()
            .map(|node| space(&node.name).map(|netns| scope.spawn(|| configure(node, netns))))
            .collect::<Result<_>>()?;
        work.into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("panicked"))))
    })
}

/// Parameters are inherited from the host in part, so all that matter are set. No IPv6 address
/// assigns itself and none is tentative: a lab is silent until somebody speaks.
fn parameters(forwards: bool) -> Vec<(&'static str, &'static str)> {
    let mut all = vec![("ipv4/ip_forward", if forwards { "1" } else { "0" })];
    for (everywhere, later, value) in [
        (
            "ipv4/conf/all/rp_filter",
            "ipv4/conf/default/rp_filter",
            "0",
        ),
        (
            "ipv4/conf/all/arp_ignore",
            "ipv4/conf/default/arp_ignore",
            "0",
        ),
        (
            "ipv4/conf/all/arp_announce",
            "ipv4/conf/default/arp_announce",
            "0",
        ),
        (
            "ipv4/conf/all/send_redirects",
            "ipv4/conf/default/send_redirects",
            "0",
        ),
        (
            "ipv6/conf/all/accept_dad",
            "ipv6/conf/default/accept_dad",
            "0",
        ),
        (
            "ipv6/conf/all/addr_gen_mode",
            "ipv6/conf/default/addr_gen_mode",
            "1",
        ),
    ] {
        all.extend([(everywhere, value), (later, value)]);
    }
    all
}

/// The commands, for the switch's namespace, that make the bridge and all cables.
fn cables(nodes: &[Node], spaces: &BTreeMap<String, Netns>) -> Result<String> {
    let end = |node: &str, interface: &str, mac: Mac| {
        let netns = spaces
            .get(node)
            .ok_or_else(|| anyhow!("no namespace {node}"))?;
        Ok::<_, anyhow::Error>(format!(
            "name {interface} address {mac} netns {}",
            netns.path().display()
        ))
    };
    let mut lines =
        "link add br0 address 02:00:00:00:02:fe type bridge stp_state 0 mcast_snooping 0\n"
            .to_owned();
    let client = end("client", "eth0", address::mac(address::CLIENT))?;
    let router = end("router", "wan", address::mac(address::ROUTER_WAN))?;
    writeln!(lines, "link add {client} type veth peer {router}")?;
    for node in nodes {
        for interface in node
            .interfaces
            .iter()
            .filter(|interface| address::on_lan(interface.address))
        {
            let mac = address::mac(interface.address);
            let near = end(&node.name, interface.name, mac)?;
            let port = end(SWITCH, &node.name, Mac([2, 0, 0, 0, 2, mac.0[5]]))?;
            writeln!(lines, "link add {near} type veth peer {port}")?;
            writeln!(lines, "link set {} master br0 up", node.name)?;
        }
    }
    lines.push_str("link set br0 up\n");
    Ok(lines)
}

fn configure(node: &Node, netns: &Netns) -> Result<()> {
    let mut lines = "link set lo up\n".to_owned();
    for Interface { name, address } in &node.interfaces {
        writeln!(lines, "addr add {address}/24 dev {name}")?;
        writeln!(lines, "link set {name} up")?;
    }
    for route in &node.routes {
        writeln!(lines, "route add {route}")?;
    }
    netns.ip_batch(&lines)?;
    node.interfaces
        .iter()
        .try_for_each(|interface| send_plain_frames(netns, interface.name))
}

/// A veth leaves checksums and segmentation to a network card that is not there, and trusts the
/// kernel at the other end to know. XDP hands frames on as they are, without that knowledge: the
/// receiver would find wrong checksums, or frames longer than the wire, and drop them in silence.
fn send_plain_frames(netns: &Netns, interface: &str) -> Result<()> {
    let mut command: Command = netns.command("ethtool");
    command.args([
        "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off",
    ]);
    Output::of(&mut command)?.success().map(drop)
}
