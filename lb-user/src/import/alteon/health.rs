//! Health checks of a group, as checks of the VIP.

use std::time::Duration;

use super::{
    super::{DraftCheck, DraftVip, check, draft::paced, source::Source},
    draft::without_counterpart,
    objects::{Object, Objects},
};
use crate::model::{
    Check, CheckKind, CheckVia, DnsCheck, HttpCheck, HttpVersion, Ports, Protocol, Tls,
};

/// The names of checks of which a server's answer is read, and that it comes over TCP.
const SPOKEN: &[(&str, bool)] = &[
    ("ftp", true),
    ("imap", true),
    ("ldap", true),
    ("ldaps", true),
    ("nntp", true),
    ("pop3", true),
    ("rtsp", true),
    ("smtp", true),
    ("sslh", true),
    ("sslhv3", true),
    ("radius-aa", false),
    ("radius-auth", false),
    ("radius-acc", false),
    ("radius", false),
    ("sip", false),
    ("sipoptions", false),
    ("snmp", false),
    ("tftp", false),
    ("wsp", false),
    ("wts", true),
    ("wtls", false),
    ("dhcp", false),
];

/// What is to be asked, with all that the objects around it say.
struct Asked<'o, 't> {
    kind: String,
    /// That of a health check of its own.
    own_port: Option<u16>,
    /// That, or the service's.
    port: Option<u16>,
    content: Option<&'t str>,
    host: Option<String>,
    /// The health check of its own, in newer versions.
    object: Option<&'o Object<'t>>,
}

/// What becomes of it, and what is lost.
type Became = (Option<CheckKind>, Option<String>);

pub(super) fn checks(
    vip: &mut DraftVip,
    virt: &Object<'_>,
    service: &Object<'_>,
    group: &Object<'_>,
    objects: &Objects<'_>,
    source: Source<'_>,
) {
    let name = group.value("health").unwrap_or("tcp");
    let object = objects.checks.iter().find(|check| check.id == name);
    let kind = object.map_or(name, |check| check.kind).to_ascii_lowercase();
    let own = object.and_then(|check| check.value("dport")).and_then(|port| port.parse().ok());
    let asked = Asked {
        kind,
        own_port: own,
        port: own.or_else(|| port(&vip.vip.ports)),
        content: group.value("content").filter(|content| !matches!(*content, "" | "none")),
        host: host(virt, service),
        object,
    };
    let (line, words) = match (object, group.last("health")) {
        (Some(check), _) => (check.line, check.text.to_owned()),
        (None, Some(health)) => (health.line, health.text.to_owned()),
        (None, None) => (group.line, format!("{}: health tcp, the default", group.text)),
    };
    let origin = source.origin(line, &words);
    let (kind, lost) = become_ours(&asked);
    vip.notes.extend(lost.map(|reason| origin.note(reason)));
    if let Some(check) = object {
        vip.notes.extend(check.notes.clone());
        vip.notes.extend(unknown(check).filter_map(|command| without_counterpart(command, source)));
    }
    let Some(kind) = kind else { return };
    let mut check = pace(vip, check(kind), group, object, objects);
    check.via = if group.value("viphlth") == Some("dis") { CheckVia::Rip } else { CheckVia::Vip };
    vip.checks.push(DraftCheck { origin, check });
}

/// The one port that a check can be for.
fn port(ports: &[Ports]) -> Option<u16> {
    ports.iter().find_map(|ports| match ports {
        Ports::One(_, port) => Some(*port),
        _ => None,
    })
}

/// The `Host` header: the service's host in the virtual server's domain.
fn host(virt: &Object<'_>, service: &Object<'_>) -> Option<String> {
    let named = |name: &&str| !matches!(*name, "" | "none");
    let host = service.value("hname").filter(named);
    let domain = virt.value("dname").filter(named);
    match (host, domain) {
        (Some(host), Some(domain)) => Some(format!("{host}.{domain}")),
        (host, domain) => host.or(domain).map(str::to_owned),
    }
}

fn become_ours(asked: &Asked<'_, '_>) -> Became {
    let tcp = asked.port.map(|port| CheckKind::Tcp { port });
    let spoken = SPOKEN.iter().find(|(name, _)| *name == asked.kind);
    match (asked.kind.as_str(), spoken) {
        ("tcp", _) if tcp.is_some() => (tcp, None),
        ("icmp", _) => (Some(CheckKind::Icmp), None),
        ("http" | "https" | "httphead", _) if asked.port.is_some() => http(asked),
        ("dns" | "udpdns" | "dns-udp", _) => dns(asked),
        ("arp", _) => {
            (None, Some("left out: whether a real answers ARP is always looked at".to_owned()))
        }
        ("udp", _) => {
            instead(CheckKind::Icmp, "a udp check needs to know what to send and is not without it")
        }
        (name, Some((_, true))) if tcp.is_some() => {
            let reason = format!("only that the port is open: there is no check of type {name}");
            (tcp, Some(reason))
        }
        (name, Some(_)) => instead(CheckKind::Icmp, &format!("there is no check of type {name}")),
        ("tcp", _) => instead(CheckKind::Icmp, "there is no telling which port"),
        (name, None) => {
            let reason = format!(
                "left out: a check \"{name}\"; reals are used unchecked, so write a check, maybe one of type exec"
            );
            (None, Some(reason))
        }
    }
}

