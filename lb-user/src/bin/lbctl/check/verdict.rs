//! What a status means to whoever is woken by it.

use lb_common::{Action, Outcome};
use lb_user::{
    api::types::{RealStatus, Status, VipStatus},
    model::{RealState, VipState},
};

use super::range::Range;

/// How bad it is, the worst last: as plugins rank it, where several things are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well.
    Ok,
    /// Nobody can tell.
    Unknown,
    /// Somebody should look.
    Warning,
    /// Somebody must.
    Critical,
}

impl Severity {
    /// The exit code of a plugin.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// From when on somebody is to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thresholds {
    /// A warning.
    pub warning: Option<Range>,
    /// An alarm.
    pub critical: Option<Range>,
}

/// The pool of a VIP in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The active reals with a weight: those that are to serve.
    pub wanted: usize,
    /// Those of them that do and whose checks pass.
    pub up: usize,
    /// Those that drain.
    pub draining: usize,
}

impl Pool {
    /// The pool as the daemon tells it.
    pub fn of(vip: &VipStatus) -> Self {
        let in_state = |state: RealState| {
            let word = state.to_string();
            vip.reals.iter().filter(move |real| real.state == word)
        };
        let wanted = || in_state(RealState::Active).filter(|real| real.weight > 0);
        // With too few up the others are used as well, and are not up for that.
        let serves = |real: &&RealStatus| real.share > 0.0 && real.health != "down";
        Self {
            wanted: wanted().count(),
            up: wanted().filter(serves).count(),
            draining: in_state(RealState::Drain).count(),
        }
    }
}

/// Something that is not well, and how bad that is.
pub type Finding = (Severity, String);

/// What is wrong with a VIP, the worst first.
pub fn of_vip(vip: &VipStatus, thresholds: Thresholds) -> Option<Finding> {
    let (name, state) = (&vip.name, vip.state.as_str());
    if vip.wanted == VipState::Disabled.to_string() {
        return Some((Severity::Warning, format!("{name} is disabled by the operator")));
    }
    let pool @ Pool { wanted, up, .. } = Pool::of(vip);
    let crossed = |severity, word, range: Option<Range>| {
        let range = range.filter(|range| range.alerts(up, wanted))?;
        Some((severity, format!("{name}: {up} of {wanted} reals up ({word} {range})")))
    };
    let told = |severity| Some((severity, format!("{name} {}", crate::vip::state(vip))));
    match state {
        "down" => told(Severity::Critical),
        _ => crossed(Severity::Critical, "-c", thresholds.critical)
            .or_else(|| crossed(Severity::Warning, "-w", thresholds.warning))
            .or_else(
                || if is_fine(vip, pool, thresholds) { None } else { told(Severity::Warning) },
            ),
    }
}

/// Who says how many reals are enough has said that fewer than all can be. Whatever else makes a VIP
/// degraded, such as somebody else's answers for its address, is none the better for that.
fn is_fine(vip: &VipStatus, Pool { wanted, up, .. }: Pool, thresholds: Thresholds) -> bool {
    let for_reals = up < wanted && is_about_reals(&vip.reason);
    vip.state == "up"
        || for_reals && (thresholds.warning.is_some() || thresholds.critical.is_some())
}

/// Whether this is all: `2 of 3 active reals are usable`.
fn is_about_reals(reason: &str) -> bool {
    let numbers = reason.strip_suffix(" active reals are usable");
    let numbers = numbers.and_then(|numbers| numbers.split_once(" of "));
    numbers
        .is_some_and(|(up, wanted)| [up, wanted].iter().all(|word| word.parse::<usize>().is_ok()))
}

/// What is wrong with the datapath, on which all VIPs depend.
pub fn of_node(status: &Status) -> Vec<Finding> {
    let interfaces = &status.node.interfaces;
    let without = interfaces
        .iter()
        .filter(|interface| ["detached", "missing"].contains(&interface.xdp.as_str()));
    let without: Vec<_> = without.map(|interface| interface.name.as_str()).collect();
    let mut findings = Vec::new();
    if without.len() == interfaces.len() {
        findings.push((Severity::Critical, "XDP is attached nowhere: nothing is forwarded".into()));
    } else if !without.is_empty() {
        let names = without.join(", ");
        findings.push((Severity::Warning, format!("XDP is not attached to {names}")));
    }
    let down = interfaces.iter().filter(|interface| interface.state == "down");
    findings.extend(down.map(|down| (Severity::Warning, format!("{} is down", down.name))));
    findings
}

/// Frames that were discarded, of all VIPs, since counting began.
pub fn dropped(status: &Status) -> u64 {
    let drops = Outcome::ALL.iter().filter(|outcome| outcome.action() == Action::Drop);
    drops.filter_map(|outcome| status.outcomes.get(outcome.label())?.as_u64()).sum()
}
