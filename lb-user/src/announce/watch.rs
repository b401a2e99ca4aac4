//! Watches over the addresses that are announced: whether another machine says that it has one of them. On
//! each interface it listens to what is said unasked, and asks for one address after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{Conflict, LONGEST, Protocol, Socket, question};
use crate::model::Mac;

/// Between two questions on an interface: few enough for everybody who has to hear them.
const PACE: Duration = Duration::from_secs(1);

/// How long the same conflict is not told again.
const QUIET: Duration = Duration::from_secs(1);

/// Before an interface that failed is listened to again.
const BACKOFF: Duration = Duration::from_secs(1);

/// An interface, and the addresses that this machine announces there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The interface's index.
    pub interface: u32,
    /// Its MAC address.
    pub mac: Mac,
    /// The addresses.
    pub addresses: BTreeSet<IpAddr>,
}

/// Another machine says that it has an announced address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The index of the interface where it was heard.
    pub interface: u32,
    /// Who says so, and of which address.
    pub conflict: Conflict,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    posts: Vec<Post>,
    own: BTreeSet<Mac>,
}

/// A watch in the network namespace that the caller was in. Ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches nothing yet; tells by `sightings`. What finds no room there is told again when it is heard
    /// again.
    #[must_use]
    pub fn start(sightings: mpsc::Sender<Sighting>) -> Self {
        let (wanted, changes) = watch::channel(Wanted::default());
        let task = tokio::spawn(run(changes, sightings));
        Self { wanted, task }
    }

    /// Watches exactly these from now on. `own` are all MAC addresses of this machine: two interfaces may
    /// be in one network, and hear each other.
    pub fn set(&self, posts: Vec<Post>, own: BTreeSet<Mac>) {
        let new = Wanted { posts, own };
        self.wanted.send_if_modified(|wanted| {
            let differs = *wanted != new;
            *wanted = new;
            differs
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut changes: watch::Receiver<Wanted>, sightings: mpsc::Sender<Sighting>) {
    loop {
        let wanted = changes.borrow_and_update().clone();
        let guards = wanted.posts.into_iter().map(|post| {
            let guard = Guard::new(post, wanted.own.clone());
            stand(guard, sightings.clone())
        });
        let all = futures_util::future::join_all(guards);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            // There is nothing to watch.
            _ = all => if changes.changed().await.is_err() { return },
        }
    }
}

/// Until it is dropped.
async fn stand(mut guard: Guard, sightings: mpsc::Sender<Sighting>) {
    if guard.post.addresses.is_empty() {
        return;
    }
    loop {
        if let Err(error) = guard.watch(&sightings).await {
            log::debug!("watching interface {}: {error}", guard.post.interface);
        }
        sleep(BACKOFF).await;
    }
}

/// What an interface's watch knows.
#[derive(Debug)]
struct Guard {
    post: Post,
    own: BTreeSet<Mac>,
    /// Which address was asked for last.
    asked: Option<IpAddr>,
    /// What was told, and when.
    told: BTreeMap<Conflict, Instant>,
}

impl Guard {
    fn new(post: Post, own: BTreeSet<Mac>) -> Self {
        Self { post, own, asked: None, told: BTreeMap::new() }
    }

    /// The next address in turn.
    fn next(&mut self) -> Option<IpAddr> {
        let after = self
            .asked
            .and_then(|asked| self.post.addresses.iter().find(|address| **address > asked));
        self.asked = after.or_else(|| self.post.addresses.first()).copied();
        self.asked
    }

    /// What is to be told of an assertion.
    fn hear(&mut self, said: Conflict, now: Instant) -> Option<Conflict> {
        let ours = said.mac == self.post.mac || self.own.contains(&said.mac);
        if ours || !said.mac.is_unicast() || !self.post.addresses.contains(&said.address) {
            return None;
        }
        // Nor may somebody who makes MAC addresses up fill the memory.
        self.told.retain(|_, at| now < *at + QUIET);
        let fresh = !self.told.keys().any(|told| told.address == said.address);
        fresh.then(|| self.told.insert(said, now));
        fresh.then_some(said)
    }

    /// Listens and asks, until the interface fails.
    async fn watch(&mut self, sightings: &mpsc::Sender<Sighting>) -> io::Result<()> {
        let interface = self.post.interface;
        let open = |protocol: Protocol| {
            let needed = self.post.addresses.iter().any(|of| Protocol::of(*of) == protocol);
            needed.then(|| protocol.open(interface)).transpose()
        };
        let (arp, nd) = (open(Protocol::Arp)?, open(Protocol::Nd)?);
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard_arp, mut heard_nd) = ([0; LONGEST], [0; LONGEST]);
        loop {
            let said = tokio::select! {
                length = receive(arp.as_ref(), &mut heard_arp) => {
                    heard_arp.get(..length?).and_then(|frame| Protocol::Arp.assertion(frame))
                }
                length = receive(nd.as_ref(), &mut heard_nd) => {
                    heard_nd.get(..length?).and_then(|frame| Protocol::Nd.assertion(frame))
                }
                _ = pace.tick() => {
                    self.ask(arp.as_ref(), nd.as_ref()).await?;
                    None
                }
            };
            let conflict = said.and_then(|said| self.hear(said, Instant::now()));
            if let Some(conflict) = conflict {
                // Where nobody takes them in time they come again.
                let _ = sightings.try_send(Sighting { interface, conflict });
            }
        }
    }

    async fn ask(&mut self, arp: Option<&Socket>, nd: Option<&Socket>) -> io::Result<()> {
        let Some(address) = self.next() else { return Ok(()) };
        let socket = if address.is_ipv4() { arp } else { nd };
        match socket {
            Some(socket) => socket.send(&question(self.post.mac, address)).await,
            None => Ok(()),
        }
    }
}

