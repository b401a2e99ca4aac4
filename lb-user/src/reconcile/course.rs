//! What each real is to do now: from the configuration, the network and the ledger.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use jiff::Timestamp;

use super::{Reconciler, find_real, now};
use crate::{
    api::request::Change,
    event::Happening,
    health::{self, Health, Verdict},
    ledger::Ledger,
    model::{Model, Real, RealState, Vip},
    plan::{Desired, DesiredReal, DesiredVip, Role},
};

impl Reconciler {
    /// The state that this configuration asks of the datapath, as the ledger stands.
    pub(super) fn desired(&self, model: &Model, ledger: &Ledger) -> Desired {
        let time = Timestamp::now();
        self.reached.begin();
        let vips = model.vips.iter().map(|vip| self.desired_vip(vip, ledger, time)).collect();
        self.reached.end();
        Desired { seed: self.seed.0, now: now(), vips }
    }

    /// The same as it was asked last, but for these VIPs.
    pub(super) fn desired_anew(&self, names: &BTreeSet<String>) -> Desired {
        let time = Timestamp::now();
        let vip = |vip: &Vip| {
            let block = || self.state.block(&vip.name);
            let before = (!names.contains(&vip.name)).then(block).flatten();
            match before.and_then(|block| block.planned.as_deref()) {
                Some(before) => before.clone(),
                None => self.desired_vip(vip, &self.ledger, time),
            }
        };
        let vips = self.config.model.vips.iter().map(vip).collect();
        Desired { seed: self.seed.0, now: now(), vips }
    }

    fn desired_vip(&self, vip: &Vip, ledger: &Ledger, time: Timestamp) -> DesiredVip {
        let panics = self.pool(vip).panics(vip);
        let real = |real: &Real| {
            let (reach, word) = self.reach(real);
            let forgiven = panics && reach.is_open();
            let verdict = health::judge(real, &reach, self.checked(vip, real));
            let serves = verdict.health != Health::Down || forgiven;
            let role = match ledger.role(vip, real, serves, time) {
                Role::Active { .. } if !vip.enabled => Role::Draining,
                role => role,
            };
            DesiredReal { address: real.address, weight: real.weight, word, role }
        };
        let local = self.network.is_local(vip.address);
        let desired = DesiredVip::new(vip, local, real);
        let leaving = ledger.left(&vip.name).map(|(left, _)| real(&left)).collect();
        DesiredVip { leaving, ..desired }
    }

    /// The ledger as it would be with this configuration: whoever is in a pool and not in it leaves,
    /// at once or with its flows as the change says.
    pub(super) fn turned(&self, model: &Model, change: Option<&Change>) -> Ledger {
        let time = Timestamp::now();
        let mut ledger = self.ledger.clone();
        let vips = self.config.model.vips.iter();
        let before: HashMap<&str, &Vip> = vips.map(|vip| (vip.name.as_str(), vip)).collect();
        for vip in &model.vips {
            for real in self.strangers(vip, before.get(vip.name.as_str()).copied()) {
                let at_once = matches!(change, Some(Change::RemoveReal(name, address, true))
                    if *name == vip.name && *address == real.address);
                let lasts = (!at_once).then_some(vip.drain_timeout);
                ledger.depart(&vip.name, &real, lasts, time);
            }
        }
        ledger.follow(model, time);
        if let Some(Change::SetReal(name, address, patch)) = change
            && let Ok(Some(lasts)) = patch.drain_timeout()
        {
            ledger.set_deadline(name, *address, lasts, time);
        }
        ledger
    }

    /// Who has a place in the VIP's pool without being in this configuration of it, as it was before.
    fn strangers(&self, vip: &Vip, before: Option<&Vip>) -> Vec<Real> {
        let Some(block) = self.state.block(&vip.name) else {
            return Vec::new();
        };
        let wanted: BTreeSet<IpAddr> =
            vip.reals.iter().map(|real| real.address).chain(vip.sorry).collect();
        let strangers = block.members.keys().filter(|address| !wanted.contains(address));
        strangers
            .map(|address| match before {
                Some(before) => find_real(before, *address),
                None => Real::plain(*address),
            })
            .collect()
    }

    /// What a real does now.
    pub(super) fn role(&self, vip: &Vip, real: &Real) -> Role {
        let reachable = self.verdict(vip, real).health != Health::Down;
        self.ledger.role(vip, real, reachable, Timestamp::now())
    }

    /// The verdict on a real as things are.
    pub(super) fn verdict(&self, vip: &Vip, real: &Real) -> Verdict {
        health::judge(real, &self.reach(real).0, self.checked(vip, real))
    }

    /// How the pool of a VIP stands.
    pub(super) fn pool(&self, vip: &Vip) -> Pool {
        let wanted = || vip.weighted().filter(|real| real.state == RealState::Active);
        let is_up =
            |real: &&Real| health::is_usable(real, &self.reach(real).0, &self.checked(vip, real));
        Pool { wanted: wanted().count(), up: wanted().filter(is_up).count() }
    }

    /// Notes how the reals of these VIPs are, and how the VIPs stand; what has changed is to be told.
    pub(super) fn judge_only(&mut self, names: &BTreeSet<String>) -> Vec<Happening> {
        let mut news = self.judge_reals(|vip| names.contains(&vip.name));
        news.extend(self.stand(|vip| names.contains(&vip.name)));
        news
    }

