//! One check of one real. Pure; time is an argument.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Assignment, Key, Latest, Outcome,
    flight::{Job, Landed},
    reason,
};
use crate::{
    health::record::Record,
    model::{Check, CheckVia},
    probe::{Failure, Target},
};

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) key: Arc<Key>,
    pub(super) check: Arc<Check>,
    /// When the next probe is due; nothing while one is under way, or there is no way.
    pub(super) due: Option<Instant>,
    /// Whether the next probe is to come as soon as may be.
    pub(super) hurry: bool,
    way: Way,
    record: Record,
    /// What the results have said that made the standing; nothing before they have.
    said: Option<String>,
    began: Option<Instant>,
    job: Option<u64>,
    last: Option<Arc<Outcome>>,
}

/// How a check gets to its real.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Straight to its own address.
    Own(Target),
    /// Via the VIP. If that fails its own address is asked too.
    Vip(Target, Target),
    /// Nobody knows yet.
    Open,
    /// In no way, for this reason.
    Cut(String),
}

impl Way {
    pub(super) fn new(check: &Check, assignment: &Assignment) -> Self {
        let Assignment { vip_target, rip_target, unreachable, .. } = assignment;
        match (check.via, unreachable, vip_target) {
            (CheckVia::Rip, ..) => Self::Own(rip_target.clone()),
            (CheckVia::Vip, Some(reason), _) => Self::Cut(reason.clone()),
            (CheckVia::Vip, None, Some(target)) => Self::Vip(target.clone(), rip_target.clone()),
            (CheckVia::Vip, None, None) => Self::Open,
        }
    }

    fn target(&self) -> Option<&Target> {
        match self {
            Self::Own(target) | Self::Vip(target, _) => Some(target),
            Self::Open | Self::Cut(_) => None,
        }
    }
}

impl Watch {
    /// `known` is what the real is known to be, if anything is.
    pub(super) fn new(key: Arc<Key>, check: Check, way: Way, known: Option<bool>) -> Self {
        let record = known.map_or_else(|| Record::new(check.initial), Record::believed);
        let (check, open) = (Arc::new(check), Way::Open);
        let (due, said, began, job, last) = Default::default();
        let mut watch =
            Self { key, check, due, hurry: false, way: open, record, said, began, job, last };
        watch.turn(way);
        watch
    }

    pub(super) fn up(&self) -> bool {
        self.record.up()
    }

    pub(super) fn known(&self) -> Option<bool> {
        self.record.known()
    }

    pub(super) fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    pub(super) fn job(&self) -> Option<u64> {
        self.job
    }

    pub(super) fn latest(&self) -> Latest {
        Latest { kind: self.check.kind.word(), result: self.last.clone() }
    }

    /// Another way from now on. Returns the job that goes the old one.
    pub(super) fn turn(&mut self, way: Way) -> Option<u64> {
        if let Way::Cut(_) = self.way {
            self.said = None;
        }
        if let Way::Cut(reason) = &way {
            self.record = Record::believed(false);
            self.said = Some(reason.clone());
            // It was found on a way that is no more.
            self.last = None;
        }
        self.way = way;
        self.job.take()
    }

    /// When it may be probed at the soonest, if at all, where others come first for so long. One that
    /// has been probed all along is not held up by them.
    pub(super) fn soonest(&self, now: Instant, wait: Duration) -> Option<Instant> {
        self.way.target()?;
        let turn = now + wait;
        let Some(began) = self.began else { return Some(turn) };
        let (soonest, usual) = (began + self.check.fast_interval, began + self.check.interval);
        let due = soonest.max(turn);
        Some(if usual > now { due.min(usual) } else { due })
    }

    /// The job that probes it now.
    pub(super) fn launch(&mut self, watch: u64, number: u64, now: Instant) -> Option<Job> {
        let target = self.way.target()?.clone();
        let own = match &self.way {
            Way::Vip(_, own) if self.record.at_stake(&self.check) => Some(own.clone()),
            _ => None,
        };
        (self.began, self.job, self.hurry) = (Some(now), Some(number), false);
        Some(Job { number, watch, check: self.check.clone(), target, own })
    }

    /// Takes note of what came of the job under way. Says whether there is news in it, and when the
    /// next probe is due.
    pub(super) fn land(&mut self, landed: &Landed, now: Instant, jitter: f64) -> (bool, Instant) {
        let began = self.began.unwrap_or(now);
        self.job = None;
        let result = landed.result.clone();
        self.last = Some(Arc::new(Outcome { result, at: now, took: now - began }));
        let next = |watch: &Self| watch.record.next(&watch.check, began, now, jitter);
        let speaks = match landed.result {
            Err(Failure::Local(_)) => false,
            Ok(_) => self.record.note(&self.check, true),
            Err(_) => self.record.note(&self.check, false),
        };
        let news = speaks && self.say(landed);
        let soonest = self.soonest(now, Duration::ZERO).filter(|_| self.hurry);
        (news, soonest.map_or(next(self), |soonest| soonest.min(next(self))))
    }

    /// Says what a result has found. Says whether that is new.
    fn say(&mut self, landed: &Landed) -> bool {
        let Job { target, own, .. } = &landed.job;
        let kind = &self.check.kind;
        let said = match &landed.result {
            Ok(answer) => reason::passed(kind, target, answer),
            Err(failure) => {
                let own = own.as_ref().zip(landed.own.as_ref());
                reason::failed(kind, target, failure, own)
            }
        };
        let new = self.said.as_ref() != Some(&said);
        self.said = Some(said);
        new
    }
}
