//! Which addresses the daemon has assigned, so that routers find the VIPs: probed for before, and
//! remembered across restarts, so that it never removes an address that the operator has put there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use nix::net::if_::if_nametoindex;

use super::{Probed, Reconciler, network::Interface};
use crate::{
    announce::{self, Addresses, Conflict, Found, PATIENCE},
    api::{
        request::{Change, Reply},
        types::Done,
    },
    config::store,
    model::{Announce, Mac, Model},
};

/// The daemon's part in making VIPs found.
pub struct Announcing {
    addresses: Addresses,
    file: PathBuf,
    /// What was assigned, and to the interface of which name.
    assigned: BTreeMap<IpAddr, String>,
    conflicts: BTreeMap<IpAddr, Mac>,
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
        Ok(Self { addresses, file, assigned, conflicts: BTreeMap::new() })
    }

    /// An address and its interface a line.
    fn remembered(file: &Path) -> io::Result<BTreeMap<IpAddr, String>> {
        let line = |line: &str| {
            let (address, interface) = line.split_once(' ')?;
            Some((address.parse().ok()?, interface.to_owned()))
        };
        match fs::read_to_string(file) {
            Ok(text) => Ok(text.lines().filter_map(line).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    fn remember(&self) -> io::Result<()> {
        // `store` replaces files; the first one is empty.
        fs::OpenOptions::new().create(true).append(true).open(&self.file)?;
        let line = |(address, interface): (&IpAddr, &String)| format!("{address} {interface}\n");
        let text: String = self.assigned.iter().map(line).collect();
        store::replace(&self.file, &text).map_err(io::Error::other)
    }

    /// Who answers for a VIP's address although it shall be ours.
    #[must_use]
    pub fn conflict(&self, address: IpAddr) -> Option<Mac> {
        self.conflicts.get(&address).copied()
    }

    /// Assigns an address, remembered first: a crash in between leaves no orphan. One that is there
    /// already is the operator's.
    async fn assign(&mut self, interface: &Interface, address: IpAddr) -> io::Result<()> {
        let new = self.assigned.insert(address, interface.name.clone()).is_none();
        if new {
            self.remember()?;
        }
        let found = self.addresses.assign(interface.index, address).await;
        let found = found.map_err(io::Error::other)?;
        if new && found == Found::Present {
            self.assigned.remove(&address);
            self.remember()?;
        }
        Ok(())
    }

    /// Removes an address that was assigned, unless its interface took it along.
    async fn remove(&mut self, address: IpAddr) -> io::Result<()> {
        let interface = self.assigned.get(&address).map(String::as_str);
        if let Some(index) = interface.and_then(|name| if_nametoindex(name).ok()) {
            self.addresses.remove(index, address).await.map_err(io::Error::other)?;
        }
        self.assigned.remove(&address);
        self.remember()
    }

    /// Removes everything that was assigned.
    pub(super) async fn remove_all(&mut self) -> io::Result<()> {
        for address in self.assigned.clone().into_keys() {
            self.remove(address).await?;
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

/// The addresses that the daemon shall announce.
pub(super) fn announced(model: &Model) -> BTreeSet<IpAddr> {
    let vips = model.vips.iter().filter(|vip| vip.announce == Announce::Arp);
    vips.map(|vip| vip.address).collect()
}

impl Reconciler {
    /// Gives up addresses that are no longer announced, and probes for those that shall be. Returns
    /// whether the result of a probe is to come.
    pub async fn announce(&mut self) -> bool {
        let wanted = announced(&self.config.model);
        self.announcing.conflicts.retain(|address, _| wanted.contains(address));
        let here = &self.network.interface.name;
        let stays = |address, on: &String| wanted.contains(address) && on == here;
        let assigned = self.announcing.assigned.iter();
        let given_up: Vec<IpAddr> = assigned
            .filter(|(address, on)| !stays(address, on))
            .map(|(address, _)| *address)
            .collect();
        for address in given_up {
            match self.announcing.remove(address).await {
                Ok(()) => log::info!("{address} is no longer announced here"),
                Err(error) => log::error!("removing {address}: {error}"),
            }
            self.network.local.remove(&address);
        }
        let missing: Vec<IpAddr> = wanted.difference(&self.network.local).copied().collect();
        let probing = !missing.is_empty();
        if probing {
            self.probe(missing, None);
        }
        probing
    }

    /// Announces again what a former daemon has assigned: routers may have forgotten.
    pub async fn announce_again(&mut self) {
        let wanted = announced(&self.config.model);
        let present: Vec<IpAddr> = wanted.intersection(&self.network.local).copied().collect();
        self.gratuitous(&present).await;
    }

    /// Looks for somebody who answers for these addresses; the result comes as an event.
    pub(super) fn probe(&self, addresses: Vec<IpAddr>, change: Option<(Change, Reply<Done>)>) {
        let (interface, own) = (self.network.interface.index, self.network.interface.mac);
        let events = self.events.clone();
        tokio::spawn(async move {
            let result = match own {
                Some(own) => announce::probe(interface, own, &addresses, PATIENCE)
                    .await
                    .map_err(|error| format!("address probe: {error}")),
                None => Err("address probe: the interface has no MAC address yet".to_owned()),
            };
            // Nobody listens any more when the daemon stops.
            drop(events.send(Probed { addresses, result, change }).await);
        });
    }

    /// Assigns what nobody else answers for, and goes on with the change that waited.
    pub(super) async fn probed(&mut self, probed: Probed) {
        if let Some((change, reply)) = probed.change {
            drop(reply.send(self.change_probed(change, probed.addresses, probed.result).await));
            return;
        }
        match probed.result {
            Ok(conflicts) => {
                self.note_conflicts(&probed.addresses, &conflicts);
                self.assign(probed.addresses).await;
            }
            Err(error) => log::error!("{error}"),
        }
    }

    /// Keeps who answers for these addresses now, and says so once.
    fn note_conflicts(&mut self, probed: &[IpAddr], conflicts: &[Conflict]) {
        let before = self.announcing.conflicts.clone();
        self.announcing.conflicts.retain(|address, _| !probed.contains(address));
        for conflict in conflicts {
            let address = conflict.address;
            self.announcing.conflicts.insert(address, conflict.mac);
            if before.get(&address) != Some(&conflict.mac) {
                let name = self.name_of(conflict.mac);
                log::error!("{address} is not announced: {name} answers for it already");
            }
        }
    }

    /// Assigns and announces addresses, except those in conflict and those not wanted any more.
    pub(super) async fn assign(&mut self, addresses: Vec<IpAddr>) {
        let wanted = announced(&self.config.model);
        let mut assigned = Vec::new();
        for address in addresses.into_iter().filter(|address| wanted.contains(address)) {
            if self.announcing.conflicts.contains_key(&address) {
                continue;
            }
            match self.announcing.assign(&self.network.interface, address).await {
                Ok(()) => assigned.push(address),
                Err(error) => log::error!("assigning {address}: {error}"),
            }
        }
        self.network.local.extend(&assigned);
        self.reconcile();
        self.gratuitous(&assigned).await;
    }

    async fn gratuitous(&self, addresses: &[IpAddr]) {
        let Some(own) = self.network.interface.mac.filter(|_| !addresses.is_empty()) else {
            return;
        };
        let interface = self.network.interface.index;
        match announce::gratuitous(interface, own, addresses).await {
            Ok(()) => log::info!("announced {addresses:?} at {own}"),
            Err(error) => log::error!("announcing {addresses:?}: {error}"),
        }
    }

    /// A MAC address, with the real server it belongs to if it is one.
    pub(super) fn name_of(&self, mac: Mac) -> String {
        let reals = self.config.model.vips.iter().flat_map(|vip| &vip.reals);
        match reals
            .map(|real| (real, self.reach(real).mac()))
            .find(|(_, known)| *known == Some(mac))
        {
            // Linux answers for an address of IPv6 on that interface only which has it, unlike ARP.
            Some((real, _)) if real.address.is_ipv6() => {
                format!("{mac} (real {}: the VIP belongs on lo there)", real.address)
            }
            Some((real, _)) => format!(
                "{mac} (real {}: set arp_ignore=1 and arp_announce=2 there before the VIP)",
                real.address
            ),
            None => mac.to_string(),
        }
    }
}
