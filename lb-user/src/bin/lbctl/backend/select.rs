//! For which VIPs, and what else a real server must know: from the daemon, or from the command line
//! alone.

use std::{collections::BTreeSet, net::IpAddr};

use clap::Args;
use lb_user::{
    api::types::VipStatus,
    backend::{Setup, Vip},
    model::Ports,
};
use nix::ifaddrs::getifaddrs;

use crate::{Session, failure::Failure, value};

/// The VIPs that real servers are to have.
#[derive(Clone, Debug, Args)]
pub struct Select {
    /// VIPs of the daemon
    #[arg(
        value_name = "VIP",
        value_parser = value::name,
        required_unless_present_any = ["all", "vips"],
        conflicts_with_all = ["all", "vips"]
    )]
    names: Vec<String>,
    /// All VIPs of the daemon that have reals
    #[arg(long, conflicts_with = "vips")]
    all: bool,
    /// A virtual address (repeatable), without asking any daemon
    #[arg(long = "vip", value_name = "IP", value_parser = value::machine, requires = "ports")]
    vips: Vec<IpAddr>,
    /// What those serve: tcp/80, udp/53, tcp/*, udp/* or any (repeatable)
    #[arg(long = "port", value_name = "PORT", requires = "vips")]
    ports: Vec<Ports>,
    /// Where packets arrive from the balancer (repeatable); else each real finds its network cards
    #[arg(long = "interface", value_name = "NAME", value_parser = value::interface)]
    interfaces: Vec<String>,
    /// An address of the balancer, which no default route may lead to (repeatable); known where the
    /// daemon is asked
    #[arg(long = "balancer", value_name = "IP", value_parser = value::address)]
    balancers: Vec<IpAddr>,
}

impl Select {
    pub fn setup(&self, session: &mut Session<'_>) -> Result<Setup, Failure> {
        let vips = match self.vips.as_slice() {
            [] => self.of_daemon(session)?,
            addresses => merged(addresses.iter().map(|address| self.given(*address))),
        };
        let mut balancers = self.balancers.clone();
        if self.vips.is_empty() {
            // The daemon is on this machine: its socket is a Unix socket.
            balancers.extend(own_addresses());
        }
        balancers.retain(|address| vips.iter().all(|vip| vip.address != *address));
        Ok(Setup { vips, interfaces: unique(&self.interfaces), balancers: unique(&balancers) })
    }

    fn given(&self, address: IpAddr) -> Vip {
        Vip { name: None, address, ports: self.ports.clone(), reals: Vec::new() }
    }

    fn of_daemon(&self, session: &mut Session<'_>) -> Result<Vec<Vip>, Failure> {
        let client = &session.client;
        let vips = if self.all {
            client.vips()?
        } else {
            self.names.iter().map(|name| client.vip(name)).collect::<Result<_, _>>()?
        };
        let (serving, idle): (Vec<_>, Vec<_>) =
            vips.into_iter().partition(|vip| !vip.reals.is_empty());
        if serving.is_empty() && idle.is_empty() {
            return Err(Failure::Refused("no VIPs: add one with `lbctl vip add`".into()));
        }
        for VipStatus { name, .. } in &idle {
            let no_reals =
                format!("vip \"{name}\" has no reals: add one with `lbctl real add {name} IP`");
            if !self.all || serving.is_empty() {
                return Err(Failure::Refused(no_reals));
            }
            session.notes.line(&format!("lbctl: warning: left out: {no_reals}"));
        }
        Ok(merged(serving.into_iter().map(known)))
    }
}

/// Of a daemon that knows more kinds of ports than this program, those that this one knows.
fn known(vip: VipStatus) -> Vip {
    Vip {
        name: Some(vip.name),
        address: vip.address,
        ports: vip.ports.iter().filter_map(|ports| ports.parse().ok()).collect(),
        reals: vip.reals.iter().map(|real| real.address).collect(),
    }
}

/// One VIP for each address: a real has an address or not.
fn merged(vips: impl Iterator<Item = Vip>) -> Vec<Vip> {
    let mut merged: Vec<Vip> = Vec::new();
    for vip in vips {
        match merged.iter_mut().find(|other| other.address == vip.address) {
            Some(other) => join(other, vip),
            None => merged.push(Vip { ports: unique(&vip.ports), ..vip }),
        }
    }
    merged
}

fn join(one: &mut Vip, other: Vip) {
    if let (Some(name), Some(another)) = (&mut one.name, other.name)
        && name.split(',').all(|name| name != another)
    {
        name.push_str(&format!(",{another}"));
    }
    one.ports.extend(other.ports);
    one.ports = unique(&one.ports);
    one.reals.extend(other.reals);
    one.reals = unique(&one.reals);
}

/// The first of each, in their order.
fn unique<T: Clone + Ord>(all: &[T]) -> Vec<T> {
    let mut seen = BTreeSet::new();
    all.iter().filter(|one| seen.insert(*one)).cloned().collect()
}

/// Where they cannot be read nothing is known of them, which costs one check its sharpness.
fn own_addresses() -> Vec<IpAddr> {
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|place| IpAddr::V4(place.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|place| IpAddr::V6(place.ip())))
    };
    let own = getifaddrs().into_iter().flatten();
    own.filter_map(|own| address(own.address?)).filter(|own| !own.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(name: &str, address: &str, port: &str, real: &str) -> Vip {
        Vip {
            name: Some(name.into()),
            address: address.parse().unwrap(),
            ports: vec![port.parse().unwrap()],
            reals: vec![real.parse().unwrap()],
        }
    }

    #[test]
    fn vips_of_one_address_are_one_for_a_real() {
        let vips = [
            vip("web", "192.0.2.10", "tcp/80", "10.0.0.11"),
            vip("dns", "192.0.2.53", "udp/53", "10.0.0.11"),
            vip("tls", "192.0.2.10", "tcp/443", "10.0.0.12"),
            vip("tls", "192.0.2.10", "tcp/443", "10.0.0.12"),
        ];
        let merged = merged(vips.into_iter());
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].name.as_deref(), Some("web,tls"));
        assert_eq!(merged[0].ports.len(), 2);
        assert_eq!(merged[0].reals.len(), 2);
        assert_eq!(merged[1], vip("dns", "192.0.2.53", "udp/53", "10.0.0.11"));
    }

    #[test]
    fn of_this_machine_no_loopback_address_counts() {
        assert!(own_addresses().iter().all(|address| !address.is_loopback()));
    }
}
