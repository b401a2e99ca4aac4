//! What is known of the network: the interfaces, the machine's own addresses, the way to each real.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    net::IpAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::interfaces::{Interfaces, Way};
use crate::{
    health::Reach,
    model::{Mac, Real},
    neighbour::{Event, Link, Resolution, Route, Watcher},
};

/// How long a real that answered before may fail to answer: `ip neigh flush`, or a switch that
/// restarts, must not take a living server out. The watcher asks again at once.
const DOUBT: Duration = Duration::from_secs(1);

/// How many routes are asked for at once: so many answers wait in a socket without loss.
const AT_ONCE: usize = 32;

/// For how long it is remembered that a neighbour has changed.
const FLAPPING: Duration = Duration::from_secs(3600);

/// What the routing table says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// It is on this interface's network, to which the datapath can send or cannot.
    Direct { interface: u32, device: String, ours: bool },
    /// It is behind a gateway on this interface's network.
    Behind { interface: u32, gateway: IpAddr },
    /// Nothing leads there.
    Nothing { reason: String },
}

/// The facts, as told by the kernel.
pub struct Network {
    /// The interfaces, configured and others.
    pub(super) interfaces: Interfaces,
    /// The addresses assigned to this machine, and where.
    local: BTreeSet<(IpAddr, u32)>,
    routes: BTreeMap<IpAddr, Found>,
    /// The MAC addresses that a former daemon knew.
    inherited: BTreeMap<IpAddr, Mac>,
    /// What neighbours have answered, and where.
    neighbours: BTreeMap<(u32, IpAddr), Reach>,
    /// When each last had another MAC address than before, or none any more.
    flaps: BTreeMap<IpAddr, VecDeque<Instant>>,
    /// Where each was last said to be.
    told: BTreeMap<IpAddr, Option<Mac>>,
    /// What of that has changed since it was asked for.
    news: Vec<(IpAddr, Option<Mac>)>,
    /// Those that have just failed to answer, and until when that is overlooked.
    doubts: BTreeMap<(u32, IpAddr), Instant>,
    moved: bool,
    /// One that leads to reals has gone down.
    lost: bool,
    returned: BTreeSet<u32>,
    listed: bool,
}

impl Network {
    /// Nothing is known but which interfaces are configured.
    #[must_use]
    pub fn new(configured: &[String]) -> Self {
        Self {
            interfaces: Interfaces::new(configured),
            local: BTreeSet::new(),
            routes: BTreeMap::new(),
            inherited: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            flaps: BTreeMap::new(),
            told: BTreeMap::new(),
            news: Vec::new(),
            doubts: BTreeMap::new(),
            moved: false,
            lost: false,
            returned: BTreeSet::new(),
            listed: false,
        }
    }

    /// The configured interfaces that are there.
    pub fn present(&self) -> impl Iterator<Item = &String> {
        self.interfaces.configured().iter().filter(|name| self.interfaces.find(name).is_some())
    }

    /// The configured interfaces that are not there.
    pub fn missing(&self) -> impl Iterator<Item = &String> {
        self.interfaces.configured().iter().filter(|name| self.interfaces.find(name).is_none())
    }

    /// Whether the kernel has told of all interfaces and addresses.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Fails if a configured interface is a VLAN.
    ///
    /// # Errors
    ///
    /// Says what to write instead.
    pub fn refuse_vlans(&self) -> Result<(), String> {
        self.interfaces.refuse_vlans()
    }

    /// The addresses assigned to this machine, each with its interface.
    pub(super) fn locals(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        self.local.iter().copied()
    }

