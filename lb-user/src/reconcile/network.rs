//! What is known of the network: the interface, the machine's own addresses, the way to each real.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
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

/// How long a real that answered before may fail to answer: `ip neigh flush`, or a switch that
/// restarts, must not take a living server out. The watcher asks again at once.
const DOUBT: Duration = Duration::from_secs(1);

/// The facts, as told by the kernel.
pub struct Network {
    /// Where the datapath is attached.
    pub interface: Interface,
    /// The addresses assigned to this machine.
    pub local: BTreeSet<IpAddr>,
    reach: BTreeMap<IpAddr, Reach>,
    /// Reals that have just failed to answer, and until when that is overlooked.
    doubts: BTreeMap<IpAddr, Instant>,
}

impl Network {
    /// Nothing is known but the interface.
    #[must_use]
    pub fn new(index: u32, name: &str) -> Self {
        let interface = Interface { index, name: name.to_owned(), mac: None };
        Self { interface, local: BTreeSet::new(), reach: BTreeMap::new(), doubts: BTreeMap::new() }
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
    pub(super) fn learn(&mut self, event: Event, now: Instant) {
        match event {
            Event::Neighbour { interface, address, state } if interface == self.interface.index => {
                self.resolve(address, state, now);
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

    fn resolve(&mut self, address: IpAddr, state: Resolution, now: Instant) {
        let before = self.reach(address);
        let after = match (state, before) {
            (Resolution::Resolved(mac), _) => {
                self.doubts.remove(&address);
                Reach::Resolved(mac)
            }
            (Resolution::Failed, Reach::Resolved(_) | Reach::Inherited(_)) => {
                self.doubts.entry(address).or_insert(now + DOUBT);
                before
            }
            (Resolution::Failed, _) => Reach::Silent(before.mac()),
            // The kernel asks again, which says nothing yet.
            (Resolution::Pending, _) => before,
        };
        self.reach.insert(address, after);
    }

    /// When the next doubt becomes certainty.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.doubts.values().min().copied()
    }

    /// Gives up those that have not answered in time.
    pub(super) fn end_doubts(&mut self, now: Instant) {
        let reach = &mut self.reach;
        self.doubts.retain(|address, until| {
            if *until > now {
                return true;
            }
            if let Some(reach) = reach.get_mut(address) {
                *reach = Reach::Silent(reach.mac());
            }
            false
        });
    }

    /// Finds out which of the reals are on the interface's network, for those that have not been
    /// asked about.
    pub(super) async fn find_routes(&mut self, watcher: &Watcher, addresses: &BTreeSet<IpAddr>) {
        for address in addresses {
            let unasked = match self.reach.get(address) {
                None => Reach::Unresolved,
                Some(inherited @ Reach::Inherited(_)) => *inherited,
                Some(_) => continue,
            };
            let reach = match watcher.route(*address).await {
                Ok(route) if route.interface != self.interface.index => Reach::NoRoute,
                Ok(route) => route.gateway.map_or(unasked, Reach::Behind),
                Err(_) => Reach::NoRoute,
            };
            self.reach.insert(*address, reach);
        }
        self.reach.retain(|address, _| addresses.contains(address));
        self.doubts.retain(|address, _| addresses.contains(address));
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

    /// How the real is reached after these answers, one a second.
    fn after(states: &[Resolution]) -> Reach {
        let mut network = Network::new(2, "eth0");
        let mut now = Instant::now();
        network.inherit(REAL, MAC);
        for state in states {
            network.end_doubts(now);
            network.learn(Event::Neighbour { interface: 2, address: REAL, state: *state }, now);
            now += DOUBT;
        }
        network.reach(REAL)
    }

    #[test]
    fn a_real_is_given_up_only_if_it_stays_silent() {
        let failed = Resolution::Failed;
        assert_eq!(after(&[failed]), Reach::Inherited(MAC));
        assert_eq!(after(&[failed, Resolution::Resolved(MAC)]), Reach::Resolved(MAC));
        assert_eq!(after(&[failed, failed]), Reach::Silent(Some(MAC)), "its MAC address is kept");
        assert_eq!(after(&[failed, failed, failed]), Reach::Silent(Some(MAC)));
        assert_eq!(after(&[failed, Resolution::Pending]), Reach::Silent(Some(MAC)));
    }

    #[test]
    fn asking_again_changes_nothing_until_there_is_an_answer() {
        assert_eq!(after(&[Resolution::Pending]), Reach::Inherited(MAC));
        let other = Mac([2, 0, 0, 0, 0, 12]);
        let resolved = Resolution::Resolved(other);
        assert_eq!(after(&[Resolution::Pending, resolved]), Reach::Resolved(other));
        assert_eq!(after(&[resolved, Resolution::Pending]), Reach::Resolved(other));
    }

    #[test]
    fn neighbours_on_other_interfaces_are_not_ours() {
        let mut network = Network::new(2, "eth0");
        let state = Resolution::Resolved(MAC);
        let event = Event::Neighbour { interface: 3, address: REAL, state };
        network.learn(event, Instant::now());
        assert_eq!(network.reach(REAL), Reach::Unresolved);
    }
}
