//! The roster under random orders and results.

use std::ops::Range;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::health::checker::{
    flight::{Job, Landed},
    roster::Roster,
};

#[derive(Clone, Debug)]
enum Order {
    /// These reals, with so many checks and to this detour each; none where it is 0.
    Set(Vec<(u8, usize, u8)>),
    Hint(u8),
    Wait(u64),
    /// One of the probes under way ends like this.
    Land(usize, Result<(), bool>),
}

fn any_order() -> impl Strategy<Value = Order> {
    prop_oneof![
        1 => vec((1u8..5, 0usize..3, 0u8..3), 0..5).prop_map(Order::Set),
        1 => (1u8..5).prop_map(Order::Hint),
        6 => (0u64..1500).prop_map(Order::Wait),
        6 => (any::<usize>(), any_result()).prop_map(|(which, result)| Order::Land(which, result)),
    ]
}

/// `Err(true)` is a failure that the real cannot be blamed for.
fn any_result() -> impl Strategy<Value = Result<(), bool>> {
    prop_oneof![3 => Just(Ok(())), 3 => Just(Err(false)), 1 => Just(Err(true))]
}

fn wanted((real, checks, to): (u8, usize, u8)) -> Assignment {
    let kinds = [check(), own_check()].into_iter().take(checks);
    let base = assignment(real, check());
    Assignment {
        checks: kinds.collect(),
        vip_target: (to > 0).then(|| via(real, detour(100 * (to - 1) + real))),
        unreachable: (to == 0).then(|| "no way".to_owned()),
        ..base
    }
}

/// The roster with what is in the air, and how all stood when they were told last.
struct World {
    roster: Roster,
    now: Instant,
    wanted: BTreeMap<Key, Assignment>,
    jobs: Vec<Job>,
    told: BTreeMap<Key, Standing>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (wanted, jobs, told) = Default::default();
        Self { roster: Roster::new(seed), now: Instant::now(), wanted, jobs, told }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Set(list) => {
                let list: Vec<_> = list.into_iter().map(wanted).collect();
                self.wanted =
                    list.iter().map(|wanted| (wanted.key.clone(), wanted.clone())).collect();
                self.roster.set(list, self.now);
                let dropped = self.roster.take_dropped();
                self.jobs.retain(|job| !dropped.contains(&job.number));
            }
            Order::Hint(real) => self.roster.hint(&BTreeSet::from([own(real)]), self.now),
            Order::Wait(millis) => self.now += Duration::from_millis(millis),
            Order::Land(which, result) => self.land(which, result),
        }
        while let Some((job, due)) = self.roster.take_due(self.now) {
            assert!(due <= self.now);
            self.jobs.push(job);
        }
    }

    fn land(&mut self, which: usize, result: Result<(), bool>) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.jobs.swap_remove(which % self.jobs.len());
        let answer = Answer { summary: "fine".to_owned(), took: Duration::ZERO };
        let result = result.map(|()| answer).map_err(|local| match local {
            true => Failure::Local("no sockets".to_owned()),
            false => Failure::Refused,
        });
        let landed = Landed { job, result, own: None, took: Duration::ZERO };
        assert!(self.roster.land(&landed, self.now).is_some());
        assert!(self.roster.land(&landed, self.now).is_none());
    }

    /// Whose standing has changed.
    fn tell(&mut self) -> BTreeSet<Key> {
        let mut changed = BTreeSet::new();
        while let Some(Finding { key, standing }) = self.roster.take_news() {
            assert!(changed.insert(key.clone()), "twice");
            assert_ne!(self.told.insert(key, standing.clone()), Some(standing));
        }
        self.told.retain(|key, _| self.wanted.contains_key(key));
        changed
    }

    /// Every check that has somewhere to go is being probed or will be in time, once.
    fn check(&self) {
        assert!(self.told.keys().eq(self.wanted.keys()));
        let probes = |wanted: &Assignment| {
            let goes = |check: &Check| check.via == CheckVia::Rip || wanted.vip_target.is_some();
            wanted.checks.iter().filter(|check| goes(check)).count()
        };
        let expected: usize = self.wanted.values().map(probes).sum();
        let due: Range<Instant> = self.now..self.now + check().interval;
        assert_eq!(self.jobs.len() + self.roster.due_in(due), expected);
        let watches: BTreeSet<_> = self.jobs.iter().map(|job| job.watch).collect();
        assert_eq!(watches.len(), self.jobs.len(), "two probes for one check");
    }
}

proptest! {
    #[test]
    fn all_are_probed_in_time_and_change_by_orders_and_results_only(
        seed: u64, orders in vec(any_order(), 0..120),
    ) {
        let mut world = World::new(seed);
        for order in orders {
            let quiet = matches!(order, Order::Hint(_) | Order::Wait(_) | Order::Land(_, Err(true)));
            world.obey(order);
            let changed = world.tell();
            prop_assert!(!quiet || changed.is_empty());
            world.check();
        }
    }
}
