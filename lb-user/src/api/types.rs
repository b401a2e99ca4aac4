//! What crosses the control socket, as JSON: the fields that scripts rely on.

use std::{fmt, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::event::Event;

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// This machine.
    pub node: NodeStatus,
    /// In the configuration's order.
    pub vips: Vec<VipStatus>,
    /// Frames by the way they ended; see `lb_common::Outcome`.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub outcomes: serde_json::Map<String, serde_json::Value>,
}

/// The balancer itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VipStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    #[schema(value_type = String)]
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
    /// How long a silent flow is still honoured after a change.
    #[serde(default)]
    pub idle_timeout: String,
    /// How long a drain lasts at most.
    #[serde(default)]
    pub drain_timeout: String,
    /// `rehash` or `reset`.
    #[serde(default)]
    pub on_deadline: String,
    /// How long unknown UDP flows count as old after a change.
    #[serde(default)]
    pub udp_idle_timeout: String,
    /// `flow` or `packet`.
    #[serde(default)]
    pub udp: String,
    /// How long a real takes to get its whole part of the new flows, if not at once.
    #[serde(default)]
    pub slow_start: Option<String>,
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
    #[schema(value_type = Option<String>)]
    pub sorry: Option<IpAddr>,
    /// `enabled` or `disabled`, as the operator wants it.
    #[serde(default)]
    pub wanted: String,
    /// The fewest reals that must be up, as in `2` or `50%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_up: Option<String>,
    /// With how many it returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_up_high: Option<String>,
    /// Below which share of reals that are up all are used, as in `30%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<String>,
    /// What is checked of its reals, in words: `http:80/healthz via vip every 2s`.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Its pool, in the configuration's order.
    pub reals: Vec<RealStatus>,
}

/// A real server in the pool of a VIP as it is now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RealStatus {
    /// Its address.
    #[schema(value_type = String)]
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
    /// Since when its health is so.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Whether the operator has it count as up whatever its checks say.
    #[serde(default)]
    pub forced_up: bool,
    /// The newest result of each of the VIP's checks, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,
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
    /// While it is draining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// While it has not its whole part of the new flows yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStartStatus>,
}

/// What came of a check of a real last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckStatus {
    /// `tcp`, `http`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it passed; absent as long as there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// What was answered, or what was wrong.
    pub detail: String,
    /// How long it took, in milliseconds, if it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
}

/// What a drain still waits for. It is over when neither a slot nor a flow is left, or at the
/// deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainStatus {
    /// Slots that still name the real as their previous owner.
    pub slots: u32,
    /// Live flows that are noted on it.
    pub flows: u64,
    /// When it ends in any case.
    #[schema(value_type = String, format = DateTime)]
    pub deadline: Timestamp,
    /// Until then.
    pub seconds_left: u64,
    /// Whether the real is removed afterwards.
    pub removes: bool,
}

/// How far a real has come into service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowStartStatus {
    /// Its part of the new flows relative to its whole part, 0 to 1.
    pub part: f64,
    /// Until it has its whole part.
    pub seconds_left: u64,
}

/// What a change did: the answer to every `POST`, `PATCH` and `DELETE`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// One line, for people.
    pub message: String,
    /// What changed, where a whole configuration was put in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanReport>,
    /// For the log, not sent.
    #[serde(skip)]
    pub audit: Noted,
}

/// What the log tells of something that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Noted {
    /// Its message.
    #[default]
    Done,
    /// What it was before and is now, in a few words.
    Difference(String),
    /// That nothing was to be done.
    Nothing,
}

impl Noted {
    /// These differences, which are none if they are empty.
    #[must_use]
    pub fn of(differences: String) -> Self {
        if differences.is_empty() { Self::Nothing } else { Self::Difference(differences) }
    }
}

impl Done {
    /// Done, and nothing more to tell.
    #[must_use]
    pub fn new(message: String) -> Self {
        Self { message, plan: None, audit: Noted::Done }
    }
}

/// The query of `DELETE /v1/vips/{name}/reals/{address}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RemoveRealQuery {
    /// At once, without draining it first.
    #[serde(default)]
    pub now: bool,
}

