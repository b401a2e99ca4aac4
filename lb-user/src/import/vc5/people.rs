//! The YAML that people write.

use super::{
    super::{Draft, Unreadable, services},
    checks::{Checks, Context},
    service::{Reader, Server, Service, unknown},
    tree::Node,
};
use crate::model::Protocol;

/// What may be said of a service and of a port of its policy.
const BOTH: &[&str] = &[
    "name",
    "description",
    "host",
    "path",
    "method",
    "expect",
    "need",
    "sticky",
    "reset",
    "scheduler",
    "priority",
    "persist",
    "checks",
    "leastconns",
    "tunnel-type",
];

/// What may be said of a service alone.
const SERVICE: &[&str] =
    &["desc", "virtual", "address", "addr", "servers", "real", "policy", "port", "fallback"];

/// What may be said of a port alone.
const POLICY: &[&str] = &["bind"];

/// A port of a policy.
struct Port<'a> {
    at: &'a Node,
    /// What is said of this port.
    settings: &'a Node,
    protocol: Protocol,
    port: u16,
    bind: u16,
    /// The type of check that it has where none is said.
    check: Option<&'static str>,
}

pub(super) fn services(
    reader: &Reader<'_>,
    list: &Node,
    draft: &mut Draft,
) -> Result<(), Unreadable> {
    for service in list.items() {
        if !service.is_map() {
            let reason = "a service is a map with name, virtual, servers and policy";
            return Err(reader.wrong(service, reason));
        }
        draft.notes.extend(unknown(service, &[BOTH, SERVICE].concat(), reader));
        let addresses = given(service, &["virtual", "address", "addr"])
            .ok_or_else(|| reader.wrong(service, "the service has no virtual address"))?;
        let ports = ports(reader, service, draft)?;
        for address in addresses.items() {
            for port in &ports {
                let one = one(reader, service, address, port)?;
                reader.room(&one)?;
                match one.vip(reader) {
                    Ok(vip) => draft.vips.push(vip),
                    Err(note) => draft.notes.push(note),
                }
            }
        }
    }
    Ok(())
}

/// The value of the first of these keys that is there; versions have had several.
fn given<'a>(node: &'a Node, keys: &[&str]) -> Option<&'a Node> {
    keys.iter().find_map(|key| node.get(key))
}

fn one<'a>(
    reader: &Reader<'a>,
    service: &'a Node,
    address: &'a Node,
    port: &Port<'a>,
) -> Result<Service<'a>, Unreadable> {
    let settings = vec![port.settings, service];
    let text = address.text().ok_or_else(|| reader.wrong(address, "not an address"))?;
    let context = Context { reader, protocol: port.protocol, port: port.port, settings: &settings };
    let mut checks = Checks::default();
    let listed = port.settings.get("checks").or_else(|| service.get("checks"));
    match (listed, port.check) {
        (Some(list), _) if !list.items().is_empty() => checks.list(list, None, context),
        (_, Some(kind)) => checks.one(kind, port.at, port.settings, context),
        (_, None) => {}
    }
    Ok(Service {
        at: address,
        address: text.to_owned(),
        protocol: port.protocol,
        port: port.port,
        port_at: port.at,
        bind: port.bind,
        disabled: false,
        servers: servers(reader, service)?,
        checks: checks.checks,
        notes: checks.notes,
        settings,
    })
}

/// The servers, where a name stands for a list of them.
fn servers<'a>(reader: &Reader<'a>, service: &'a Node) -> Result<Vec<Server<'a>>, Unreadable> {
    let list = given(service, &["servers", "real"])
        .ok_or_else(|| reader.wrong(service, "the service has no servers"))?;
    let named = |name: &str| {
        let lists = ["servers", "reals"].into_iter().filter_map(|key| reader.root.get(key));
        lists.filter_map(|lists| lists.get(name)).next()
    };
    let mut servers = Vec::new();
    // Once they were a map, from addresses to names.
    let entries: Vec<&Node> = match list.is_map() {
        true => list.entries().iter().map(|(key, _)| key).collect(),
        false => list.items().iter().collect(),
    };
    for item in entries {
        let text = item.text().ok_or_else(|| reader.wrong(item, "not the address of a server"))?;
        let is_name = !text.contains(['.', ':']);
        match named(text) {
            Some(list) => servers.extend(list.items().iter().filter_map(server)),
            None if is_name => {
                let reason = format!("there is no list {text:?} below servers");
                return Err(reader.wrong(item, reason));
            }
            None => servers.extend(server(item)),
        }
    }
    Ok(servers)
}

/// A star behind it takes it out of service.
fn server(at: &Node) -> Option<Server<'_>> {
    let text = at.text()?;
    let address = text.strip_suffix('*').unwrap_or(text).to_owned();
    Some(Server { at, address, weight: 1, disabled: text.ends_with('*') })
}

