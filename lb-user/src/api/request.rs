//! What the server asks of the task that owns the state, and how it is answered.

use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot};

use super::types::{Done, Status, Trace, TraceQuery};
use crate::config::change::{NewReal, NewVip, RealPatch, VipPatch};

/// A question or a change, with where the answer goes.
#[derive(Debug)]
pub enum Request {
    /// Everything that can be seen.
    Status(Reply<Status>),
    /// Where a packet would go.
    Trace(TraceQuery, Reply<Trace>),
    /// The running configuration as TOML.
    Export(Reply<String>),
    /// A change to the configuration.
    Change(Change, Reply<Done>),
    /// Stop forwarding, and the daemon.
    Detach(Reply<Done>),
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

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
    /// Remove a real from a VIP.
    RemoveReal(String, IpAddr),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status: 400 invalid input, 404 no such object, 409 refused, 500 failed.
    pub status: u16,
    /// One line that names the object and what to do.
    pub detail: String,
}

impl Refusal {
    /// The input is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self { status: 400, detail: detail.into() }
    }

    /// There is no such object.
    pub fn missing(detail: impl Into<String>) -> Self {
        Self { status: 404, detail: detail.into() }
    }

    /// The circumstances forbid it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self { status: 409, detail: detail.into() }
    }

    /// It was tried and failed.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self { status: 500, detail: detail.into() }
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
}
