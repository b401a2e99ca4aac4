//! What is known of the network: the interface, the machine's own addresses, the way to each real.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    health::Reach,
    model::Mac,
    neighbour::{Event, Resolution, Watcher},
};

/// The interface that the datapath is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, once known.
    pub mac: Option<Mac>,
}

/// The facts, as told by the kernel.
pub struct Network {
    /// Where the datapath is attached.
    pub interface: Interface,
    /// The addresses assigned to this machine.
    pub local: BTreeSet<IpAddr>,
    reach: BTreeMap<IpAddr, Reach>,
}

impl Network {
    /// Nothing is known but the interface.
    #[must_use]
    pub fn new(index: u32, name: &str) -> Self {
        let interface = Interface { index, name: name.to_owned(), mac: None };
        Self { interface, local: BTreeSet::new(), reach: BTreeMap::new() }
    }

    /// How this real is reached.
    #[must_use]
    pub fn reach(&self, address: IpAddr) -> Reach {
        self.reach.get(&address).copied().unwrap_or(Reach::Unresolved)
    }

    /// Believes a former daemon that the real has this MAC address.
    pub(super) fn inherit(&mut self, address: IpAddr, mac: Mac) {
        self.reach.insert(address, Reach::Inherited(mac));
    }

    /// Takes in an event.
    pub(super) fn learn(&mut self, event: Event) {
        match event {
            Event::Neighbour { interface, address, state } if interface == self.interface.index => {
                self.resolve(address, state);
            }
            Event::Link { index, mac, up, .. } if index == self.interface.index => {
                if mac.is_some() && self.interface.mac != mac {
                    log::info!("{}: MAC address {mac:?}, link up: {up}", self.interface.name);
                    self.interface.mac = mac;
                }
            }
            Event::LinkGone { index, name } if index == self.interface.index => {
                log::error!(
                    "interface {name} is gone: nothing is forwarded; restart lbd once it is back"
                );
            }
            Event::LocalAddress { address, present: true } => {
                self.local.insert(address);
            }
            Event::LocalAddress { address, present: false } => {
                self.local.remove(&address);
            }
            Event::Neighbour { .. } | Event::Link { .. } | Event::LinkGone { .. } => {}
        }
    }

    fn resolve(&mut self, address: IpAddr, state: Resolution) {
        let before = self.reach(address);
        let after = match (state, before) {
            (Resolution::Resolved(mac), _) => Reach::Resolved(mac),
            (Resolution::Failed, _) => Reach::Silent(before.mac()),
            // The kernel asks again, which says nothing yet.
            (Resolution::Pending, _) => before,
        };
        self.reach.insert(address, after);
    }

    /// Finds out which of the reals are on the interface's network, for those that have not been
    /// asked about.
    pub(super) async fn find_routes(&mut self, watcher: &Watcher, addresses: &BTreeSet<IpAddr>) {
        for address in addresses {
            if self.reach.contains_key(address) {
                continue;
            }
            let reach = match watcher.route(*address).await {
                Ok(route) if route.interface != self.interface.index => Reach::NoRoute,
                Ok(route) => route.gateway.map_or(Reach::Unresolved, Reach::Behind),
                Err(_) => Reach::NoRoute,
            };
            self.reach.insert(*address, reach);
        }
        self.reach.retain(|address, _| addresses.contains(address));
    }

    /// Asks again about reals without a direct way.
    pub(super) fn forget_routes(&mut self) {
        self.reach.retain(|_, reach| !matches!(reach, Reach::Behind(_) | Reach::NoRoute));
    }

    /// Those of the addresses that can be resolved.
    pub(super) fn on_link(&self, addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let is_on_link =
            |address: &IpAddr| !matches!(self.reach(*address), Reach::Behind(_) | Reach::NoRoute);
        addresses.iter().copied().filter(is_on_link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11));
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 11]);

    fn after(states: &[Resolution]) -> Reach {
        let mut network = Network::new(2, "eth0");
        network.inherit(REAL, MAC);
        for state in states {
            network.learn(Event::Neighbour { interface: 2, address: REAL, state: *state });
        }
        network.reach(REAL)
    }

    #[test]
    fn a_silent_real_keeps_its_last_mac_address() {
        assert_eq!(after(&[Resolution::Failed]), Reach::Silent(Some(MAC)));
        assert_eq!(after(&[Resolution::Failed, Resolution::Failed]), Reach::Silent(Some(MAC)));
    }

    #[test]
    fn asking_again_changes_nothing_until_there_is_an_answer() {
        assert_eq!(after(&[Resolution::Pending]), Reach::Inherited(MAC));
        let other = Mac([2, 0, 0, 0, 0, 12]);
        assert_eq!(
            after(&[Resolution::Pending, Resolution::Resolved(other)]),
            Reach::Resolved(other)
        );
        assert_eq!(
            after(&[Resolution::Resolved(other), Resolution::Pending]),
            Reach::Resolved(other)
        );
    }

    #[test]
    fn neighbours_on_other_interfaces_are_not_ours() {
        let mut network = Network::new(2, "eth0");
        let state = Resolution::Resolved(MAC);
        network.learn(Event::Neighbour { interface: 3, address: REAL, state });
        assert_eq!(network.reach(REAL), Reach::Unresolved);
    }
}
