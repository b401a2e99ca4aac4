//! What happens to a pool in use.

use anyhow::{Context as _, Result};
use lb_user::model::Mac;

use super::stage::Stage;
use crate::{flood::Flooding, wait};

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What it is called.
    pub name: &'static str,
    /// How it is brought about; returns once it has taken effect.
    pub happens: fn(&mut Stage) -> Result<()>,
}

/// The events, in an order in which each finds what it needs.
pub struct Events;

impl Events {
    /// Nothing: whatever breaks then, the lab has broken.
    pub const NOTHING: Event = Event { name: "nothing", happens: |_| Ok(()) };
    /// All floods, and nothing else: what breaks then, they have broken by themselves.
    pub const FLOODS: Event = Event { name: "floods and no change", happens: floods };
    /// The two spare reals are added.
    pub const ADD: Event = Event { name: "2 reals are added", happens: add };
    /// All weights change.
    pub const WEIGH: Event = Event { name: "weights change", happens: weigh };
    /// Two reals are drained, and removed.
    pub const DRAIN: Event = Event { name: "2 reals are drained and removed", happens: drain };
    /// A configuration is applied that lacks a real, has another, and other weights.
    pub const APPLY: Event = Event { name: "a configuration is applied", happens: apply };
    /// The daemon is killed and started.
    pub const KILL: Event = Event { name: "lbd is killed and started", happens: kill };
    /// The daemon, and with it the program, is replaced.
    pub const UPGRADE: Event = Event { name: "the program is replaced", happens: upgrade };
    /// A real is lost and found, again and again.
    pub const FLAP: Event = Event { name: "a real flaps", happens: flap };
    /// A real has another network card.
    pub const MAC: Event = Event { name: "a real's MAC address changes", happens: mac };
    /// Changes under a flood of SYNs.
    pub const SYNS: Event =
        Event { name: "changes under SYNs", happens: |stage| flood(stage, Flooding::Syn) };
    /// Changes under a flood of ACKs.
    pub const ACKS: Event =
        Event { name: "changes under ACKs", happens: |stage| flood(stage, Flooding::Ack) };
    /// Changes under a flood of connections that seem to come about.
    pub const BOTH: Event = Event {
        name: "changes under SYNs with ACKs",
        happens: |stage| flood(stage, Flooding::SynThenAck),
    };
    /// A real dies and does not come back.
    pub const DEATH: Event = Event { name: "a real dies", happens: death };

    /// All of them.
    pub const ALL: [Event; 14] = [
        Self::NOTHING,
        Self::FLOODS,
        Self::ADD,
        Self::WEIGH,
        Self::DRAIN,
        Self::APPLY,
        Self::KILL,
        Self::UPGRADE,
        Self::FLAP,
        Self::SYNS,
        Self::ACKS,
        Self::BOTH,
        Self::MAC,
        Self::DEATH,
    ];
}

fn add(stage: &mut Stage) -> Result<()> {
    [9, 10].into_iter().try_for_each(|real| stage.add(real, 1))
}

/// Every weight becomes another.
fn weigh(stage: &mut Stage) -> Result<()> {
    reweigh(stage, 0)
}

fn reweigh(stage: &mut Stage, by: u16) -> Result<()> {
    for real in stage.reals() {
        stage.weigh(real, 1 + (u16::from(real) + by) % 3)?;
    }
    stage.settle()
}

/// What the clients have with the two goes on until they close it; then the drain is over. (For a time
/// after the change new flows of datagrams still go there, and are left again.)
fn drain(stage: &mut Stage) -> Result<()> {
    let leaving = [1, 2];
    leaving.into_iter().try_for_each(|real| stage.drain(real))?;
    stage.load().exercise()?;
    stage.renew()?;
    wait::until("the end of what the drained reals have", 2 * wait::PATIENCE, || {
        stage.leave(&leaving)?;
        stage.are_drained(&leaving)
    })?;
    leaving.into_iter().try_for_each(|real| stage.wait_for_drain(real))?;
    leaving.into_iter().try_for_each(|real| stage.remove(real))
}

fn apply(stage: &mut Stage) -> Result<()> {
    let reals = stage.reals().into_iter();
    let weights = reals.map(|real| (real, 1 + u16::from(real) % 2));
    let mut pool: std::collections::BTreeMap<_, _> = weights.collect();
    pool.pop_first().context("a real")?;
    pool.insert(1, 2);
    stage.apply(pool)
}

fn kill(stage: &mut Stage) -> Result<()> {
    stage.rack.daemon.kill9()?;
    stage.load().exercise()?;
    stage.renew()?;
    stage.rack.daemon.restart()?;
    stage.settle()
}

fn upgrade(stage: &mut Stage) -> Result<()> {
    stage.rack.daemon.restart()?;
    stage.settle()
}

fn flap(stage: &mut Stage) -> Result<()> {
    for _ in 0..stage.flaps() {
        stage.cut_off(5)?;
        stage.reconnect(5)?;
    }
    Ok(())
}

/// The change before the flood has slots tracked and flows noted, which the flood must not
/// displace; the one during it finds out.
fn flood(stage: &mut Stage, what: Flooding) -> Result<()> {
    reweigh(stage, 1)?;
    stage.renew()?;
    stage.flooded(what, |stage| {
        stage.load().exercise()?;
        reweigh(stage, 2)?;
        stage.load().exercise()
    })
}

fn floods(stage: &mut Stage) -> Result<()> {
    Flooding::ALL.into_iter().try_for_each(|what| {
        stage.flooded(what, |stage| {
            stage.load().exercise()?;
            stage.renew()
        })
    })
}

fn mac(stage: &mut Stage) -> Result<()> {
    stage.change_mac(6, Mac([2, 0, 0, 0, 7, 16]))
}

fn death(stage: &mut Stage) -> Result<()> {
    stage.cut_off(7)
}
