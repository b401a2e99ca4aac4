//! Rates from counters: what the daemon has counted between two of its answers, and how it went.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_common::{Action, Outcome};
use lb_user::api::types::{RealStatus, Status, VipStatus};

/// How many rates are remembered of each: as many as a wide terminal has columns.
const REMEMBERED: usize = 240;

/// Two answers that follow each other faster than this tell nothing of a rate.
const SHORTEST: Duration = Duration::from_millis(10);

/// Whose rate it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// All VIPs together.
    Everybodys,
    /// That of the VIP of this name.
    Vips(String),
    /// That of a real for the VIP of this name.
    Reals(String, IpAddr),
}

/// What goes through in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Frames steered.
    pub packets: f64,
    /// Bits of those.
    pub bits: f64,
    /// TCP connections begun.
    pub flows: f64,
}

/// An outcome that discards frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Drops {
    /// Its label.
    pub label: &'static str,
    /// How many were discarded since counting began.
    pub frames: u64,
    /// How many are in a second, where that is known.
    pub rate: Option<f64>,
}

/// Frames, bytes and flows as they were counted.
type Counts = [u64; 3];

/// What was counted up to an answer.
#[derive(Debug)]
struct Counted {
    at: Instant,
    steered: HashMap<Whose, Counts>,
    dropped: HashMap<&'static str, u64>,
}

impl Counted {
    fn at(at: Instant, status: &Status) -> Self {
        Self { at, steered: steered(status), dropped: dropped(status) }
    }
}

/// Derives rates from one answer after the other. A rate is not known of what has just come, or
/// whose counters have begun anew.
#[derive(Debug, Default)]
pub struct Meter {
    last: Option<Counted>,
    rates: HashMap<Whose, Rate>,
    drops: Vec<Drops>,
    /// Frames a second, of all, of each VIP, and of the reals of the one that is open: nobody sees others' past, and
    /// there may be a hundred thousand. Not a number where it is not known.
    past: HashMap<Whose, VecDeque<f32>>,
}

impl Meter {
    /// Takes in an answer that came at this moment, while this VIP was open.
    pub fn take(&mut self, at: Instant, status: &Status, open: Option<&str>) {
        let now = Counted::at(at, status);
        let passed = self.last.as_ref().map(|last| at.saturating_duration_since(last.at));
        if passed.is_some_and(|passed| passed < SHORTEST) {
            return;
        }
        let seconds = passed.map_or(0.0, |passed| passed.as_secs_f64());
        let last = self.last.as_ref();
        self.rates =
            last.map_or_else(HashMap::new, |last| rates(&last.steered, &now.steered, seconds));
        self.drops = drops(last.map(|last| &last.dropped), &now.dropped, seconds);
        self.sum(status);
        let is_seen = |whose: &Whose| match whose {
            Whose::Everybodys => true,
            Whose::Vips(_) => now.steered.contains_key(whose),
            Whose::Reals(vip, _) => open == Some(vip) && now.steered.contains_key(whose),
        };
        self.past.retain(|whose, _| is_seen(whose));
        let seen = now.steered.keys().filter(|whose| is_seen(whose));
        for whose in seen.chain([&Whose::Everybodys]) {
            let rate = self.rates.get(whose).map(|rate| rate.packets);
            remember(self.past.entry(whose.clone()).or_default(), rate);
        }
        self.last = Some(now);
    }

    /// Takes in that there was no answer: nothing is known of what goes through now.
    pub fn miss(&mut self) {
        self.rates.clear();
        for drops in &mut self.drops {
            drops.rate = None;
        }
        for past in self.past.values_mut() {
            remember(past, None);
        }
    }

    /// What goes through, where that is known.
    pub fn rate(&self, whose: &Whose) -> Option<Rate> {
        self.rates.get(whose).copied()
    }

    /// What is discarded, by outcome.
    pub fn drops(&self) -> &[Drops] {
        &self.drops
    }

    /// The newest frames per second, at most so many, the newest last; none where it is not known.
    pub fn past(&self, whose: &Whose, most: usize) -> Vec<Option<u64>> {
        let Some(past) = self.past.get(whose) else { return Vec::new() };
        let skipped = past.len().saturating_sub(most);
        let known = |rate: &f32| (!rate.is_nan()).then(|| rate.round() as u64);
        past.iter().skip(skipped).map(known).collect()
    }

    /// The sum of all rates that are known. That of the counters would fall with each VIP that goes.
    fn sum(&mut self, status: &Status) {
        let vips = status.vips.iter().map(|vip| Whose::Vips(vip.name.clone()));
        let known: Vec<Rate> = vips.filter_map(|vip| self.rates.get(&vip).copied()).collect();
        if known.is_empty() && (self.last.is_none() || !status.vips.is_empty()) {
            return;
        }
        let sum = known.iter().fold(Rate::default(), |sum, rate| Rate {
            packets: sum.packets + rate.packets,
            bits: sum.bits + rate.bits,
            flows: sum.flows + rate.flows,
        });
        self.rates.insert(Whose::Everybodys, sum);
    }
}

fn steered(status: &Status) -> HashMap<Whose, Counts> {
    let of_real = |vip: &VipStatus, real: &RealStatus| {
        let whose = Whose::Reals(vip.name.clone(), real.address);
        (whose, [real.packets, real.bytes, real.flows])
    };
    let of_vip =
        |vip: &VipStatus| (Whose::Vips(vip.name.clone()), [vip.packets, vip.bytes, vip.flows]);
    let vips = status.vips.iter();
    let reals = vips.clone().flat_map(|vip| vip.reals.iter().map(move |real| of_real(vip, real)));
    vips.map(of_vip).chain(reals).collect()
}

fn dropped(status: &Status) -> HashMap<&'static str, u64> {
    let drops = Outcome::ALL.iter().filter(|outcome| outcome.action() == Action::Drop);
    drops
        .filter_map(|outcome| {
            Some((outcome.label(), status.outcomes.get(outcome.label())?.as_u64()?))
        })
        .collect()
}

/// What is discarded by each outcome, in their order.
fn drops(
    last: Option<&HashMap<&'static str, u64>>,
    now: &HashMap<&'static str, u64>,
    seconds: f64,
) -> Vec<Drops> {
    let known = Outcome::ALL.iter().filter_map(|outcome| now.get_key_value(outcome.label()));
    known
        .map(|(label, frames)| {
            let more = last.and_then(|last| frames.checked_sub(*last.get(label)?));
            Drops { label, frames: *frames, rate: more.map(|more| more as f64 / seconds) }
        })
        .collect()
}

fn rates(
    last: &HashMap<Whose, Counts>,
    now: &HashMap<Whose, Counts>,
    seconds: f64,
) -> HashMap<Whose, Rate> {
    let rate = |(whose, counts): (&Whose, &Counts)| {
        let last = last.get(whose)?;
        let more = |at: usize| Some(counts[at].checked_sub(last[at])? as f64 / seconds);
        Some((whose.clone(), Rate { packets: more(0)?, bits: more(1)? * 8.0, flows: more(2)? }))
    };
    now.iter().filter_map(rate).collect()
}

fn remember(past: &mut VecDeque<f32>, rate: Option<f64>) {
    if past.len() == REMEMBERED {
        past.pop_front();
    }
    past.push_back(rate.map_or(f32::NAN, |rate| rate as f32));
}
