//! Probes: one question to a server, and what came of it. When and how often, and what follows from it, is
//! `health`'s to say.

mod dns;
mod exchange;
pub mod exec;
mod grpc;
mod http;
mod icmp;
mod raw;
mod socket;
mod syn;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::{socket::Clock, tls::Clients};
use crate::model::CheckKind;

/// Whom a probe is about, and how it gets there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// What sockets connect to: the real's own address, or one that stands for the VIP at this real
    /// ([`crate::detour`]).
    pub connect: IpAddr,
    /// The address that the server is asked at, as it sees it: the VIP's or its own.
    pub address: IpAddr,
    /// The real server.
    pub real: IpAddr,
    /// The VIP.
    pub vip: IpAddr,
}

/// What a probe that has passed has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In a few words, the same for the same answer: `http 200`, `connected`.
    pub summary: String,
    /// How long it took.
    pub took: Duration,
}

/// Why a probe has not passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came in time, while this was done: `connecting`, `waiting for the answer`.
    Timeout(&'static str),
    /// The connection was refused, or the port is unreachable.
    Refused,
    /// There is no way to it, for this reason.
    Unreachable(String),
    /// It answers, but not as it should, in a few words: `http 503`.
    Wrong(String),
    /// It could not be tried, for a reason on this machine: this says nothing of the server.
    Local(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(during) => write!(f, "timeout while {during}"),
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable(reason) | Self::Wrong(reason) => f.write_str(reason),
            Self::Local(reason) => write!(f, "not checked: {reason}"),
        }
    }
}

/// What probes share. Clones share it too.
#[derive(Clone, Debug)]
pub struct Prober {
    runner: Option<exec::Runner>,
    tls: Arc<Clients>,
}

impl Prober {
    /// Without a runner, programs cannot be run and say so.
    #[must_use]
    pub fn new(runner: Option<exec::Runner>) -> Self {
        Self { runner, tls: Arc::default() }
    }

    /// One probe. All of it must be done within the timeout.
    ///
    /// # Errors
    ///
    /// Why it has not passed.
    pub async fn probe(
        &self,
        kind: &CheckKind,
        target: &Target,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let started = Instant::now();
        let clock = Clock::new(started, timeout);
        let summary = match kind {
            CheckKind::Tcp { port } => tcp::probe(target, *port, &clock).await,
            CheckKind::Syn { port } => syn::probe(target, *port, &clock).await,
            CheckKind::Http(check) => http::probe(check, target, &self.tls, &clock).await,
            CheckKind::Dns(check) => dns::probe(check, target, &clock).await,
            CheckKind::Udp { port, send, expect } => {
                udp::probe(target, *port, send, expect, &clock).await
            }
            CheckKind::Icmp => icmp::probe(target, &clock).await,
            CheckKind::Grpc { port, tls, service } => {
                let question = grpc::Question { port: *port, tls: tls.as_ref(), service };
                grpc::probe(&question, target, &self.tls, &clock).await
            }
            CheckKind::Exec(check) => {
                exec::check::probe(check, target, self.runner.as_ref(), timeout).await
            }
        }?;
        Ok(Answer { summary, took: started.elapsed() })
    }
}
