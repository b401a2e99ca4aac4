//! What `GET /v1/status` says.

use std::iter;

use humantime::format_duration;
use jiff::Timestamp;
use lb_common::{Counters, Outcome};

use super::{Reconciler, course::Standing};
use crate::{
    api::{
        self,
        request::Refusal,
        types::{
            CheckStatus, DrainStatus, InterfaceStatus, NodeStatus, RealStatus, SlowStartStatus,
            Status, VipStatus,
        },
    },
    dataplane,
    ledger::Course,
    maglev::WHOLE,
    model::{Announce, Real, RealState, Vip},
    plan::{Block, Occupant, Role},
};

impl Reconciler {
    /// Everything that can be seen.
    pub(super) fn status(&self) -> Result<Status, Refusal> {
        self.reached.begin();
        let read = || -> Result<Status, dataplane::Error> {
            let mut vips = Vec::with_capacity(self.config.model.vips.len());
            for vip in &self.config.model.vips {
                vips.extend(
                    self.state
                        .block(&vip.name)
                        .map(|block| self.vip_status(vip, block))
                        .transpose()?,
                );
            }
            Ok(Status { node: self.node_status(), vips, outcomes: self.outcomes()? })
        };
        let status = read();
        self.reached.end();
        status.map_err(|error| Refusal::failed(error.to_string()))
    }

    fn node_status(&self) -> NodeStatus {
        let interfaces = self.network.interfaces.configured().iter();
        NodeStatus {
            version: api::VERSION.to_owned(),
            seed_id: self.seed.id(),
            daemon: "running".to_owned(),
            interfaces: interfaces.map(|name| self.interface_status(name)).collect(),
        }
    }

    fn interface_status(&self, name: &str) -> InterfaceStatus {
        let found = self.network.interfaces.find(name);
        InterfaceStatus {
            name: name.to_owned(),
            xdp: self.xdp_on(name).to_owned(),
            mac: found.and_then(|(_, link)| link.mac).map(|mac| mac.to_string()),
            state: self.network.interfaces.state(name).to_owned(),
        }
    }

