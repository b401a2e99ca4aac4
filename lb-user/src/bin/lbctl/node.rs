//! `lbctl status` and `lbctl export`.

use jiff::Timestamp;
use lb_common::Outcome;
use lb_user::api::{
    client::Client,
    types::{RealStatus, Status, VipStatus},
};
use serde::Serialize;

use crate::{
    Failure,
    output::{Output, or_dash, table},
};

pub(crate) fn status(client: &Client, output: &mut Output) -> Result<(), Failure> {
    output.print(&client.status()?, |status| render(status, Timestamp::now()))
}

/// The configuration as TOML; in JSON and YAML, as the one field of an object.
pub(crate) fn export(client: &Client, output: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Export {
        toml: String,
    }
    output.print(&Export { toml: client.export()? }, |export| export.toml.clone())
}

fn render(status: &Status, now: Timestamp) -> String {
    let node = &status.node;
    let interfaces = node.interfaces.iter().map(|interface| {
        format!("{} ({} XDP, {})", interface.name, interface.xdp, or_dash(interface.mac.as_ref()))
    });
    let mut parts = vec![format!(
        "lbd {} {}, seed {}, {}",
        node.version,
        node.daemon,
        node.seed_id,
        interfaces.collect::<Vec<_>>().join(", ")
    )];
    parts.extend(status.vips.iter().map(|vip| vip_with_reals(vip, now)));
    parts.push(outcomes(status));
    parts.join("\n\n")
}

fn outcomes(status: &Status) -> String {
    let rows = Outcome::ALL.iter().filter_map(|outcome| {
        let count = status.outcomes.get(outcome.label())?.as_u64().filter(|count| *count > 0)?;
        Some([outcome.label().to_owned(), count.to_string(), outcome.describe().to_owned()])
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return "No packet has arrived yet.".to_owned();
    }
    table(["OUTCOME", "PACKETS", "MEANING"], rows)
}

/// A VIP in two lines, and its pool.
pub(crate) fn vip_with_reals(vip: &VipStatus, now: Timestamp) -> String {
    let reason = if vip.reason.is_empty() { String::new() } else { format!(": {}", vip.reason) };
    let announced = match (vip.announce.as_str(), vip.announced) {
        ("none", _) => "announced by others",
        (_, true) => "announced",
        (_, false) => "NOT announced",
    };
    let sorry = vip.sorry.map(|sorry| format!(", sorry {sorry}")).unwrap_or_default();
    let head = format!(
        "{} {} {}: {}{reason}\n  {announced}, hash {}, ring {}{sorry}; {} packets, {} bytes, {} flows",
        vip.name,
        vip.address,
        vip.ports.join(" "),
        vip.state,
        vip.hash,
        vip.ring,
        vip.packets,
        vip.bytes,
        vip.flows,
    );
    let reals = reals(&vip.reals, now);
    let reals = reals.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
    format!("{head}\n{reals}")
}

/// A pool as a table.
pub(crate) fn reals(reals: &[RealStatus], now: Timestamp) -> String {
    let rows = reals.iter().map(|real| {
        [
            real.address.to_string(),
            real.state.clone(),
            real.health.clone(),
            age(real.since, now),
            real.weight.to_string(),
            format!("{:.1}%", real.share * 100.0),
            real.packets.to_string(),
            real.flows.to_string(),
            or_dash(real.mac.as_ref()),
            real.reason.clone(),
        ]
    });
    let header = ["REAL", "STATE", "HEALTH", "FOR", "WEIGHT", "SHARE", "PACKETS", "FLOWS", "MAC", "REASON"];
    table(header, rows)
}

/// How long ago, in the largest unit.
fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_shows_each_real_with_its_share_and_its_reason() {
        let json = serde_json::json!({
            "node": {"version": "0.1.0", "seed_id": "0badcafe", "daemon": "running",
                "interfaces": [{"name": "eth0", "xdp": "native", "mac": "02:00:00:00:00:02"}]},
            "vips": [{"name": "web", "address": "192.0.2.10", "ports": ["tcp/80"], "state": "degraded",
                "reason": "1 of 2 active reals are usable", "announce": "arp", "hash": "flow",
                "announced": true, "ring": 1021, "tracked_slots": 0, "packets": 7, "bytes": 420,
                "flows": 1, "sorry": null, "reals": [
                    {"address": "10.0.0.11", "mac": "02:00:00:00:00:0b", "interface": "eth0",
                     "state": "active", "health": "unknown", "reason": "no check configured: counted as up",
                     "since": "2026-01-01T00:00:00Z", "weight": 1, "share": 1.0, "packets": 7,
                     "bytes": 420, "flows": 1},
                    {"address": "10.0.0.12", "mac": null, "interface": null, "state": "active",
                     "health": "down", "reason": "neighbour unresolved",
                     "since": "2026-01-01T00:58:00Z", "weight": 1, "share": 0.0, "packets": 0,
                     "bytes": 0, "flows": 0}]}],
            "outcomes": {"forwarded": 7, "not_vip": 0, "no_service": 2}
        });
        let status: Status = serde_json::from_value(json).expect("a status");
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let expected = "\
lbd 0.1.0 running, seed 0badcafe, eth0 (native XDP, 02:00:00:00:00:02)

web 192.0.2.10 tcp/80: degraded: 1 of 2 active reals are usable
  announced, hash flow, ring 1021; 7 packets, 420 bytes, 1 flows
  REAL       STATE   HEALTH   FOR  WEIGHT  SHARE   PACKETS  FLOWS  MAC                REASON
  10.0.0.11  active  unknown  1h   1       100.0%  7        1      02:00:00:00:00:0b  no check configured: counted as up
  10.0.0.12  active  down     2m   1       0.0%    0        0      -                  neighbour unresolved

OUTCOME     PACKETS  MEANING
forwarded   7        Steered to a real server.
no_service  2        The address is a VIP, no service matches, and the address is not assigned to this machine.";
        assert_eq!(render(&status, now), expected);
    }
}
