//! `lbctl status`.

use comfy_table::CellAlignment::{Left, Right};
use jiff::Timestamp;
use lb_common::Outcome;
use lb_user::api::types::{InterfaceStatus, NodeStatus, Status, VipStatus};

use crate::{
    Session,
    failure::Failure,
    output::{grid, indent},
    real, vip,
};

pub const EXAMPLES: &str = "\
FOR is how long a real's health has been so. Outcomes that never happened are left
out of the table.

Examples:
  lbctl status
  lbctl status -o json | jq '.vips[] | select(.state != \"up\").name'";

pub fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let status = session.client.status()?;
    Ok(session.output.show(&status, |status| text(status, Timestamp::now()))?)
}

/// The whole status for people.
pub fn text(status: &Status, now: Timestamp) -> String {
    let mut text = node(&status.node);
    if status.vips.is_empty() {
        text.push_str("\nno VIPs: add one with `lbctl vip add`\n");
    }
    for vip in &status.vips {
        text.push_str(&format!("\n{}", service(vip, now)));
    }
    let outcomes = outcomes(status);
    if !outcomes.is_empty() {
        let rows = outcomes
            .into_iter()
            .map(|(label, frames, meaning)| [label, frames.to_string(), meaning]);
        let table = grid([("OUTCOME", Left), ("FRAMES", Right), ("MEANING", Left)], rows);
        text.push_str(&format!("\n{table}\n"));
    }
    text
}

fn node(node: &NodeStatus) -> String {
    let interfaces = node.interfaces.iter().map(|InterfaceStatus { name, xdp, state, .. }| {
        let down = if state == "down" { ", down" } else { "" };
        format!("{name} ({xdp}{down})")
    });
    let interfaces = interfaces.collect::<Vec<_>>().join(", ");
    let interfaces = if interfaces.is_empty() { "no interface" } else { &interfaces };
    format!("lbd {} {}, seed {}\nXDP on {interfaces}\n", node.version, node.daemon, node.seed_id)
}

fn service(status: &VipStatus, now: Timestamp) -> String {
    let VipStatus { name, address, ports, reals, .. } = status;
    let head = format!("VIP {name}  {address}  {}  {}\n", ports.join(" "), vip::state(status));
    head + &indent(&real::pool(reals, now))
}

/// Outcomes that happened: label, count and meaning. Labels of another version of the daemon come
/// last, without a meaning.
fn outcomes(status: &Status) -> Vec<(String, u64, String)> {
    let known = Outcome::ALL.iter().map(|outcome| (outcome.label(), outcome.describe()));
    let is_known = |label: &str| Outcome::ALL.iter().any(|outcome| outcome.label() == label);
    let others = status.outcomes.keys().map(String::as_str).filter(|label| !is_known(label));
    let frames =
        |label| status.outcomes.get(label).and_then(serde_json::Value::as_u64).unwrap_or(0);
    known
        .chain(others.map(|label| (label, "-")))
        .map(|(label, meaning)| (label.to_owned(), frames(label), meaning.to_owned()))
        .filter(|(_, frames, _)| *frames > 0)
        .collect()
}
