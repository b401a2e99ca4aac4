//! Whether a real server may get packets, and why: from what the operator wants and from what is
//! known of the way to it. Pure; the watcher brings the facts.

pub mod checker;
pub mod record;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Check, Mac, Real, RealState};

/// How a real server is reached, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By the MAC address that the configuration gives.
    Static(Mac),
    /// By the MAC address that the kernel has resolved.
    Resolved(Mac),
    /// By the MAC address that the former daemon knew; the kernel has not spoken yet.
    Inherited(Mac),
    /// Nobody has answered yet.
    Unresolved,
    /// It did not answer; it had this MAC address if it ever did.
    Silent(Option<Mac>),
    /// It is not on the interface's network but behind this gateway.
    Behind(IpAddr),
    /// Nothing leads to it, for this reason.
    Cut(String),
}

impl Reach {
    /// The MAC address, known now or known last.
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        match self {
            Self::Static(mac) | Self::Resolved(mac) | Self::Inherited(mac) => Some(*mac),
            Self::Silent(mac) => *mac,
            Self::Unresolved | Self::Behind(_) | Self::Cut(_) => None,
        }
    }
}

/// The word for health in status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It is out.
    Down,
    /// Nothing speaks against it, and nothing is checked.
    Unknown,
}

impl Health {
    /// The word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// What follows for a real.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it takes new flows.
    pub usable: bool,
    /// Its health.
    pub health: Health,
    /// Why: never empty.
    pub reason: String,
}

/// The verdict on a real. Health is what the machine knows, whatever the operator wants of it.
#[must_use]
pub fn judge(real: &Real, reach: Reach, check: Option<&Check>) -> Verdict {
    let (health, reason) = match reach {
        Reach::Static(_) | Reach::Resolved(_) | Reach::Inherited(_) => {
            (Health::Unknown, unchecked(check))
        }
        Reach::Unresolved => (Health::Down, "neighbour unresolved".to_owned()),
        Reach::Silent(_) => {
            let question = if real.address.is_ipv4() { "ARP" } else { "neighbour solicitations" };
            (Health::Down, format!("neighbour unresolved: no answer to {question}"))
        }
        Reach::Behind(gateway) => {
            let reason = format!(
                "not on the balancer's network (behind {gateway}): a real server must share a LAN \
                 with the balancer"
            );
            (Health::Down, reason)
        }
        Reach::Cut(reason) => (Health::Down, reason),
    };
    let reason = match real.state {
        RealState::Active if real.weight == 0 => format!("weight 0 takes no new flows; {reason}"),
        RealState::Active => reason,
        RealState::Drain => format!("drained by the operator; {reason}"),
        RealState::Disabled => format!("disabled by the operator; {reason}"),
    };
    let usable = health != Health::Down && real.state == RealState::Active;
    Verdict { usable, health, reason }
}

fn unchecked(check: Option<&Check>) -> String {
    match check {
        None => "no check configured: counted as up".to_owned(),
        Some(_) => "this version does not run checks yet: counted as up".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(state: RealState) -> Real {
        Real { address: IpAddr::from([10, 0, 0, 11]), weight: 1, state, mac: None, force_up: false }
    }

    #[test]
    fn a_real_is_usable_if_it_is_wanted_and_can_be_reached() {
        let mac = Mac([2, 0, 0, 0, 0, 11]);
        for (reach, reachable) in [
            (Reach::Static(mac), true),
            (Reach::Resolved(mac), true),
            (Reach::Inherited(mac), true),
            (Reach::Unresolved, false),
            (Reach::Silent(Some(mac)), false),
            (Reach::Behind(IpAddr::from([10, 0, 0, 1])), false),
            (Reach::Cut("interface eth1 is down".to_owned()), false),
        ] {
            for state in [RealState::Active, RealState::Drain, RealState::Disabled] {
                let verdict = judge(&real(state), reach.clone(), None);
                assert_eq!(verdict.usable, reachable && state == RealState::Active);
                assert_eq!(verdict.health == Health::Down, !reachable);
                assert!(!verdict.reason.is_empty());
            }
        }
    }
}
