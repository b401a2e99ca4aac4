//! What each real is to do now: from the configuration, the network and the ledger.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use lb_common::RealWord;

use super::{Reconciler, find_real, now};
use crate::{
    api::request::Change,
    event::Happening,
    health::{self, Checked, Health, Reach, Verdict},
    ledger::Ledger,
    model::{Model, Real, RealState, Vip},
    plan::{Desired, DesiredReal, DesiredVip, Role},
};

impl Reconciler {
    /// The state that this configuration asks of the datapath, as the ledger stands.
    pub(super) fn desired(&self, model: &Model, ledger: &Ledger) -> Desired {
        let time = Timestamp::now();
        self.reached.begin();
        let vip = |vip: &Vip| self.desired_vip(vip, &self.look(vip), ledger, time);
        let vips = model.vips.iter().map(vip).collect();
        self.reached.end();
        self.desired_of(vips)
    }

    /// The state of which these are the VIPs.
    pub(super) fn desired_of(&self, vips: Vec<DesiredVip>) -> Desired {
        Desired { seed: self.seed.0, now: now(), vips }
    }

    /// The same as it was asked last, but for these VIPs.
    pub(super) fn desired_anew(&self, vips: &[DesiredVip]) -> Desired {
        let anew: HashMap<&str, &DesiredVip> =
            vips.iter().map(|vip| (vip.name.as_str(), vip)).collect();
        let time = Timestamp::now();
        let vip = |vip: &Vip| {
            let before = || self.state.block(&vip.name)?.planned.as_deref();
            match anew.get(vip.name.as_str()).copied().or_else(before) {
                Some(known) => known.clone(),
                None => self.desired_vip(vip, &self.look(vip), &self.ledger, time),
            }
        };
        self.desired_of(self.config.model.vips.iter().map(vip).collect())
    }

    fn desired_vip(
        &self,
        vip: &Vip,
        looks: &[Look],
        ledger: &Ledger,
        time: Timestamp,
    ) -> DesiredVip {
        let panics = Pool::of(vip, looks).panics(vip);
        let desired = |real: &Real, look: &Look| {
            let (reach, word) = &*look.reached;
            let serves = look.is_up(real) || panics && reach.is_open();
            let role = match ledger.role(vip, real, serves, time) {
                Role::Active { .. } if !vip.enabled => Role::Draining,
                role => role,
            };
            DesiredReal { address: real.address, weight: real.weight, word: *word, role }
        };
        let mut looks = looks.iter();
        let local = self.network.is_local(vip.address);
        let vip_desired = DesiredVip::new(vip, local, |real| match looks.next() {
            Some(look) => desired(real, look),
            // The sorry server comes last.
            None => desired(real, &self.look_at(vip, real)),
        });
        let left = ledger.left(&vip.name);
        let leaving = left.map(|(left, _)| desired(&left, &self.look_at(vip, &left))).collect();
        DesiredVip { leaving, ..vip_desired }
    }

    /// The reals of a VIP as they are now.
    pub(super) fn look(&self, vip: &Vip) -> Vec<Look> {
        vip.reals.iter().map(|real| self.look_at(vip, real)).collect()
    }

    pub(super) fn look_at(&self, vip: &Vip, real: &Real) -> Look {
        Look { reached: self.reach(real), checked: self.checked(vip, real) }
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
        let reachable = self.look_at(vip, real).is_up(real);
        self.ledger.role(vip, real, reachable, Timestamp::now())
    }

    /// The verdict on a real as things are.
    pub(super) fn verdict(&self, vip: &Vip, real: &Real) -> Verdict {
        self.look_at(vip, real).verdict(real)
    }

    /// How the pool of a VIP stands.
    pub(super) fn pool(&self, vip: &Vip) -> Pool {
        Pool::of(vip, &self.look(vip))
    }

    /// Notes since when each real of the VIPs concerned is as it is. What of that has changed is to be told, and
    /// what these VIPs shall be in the datapath.
    pub(super) fn judge(
        &mut self,
        concerned: impl Fn(&Vip) -> bool,
    ) -> (Vec<Happening>, Vec<DesiredVip>) {
        let time = Timestamp::now();
        let (mut news, mut desired) = (Vec::new(), Vec::new());
        self.reached.begin();
        for vip in self.config.model.vips.iter().filter(|vip| concerned(vip)) {
            let looks = self.look(vip);
            for (real, look) in vip.reals.iter().zip(&looks) {
                let verdict = look.verdict(real);
                if let Some((before, verdict)) = self.ledger.know(vip, real, verdict, time) {
                    match transition(vip, real, before, verdict) {
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
            let pool = Pool::of(vip, &looks);
            self.ledger.count(vip, pool.up, pool.wanted);
            desired.push(self.desired_vip(vip, &looks, &self.ledger, time));
        }
        self.reached.end();
        (news, desired)
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
    pub(super) fn stand(&mut self, concerned: impl Fn(&Vip) -> bool) -> Vec<Happening> {
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
        self.standing_of(vip, self.pool(vip))
    }

    /// The same with this pool.
    pub(super) fn standing_of(&self, vip: &Vip, pool: Pool) -> Standing {
        let serves = match self.shortage_of(vip, pool) {
            _ if !vip.enabled => Standing::new("down", "disabled by the operator".to_owned()),
            Some(reason) => Standing::new("down", reason),
            None => pool.standing(vip),
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
        self.shortage_of(vip, self.pool(vip))
    }

    fn shortage_of(&self, vip: &Vip, Pool { wanted, up }: Pool) -> Option<String> {
        let marks = vip.min_up.filter(|_| self.ledger.is_below(&vip.name))?;
        let (low, high) = (marks.low, marks.high);
        Some(format!(
            "{up} of {wanted} active reals are up, min_up is {low}: not announced until there are {}",
            high.of(wanted)
        ))
    }
}

/// How a real of a VIP is reached, and what its checks say.
pub(super) struct Look {
    reached: Arc<(Reach, RealWord)>,
    checked: Checked,
}

impl Look {
    /// The health that the verdict has.
    pub(super) fn health(&self, real: &Real) -> Health {
        health::health(real, &self.reached.0, &self.checked)
    }

    fn verdict(&self, real: &Real) -> Verdict {
        health::judge(real, &self.reached.0, self.checked.clone())
    }

    /// Whether the verdict is another than that it is down.
    fn is_up(&self, real: &Real) -> bool {
        health::is_up(real, &self.reached.0, &self.checked)
    }
}

/// How the pool of a VIP stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// The active reals with a weight.
    pub(super) wanted: usize,
    /// Those of them that are usable.
    pub(super) up: usize,
}

impl Pool {
    /// That of this VIP, whose reals are so.
    pub(super) fn of(vip: &Vip, looks: &[Look]) -> Self {
        let reals = vip.reals.iter().zip(looks);
        let wanted = reals.filter(|(real, _)| real.weight > 0 && real.state == RealState::Active);
        let count = |pool: Self, (real, look): (&Real, &Look)| Self {
            wanted: pool.wanted + 1,
            up: pool.up + usize::from(look.is_up(real)),
        };
        wanted.fold(Self { wanted: 0, up: 0 }, count)
    }

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
        reason: verdict.reason.clone().into_owned(),
    })
}
