//! Who is checked, how each stands, and when each is probed next. Pure; time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Assignment, Finding, Key, Last, Standing,
    flight::{Job, Landed},
    watch::{Watch, Way},
};

/// The first probes of those that come together are so far apart, if there is time for it.
const SPREAD: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Roster {
    reals: BTreeMap<Arc<Key>, Real>,
    watches: BTreeMap<u64, Watch>,
    /// By time: every `due` in `watches`, and nothing else.
    due: BTreeSet<(Instant, u64)>,
    /// Whose standing may have to be told, each once.
    news: VecDeque<Arc<Key>>,
    /// Probes whose results nobody waits for any more.
    dropped: Vec<u64>,
    /// Watches and jobs are numbered.
    count: u64,
    jitter: fastrand::Rng,
}

#[derive(Debug, Default)]
struct Real {
    watches: Vec<u64>,
    told: Option<Standing>,
    /// Whether it is among the news.
    new: bool,
}

impl Roster {
    pub(super) fn new(seed: u64) -> Self {
        let jitter = fastrand::Rng::with_seed(seed);
        let (reals, watches, due) = Default::default();
        let (news, dropped, count) = Default::default();
        Self { reals, watches, due, news, dropped, count, jitter }
    }

    /// These are to be checked, and no others. New checks are due from now on.
    pub(super) fn set(&mut self, assignments: Vec<Assignment>, now: Instant) {
        let mut old = mem::take(&mut self.reals);
        let mut fresh = Vec::new();
        for assignment in assignments {
            let key = Arc::new(assignment.key.clone());
            // Of two of the same name the last one counts.
            let before = old.remove(&key).or_else(|| self.reals.remove(&key));
            let real = self.assign(&key, &assignment, before, &mut fresh);
            self.reals.insert(key.clone(), real);
            self.touch(&key);
        }
        for watch in old.into_values().flat_map(|real| real.watches) {
            self.remove(watch);
        }
        self.news.retain(|key| self.reals.contains_key(key));
        self.begin(&fresh, now);
    }

    /// `fresh` are the checks that are to begin.
    fn assign(
        &mut self,
        key: &Arc<Key>,
        assignment: &Assignment,
        before: Option<Real>,
        fresh: &mut Vec<u64>,
    ) -> Real {
        let known = before.as_ref().map_or(assignment.start, |real| self.known(real));
        let mut real = before.unwrap_or_default();
        let mut old = mem::take(&mut real.watches);
        for check in &assignment.checks {
            let way = Way::new(check, assignment);
            let same = old.iter().position(|number| {
                self.watches.get(number).is_some_and(|watch| *watch.check == *check)
            });
            let (number, begins) = match same.map(|index| old.remove(index)) {
                Some(number) => (number, self.turn(number, way)),
                None => (self.add(Watch::new(key.clone(), check.clone(), way, known)), true),
            };
            real.watches.push(number);
            fresh.extend(begins.then_some(number));
        }
        old.into_iter().for_each(|number| self.remove(number));
        real
    }

    /// A check stays, but it may have to go another way. Says whether it has to.
    fn turn(&mut self, number: u64, way: Way) -> bool {
        let Some(watch) = self.watches.get_mut(&number).filter(|watch| *watch.way() != way) else {
            return false;
        };
        // What is under way goes the old way, and says nothing about the new one.
        self.dropped.extend(watch.turn(way));
        true
    }

    fn add(&mut self, watch: Watch) -> u64 {
        let number = self.number();
        self.watches.insert(number, watch);
        number
    }

    fn remove(&mut self, number: u64) {
        self.schedule(number, None);
        let watch = self.watches.remove(&number);
        self.dropped.extend(watch.and_then(|watch| watch.job()));
    }

    /// The first probes on a way: at once, but one after the other.
    fn begin(&mut self, fresh: &[u64], now: Instant) {
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        for (index, number) in (0..count).zip(fresh) {
            let Some(watch) = self.watches.get(number) else { continue };
            let apart = SPREAD.min(watch.check.interval / count);
            self.schedule(*number, watch.soonest(now, apart * index));
        }
    }