fn instead(kind: CheckKind, reason: &str) -> Became {
    let reason = format!("a check of type {} instead: {reason}", kind.word());
    (Some(kind), Some(reason))
}

fn http(asked: &Asked<'_, '_>) -> Became {
    let own = |name: &str| asked.object.and_then(|check| check.value(name));
    let given = |name: &str| own(name).filter(|text| !matches!(*text, "" | "inherit" | "none"));
    let (content_host, path) = content(given("path").or(asked.content).unwrap_or_default());
    let host = given("host").map(str::to_owned).or(content_host).or_else(|| asked.host.clone());
    let head = asked.kind == "httphead"
        || given("method").is_some_and(|name| name.eq_ignore_ascii_case("head"));
    let tls = asked.kind == "https" || own("ssl") == Some("ena") || own("https") == Some("ena");
    let method = given("method").filter(|name| name.eq_ignore_ascii_case("post"));
    let lost = method.map(|_| "a GET instead: nothing is posted".to_owned());
    let check = HttpCheck {
        port: asked.port.unwrap_or_default(),
        // An Alteon takes any certificate.
        tls: tls.then_some(Tls { name: None, verify: false, ca: None }),
        method: if head { "HEAD" } else { "GET" }.to_owned(),
        path,
        host,
        status: status(given("response")),
        body: None,
        version: HttpVersion::One,
    };
    (Some(CheckKind::Http(check)), lost)
}

/// The host, where one is given as in `//shop.example/path`, and the path.
fn content(text: &str) -> (Option<String>, String) {
    let behind =
        text.strip_prefix("http://").or(text.strip_prefix("https://")).or(text.strip_prefix("//"));
    match behind {
        Some(rest) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            (Some(host.to_owned()).filter(|host| !host.is_empty()), format!("/{path}"))
        }
        None => (None, format!("/{}", text.trim_start_matches('/'))),
    }
}

/// As in `200,301`; what an Alteon takes where nothing is said is 200.
fn status(text: Option<&str>) -> Vec<std::ops::RangeInclusive<u16>> {
    let codes =
        text.unwrap_or_default().split(',').filter_map(|code| code.trim().parse::<u16>().ok());
    let codes: Vec<_> =
        codes.filter(|code| (100..=599).contains(code)).map(|code| code..=code).collect();
    if codes.is_empty() { vec![200..=200] } else { codes }
}

fn dns(asked: &Asked<'_, '_>) -> Became {
    let transport = if asked.kind == "dns" { Protocol::Tcp } else { Protocol::Udp };
    let domain = asked.object.and_then(|check| check.value("domain")).or(asked.content);
    let name = domain.unwrap_or(".").to_owned();
    let record = if domain.is_some() { "A" } else { "NS" }.to_owned();
    let lost = domain
        .is_none()
        .then(|| "without a name to ask for: the root's servers are asked for".to_owned());
    // The usual port, whatever the service's is.
    let port = asked.own_port.unwrap_or(53);
    (Some(CheckKind::Dns(DnsCheck { port, transport, name, record, answer: None })), lost)
}

/// The pace that the check has, or that its reals have where they agree. An Alteon asks every 2 s, and
/// believes 4 failures and 8 answers in a row.
fn pace(
    vip: &mut DraftVip,
    mut check: Check,
    group: &Object<'_>,
    object: Option<&Object<'_>>,
    objects: &Objects<'_>,
) -> Check {
    let number = |object: &Object<'_>, name: &str| {
        object.value(name).and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 0)
    };
    let reals: Vec<_> = super::pool::members(group).filter_map(|id| objects.real(id)).collect();
    let mut agreed = |name: &str, default: u32| {
        let mut given = reals.iter().map(|real| number(real, name).unwrap_or(default));
        let first = given.next().unwrap_or(default);
        if given.any(|other| other != first) {
            let reason = format!(
                "{name} differs between the reals; a VIP's checks have one pace: that of the first, {first}"
            );
            vip.notes.push(vip.origin.note(reason));
        }
        object.and_then(|check| number(check, name)).unwrap_or(first)
    };
    let [interval, fall, rise] =
        [("inter", 2), ("retry", 4), ("restr", 8)].map(|(name, default)| agreed(name, default));
    check.interval = Duration::from_secs(interval.min(3600).into());
    (check.fast_interval, check.timeout) = paced(check.interval);
    let timeout = object.and_then(|check| number(check, "timeout"));
    let timeout = timeout.map(|seconds| Duration::from_secs(seconds.into()));
    check.timeout = timeout.unwrap_or(check.timeout).min(check.interval);
    (check.fall, check.rise) = (fall.min(100), rise.min(100));
    check
}

/// What is said of a health check of its own and not read above.
fn unknown<'o, 't>(check: &'o Object<'t>) -> impl Iterator<Item = &'o super::blocks::Command<'t>> {
    const READ: &[&str] = &[
        "dport", "inter", "retry", "restr", "timeout", "path", "host", "method", "response", "ssl",
        "https", "domain", "name", "descr", "ipver", "always", "ena",
    ];
    check.commands.iter().filter(|command| !READ.contains(&command.name))
}
