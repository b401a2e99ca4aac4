//! What crosses the control socket, as JSON: the fields that scripts rely on.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// This machine.
    pub node: NodeStatus,
    /// In the configuration's order.
    pub vips: Vec<VipStatus>,
    /// Frames by the way they ended; see `lb_common::Outcome`.
    pub outcomes: serde_json::Map<String, serde_json::Value>,
}

/// The balancer itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The daemon's version.
    pub version: String,
    /// Equal on balancers with the same hash seed; tells nothing about it.
    pub seed_id: String,
    /// `running`.
    pub daemon: String,
    /// Where XDP is attached.
    pub interfaces: Vec<InterfaceStatus>,
}

/// An interface with XDP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// `eth0`.
    pub name: String,
    /// `native`, `generic`, `detached` (XDP could not be attached) or `missing`.
    pub xdp: String,
    /// The MAC address whose frames are balanced.
    pub mac: Option<String>,
    /// `up`, `down` or `missing`.
    #[serde(default)]
    pub state: String,
}

/// A VIP as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VipStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// `tcp/80`, ….
    pub ports: Vec<String>,
    /// `up` (every active real is usable), `degraded` (some), `down` (none).
    pub state: String,
    /// Why it is not up, or not announced; empty when all is well.
    pub reason: String,
    /// `arp` or `none`.
    pub announce: String,
    /// `flow` or `source`.
    pub hash: String,
    /// Whether the daemon has assigned and announced the address.
    pub announced: bool,
    /// The length of the ring.
    pub ring: u32,
    /// Slots with a previous owner.
    pub tracked_slots: u32,
    /// Frames steered to its reals since the VIP was added.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// TCP connections begun.
    pub flows: u64,
    /// The sorry server's address.
    pub sorry: Option<IpAddr>,
    /// Its pool, in the configuration's order.
    pub reals: Vec<RealStatus>,
}

/// A real server in the pool of a VIP as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RealStatus {
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address where known.
    pub mac: Option<String>,
    /// The interface it is reached through, by the kernel's name, where known.
    pub interface: Option<String>,
    /// The 802.1Q tag, the inner one of two, of the frames to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// `active`, `drain` or `disabled`.
    pub state: String,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Why: always filled.
    pub reason: String,
    /// Since when health and reason are so.
    pub since: Timestamp,
    /// Its weight.
    pub weight: u16,
    /// Its part of the ring's slots, 0 to 1.
    pub share: f64,
    /// Frames steered to it for this VIP.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// TCP connections begun.
    pub flows: u64,
}

/// What a change did: the answer to every `POST`, `PATCH` and `DELETE`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// One line, for people.
    pub message: String,
}

/// `GET /v1/trace?src=…&dst=…`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceQuery {
    /// The client, `198.51.100.7:40000`.
    pub src: String,
    /// The VIP and port, `192.0.2.10:80`.
    pub dst: String,
    /// `tcp` (default) or `udp`.
    #[serde(default)]
    pub proto: Option<String>,
    /// A TCP segment that begins a connection.
    #[serde(default)]
    pub syn: bool,
    /// What if these reals were down: addresses, joined by commas.
    #[serde(default)]
    pub down: Option<String>,
    /// What if this were the configuration: TOML text.
    #[serde(default)]
    pub config: Option<String>,
}

/// The answer to a trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// `forward`, `pass` or `drop`.
    pub verdict: String,
    /// A label of `lb_common::Outcome`.
    pub outcome: String,
    /// The outcome in a sentence.
    pub explanation: String,
    /// The VIP, where forwarded.
    pub vip: Option<String>,
    /// The slot of its ring.
    pub slot: Option<u32>,
    /// The real server.
    pub real: Option<IpAddr>,
    /// Its MAC address.
    pub mac: Option<String>,
    /// The interface it leaves through.
    pub interface: Option<String>,
    /// The rule that chose it.
    pub by: Option<String>,
    /// Whether the answer is the loaded program's, or a prediction for a what-if.
    pub predicted: bool,
}

/// An error: RFC 9457, `application/problem+json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`: the status code says it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status code's phrase.
    pub title: String,
    /// The HTTP status: 400 invalid input, 404 no such object, 409 refused, 500 failed.
    pub status: u16,
    /// One line that names the object and what to do.
    pub detail: String,
}
