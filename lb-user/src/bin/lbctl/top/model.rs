//! What `lbctl top` knows and which part of it is looked at: all that the view shows. No I/O here,
//! and the time is an argument.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_user::{
    api::types::{EventLine, RealStatus, Status, VipStatus},
    event::Happening,
};

use super::{
    cursor::Cursor,
    deed::Deed,
    meter::{Meter, Whose},
};

/// How many events are kept to be shown.
pub const EVENTS: usize = 200;

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// What is not well first, then by name or address.
    #[default]
    Trouble,
    /// What has most frames first.
    Rate,
    /// By name or address.
    Name,
}

impl Sort {
    /// The next one.
    pub fn next(self) -> Self {
        match self {
            Self::Trouble => Self::Rate,
            Self::Rate => Self::Name,
            Self::Name => Self::Trouble,
        }
    }

    /// In a word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Trouble => "trouble first",
            Self::Rate => "busiest first",
            Self::Name => "by name",
        }
    }
}

/// What keys mean at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What the footer says.
    #[default]
    Browse,
    /// They are words of the filter.
    Filter,
    /// Yes or no to this question.
    Confirm(Deed, String),
    /// The next one closes the help.
    Help,
}

/// A list: which rows of it, and which one.
#[derive(Debug)]
pub struct List<T> {
    /// The selected row.
    pub cursor: Cursor<T>,
    /// Only rows with this in them.
    pub filter: String,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { cursor: Cursor::default(), filter: String::new() }
    }
}

/// Everything.
#[derive(Debug)]
pub struct Model {
    /// How often the daemon is asked.
    pub interval: Duration,
    /// Its last answer.
    pub status: Status,
    /// When that came.
    pub answered: Instant,
    /// Why there was none since, in a sentence.
    pub silence: Option<String>,
    /// What goes through.
    pub meter: Meter,
    /// What has happened, the newest last.
    pub events: VecDeque<EventLine>,
    /// Why none are told.
    pub no_events: Option<String>,
    /// The VIPs.
    pub vips: List<String>,
    /// The reals of the open VIP.
    pub reals: List<IpAddr>,
    /// The VIP whose reals are looked at.
    pub open: Option<String>,
    /// By what both lists are sorted.
    pub sort: Sort,
    /// What keys mean.
    pub mode: Mode,
    /// What came of the last deed, or of the last key.
    pub note: Option<String>,
}

impl Model {
    /// What is known after the first answer, with this VIP open.
    pub fn new(interval: Duration, status: Status, at: Instant, open: Option<String>) -> Self {
        let mut meter = Meter::default();
        meter.take(at, &status, open.as_deref());
        let mut model = Self {
            interval,
            status,
            answered: at,
            silence: None,
            meter,
            events: VecDeque::new(),
            no_events: None,
            vips: List::default(),
            reals: List::default(),
            open: None,
            sort: Sort::default(),
            mode: Mode::default(),
            note: None,
        };
        if let Some(vip) = open {
            model.vips.cursor.select(vip.clone());
            model.open = Some(vip);
        }
        model.settle();
        model
    }

    /// The daemon has answered, or has not.
    pub fn hear(&mut self, at: Instant, answer: Result<Status, String>) {
        match answer {
            Ok(status) => {
                self.meter.take(at, &status, self.open.as_deref());
                self.status = status;
                self.answered = at;
                self.silence = None;
                self.settle();
                self.ask_again();
            }
            Err(reason) => {
                self.meter.miss();
                self.silence = Some(reason);
            }
        }
    }

    /// What is asked tells of what is, not of what was when the key was pressed.
    fn ask_again(&mut self) {
        let Mode::Confirm(deed, _) = &self.mode else { return };
        let deed = deed.clone();
        let vip = self.status.vips.iter().find(|vip| vip.name == deed.vip);
        let real = vip.and_then(|vip| vip.reals.iter().find(|real| real.address == deed.real));
        let question = match (vip, real) {
            (Some(vip), Some(real)) => deed.question(vip, real),
            _ => Err(format!("{} is not in the pool of {} any more", deed.real, deed.vip)),
        };
        self.mode = match question {
            Ok(question) => Mode::Confirm(deed, question),
            Err(reason) => {
                self.note = Some(reason);
                Mode::Browse
            }
        };
    }

    /// The daemon tells its events from the beginning.
    pub fn hear_events_anew(&mut self) {
        self.events.clear();
    }

    /// Something has happened.
    pub fn hear_event(&mut self, event: EventLine) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Why what is shown may not be so any more.
    pub fn doubt(&self, now: Instant) -> Option<String> {
        if let Some(reason) = &self.silence {
            return Some(reason.clone());
        }
        let silent = now.saturating_duration_since(self.answered);
        let late = silent > self.interval * 3 && silent > Duration::from_secs(3);
        late.then(|| format!("lbd has not answered for {}s", silent.as_secs()))
    }