async fn receive(socket: Option<&Socket>, frame: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.receive(frame).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        announce::{announcements, gratuitous, probe},
        neighbour::netns::{BALANCER_MAC, Cable, MACHINE_MAC, eth0},
    };

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn addresses() -> BTreeSet<IpAddr> {
        let texts = ["192.0.2.10", "192.0.2.11", "2001:db8::10"];
        texts.map(|text| text.parse().unwrap()).into()
    }

    fn guard() -> Guard {
        let post = Post { interface: 2, mac: OWN, addresses: addresses() };
        Guard::new(post, BTreeSet::from([OWN, Mac([2, 0, 0, 0, 0, 9])]))
    }

    #[test]
    fn one_address_after_the_other_is_asked_for_and_then_the_first_again() {
        let mut guard = guard();
        let asked: Vec<_> = (0..4).filter_map(|_| guard.next()).collect();
        let expected: Vec<_> = addresses().into_iter().collect();
        assert_eq!(asked[..3], expected);
        assert_eq!(asked[3], expected[0]);
        guard.post.addresses.clear();
        assert_eq!(guard.next(), None);
    }

    #[test]
    fn only_a_foreign_machine_with_an_announced_address_is_told_and_not_all_the_time() {
        let (mut guard, now) = (guard(), Instant::now());
        let address = "192.0.2.10".parse().unwrap();
        let said = |mac| Conflict { address, mac };
        for ours in [OWN, Mac([2, 0, 0, 0, 0, 9]), Mac([0xff; 6])] {
            assert_eq!(guard.hear(said(ours), now), None);
        }
        let elsewhere = Conflict { address: "192.0.2.12".parse().unwrap(), mac: OTHER };
        assert_eq!(guard.hear(elsewhere, now), None);
        assert_eq!(guard.hear(said(OTHER), now), Some(said(OTHER)));
        assert_eq!(guard.hear(said(OTHER), now), None);
        assert_eq!(guard.hear(said(Mac([2, 0, 0, 0, 0, 3])), now), None);
        assert_eq!(guard.hear(said(OTHER), now + QUIET), Some(said(OTHER)));
    }

    fn mac(text: &str) -> Mac {
        text.parse().unwrap()
    }

    fn watching(addresses: &[IpAddr]) -> (Watch, mpsc::Receiver<Sighting>) {
        let (sender, sightings) = mpsc::channel(16);
        let watch = Watch::start(sender);
        let addresses = addresses.iter().copied().collect();
        let post = Post { interface: eth0(), mac: mac(BALANCER_MAC), addresses };
        watch.set(vec![post], BTreeSet::from([mac(BALANCER_MAC)]));
        (watch, sightings)
    }

    #[test]
    fn a_machine_that_answers_for_an_address_is_found_by_asking() {
        let Cable { balancer, machine } = Cable::new();
        for address in addresses() {
            let length = if address.is_ipv4() { 32 } else { 128 };
            machine.ip(&format!("addr add {address}/{length} dev eth0"));
        }
        balancer.run_async(async || {
            let all: Vec<IpAddr> = addresses().into_iter().collect();
            let (_watch, mut sightings) = watching(&all);
            let mut found = BTreeSet::new();
            while found.len() < all.len() {
                let Sighting { interface, conflict } = sightings.recv().await.unwrap();
                assert_eq!((interface, conflict.mac), (eth0(), mac(MACHINE_MAC)));
                found.insert(conflict.address);
            }
        });
    }

    #[test]
    fn what_is_said_unasked_is_heard_and_neither_our_own_word_nor_a_question() {
        let Cable { balancer, machine } = Cable::new();
        // Our own interface in the same network.
        let ours = mac("02:00:00:00:00:03");
        balancer.run_async(async || {
            let all: Vec<IpAddr> = addresses().into_iter().collect();
            let (watch, mut sightings) = watching(&all);
            let wanted = watch.wanted.borrow().clone();
            watch.set(wanted.posts, BTreeSet::from([ours]));
            tokio::task::yield_now().await;
            for address in &all {
                machine.run_async(async || {
                    probe(eth0(), mac(MACHINE_MAC), &[*address], PACE / 10).await.unwrap();
                    gratuitous(eth0(), ours, &[*address]).await.unwrap();
                    gratuitous(eth0(), mac(MACHINE_MAC), &[*address]).await.unwrap();
                });
                gratuitous(eth0(), mac(BALANCER_MAC), &[*address]).await.unwrap();
            }
            assert!(!announcements(ours, all[0]).is_empty());
            for address in all {
                let Sighting { conflict, .. } = sightings.recv().await.unwrap();
                assert_eq!(conflict, Conflict { address, mac: mac(MACHINE_MAC) });
            }
        });
    }
}
