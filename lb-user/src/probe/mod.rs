//! Probes: one question to a server, and what came of it. When and how often, and what follows from it, is
//! `health`'s to say.

pub mod exec;

use std::{fmt, net::IpAddr, time::Duration};

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
