//! On which machines, and for which VIPs each.

use std::net::IpAddr;

use clap::Args;
use lb_user::{
    api::types::VipStatus,
    backend::{Setup, Vip},
};

use super::host::Host;
use crate::{Session, failure::Failure};

/// Which machines are meant.
#[derive(Clone, Debug, Args)]
pub struct Targets {
    /// A real server, for all the VIPs named; may be repeated
    #[arg(long = "ssh", value_name = "[USER@]HOST[:PORT]")]
    hosts: Vec<Host>,
    /// Every real in the pools of the VIPs, each for the VIPs that it serves
    #[arg(long, conflicts_with = "hosts")]
    all_reals: bool,
}

/// A machine, and what it is to be set up for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub host: Host,
    /// Its VIPs.
    pub setup: Setup,
}

impl Targets {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && !self.all_reals
    }

    /// The machines, each once.
    pub fn find(&self, setup: &Setup, session: &mut Session<'_>) -> Result<Vec<Target>, Failure> {
        if self.all_reals {
            let targets = of_pools(setup, &Machines::ask(setup, session)?);
            return if targets.is_empty() { Err(no_reals(setup)) } else { Ok(targets) };
        }
        for (number, host) in self.hosts.iter().enumerate() {
            if let Some(other) =
                self.hosts[..number].iter().find(|other| other.is_same_server(host))
            {
                return Err(Failure::Usage(format!(
                    "--ssh {host} is the same server as --ssh {other}: name it once"
                )));
            }
        }
        let target = |host: &Host| Target { host: host.clone(), setup: setup.clone() };
        Ok(self.hosts.iter().map(target).collect())
    }
}

/// What the script sets up is all that there is: a VIP that a machine serves and that is not named
/// would be taken away.
pub fn refuse_to_forget(targets: &[Target], session: &mut Session<'_>) -> Result<(), Failure> {
    let Some(first) = targets.first() else {
        return Ok(());
    };
    let machines = Machines::ask(&first.setup, session)?;
    machines.forgotten(targets).map_or(Ok(()), |message| Err(Failure::Refused(message)))
}

fn no_reals(setup: &Setup) -> Failure {
    let names: Vec<_> = setup.vips.iter().filter_map(|vip| vip.name.as_deref()).collect();
    Failure::Usage(if names.is_empty() {
        "--all-reals: only the daemon knows the reals: name VIPs of it, or give each host by --ssh"
            .to_owned()
    } else {
        format!(
            "--all-reals: no real is in the pool of {}: add some, or give hosts by --ssh",
            names.join(", ")
        )
    })
}

/// What the balancer knows of the machines behind addresses; nothing where none was asked.
struct Machines(Vec<VipStatus>);

impl Machines {
    fn ask(setup: &Setup, session: &mut Session<'_>) -> Result<Self, Failure> {
        let of_daemon = setup.vips.iter().any(|vip| vip.name.is_some());
        Ok(Self(if of_daemon { session.client.vips()? } else { Vec::new() }))
    }

    /// What a script would take away that is not meant to go.
    fn forgotten(&self, targets: &[Target]) -> Option<String> {
        targets.iter().find_map(|Target { host, setup }| {
            let named = |vip: &VipStatus| setup.vips.iter().any(|one| one.address == vip.address);
            let forgotten = self.vips_of(host.address()?).find(|vip| !named(vip))?;
            Some(format!(
                "{host} is also a real of vip \"{}\", which the script would take away there: name \
                 that VIP, too, or take --all",
                forgotten.name
            ))
        })
    }

    /// The machine's network card: with an address of each family it is one machine all the same.
    fn mac(&self, address: IpAddr) -> Option<&str> {
        let mut reals = self.0.iter().flat_map(|vip| &vip.reals);
        reals.find(|real| real.address == address)?.mac.as_deref()
    }

    fn are_one(&self, one: IpAddr, other: IpAddr) -> bool {
        one == other || self.mac(one).is_some_and(|mac| self.mac(other) == Some(mac))
    }

    fn vips_of(&self, address: IpAddr) -> impl Iterator<Item = &VipStatus> {
        let has = move |vip: &&VipStatus| {
            vip.reals.iter().any(|real| self.are_one(real.address, address))
        };
        self.0.iter().filter(has)
    }
}

