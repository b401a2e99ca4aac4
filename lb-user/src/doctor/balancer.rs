//! Looks at this machine: what netlink, drivers and the kernel's parameters say.

use std::{collections::BTreeMap, fs};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};

use super::{
    ethtool,
    observation::{InterfaceObservation, MachineObservation, Peer},
    snapshot::{InterfaceFacts, Snapshot, Xdp},
};
use crate::dataplane::{Error, Kernel};

/// A link as the kernel tells of it, reduced to what matters here.
struct Link {
    name: String,
    mtu: Option<u32>,
    /// What it is a VLAN of, or the other end of a veth, if that is in this network namespace.
    below: Option<u32>,
    kind: Option<InfoKind>,
    /// The XDP program on it.
    program: Option<u32>,
}

/// Looks at every interface where the program is.
pub(super) async fn interfaces(snapshot: &Snapshot) -> BTreeMap<u32, InterfaceObservation> {
    let links = match links().await {
        Ok(links) => links,
        Err(error) => {
            log::warn!("the interfaces cannot be examined: {error}");
            return BTreeMap::new();
        }
    };
    let mut found = BTreeMap::new();
    for interface in snapshot.interfaces.iter().filter(|interface| interface.xdp != Xdp::None) {
        found.insert(interface.index, look(snapshot, interface, &links).await);
    }
    found
}

async fn look(
    snapshot: &Snapshot,
    interface: &InterfaceFacts,
    links: &BTreeMap<u32, Link>,
) -> InterfaceObservation {
    let index = interface.index;
    let vlans: Vec<&Link> = links
        .values()
        .filter(|link| link.kind == Some(InfoKind::Vlan) && link.below == Some(index))
        .collect();
    let mut strangers: Vec<(String, String)> = vlans
        .iter()
        .filter_map(|link| Some((link.name.clone(), format!("XDP program {}", link.program?))))
        .collect();
    if let Err(Error::Busy { program, id, .. }) =
        Kernel::check(&interface.name, &snapshot.pin_dir).await
    {
        strangers.push((interface.name.clone(), format!("XDP program {program} (id {id})")));
    }
    InterfaceObservation {
        takes_xdp: ethtool::takes_xdp(index).await,
        features: ethtool::features(&interface.name).await.unwrap_or_default(),
        mtu: links.get(&index).and_then(|link| link.mtu),
        vlans: vlans.iter().filter_map(|link| Some((link.name.clone(), link.mtu?))).collect(),
        peer: peer(index, links).await,
        strangers,
    }
}

/// The other end of a veth, where it can be seen.
async fn peer(index: u32, links: &BTreeMap<u32, Link>) -> Option<Peer> {
    let link = links.get(&index).filter(|link| link.kind == Some(InfoKind::Veth))?;
    let peer = links.get(&link.below?)?;
    // With either of them the driver polls, and has a place for what XDP sends (veth_xdp_xmit).
    let polls = ethtool::features(&peer.name).await.ok()?.contains("rx-gro");
    let takes = polls || peer.program.is_some();
    Some(Peer { name: peer.name.clone(), mtu: peer.mtu, takes })
}

async fn links() -> Result<BTreeMap<u32, Link>, Box<dyn std::error::Error + Send + Sync>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let messages = handle.link().get().execute().try_collect::<Vec<_>>().await;
    connection.abort();
    Ok(messages?.iter().filter_map(link).collect())
}

fn link(message: &LinkMessage) -> Option<(u32, Link)> {
    let mut name = None;
    let (mut mtu, mut below, mut kind, mut program) = (None, None, None, None);
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(given) => name = Some(given.clone()),
            LinkAttribute::Mtu(given) => mtu = Some(*given),
            LinkAttribute::Link(given) => below = Some(*given),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(parts) => {
                kind = parts.iter().find_map(|part| match part {
                    LinkInfo::Kind(kind) => Some(kind.clone()),
                    _ => None,
                });
            }
            LinkAttribute::Xdp(parts) => program = attached(parts),
            _ => {}
        }
    }
    let below = below.filter(|_| !elsewhere);
    Some((message.header.index, Link { name: name?, mtu, below, kind, program }))
}

fn attached(parts: &[LinkXdp]) -> Option<u32> {
    let nothing = LinkXdp::Attached(XdpAttached::None);
    let id = |part: &LinkXdp| match part {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some(*id),
        _ => None,
    };
    (!parts.contains(&nothing)).then(|| parts.iter().find_map(id)).flatten()
}

/// Looks at the machine as a whole.
pub(super) fn machine() -> MachineObservation {
    let number = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let forwards = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
    let places = ["ipv4/neigh/default/gc_thresh3", "ipv6/neigh/default/gc_thresh3"];
    MachineObservation {
        forwards: forwards.map(|name| number(name).map(|value| value > 0)),
        neighbours: places.map(number),
        synchronised: synchronised(),
    }
}

/// Whether the kernel thinks so of its clock (adjtimex(2)).
fn synchronised() -> Option<bool> {
    // SAFETY: integers and arrays of them, for all of which zero is a value; with no modes set the call
    // changes nothing.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills in the structure, which lives through it.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    match answer {
        ..0 => None,
        state => Some(state != libc::TIME_ERROR),
    }
}
