//! Groups as pools.

use std::{net::IpAddr, time::Duration};

use super::{
    super::{DraftReal, DraftVip, source::Source},
    draft::without_counterpart,
    objects::{Object, Objects},
};
use crate::model::{HashMode, RealState};

const COUNTS_CONNECTIONS: &str = "connections and answers are not measured: new flows are spread by their \
    hash, in proportion to the weights";

/// The numbers of the reals of a group, in its order.
pub(super) fn members<'o, 't>(group: &'o Object<'t>) -> impl Iterator<Item = &'t str> + 'o {
    let removed = |id: &str| {
        let last = group
            .commands
            .iter()
            .rev()
            .find(|command| matches!(command.name, "add" | "rem") && command.argument() == id);
        last.is_some_and(|command| command.name == "rem")
    };
    let added = group.commands.iter().filter(|command| command.name == "add");
    added.map(|command| command.argument()).filter(move |id| !removed(id))
}

/// What stands in for a group of which all reals are down: whether that is a group, and its number.
pub(super) fn backup<'t>(group: &Object<'t>) -> Option<(bool, &'t str)> {
    let id = group.value("backup").filter(|id| !matches!(*id, "" | "none" | "0"))?;
    let digits = |id: &str| id.bytes().all(|byte| byte.is_ascii_digit());
    match (
        id.strip_prefix('g').filter(|id| digits(id)),
        id.strip_prefix('r').filter(|id| digits(id)),
    ) {
        (Some(group), _) => Some((true, group)),
        (_, Some(real)) => Some((false, real)),
        _ => Some((false, id)),
    }
}

/// Puts the reals of a group, and what is said of them together, into a VIP.
pub(super) fn fill(
    vip: &mut DraftVip,
    group: &Object<'_>,
    objects: &Objects<'_>,
    source: Source<'_>,
) {
    vip.notes.extend(group.notes.clone());
    for id in members(group) {
        match objects.real(id) {
            Some(server) => add(vip, server, group, source),
            None => {
                let reason = format!("left out: real {id} is not in the dump");
                vip.notes.push(source.note(group.line, group.text, reason));
            }
        }
    }
    options(vip, group, source);
    sorry(vip, group, objects, source);
    names(vip, group, objects);
}

fn add(vip: &mut DraftVip, server: &Object<'_>, group: &Object<'_>, source: Source<'_>) {
    let origin = source.origin(server.line, server.text);
    let Some(address) = address(server) else {
        vip.notes.push(origin.note("left out: the real has no address (rip)"));
        return;
    };
    if vip.reals.iter().any(|real| real.address == address) {
        vip.notes.push(origin.note("left out: another real of this group has the same address"));
        return;
    }
    let mut real = DraftReal::new(origin, address);
    let off = |command: &&super::blocks::Command<'_>| {
        matches!(command.name, "ena" | "dis") && command.argument() == server.id
    };
    let off = group.commands.iter().rev().find(off).is_some_and(|command| command.name == "dis");
    if off || !server.enabled() {
        real.state = RealState::Disabled;
    }
    real.weight = server.value("weight").and_then(|weight| weight.parse().ok()).unwrap_or(1);
    real.notes = notes(server, source);
    vip.reals.push(real);
}

fn address(server: &Object<'_>) -> Option<IpAddr> {
    server.value("rip")?.parse().ok()
}

/// What is said of a real and has no counterpart.
fn notes(server: &Object<'_>, source: Source<'_>) -> Vec<super::super::Note> {
    let mut notes = server.notes.clone();
    for command in &server.commands {
        let mut note = |reason| notes.push(source.note(command.line, command.text, reason));
        match (command.name, command.argument()) {
            // The pace of the checks is read with them.
            (
                "ena" | "dis" | "en" | "di" | "ipver" | "rip" | "weight" | "name" | "inter"
                | "retry" | "restr",
                _,
            ) => {}
            ("submac", _) | ("type", "local") | ("maxcon", "0") => {}
            ("backup", id) if !matches!(id, "" | "none" | "0") => note(
                "left out: a spare for one real alone; the others take its flows, and the VIP's sorry those of all",
            ),
            ("maxcon", _) => {
                note("left out: connections are not counted, so a real has no limit of them")
            }
            ("tmout", _) => note(
                "left out: how long silent flows are honoured is said of the VIP: idle_timeout",
            ),
            ("addport", _) => note(
                "left out: a port of the real's own; direct server return cannot translate ports",
            ),
            ("remote", "ena") => {
                note("left out: reals of other sites; reals are reached by their MAC addresses")
            }
            _ => notes.extend(without_counterpart(command, source)),
        }
    }
    notes
}

