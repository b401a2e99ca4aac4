//! What the server asks of the task that owns the state, and how it is answered.

use std::{fmt, net::IpAddr, sync::Arc};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{
    access::Rights,
    doctor::{Doctor, DoctorQuery},
    types::{
        CaptureQuery, Done, EventsQuery, Flows, FlowsQuery, Place, PlanReport, Status, Trace,
        TraceQuery,
    },
};
use crate::{
    capture::{Names, Only},
    config::{
        self,
        change::{NewReal, NewVip, RealPatch, VipPatch},
    },
    dataplane::CaptureSource,
    event::{Event, Filter},
    metrics::Snapshot,
    model::Model,
};

/// A question or a change, with where the answer goes.
#[derive(Debug)]
pub enum Request {
    /// Everything that can be seen.
    Status(Reply<Status>),
    /// Everything that is counted.
    Metrics(Reply<Snapshot>),
    /// Where a packet would go, and if this were the configuration.
    Trace(TraceQuery, Option<Candidate>, Reply<Trace>),
    /// Which flows are noted.
    Flows(FlowsQuery, Reply<Flows>),
    /// What is wrong.
    Doctor(DoctorQuery, Reply<Doctor>),
    /// What a configuration would change.
    Plan(Candidate, Reply<PlanReport>),
    /// What has happened, and what will.
    Events(EventsQuery, Reply<Events>),
    /// Packets as the datapath sees them.
    Capture(CaptureQuery, Reply<Capture>),
    /// The capture with this number has ended.
    EndCapture(u64),
    /// The running configuration as TOML.
    Export(Reply<String>),
    /// A change to the configuration.
    Change(Change, Reply<Done>),
    /// Stop forwarding, and the daemon.
    Detach(Reply<Done>),
}

impl Request {
    /// Whether it only asks, and who asked has gone away.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Status(reply) => reply.is_closed(),
            Self::Metrics(reply) => reply.is_closed(),
            Self::Trace(_, _, reply) => reply.is_closed(),
            Self::Flows(_, reply) => reply.is_closed(),
            Self::Doctor(_, reply) => reply.is_closed(),
            Self::Plan(_, reply) => reply.is_closed(),
            Self::Events(_, reply) => reply.is_closed(),
            Self::Capture(_, reply) => reply.is_closed(),
            Self::Export(reply) => reply.is_closed(),
            Self::EndCapture(_) | Self::Change(..) | Self::Detach(_) => false,
        }
    }
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What has happened, and what will.
#[derive(Debug)]
pub struct Events {
    /// What has, the oldest first.
    pub last: Vec<Arc<Event>>,
    /// Where what comes is heard, if that is wanted.
    pub coming: Option<broadcast::Receiver<Arc<Event>>>,
    /// What of that is wanted.
    pub filter: Filter,
}

/// Packets as the datapath sees them.
pub struct Capture {
    /// Which capture this is: whoever has it says when it has ended, by [`Request::EndCapture`].
    pub number: u64,
    /// Where frames come out, one for each interface.
    pub sources: Vec<CaptureSource>,
    /// What places and ports are called; nobody tells that any more when lbd stops.
    pub names: watch::Receiver<Arc<Names>>,
    /// Of what is not sent to a real, only this is wanted.
    pub only: Option<Only>,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A change to the configuration.
#[derive(Clone, Debug)]
pub enum Change {
    /// Add a VIP.
    AddVip(NewVip),
    /// Change a VIP.
    SetVip(String, VipPatch),
    /// Remove a VIP.
    RemoveVip(String),
    /// Add a real to a VIP.
    AddReal(String, NewReal),
    /// Change a real of a VIP.
    SetReal(String, IpAddr, RealPatch),
    /// Remove a real from a VIP: at once where the last word is true, else when it is drained.
    RemoveReal(String, IpAddr, bool),
    /// Replace the whole configuration.
    Apply(Candidate),
}

/// A configuration that somebody asks about, or wants in force: read and found good.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// As it was sent.
    pub text: String,
    /// What it says.
    pub model: Model,
    /// The part of the hash space, 0 to 1, of which no more may move; only asked when it is put in
    /// force.
    pub max_moved: Option<f64>,
    /// Who may ask for what then; looked up only where it is to be put in force.
    pub rights: Option<Rights>,
}

impl Candidate {
    /// Reads a configuration. This may take its time: names are looked up, and files are read.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, with the places.
    pub fn read(text: String) -> Result<Self, Refusal> {
        let model = config::parse(&text).map_err(|errors| Refusal::misplaced(&errors))?;
        Ok(Self { text, model, max_moved: None, rights: None })
    }

    /// The same, refused if more than this part of the hash space moves.
    ///
    /// # Errors
    ///
    /// If that is no part of a whole.
    pub fn at_most(self, max_moved: Option<f64>) -> Result<Self, Refusal> {
        match max_moved {
            Some(part) if !(0.0..=1.0).contains(&part) => Err(Refusal::invalid(format!(
                "max_moved {part} is no part of the hash space; write a number from 0 to 1"
            ))),
            _ => Ok(Self { max_moved, ..self }),
        }
    }

    /// The same, with who may ask for what by it. This may take its time, too.
    #[must_use]
    pub fn with_rights(self) -> Self {
        Self { rights: Some(Rights::of(self.model.access.as_ref())), ..self }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status: 400 invalid input, 403 not allowed, 404 no such object, 409 refused, 500 failed.
    pub status: u16,
    /// One line that names the object and what to do.
    pub detail: String,
    /// Where the configuration that was sent is wrong.
    pub places: Vec<Place>,
    /// What had been changed before it failed, for the log.
    pub done: Option<String>,
}

impl Refusal {
    /// A refusal with this HTTP status.
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), places: Vec::new(), done: None }
    }

    /// The input is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    /// A configuration that was sent is wrong.
    #[must_use]
    pub fn misplaced(errors: &config::Errors) -> Self {
        let place = |found: &config::Problem| Place {
            line: found.line,
            column: found.column,
            message: found.message.clone(),
        };
        Self {
            places: errors.problems().iter().map(place).collect(),
            ..Self::invalid(format!("the configuration: {}", errors.messages()))
        }
    }

    /// There is no such object.
    pub fn missing(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    /// The circumstances forbid it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, detail)
    }

    /// The same, after this was changed.
    #[must_use]
    pub fn after(self, done: String) -> Self {
        Self { done: Some(done).filter(|done| !done.is_empty()), ..self }
    }

    /// It was tried and failed.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::new(500, detail)
    }
}

/// The server's end.
#[derive(Clone, Debug)]
pub struct Requests(mpsc::Sender<Request>);

impl Requests {
    /// Sends requests to the owner of the state.
    #[must_use]
    pub fn new(sender: mpsc::Sender<Request>) -> Self {
        Self(sender)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// The refusal, or that the daemon is going down.
    pub async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        let stopping = || Refusal::failed("lbd is stopping");
        let (reply, answer) = oneshot::channel();
        self.0.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Tells something that has no answer. Whoever is going down need not know.
    pub async fn tell(&self, request: Request) {
        drop(self.0.send(request).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_is_done_only_where_it_changes_something() {
        let (reply, asker) = oneshot::channel();
        let question = Request::Metrics(reply);
        assert!(!question.is_idle());
        drop(asker);
        assert!(question.is_idle());
        let (reply, asker) = oneshot::channel();
        drop(asker);
        assert!(!Request::Change(Change::RemoveVip("web".to_owned()), reply).is_idle());
    }
}