    /// Something speaks against these.
    pub(super) fn hint(&mut self, reals: &BTreeSet<IpAddr>, now: Instant) {
        let mut sooner = Vec::new();
        for (number, watch) in &mut self.watches {
            if reals.contains(&watch.key.real) {
                watch.hurry = true;
                let soonest = watch.soonest(now, Duration::ZERO);
                sooner.extend(watch.due.map(|due| (*number, soonest.min(Some(due)))));
            }
        }
        for (number, due) in sooner {
            self.schedule(number, due);
        }
    }

    /// When the next probe is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// How many probes are due in a span of time.
    #[cfg(test)]
    pub(super) fn due_in(&self, span: std::ops::Range<Instant>) -> usize {
        self.due.iter().filter(|(due, _)| span.contains(due)).count()
    }

    /// A probe that is to be made now, and since when it has been due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Job, Instant)> {
        let (due, number) = *self.due.first().filter(|(due, _)| *due <= now)?;
        self.schedule(number, None);
        let job = self.number();
        let watch = self.watches.get_mut(&number)?;
        Some((watch.launch(number, job, now)?, due))
    }

    /// Takes note of what came of a probe. Says for whom, unless nobody waits for it any more.
    pub(super) fn land(&mut self, landed: &Landed, now: Instant) -> Option<Arc<Key>> {
        let jitter = self.jitter.f64();
        let number = landed.job.watch;
        let watch = self.watches.get_mut(&number)?;
        if watch.job() != Some(landed.job.number) {
            return None;
        }
        let (news, next) = watch.land(landed, now, jitter);
        let key = watch.key.clone();
        self.schedule(number, Some(next));
        if news {
            self.touch(&key);
        }
        Some(key)
    }

    /// Probes whose results nobody waits for any more.
    pub(super) fn take_dropped(&mut self) -> Vec<u64> {
        mem::take(&mut self.dropped)
    }

    /// Whether there may be something to tell.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What is to be told next: of each real how it stands now, if that has changed.
    pub(super) fn take_news(&mut self) -> Option<Finding> {
        while let Some(key) = self.news.pop_front() {
            let Some(real) = self.reals.get(&key) else { continue };
            let standing = self.standing(real);
            let Some(real) = self.reals.get_mut(&key) else { continue };
            real.new = false;
            if real.told.as_ref() != Some(&standing) {
                real.told = Some(standing.clone());
                return Some(Finding { key: Key::clone(&key), standing });
            }
        }
        None
    }

    /// The newest result of each check of a real.
    pub(super) fn last(&self, key: &Key) -> Last {
        let real = self.reals.get(key).into_iter();
        real.flat_map(|real| self.watches_of(real)).map(Watch::latest).collect()
    }

    /// Who is checked.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.reals.keys()
    }

    fn touch(&mut self, key: &Arc<Key>) {
        if let Some(real) = self.reals.get_mut(key)
            && !mem::replace(&mut real.new, true)
        {
            self.news.push_back(key.clone());
        }
    }

    /// Whether a real is known to be up or down: as its checks are, so far as they are known.
    fn known(&self, real: &Real) -> Option<bool> {
        let mut all = Some(true);
        for watch in self.watches_of(real) {
            match watch.known() {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }

    fn standing(&self, real: &Real) -> Standing {
        let count = real.watches.len();
        let mut passed = Vec::with_capacity(count);
        for (index, watch) in self.watches_of(real).enumerate() {
            match (watch.said(), watch.up()) {
                (Some(said), false) if count == 1 => {
                    return Standing::Down { reason: said.to_owned() };
                }
                (Some(said), false) => {
                    let kind = watch.check.kind.word();
                    let reason = format!("check {} of {count} ({kind}): {said}", index + 1);
                    return Standing::Down { reason };
                }
                (Some(said), true) => passed.push(said),
                (None, _) => {}
            }
        }
        if passed.len() < count {
            return Standing::Pending { up: self.watches_of(real).all(|watch| watch.up()) };
        }
        let summary = if count == 0 { "no checks".to_owned() } else { passed.join("; ") };
        Standing::Up { summary }
    }

    fn watches_of(&self, real: &Real) -> impl Iterator<Item = &Watch> {
        real.watches.iter().filter_map(|number| self.watches.get(number))
    }

    fn schedule(&mut self, number: u64, due: Option<Instant>) {
        let Some(watch) = self.watches.get_mut(&number) else { return };
        if let Some(before) = mem::replace(&mut watch.due, due) {
            self.due.remove(&(before, number));
        }
        self.due.extend(due.map(|due| (due, number)));
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}
