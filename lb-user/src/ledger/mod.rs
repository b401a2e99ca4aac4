//! What is going on with the reals beyond what the configuration says: who is draining and until when, who
//! has left and still has flows, who starts slowly, and since when each is as it is. It outlives the
//! daemon in a file.
//!
//! Time is an argument, and nothing here knows the datapath: what follows for it is a [`Role`].

mod file;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io, mem,
    net::IpAddr,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::file::{File, Numbered};
use crate::{
    health::{Health, Verdict},
    maglev::WHOLE,
    model::{Mac, Model, OnDeadline, Real, RealState, Vip},
    plan::Role,
};

/// In how many steps a real that starts slowly comes to its whole part.
const STEPS: u32 = 10;

/// Of which form the file is.
const VERSION: u32 = 1;

/// The ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    file: File,
    pages: Pages,
    /// Something has changed since it was to be written last.
    changed: bool,
    /// How often it was to be written.
    number: u64,
    /// The reals, by VIP, in whose course a moment may stand at which time alone changes something: very few of
    /// very many, and this is asked for all the time.
    timed: HashMap<String, BTreeSet<IpAddr>>,
}

/// The courses of all reals, by VIP and address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pages {
    version: u32,
    vips: BTreeMap<String, BTreeMap<IpAddr, Course>>,
    /// The VIPs of which too few reals are up ([`Ledger::is_below`]).
    #[serde(default)]
    below: BTreeSet<String>,
}

/// What is going on with a real of a VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// What was last said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Known>,
    /// Whether its checks passed last, if they have said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<bool>,
    /// It takes no new flows any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// It is no longer in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// When it began to take its part in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    /// It came with its VIP and was never up: it need not start slowly.
    #[serde(default)]
    initial: bool,
}

/// What was last said of a real, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What.
    pub verdict: Verdict,
    /// Since when.
    pub since: Timestamp,
}

/// A drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// When it began.
    pub since: Timestamp,
    /// When it ends in any case.
    pub deadline: Timestamp,
}

/// What must be known of a real that is no longer in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its MAC address where it is not to be resolved.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "mac_text")]
    pub mac: Option<Mac>,
    /// Its flows were given up when it left.
    #[serde(default)]
    pub at_once: bool,
}

impl Left {
    /// The real, as it is to be treated.
    fn real(&self, address: IpAddr) -> Real {
        Real { mac: self.mac, state: RealState::Drain, ..Real::plain(address) }
    }
}

/// How far a real has come that starts slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The part of its slots that it takes, of [`WHOLE`].
    pub part: u16,
    /// When that changes next.
    pub next: Timestamp,
    /// When it takes its whole part.
    pub end: Timestamp,
}

