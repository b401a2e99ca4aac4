//! What is said of a real server of a VIP, by the labels `vip` and `real`.

use jiff::Timestamp;

use super::Make;
use crate::metrics::{
    family::{Family, number, truth},
    snapshot::{Check, Real, Snapshot, Vip},
};

/// In the order in which they are written.
pub(super) const FAMILIES: &[Make] = &[
    info,
    state,
    health,
    health_since,
    forced,
    weight,
    share,
    packets,
    bytes,
    flows,
    previous,
    noted,
    drain_start,
    drain_deadline,
    check_passed,
    check_duration,
];

const STATES: [&str; 4] = ["active", "drain", "disabled", "removed"];

const HEALTH: [&str; 3] = ["up", "down", "unknown"];

/// Calls with each real, and the labels that it has.
fn all(snapshot: &Snapshot, mut with: impl FnMut(&Real, [(&str, &str); 2])) {
    for Vip { name, reals, .. } in &snapshot.vips {
        for real in reals {
            with(real, [("vip", name), ("real", &real.address.to_string())]);
        }
    }
}

/// A family with a sample for each real that has such a value.
fn each(mut family: Family, snapshot: &Snapshot, value: impl Fn(&Real) -> Option<f64>) -> Family {
    all(snapshot, |real, labels| {
        if let Some(value) = value(real) {
            family.add(&labels, value);
        }
    });
    family
}

/// A family with a sample for each check of each real that has a result.
fn each_check(mut family: Family, snapshot: &Snapshot, value: impl Fn(&Check) -> f64) -> Family {
    all(snapshot, |real, [vip, address]| {
        let numbered = (1_u32..).zip(&real.checks);
        for (number, check) in
            numbered.filter_map(|(number, check)| Some((number, check.as_ref()?)))
        {
            let number = number.to_string();
            let labels = [vip, address, ("check", &number), ("type", check.kind)];
            family.add(&labels, value(check));
        }
    });
    family
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

fn info(snapshot: &Snapshot) -> Family {
    let help = "The interface that the real is reached through, where known; 1.";
    let mut family = Family::gauge("lb_real_info", help);
    all(snapshot, |real, [vip, address]| {
        let interface = real.interface.as_deref().unwrap_or_default();
        family.add(&[vip, address, ("interface", interface)], 1.0);
    });
    family
}

fn state(snapshot: &Snapshot) -> Family {
    let help = "1 for what the operator wants of the real: active, drain, disabled or, while it keeps flows, removed.";
    let mut family = Family::gauge("lb_real_state", help);
    all(snapshot, |real, labels| family.add_state(&labels, "state", &STATES, real.state));
    family
}

fn health(snapshot: &Snapshot) -> Family {
    let help =
        "1 for the real's health: up, down, or unknown (nothing is checked, and it counts as up).";
    let mut family = Family::gauge("lb_real_health", help);
    all(snapshot, |real, labels| family.add_state(&labels, "health", &HEALTH, real.health));
    family
}

fn health_since(snapshot: &Snapshot) -> Family {
    let help = "Since when the real's health is so, since the epoch.";
    let family = Family::gauge("lb_real_health_since_timestamp_seconds", help);
    each(family, snapshot, |real| real.since.map(seconds))
}

fn forced(snapshot: &Snapshot) -> Family {
    let help = "Whether the operator has the real count as up whatever its checks say.";
    each(Family::gauge("lb_real_forced_up", help), snapshot, |real| Some(truth(real.forced)))
}

fn weight(snapshot: &Snapshot) -> Family {
    let help = "The real's weight.";
    each(Family::gauge("lb_real_weight", help), snapshot, |real| Some(f64::from(real.weight)))
}

fn share(snapshot: &Snapshot) -> Family {
    let help = "The real's part of the slots of the VIP's ring, and so of new flows, 0 to 1.";
    each(Family::gauge("lb_real_share_ratio", help), snapshot, |real| Some(real.share))
}

fn packets(snapshot: &Snapshot) -> Family {
    let help = "Frames steered to the real for the VIP.";
    let family = Family::counter("lb_real_packets_total", help);
    each(family, snapshot, |real| Some(number(real.steered.packets)))
}

fn bytes(snapshot: &Snapshot) -> Family {
    let help = "Bytes of the frames steered to the real for the VIP.";
    let family = Family::counter("lb_real_bytes_total", help);
    each(family, snapshot, |real| Some(number(real.steered.bytes)))
}

fn flows(snapshot: &Snapshot) -> Family {
    let help = "TCP connections begun with the real for the VIP.";
    let family = Family::counter("lb_real_flows_total", help);
    each(family, snapshot, |real| Some(number(real.steered.flows)))
}

fn previous(snapshot: &Snapshot) -> Family {
    let help = "Slots that still name the real as their previous owner: older flows go there.";
    let family = Family::gauge("lb_real_previous_slots", help);
    each(family, snapshot, |real| Some(f64::from(real.previous)))
}

fn noted(snapshot: &Snapshot) -> Family {
    let help = "Live flows noted on the real while the VIP's ring moves, as the sweeper has last counted them.";
    each(Family::gauge("lb_real_noted_flows", help), snapshot, |real| Some(number(real.noted)))
}

fn drain_start(snapshot: &Snapshot) -> Family {
    let help = "When the real's drain has begun, since the epoch; absent without a drain.";
    let family = Family::gauge("lb_real_drain_start_timestamp_seconds", help);
    each(family, snapshot, |real| real.drain.map(|(start, _)| seconds(start)))
}

fn drain_deadline(snapshot: &Snapshot) -> Family {
    let help = "When the real's drain ends in any case, since the epoch; absent without a drain.";
    let family = Family::gauge("lb_real_drain_deadline_timestamp_seconds", help);
    each(family, snapshot, |real| real.drain.map(|(_, end)| seconds(end)))
}

fn check_passed(snapshot: &Snapshot) -> Family {
    let help = "Whether the check, by its number in the VIP's list from 1, has passed at the real last; absent before its first result, and while there is no way to make it.";
    each_check(Family::gauge("lb_real_check_passed", help), snapshot, |check| truth(check.passed))
}

fn check_duration(snapshot: &Snapshot) -> Family {
    let help = "How long the check took at the real last, whether it passed or not.";
    let family = Family::gauge("lb_real_check_duration_seconds", help);
    each_check(family, snapshot, |check| check.took.as_secs_f64())
}
