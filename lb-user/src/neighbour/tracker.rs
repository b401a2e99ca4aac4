//! The addresses to be kept resolved: what was told of each, and when each needs a push. Pure;
//! time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Event, Resolution,
    wire::{Entry, Hold, Key},
};

/// The addresses to be tracked, by interface.
pub(super) type Wanted = BTreeMap<u32, BTreeSet<IpAddr>>;

/// How long an unanswered question stands before it is put again. The kernel would ask only once a
/// second; a real server that comes alive is to be seen within one.
const RETRY: Duration = Duration::from_millis(400);

#[derive(Debug, Default)]
pub(super) struct Tracker {
    tracked: BTreeMap<Key, Tracked>,
    /// By time: every `due` in `tracked`, and nothing else.
    due: BTreeSet<(Instant, Key)>,
}

#[derive(Debug, Default)]
struct Tracked {
    told: Option<Resolution>,
    due: Option<Instant>,
}

impl Tracker {
    /// Whether there are new ones among the wanted: the kernel is to be asked how they stand.
    pub(super) fn want(&mut self, wanted: &Wanted, now: Instant) -> bool {
        let keys = |(interface, addresses): (&u32, &BTreeSet<IpAddr>)| {
            let interface = *interface;
            let key = move |address: &IpAddr| Key {
                interface,
                address: *address,
            };
            addresses.iter().map(key).collect::<Vec<_>>()
        };
        let wanted: BTreeSet<_> = wanted.iter().flat_map(keys).collect();
        let known: BTreeSet<_> = self.tracked.keys().copied().collect();
        for key in known.difference(&wanted) {
            self.settle(*key);
            self.tracked.remove(key);
        }
        for key in wanted.difference(&known) {
            self.tracked.insert(*key, Tracked::default());
            self.push_at(*key, now);
        }
        !wanted.is_subset(&known)
    }

    pub(super) fn tracks(&self, key: Key) -> bool {
        self.tracked.contains_key(&key)
    }

    /// Takes note of an entry of the kernel's table, `None` if there is none.
    pub(super) fn observe(
        &mut self,
        key: Key,
        entry: Option<Entry>,
        now: Instant,
    ) -> Option<Event> {
        let tracked = self.tracked.get(&key)?;
        match entry.map(|entry| entry.hold) {
            Some(Hold::Foreign | Hold::Fresh) => self.settle(key),
            Some(Hold::Stale) => self.push_at(key, now),
            // Whoever is due already is being retried, and this is an echo of that.
            Some(Hold::Asking | Hold::GivenUp) | None if tracked.due.is_some() => {}
            Some(Hold::Asking) => self.push_at(key, now + RETRY),
            Some(Hold::GivenUp) | None => self.push_at(key, now),
        }
        self.tell(
            key,
            entry.map_or(Resolution::Pending, |entry| entry.resolution),
        )
    }

    fn tell(&mut self, key: Key, resolution: Resolution) -> Option<Event> {
        let tracked = self.tracked.get_mut(&key)?;
        let state = match (tracked.told, resolution) {
            (Some(Resolution::Failed), Resolution::Pending) => Resolution::Failed,
            (_, state) => state,
        };
        if tracked.told.replace(state) == Some(state) {
            return None;
        }
        let Key { interface, address } = key;
        Some(Event::Neighbour {
            interface,
            address,
            state,
        })
    }

