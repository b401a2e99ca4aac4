//! Who else answers for the addresses that are announced: told, shown, and answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::Reconciler;
use crate::{
    announce::watch::{Post, Sighting, Watch},
    event::Happening,
    model::Mac,
};

/// Between two answers to a thief: enough for routers to come back, too few for a battle to matter.
const TRUCE: Duration = Duration::from_secs(1);

/// How long a thief is remembered that is heard no more, where one address is watched. With more of them each
/// is asked for less often.
const MEMORY: Duration = Duration::from_secs(15);

/// What is known of thieves.
pub struct Watching {
    watch: Watch,
    thieves: BTreeMap<IpAddr, Thief>,
}

struct Thief {
    mac: Mac,
    who: String,
    seen: Instant,
    answered: Instant,
}

impl Watching {
    /// No thief is known yet.
    #[must_use]
    pub fn new(watch: Watch) -> Self {
        Self { watch, thieves: BTreeMap::new() }
    }

    /// Who else answers for an address, and what to do about it.
    pub(super) fn thief(&self, address: IpAddr) -> Option<&str> {
        self.thieves.get(&address).map(|thief| thief.who.as_str())
    }
}

impl Reconciler {
    /// Has watched what is announced now, and forgets the thieves that have not been heard for long.
    pub(super) fn watch(&mut self) {
        let announced = self.announced(&self.config.model);
        let posts = self.network.interfaces.places().into_iter().map(|place| {
            let here = |address: &&IpAddr| self.network.has(place.index, **address);
            let addresses: BTreeSet<IpAddr> = announced.iter().filter(here).copied().collect();
            Post { interface: place.index, mac: place.mac, addresses }
        });
        self.watching.watch.set(posts.collect(), self.network.interfaces.macs());
        let memory = MEMORY + 2 * Duration::from_secs(announced.len() as u64);
        self.watching
            .thieves
            .retain(|address, thief| announced.contains(address) && thief.seen.elapsed() < memory);
    }

    /// Another machine says that it has an announced address.
    pub(super) async fn sighted(&mut self, sighting: Sighting) {
        let Sighting { interface, conflict } = sighting;
        let places = self.network.interfaces.places();
        let Some(place) = places.iter().find(|place| place.index == interface) else {
            return;
        };
        if !self.network.has(interface, conflict.address) {
            return;
        }
        let now = Instant::now();
        let before = self.watching.thieves.get(&conflict.address);
        let answered = before.map(|thief| thief.answered);
        if before.is_none_or(|thief| thief.mac != conflict.mac) {
            self.record(Happening::Thief {
                address: conflict.address,
                mac: conflict.mac.to_string(),
                who: self.name_of(&conflict),
            });
        }
        let answers = answered.is_none_or(|answered| answered + TRUCE <= now);
        let thief = Thief {
            mac: conflict.mac,
            who: self.name_of(&conflict),
            seen: now,
            answered: answered.filter(|_| !answers).unwrap_or(now),
        };
        self.watching.thieves.insert(conflict.address, thief);
        if answers {
            self.gratuitous(place, &[conflict.address]).await;
        }
    }
}
