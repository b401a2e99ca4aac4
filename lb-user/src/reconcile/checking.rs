//! What is checked, and what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::Reconciler;
use crate::{
    api::types::CheckStatus,
    detour::{Detour, Detours},
    health::{
        Checked,
        checker::{Assignment, Checker, Durations, Finding, Key, Last, Latest, Standing},
    },
    model::{CheckVia, Initial, Real, RealState, Vip},
    probe::Target,
};

/// How long the first real of a VIP that passes waits for the others: with one alone in the ring, what comes
/// from now on would be its own for as long as UDP flows are honoured.
const TOGETHER: Duration = Duration::from_secs(1);

/// How late probes may begin without a word.
const LATE: Duration = Duration::from_millis(500);

/// The checks and their results.
pub struct Checking {
    checker: Checker,
    detours: Detours,
    /// What was asked for last, and the addresses it was given.
    wanted: BTreeMap<Detour, IpAddr>,
    stands_for: BTreeMap<Detour, Result<IpAddr, String>>,
    /// The kernel may have removed something of it.
    stale: bool,
    assigned: BTreeMap<Key, Assignment>,
    /// What was found, by VIP and real.
    found: BTreeMap<String, BTreeMap<IpAddr, Checked>>,
    /// The VIPs about which something was found since it was acted on.
    news: BTreeSet<String>,
    /// When the first real of a VIP that served nobody has passed; nothing once it waits no longer.
    begun: BTreeMap<String, Option<Instant>>,
}

impl Checking {
    /// Nothing is checked yet.
    #[must_use]
    pub fn new(checker: Checker, detours: Detours) -> Self {
        Self {
            checker,
            detours,
            wanted: BTreeMap::new(),
            stands_for: BTreeMap::new(),
            stale: false,
            assigned: BTreeMap::new(),
            found: BTreeMap::new(),
            news: BTreeSet::new(),
            begun: BTreeMap::new(),
        }
    }

    /// What was made in the kernel is to be looked at.
    pub(super) fn doubt(&mut self) {
        self.stale = true;
    }

    /// The VIPs about which something was found since this was asked last.
    pub(super) fn take_news(&mut self) -> BTreeSet<String> {
        mem::take(&mut self.news)
    }

    /// Says so if probes have begun late: this machine has too little to give.
    pub(super) fn tell_lateness(&self) {
        let slip = self.checker.slip();
        if slip > LATE {
            log::warn!("checks have begun up to {slip:?} late: the machine is too busy for them");
        }
    }

    /// Something speaks against a real.
    pub(super) fn hint(&self, real: IpAddr) {
        self.checker.hint(real);
    }

    /// The newest result of each of the VIP's checks of a real.
    pub(super) fn latest(&self, vip: &Vip, real: &Real) -> Last {
        let key = Key { vip: vip.name.clone(), real: real.address };
        self.checker.last(&key).unwrap_or_default()
    }

    /// How long checks took.
    pub(super) fn durations(&self) -> Durations {
        self.checker.durations()
    }

    /// How many addresses stand for a VIP at a real.
    pub(super) fn detours(&self) -> u64 {
        self.stands_for.values().filter(|made| made.is_ok()).count() as u64
    }

    fn found(&self, vip: &Vip, real: IpAddr) -> Option<&Checked> {
        self.found.get(&vip.name)?.get(&real)
    }

    /// Whether the first reals of a VIP that have passed wait for others, of which nothing is known yet.
    fn gathers(&self, vip: &Vip) -> bool {
        let is_open = |real: &Real| {
            matches!(self.found(vip, real.address), None | Some(Checked::Pending { .. }))
        };
        let waits = |real: &&Real| real.state == RealState::Active && is_open(real);
        let begun = self.begun.get(&vip.name).copied().flatten();
        begun.is_some_and(|begun| begun.elapsed() < TOGETHER)
            && vip.weighted().any(|real| waits(&real))
    }

    /// When the next VIP has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.begun.values().flatten().map(|begun| *begun + TOGETHER).min()
    }

    /// Forgets those that have waited long enough; to be called before what follows is decided.
    pub(super) fn end_waiting(&mut self) {
        for begun in self.begun.values_mut() {
            *begun = begun.filter(|begun| begun.elapsed() < TOGETHER);
        }
    }

    /// Nothing is to be left in the kernel.
    pub(super) async fn close(&mut self) {
        self.detours.close().await;
    }
}

impl Reconciler {
    /// What the checks of a real say. As long as they have not spoken it counts as it was known last.
    pub(super) fn checked(&self, vip: &Vip, real: &Real) -> Checked {
        if vip.checks.is_empty() || vip.sorry == Some(real.address) {
            return Checked::Nothing;
        }
        match self.checking.found(vip, real.address) {
            Some(Checked::Passed { .. }) if self.checking.gathers(vip) => {
                Checked::Pending { up: false }
            }
            Some(found) => found.clone(),
            None => Checked::Pending {
                up: self
                    .ledger
                    .passed(&vip.name, real.address)
                    .unwrap_or_else(|| counts_as_up(vip)),
            },
        }
    }