    /// When the next push is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// At most `limit` that are due, longest first; each will be due again unless it settles.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<Key> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now);
        let keys: Vec<_> = due.take(limit).map(|(_, key)| *key).collect();
        for key in &keys {
            self.push_at(*key, now + RETRY);
        }
        keys
    }

    /// All that are tracked on an interface become due.
    pub(super) fn push_interface(&mut self, interface: u32, now: Instant) {
        self.push_where(|key| key.interface == interface, now);
    }

    /// All but those in `seen` become due.
    pub(super) fn push_unseen(&mut self, seen: &BTreeSet<Key>, now: Instant) {
        self.push_where(|key| !seen.contains(key), now);
    }

    fn push_where(&mut self, which: impl Fn(&Key) -> bool, now: Instant) {
        let keys: Vec<_> = self
            .tracked
            .keys()
            .filter(|key| which(key))
            .copied()
            .collect();
        for key in keys {
            self.push_at(key, now);
        }
    }

    fn push_at(&mut self, key: Key, at: Instant) {
        self.settle(key);
        if let Some(tracked) = self.tracked.get_mut(&key) {
            tracked.due = Some(at);
            self.due.insert((at, key));
        }
    }

    /// Needs no push for now.
    pub(super) fn settle(&mut self, key: Key) {
        if let Some(at) = self
            .tracked
            .get_mut(&key)
            .and_then(|tracked| tracked.due.take())
        {
            self.due.remove(&(at, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mac;

    const KEY: Key = Key {
        interface: 2,
        address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    };
    const MAC: Resolution = Resolution::Resolved(Mac([2, 0, 0, 0, 0, 1]));

    fn entry(resolution: Resolution, hold: Hold) -> Option<Entry> {
        Some(Entry { resolution, hold })
    }

    fn told(state: Resolution) -> Option<Event> {
        Some(Event::Neighbour {
            interface: KEY.interface,
            address: KEY.address,
            state,
        })
    }

    fn wanting(addresses: &[IpAddr]) -> Wanted {
        Wanted::from([(KEY.interface, addresses.iter().copied().collect())])
    }

    fn tracker(now: Instant) -> Tracker {
        let mut tracker = Tracker::default();
        assert!(tracker.want(&wanting(&[KEY.address]), now));
        assert!(!tracker.want(&wanting(&[KEY.address]), now));
        tracker
    }

    #[test]
    fn an_unresolved_address_is_due_at_once_and_then_at_a_bounded_rate() {
        let now = Instant::now();
        let mut tracker = tracker(now);
        assert_eq!(tracker.take_due(now, 9), [KEY]);
        assert_eq!(tracker.take_due(now, 9), []);
        assert_eq!(
            tracker.observe(KEY, entry(Resolution::Failed, Hold::GivenUp), now),
            told(Resolution::Failed)
        );
        assert_eq!(tracker.observe(KEY, None, now), None);
        assert_eq!(tracker.take_due(now, 9), []);
        assert_eq!(tracker.take_due(now + RETRY, 9), [KEY]);
    }

    #[test]
    fn a_failure_is_told_once_however_often_it_is_tried_again() {
        let now = Instant::now();
        let mut tracker = tracker(now);
        assert_eq!(
            tracker.observe(KEY, entry(Resolution::Pending, Hold::Asking), now),
            told(Resolution::Pending)
        );
        assert_eq!(
            tracker.observe(KEY, entry(Resolution::Failed, Hold::GivenUp), now),
            told(Resolution::Failed)
        );
        assert_eq!(tracker.observe(KEY, None, now), None);
        assert_eq!(
            tracker.observe(KEY, entry(Resolution::Pending, Hold::Asking), now),
            None
        );
        assert_eq!(
            tracker.observe(KEY, entry(MAC, Hold::Fresh), now),
            told(MAC)
        );
        assert_eq!(tracker.next(), None);
    }

    #[test]
    fn a_stale_or_lost_neighbour_is_due_at_once() {
        let now = Instant::now();
        let mut tracker = tracker(now);
        tracker.observe(KEY, entry(MAC, Hold::Fresh), now);
        assert_eq!(tracker.take_due(now, 9), []);
        assert_eq!(tracker.observe(KEY, entry(MAC, Hold::Stale), now), None);
        assert_eq!(tracker.take_due(now, 9), [KEY]);
        tracker.observe(KEY, entry(MAC, Hold::Fresh), now);
        assert_eq!(tracker.observe(KEY, None, now), told(Resolution::Pending));
        assert_eq!(tracker.take_due(now, 9), [KEY]);
    }

    #[test]
    fn thousands_are_taken_in_bounded_batches_and_none_is_forgotten() {
        let now = Instant::now();
        let mut tracker = Tracker::default();
        let addresses: Vec<IpAddr> = (0..4096u32)
            .map(|n| (0x0a00_0000 + n).to_be_bytes().into())
            .collect();
        tracker.want(&wanting(&addresses), now);
        let mut taken = BTreeSet::new();
        for _ in 0..64 {
            let batch = tracker.take_due(now, 64);
            assert_eq!(batch.len(), 64);
            taken.extend(batch);
        }
        assert_eq!(taken.len(), 4096);
    }

    #[test]
    fn what_is_no_longer_wanted_is_neither_due_nor_told() {
        let now = Instant::now();
        let mut tracker = tracker(now);
        tracker.want(&Wanted::new(), now);
        assert_eq!(tracker.next(), None);
        assert_eq!(tracker.observe(KEY, entry(MAC, Hold::Fresh), now), None);
    }
}
