//! From the table to a draft.

use std::time::Duration;

use super::{
    super::{Draft, DraftReal, DraftVip, Note, source::Source},
    table::{Key, Server, Service, Table},
    words::Rule,
};
use crate::model::{HashMode, Ports, Protocol, UdpMode};

const BY_MARK: &str = "left out: a service by firewall mark; which addresses and ports it has is in the \
    rules of the firewall that set the mark: write a VIP for each of these addresses";

const SCTP: &str =
    "left out: SCTP; TCP and UDP are balanced, and every protocol together by ports = [\"any\"]";

const NAT: &str = "left out: masquerading (NAT) brings the answers back through the balancer, under direct \
    server return the real sends them itself: set it up for that (lbctl backend script), then write it as a real";

const TUNNEL: &str = "left out: a real behind a tunnel; reals are reached by their MAC addresses: bring it \
    into a network of the balancer, then write it as a real";

const EMPTY: &str = "left out: a VIP of which no real could be carried over";

const PERSISTENCE: &str = "hash = \"source\" instead: a client keeps its real while the pool stays the same, \
    however long it is silent";

const COUNTS_CONNECTIONS: &str = "connections are not counted: new flows are spread by their hash, in \
    proportion to the weights";

const BY_WEIGHT_ALONE: &str = "no real is kept back: every one with a weight above 0 gets new flows; a single \
    spare one can be the VIP's sorry";

const SYNC: &str = "left out: balancers tell each other nothing; those with the same pools and the same \
    hash_seed choose the same reals";

/// The longest time that a configuration can say.
const WEEK: u32 = 7 * 24 * 3600;

pub(super) fn draft(table: &Table<'_>, source: Source<'_>) -> Draft {
    let mut draft = Draft::default();
    for service in &table.services {
        match vip(service, source) {
            Ok(vip) => draft.vips.push(timed(vip, table)),
            Err(notes) => draft.notes.extend(notes),
        }
    }
    draft.notes.extend(table.others.iter().map(|rule| source.note(rule.line, rule.text, SYNC)));
    if let Some((rule, [_, fin, _])) = &table.timeouts
        && *fin > 0
    {
        let reason =
            "the timeout after a FIN is left out; the others are idle_timeout and udp_idle_timeout";
        draft.notes.push(source.note(rule.line, rule.text, reason));
    }
    draft
}

fn timed(mut vip: DraftVip, table: &Table<'_>) -> DraftVip {
    let time = |seconds: u32| (seconds > 0).then(|| Duration::from_secs(seconds.min(WEEK).into()));
    let of = |protocol| {
        let all = Ports::All(protocol);
        vip.vip.ports.iter().any(|ports| all.covers(*ports))
    };
    let (tcp, udp) = (of(Protocol::Tcp), of(Protocol::Udp));
    if let Some((_, [flows, _, datagrams])) = table.timeouts {
        vip.vip.idle_timeout = time(flows).filter(|_| tcp).unwrap_or(vip.vip.idle_timeout);
        let plain = vip.vip.udp_idle_timeout;
        vip.vip.udp_idle_timeout = time(datagrams).filter(|_| udp).unwrap_or(plain);
    }
    vip
}

/// The VIP of a service; or why there can be none.
fn vip(service: &Service<'_>, source: Source<'_>) -> Result<DraftVip, Vec<Note>> {
    let rule = &service.rule;
    let origin = source.origin(rule.line, rule.text);
    let (protocol, address, port) = match service.key {
        Key::Tcp(address, port) => (Protocol::Tcp, address, port),
        Key::Udp(address, port) => (Protocol::Udp, address, port),
        Key::Sctp(..) => return Err(vec![origin.note(with_servers(SCTP, service))]),
        Key::Mark(_) => return Err(vec![origin.note(with_servers(BY_MARK, service))]),
    };
    let ports = if port == 0 { Ports::All(protocol) } else { Ports::One(protocol, port) };
    let mut vip = DraftVip::new(origin, address, vec![ports]);
    reals(&mut vip, service, port, source);
    if vip.reals.is_empty() && !service.servers.is_empty() {
        return Err([vec![vip.origin.note(EMPTY)], vip.notes].concat());
    }
    options(&mut vip, rule, source);
    vip.notes.sort_by_key(|note| note.line);
    Ok(vip)
}

/// What cannot be a VIP still has servers, which are told.
fn with_servers(reason: &str, service: &Service<'_>) -> String {
    if service.servers.is_empty() {
        return reason.to_owned();
    }
    let server = |server: &Server<'_>| format!("{} (weight {})", server.address, server.weight);
    let servers: Vec<_> = service.servers.iter().map(server).collect();
    format!("{reason}, with the reals {}", servers.join(", "))
}