/// `GET /v1/flows?vip=…&real=…&limit=…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct FlowsQuery {
    /// Only flows of this VIP.
    #[serde(default)]
    #[param(example = "web")]
    pub vip: Option<String>,
    /// Only flows noted on this real.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "10.0.0.11")]
    #[schema(value_type = Option<String>)]
    pub real: Option<IpAddr>,
    /// How many are listed at most, 1 to [`FlowsQuery::MOST`]; [`FlowsQuery::USUAL`] when absent.
    #[serde(default)]
    pub limit: Option<u32>,
}

impl FlowsQuery {
    /// How many flows are listed where nothing is said of it.
    pub const USUAL: u32 = 1000;

    /// How many flows can be listed at most.
    pub const MOST: u32 = 100_000;

    /// How many flows are listed at most.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(Self::USUAL) as usize
    }
}

/// The flows noted now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Flows {
    /// Those asked for, as many as the limit lets through.
    pub flows: Vec<Flow>,
    /// The table of established TCP flows.
    pub pinned: TableStatus,
    /// The table of TCP flows that have begun.
    pub fresh: TableStatus,
    /// The table of the flows of other protocols.
    pub datagrams: TableStatus,
    /// Whether there are more than were listed.
    pub more: bool,
}

/// A noted flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// The VIP's name.
    pub vip: String,
    /// `tcp`, `udp`, or the protocol's number.
    pub protocol: String,
    /// The client, `198.51.100.7:40000`.
    pub source: String,
    /// The VIP and port, `192.0.2.10:80`.
    pub destination: String,
    /// The real that gets its packets.
    #[schema(value_type = String)]
    pub real: IpAddr,
    /// `pinned`, `fresh` or `datagram`.
    pub table: String,
    /// The slot of the VIP's ring.
    pub slot: u32,
    /// Since it was noted.
    pub age_seconds: u64,
    /// Since its last packet.
    pub idle_seconds: u64,
}

/// How full a table of flows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableStatus {
    /// Entries in use, of all VIPs.
    pub used: u64,
    /// Entries there are.
    pub size: u64,
}

/// `POST /v1/plan`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanQuery {
    /// What if this were the configuration: TOML text.
    pub config: String,
}

/// `POST /v1/apply`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyQuery {
    /// The new configuration: TOML text, which replaces the file.
    pub config: String,
    /// Refuse if more than this part of the hash space moves, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_moved: Option<f64>,
}

/// What another configuration would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanReport {
    /// What changes of `[node]`, which takes effect when lbd is restarted.
    #[serde(default)]
    pub node: Vec<String>,
    /// What changes of `[access]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<String>,
    /// What changes of `[hooks]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// Those that change, in the order of the new configuration, then those removed.
    pub vips: Vec<VipPlan>,
    /// The part of all VIPs' hash space of which the new flows go to another real, 0 to 1.
    pub moved: f64,
    /// The part of it of which the open flows lose their real at once, 0 to 1.
    pub lost: f64,
    /// Noted flows in the part that moves.
    pub flows: u64,
}

/// What changes of a VIP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VipPlan {
    /// Its name.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// The part of its hash space of which the new flows go to another real, 0 to 1.
    pub moved: f64,
    /// The part of it of which the open flows lose their real at once, 0 to 1.
    pub lost: f64,
    /// Noted flows in the part that moves.
    pub flows: u64,
    /// What changes beside the reals: `idle_timeout 15m -> 5m`.
    pub details: Vec<String>,
    /// Those that change, or whose share does.
    pub reals: Vec<RealPlan>,
}

/// What changes of a real.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RealPlan {
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// `weight 1 -> 2`.
    pub details: Vec<String>,
    /// Its part of the VIP's hash space now, 0 to 1.
    pub share_before: f64,
    /// Its part afterwards.
    pub share_after: f64,
}

/// `GET /v1/trace?src=…&dst=…`.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct TraceQuery {
    /// The client, `198.51.100.7:40000`.
    #[param(example = "198.51.100.7:40000")]
    pub src: String,
    /// The VIP and port, `192.0.2.10:80`.
    #[param(example = "192.0.2.10:80")]
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
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
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
    #[schema(value_type = Option<String>)]
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