    /// Notes since when each real of the VIPs concerned is as it is; what has changed is to be told.
    pub(super) fn judge_reals(&mut self, concerned: impl Fn(&Vip) -> bool) -> Vec<Happening> {
        let time = Timestamp::now();
        let mut news = Vec::new();
        self.reached.begin();
        for vip in self.config.model.vips.iter().filter(|vip| concerned(vip)) {
            for real in &vip.reals {
                let verdict = self.verdict(vip, real);
                if let Some(before) = self.ledger.know(vip, real, verdict.clone(), time) {
                    match transition(vip, real, before, &verdict) {
                        Some(what) => news.push(what),
                        None => {
                            let (vip, real, reason) = (&vip.name, real.address, &verdict.reason);
                            log::debug!(
                                "vip {vip} real {real}: still {}: {reason}",
                                verdict.health.label()
                            );
                        }
                    }
                }
            }
            let pool = self.pool(vip);
            self.ledger.count(vip, pool.up, pool.wanted);
        }
        self.reached.end();
        news
    }

    /// Notes how the VIPs stand; which of them are in another state than before is to be told.
    pub(super) fn judge_vips(&mut self) -> Vec<Happening> {
        let news = self.stand(|_| true);
        let vips = &self.config.model.vips;
        // All that are there stand there now.
        if self.standings.len() != vips.len() {
            let names: BTreeSet<&str> = vips.iter().map(|vip| vip.name.as_str()).collect();
            self.standings.retain(|name, _| names.contains(name.as_str()));
        }
        news
    }

    /// The same of these VIPs only.
    fn stand(&mut self, concerned: impl Fn(&Vip) -> bool) -> Vec<Happening> {
        self.reached.begin();
        let vips = self.config.model.vips.iter().filter(|vip| concerned(vip));
        let now = vips.map(|vip| (&vip.name, self.standing(vip)));
        let changed = now.filter(|(name, now)| self.standings.get(*name) != Some(now));
        let mut changed: Vec<_> = changed.map(|(name, now)| (name.clone(), now)).collect();
        self.reached.end();
        // Told in the order of their names.
        changed.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut news = Vec::new();
        for (vip, now) in changed {
            let before = self.standings.insert(vip.clone(), now.clone()).map(|before| before.state);
            if before != Some(now.state) {
                let (from, to) = (before.map(str::to_owned), now.state.to_owned());
                news.push(Happening::Vip { vip, from, to, reason: now.reason });
            }
        }
        news
    }

    /// The VIP's state, and why it is so.
    pub(super) fn standing(&self, vip: &Vip) -> Standing {
        let serves = match self.shortage(vip) {
            _ if !vip.enabled => Standing::new("down", "disabled by the operator".to_owned()),
            Some(reason) => Standing::new("down", reason),
            None => self.pool(vip).standing(vip),
        };
        let address = vip.address;
        let conflict = self.announcing.conflict(address);
        let doubt = match (conflict, self.network.is_local(address), self.watching.thief(address)) {
            (Some(mac), false, _) => {
                Standing::new("down", format!("not announced: {mac} answers for {address} already"))
            }
            (Some(mac), true, _) => Standing::new(
                "degraded",
                format!("not announced on all interfaces: {mac} answers for {address} on one"),
            ),
            (None, _, Some(who)) => {
                Standing::new("degraded", format!("stolen: {who} answers for {address}, too"))
            }
            (None, _, None) => return serves,
        };
        if serves.state == "down" { serves } else { doubt }
    }

    /// What a VIP has too few of, if so: it is not to be found by routers then.
    pub(super) fn shortage(&self, vip: &Vip) -> Option<String> {
        let marks = vip.min_up.filter(|_| self.ledger.is_below(&vip.name))?;
        let Pool { wanted, up } = self.pool(vip);
        let (low, high) = (marks.low, marks.high);
        Some(format!(
            "{up} of {wanted} active reals are up, min_up is {low}: not announced until there are {}",
            high.of(wanted)
        ))
    }
}

/// How the pool of a VIP stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// The active reals with a weight.
    wanted: usize,
    /// Those of them that are usable.
    up: usize,
}

impl Pool {
    /// Whether so few are up that the checks are to be doubted rather than the reals.
    fn panics(self, vip: &Vip) -> bool {
        let Self { wanted, up } = self;
        vip.panic_threshold.is_some_and(|share| up * 100 < wanted * usize::from(share))
    }

    fn standing(self, vip: &Vip) -> Standing {
        let Self { wanted, up } = self;
        match up {
            0 if wanted == 0 => Standing::new(
                "down",
                "no active real: `lbctl real add` or `real enable`".to_owned(),
            ),
            _ if self.panics(vip) => Standing::new(
                "degraded",
                format!(
                    "{up} of {wanted} active reals are usable, fewer than panic_threshold: all that can be \
                     reached are used"
                ),
            ),
            0 => Standing::new("down", format!("none of {wanted} active reals is usable")),
            _ if up < wanted => {
                Standing::new("degraded", format!("{up} of {wanted} active reals are usable"))
            }
            _ => Standing::new("up", String::new()),
        }
    }
}

/// The state of a VIP, and why it is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// `up`, `degraded` or `down`.
    pub(super) state: &'static str,
    /// Empty when all is well.
    pub(super) reason: String,
}

impl Standing {
    fn new(state: &'static str, reason: String) -> Self {
        Self { state, reason }
    }
}

/// What is told of a verdict: another health than before. What counts as down since nothing is known of it
/// yet is no news; that it is down indeed is.
fn transition(
    vip: &Vip,
    real: &Real,
    before: Option<Verdict>,
    verdict: &Verdict,
) -> Option<Happening> {
    let is_news = match &before {
        None => verdict.known,
        Some(before) if before.health == verdict.health => {
            !before.known && verdict.known && verdict.health == Health::Down
        }
        Some(_) => true,
    };
    is_news.then(|| Happening::Health {
        vip: vip.name.clone(),
        real: real.address,
        from: before.map(|before| before.health.label().to_owned()),
        to: verdict.health.label().to_owned(),
        reason: verdict.reason.clone(),
    })
}