fn options(vip: &mut DraftVip, rule: &Rule<'_>, source: Source<'_>) {
    let name = scheduler(rule);
    if matches!(name, "sh" | "mh") && !flags(rule).any(|flag| flag.ends_with("-port")) {
        vip.vip.hash = HashMode::Source;
    }
    if let Some(reason) = spread_otherwise(name) {
        vip.notes.push(source.note(rule.line, &format!("-s {name}"), reason));
    }
    if rule.has("persistent") {
        vip.vip.hash = HashMode::Source;
        let seconds = rule.value("persistent").map_or("", |word| word.text);
        vip.notes.push(source.note(rule.line, &format!("-p {seconds}"), PERSISTENCE));
    }
    if rule.has("ops") {
        vip.vip.udp = UdpMode::Packet;
    }
    vip.notes.extend(without_counterpart(rule, source));
}

/// The scheduler's name; ipvsadm has this one where none is given.
fn scheduler<'t>(rule: &Rule<'t>) -> &'t str {
    rule.value("scheduler").map_or("wlc", |word| word.text)
}

fn flags<'t>(rule: &Rule<'t>) -> impl Iterator<Item = &'t str> {
    let flags = rule.value("sched-flags").map_or("", |word| word.text);
    flags.split(',').filter(|flag| !flag.is_empty())
}

/// What a scheduler does that a hash does not.
fn spread_otherwise(name: &str) -> Option<&'static str> {
    match name {
        "rr" | "wrr" | "sh" | "mh" => None,
        "lc" | "wlc" | "lblc" | "lblcr" | "sed" | "nq" | "twos" => Some(COUNTS_CONNECTIONS),
        "fo" | "ovf" => Some(BY_WEIGHT_ALONE),
        "dh" => Some("the VIP's address chooses no real: new flows are spread by their hash"),
        _ => Some(
            "an unknown scheduler: new flows are spread by their hash, in proportion to the weights",
        ),
    }
}

fn without_counterpart(rule: &Rule<'_>, source: Source<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let whole = |mask: &str| matches!(mask, "255.255.255.255" | "128");
    if let Some(mask) = rule.value("netmask").filter(|mask| !whole(mask.text)) {
        let reason =
            "left out: clients are told apart by their whole address, not by their network";
        notes.push(source.note(rule.line, &format!("-M {}", mask.text), reason));
    }
    if let Some(engine) = rule.value("pe") {
        let reason = "left out: nothing within packets is looked at; hash = \"source\" keeps all calls of one client together";
        notes.push(source.note(rule.line, &format!("--pe {}", engine.text), reason));
    }
    let unknown = |flag: &&str| !flag.ends_with("-port") && !flag.ends_with("-fallback");
    for flag in flags(rule).filter(unknown) {
        let reason = "left out: this flag has no counterpart";
        notes.push(source.note(rule.line, &format!("-b {flag}"), reason));
    }
    notes
}

fn reals(vip: &mut DraftVip, service: &Service<'_>, port: u16, source: Source<'_>) {
    // These take no notice of weights, but for 0.
    let flat = matches!(scheduler(&service.rule), "rr" | "lc");
    for server in &service.servers {
        let origin = source.origin(server.rule.line, server.rule.text);
        if let Some(reason) = refusal(server, vip) {
            vip.notes.push(origin.note(reason));
            continue;
        }
        let mut real = DraftReal::new(origin, server.address);
        real.weight = if flat { server.weight.min(1) } else { server.weight };
        real.notes = differences(server, port, source);
        vip.reals.push(real);
    }
}

/// Why a server cannot be a real.
fn refusal(server: &Server<'_>, vip: &DraftVip) -> Option<&'static str> {
    let tunnel = server.rule.has("ipip") || server.rule.has("tun-type");
    let twice = vip.reals.iter().any(|real| real.address == server.address);
    [
        (server.rule.has("masquerading"), NAT),
        (tunnel, TUNNEL),
        (twice, "left out: the real is in the pool already, and direct server return cannot translate ports"),
    ]
    .into_iter()
    .find_map(|(so, reason)| so.then_some(reason))
}

fn differences(server: &Server<'_>, port: u16, source: Source<'_>) -> Vec<Note> {
    let (rule, mut notes) = (&server.rule, Vec::new());
    if server.port != port && server.port != 0 {
        let words = format!("-r {}", rule.value("real-server").map_or("", |word| word.text));
        let reason = "the port is left out, as IPVS does under direct server return: the real gets packets for the VIP's port";
        notes.push(source.note(rule.line, &words, reason));
    }
    for (name, option) in [("u-threshold", "-x"), ("l-threshold", "-y")] {
        if let Some(word) = rule.value(name).filter(|word| word.text != "0") {
            let reason = "left out: connections are not counted, so a real has no limit of them";
            notes.push(source.note(rule.line, &format!("{option} {}", word.text), reason));
        }
    }
    notes
}
