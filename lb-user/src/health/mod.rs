//! Whether a real server may get packets, and why: from what the operator wants and from what is
//! known of the way to it. Pure; the watcher brings the facts.

pub mod checker;
pub mod record;

use std::{borrow::Cow, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::model::{Mac, Real, RealState};

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

    /// Whether frames can be sent to it now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Static(_) | Self::Resolved(_) | Self::Inherited(_))
    }
}

/// What the checks of a real say, taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// None is configured.
    Nothing,
    /// They have not said it often enough yet; until then it counts as up or not.
    Pending {
        /// Whether it counts as up.
        up: bool,
    },
    /// All pass.
    Passed {
        /// With what answer.
        summary: String,
    },
    /// One fails.
    Failed {
        /// Which, and why.
        reason: String,
    },
}

impl Checked {
    /// Whether a real of which this is said may be used.
    fn health(&self) -> Health {
        match self {
            Self::Nothing => Health::Unknown,
            Self::Pending { up: true } | Self::Passed { .. } => Health::Up,
            Self::Pending { up: false } | Self::Failed { .. } => Health::Down,
        }
    }

    /// How it is told.
    fn told(self) -> Cow<'static, str> {
        match self {
            Self::Nothing => "no check configured: counted as up".into(),
            Self::Pending { up: true } => "not checked yet: counted as up".into(),
            Self::Pending { up: false } => "not checked yet: counted as down".into(),
            Self::Passed { summary } => summary.into(),
            // Where there are several it says which.
            Self::Failed { reason } if reason.starts_with("check ") => reason.into(),
            Self::Failed { reason } => format!("check: {reason}").into(),
        }
    }
}

/// The word for health in status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Its checks pass.
    Up,
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
            Self::Up => "up",
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
    /// Why: never empty. Nearly all have the same reason, which takes no memory.
    pub reason: Cow<'static, str>,
    /// Whether it rests on something; else nothing has been heard of the real yet.
    #[serde(default = "yes")]
    pub known: bool,
}

fn yes() -> bool {
    true
}

/// The verdict on a real. Health is what the machine knows, whatever the operator wants of it; unless the
/// operator says that it is up.
#[must_use]
pub fn judge(real: &Real, reach: &Reach, checked: Checked) -> Verdict {
    let waits = reach.is_open() && matches!(checked, Checked::Pending { .. });
    let known = !waits && *reach != Reach::Unresolved;
    let health = health(real, reach, &checked);
    let reason = match (blocked(real, reach), checked.told()) {
        (Some(reason), _) => reason,
        (None, reason) if real.force_up => format!("forced up by the operator; {reason}").into(),
        (None, reason) => reason,
    };
    let usable = health != Health::Down && real.state == RealState::Active;
    Verdict { usable, health, reason: with_wish(real, reason), known }
}

/// The health that [`judge`] finds: without words, as this is asked for very many.
#[must_use]
pub fn health(real: &Real, reach: &Reach, checked: &Checked) -> Health {
    match reach.is_open() {
        false => Health::Down,
        true if real.force_up => Health::Up,
        true => checked.health(),
    }
}

/// Whether it is not down.
#[must_use]
pub fn is_up(real: &Real, reach: &Reach, checked: &Checked) -> bool {
    health(real, reach, checked) != Health::Down
}

/// Why no frame can be sent to it.
fn blocked(real: &Real, reach: &Reach) -> Option<Cow<'static, str>> {
    match reach {
        Reach::Static(_) | Reach::Resolved(_) | Reach::Inherited(_) => None,
        Reach::Unresolved => Some("neighbour unresolved".into()),
        Reach::Silent(_) if real.address.is_ipv4() => {
            Some("neighbour unresolved: no answer to ARP".into())
        }
        Reach::Silent(_) => {
            Some("neighbour unresolved: no answer to neighbour solicitations".into())
        }
        Reach::Behind(gateway) => Some(
            format!(
                "not on the balancer's network (behind {gateway}): a real server must share a LAN with the \
                 balancer"
            )
            .into(),
        ),
        Reach::Cut(reason) => Some(reason.clone().into()),
    }
}

/// The reason, with what the operator wants of it before.
fn with_wish(real: &Real, reason: Cow<'static, str>) -> Cow<'static, str> {
    match real.state {
        RealState::Active if real.weight == 0 => {
            format!("weight 0 takes no new flows; {reason}").into()
        }
        RealState::Active => reason,
        RealState::Drain => format!("drained by the operator; {reason}").into(),
        RealState::Disabled => format!("disabled by the operator; {reason}").into(),
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
                for (checked, passes) in [
                    (Checked::Nothing, true),
                    (Checked::Pending { up: true }, true),
                    (Checked::Pending { up: false }, false),
                    (Checked::Passed { summary: "http 200".to_owned() }, true),
                    (Checked::Failed { reason: "http 503".to_owned() }, false),
                ] {
                    let forced = Real { force_up: true, ..real(state) };
                    for (real, passes) in [(real(state), passes), (forced, true)] {
                        let verdict = judge(&real, &reach, checked.clone());
                        let up = reachable && passes;
                        assert_eq!(verdict.usable, up && state == RealState::Active);
                        assert_eq!(is_up(&real, &reach, &checked), up);
                        assert_eq!(verdict.health != Health::Down, up);
                        assert!(!verdict.reason.is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn the_reason_says_what_the_operator_wants_and_what_the_checks_say() {
        let mac = Mac([2, 0, 0, 0, 0, 11]);
        let failed = Checked::Failed { reason: "http 503".to_owned() };
        let forced = Real { force_up: true, ..real(RealState::Drain) };
        assert_eq!(
            judge(&forced, &Reach::Resolved(mac), failed).reason,
            "drained by the operator; forced up by the operator; check: http 503"
        );
    }
}
