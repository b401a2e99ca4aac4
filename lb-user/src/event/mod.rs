//! What has happened, for whoever wants to know: `lbctl events`, hooks, the log.

mod filter;
pub mod hooks;
pub mod journal;
mod words;

#[cfg(test)]
mod samples;

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{filter::Filter, hooks::Hooks, journal::Journal};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counts up, across restarts.
    pub number: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// The health of a real has changed.
    Health {
        /// The VIP's name.
        vip: String,
        /// The real.
        #[schema(value_type = String)]
        real: IpAddr,
        /// The word for what it was, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// What it is now: `up`, `down`, `unknown`.
        to: String,
        /// Why.
        reason: String,
    },
    /// The state of a VIP has changed.
    Vip {
        /// Its name.
        vip: String,
        /// What it was, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// What it is now: `up`, `degraded`, `down`.
        to: String,
        /// Why.
        reason: String,
    },
    /// The configuration was changed.
    Config {
        /// The VIP that it is about, if it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vip: Option<String>,
        /// How, in a sentence.
        change: String,
    },
    /// The way to a real has changed: another MAC address, or none.
    Neighbour {
        /// The real.
        #[schema(value_type = String)]
        real: IpAddr,
        /// Its MAC address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<String>,
    },
    /// A VIP's address is announced, or no longer.
    Announce {
        /// The address.
        #[schema(value_type = String)]
        address: IpAddr,
        /// On which interface.
        interface: String,
        /// Whether it is announced now.
        announced: bool,
    },
    /// Somebody else answers for a VIP's address.
    Thief {
        /// The address.
        #[schema(value_type = String)]
        address: IpAddr,
        /// Whose MAC address.
        mac: String,
        /// Who that is, as far as is known, and what to do.
        who: String,
    },
}