    /// Takes in what a check has found, without acting on it yet.
    pub fn find(&mut self, finding: Finding) {
        let Finding { key: Key { vip, real }, standing } = finding;
        let checked = match standing {
            Standing::Pending { up } => Checked::Pending { up },
            Standing::Up { summary } => Checked::Passed { summary },
            Standing::Down { reason } => Checked::Failed { reason },
        };
        if matches!(checked, Checked::Passed { .. }) && !self.ledger.serves(&vip) {
            self.checking.begun.entry(vip.clone()).or_insert_with(|| Some(Instant::now()));
        }
        match &checked {
            Checked::Passed { .. } => self.ledger.note_check(&vip, real, true),
            Checked::Failed { .. } => self.ledger.note_check(&vip, real, false),
            Checked::Nothing | Checked::Pending { .. } => {}
        }
        self.checking.news.insert(vip.clone());
        self.checking.found.entry(vip).or_default().insert(real, checked);
    }

    /// Begins what goes on beside the datapath: the checks, and the watch over the addresses.
    pub async fn begin(&mut self) {
        self.follow_checks().await;
        self.watch();
    }

    /// Has checked what the configuration says, by the ways that there are now.
    pub(super) async fn follow_checks(&mut self) {
        let wanted = self.wanted_detours();
        if mem::take(&mut self.checking.stale) || wanted != self.checking.wanted {
            self.checking.stands_for = self.checking.detours.set(&wanted).await;
            self.checking.wanted = wanted;
        }
        let assigned = self.assignments();
        if assigned != self.checking.assigned {
            for (vip, reals) in &mut self.checking.found {
                reals.retain(|real, _| {
                    assigned.contains_key(&Key { vip: vip.clone(), real: *real })
                });
            }
            let names: BTreeSet<&str> =
                self.config.model.vips.iter().map(|vip| vip.name.as_str()).collect();
            self.checking.begun.retain(|name, _| names.contains(name.as_str()));
            self.checking.checker.set(assigned.values().cloned().collect());
            self.checking.assigned = assigned;
        }
    }

    /// Every real whose checks go to the VIP.
    fn wanted_detours(&self) -> BTreeMap<Detour, IpAddr> {
        let vips = self.config.model.vips.iter().filter(|vip| !vip.checks.is_empty());
        let pairs = vips.flat_map(|vip| self.checked_reals(vip));
        let by_vip =
            pairs.filter(|(vip, _)| vip.checks.iter().any(|check| check.via == CheckVia::Vip));
        by_vip.filter_map(|(vip, real)| Some((self.detour(vip, &real)?, real.address))).collect()
    }

    /// The reals of a VIP that are checked: also those that have left and still have flows.
    fn checked_reals<'a>(&'a self, vip: &'a Vip) -> impl Iterator<Item = (&'a Vip, Real)> {
        let left = self.ledger.left(&vip.name).map(|(real, _)| real);
        let reals = vip.reals.iter().cloned().chain(left);
        reals.filter(|_| !vip.checks.is_empty()).map(move |real| (vip, real))
    }

    pub(super) fn detour(&self, vip: &Vip, real: &Real) -> Option<Detour> {
        let way = self.network.way(real).ok()?;
        let mac = self.network.reach(real).mac()?;
        Some(Detour { vip: vip.address, mac, interface: way.index })
    }

    /// The address that stands for the VIP at this real, or why there can be none; `None` as long as the way
    /// to it is not known.
    pub(super) fn stands_for(&self, vip: &Vip, real: &Real) -> Option<Result<IpAddr, String>> {
        let detour = self.detour(vip, real)?;
        self.checking.stands_for.get(&detour).cloned()
    }

    fn assignments(&self) -> BTreeMap<Key, Assignment> {
        let vips = self.config.model.vips.iter().filter(|vip| !vip.checks.is_empty());
        let pairs = vips.flat_map(|vip| self.checked_reals(vip));
        let assignments = pairs.map(|(vip, real)| self.assignment(vip, &real));
        assignments.map(|assignment| (assignment.key.clone(), assignment)).collect()
    }

    fn assignment(&self, vip: &Vip, real: &Real) -> Assignment {
        let target =
            |connect, address| Target { connect, address, real: real.address, vip: vip.address };
        let stands_for = self.stands_for(vip, real);
        let key = Key { vip: vip.name.clone(), real: real.address };
        // What was known when its checks began.
        let start = match self.checking.assigned.get(&key) {
            Some(before) => before.start,
            None => self.ledger.passed(&vip.name, real.address),
        };
        Assignment {
            key,
            checks: vip.checks.clone(),
            vip_target: stands_for
                .as_ref()
                .and_then(|made| made.as_ref().ok())
                .map(|address| target(*address, vip.address)),
            rip_target: target(real.address, real.address),
            unreachable: stands_for.and_then(Result::err),
            start,
        }
    }

    /// The newest results, as status shows them.
    pub(super) fn check_status(&self, vip: &Vip, real: &Real) -> Vec<CheckStatus> {
        self.checking.latest(vip, real).iter().map(told).collect()
    }
}

fn told(latest: &Latest) -> CheckStatus {
    let result = latest.result.as_ref().map(|outcome| &outcome.result);
    let (passed, detail, took) = match result {
        None => (None, "no result yet".to_owned(), None),
        Some(Ok(answer)) => (Some(true), answer.summary.clone(), Some(answer.took)),
        Some(Err(failure)) => (Some(false), failure.to_string(), None),
    };
    let took_ms = took.map(|took| (took.as_secs_f64() * 10_000.0).round() / 10.0);
    CheckStatus { kind: latest.kind.to_owned(), passed, detail, took_ms }
}

fn counts_as_up(vip: &Vip) -> bool {
    vip.checks.iter().all(|check| check.initial == Initial::Up)
}
