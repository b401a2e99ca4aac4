//! What is said of a VIP, by the label `vip`.

use lb_common::Counters;

use super::Make;
use crate::metrics::{
    family::{Family, number, truth},
    snapshot::{Snapshot, Vip},
};

/// In the order in which they are written.
pub(super) const FAMILIES: &[Make] = &[
    info,
    state,
    enabled,
    announced,
    thief,
    packets,
    bytes,
    flows,
    active,
    usable,
    slots,
    tracked,
    noted,
    sorry_packets,
    sorry_bytes,
    sorry_flows,
    check_timeout,
];

const STATES: [&str; 3] = ["up", "degraded", "down"];

/// A family with a sample for each VIP that has such a value.
fn each(mut family: Family, snapshot: &Snapshot, value: impl Fn(&Vip) -> Option<f64>) -> Family {
    for vip in &snapshot.vips {
        if let Some(value) = value(vip) {
            family.add(&[("vip", &vip.name)], value);
        }
    }
    family
}

fn counters(
    name: &str,
    help: &str,
    snapshot: &Snapshot,
    value: impl Fn(&Counters) -> u64,
) -> Family {
    each(Family::counter(name, help), snapshot, |vip| Some(number(value(&vip.steered))))
}

fn sorry(name: &str, help: &str, snapshot: &Snapshot, value: impl Fn(&Counters) -> u64) -> Family {
    let value = |vip: &Vip| vip.sorry.as_ref().map(|(_, steered)| number(value(steered)));
    each(Family::counter(name, help), snapshot, value)
}

fn info(snapshot: &Snapshot) -> Family {
    let help = "The VIP's address and what it serves; 1.";
    let mut family = Family::gauge("lb_vip_info", help);
    for Vip { name, address, ports, .. } in &snapshot.vips {
        let address = address.to_string();
        family.add(&[("vip", name), ("address", &address), ("ports", ports)], 1.0);
    }
    family
}

fn state(snapshot: &Snapshot) -> Family {
    let help =
        "1 for the state that the VIP is in: up (every active real is usable), degraded or down.";
    let mut family = Family::gauge("lb_vip_state", help);
    for vip in &snapshot.vips {
        family.add_state(&[("vip", &vip.name)], "state", &STATES, vip.state);
    }
    family
}

fn enabled(snapshot: &Snapshot) -> Family {
    let help = "Whether the operator wants the VIP in service.";
    each(Family::gauge("lb_vip_enabled", help), snapshot, |vip| Some(truth(vip.enabled)))
}

fn announced(snapshot: &Snapshot) -> Family {
    let help = "Whether lbd announces the VIP's address; absent where announce = \"none\".";
    each(Family::gauge("lb_vip_announced", help), snapshot, |vip| vip.announced.map(truth))
}

fn thief(snapshot: &Snapshot) -> Family {
    let help = "Whether another machine answers for the VIP's address.";
    each(Family::gauge("lb_vip_thief", help), snapshot, |vip| Some(truth(vip.stolen)))
}

fn packets(snapshot: &Snapshot) -> Family {
    let help =
        "Frames steered to the VIP's reals, those that have left it and the sorry server included.";
    counters("lb_vip_packets_total", help, snapshot, |steered| steered.packets)
}

fn bytes(snapshot: &Snapshot) -> Family {
    let help = "Bytes of the frames steered to the VIP's reals.";
    counters("lb_vip_bytes_total", help, snapshot, |steered| steered.bytes)
}

fn flows(snapshot: &Snapshot) -> Family {
    let help = "TCP connections begun with the VIP.";
    counters("lb_vip_flows_total", help, snapshot, |steered| steered.flows)
}

fn active(snapshot: &Snapshot) -> Family {
    let help = "Reals that should take new flows: active ones with a weight.";
    each(Family::gauge("lb_vip_active_reals", help), snapshot, |vip| Some(number(vip.active)))
}

fn usable(snapshot: &Snapshot) -> Family {
    let help = "Those of the active reals that are usable.";
    each(Family::gauge("lb_vip_usable_reals", help), snapshot, |vip| Some(number(vip.usable)))
}

fn slots(snapshot: &Snapshot) -> Family {
    let help = "Slots of the VIP's ring.";
    each(Family::gauge("lb_vip_slots", help), snapshot, |vip| Some(f64::from(vip.slots)))
}

fn tracked(snapshot: &Snapshot) -> Family {
    let help = "Slots of the VIP's ring that have moved and still have a previous owner.";
    each(Family::gauge("lb_vip_tracked_slots", help), snapshot, |vip| Some(f64::from(vip.tracked)))
}

fn noted(snapshot: &Snapshot) -> Family {
    let help =
        "Live flows noted for the VIP while its ring moves, as the sweeper has last counted them.";
    let sum = |vip: &Vip| Some(number(vip.reals.iter().map(|real| real.noted).sum()));
    each(Family::gauge("lb_vip_noted_flows", help), snapshot, sum)
}

fn check_timeout(snapshot: &Snapshot) -> Family {
    let help = "How long the check, by its number in the VIP's list from 1, may take.";
    let mut family = Family::gauge("lb_vip_check_timeout_seconds", help);
    for vip in &snapshot.vips {
        for (number, (kind, timeout)) in (1_u32..).zip(&vip.checks) {
            let number = number.to_string();
            let labels = [("vip", vip.name.as_str()), ("check", &number), ("type", kind)];
            family.add(&labels, timeout.as_secs_f64());
        }
    }
    family
}

fn sorry_packets(snapshot: &Snapshot) -> Family {
    let help = "Frames steered to the VIP's sorry server, where it has one.";
    sorry("lb_vip_sorry_packets_total", help, snapshot, |steered| steered.packets)
}

fn sorry_bytes(snapshot: &Snapshot) -> Family {
    let help = "Bytes of the frames steered to the VIP's sorry server.";
    sorry("lb_vip_sorry_bytes_total", help, snapshot, |steered| steered.bytes)
}

fn sorry_flows(snapshot: &Snapshot) -> Family {
    let help = "TCP connections begun with the VIP's sorry server.";
    sorry("lb_vip_sorry_flows_total", help, snapshot, |steered| steered.flows)
}