/// Why nothing is done, whatever is asked for.
#[derive(utoipa::IntoResponses)]
pub enum Problems {
    /// Who asks may not.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// It was tried and failed.
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
}

/// Why something that is asked for in words is not done.
#[derive(utoipa::IntoResponses)]
pub enum Worded {
    /// The input is wrong.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
}

/// Why something is not done with an object that is named.
#[derive(utoipa::IntoResponses)]
pub enum Named {
    /// There is no such object.
    #[response(status = 404, content_type = "application/problem+json")]
    Missing(Problem),
}

/// Why something is not done that could be done at another time.
#[derive(utoipa::IntoResponses)]
pub enum Circumstances {
    /// The circumstances forbid it.
    #[response(status = 409, content_type = "application/problem+json")]
    Refused(Problem),
}

/// Why a body is not taken.
#[derive(utoipa::IntoResponses)]
pub enum Bodied {
    /// The body has not come in time.
    #[response(status = 408, content_type = "application/problem+json")]
    Late(Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    Large(Problem),
}

/// An error: RFC 9457, `application/problem+json`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the status code says it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status code's phrase.
    pub title: String,
    /// The HTTP status: 400 invalid input, 403 not allowed, 404 no such object, 405 no such method, 408 too slow,
    /// 409 refused, 413 too large, 500 failed.
    pub status: u16,
    /// One line that names the object and what to do.
    pub detail: String,
    /// Where the configuration that was sent is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
}

/// A place in a configuration, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The object, what is wrong with it and what would be right.
    pub message: String,
}

/// The query of `GET /v1/capture`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct CaptureQuery {
    /// Only what is for the VIP of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// Only what is sent to this real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>)]
    pub real: Option<IpAddr>,
    /// Only what ends so; a label of `lb_common::Outcome`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// After how many packets it ends; 1 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    #[schema(minimum = 1)]
    pub count: Option<u64>,
    /// After how many seconds it ends; 1 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    #[schema(minimum = 1)]
    pub seconds: Option<u64>,
    /// One packet of so many is looked at; 1 or more, and 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    #[schema(minimum = 1)]
    pub sample: Option<u32>,
}

impl CaptureQuery {
    /// Whether the numbers are in their ranges.
    ///
    /// # Errors
    ///
    /// Which is not.
    pub fn check(&self) -> Result<(), String> {
        let numbers = [
            ("count", self.count),
            ("seconds", self.seconds),
            ("sample", self.sample.map(u64::from)),
        ];
        match numbers.iter().find(|(_, number)| *number == Some(0)) {
            Some((name, _)) => Err(format!("{name} 0 is out of range; write 1 or more")),
            None => Ok(()),
        }
    }
}

impl fmt::Display for CaptureQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vip, real, outcome, .. } = self;
        let vip = vip.as_ref().map(|vip| format!("for vip {vip}"));
        let real = real.map(|real| format!("to real {real}"));
        let outcome = outcome.as_ref().map(|outcome| format!("ending as {outcome}"));
        let parts: Vec<_> = [vip, real, outcome].into_iter().flatten().collect();
        match parts.is_empty() {
            true => f.write_str("all packets"),
            false => write!(f, "packets {}", parts.join(", ")),
        }
    }
}

/// The query of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only what is about the VIP of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// How many of those that were, the newest; all that are kept when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// Whether what comes is wanted, too.
    #[serde(default)]
    pub follow: bool,
}

/// A line of the answer to `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EventLine {
    /// Something has happened.
    Event(Event),
    /// The follower was too slow for so many.
    Missed {
        /// How many.
        missed: u64,
    },
}

/// `PUT /v1/log`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogChange {
    /// What to log, as in `RUST_LOG`: `debug`, `info,lb_user::health=debug`.
    pub filter: String,
    /// For how long, as in `60s`, at most a day; until lbd ends when absent.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// `GET /v1/log`: what is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogStatus {
    /// As in `RUST_LOG`.
    pub filter: String,
    /// Until when, if that is for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// What is logged afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
}