    /// How XDP is attached to a configured interface.
    pub(super) fn xdp_on(&self, name: &str) -> &'static str {
        match (self.network.interfaces.find(name), self.mode_on(name)) {
            (None, _) => "missing",
            (Some(_), None) => "detached",
            (Some(_), Some(mode)) => mode.label(),
        }
    }

    fn outcomes(&self) -> Result<serde_json::Map<String, serde_json::Value>, dataplane::Error> {
        Outcome::ALL
            .iter()
            .map(|outcome| Ok((outcome.label().to_owned(), self.kernel.outcome(*outcome)?.into())))
            .collect()
    }

    fn vip_status(&self, vip: &Vip, block: &Block) -> Result<VipStatus, dataplane::Error> {
        // Those that have left are seen as long as they keep flows.
        let left = self.ledger.left(&vip.name).map(|(real, _)| real);
        let left: Vec<Real> = left.filter(|real| self.role(vip, real) != Role::Out).collect();
        let steered = self.kernel.steered_to(block.pool, block.places)?;
        let reals: Vec<RealStatus> = vip
            .reals
            .iter()
            .chain(&left)
            .map(|real| self.real_status(vip, real, block, &steered))
            .collect();
        let total = steered_in_all(block, &steered);
        let Standing { state, reason } = self.standing(vip);
        Ok(VipStatus {
            name: vip.name.clone(),
            address: vip.address,
            ports: vip.ports.iter().map(ToString::to_string).collect(),
            state: state.to_owned(),
            reason,
            announce: vip.announce.to_string(),
            hash: vip.hash.to_string(),
            idle_timeout: format_duration(vip.idle_timeout).to_string(),
            drain_timeout: format_duration(vip.drain_timeout).to_string(),
            on_deadline: vip.on_deadline.to_string(),
            udp_idle_timeout: format_duration(vip.udp_idle_timeout).to_string(),
            udp: vip.udp.to_string(),
            slow_start: vip.slow_start.map(|time| format_duration(time).to_string()),
            announced: vip.announce == Announce::Arp && self.network.is_local(vip.address),
            ring: block.ring_len(),
            tracked_slots: block.tracked(),
            packets: total.packets,
            bytes: total.bytes,
            flows: total.flows,
            sorry: vip.sorry,
            wanted: vip.state().to_string(),
            min_up: vip.min_up.map(|marks| marks.low.to_string()),
            min_up_high: vip.min_up.map(|marks| marks.high.to_string()),
            panic_threshold: vip.panic_threshold.map(|share| format!("{share}%")),
            checks: vip.checks.iter().map(ToString::to_string).collect(),
            reals,
        })
    }

    fn real_status(
        &self,
        vip: &Vip,
        real: &Real,
        block: &Block,
        steered: &[Counters],
    ) -> RealStatus {
        let occupant = block.members.get(&real.address);
        let counters = steered_by(occupant, steered);
        let owned = occupant.map_or(0, |occupant| block.owned(occupant.member));
        let course = self.ledger.course(&vip.name, real.address);
        let verdict = self.verdict(vip, real);
        let since = match course {
            Some(Course { left: Some(_), drain: Some(drain), .. }) => Some(drain.since),
            Some(Course { known: Some(known), .. }) => Some(known.since),
            _ => None,
        };
        let checks = self.check_status(vip, real);
        RealStatus {
            address: real.address,
            mac: self.network.reach(real).mac().map(|mac| mac.to_string()),
            interface: self.network.device(real),
            vlan: self.network.way(real).ok().and_then(|way| way.vlan),
            state: real.state.to_string(),
            health: verdict.health.label().to_owned(),
            reason: match course {
                Some(Course { left: Some(_), .. }) => format!("removed; {}", verdict.reason),
                _ => {
                    verdict.reason.into_owned()
                        + &took(&checks)
                        + &hindrance(verdict.known, &checks)
                }
            },
            since: since.unwrap_or_else(Timestamp::now),
            forced_up: real.force_up,
            checks,
            weight: real.weight,
            share: f64::from(owned) / f64::from(block.ring_len().max(1)),
            packets: counters.packets,
            bytes: counters.bytes,
            flows: counters.flows,
            drain: course.and_then(|course| self.drain_status(course, block, occupant)),
            slow_start: self.start_status(vip, real),
        }
    }

    fn drain_status(
        &self,
        course: &Course,
        block: &Block,
        occupant: Option<&Occupant>,
    ) -> Option<DrainStatus> {
        let drain = course.drain.as_ref()?;
        let census = self.sweeper.census();
        Some(DrainStatus {
            slots: occupant.map_or(0, |occupant| block.holds(occupant.member)),
            flows: occupant.map_or(0, |occupant| census.flows(block.ring, occupant.member)),
            deadline: drain.deadline,
            seconds_left: seconds_until(drain.deadline),
            removes: course.left.is_some(),
        })
    }

    fn start_status(&self, vip: &Vip, real: &Real) -> Option<SlowStartStatus> {
        let start = self.ledger.start(vip, real.address, Timestamp::now())?;
        (real.state == RealState::Active).then(|| SlowStartStatus {
            part: f64::from(start.part) / f64::from(WHOLE),
            seconds_left: seconds_until(start.end),
        })
    }
}

/// Why nothing is known of a real, where this machine cannot check it.
fn hindrance(known: bool, checks: &[CheckStatus]) -> String {
    let failed = checks.iter().find(|check| !known && check.passed == Some(false));
    failed.map_or_else(String::new, |check| format!("; {}: {}", check.kind, check.detail))
}

/// How long the slowest check took, if all have passed.
fn took(checks: &[CheckStatus]) -> String {
    let slowest = checks.iter().map(|check| check.took_ms).collect::<Option<Vec<f64>>>();
    let slowest = slowest.into_iter().flatten().reduce(f64::max);
    slowest.map_or_else(String::new, |slowest| format!(" in {slowest} ms"))
}

fn seconds_until(moment: Timestamp) -> u64 {
    moment.duration_since(Timestamp::now()).as_secs().max(0).unsigned_abs()
}

/// What was steered to a member of the pool.
pub(super) fn steered_by(occupant: Option<&Occupant>, pool: &[Counters]) -> Counters {
    let number = occupant.map(|occupant| usize::from(occupant.member.number()));
    number.and_then(|number| pool.get(number)).copied().unwrap_or_default()
}

/// What was steered to all who have a place in the VIP's pool: its own place, in which is what members that left have
/// counted, its reals, those that are leaving, and the sorry server. It never shrinks.
pub(super) fn steered_in_all(block: &Block, pool: &[Counters]) -> Counters {
    let members = block.members.values().map(|occupant| usize::from(occupant.member.number()));
    let mut total = Counters::default();
    for counters in iter::once(0).chain(members).filter_map(|number| pool.get(number)) {
        total.packets += counters.packets;
        total.bytes += counters.bytes;
        total.flows += counters.flows;
    }
    total
}
