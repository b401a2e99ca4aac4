//! Which addresses the daemon has assigned, so that routers find the VIPs: probed for before, and
//! remembered across restarts, so that it never removes an address that the operator has put there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use futures_util::future::join_all;
use nix::net::if_::if_nametoindex;

use super::{Probed, Reconciler, interfaces::Place};
use crate::{
    announce::{self, Addresses, Conflict, Found, PATIENCE},
    api::{
        request::{Change, Reply},
        types::Done,
    },
    config::store,
    event::Happening,
    model::{Announce, Mac, Model},
};

/// The daemon's part in making VIPs found.
pub struct Announcing {
    addresses: Addresses,
    file: PathBuf,
    /// What was assigned, and to the interface of which name.
    assigned: BTreeSet<(IpAddr, String)>,
    conflicts: BTreeMap<IpAddr, Mac>,
    /// What was to be announced when that was seen to last.
    wanted: BTreeSet<IpAddr>,
}

impl Announcing {
    /// Goes on with the addresses that the file says were assigned.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn new(addresses: Addresses, state_dir: &Path) -> io::Result<Self> {
        let file = state_dir.join("announced");
        let assigned = Self::remembered(&file)?;
        Ok(Self { addresses, file, assigned, conflicts: BTreeMap::new(), wanted: BTreeSet::new() })
    }

    /// An address and its interface a line.
    fn remembered(file: &Path) -> io::Result<BTreeSet<(IpAddr, String)>> {
        let line = |line: &str| {
            let (address, interface) = line.split_once(' ')?;
            Some((address.parse().ok()?, interface.to_owned()))
        };
        match fs::read_to_string(file) {
            Ok(text) => Ok(text.lines().filter_map(line).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    fn remember(&self) -> io::Result<()> {
        // `store` replaces files; the first one is empty.
        fs::OpenOptions::new().create(true).append(true).open(&self.file)?;
        let line = |(address, interface): &(IpAddr, String)| format!("{address} {interface}\n");
        let text: String = self.assigned.iter().map(line).collect();
        store::replace(&self.file, &text).map_err(io::Error::other)
    }

    /// Who answers for a VIP's address although it shall be ours.
    #[must_use]
    pub fn conflict(&self, address: IpAddr) -> Option<Mac> {
        self.conflicts.get(&address).copied()
    }

    /// How many addresses are assigned to each of these interfaces, or to a VLAN of one.
    pub(super) fn counts(&self, interfaces: &[String]) -> Vec<(String, u64)> {
        let mut counts: BTreeMap<&str, u64> =
            interfaces.iter().map(|name| (name.as_str(), 0)).collect();
        for (_, interface) in &self.assigned {
            *counts.entry(interface).or_default() += 1;
        }
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// Assigns an address, remembered first: a crash in between leaves no orphan. One that is there
    /// already is the operator's.
    async fn assign(&mut self, place: &Place, address: IpAddr) -> io::Result<()> {
        let entry = (address, place.name.clone());
        let new = self.assigned.insert(entry.clone());
        if new {
            self.remember()?;
        }
        let found = self.addresses.assign(place.index, address).await;
        let found = found.map_err(io::Error::other)?;
        if new && found == Found::Present {
            self.assigned.remove(&entry);
            self.remember()?;
        }
        Ok(())
    }

    /// Removes an address that was assigned, unless its interface took it along.
    async fn remove(&mut self, entry: &(IpAddr, String)) -> io::Result<()> {
        let (address, interface) = entry;
        if let Ok(index) = if_nametoindex(interface.as_str()) {
            self.addresses.remove(index, *address).await.map_err(io::Error::other)?;
        }
        self.assigned.remove(entry);
        self.remember()
    }

    /// Removes everything that was assigned.
    pub(super) async fn remove_all(&mut self) -> io::Result<()> {
        for entry in self.assigned.clone() {
            self.remove(&entry).await?;
        }
        Ok(())
    }
}

/// Removes the addresses that a daemon which is gone has assigned.
///
/// # Errors
///
/// When the record cannot be read or an address not be removed.
pub async fn remove_remembered(addresses: Addresses, state_dir: &Path) -> io::Result<()> {
    Announcing::new(addresses, state_dir)?.remove_all().await
}

impl Reconciler {
    /// The addresses that the daemon shall announce with this configuration: those of a VIP with enough reals.
    /// That of a disabled one, too: its open connections need it.
    pub(super) fn announced(&self, model: &Model) -> BTreeSet<IpAddr> {
        let vips = model.vips.iter().filter(|vip| vip.announce == Announce::Arp);
        vips.filter(|vip| self.shortage(vip).is_none()).map(|vip| vip.address).collect()
    }

    /// Follows the VIPs that came or went by what their reals do.
    pub(super) async fn follow_vips(&mut self) {
        if self.announced(&self.config.model) != self.announcing.wanted {
            self.announce().await;
        }
    }

    /// Gives up addresses that are no longer announced, and probes for those that shall be. Returns
    /// whether the result of a probe is to come.
    pub async fn announce(&mut self) -> bool {
        let wanted = self.announced(&self.config.model);
        self.announcing.conflicts.retain(|address, _| wanted.contains(address));
        if self.give_up(&wanted).await {
            // The datapath must know what is this machine's own.
            self.reconcile();
        }
        self.announcing.wanted.clone_from(&wanted);
        let missing = self.missing(&wanted);
        let probing = !missing.is_empty();
        if probing {
            self.probe(missing, None);
        }
        probing
    }

    /// Removes what was assigned and is no longer wanted, or no longer where VIPs are announced. Returns
    /// whether there was anything.
    async fn give_up(&mut self, wanted: &BTreeSet<IpAddr>) -> bool {
        let interfaces = &self.network.interfaces;
        let stays =
            |(address, on): &&(IpAddr, String)| wanted.contains(address) && interfaces.has(on);
        let assigned = self.announcing.assigned.iter();
        let given_up: Vec<_> = assigned.filter(|entry| !stays(entry)).cloned().collect();
        for entry in &given_up {
            let (address, on) = entry;
            match self.announcing.remove(entry).await {
                Ok(()) => self.tell_announced(*address, on, false),
                Err(error) => log::error!("removing {address} from {on}: {error}"),
            }
            if let Some(index) = self.network.interfaces.index(on) {
                self.network.note_local(index, *address, false);
            }
        }
        !given_up.is_empty()
    }

    fn tell_announced(&mut self, address: IpAddr, interface: &str, announced: bool) {
        let interface = interface.to_owned();
        self.record(Happening::Announce { address, interface, announced });
    }

    /// Where these addresses should be, and are not.
    pub(super) fn missing(&self, addresses: &BTreeSet<IpAddr>) -> Vec<(Place, Vec<IpAddr>)> {
        let missing = |place: Place| {
            let lacks = |address: &&IpAddr| !self.network.has(place.index, **address);
            let addresses: Vec<IpAddr> = addresses.iter().filter(lacks).copied().collect();
            (!addresses.is_empty()).then_some((place, addresses))
        };
        self.network.interfaces.places().into_iter().filter_map(missing).collect()
    }

    /// Announces again where an interface has come up or has another MAC address, and at a start:
    /// routers may have forgotten.
    pub async fn announce_again(&mut self) {
        let wanted = self.announced(&self.config.model);
        let returned = self.network.take_returned();
        let places = self.network.interfaces.places().into_iter();
        for place in places.filter(|place| returned.contains(&place.index)) {
            let is_there = |address: &&IpAddr| self.network.has(place.index, **address);
            let present: Vec<IpAddr> = wanted.iter().filter(is_there).copied().collect();
            self.gratuitous(&place, &present).await;
        }
    }

    /// Looks for somebody who answers for these addresses; the result comes as an event.
    pub(super) fn probe(
        &self,
        missing: Vec<(Place, Vec<IpAddr>)>,
        change: Option<(Change, Reply<Done>)>,
    ) {
        let events = self.events.clone();
        // Two of ours may be in one network: each hears the other.
        let own = self.network.interfaces.macs();
        tokio::spawn(async move {
            let probes = missing.into_iter().map(|(place, addresses)| async move {
                let result = announce::probe(place.index, place.mac, &addresses, PATIENCE).await;
                (place, addresses, result)
            });
            let mut probed =
                Probed { asked: Vec::new(), conflicts: Vec::new(), errors: Vec::new(), change };
            for (place, addresses, result) in join_all(probes).await {
                match result {
                    Ok(conflicts) => {
                        let others =
                            conflicts.into_iter().filter(|conflict| !own.contains(&conflict.mac));
                        probed.conflicts.extend(others);
                    }
                    Err(error) => {
                        probed.errors.push(format!("address probe on {}: {error}", place.name));
                        continue;
                    }
                }
                probed.asked.push((place, addresses));
            }
            // Nobody listens any more when the daemon stops.
            drop(events.send(probed).await);
        });
    }

    /// Assigns what nobody else answers for, and goes on with the change that waited.
    pub(super) async fn probed(&mut self, mut probed: Probed) {
        if let Some((change, reply)) = probed.change.take() {
            drop(reply.send(self.change_probed(change, probed).await));
            return;
        }
        for error in &probed.errors {
            log::error!("{error}");
        }
        self.note_conflicts(&probed);
        for error in self.assign(probed.asked).await {
            log::error!("{error}");
        }
    }

    /// Keeps who answers for these addresses now, and says so once.
    fn note_conflicts(&mut self, probed: &Probed) {
        let before = self.announcing.conflicts.clone();
        let asked = probed.asked.iter().flat_map(|(_, addresses)| addresses);
        for address in asked {
            self.announcing.conflicts.remove(address);
        }
        for conflict in &probed.conflicts {
            let address = conflict.address;
            self.announcing.conflicts.insert(address, conflict.mac);
            if before.get(&address) != Some(&conflict.mac) {
                let name = self.name_of(conflict);
                log::error!("{address} is not announced: {name} answers for it already");
            }
        }
    }

    /// Assigns and announces addresses, except those in conflict and those not wanted any more. Returns
    /// what kept some from being assigned.
    pub(super) async fn assign(&mut self, free: Vec<(Place, Vec<IpAddr>)>) -> Vec<String> {
        let wanted = self.announced(&self.config.model);
        let conflicts = self.announcing.conflicts.clone();
        let mut assigned: Vec<(Place, Vec<IpAddr>)> = Vec::new();
        let mut errors = Vec::new();
        for (place, mut addresses) in free {
            addresses
                .retain(|address| wanted.contains(address) && !conflicts.contains_key(address));
            let mut done = Vec::new();
            for address in addresses {
                match self.announcing.assign(&place, address).await {
                    Ok(()) => done.push(address),
                    Err(error) => errors.push(format!("not announced on {}: {error}", place.name)),
                }
            }
            for address in &done {
                self.network.note_local(place.index, *address, true);
                self.tell_announced(*address, &place.name, true);
            }
            assigned.push((place, done));
        }
        self.reconcile();
        for (place, addresses) in assigned {
            self.gratuitous(&place, &addresses).await;
        }
        errors
    }

    /// Who is in conflict: the MAC address, with the real server it belongs to if it is one. A server
    /// of both families is called by its address of the VIP's.
    pub(super) fn name_of(&self, conflict: &Conflict) -> String {
        let Conflict { address, mac } = *conflict;
        let reals = self.config.model.vips.iter().flat_map(|vip| &vip.reals);
        let real = reals
            .filter(|real| self.network.reach(real).mac() == Some(mac))
            .max_by_key(|real| real.address.is_ipv6() == address.is_ipv6());
        match real {
            // Linux answers for an address of IPv6 on that interface only which has it, unlike ARP.
            Some(real) if address.is_ipv6() => {
                format!("{mac} (real {}: the VIP belongs on lo there)", real.address)
            }
            Some(real) => format!(
                "{mac} (real {}: set arp_ignore=1 and arp_announce=2 there before the VIP)",
                real.address
            ),
            None => mac.to_string(),
        }
    }

    /// Tells the network where these addresses are.
    pub(super) async fn gratuitous(&mut self, place: &Place, addresses: &[IpAddr]) {
        if addresses.is_empty() {
            return;
        }
        let Place { index, name, mac } = place;
        match announce::gratuitous(*index, *mac, addresses).await {
            Ok(()) => {
                log::info!("announced {addresses:?} on {name} at {mac}");
                self.tally.announced(name, addresses.len());
            }
            Err(error) => log::error!("announcing {addresses:?} on {name}: {error}"),
        }
    }
}
