//! A configuration on its way from their words to ours.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use crate::model::{
    Announce, Check, CheckKind, CheckVia, HashMode, Initial, OnDeadline, Ports, RealState, UdpMode,
    Vip,
};

/// Where something stands in the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// The words of the original.
    pub words: String,
}

/// Something of the original that is not in ours, or that is there with a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// The words of the original, on one line.
    pub words: String,
    /// Why it could not be carried over, and what to do instead.
    pub reason: String,
}

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The interfaces that the original names, if it does.
    pub interfaces: Vec<String>,
    /// In the order of the original.
    pub vips: Vec<DraftVip>,
    /// What is good to know, though nothing is missing: stands once, above everything.
    pub remarks: Vec<String>,
    /// What belongs to no VIP.
    pub notes: Vec<Note>,
}

/// A VIP to be.
#[derive(Clone, Debug)]
pub struct DraftVip {
    /// Where it begins.
    pub origin: Origin,
    /// Without reals and checks. An empty name stands for one made of the address; others need be
    /// neither valid nor unique.
    pub vip: Vip,
    /// Its checks.
    pub checks: Vec<DraftCheck>,
    /// Its pool.
    pub reals: Vec<DraftReal>,
    /// What is good to know of it, though nothing is missing.
    pub remarks: Vec<String>,
    /// What of it could not be carried over.
    pub notes: Vec<Note>,
}

/// A check to be.
#[derive(Clone, Debug)]
pub struct DraftCheck {
    /// Where it stands.
    pub origin: Origin,
    /// What it has become.
    pub check: Check,
}

/// A real to be.
#[derive(Clone, Debug)]
pub struct DraftReal {
    /// Where it stands.
    pub origin: Origin,
    /// Its address.
    pub address: IpAddr,
    /// As the original has it; a pool's weights are made to fit together.
    pub weight: u32,
    /// Whether it is in service.
    pub state: RealState,
    /// Whether it counts as up whatever the checks say.
    pub force_up: bool,
    /// What of it could not be carried over.
    pub notes: Vec<Note>,
}

impl Origin {
    /// Says why what stands here could not be carried over.
    pub fn note(&self, reason: impl Into<String>) -> Note {
        let Self { file, line, words } = self.clone();
        Note { file, line, words, reason: reason.into() }
    }
}

impl DraftVip {
    /// One of which nothing is known but this; everything else is as where our configuration says nothing.
    #[must_use]
    pub fn new(origin: Origin, address: IpAddr, ports: Vec<Ports>) -> Self {
        let vip = plain(address, ports);
        let (checks, reals, remarks, notes) = Default::default();
        Self { origin, vip, checks, reals, remarks, notes }
    }
}

impl DraftReal {
    /// One of which nothing is known but its address.
    #[must_use]
    pub fn new(origin: Origin, address: IpAddr) -> Self {
        let state = RealState::Active;
        Self { origin, address, weight: 1, state, force_up: false, notes: Vec::new() }
    }
}

/// A check with the pace that it has where our configuration says nothing of it.
#[must_use]
pub fn check(kind: CheckKind) -> Check {
    let interval = Duration::from_secs(2);
    let (via, initial) = (CheckVia::Vip, Initial::Down);
    let (fast_interval, timeout) = paced(interval);
    Check { kind, via, interval, fast_interval, timeout, rise: 2, fall: 3, initial }
}

/// `fast_interval` and `timeout` where our configuration says nothing of them.
#[must_use]
pub fn paced(interval: Duration) -> (Duration, Duration) {
    let fast = (interval / 4).max(Duration::from_millis(100)).min(interval);
    (fast, Duration::from_secs(1).min(interval))
}

/// A VIP as where our configuration says nothing more of it.
pub(super) fn plain(address: IpAddr, ports: Vec<Ports>) -> Vip {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    Vip {
        name: String::new(),
        address,
        ports,
        announce: Announce::Arp,
        hash: HashMode::Flow,
        idle_timeout: minutes(15),
        drain_timeout: minutes(60),
        on_deadline: OnDeadline::Rehash,
        udp_idle_timeout: Duration::from_secs(30),
        udp: UdpMode::Flow,
        slow_start: None,
        sorry: None,
        checks: Vec::new(),
        enabled: true,
        min_up: None,
        panic_threshold: None,
        reals: Vec::new(),
    }
}
