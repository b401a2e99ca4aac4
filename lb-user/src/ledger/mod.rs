//! What is going on with the reals beyond what the configuration says: who is draining and until when, who
//! has left and still has flows, who starts slowly, and since when each is as it is. It outlives the
//! daemon in a file.
//!
//! Time is an argument, and nothing here knows the datapath: what follows for it is a [`Role`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, mem,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    config::store,
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
    file: PathBuf,
    pages: Pages,
    /// What stands in the file, or will once it is written.
    saved: Pages,
    /// How often it was to be written.
    number: u64,
    written: Arc<Mutex<Written>>,
}

/// What has become of the file, whoever has written it.
#[derive(Debug, Default)]
struct Written {
    /// The newest that stands there.
    number: u64,
    /// The last attempt has failed.
    failed: bool,
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
        let file = state_dir.join("ledger.json");
        let pages = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Pages::default(),
            Err(error) => return Err(error),
        };
        if pages.version > VERSION {
            let newer =
                "was written by a newer lbd: start that, or remove the file, which forgets drains";
            return Err(io::Error::new(io::ErrorKind::InvalidData, newer));
        }
        Ok(Self { file, saved: pages.clone(), pages, number: 0, written: Arc::default() })
    }

    /// Writes the file if anything has changed.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn save(&mut self) -> io::Result<()> {
        match self.unsaved()? {
            Some(text) => write(&self.file, &text, self.number, &self.written),
            None => Ok(()),
        }
    }

    /// The same, without waiting for the disk: how a real is must not wait for that. Where it cannot be
    /// written the next time tries again. To be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is nothing that could be written.
    pub fn save_aside(&mut self) -> io::Result<()> {
        if let Some(text) = self.unsaved()? {
            let (file, number, written) = (self.file.clone(), self.number, self.written.clone());
            tokio::task::spawn_blocking(move || {
                if let Err(error) = write(&file, &text, number, &written) {
                    log::error!("writing {}: {error}", file.display());
                }
            });
        }
        Ok(())
    }

    /// What is to be written, if anything has changed.
    fn unsaved(&mut self) -> io::Result<Option<String>> {
        self.pages.version = VERSION;
        let failed = mem::take(&mut lock(&self.written).failed);
        if self.pages == self.saved && !failed {
            return Ok(None);
        }
        let text = serde_json::to_string_pretty(&self.pages).map_err(io::Error::from)?;
        self.saved = self.pages.clone();
        self.number += 1;
        Ok(Some(text))
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
            let left = course.left.as_ref()?;
            let state = RealState::Drain;
            Some((Real { mac: left.mac, state, ..Real::plain(*address) }, left))
        })
    }

    /// Goes along with a configuration: whoever is new gets a page, drains begin and end. Whoever has left is
    /// to be told of before ([`Ledger::depart`]).
    pub fn follow(&mut self, model: &Model, now: Timestamp) {
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
    }

    /// Gives a drain a deadline of its own, from now on.
    pub fn set_deadline(&mut self, vip: &str, address: IpAddr, lasts: Duration, now: Timestamp) {
        if let Some(course) = self.course_mut(vip, address)
            && let Some(drain) = &mut course.drain
        {
            drain.deadline = after(now, lasts);
        }
    }

    /// Nothing names a real that has left any more: its place is free.
    pub fn release(&mut self, vip: &str, address: IpAddr) {
        if let Some(courses) = self.pages.vips.get_mut(vip) {
            courses.retain(|known, course| *known != address || course.left.is_none());
        }
    }

    /// Notes what is known of a real; returns what was known before if that is news. Another reason for the
    /// same health does not make it younger.
    pub fn know(
        &mut self,
        vip: &Vip,
        real: &Real,
        verdict: Verdict,
        now: Timestamp,
    ) -> Option<Option<Verdict>> {
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
        course.known = Some(Known { verdict, since });
        Some(before.map(|known| known.verdict))
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
            course.passes = Some(passes);
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
        match below {
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

    /// When time alone changes the role of a real next.
    #[must_use]
    pub fn deadline(&self, model: &Model, now: Timestamp) -> Option<Timestamp> {
        let of_vip = |vip: &Vip| {
            let courses = self.pages.vips.get(&vip.name).into_iter().flatten();
            let next = |(address, course): (&IpAddr, &Course)| {
                let drain = course.drain.as_ref().map(|drain| drain.deadline);
                let start = course
                    .started
                    .and_then(|_| self.start(vip, *address, now))
                    .map(|start| start.next);
                drain.filter(|deadline| *deadline > now).into_iter().chain(start).min()
            };
            courses.filter_map(next).min()
        };
        model.vips.iter().filter_map(of_vip).min()
    }
}

/// Writes the file, unless something newer stands there.
fn write(file: &Path, text: &str, number: u64, written: &Mutex<Written>) -> io::Result<()> {
    let mut written = lock(written);
    if written.number > number {
        return Ok(());
    }
    let done = if file.exists() { Ok(()) } else { fs::write(file, "{}") };
    let done = done.and_then(|()| store::replace(file, text).map_err(io::Error::other));
    written.number = number;
    written.failed = done.is_err();
    done
}

fn lock(written: &Mutex<Written>) -> MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
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
