//! Netlink messages, reduced to what they mean here.

use std::net::IpAddr;

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{
        InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
    },
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState,
    },
};

use super::{Link, Resolution, Vlan};
use crate::model::{Mac, Tag};

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
}

/// An entry of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) resolution: Resolution,
    /// What may be done to it.
    pub(super) hold: Hold,
}

/// How an entry may be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Set by someone else (permanent, managed, learned by a routing daemon): hands off. Even
    /// `NTF_USE` would take away a permanent entry's permanence (`__neigh_update`).
    Foreign,
    /// In use by the kernel, which sees to it.
    Fresh,
    /// To be used, so that the kernel confirms it.
    Stale,
    /// The kernel is asking, once a second.
    Asking,
    /// The kernel has given up.
    GivenUp,
}

pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(Key, Entry)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
            Some(IpAddr::V4(*address))
        }
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
            Some(IpAddr::V6(*address))
        }
        _ => None,
    })?;
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let entry = Entry { resolution: resolution(message), hold: hold(message) };
    Some((Key { interface: message.header.ifindex, address }, entry))
}

fn resolution(message: &NeighbourMessage) -> Resolution {
    use NeighbourState::{Delay, Failed, Noarp, Permanent, Probe, Reachable, Stale};
    let mac = || {
        message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => unicast(bytes),
            _ => None,
        })
    };
    match message.header.state {
        Reachable | Stale | Delay | Probe | Permanent | Noarp => {
            mac().map_or(Resolution::Pending, Resolution::Resolved)
        }
        Failed => Resolution::Failed,
        _ => Resolution::Pending,
    }
}

fn hold(message: &NeighbourMessage) -> Hold {
    use NeighbourState::{Incomplete, Noarp, Permanent, Stale};
    let managed = message.attributes.iter().any(|attribute| {
        matches!(attribute, NeighbourAttribute::ExtFlags(flags)
            if flags.contains(NeighbourExtFlags::Managed))
    });
    if managed || message.header.flags.contains(NeighbourFlags::ExtLearned) {
        return Hold::Foreign;
    }
    match message.header.state {
        Permanent | Noarp => Hold::Foreign,
        Stale => Hold::Stale,
        Incomplete => Hold::Asking,
        NeighbourState::Failed | NeighbourState::None => Hold::GivenUp,
        _ => Hold::Fresh,
    }
}

/// A bridge tells of its ports by link messages too, and a port that leaves it is no interface
/// that is gone: such messages have a family.
pub(super) fn link(message: &LinkMessage) -> Option<(u32, Link)> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut mac = None;
    let mut name = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => mac = unicast(bytes),
            LinkAttribute::IfName(given) => name = Some(given.clone()),
            _ => {}
        }
    }
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::Running);
    Some((message.header.index, Link { name: name?, mac, up, vlan: vlan(message) }))
}

/// Of a VLAN only: to an interface of another kind, `IFLA_LINK` may be a peer.
fn vlan(message: &LinkMessage) -> Option<Vlan> {
    let info = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    })?;
    if !info.contains(&LinkInfo::Kind(InfoKind::Vlan)) {
        return None;
    }
    let parts = info.iter().find_map(|part| match part {
        LinkInfo::Data(InfoData::Vlan(parts)) => Some(parts),
        _ => None,
    })?;
    let vlan = parts.iter().find_map(|part| match part {
        InfoVlan::Id(vlan) => Some(*vlan),
        _ => None,
    })?;
    let service = parts.contains(&InfoVlan::Protocol(VlanProtocol::Ieee8021Ad));
    let parent = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(parent) => Some(*parent),
        _ => None,
    });
    let elsewhere = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkNetNsId(_));
    let parent = parent.filter(|_| !message.attributes.iter().any(elsewhere));
    Some(Vlan { parent: parent.unwrap_or_default(), tag: Tag { vlan, service } })
}

/// An address of this machine; the same one may stand on several interfaces, and on one of them
/// with several prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Local {
    pub(super) address: IpAddr,
    pub(super) interface: u32,
    pub(super) prefix: u8,
}

pub(super) fn local(message: &AddressMessage) -> Option<Local> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    // On point-to-point links the plain address is the peer's.
    let own = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = || {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    };
    let address = own.or_else(plain)?;
    Some(Local { address, interface: message.header.index, prefix: message.header.prefix_len })
}

fn unicast(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac).filter(|mac| mac.is_unicast())
}
