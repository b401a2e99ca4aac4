//! The task that lets the probes fly which the roster asks for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    Finding, Key, Orders, Probe, Shared,
    flight::{self, Landed},
    lock,
    roster::Roster,
};

pub(super) struct Task<P> {
    probe: P,
    findings: mpsc::Sender<Finding>,
    /// How many probes there may be at a time.
    places: usize,
    shared: Arc<Shared>,
    roster: Roster,
    flights: JoinSet<Landed>,
    /// By the number of the job.
    aborts: HashMap<u64, AbortHandle>,
}

/// Nobody listens any more.
struct Closed;

#[expect(clippy::large_enum_variant, reason = "it is passed on at once, one for each probe")]
enum Step {
    Ordered,
    Landed(Option<Landed>),
    Due,
    /// There was room for a finding.
    Told,
}

impl<P: Probe> Task<P> {
    pub(super) fn new(
        probe: P,
        findings: mpsc::Sender<Finding>,
        places: usize,
        shared: Arc<Shared>,
    ) -> Self {
        let roster = Roster::new(fastrand::u64(..));
        let (flights, aborts) = Default::default();
        Self { probe, findings, places, shared, roster, flights, aborts }
    }

    /// Until nobody listens.
    pub(super) async fn run(mut self) {
        while let Ok(step) = self.step().await {
            match step {
                Step::Ordered => match self.shared.take_orders() {
                    Orders { stop: true, .. } => return,
                    orders => self.obey(orders),
                },
                Step::Landed(landed) => self.land(landed),
                Step::Due | Step::Told => {}
            }
            self.launch();
        }
    }

    async fn step(&mut self) -> Result<Step, Closed> {
        let due = self.roster.next().filter(|_| self.flights.len() < self.places);
        let due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.findings.closed() => Err(Closed),
            () = self.shared.ordered.notified() => Ok(Step::Ordered),
            // A receiver that is slow holds up nobody: there is always something else to be done.
            place = self.findings.reserve(), if self.roster.has_news() => {
                if let Some(finding) = self.roster.take_news() {
                    place.map_err(|_| Closed)?.send(finding);
                }
                Ok(Step::Told)
            }
            Some(landed) = self.flights.join_next() => Ok(Step::Landed(landed.ok())),
            () = due => Ok(Step::Due),
        }
    }

    fn obey(&mut self, orders: Orders) {
        let now = Instant::now();
        if let Some(assignments) = orders.assignments {
            self.roster.set(assignments, now);
            let last = |key: &Arc<Key>| (key.clone(), self.roster.last(key));
            let latest: BTreeMap<_, _> = self.roster.keys().map(last).collect();
            *lock(&self.shared.latest) = latest;
        }
        if !orders.hints.is_empty() {
            self.roster.hint(&orders.hints, now);
        }
        for job in self.roster.take_dropped() {
            if let Some(flight) = self.aborts.remove(&job) {
                flight.abort();
            }
        }
    }

    /// Lets those fly that are due, as far as there are places.
    fn launch(&mut self) {
        let now = Instant::now();
        while self.flights.len() < self.places
            && let Some((job, due)) = self.roster.take_due(now)
        {
            self.shared.slipped(now - due);
            let number = job.number;
            let flight = self.flights.spawn(flight::fly(self.probe.clone(), job));
            self.aborts.insert(number, flight);
        }
    }

    /// Counts it: a passed one by its own time, as a failed one by that of the look at the real's own address, too.
    fn count(&self, Landed { job, result, took, .. }: &Landed) {
        let took = result.as_ref().map_or(*took, |answer| answer.took);
        self.shared.durations.note(job.check.kind.word(), result, took);
    }

    /// Takes note of this one and of all others that have landed meanwhile. There is none where one
    /// was aborted.
    fn land(&mut self, first: Option<Landed>) {
        let now = Instant::now();
        let mut next = Some(first);
        while let Some(landed) = next {
            if let Some(landed) = landed {
                self.aborts.remove(&landed.job.number);
                self.count(&landed);
                if let Some(key) = self.roster.land(&landed, now) {
                    let last = self.roster.last(&key);
                    lock(&self.shared.latest).insert(key, last);
                }
            }
            next = self.flights.try_join_next().map(Result::ok);
        }
    }
}
