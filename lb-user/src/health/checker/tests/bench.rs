//! Servers that do as they are told, and a checker to try on them.

use std::{
    collections::HashMap,
    future::pending as forever,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use tokio::time::{sleep, timeout};

use super::*;
use crate::model::{CheckKind, CheckVia};

pub(super) const FAST: Duration = Duration::from_millis(500);

pub(super) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

/// How a server behaves at an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    #[default]
    Answers,
    SlowAnswer,
    Refuses,
    /// Refuses, but takes its time.
    Slow,
    Silent,
    NotHere,
    Panics,
    Forever,
}

/// Servers, and when each address was asked, since the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    ways: HashMap<IpAddr, Way>,
    asked: Vec<(IpAddr, Instant)>,
    busy: usize,
    most: usize,
}

/// A probe under way.
struct Busy<'a>(&'a Fake);

impl<'a> Busy<'a> {
    fn new(fake: &'a Fake) -> Self {
        let mut inner = lock(&fake.0);
        inner.busy += 1;
        inner.most = inner.most.max(inner.busy);
        Self(fake)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(&self.0.0).busy -= 1;
    }
}

impl Fake {
    pub(super) fn busy(&self) -> usize {
        lock(&self.0).busy
    }

    pub(super) fn most(&self) -> usize {
        lock(&self.0).most
    }
}

impl Probe for Fake {
    async fn probe(
        &self,
        kind: &CheckKind,
        target: &Target,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let _busy = Busy::new(self);
        let way = {
            let mut inner = lock(&self.0);
            inner.asked.push((target.connect, Instant::now()));
            inner.ways.get(&target.connect).copied().unwrap_or_default()
        };
        let answer = Ok(Answer { summary: kind.word().to_owned(), took: Duration::ZERO });
        match way {
            Way::Answers => answer,
            Way::SlowAnswer => {
                sleep(timeout * 3 / 4).await;
                answer
            }
            Way::Refuses => Err(Failure::Refused),
            Way::Slow => {
                sleep(timeout * 3 / 4).await;
                Err(Failure::Refused)
            }
            Way::Silent => {
                sleep(timeout).await;
                Err(Failure::Timeout("connecting"))
            }
            Way::NotHere => Err(Failure::Local("no sockets left".to_owned())),
            Way::Panics => panic!("as it should"),
            Way::Forever => forever().await,
        }
    }
}

/// A checker whose task runs here.
pub(super) struct Bench {
    pub(super) checker: Checker,
    pub(super) fake: Fake,
    found: mpsc::Receiver<Finding>,
    start: Instant,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(64, 1024)
    }

    /// With so much room for findings, and so many places.
    pub(super) fn with(room: usize, places: usize) -> Self {
        let (findings, found) = mpsc::channel(room);
        let fake = Fake::default();
        let (checker, task) = Checker::new(fake.clone(), findings, places);
        tokio::spawn(task.run());
        Self { checker, fake, found, start: Instant::now() }
    }

    pub(super) fn script(&mut self, address: IpAddr, way: Way) {
        lock(&self.fake.0).ways.insert(address, way);
    }

    pub(super) fn set(&mut self, assignments: impl IntoIterator<Item = Assignment>) {
        self.checker.set(assignments.into_iter().collect());
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// When an address was asked, since the beginning.
    pub(super) fn asked(&self, address: IpAddr) -> Vec<Duration> {
        let inner = lock(&self.fake.0);
        let asked = inner.asked.iter().filter(|(of, _)| *of == address);
        asked.map(|(_, at)| *at - self.start).collect()
    }

    /// The next finding: of which real, and what.
    pub(super) async fn next(&mut self) -> (u8, Standing) {
        let found = timeout(Duration::from_secs(3600), self.found.recv()).await;
        let Finding { key, standing } = found.unwrap().unwrap();
        (number(&key), standing)
    }

    /// All findings until there is none for a while.
    pub(super) async fn drain(&mut self) -> Vec<(u8, Standing)> {
        let mut found = Vec::new();
        let while_ = Duration::from_secs(30);
        while let Ok(Some(Finding { key, standing })) = timeout(while_, self.found.recv()).await {
            found.push((number(&key), standing));
        }
        found
    }

    /// Waits until so many reals are up and everything has calmed down.
    pub(super) async fn settle(&mut self, reals: usize) {
        let found = self.drain().await;
        let up: BTreeSet<_> =
            found.iter().filter(|(_, standing)| standing.up()).map(|(real, _)| *real).collect();
        assert_eq!(up.len(), reals, "{found:?}");
    }

    /// Nothing is found in so many seconds.
    pub(super) async fn quiet(&mut self, seconds: u64) {
        let found = timeout(Duration::from_secs(seconds), self.found.recv()).await;
        assert!(found.is_err(), "{found:?}");
    }

    /// Nothing else is found in so many seconds than that all stay as they are.
    pub(super) async fn quiet_but(&mut self, seconds: u64, up: bool) {
        pass(seconds * 1000).await;
        while let Ok(found) = self.found.try_recv() {
            assert_eq!(found.standing.up(), up, "{found:?}");
        }
    }
}

/// Lets so many milliseconds pass.
pub(super) async fn pass(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

pub(super) fn check() -> Check {
    Check {
        kind: CheckKind::Icmp,
        via: CheckVia::Vip,
        interval: Duration::from_secs(2),
        fast_interval: FAST,
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
        initial: Initial::Down,
    }
}

pub(super) fn own_check() -> Check {
    Check { via: CheckVia::Rip, ..check() }
}

pub(super) fn key(real: u8) -> Key {
    Key { vip: "web".to_owned(), real: own(real) }
}

fn number(key: &Key) -> u8 {
    let IpAddr::V4(address) = key.real else { panic!("an IPv4 address") };
    address.octets()[3]
}

/// Its own address.
pub(super) fn own(real: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, real])
}

/// What stands for the VIP there.
pub(super) fn detour(real: u8) -> IpAddr {
    IpAddr::from([198, 18, 0, real])
}

pub(super) fn via(real: u8, connect: IpAddr) -> Target {
    Target { connect, address: VIP, real: own(real), vip: VIP }
}

pub(super) fn assignment(real: u8, check: Check) -> Assignment {
    let rip_target = Target { connect: own(real), address: own(real), real: own(real), vip: VIP };
    Assignment {
        key: key(real),
        checks: vec![check],
        vip_target: Some(via(real, detour(real))),
        rip_target,
        unreachable: None,
        start: None,
    }
}

pub(super) fn pending(up: bool) -> Standing {
    Standing::Pending { up }
}

pub(super) fn up(summary: &str) -> Standing {
    Standing::Up { summary: summary.to_owned() }
}

pub(super) fn down(reason: &str) -> Standing {
    Standing::Down { reason: reason.to_owned() }
}
