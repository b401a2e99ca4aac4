//! What has happened since the daemon was started.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::event::Happening;

/// Counts what has happened.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Events by their kind, all kinds.
    pub(super) events: BTreeMap<&'static str, u64>,
    /// Addresses that were told to the network, by interface.
    pub(super) announcements: BTreeMap<String, u64>,
    /// Changes by `lbctl` and its like.
    pub(super) changes: Results,
    /// Readings of the file.
    pub(super) reloads: Results,
    /// Whether the file was good when it was read last.
    pub(super) good: bool,
    /// When a configuration was put in force last.
    pub(super) last_success: Timestamp,
}

/// How often something was done and how often it was refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Results {
    pub(super) applied: u64,
    pub(super) refused: u64,
}

impl Results {
    fn note(&mut self, applied: bool) {
        *if applied { &mut self.applied } else { &mut self.refused } += 1;
    }
}

impl Tally {
    /// Nothing yet, but that a configuration was put in force now.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let kinds = ["health", "vip", "config", "neighbour", "announce", "thief"];
        Self {
            events: kinds.map(|kind| (kind, 0)).into(),
            announcements: BTreeMap::new(),
            changes: Results::default(),
            reloads: Results::default(),
            good: true,
            last_success: now,
        }
    }

    /// Something has happened.
    pub fn event(&mut self, what: &Happening) {
        let kind = match what {
            Happening::Health { .. } => "health",
            Happening::Vip { .. } => "vip",
            Happening::Config { .. } => "config",
            Happening::Neighbour { .. } => "neighbour",
            Happening::Announce { .. } => "announce",
            Happening::Thief { .. } => "thief",
        };
        *self.events.entry(kind).or_default() += 1;
    }

    /// So many addresses were told to the network on an interface.
    pub fn announced(&mut self, interface: &str, addresses: usize) {
        let count = self.announcements.entry(interface.to_owned()).or_default();
        *count += addresses as u64;
    }

    /// A change was asked for.
    pub fn change(&mut self, applied: bool, now: Timestamp) {
        self.changes.note(applied);
        self.succeeded(applied, now);
    }

    /// The file was read again.
    pub fn reload(&mut self, applied: bool, now: Timestamp) {
        self.reloads.note(applied);
        self.good = applied;
        self.succeeded(applied, now);
    }

    fn succeeded(&mut self, applied: bool, now: Timestamp) {
        if applied {
            self.last_success = now;
        }
    }
}
