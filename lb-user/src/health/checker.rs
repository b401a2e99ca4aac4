//! Probes all real servers, each by its checks, and tells what is found out when it changes.
//!
//! This has a thread of its own: no timer waits for the planning of flows, or for anything else. All
//! decisions are made in [`roster`], which is pure; this runs the probes that it asks for.

mod flight;
mod reason;
mod roster;
mod tally;
mod task;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    io, mem,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::{Notify, mpsc},
    time::Instant,
};

use crate::{
    model::{Check, CheckKind},
    probe::{Answer, Failure, Prober, Target},
};

pub use tally::Durations;
use task::Task;

/// Makes probes.
pub trait Probe: Clone + Send + Sync + 'static {
    /// One probe, which takes no longer than the timeout.
    fn probe(
        &self,
        kind: &CheckKind,
        target: &Target,
        timeout: Duration,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

impl Probe for Prober {
    fn probe(
        &self,
        kind: &CheckKind,
        target: &Target,
        timeout: Duration,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send {
        Self::probe(self, kind, target, timeout)
    }
}

/// A real server of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The VIP's name.
    pub vip: String,
    /// The real's address.
    pub real: IpAddr,
}

/// What is to be checked of a real.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Whose.
    pub key: Key,
    /// All of them must pass. A real without checks is up.
    pub checks: Vec<Check>,
    /// How its checks via the VIP get there. Where this and `unreachable` are nothing they wait, and
    /// stand as they did.
    pub vip_target: Option<Target>,
    /// How its checks of its own address get there.
    pub rip_target: Target,
    /// Why there is no way via the VIP: its checks that go there are down for this reason, and must
    /// pass again when there is one.
    pub unreachable: Option<String>,
    /// What is known of it from before: whether it was up. It is believed until results say otherwise.
    pub start: Option<bool>,
}

/// What has been found out about a real.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not enough yet, since its checks began: it counts as this.
    Pending {
        /// Whether it counts as up.
        up: bool,
    },
    /// All checks pass.
    Up {
        /// What came back.
        summary: String,
    },
    /// A check does not pass.
    Down {
        /// Which, where there are several, and why.
        reason: String,
    },
}

impl Standing {
    /// Whether the real counts as up.
    #[must_use]
    pub fn up(&self) -> bool {
        matches!(self, Self::Up { .. } | Self::Pending { up: true })
    }
}

/// What is new about a real.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub key: Key,
    /// How it stands now.
    pub standing: Standing,
}

/// The newest result of each check of a real, in the order of its checks.
pub type Last = Vec<Latest>;

/// The newest result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The word for the kind of check.
    pub kind: &'static str,
    /// Nothing before the first.
    pub result: Option<Arc<Outcome>>,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it found.
    pub result: Result<Answer, Failure>,
    /// When it was over.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// A handle to the thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Checker(Arc<Shared>);

/// What the thread and the handle have in common. All locks are held for moments only.
#[derive(Debug, Default)]
struct Shared {
    orders: Mutex<Orders>,
    ordered: Notify,
    latest: Mutex<BTreeMap<Arc<Key>, Last>>,
    /// In microseconds.
    slip: AtomicU64,
    durations: Durations,
}

/// What the thread is to do next.
#[derive(Debug, Default)]
struct Orders {
    assignments: Option<Vec<Assignment>>,
    hints: BTreeSet<IpAddr>,
    stop: bool,
}

impl Checker {
    /// Starts the thread, where `prepare` is called first. What it finds goes to `findings`, for each real
    /// the newest only if nobody takes them.
    ///
    /// # Errors
    ///
    /// There is no thread to be had, or no timers.
    pub fn start(
        probe: impl Probe,
        findings: mpsc::Sender<Finding>,
        prepare: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (checker, task) = Self::new(probe, findings, flight::places());
        let run = move || {
            prepare();
            runtime.block_on(task.run());
        };
        thread::Builder::new().name("health".to_owned()).spawn(run)?;
        Ok(checker)
    }

    fn new<P: Probe>(probe: P, findings: mpsc::Sender<Finding>, places: usize) -> (Self, Task<P>) {
        let shared = Arc::new(Shared::default());
        (Self(shared.clone()), Task::new(probe, findings, places, shared))
    }

    /// These are to be checked, and no others. Whatever stays keeps its standing and its timers.
    pub fn set(&self, assignments: Vec<Assignment>) {
        self.order(|orders| orders.assignments = Some(assignments));
    }

    /// Something speaks against a real: its next checks come at once, but not more often than their
    /// fast interval.
    pub fn hint(&self, real: IpAddr) {
        self.order(|orders| {
            orders.hints.insert(real);
        });
    }

    /// The newest result of each check of a real; nothing for one that is not checked.
    #[must_use]
    pub fn last(&self, key: &Key) -> Option<Last> {
        lock(&self.0.latest).get(key).cloned()
    }

    /// How late a probe has begun at most, since this was asked last.
    #[must_use]
    pub fn slip(&self) -> Duration {
        Duration::from_micros(self.0.slip.swap(0, Ordering::Relaxed))
    }

    /// How long checks took.
    #[must_use]
    pub fn durations(&self) -> Durations {
        self.0.durations.clone()
    }

    fn order(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut lock(&self.0.orders));
        self.0.ordered.notify_one();
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.order(|orders| orders.stop = true);
    }
}

impl Shared {
    fn take_orders(&self) -> Orders {
        mem::take(&mut lock(&self.orders))
    }

    fn slipped(&self, slip: Duration) {
        let micros = u64::try_from(slip.as_micros()).unwrap_or(u64::MAX);
        self.slip.fetch_max(micros, Ordering::Relaxed);
    }
}

/// Nothing here is ever left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
