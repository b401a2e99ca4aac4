//! Addresses that stand for a VIP at one machine. What is sent to such an address by an ordinary socket
//! leaves as a packet for the VIP, to that machine's MAC address; and the answer comes back to the socket.
//!
//! A route leads a block of such addresses to an interface, by a next hop that is no machine and whose MAC
//! address the kernel need not ask for. On their way out and in, programs of the datapath replace the
//! addresses (`lb_ebpf::detour`).

mod blocks;
mod network;
mod overlap;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use thiserror::Error;

use self::{
    blocks::{Addresses, Network},
    network::{Kernel, Local, Route},
};
use crate::{
    dataplane::{self, DetourEntry, DetourPrograms},
    model::{Mac, ProbePrefixes},
};

/// A VIP at one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Detour {
    /// The VIP's address.
    pub vip: IpAddr,
    /// The machine's MAC address.
    pub mac: Mac,
    /// The index of the interface on whose network it is.
    pub interface: u32,
}

/// What can go wrong with all detours.
#[derive(Debug, Error)]
pub enum Error {
    /// No socket to the kernel.
    #[error("no netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused a request.
    #[error("{request}: {source}")]
    Refused {
        /// What was asked.
        request: String,
        /// Its answer.
        source: io::Error,
    },
    /// The programs cannot be loaded, attached or removed.
    #[error(transparent)]
    Programs(#[from] dataplane::Error),
    /// Somebody uses the addresses.
    #[error(
        "probe_prefixes: {prefix} overlaps {other}: choose addresses that nobody uses, as in \
         `probe_prefixes = [\"198.18.0.0/15\", \"2001:2::/48\"]`, or remove that"
    )]
    Overlap {
        /// The prefix in the configuration.
        prefix: String,
        /// The route or address.
        other: String,
    },
}

/// The detours of this machine.
pub struct Detours {
    prefixes: ProbePrefixes,
    kernel: Kernel,
    addresses: Addresses,
    /// Loaded when they are first needed.
    programs: Option<DetourPrograms>,
    /// What the programs know.
    entries: BTreeMap<Detour, DetourEntry>,
    routes: BTreeSet<Route>,
    neighbours: BTreeSet<(u32, IpAddr)>,
}

impl Detours {
    /// None yet, in the network namespace that the caller is in.
    ///
    /// # Errors
    ///
    /// If there is no netlink socket to be had.
    pub fn new(prefixes: ProbePrefixes) -> Result<Self, Error> {
        Ok(Self {
            prefixes,
            kernel: Kernel::connect()?,
            addresses: Addresses::new(prefixes),
            programs: None,
            entries: BTreeMap::new(),
            routes: BTreeSet::new(),
            neighbours: BTreeSet::new(),
        })
    }

    /// Fails if somebody else uses addresses with these prefixes.
    ///
    /// # Errors
    ///
    /// If so, or if the kernel does not tell.
    pub async fn check(prefixes: ProbePrefixes) -> Result<(), Error> {
        overlap::check(&Kernel::connect()?, prefixes).await
    }

