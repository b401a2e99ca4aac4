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
    /// Readings of the file, of which none fails: they are applied or refused.
    pub(super) reloads: Results,
    /// Whether the file was good when it was read or written last.
    pub(super) good: bool,
    /// When a configuration was put in force last.
    pub(super) last_success: Timestamp,
}

/// What became of a change that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was done.
    Applied,
    /// It was wrong, or the circumstances forbade it.
    Refused,
    /// It was tried; the file may have been changed.
    Failed,
}

/// How often each of it came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Results {
    pub(super) applied: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
}

impl Results {
    fn note(&mut self, came: Came) {
        let count = match came {
            Came::Applied => &mut self.applied,
            Came::Refused => &mut self.refused,
            Came::Failed => &mut self.failed,
        };
        *count += 1;
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
    pub fn change(&mut self, came: Came, now: Timestamp) {
        self.changes.note(came);
        self.succeeded(came, now);
    }

    /// The file was replaced by a good one.
    pub fn replaced(&mut self) {
        self.good = true;
    }

    /// The file was read again.
    pub fn reload(&mut self, applied: bool, now: Timestamp) {
        let came = if applied { Came::Applied } else { Came::Refused };
        self.reloads.note(came);
        self.good = applied;
        self.succeeded(came, now);
    }

    fn succeeded(&mut self, came: Came, now: Timestamp) {
        if came == Came::Applied {
            self.last_success = now;
        }
    }
}
