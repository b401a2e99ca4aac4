//! From the objects to a draft.

use std::time::Duration;

use super::{
    super::{Draft, DraftVip, Note, services, source::Source},
    blocks::Command,
    health,
    objects::{Object, Objects},
    others, pool,
};
use crate::model::{HashMode, Ports, Protocol, UdpMode, Vip};

const NAT: &str = "left out: without \"nonat ena\" the addresses are translated (NAT) and answers come back \
    through the balancer; set the reals up for direct server return (lbctl backend script), set nonat, import again";

const RPORT: &str = "left out: the reals listen on another port, and direct server return cannot translate \
    ports; let them listen on the service's port";

const PERSISTENCE: &str = "hash = \"source\" instead: a client keeps its real while the pool stays the same, \
    however long it is silent";

const LAYER7: &str = "left out: nothing within packets is looked at (cookies, TLS sessions, URLs)";

const NO_COUNTERPART: &str = "left out: it has no counterpart";

pub(super) fn draft(objects: &Objects<'_>, source: Source<'_>) -> Draft {
    let mut draft = Draft::default();
    for (virt, service) in &objects.services {
        match vip(&objects.virts[*virt], service, objects, source) {
            Ok(vip) => draft.vips.push(vip),
            Err(notes) => draft.notes.extend(notes),
        }
    }
    draft.notes.extend(unused(objects, source));
    for (section, (line, lines)) in &objects.others {
        let words = format!("{section} ({lines} line{})", if *lines == 1 { "" } else { "s" });
        draft.notes.push(source.note(*line, &words, others::reason(section)));
    }
    if let Some(off) = &objects.off {
        let reason = "left out: load balancing is off as a whole; set state = \"disabled\" for what is to stay off";
        draft.notes.push(source.note(off.line, off.text, reason));
    }
    draft
}

/// The VIP of a service; or why there is none.
fn vip(
    virt: &Object<'_>,
    service: &Object<'_>,
    objects: &Objects<'_>,
    source: Source<'_>,
) -> Result<DraftVip, Vec<Note>> {
    let origin = source.origin(service.line, service.text);
    let refused = |reason: String| vec![origin.note(reason)];
    let Some(address) = virt.value("vip") else {
        return Err(refused("left out: the virtual server has no address (vip)".to_owned()));
    };
    let address = address.parse().map_err(|_| {
        refused(format!("left out: the virtual server's vip {address:?} is not an address"))
    })?;
    let ports = ports(service).map_err(refused)?;
    if !service.is_on("nonat") {
        return Err(refused(with_group(NAT, service, objects)));
    }
    if let Some(rport) = other_port(service, &ports) {
        let reason = with_group(RPORT, service, objects);
        return Err(vec![source.note(rport.line, rport.text, reason)]);
    }
    let mut vip = DraftVip::new(origin, address, ports);
    vip.notes.extend(service.notes.clone());
    virtual_server(&mut vip, virt, source);
    options(&mut vip, service, source);
    let id = group(service);
    match objects.group(id) {
        Some(group) => {
            pool::fill(&mut vip, group, objects, source);
            health::checks(&mut vip, virt, service, group, objects, source);
        }
        None => vip.notes.push(vip.origin.note(format!("group {id} is not in the dump: no reals"))),
    }
    vip.notes.sort_by_key(|note| note.line);
    Ok(vip)
}

/// The number of a service's group.
fn group<'t>(service: &Object<'t>) -> &'t str {
    service.value("group").unwrap_or("1")
}

/// What cannot be a VIP still has reals, which are told.
fn with_group(reason: &str, service: &Object<'_>, objects: &Objects<'_>) -> String {
    let id = group(service);
    let members = objects.group(id).map(|group| pool::members(group).collect::<Vec<_>>());
    let address =
        |id: &&str| objects.real(id).and_then(|real| real.value("rip")).map(str::to_owned);
    let reals: Vec<_> = members.iter().flatten().filter_map(address).collect();
    format!("{reason}; its group {id} has the reals {}", reals.join(", "))
}

fn ports(service: &Object<'_>) -> Result<Vec<Ports>, String> {
    // `service 1` is all of IP, whatever the port.
    if matches!(service.id, "ip" | "1") {
        return Ok(vec![Ports::Any]);
    }
    let found = services::port(service.id).or(match service.id {
        "dns" => Some(53),
        "wts" => Some(3389),
        _ => None,
    });
    let port = found.filter(|port| *port > 0).ok_or_else(|| {
        format!("left out: {:?} is neither a port nor the usual name of one", service.id)
    })?;
    let one = |protocol| Ports::One(protocol, port);
    Ok(match service.value("protocol").map(str::to_ascii_lowercase).as_deref() {
        Some("udp" | "stateless") => vec![one(Protocol::Udp)],
        Some("both" | "tcpandudp") => vec![one(Protocol::Tcp), one(Protocol::Udp)],
        Some("tcp") => vec![one(Protocol::Tcp)],
        Some(other) => return Err(format!("left out: protocol {other} is not balanced")),
        None if service.is_on("udp") || service.value("udp") == Some("stateless") => {
            vec![one(Protocol::Udp)]
        }
        None if matches!(service.kind, "dns" | "sip" | "tftp") => vec![one(Protocol::Udp)],
        None => vec![one(Protocol::Tcp)],
    })
}