    /// Whether the address is assigned to this machine.
    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        self.local.range((address, 0)..=(address, u32::MAX)).next().is_some()
    }

    /// Whether the address is assigned to the interface.
    pub(super) fn has(&self, interface: u32, address: IpAddr) -> bool {
        self.local.contains(&(address, interface))
    }

    /// Notes what the kernel will only tell in a moment.
    pub(super) fn note_local(&mut self, interface: u32, address: IpAddr, present: bool) {
        match present {
            true => self.local.insert((address, interface)),
            false => self.local.remove(&(address, interface)),
        };
    }

    /// Whether interfaces or addresses have changed since this was asked last: routes may have,
    /// too.
    pub(super) fn take_moved(&mut self) -> bool {
        mem::take(&mut self.moved)
    }

    /// Whether an interface that leads to reals has gone down since this was asked last.
    pub(super) fn take_lost(&mut self) -> bool {
        mem::take(&mut self.lost)
    }

    /// The interfaces that have come up, or have another MAC address, since this was asked last.
    pub(super) fn take_returned(&mut self) -> BTreeSet<u32> {
        mem::take(&mut self.returned)
    }

    /// The way to a real: the one that the routing table says, and if that says none, to one whose
    /// MAC address is configured the only one that there can be. Else, how it stands.
    pub(super) fn way(&self, real: &Real) -> Result<Way, Reach> {
        let Real { address, mac, .. } = *real;
        let way = match (self.routes.get(&address), mac) {
            (Some(Found::Direct { interface, device, .. }), _) => self.direct(*interface, device),
            (Some(Found::Behind { interface, .. }), Some(_)) => {
                self.interfaces.way(*interface).or_else(|_| self.interfaces.only())
            }
            (Some(Found::Nothing { .. }) | None, Some(_)) => self.interfaces.only(),
            (Some(Found::Behind { gateway, .. }), None) => match self.lacking() {
                Some(lacking) => Err(format!("no route to it: {lacking}")),
                None => return Err(Reach::Behind(*gateway)),
            },
            (Some(Found::Nothing { reason }), None) => {
                Err(format!("no route to it: {}", self.lacking().as_ref().unwrap_or(reason)))
            }
            (None, None) => return Err(self.former(address)),
        };
        match way.map_err(Reach::Cut)? {
            Way { down: Some(name), .. } => Err(Reach::Cut(format!("interface {name} is down"))),
            way => Ok(way),
        }
    }

    /// The way through an interface; one that is gone may have come again without its routes.
    fn direct(&self, interface: u32, device: &str) -> Result<Way, String> {
        match (self.interfaces.get(interface), self.interfaces.index(device)) {
            (Some(_), _) => self.interfaces.way(interface),
            (None, Some(_)) => Err(format!("interface {device} is down")),
            (None, None) => Err(format!("interface {device} is missing")),
        }
    }

    /// A configured interface that is down or missing: routes through it are gone, too.
    fn lacking(&self) -> Option<String> {
        let interfaces = self.interfaces.configured().iter();
        interfaces
            .map(|name| (name, self.interfaces.state(name)))
            .find(|(_, state)| *state != "up")
            .map(|(name, state)| format!("interface {name} is {state}"))
    }

    /// The name of the interface on whose network the real is, be that up or not.
    pub(super) fn device(&self, real: &Real) -> Option<String> {
        match (self.way(real), self.routes.get(&real.address)) {
            (Ok(way), _) => Some(way.device),
            (Err(_), Some(Found::Direct { device, .. })) => Some(device.clone()),
            (Err(_), _) => None,
        }
    }

    /// How this real is reached.
    #[must_use]
    pub fn reach(&self, real: &Real) -> Reach {
        match self.way(real) {
            Ok(way) => {
                real.mac.map_or_else(|| self.neighbour(way.index, real.address), Reach::Static)
            }
            Err(reach) => reach,
        }
    }

    fn neighbour(&self, interface: u32, address: IpAddr) -> Reach {
        let known = self.neighbours.get(&(interface, address));
        known.cloned().unwrap_or_else(|| self.former(address))
    }

    fn former(&self, address: IpAddr) -> Reach {
        self.inherited.get(&address).map_or(Reach::Unresolved, |mac| Reach::Inherited(*mac))
    }

    /// Believes a former daemon that the real has this MAC address.
    pub(super) fn inherit(&mut self, address: IpAddr, mac: Mac) {
        self.inherited.insert(address, mac);
        self.told.insert(address, Some(mac));
    }

    /// Takes in an event.
    pub fn learn(&mut self, event: Event, now: Instant) {
        match event {
            Event::Neighbour { interface, address, state } => {
                self.resolve(interface, address, state, now);
            }
            Event::Link { index, link } => self.set_link(index, link),
            Event::LinkGone { index, name } => {
                if self.interfaces.way(index).is_ok() {
                    log::warn!("interface {name} is gone");
                }
                self.interfaces.remove(index);
                self.local.retain(|(_, interface)| *interface != index);
                self.neighbours.retain(|(interface, _), _| *interface != index);
                self.doubts.retain(|(interface, _), _| *interface != index);
                self.moved = true;
            }
            Event::LocalAddress { interface, address, present } => {
                self.note_local(interface, address, present);
                self.moved = true;
            }
            Event::Listed => self.listed = true,
        }
    }

    fn set_link(&mut self, index: u32, link: Link) {
        let Link { mac, up, .. } = link;
        let before = self.interfaces.set(index, link);
        let same = |before: &Link| (before.mac, before.up) == (mac, up);
        if !before.as_ref().is_some_and(same) {
            if let Ok(way) = self.interfaces.way(index) {
                let state = if up { "up" } else { "down" };
                let mac = mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
                log::info!("interface {} is {state}, MAC address {mac}", way.device);
                self.lost |= !up && before.is_some_and(|before| before.up);
            }
            if up {
                self.returned.insert(index);
            }
        }
        self.moved = true;
    }

    fn resolve(&mut self, interface: u32, address: IpAddr, state: Resolution, now: Instant) {
        let key = (interface, address);
        let before = self.neighbour(interface, address);
        let after = match (state, before) {
            (Resolution::Resolved(mac), before) => {
                if before.mac().is_some_and(|before| before != mac) {
                    self.flapped(address, now);
                }
                self.doubts.remove(&key);
                Reach::Resolved(mac)
            }
            (Resolution::Failed, before @ (Reach::Resolved(_) | Reach::Inherited(_))) => {
                self.doubts.entry(key).or_insert(now + DOUBT);
                before
            }
            (Resolution::Failed, before) => Reach::Silent(before.mac()),
            // The kernel asks again, which says nothing yet.
            (Resolution::Pending, before) => before,
        };
        self.note_way(address, &after);
        self.neighbours.insert(key, after);
        self.inherited.remove(&address);
    }

    /// When the next doubt becomes certainty.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.doubts.values().min().copied()
    }

    /// Gives up those that have not answered in time.
    pub(super) fn end_doubts(&mut self, now: Instant) {
        let over = |(key, until): (&(u32, IpAddr), &Instant)| (*until <= now).then_some(*key);
        let over: Vec<_> = self.doubts.iter().filter_map(over).collect();
        for key in over {
            self.doubts.remove(&key);
            if let Some(reach) = self.neighbours.get_mut(&key) {
                *reach = Reach::Silent(reach.mac());
                self.note_way(key.1, &Reach::Silent(None));
                self.flapped(key.1, now);
            }
        }
    }

    /// Notes where a real is now, if that is news.
    fn note_way(&mut self, address: IpAddr, reach: &Reach) {
        let now = reach.mac().filter(|_| reach.is_open());
        let before = self.told.insert(address, now);
        if before.unwrap_or_default() != now {
            self.news.push((address, now));
        }
    }

    /// The reals that have another MAC address than when this was asked last, or none any more.
    pub(super) fn take_news(&mut self) -> Vec<(IpAddr, Option<Mac>)> {
        mem::take(&mut self.news)
    }

    fn flapped(&mut self, address: IpAddr, now: Instant) {
        let flaps = self.flaps.entry(address).or_default();
        flaps.push_back(now);
        flaps.retain(|then| now.duration_since(*then) < FLAPPING);
    }

    /// How often the MAC address of this neighbour has changed or been lost within the last hour.
    pub(super) fn flaps(&self, address: IpAddr) -> u32 {
        let flaps = self.flaps.get(&address).into_iter().flatten();
        flaps.filter(|then| then.elapsed() < FLAPPING).count() as u32
    }

    /// Finds out by which interface each of the reals is reached.
    pub(super) async fn find_routes(&mut self, watcher: &Watcher, addresses: &BTreeSet<IpAddr>) {
        let all: Vec<IpAddr> = addresses.iter().copied().collect();
        for some in all.chunks(AT_ONCE) {
            let answers = join_all(some.iter().map(|address| watcher.route(*address))).await;
            for (address, answer) in some.iter().zip(answers) {
                self.set_route(*address, answer.map_err(|error| error.to_string()));
            }
        }
        self.routes.retain(|address, _| addresses.contains(address));
        self.inherited.retain(|address, _| addresses.contains(address));
        self.neighbours.retain(|(_, address), _| addresses.contains(address));
        self.doubts.retain(|(_, address), _| addresses.contains(address));
        self.flaps.retain(|address, _| addresses.contains(address));
        self.told.retain(|address, _| addresses.contains(address));
    }

    /// A route that has vanished with its interface is remembered: the real is still there, and
    /// nowhere else.
    fn set_route(&mut self, address: IpAddr, answer: Result<Route, String>) {
        let found = match answer {
            Ok(Route { interface, gateway: Some(gateway) }) => Found::Behind { interface, gateway },
            Ok(Route { interface, gateway: None }) => {
                let link = self.interfaces.get(interface);
                let device = link.map_or_else(String::new, |link| link.name.clone());
                let ours = self.interfaces.way(interface).is_ok();
                Found::Direct { interface, device, ours }
            }
            Err(reason) => Found::Nothing { reason },
        };
        let is_lost = |before: &Found| match (before, &found) {
            (
                Found::Direct { interface, device, ours: true },
                Found::Behind { .. } | Found::Nothing { .. },
            ) => !self.interfaces.is_up(*interface, device),
            _ => false,
        };
        if !self.routes.get(&address).is_some_and(is_lost) {
            self.routes.insert(address, found);
        }
    }

    /// Where those of the addresses that can be resolved are to be asked for.
    pub(super) fn on_link(&self, addresses: &BTreeSet<IpAddr>) -> BTreeMap<u32, BTreeSet<IpAddr>> {
        let mut tracked: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
        for address in addresses {
            if let Some(Found::Direct { interface, .. }) = self.routes.get(address)
                && self.interfaces.way(*interface).is_ok()
            {
                tracked.entry(*interface).or_default().insert(*address);
            }
        }
        tracked
    }
}

#[cfg(test)]
mod tests;
