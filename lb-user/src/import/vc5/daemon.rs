//! The JSON that is made for the daemon: services by address, port and protocol.

use super::{
    super::{Draft, Unreadable},
    checks::{Checks, Context},
    service::{Reader, Server, Service, unknown},
    tree::Node,
};
use crate::model::Protocol;

const SERVICE: &[&str] = &[
    "name",
    "description",
    "need",
    "reals",
    "rips",
    "sticky",
    "reset",
    "scheduler",
    "priority",
    "persist",
    "disabled",
    "fallback",
    "local",
    "leastconns",
    "tunnel-type",
];

const REAL: &[&str] =
    &["checks", "disabled", "weight", "http", "https", "tcp", "syn", "dns", "dnstcp"];

/// `services` with keys such as `192.0.2.10:80:tcp`.
pub(super) fn services(
    reader: &Reader<'_>,
    map: &Node,
    draft: &mut Draft,
) -> Result<(), Unreadable> {
    for (key, service) in map.entries() {
        let wrong = || {
            reader.wrong(
                key,
                "a service is named by address, port and protocol, as in 192.0.2.10:80:tcp",
            )
        };
        let mut parts = key.text().ok_or_else(wrong)?.rsplitn(3, ':');
        let (protocol, port, address) = (parts.next(), parts.next(), parts.next());
        let protocol = protocol.and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let port = port.and_then(number).ok_or_else(wrong)?;
        let address = address.ok_or_else(wrong)?;
        add(reader, (key, address), (protocol, port), service, draft)?;
    }
    Ok(())
}

/// `vips` of earlier versions: by address, and then by protocol and port as in `tcp:80`.
pub(super) fn vips(reader: &Reader<'_>, map: &Node, draft: &mut Draft) -> Result<(), Unreadable> {
    for (address, services) in map.entries() {
        let text = address.text().ok_or_else(|| reader.wrong(address, "not an address"))?;
        for (key, service) in services.entries() {
            let wrong =
                || reader.wrong(key, "a service is named by protocol and port, as in tcp:80");
            let (protocol, port) =
                key.text().and_then(|text| text.split_once(':')).ok_or_else(wrong)?;
            let protocol = protocol.parse().map_err(|_| wrong())?;
            let port = number(port).ok_or_else(wrong)?;
            add(reader, (key, text), (protocol, port), service, draft)?;
        }
    }
    Ok(())
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

fn add(
    reader: &Reader<'_>,
    (at, address): (&Node, &str),
    (protocol, port): (Protocol, u16),
    service: &Node,
    draft: &mut Draft,
) -> Result<(), Unreadable> {
    draft.notes.extend(unknown(service, SERVICE, reader));
    let reals = service.get("reals").or_else(|| service.get("rips")).map_or(&[][..], Node::entries);
    draft.notes.extend(reals.iter().flat_map(|(_, real)| unknown(real, REAL, reader)));
    let context = Context { reader, protocol, port, settings: &[] };
    let Checks { checks, notes } = checks(reals, context);
    let bind = reals.iter().filter_map(|(key, _)| split(key.text()?).1).next_back();
    let service = Service {
        at,
        address: address.trim_matches(['[', ']']).to_owned(),
        protocol,
        port,
        port_at: at,
        bind: bind.unwrap_or(port),
        disabled: service.get("disabled").is_some_and(Node::is_true),
        settings: vec![service],
        servers: reals.iter().map(|(key, real)| server(key, real)).collect(),
        checks,
        notes,
    };
    reader.room(&service)?;
    match service.vip(reader) {
        Ok(vip) => draft.vips.push(vip),
        Err(note) => draft.notes.push(note),
    }
    Ok(())
}

/// The checks of the first real, and which have others.
fn checks(reals: &[(Node, Node)], context: Context<'_, '_>) -> Checks {
    let of = |real: &Node| {
        let mut checks = Checks::default();
        read(&mut checks, real, context);
        checks
    };
    let mut reals = reals.iter();
    let mut checks = reals.next().map_or_else(Checks::default, |(_, real)| of(real));
    for (key, real) in reals {
        if !alike(&checks, &of(real)) {
            let reason = "checks of a VIP are the same for all reals: those of the first";
            checks.notes.push(context.reader.origin(key).note(reason));
        }
    }
    checks
}

fn server<'a>(at: &'a Node, real: &Node) -> Server<'a> {
    let (address, _) = split(at.text().unwrap_or_default());
    let disabled = real.get("disabled").is_some_and(Node::is_true);
    let weight = real.get("weight").and_then(Node::text).and_then(|text| text.parse().ok());
    // One that is disabled is written with weight 0.
    let weight = if disabled { weight.filter(|weight| *weight > 0) } else { weight };
    Server { at, address: address.to_owned(), weight: weight.unwrap_or(1), disabled }
}

/// A real's address, and its port if it has one.
fn split(text: &str) -> (&str, Option<u16>) {
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, port.strip_prefix(':').and_then(number));
    }
    match text.rsplit_once(':') {
        Some((address, port))
            if !address.contains(':')
                || number(port).is_some() && address.parse::<std::net::Ipv6Addr>().is_ok() =>
        {
            (address, number(port))
        }
        _ => (text, None),
    }
}

/// Checks in one list, or by their types.
fn read(checks: &mut Checks, real: &Node, context: Context<'_, '_>) {
    if let Some(list) = real.get("checks") {
        checks.list(list, None, context);
    }
    for kind in ["http", "https", "tcp", "syn", "dns", "dnstcp"] {
        if let Some(list) = real.get(kind) {
            checks.list(list, Some(kind), context);
        }
    }
}

fn alike(a: &Checks, b: &Checks) -> bool {
    let kinds =
        |checks: &Checks| checks.checks.iter().map(|check| check.check.clone()).collect::<Vec<_>>();
    kinds(a) == kinds(b)
}