/// The command that gives the reals a port that is not the VIP's.
fn other_port<'o, 't>(service: &'o Object<'t>, ports: &[Ports]) -> Option<&'o Command<'t>> {
    let rport = service.last("rport")?;
    let port = services::port(rport.argument()).unwrap_or_default();
    let same = |ports: &Ports| matches!(ports, Ports::One(_, own) if *own == port);
    (port != 0 && port != 1 && !ports.iter().all(same)).then_some(rport)
}

fn virtual_server(vip: &mut DraftVip, virt: &Object<'_>, source: Source<'_>) {
    vip.notes.extend(virt.notes.clone());
    vip.vip.enabled = virt.enabled();
    vip.vip.name = virt.value("vname").or(virt.value("dname")).unwrap_or_default().to_owned();
    for command in &virt.commands {
        match command.name {
            "ena" | "dis" | "en" | "di" | "ipver" | "vip" | "vname" | "dname" => {}
            _ => vip.notes.extend(without_counterpart(command, source)),
        }
    }
}

fn options(vip: &mut DraftVip, service: &Object<'_>, source: Source<'_>) {
    for command in &service.commands {
        let note = |reason| source.note(command.line, command.text, reason);
        match (command.name, command.argument()) {
            ("group" | "rport" | "nonat" | "protocol" | "hname" | "direct", _) => {}
            ("name", _) if vip.vip.name.is_empty() => {
                command.argument().clone_into(&mut vip.vip.name)
            }
            ("name", name) => vip.remarks.push(format!("{}: {name}", service.text)),
            ("udp", value) => {
                if value == "stateless" {
                    vip.vip.udp = UdpMode::Packet;
                }
            }
            ("pbind", value) if value.starts_with("client") => {
                vip.vip.hash = HashMode::Source;
                vip.notes.push(note(PERSISTENCE));
            }
            ("pbind", "sslid" | "cookie") => vip.notes.push(note(LAYER7)),
            ("dbind", "ena" | "forceproxy") => vip.notes.push(note(LAYER7)),
            ("thash", "sip") => vip.vip.hash = HashMode::Source,
            ("thash", _) => {}
            ("tmout", minutes) => timeout(&mut vip.vip, minutes),
            ("action", "group") => {}
            _ => vip.notes.extend(without_counterpart(command, source)),
        }
    }
}

fn timeout(vip: &mut Vip, minutes: &str) {
    let Some(minutes) = minutes.parse::<u32>().ok().filter(|minutes| *minutes > 0) else { return };
    let time = Duration::from_secs(u64::from(minutes) * 60);
    let udp = vip.ports.iter().all(|ports| matches!(ports, Ports::One(Protocol::Udp, _)));
    if udp { vip.udp_idle_timeout = time } else { vip.idle_timeout = time }
}

/// What a command of which nothing is known says.
pub(super) fn without_counterpart(command: &Command<'_>, source: Source<'_>) -> Option<Note> {
    (!command.says_nothing()).then(|| source.note(command.line, command.text, NO_COUNTERPART))
}

/// Groups of no service, and reals of no group; and virtual servers without services.
fn unused(objects: &Objects<'_>, source: Source<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |object: &Object<'_>, reason: &str| {
        notes.push(source.note(object.line, object.text, reason));
    };
    for (index, virt) in objects.virts.iter().enumerate() {
        if !objects.services.iter().any(|(of, _)| *of == index) {
            note(virt, "left out: the virtual server has no service");
        }
    }
    for group in &objects.groups {
        let used = objects.services.iter().any(|(_, service)| self::group(service) == group.id);
        let backup = |other: &Object<'_>| pool::backup(other).is_some_and(|(_, id)| id == group.id);
        if !used && !objects.groups.iter().any(backup) {
            note(group, "left out: no service uses this group");
        }
    }
    for real in &objects.reals {
        let member = |group: &Object<'_>| {
            pool::members(group).any(|id| id == real.id)
                || pool::backup(group).is_some_and(|(_, id)| id == real.id)
        };
        if !objects.groups.iter().any(member) {
            note(real, "left out: no group has this real");
        }
    }
    notes
}