fn ports<'a>(
    reader: &Reader<'a>,
    service: &'a Node,
    draft: &mut Draft,
) -> Result<Vec<Port<'a>>, Unreadable> {
    let Some(policy) = service.get("policy") else { return plain(reader, service) };
    let policy = match policy.text() {
        Some(name) => reader.root.get("policy").and_then(|all| all.get(name)).ok_or_else(|| {
            reader.wrong(policy, format!("there is no policy {name:?} below policy"))
        })?,
        None => policy,
    };
    let mut ports = Vec::new();
    for (key, value) in policy.entries() {
        draft.notes.extend(unknown(value, &[BOTH, POLICY].concat(), reader));
        ports.extend(entry(reader, key, value)?);
    }
    if ports.is_empty() {
        return Err(reader.wrong(policy, "the policy has no port, such as http: or 8080/tcp:"));
    }
    Ok(ports)
}

/// In the oldest versions a service has ports without a policy; those without either have web servers.
fn plain<'a>(reader: &Reader<'a>, service: &'a Node) -> Result<Vec<Port<'a>>, Unreadable> {
    let Some(list) = service.get("port") else {
        let web = [(80, "http"), (443, "https")];
        let port = |(port, check)| Port {
            at: service,
            settings: service,
            protocol: Protocol::Tcp,
            port,
            bind: port,
            check: Some(check),
        };
        return Ok(web.map(port).into());
    };
    let mut ports = Vec::new();
    for at in list.items() {
        let number = at.text().and_then(services::port).filter(|port| *port > 0);
        let port = number.ok_or_else(|| reader.wrong(at, "not a port from 1 to 65535"))?;
        let protocol = Protocol::Tcp;
        ports.push(Port { at, settings: service, protocol, port, bind: port, check: None });
    }
    Ok(ports)
}

/// `http`, `8080/http`, `53/udp`, `domain`, …, with a star for no checks; the value is what is said of
/// it, or the port of the reals.
fn entry<'a>(
    reader: &Reader<'a>,
    key: &'a Node,
    value: &'a Node,
) -> Result<Vec<Port<'a>>, Unreadable> {
    let wrong = || {
        reader
            .wrong(key, "not a port of a policy, such as http, 8443/https, domain, 53/udp or 9000")
    };
    let text = key.text().ok_or_else(wrong)?;
    let (text, checked) = match text.strip_suffix('*') {
        Some(text) => (text, false),
        None => (text, true),
    };
    let (port, kinds) = meaning(text).ok_or_else(wrong)?;
    let bind = value.text().or_else(|| value.get("bind").and_then(Node::text));
    let bind = match bind {
        Some(text) => text.parse().map_err(|_| reader.wrong(value, "not a port of the reals"))?,
        None => port,
    };
    let port = |(protocol, check): &(Protocol, Option<&'static str>)| Port {
        at: key,
        settings: value,
        protocol: *protocol,
        port,
        bind,
        check: check.filter(|_| checked),
    };
    Ok(kinds.iter().map(port).collect())
}

type Kinds = &'static [(Protocol, Option<&'static str>)];

fn meaning(text: &str) -> Option<(u16, Kinds)> {
    use Protocol::{Tcp, Udp};
    let number = |text: &str| text.parse().ok().filter(|port| *port > 0);
    let (before, word) = text.split_once('/').unwrap_or(("", text));
    let kinds: (u16, Kinds) = match (before, word) {
        ("domain" | "dns", "tcp") => return Some((53, &[(Tcp, Some("dns"))])),
        ("domain" | "dns", "udp") => return Some((53, &[(Udp, Some("dns"))])),
        (_, "http") => (80, &[(Tcp, Some("http"))]),
        (_, "https") => (443, &[(Tcp, Some("https"))]),
        (_, "domain" | "dns") => (53, &[(Tcp, Some("dns")), (Udp, Some("dns"))]),
        (_, "tcp") if !before.is_empty() => (0, &[(Tcp, Some("syn"))]),
        (_, "udp") if !before.is_empty() => (0, &[(Udp, None)]),
        ("", word) => {
            let port = services::port(word).filter(|port| *port > 0)?;
            return Some((port, &[(Tcp, Some("syn"))]));
        }
        _ => return None,
    };
    let port = if before.is_empty() { Some(kinds.0) } else { number(before) };
    Some((port?, kinds.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_policies_mean_ports_and_checks() {
        for (text, expected) in [
            ("http", Some("80 tcp:http")),
            ("8443/https", Some("8443 tcp:https")),
            ("domain", Some("53 tcp:dns udp:dns")),
            ("domain/udp", Some("53 udp:dns")),
            ("5353/domain", Some("5353 tcp:dns udp:dns")),
            ("9000", Some("9000 tcp:syn")),
            ("9000/tcp", Some("9000 tcp:syn")),
            ("9000/udp", Some("9000 udp:")),
            ("imaps", Some("993 tcp:syn")),
            ("0", None),
            ("65536/tcp", None),
            ("x/http", None),
            ("tcp", None),
            ("80/sctp", None),
        ] {
            let shown = meaning(text).map(|(port, kinds)| {
                let kind = |(protocol, check): &(Protocol, Option<&str>)| {
                    format!(" {protocol}:{}", check.unwrap_or_default())
                };
                format!("{port}{}", kinds.iter().map(kind).collect::<String>())
            });
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }
}