impl Ledger {
    /// Goes on with what the file says; there may be none.
    ///
    /// # Errors
    ///
    /// When it cannot be read or understood.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("ledger.json");
        let pages: Pages = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Pages::default(),
            Err(error) => return Err(error),
        };
        if pages.version > VERSION {
            let newer =
                "was written by a newer lbd: start that, or remove the file, which forgets drains";
            return Err(io::Error::new(io::ErrorKind::InvalidData, newer));
        }
        let pages = Pages { version: VERSION, ..pages };
        let timed = pages.timed();
        Ok(Self { file: File::new(path), pages, changed: false, number: 0, timed })
    }

    /// Writes the file if anything has changed.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn save(&mut self) -> io::Result<()> {
        self.unsaved().map_or(Ok(()), |pages| self.file.write(&pages))
    }

    /// The same, without waiting for the disk: how a real is must not wait for that. Where it cannot be
    /// written the next time tries again. To be called within a tokio runtime.
    pub fn save_aside(&mut self) {
        if let Some(pages) = self.unsaved() {
            self.file.write_aside(pages);
        }
    }

    /// What is to be written, if anything has changed.
    fn unsaved(&mut self) -> Option<Numbered> {
        let failed = self.file.take_failed();
        if !mem::take(&mut self.changed) && !failed {
            return None;
        }
        self.number += 1;
        Some(Numbered(self.number, self.pages.clone()))
    }

    /// What is going on with a real.
    #[must_use]
    pub fn course(&self, vip: &str, address: IpAddr) -> Option<&Course> {
        self.pages.vips.get(vip)?.get(&address)
    }

    fn course_mut(&mut self, vip: &str, address: IpAddr) -> Option<&mut Course> {
        self.pages.vips.get_mut(vip)?.get_mut(&address)
    }

    /// The reals that have left a VIP and still have their place in its pool.
    pub fn left(&self, vip: &str) -> impl Iterator<Item = (Real, &Left)> {
        let courses = self.pages.vips.get(vip).into_iter().flatten();
        courses.filter_map(|(address, course)| {
            course.left.as_ref().map(|left| (left.real(*address), left))
        })
    }

    /// The same of all VIPs.
    pub fn all_left(&self) -> impl Iterator<Item = Real> {
        let courses = self.pages.vips.values().flatten();
        courses.filter_map(|(address, course)| Some(course.left.as_ref()?.real(*address)))
    }

    /// Goes along with a configuration: whoever is new gets a page, drains begin and end. Whoever has left is
    /// to be told of before ([`Ledger::depart`]).
    pub fn follow(&mut self, model: &Model, now: Timestamp) {
        self.changed = true;
        let names: BTreeSet<&str> = model.vips.iter().map(|vip| vip.name.as_str()).collect();
        let is_there = |name: &String| names.contains(name.as_str());
        self.pages.vips.retain(|name, _| is_there(name));
        self.pages.below.retain(is_there);
        for vip in &model.vips {
            let initial = !self.pages.vips.contains_key(&vip.name);
            let courses = self.pages.vips.entry(vip.name.clone()).or_default();
            for real in &vip.reals {
                let course = courses
                    .entry(real.address)
                    .or_insert_with(|| Course { initial, ..Course::default() });
                let returns = course.left.take().is_some();
                course.passes = course.passes.filter(|_| !vip.checks.is_empty());
                match real.state {
                    RealState::Drain if course.drain.is_none() || returns => {
                        course.drain = Some(Drain::new(now, vip.drain_timeout));
                    }
                    RealState::Drain => {}
                    RealState::Active | RealState::Disabled => course.drain = None,
                }
            }
            let is_sorry = |address: &IpAddr| vip.sorry == Some(*address);
            let configured: BTreeSet<IpAddr> = vip.reals.iter().map(|real| real.address).collect();
            let configured = |address: &IpAddr| configured.contains(address);
            courses.retain(|address, course| {
                configured(address) || course.left.is_some() && !is_sorry(address)
            });
        }
        self.timed = self.pages.timed();
    }

    /// Time will change something of this real.
    fn time(&mut self, vip: &str, address: IpAddr) {
        self.timed.entry(vip.to_owned()).or_default().insert(address);
    }

    /// A real has left the pool of a VIP. Its flows stay with it for that time, or are given up at once.
    pub fn depart(&mut self, vip: &str, real: &Real, lasts: Option<Duration>, now: Timestamp) {
        let courses = self.pages.vips.entry(vip.to_owned()).or_default();
        let course = courses.entry(real.address).or_default();
        if course.left.as_ref().is_some_and(|left| left.at_once || lasts.is_some()) {
            return;
        }
        course.left = Some(Left { mac: real.mac, at_once: lasts.is_none() });
        let drain = Drain::new(now, lasts.unwrap_or_default());
        // One that was draining already goes on.
        if lasts.is_none() || course.drain.is_none() {
            course.drain = Some(drain);
        }
        self.changed = true;
        self.time(vip, real.address);
    }

    /// Gives a drain a deadline of its own, from now on.
    pub fn set_deadline(&mut self, vip: &str, address: IpAddr, lasts: Duration, now: Timestamp) {
        if let Some(course) = self.course_mut(vip, address)
            && let Some(drain) = &mut course.drain
        {
            drain.deadline = after(now, lasts);
            self.changed = true;
            self.time(vip, address);
        }
    }

    /// Nothing names a real that has left any more: its place is free.
    pub fn release(&mut self, vip: &str, address: IpAddr) {
        if let Some(courses) = self.pages.vips.get_mut(vip) {
            courses.retain(|known, course| *known != address || course.left.is_none());
            self.changed = true;
        }
    }

    /// Notes what is known of a real; returns what was known before, and what is now, if that is news. Another
    /// reason for the same health does not make it younger.
    pub fn know(
        &mut self,
        vip: &Vip,
        real: &Real,
        verdict: Verdict,
        now: Timestamp,
    ) -> Option<(Option<Verdict>, &Verdict)> {
        let courses = self.pages.vips.get_mut(&vip.name)?;
        let mut others = courses.iter();
        let serves = |(address, course): (&IpAddr, &Course)| {
            *address != real.address
                && course.left.is_none()
                && course.known.as_ref().is_some_and(|known| known.verdict.usable)
        };
        // Nobody else has to be looked at where nobody starts slowly.
        let somebody_serves = vip.slow_start.is_some() && others.any(serves);
        let course = courses.get_mut(&real.address)?;
        let is_same = |known: &&Known| known.verdict.health == verdict.health;
        // What has been known is known as long as health is the same, also to a daemon that has not checked yet.
        let known = course.known.as_ref().filter(is_same).is_some_and(|known| known.verdict.known);
        let verdict = Verdict { known: verdict.known || known, ..verdict };
        if course.known.as_ref().is_some_and(|known| known.verdict == verdict) {
            return None;
        }
        let before = course.known.take();
        let was_usable = before.as_ref().is_some_and(|known| known.verdict.usable);
        if verdict.usable && !was_usable {
            let slowly = vip.slow_start.is_some() && somebody_serves && !course.initial;
            course.started = slowly.then_some(now);
            course.initial = false;
        } else if !verdict.usable {
            course.started = None;
        }
        let is_same = |known: &&Known| known.verdict.health == verdict.health;
        let since = before.as_ref().filter(is_same).map_or(now, |known| known.since);
        let starts = course.started.is_some();
        let known = course.known.insert(Known { verdict, since });
        self.changed = true;
        if starts {
            self.timed.entry(vip.name.clone()).or_default().insert(real.address);
        }
        Some((before.map(|known| known.verdict), &known.verdict))
    }

    /// How far a real has come that starts slowly; `None` once it takes its whole part.
    #[must_use]
    pub fn start(&self, vip: &Vip, address: IpAddr, now: Timestamp) -> Option<Start> {
        let lasts = vip.slow_start?;
        let started = self.course(&vip.name, address)?.started?;
        let passed = Duration::try_from(now.duration_since(started)).unwrap_or_default();
        let steps = (passed.as_nanos() * u128::from(STEPS) / lasts.as_nanos().max(1)) as u32 + 1;
        (steps < STEPS).then(|| Start {
            part: (u32::from(WHOLE) * steps / STEPS) as u16,
            next: after(started, lasts * steps / STEPS),
            end: after(started, lasts),
        })
    }

    /// Notes what the checks of a real say.
    pub fn note_check(&mut self, vip: &str, address: IpAddr, passes: bool) {
        if let Some(course) = self.course_mut(vip, address) {
            let before = course.passes.replace(passes);
            self.changed |= before != Some(passes);
        }
    }

    /// Whether a real passed its checks when that was known last. One that served before it was checked did.
    #[must_use]
    pub fn passed(&self, vip: &str, address: IpAddr) -> Option<bool> {
        let course = self.course(vip, address)?;
        let served = || course.known.as_ref().filter(|known| known.verdict.health != Health::Down);
        course.passes.or_else(|| served().map(|_| true))
    }

    /// Whether a real of the VIP takes new flows, or did last.
    #[must_use]
    pub fn serves(&self, vip: &str) -> bool {
        let courses = self.pages.vips.get(vip).into_iter().flatten();
        let mut known = courses.filter_map(|(_, course)| course.known.as_ref());
        known.any(|known| known.verdict.usable)
    }

    /// Notes how many reals of a VIP are up, of those that should be. Between the two marks of `min_up` what
    /// was known stays.
    pub fn count(&mut self, vip: &Vip, up: usize, wanted: usize) {
        let below = match &vip.min_up {
            None => false,
            Some(marks) if up < marks.low.of(wanted) => true,
            Some(marks) if up >= marks.high.of(wanted) => false,
            Some(_) => return,
        };
        self.changed |= match below {
            true => self.pages.below.insert(vip.name.clone()),
            false => self.pages.below.remove(&vip.name),
        };
    }

    /// Whether fewer reals of a VIP are up than it needs, or were and not enough have come back since.
    #[must_use]
    pub fn is_below(&self, vip: &str) -> bool {
        self.pages.below.contains(vip)
    }

    /// What a real does now: what the operator wants of it, as far as it can be reached, and as far as its
    /// drain or its start have come.
    #[must_use]
    pub fn role(&self, vip: &Vip, real: &Real, reachable: bool, now: Timestamp) -> Role {
        match real.state {
            // Resets are the balancer's own to send.
            RealState::Drain if self.is_past_drain(vip, real, now) => self.after_drain(vip, real),
            _ if !reachable => Role::Out,
            RealState::Disabled => Role::Out,
            RealState::Drain => Role::Draining,
            RealState::Active if real.weight == 0 => Role::Draining,
            RealState::Active => {
                let start = self.start(vip, real.address, now);
                Role::Active { part: start.map_or(WHOLE, |start| start.part) }
            }
        }
    }

    fn is_past_drain(&self, vip: &Vip, real: &Real, now: Timestamp) -> bool {
        let course = self.course(&vip.name, real.address);
        let drain = course.and_then(|course| course.drain.as_ref());
        drain.is_some_and(|drain| drain.deadline <= now)
    }

    fn after_drain(&self, vip: &Vip, real: &Real) -> Role {
        let course = self.course(&vip.name, real.address);
        let left = course.and_then(|course| course.left.as_ref());
        match vip.on_deadline {
            OnDeadline::Reset if !left.is_some_and(|left| left.at_once) => Role::Reset,
            OnDeadline::Reset | OnDeadline::Rehash => Role::Out,
        }
    }

    /// When time alone changes the role of a real next. Those of whom it changes nothing any more are not looked
    /// at again before something happens to them.
    pub fn deadline(&mut self, model: &Model, now: Timestamp) -> Option<Timestamp> {
        let mut timed = mem::take(&mut self.timed);
        if timed.is_empty() {
            return None;
        }
        let mut next = None;
        for vip in &model.vips {
            if let Some(addresses) = timed.get_mut(&vip.name) {
                addresses.retain(|address| {
                    let moment = self.next_moment(vip, *address, now);
                    next = next.into_iter().chain(moment).min();
                    moment.is_some()
                });
            }
        }
        timed.retain(|_, addresses| !addresses.is_empty());
        self.timed = timed;
        next
    }

    /// When time alone changes the role of this real next.
    fn next_moment(&self, vip: &Vip, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let drain = self.course(&vip.name, address)?.drain.as_ref().map(|drain| drain.deadline);
        let start = self.start(vip, address, now).map(|start| start.next);
        drain.filter(|deadline| *deadline > now).into_iter().chain(start).min()
    }
}

impl Pages {
    /// The reals in whose courses there are moments.
    fn timed(&self) -> HashMap<String, BTreeSet<IpAddr>> {
        let is_timed =
            |(_, course): &(&IpAddr, &Course)| course.drain.is_some() || course.started.is_some();
        let of_vip = |(vip, courses): (&String, &BTreeMap<IpAddr, Course>)| {
            let timed: BTreeSet<IpAddr> =
                courses.iter().filter(is_timed).map(|(address, _)| *address).collect();
            (!timed.is_empty()).then(|| (vip.clone(), timed))
        };
        self.vips.iter().filter_map(of_vip).collect()
    }
}

impl Drain {
    fn new(since: Timestamp, lasts: Duration) -> Self {
        Self { since, deadline: after(since, lasts) }
    }
}

/// A MAC address in the file: as people write it.
mod mac_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::model::Mac;

    pub(super) fn serialize<S: Serializer>(mac: &Option<Mac>, to: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => to.collect_str(mac),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mac>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

fn after(moment: Timestamp, time: Duration) -> Timestamp {
    moment.checked_add(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