    /// Removes what a daemon that was killed has left, whatever its prefixes were.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub async fn clean() -> Result<(), Error> {
        let kernel = Kernel::connect()?;
        kernel.sweep().await?;
        let names = kernel.names().await?;
        names.values().for_each(|name| dataplane::sweep(name));
        Ok(())
    }

    /// Makes exactly these, each with an address of its machine, and tells the address that stands for each,
    /// or why there is none. Those that there were keep their addresses. What the kernel has removed since, as
    /// it does where an interface goes down, is there again.
    pub async fn set(
        &mut self,
        wanted: &BTreeMap<Detour, IpAddr>,
    ) -> BTreeMap<Detour, Result<IpAddr, String>> {
        if wanted.is_empty() {
            self.close().await;
            return BTreeMap::new();
        }
        match self.try_set(wanted).await {
            Ok(made) => made,
            Err(error) => {
                let failed = |detour: &Detour| (*detour, Err(error.to_string()));
                wanted.keys().map(failed).collect()
            }
        }
    }

    async fn try_set(
        &mut self,
        wanted: &BTreeMap<Detour, IpAddr>,
    ) -> Result<BTreeMap<Detour, Result<IpAddr, String>>, Error> {
        let locals = self.kernel.locals().await?;
        let mut failed = BTreeMap::new();
        let mut networks = BTreeMap::new();
        let vips = wanted.keys().map(|detour| detour.vip).collect();
        for (detour, real) in wanted {
            match own(&locals, detour, *real, &vips) {
                Some(own) => {
                    networks.insert(*detour, Network { interface: detour.interface, own });
                }
                None => drop(failed.insert(*detour, no_address(detour))),
            }
        }
        let mut entries = BTreeMap::new();
        for (detour, address) in self.addresses.assign(&networks) {
            match address {
                Some(proxy) => {
                    entries.insert(detour, entry(detour, proxy, networks[&detour].own));
                }
                None => drop(failed.insert(detour, exhausted(&detour))),
            }
        }
        failed.append(&mut self.enter(&mut entries)?);
        failed.append(&mut self.lead(&mut entries).await);
        self.forget(&entries).await;
        let made = entries.into_iter().map(|(detour, entry)| (detour, Ok(entry.proxy)));
        Ok(made.chain(failed.into_iter().map(|(detour, reason)| (detour, Err(reason)))).collect())
    }

    /// Tells the programs what they should know, and takes out what they cannot be told, with the reasons.
    fn enter(
        &mut self,
        entries: &mut BTreeMap<Detour, DetourEntry>,
    ) -> Result<BTreeMap<Detour, String>, Error> {
        let programs = match &mut self.programs {
            Some(programs) => programs,
            none => none.insert(DetourPrograms::load(self.prefixes)?),
        };
        for (_, entry) in
            self.entries.iter().filter(|(detour, entry)| entries.get(detour) != Some(entry))
        {
            programs.remove(entry)?;
        }
        self.entries.retain(|detour, entry| entries.get(detour) == Some(entry));
        let mut attached: BTreeMap<u32, Result<(), String>> = BTreeMap::new();
        let mut failed = BTreeMap::new();
        for (detour, entry) in &mut *entries {
            let attach = || programs.attach(detour.interface).map_err(|error| error.to_string());
            let made = attached.entry(detour.interface).or_insert_with(attach).clone();
            let made = made.and_then(|()| match self.entries.contains_key(detour) {
                true => Ok(()),
                false => programs.insert(entry).map_err(|error| error.to_string()),
            });
            match made {
                Ok(()) => drop(self.entries.insert(*detour, *entry)),
                Err(reason) => drop(failed.insert(*detour, reason)),
            }
        }
        entries.retain(|detour, _| !failed.contains_key(detour));
        Ok(failed)
    }

    /// Leads packets to the interfaces, and takes out what they cannot be led to, with the reasons.
    async fn lead(
        &mut self,
        entries: &mut BTreeMap<Detour, DetourEntry>,
    ) -> BTreeMap<Detour, String> {
        let routes: BTreeSet<Route> = self
            .addresses
            .blocks()
            .map(|(first, network)| {
                let next_hop = self.addresses.next_hop(first.is_ipv4());
                Route { first, length: Addresses::length(first), network, next_hop }
            })
            .collect();
        // First, as a block may lead elsewhere now.
        for route in self.routes.difference(&routes) {
            warn(self.kernel.remove_route(route).await);
        }
        let mut neighbours: BTreeMap<(u32, IpAddr), Result<(), String>> = BTreeMap::new();
        let mut broken = BTreeMap::new();
        for route in &routes {
            let (interface, next_hop) = (route.network.interface, route.next_hop);
            let known = match neighbours.get(&(interface, next_hop)) {
                Some(known) => known.clone(),
                None => text(self.kernel.add_neighbour(interface, next_hop).await),
            };
            neighbours.insert((interface, next_hop), known.clone());
            let made = match known {
                Ok(()) => text(self.kernel.add_route(route).await),
                failed => failed,
            };
            if let Err(reason) = made {
                broken.insert(route.network, reason);
            }
        }
        self.neighbours.extend(neighbours.into_keys());
        self.routes = routes;
        let network = |entry: &DetourEntry| Network { interface: entry.interface, own: entry.own };
        let reason = |(detour, entry): (&Detour, &DetourEntry)| {
            broken.get(&network(entry)).map(|reason| (*detour, reason.clone()))
        };
        let failed = entries.iter().filter_map(reason).collect();
        entries.retain(|_, entry| !broken.contains_key(&network(entry)));
        failed
    }

    /// Removes what nothing leads to any more.
    async fn forget(&mut self, entries: &BTreeMap<Detour, DetourEntry>) {
        let used: BTreeSet<(u32, IpAddr)> =
            self.routes.iter().map(|route| (route.network.interface, route.next_hop)).collect();
        for (interface, address) in self.neighbours.difference(&used) {
            warn(self.kernel.remove_neighbour(*interface, *address).await);
        }
        self.neighbours = used;
        let interfaces: BTreeSet<u32> = entries.keys().map(|detour| detour.interface).collect();
        if let Some(programs) = &mut self.programs {
            programs.detach_others(|interface| interfaces.contains(&interface));
        }
    }

    /// Removes all of them.
    pub async fn close(&mut self) {
        for route in std::mem::take(&mut self.routes) {
            warn(self.kernel.remove_route(&route).await);
        }
        for (interface, address) in std::mem::take(&mut self.neighbours) {
            warn(self.kernel.remove_neighbour(interface, address).await);
        }
        // What they know goes with them.
        self.programs = None;
        self.entries.clear();
        self.addresses.assign(&BTreeMap::new());
    }
}

fn text(made: Result<(), Error>) -> Result<(), String> {
    made.map_err(|error| error.to_string())
}

/// What could not be removed is removed by the next daemon.
fn warn(removed: Result<(), Error>) {
    if let Err(error) = removed {
        log::warn!("detours: {error}");
    }
}

fn entry(detour: Detour, proxy: IpAddr, own: IpAddr) -> DetourEntry {
    let Detour { vip, mac, interface } = detour;
    DetourEntry { proxy, vip, mac, interface, own }
}

/// From which address a machine is spoken to: one in its network, or else any that is not a host's alone, or
/// else any; but none that the machine has as well.
fn own(locals: &[Local], detour: &Detour, real: IpAddr, vips: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let serves = |local: &&Local| {
        local.interface == detour.interface
            && local.usable
            && local.address.is_ipv4() == detour.vip.is_ipv4()
            && !vips.contains(&local.address)
    };
    let rank = |local: &&Local| {
        let near = overlap::contains(local.address, local.length, real);
        let host = local.length == if local.address.is_ipv4() { 32 } else { 128 };
        Reverse((near, !host, !local.secondary))
    };
    locals.iter().filter(serves).min_by_key(rank).map(|local| local.address)
}

fn no_address(detour: &Detour) -> String {
    let family = if detour.vip.is_ipv4() { "IPv4" } else { "IPv6" };
    format!(
        "this machine has no {family} address on the real's interface (index {}) to probe {} from: \
         assign one, or probe with via = \"rip\"",
        detour.interface, detour.vip
    )
}

fn exhausted(detour: &Detour) -> String {
    format!(
        "probe_prefixes: no address is left to stand for {} at {}: choose a shorter prefix",
        detour.vip, detour.mac
    )
}