    /// The rows of the list of VIPs.
    pub fn shown_vips(&self) -> Vec<&VipStatus> {
        let filter = self.vips.filter.to_lowercase();
        let mut rows: Vec<_> = self.status.vips.iter().filter(|vip| holds(vip, &filter)).collect();
        let rate = |vip: &VipStatus| self.packets(&Whose::Vips(vip.name.clone()));
        match self.sort {
            Sort::Trouble => rows.sort_by_key(|vip| (rank(&vip.state), vip.name.clone())),
            Sort::Rate => {
                rows.sort_by(|a, b| rate(b).total_cmp(&rate(a)).then(a.name.cmp(&b.name)))
            }
            Sort::Name => rows.sort_by(|a, b| a.name.cmp(&b.name)),
        }
        rows
    }

    /// The rows of the list of the VIP's reals. The filter is that of the open one.
    pub fn shown_reals<'a>(&self, vip: &'a VipStatus) -> Vec<&'a RealStatus> {
        let opened = self.open.as_ref() == Some(&vip.name);
        let filter = if opened { self.reals.filter.to_lowercase() } else { String::new() };
        let mut rows: Vec<_> = vip.reals.iter().filter(|real| has(real, &filter)).collect();
        let rate = |real: &RealStatus| self.packets(&Whose::Reals(vip.name.clone(), real.address));
        match self.sort {
            Sort::Trouble => {
                rows.sort_by_key(|real| (rank(&real.health), real.state == "active", real.address))
            }
            Sort::Rate => {
                rows.sort_by(|a, b| rate(b).total_cmp(&rate(a)).then(a.address.cmp(&b.address)));
            }
            Sort::Name => rows.sort_by_key(|real| real.address),
        }
        rows
    }

    /// The VIP that is open, or else the one that is selected.
    pub fn vip(&self) -> Option<&VipStatus> {
        let name = self.open.as_ref().or_else(|| self.vips.cursor.item())?;
        self.status.vips.iter().find(|vip| vip.name == *name)
    }

    /// The selected real of the open VIP.
    pub fn real(&self) -> Option<&RealStatus> {
        let address = self.reals.cursor.item().filter(|_| self.open.is_some())?;
        self.vip()?.reals.iter().find(|real| real.address == *address)
    }

    /// What has happened, to the open VIP if one is, the newest last.
    pub fn shown_events(&self) -> Vec<&EventLine> {
        let Some(vip) = self.open.as_ref().and(self.vip()) else {
            return self.events.iter().collect();
        };
        self.events.iter().filter(|event| is_about(event, vip)).collect()
    }

    /// Follows the rows that are there now with what is selected.
    pub fn settle(&mut self) {
        if let Some(open) = self.open.take() {
            if self.status.vips.iter().any(|vip| vip.name == open) {
                self.open = Some(open);
            } else {
                self.note = Some(format!("VIP {open} is gone"));
                self.reals = List::default();
            }
        }
        let vips = self.names();
        self.vips.cursor.settle(&vips);
        let reals = self.addresses();
        self.reals.cursor.settle(&reals);
    }

    /// Selects another row, so many further down or up.
    pub fn step(&mut self, by: isize) {
        if self.open.is_some() {
            let rows = self.addresses();
            self.reals.cursor.step(&rows, by);
        } else {
            let rows = self.names();
            self.vips.cursor.step(&rows, by);
        }
    }

    /// The filter of the list that is looked at.
    pub fn filter(&mut self) -> &mut String {
        if self.open.is_some() { &mut self.reals.filter } else { &mut self.vips.filter }
    }

    fn names(&self) -> Vec<String> {
        self.shown_vips().into_iter().map(|vip| vip.name.clone()).collect()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let vip = self.open.as_ref().and(self.vip());
        vip.map_or_else(Vec::new, |vip| {
            self.shown_reals(vip).into_iter().map(|real| real.address).collect()
        })
    }

    fn packets(&self, whose: &Whose) -> f64 {
        self.meter.rate(whose).map_or(0.0, |rate| rate.packets)
    }
}

/// How much a state or a health is to be looked at: the least is first.
fn rank(word: &str) -> u8 {
    match word {
        "down" => 0,
        "degraded" => 1,
        "unknown" => 2,
        _ => 3,
    }
}

fn holds(vip: &VipStatus, filter: &str) -> bool {
    let VipStatus { name, address, ports, state, reason, .. } = vip;
    let words = format!("{name} {address} {} {state} {reason}", ports.join(" "));
    words.to_lowercase().contains(filter)
}

fn has(real: &RealStatus, filter: &str) -> bool {
    let RealStatus { address, health, state, reason, .. } = real;
    format!("{address} {health} {state} {reason}").to_lowercase().contains(filter)
}

/// Whether the event is about this VIP, its address or its reals.
fn is_about(event: &EventLine, vip: &VipStatus) -> bool {
    let EventLine::Event(event) = event else { return true };
    match &event.what {
        Happening::Neighbour { real, .. } => vip.reals.iter().any(|one| one.address == *real),
        Happening::Announce { address, .. } | Happening::Thief { address, .. } => {
            *address == vip.address
        }
        // What replaces the whole configuration may be about every VIP.
        Happening::Config { vip: None, .. } => true,
        what => what.vip() == Some(&vip.name),
    }
}