fn options(vip: &mut DraftVip, group: &Object<'_>, source: Source<'_>) {
    metric(vip, group, source);
    for command in &group.commands {
        let mut note = |reason| vip.notes.push(source.note(command.line, command.text, reason));
        match (command.name, command.argument()) {
            ("add" | "rem" | "ena" | "dis" | "name" | "ipver" | "metric" | "backup", _) => {}
            // These are read with the checks.
            ("health" | "content" | "viphlth" | "viaddr", _) => {}
            ("slowstr", seconds) => {
                let seconds = seconds.parse().ok().filter(|seconds| *seconds > 0);
                vip.vip.slow_start = seconds.map(Duration::from_secs);
            }
            ("secbkp", id) if !matches!(id, "" | "none" | "0") => {
                note("left out: a VIP has one sorry")
            }
            ("realthr", "0") | ("type", "local") => {}
            ("realthr", _) => note(
                "left out: it only tells the operator that few reals are up; lbctl status does",
            ),
            ("minthrsh" | "maxthrsh", _) => {
                note(
                    "left out: see min_up and min_up_high, with which a VIP of too few reals goes down",
                );
            }
            _ => vip.notes.extend(without_counterpart(command, source)),
        }
    }
}

fn metric(vip: &mut DraftVip, group: &Object<'_>, source: Source<'_>) {
    let metric = group.last("metric");
    match metric.map_or("leastconns", |metric| metric.argument()) {
        "roundrobin" => {}
        "hash" | "minmisses" | "phash" => vip.vip.hash = HashMode::Source,
        name => {
            let words = metric.map_or_else(
                || format!("{}: metric {name}, the default", group.text),
                |metric| metric.text.to_owned(),
            );
            let line = metric.map_or(group.line, |metric| metric.line);
            vip.notes.push(source.note(line, &words, COUNTS_CONNECTIONS));
        }
    }
}

fn sorry(vip: &mut DraftVip, group: &Object<'_>, objects: &Objects<'_>, source: Source<'_>) {
    let (Some((is_group, id)), Some(command)) = (backup(group), group.last("backup")) else {
        return;
    };
    let spare = objects.group(id).filter(|_| is_group || objects.real(id).is_none());
    let ids: Vec<_> = match spare {
        Some(spare) => members(spare).collect(),
        None => vec![id],
    };
    let addresses: Vec<IpAddr> = ids
        .into_iter()
        .filter_map(|id| objects.real(id).filter(|real| real.enabled()).and_then(address))
        .collect();
    vip.vip.sorry = addresses.first().copied();
    let reason = match addresses.as_slice() {
        [] => "left out: nothing in it is in service".to_owned(),
        [_] => return,
        [first, rest @ ..] => {
            let rest: Vec<_> = rest.iter().map(IpAddr::to_string).collect();
            format!("a VIP has one sorry: {first}, without {}", rest.join(", "))
        }
    };
    vip.notes.push(source.note(command.line, command.text, reason));
}

/// The names of reals, which have no place in the configuration.
fn names(vip: &mut DraftVip, group: &Object<'_>, objects: &Objects<'_>) {
    let name = |id| {
        let real = objects.real(id)?;
        let name = real.value("name").filter(|name| !name.is_empty())?;
        Some(format!("{} is {name}", address(real)?))
    };
    let names: Vec<String> = members(group).filter_map(name).collect();
    if !names.is_empty() {
        vip.remarks.push(format!("Reals by their names: {}.", names.join(", ")));
    }
}
