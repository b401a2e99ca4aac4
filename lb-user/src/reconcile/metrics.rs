//! What a scrape is told of the state: collected here in one go, and put into words elsewhere.

use std::{fs, hash::Hasher as _, time::Instant};

use lb_common::{Counters, Outcome, limits};
use lb_ebpf::tables::Notes;
use siphasher::sip::SipHasher13;

use super::{
    Reconciler,
    course::{Look, Pool},
    status::{steered_by, steered_in_all},
};
use crate::{
    api::request::Refusal,
    dataplane::{self, Port},
    health::Reach,
    ledger::Course,
    metrics::{Check, Config, Fill, Interface, Program, Real, Snapshot, Vip},
    model::{self, Announce, RealState},
    plan::{Block, Role},
};

/// Where the kernel says whether it measures programs.
const MEASURES: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Reconciler {
    /// Everything that is counted.
    pub(super) fn metrics(&self) -> Result<Snapshot, Refusal> {
        let began = Instant::now();
        self.reached.begin();
        let collected = self.collect();
        self.reached.end();
        let collected = collected.map(|snapshot| Snapshot { took: began.elapsed(), ..snapshot });
        collected.map_err(|error| Refusal::failed(error.to_string()))
    }

    fn collect(&self) -> Result<Snapshot, dataplane::Error> {
        let steered = self.kernel.steered_to(0, self.kernel.room().places)?;
        let vips = self.config.model.vips.iter();
        let vips = vips.filter_map(|vip| {
            let block = self.state.block(&vip.name)?;
            Some(self.vip_metrics(vip, block, &steered))
        });
        Ok(Snapshot {
            vips: vips.collect(),
            outcomes: self.outcome_metrics(&steered)?,
            interfaces: self.interface_metrics(),
            programs: self.program_metrics(),
            tables: self.table_metrics(),
            full: self.sweeper.is_full(),
            neighbours: self.neighbour_metrics(),
            announced: self.announcing.counts(self.network.interfaces.configured()),
            checks: self.checking.durations(),
            tally: self.tally.clone(),
            config: Config {
                hash: hash(&self.config.text),
                vips: self.config.model.vips.len() as u64,
            },
            took: Default::default(),
        })
    }

    fn outcome_metrics(
        &self,
        steered: &[Counters],
    ) -> Result<Vec<(Outcome, u64)>, dataplane::Error> {
        let frames = |outcome: Outcome| match outcome {
            // As the kernel's tables have it, without reading them again.
            Outcome::Forwarded => {
                let now: u64 = steered.iter().map(|counters| counters.packets).sum();
                Ok(self.kernel.forwarded_before()? + now)
            }
            _ => self.kernel.outcome(outcome),
        };
        Outcome::ALL.iter().map(|outcome| Ok((*outcome, frames(*outcome)?))).collect()
    }

    fn vip_metrics(&self, vip: &model::Vip, block: &Block, steered: &[Counters]) -> Vip {
        let steered = &steered[block.pool as usize..(block.pool + block.places) as usize];
        let mut looks = self.look(vip);
        let pool = Pool::of(vip, &looks);
        let left = self.ledger.left(&vip.name).map(|(real, _)| real);
        let left: Vec<model::Real> =
            left.filter(|real| self.role(vip, real) != Role::Out).collect();
        looks.extend(left.iter().map(|real| self.look_at(vip, real)));
        let reals = vip.reals.iter().chain(&left).zip(&looks);
        let reals = reals.map(|(real, look)| self.real_metrics(vip, real, look, block, steered));
        let sorry = |address| (address, steered_by(block.members.get(&address), steered));
        Vip {
            name: vip.name.clone(),
            address: vip.address,
            ports: vip.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            state: self.standing_of(vip, pool).state,
            enabled: vip.enabled,
            announced: (vip.announce == Announce::Arp).then(|| self.network.is_local(vip.address)),
            stolen: self.announcing.conflict(vip.address).is_some()
                || self.watching.thief(vip.address).is_some(),
            active: pool.wanted as u64,
            usable: pool.up as u64,
            slots: block.ring_len(),
            tracked: block.tracked(),
            steered: steered_in_all(block, steered),
            sorry: vip.sorry.map(sorry),
            checks: vip.checks.iter().map(|check| (check.kind.word(), check.timeout)).collect(),
            reals: reals.collect(),
        }
    }

    fn real_metrics(
        &self,
        vip: &model::Vip,
        real: &model::Real,
        look: &Look,
        block: &Block,
        steered: &[Counters],
    ) -> Real {
        let occupant = block.members.get(&real.address);
        let member = occupant.map(|occupant| occupant.member);
        let owned = member.map_or(0, |member| block.owned(member));
        let course = self.ledger.course(&vip.name, real.address);
        let census = self.sweeper.census();
        Real {
            address: real.address,
            interface: self.network.device(real),
            state: match (course, real.state) {
                (Some(Course { left: Some(_), .. }), _) => "removed",
                (_, RealState::Active) => "active",
                (_, RealState::Drain) => "drain",
                (_, RealState::Disabled) => "disabled",
            },
            health: look.health(real).label(),
            forced: real.force_up,
            weight: real.weight,
            share: f64::from(owned) / f64::from(block.ring_len().max(1)),
            steered: steered_by(occupant, steered),
            previous: member.map_or(0, |member| block.holds(member)),
            noted: member.map_or(0, |member| census.flows(block.ring, member)),
            since: course.and_then(|course| course.known.as_ref()).map(|known| known.since),
            drain: course
                .and_then(|course| course.drain.as_ref())
                .map(|drain| (drain.since, drain.deadline)),
            checks: self.check_metrics(vip, real),
        }
    }

    fn check_metrics(&self, vip: &model::Vip, real: &model::Real) -> Vec<Option<Check>> {
        if vip.checks.is_empty() {
            return Vec::new();
        }
        let latest = self.checking.latest(vip, real);
        let result = |latest: &crate::health::checker::Latest| {
            let outcome = latest.result.as_ref()?;
            let took = outcome.result.as_ref().map_or(outcome.took, |answer| answer.took);
            Some(Check { kind: latest.kind, passed: outcome.result.is_ok(), took })
        };
        latest.iter().map(result).collect()
    }

    fn interface_metrics(&self) -> Vec<Interface> {
        let interface = |name: &String| Interface {
            name: name.clone(),
            up: self.network.interfaces.state(name) == "up",
            xdp: self.xdp_on(name),
        };
        self.network.interfaces.configured().iter().map(interface).collect()
    }

    /// What the kernel has measured of the programs that are attached. Where it does not measure there is nothing,
    /// also if it once did.
    fn program_metrics(&self) -> Vec<Program> {
        if fs::read_to_string(MEASURES).is_ok_and(|word| word.trim() == "0") {
            return Vec::new();
        }
        let attached = self.network.interfaces.configured().iter();
        let attached = attached.filter(|name| self.mode_on(name).is_some());
        let program = |interface: &String| {
            let (runs, time) = self.kernel.runs(self.ports.number(&Port::of(interface))?)?;
            Some(Program { interface: interface.clone(), runs, time })
        };
        attached.filter_map(program).collect()
    }

    fn table_metrics(&self) -> Vec<Fill> {
        let notes = [
            ("pinned_flows", Notes::Pinned),
            ("fresh_flows", Notes::Fresh),
            ("datagram_flows", Notes::Datagrams),
        ];
        let flows = notes.into_iter().zip(self.sweeper.census().noted());
        let flows = flows.map(|((table, notes), used)| Fill {
            table,
            used,
            size: self.kernel.notes(notes).size().into(),
        });
        let (room, blocks) = (self.kernel.room(), &self.state.blocks);
        let slots = blocks.iter().map(|block| u64::from(block.ring_len()));
        let places = blocks.iter().map(|block| u64::from(block.places));
        let fill = |table, used, size: u32| Fill { table, used, size: size.into() };
        let others = [
            fill("ring_slots", slots.sum(), room.slots),
            fill("places", places.sum(), room.places),
            fill("service_keys", self.state.entries.len() as u64, limits::SERVICE_KEYS),
            fill("detours", self.checking.detours(), limits::DETOURS),
        ];
        flows.chain(others).collect()
    }

    fn neighbour_metrics(&self) -> Vec<(&'static str, u64)> {
        let mut counts =
            ["static", "resolved", "inherited", "unresolved", "silent", "behind", "cut"]
                .map(|state| (state, 0));
        for real in self.servers() {
            let word = word(&self.reach(&real).0);
            counts
                .iter_mut()
                .filter(|(state, _)| *state == word)
                .for_each(|(_, count)| *count += 1);
        }
        counts.into()
    }
}

fn word(reach: &Reach) -> &'static str {
    match reach {
        Reach::Static(_) => "static",
        Reach::Resolved(_) => "resolved",
        Reach::Inherited(_) => "inherited",
        Reach::Unresolved => "unresolved",
        Reach::Silent(_) => "silent",
        Reach::Behind(_) => "behind",
        Reach::Cut(_) => "cut",
    }
}

/// 48 bits, which a float holds exactly. Two texts with the same are no danger: nothing is decided by it.
fn hash(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish() >> 16
}