/// Each machine in the pools, by the first of its addresses.
fn of_pools(setup: &Setup, machines: &Machines) -> Vec<Target> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for real in setup.vips.iter().flat_map(|vip| &vip.reals) {
        if !addresses.iter().any(|known| machines.are_one(*known, *real)) {
            addresses.push(*real);
        }
    }
    let serves = |vip: &Vip, address| vip.reals.iter().any(|real| machines.are_one(*real, address));
    let target = |address: IpAddr| {
        let vips = setup.vips.iter().filter(|vip| serves(vip, address)).cloned().collect();
        Target { host: address.into(), setup: Setup { vips, ..setup.clone() } }
    };
    addresses.into_iter().map(target).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vip(name: &str, address: &str, reals: &[&str]) -> Vip {
        Vip {
            name: Some(name.into()),
            address: address.parse().unwrap(),
            ports: vec!["tcp/80".parse().unwrap()],
            reals: reals.iter().map(|real| real.parse().unwrap()).collect(),
        }
    }

    fn setup(vips: &[Vip]) -> Setup {
        Setup { vips: vips.to_vec(), interfaces: Vec::new(), balancers: Vec::new() }
    }

    /// What the daemon knows of the same VIPs, with the MAC addresses of those that resolve.
    fn machines(vips: &[Vip], macs: &[(&str, &str)]) -> Machines {
        let real = |real: &IpAddr| {
            let mac = macs.iter().find(|(address, _)| *address == real.to_string());
            json!({
                "address": real, "mac": mac.map(|(_, mac)| mac), "interface": null,
                "state": "active", "health": "up", "reason": "", "since": "2026-01-01T00:00:00Z",
                "weight": 1, "share": 0.5, "packets": 0, "bytes": 0, "flows": 0,
            })
        };
        let vips = vips.iter().map(|vip| {
            let status = json!({
                "name": vip.name, "address": vip.address, "ports": ["tcp/80"], "state": "up",
                "reason": "", "announce": "arp", "hash": "flow", "announced": true, "ring": 4093,
                "tracked_slots": 0, "packets": 0, "bytes": 0, "flows": 0, "sorry": null,
                "reals": vip.reals.iter().map(real).collect::<Vec<_>>(),
            });
            serde_json::from_value(status).unwrap()
        });
        Machines(vips.collect())
    }

    /// Each target with the addresses of its VIPs.
    fn told(targets: &[Target]) -> Vec<String> {
        let vips = |target: &Target| {
            let vips = target.setup.vips.iter().map(|vip| vip.address.to_string());
            vips.collect::<Vec<_>>().join(" ")
        };
        targets.iter().map(|target| format!("{}: {}", target.host, vips(target))).collect()
    }

    #[test]
    fn each_real_gets_the_vips_whose_pool_it_is_in() {
        let vips = [
            vip("web", "192.0.2.10", &["10.0.0.11", "10.0.0.12"]),
            vip("dns", "192.0.2.53", &["10.0.0.12", "10.0.0.13"]),
        ];
        let targets = of_pools(&setup(&vips), &machines(&vips, &[]));
        let expected =
            ["10.0.0.11: 192.0.2.10", "10.0.0.12: 192.0.2.10 192.0.2.53", "10.0.0.13: 192.0.2.53"];
        assert_eq!(told(&targets), expected);
    }

    #[test]
    fn a_machine_with_an_address_of_each_family_is_one_and_gets_all_of_its_vips() {
        let vips = [
            vip("web", "192.0.2.10", &["10.0.0.11", "10.0.0.12"]),
            vip("web6", "2001:db8:2::10", &["2001:db8:a::11", "2001:db8:a::12"]),
        ];
        let macs = [
            ("10.0.0.11", "02:00:00:00:00:0b"),
            ("2001:db8:a::11", "02:00:00:00:00:0b"),
            ("2001:db8:a::12", "02:00:00:00:00:0c"),
        ];
        let targets = of_pools(&setup(&vips), &machines(&vips, &macs));
        let expected = [
            "10.0.0.11: 192.0.2.10 2001:db8:2::10",
            // Nobody knows yet whose address this is.
            "10.0.0.12: 192.0.2.10",
            "2001:db8:a::12: 2001:db8:2::10",
        ];
        assert_eq!(told(&targets), expected);
    }

    #[test]
    fn a_machine_is_not_to_forget_a_vip_that_was_not_named() {
        let vips = [
            vip("web", "192.0.2.10", &["10.0.0.11"]),
            vip("tls", "192.0.2.10", &["10.0.0.11"]),
            vip("dns", "192.0.2.53", &["2001:db8:a::11"]),
        ];
        let macs = [("10.0.0.11", "02:00:00:00:00:0b"), ("2001:db8:a::11", "02:00:00:00:00:0b")];
        let machines = machines(&vips, &macs);
        let target =
            |host: &str, vips: &[Vip]| Target { host: host.parse().unwrap(), setup: setup(vips) };
        let message = machines.forgotten(&[target("root@10.0.0.11:22", &vips[..1])]).unwrap();
        assert!(message.contains("root@10.0.0.11:22 is also a real of vip \"dns\""), "{message}");
        // Of the same address as one that was named nothing is taken away; and a name tells nothing.
        for (host, vips) in
            [("10.0.0.11", &vips[1..]), ("real1", &vips[..1]), ("10.0.0.19", &vips[..1])]
        {
            assert_eq!(machines.forgotten(&[target(host, vips)]), None, "{host}");
        }
    }
}
