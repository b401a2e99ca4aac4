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
    for Target { host, setup } in targets {
        let Some(address) = host.address() else {
            continue;
        };
        let forgotten = machines
            .vips_of(address)
            .find(|vip| setup.vips.iter().all(|named| named.name.as_deref() != Some(&*vip.name)));
        if let Some(vip) = forgotten {
            return Err(Failure::Refused(format!(
                "{host} is also a real of vip \"{}\", which the script would take away there: name \
                 that VIP, too, or take --all",
                vip.name
            )));
        }
    }
    Ok(())
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
