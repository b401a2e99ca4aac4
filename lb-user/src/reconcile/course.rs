//! What each real is to do now: from the configuration, the network and the ledger.

use std::{collections::BTreeSet, net::IpAddr};

use jiff::Timestamp;

use super::{Reconciler, find_real, now};
use crate::{
    api::request::Change,
    health::{self, Health, Verdict},
    ledger::Ledger,
    model::{Model, Real, Vip},
    plan::{Desired, DesiredReal, DesiredVip, Role},
};

impl Reconciler {
    /// The state that this configuration asks of the datapath, as the ledger stands.
    pub(super) fn desired(&self, model: &Model, ledger: &Ledger) -> Desired {
        let time = Timestamp::now();
        let vips = model.vips.iter().map(|vip| self.desired_vip(vip, ledger, time)).collect();
        Desired { seed: self.seed.0, now: now(), vips }
    }

    fn desired_vip(&self, vip: &Vip, ledger: &Ledger, time: Timestamp) -> DesiredVip {
        let real = |real: &Real| {
            let (reach, word) = self.reach(real);
            let verdict = health::judge(real, reach, vip.checks.first());
            let role = ledger.role(vip, real, verdict.health != Health::Down, time);
            DesiredReal { address: real.address, weight: real.weight, word, role }
        };
        let local = self.network.is_local(vip.address);
        let desired = DesiredVip::new(vip, local, |address, _| real(&find_real(vip, address)));
        let leaving = ledger.left(&vip.name).map(|(left, _)| real(&left)).collect();
        DesiredVip { leaving, ..desired }
    }

    /// The ledger as it would be with this configuration: whoever is in a pool and not in it leaves,
    /// at once or with its flows as the change says.
    pub(super) fn turned(&self, model: &Model, change: Option<&Change>) -> Ledger {
        let time = Timestamp::now();
        let mut ledger = self.ledger.clone();
        for vip in &model.vips {
            for real in self.strangers(vip) {
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

    /// Who has a place in the VIP's pool without being in this configuration of it.
    fn strangers(&self, vip: &Vip) -> Vec<Real> {
        let Some(block) = self.state.block(&vip.name) else {
            return Vec::new();
        };
        let wanted: BTreeSet<IpAddr> =
            vip.reals.iter().map(|real| real.address).chain(vip.sorry).collect();
        let before = self.config.model.vips.iter().find(|before| before.name == vip.name);
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
        health::judge(real, self.reach(real).0, vip.checks.first())
    }

    /// Notes since when each real is as it is, and says what has changed.
    pub(super) fn judge(&mut self) {
        let time = Timestamp::now();
        for vip in &self.config.model.vips {
            for real in &vip.reals {
                let verdict = self.verdict(vip, real);
                if self.ledger.know(vip, real, verdict.clone(), time) {
                    report(vip, real, &verdict);
                }
            }
        }
    }
}

fn report(vip: &Vip, real: &Real, verdict: &Verdict) {
    let level = match verdict.health {
        Health::Down => log::Level::Warn,
        Health::Unknown => log::Level::Info,
    };
    let (health, reason) = (verdict.health.label(), &verdict.reason);
    log::log!(level, "vip {} real {}: {health}: {reason}", vip.name, real.address);
}
