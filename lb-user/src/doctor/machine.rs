//! What follows from what was observed of this machine and its interfaces.

use std::collections::BTreeSet;

use super::{
    findings::{Code, Finding},
    observation::{InterfaceObservation, MachineObservation, Observations, Peer},
    snapshot::{InterfaceFacts, Snapshot, Xdp},
};

/// What is wrong with an interface.
pub(super) fn of_interface(
    snapshot: &Snapshot,
    seen: &Observations,
    interface: &InterfaceFacts,
) -> Vec<Finding> {
    let Some(found) = seen.interfaces.get(&interface.index) else {
        return Vec::new();
    };
    let mut findings = offloads(interface, found);
    let name = &interface.name;
    if interface.xdp == Xdp::Generic && found.takes_xdp == Some(true) {
        findings.push(Finding::new(
            Code::XdpGeneric,
            format!("XDP runs in the generic hook of {name}, although its driver takes programs"),
            "restart lbd, which tries native XDP again; with `xdp = \"native\"` it says why that fails",
        ));
    }
    for (place, program) in &found.strangers {
        findings.push(Finding::new(
            Code::SecondXdp,
            format!("{program} is attached to {place}, and takes packets on their way"),
            format!("detach it: `ip link set dev {place} xdp off`; then restart lbd"),
        ));
    }
    findings.extend(lengths(snapshot, seen, interface, found));
    if let Some(Peer { name: peer, takes: false, .. }) = &found.peer
        && interface.xdp == Xdp::Native
    {
        findings.push(Finding::new(
            Code::VethPeer,
            format!("{peer}, the other end of {name}, loses what native XDP sends"),
            format!(
                "switch on GRO at the other end (`ethtool -K {peer} gro on`), or `xdp = \"generic\"`"
            ),
        ));
    }
    findings
}

/// What network cards do to packets before the program sees them.
fn offloads(interface: &InterfaceFacts, found: &InterfaceObservation) -> Vec<Finding> {
    let name = &interface.name;
    let is_on = |feature: &str| interface.xdp != Xdp::None && found.features.contains(feature);
    let joined =
        "joins packets before they are forwarded, which makes them longer than the network takes";
    let mut findings = Vec::new();
    if is_on("rx-lro") {
        let fix = format!("`ethtool -K {name} lro off`");
        findings.push(Finding::new(Code::Lro, format!("{name} has LRO on: it {joined}"), fix));
    }
    if is_on("rx-gro-hw") {
        let fix = format!("`ethtool -K {name} rx-gro-hw off`");
        findings.push(Finding::new(
            Code::GroHw,
            format!("{name} has hardware GRO on: it {joined}"),
            fix,
        ));
    }
    if is_on("rx-vlan-hw-parse") && !found.vlans.is_empty() {
        findings.push(Finding::new(
            Code::RxVlan,
            format!(
                "{name} has VLANs, and takes their tags out of what it receives, so that XDP does not see \
                 them"
            ),
            format!("`ethtool -K {name} rxvlan off`"),
        ));
    }
    findings
}

/// Where one part of the way takes longer packets than another.
fn lengths(
    snapshot: &Snapshot,
    seen: &Observations,
    interface: &InterfaceFacts,
    found: &InterfaceObservation,
) -> Option<Finding> {
    let mtu = found.mtu.filter(|_| interface.xdp != Xdp::None)?;
    let vlans = found.vlans.iter().map(|(name, mtu)| (name.as_str(), *mtu));
    let peer = found.peer.iter().filter_map(|peer| Some((peer.name.as_str(), peer.mtu?)));
    // Each pair once.
    let others = snapshot
        .interfaces
        .iter()
        .filter(|other| other.xdp != Xdp::None && other.index > interface.index);
    let others = others
        .filter_map(|other| Some((other.name.as_str(), seen.interfaces.get(&other.index)?.mtu?)));
    let differing: BTreeSet<String> = vlans
        .chain(peer)
        .chain(others)
        .filter(|(_, other)| *other != mtu)
        .map(|(name, other)| format!("{name} {other}"))
        .collect();
    if differing.is_empty() {
        return None;
    }
    let differing: Vec<String> = differing.into_iter().collect();
    let message = format!(
        "the MTU of {} is {mtu}, and differs from that of {}: the balancer does not fragment, so what is \
         too long for one of them is lost",
        interface.name,
        differing.join(", ")
    );
    let fix = "give all parts of a VIP's way the same MTU (`ip link set dev NAME mtu N`)";
    Some(Finding::new(Code::Mtu, message, fix))
}

/// What is wrong with the machine as a whole.
pub(super) fn of_machine(snapshot: &Snapshot, found: &MachineObservation) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (family, v6) in [(0, false), (1, true)] {
        findings.extend(loops(snapshot, found.forwards[family] == Some(true), v6));
        findings.extend(crowd(snapshot, found.neighbours[family], v6));
    }
    if found.synchronised == Some(false) {
        findings.push(Finding::new(
            Code::Clock,
            "the clock is not synchronised: times of events and drains differ from those of other machines",
            "run chrony or systemd-timesyncd",
        ));
    }
    findings
}

/// A packet to a VIP that is no address of this machine may be forwarded to the router, which sends it here.
fn loops(snapshot: &Snapshot, forwards: bool, v6: bool) -> Option<Finding> {
    let lacking = snapshot.examined().filter(|vip| vip.address.is_ipv6() == v6 && !vip.assigned);
    let names: Vec<&str> = lacking.map(|vip| vip.name.as_str()).collect();
    if !forwards || names.is_empty() {
        return None;
    }
    let (name, sysctl) = match v6 {
        false => ("IPv4", "net.ipv4.ip_forward=0"),
        true => ("IPv6", "net.ipv6.conf.all.forwarding=0"),
    };
    let message = format!(
        "this machine forwards {name}, and the address of {} is not assigned to it: packets that XDP \
         passes may circle between router and balancer",
        names.join(", ")
    );
    Some(Finding::new(
        Code::IpForward,
        message,
        format!("`sysctl -w {sysctl}`, or assign the address here (announce = \"arp\" does)"),
    ))
}

/// Every real needs a place in the kernel's table of neighbours.
fn crowd(snapshot: &Snapshot, places: Option<u64>, v6: bool) -> Option<Finding> {
    let reals = snapshot.vips.iter().flat_map(|vip| &vip.reals).map(|real| real.address);
    let reals: BTreeSet<_> = reals.filter(|address| address.is_ipv6() == v6).collect();
    let (places, needed) = (places?, reals.len() as u64);
    if places >= needed {
        return None;
    }
    let family = if v6 { "ipv6" } else { "ipv4" };
    let message = format!(
        "the kernel's table of {family} neighbours has room for {places}, and there are {needed} reals"
    );
    let name = format!("net.{family}.neigh.default.gc_thresh");
    let fix = format!("`sysctl -w {name}3={} {name}2={}`", needed * 4, needed * 2);
    Some(Finding::new(Code::GcThresh, message, fix))
}
