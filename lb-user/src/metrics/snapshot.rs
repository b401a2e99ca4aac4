//! Everything that is counted, at one moment.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use lb_common::{Counters, Outcome};

use super::Tally;
use crate::health::checker::Durations;

/// Everything that is counted, at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// In the configuration's order.
    pub vips: Vec<Vip>,
    /// Frames by the way they ended.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Those that are configured.
    pub interfaces: Vec<Interface>,
    /// The programs that are attached; none where the kernel does not measure them.
    pub programs: Vec<Program>,
    /// How full the tables are.
    pub tables: Vec<Fill>,
    /// Whether flows begin with the previous owners of their slots, since the tables of flows are nearly full.
    pub full: bool,
    /// How many servers are reached in each of the ways; see [`Reach`](crate::health::Reach).
    pub neighbours: Vec<(&'static str, u64)>,
    /// How many addresses the daemon has assigned, by interface.
    pub announced: Vec<(String, u64)>,
    /// How long checks took.
    pub checks: Durations,
    /// What has happened since the daemon was started.
    pub tally: Tally,
    /// The configuration.
    pub config: Config,
    /// How long the owner of the state took for this.
    pub took: Duration,
}

/// A VIP.
#[derive(Clone, Debug)]
pub struct Vip {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// `tcp/80 udp/53`.
    pub ports: String,
    /// `up`, `degraded` or `down`.
    pub state: &'static str,
    /// Whether the operator wants it in service.
    pub enabled: bool,
    /// Whether its address is announced; nothing where that is not the daemon's to do.
    pub announced: Option<bool>,
    /// Whether another machine answers for its address.
    pub stolen: bool,
    /// The reals that should take new flows.
    pub active: u64,
    /// Those of them that do.
    pub usable: u64,
    /// The length of its ring.
    pub slots: u32,
    /// Slots with a previous owner.
    pub tracked: u32,
    /// What was steered to its reals, those that have left included.
    pub steered: Counters,
    /// The sorry server, and what was steered to it.
    pub sorry: Option<(IpAddr, Counters)>,
    /// The kind and the timeout of each of its checks.
    pub checks: Vec<(&'static str, Duration)>,
    /// Its pool, and those that have left and keep flows.
    pub reals: Vec<Real>,
}

/// A real server of a VIP.
#[derive(Clone, Debug)]
pub struct Real {
    /// Its address.
    pub address: IpAddr,
    /// The interface it is reached through, where known.
    pub interface: Option<String>,
    /// `active`, `drain`, `disabled` or `removed`.
    pub state: &'static str,
    /// `up`, `down` or `unknown`.
    pub health: &'static str,
    /// Whether it counts as up whatever its checks say.
    pub forced: bool,
    /// Its weight.
    pub weight: u16,
    /// Its part of the ring's slots, 0 to 1.
    pub share: f64,
    /// What was steered to it.
    pub steered: Counters,
    /// Slots that name it as their previous owner.
    pub previous: u32,
    /// Live flows that are noted on it.
    pub noted: u64,
    /// Since when its health is so, where known.
    pub since: Option<Timestamp>,
    /// When its drain has begun and when that ends in any case, while there is one.
    pub drain: Option<(Timestamp, Timestamp)>,
    /// What came of each of the VIP's checks last, in their order; nothing of one before its first result.
    pub checks: Vec<Option<Check>>,
}

/// What came of a check of a real last.
#[derive(Clone, Debug)]
pub struct Check {
    /// `tcp`, `http`, ….
    pub kind: &'static str,
    /// Whether it passed.
    pub passed: bool,
    /// How long it took.
    pub took: Duration,
}

/// An interface with XDP.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// `native`, `generic`, `detached` or `missing`.
    pub xdp: &'static str,
}

/// The program on an interface, as the kernel measures it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The interface.
    pub interface: String,
    /// How often it has run.
    pub runs: u64,
    /// How long in all.
    pub time: Duration,
}

/// How full a table is.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Its name.
    pub table: &'static str,
    /// Entries in use.
    pub used: u64,
    /// Entries that there are.
    pub size: u64,
}

/// The configuration.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// A number of 48 bits that stands for its text.
    pub hash: u64,
    /// How many VIPs it has, also those that had no room yet.
    pub vips: u64,
}
