//! What is told to those who want to know what happens.

use jiff::Timestamp;

use super::Reconciler;
use crate::{
    api::{
        request::{Change, Events, Refusal},
        types::EventsQuery,
    },
    event::{Filter, Happening},
};

impl Reconciler {
    /// What has happened, and where what comes is heard.
    pub(super) fn happened(&self, query: &EventsQuery) -> Result<Events, Refusal> {
        let filter = match &query.vip {
            None => Filter::all(),
            Some(name) => self.filter(name)?,
        };
        let last = self.journal.last(query.last.map(|last| last as usize), &filter);
        let coming = query.follow.then(|| self.journal.subscribe());
        Ok(Events { last, coming, filter })
    }

    /// What is about this VIP, which may be one that was.
    fn filter(&self, name: &str) -> Result<Filter, Refusal> {
        let vips = &self.config.model.vips;
        let vip = vips.iter().find(|vip| vip.name == name);
        if vip.is_none() && !self.journal.knows(name) {
            let known: Vec<&str> = vips.iter().map(|vip| vip.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let detail = format!("no VIP \"{name}\", and no event of one; there are: {known}");
            return Err(Refusal::missing(detail));
        }
        Ok(Filter::of(name, vip))
    }

    /// Notes what has become of the configuration.
    pub(super) fn changed(&mut self, vip: Option<&str>, change: &str) {
        let vip = vip.map(str::to_owned);
        self.record(Happening::Config { vip, change: change.to_owned() });
    }

    /// Where reals are now, if that is news.
    pub(super) fn ways(&mut self) -> Vec<Happening> {
        let told = |(real, mac): (_, Option<crate::model::Mac>)| Happening::Neighbour {
            real,
            mac: mac.map(|mac| mac.to_string()),
        };
        self.network.take_news().into_iter().map(told).collect()
    }

    /// Tells whoever wants to know of all of this.
    pub(super) fn record_all(&mut self, news: Vec<Happening>) {
        news.iter().for_each(|what| self.tally.event(what));
        self.journal.record_all(Timestamp::now(), news);
    }

    /// Tells whoever wants to know.
    pub(super) fn record(&mut self, what: Happening) {
        self.tally.event(&what);
        self.journal.record(Timestamp::now(), what);
    }
}

/// The VIP that a change is about, if it is about one.
pub(super) fn subject(change: &Change) -> Option<&str> {
    match change {
        Change::AddVip(vip) => Some(&vip.name),
        Change::SetVip(name, _)
        | Change::RemoveVip(name)
        | Change::AddReal(name, _)
        | Change::SetReal(name, ..)
        | Change::RemoveReal(name, ..) => Some(name),
        Change::Apply(_) => None,
    }
}
