//! VIPs that are one, and names for all.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{Draft, DraftVip, Note};
use crate::model::{Check, Ports};

/// The most ports that are gathered in one VIP.
const PORTS: usize = 64;

/// The longest name that is kept, so that a suffix has room in the 63 characters that a name may have.
const NAME: usize = 48;

/// Makes those VIPs one that differ in nothing but their ports, and takes out those whose ports
/// another serves already.
pub(super) fn merge(draft: &mut Draft) {
    let mut merged: Vec<DraftVip> = Vec::new();
    let mut alike: HashMap<String, usize> = HashMap::new();
    let mut served: HashSet<(IpAddr, Ports)> = HashSet::new();
    for mut vip in std::mem::take(&mut draft.vips) {
        let address = vip.vip.address;
        let ports = std::mem::take(&mut vip.vip.ports).into_iter();
        let (fresh, taken): (Vec<Ports>, Vec<Ports>) =
            ports.partition(|ports| served.insert((address, *ports)));
        draft.notes.extend(taken.iter().map(|ports| twice(&vip, *ports)));
        if fresh.is_empty() {
            draft.notes.append(&mut all_notes(vip));
            continue;
        }
        vip.vip.ports = fresh;
        let likeness = likeness(&vip);
        match alike.get(&likeness).filter(|index| fits(&merged[**index], &vip)) {
            Some(index) => join(&mut merged[*index], vip),
            None => {
                alike.insert(likeness, merged.len());
                merged.push(vip);
            }
        }
    }
    draft.vips = merged;
}

fn twice(vip: &DraftVip, ports: Ports) -> Note {
    let address = vip.vip.address;
    vip.origin.note(format!(
        "{ports} of {address} is served by a VIP above already: this one is left out"
    ))
}

/// What is said of a VIP that will not be there.
pub(super) fn all_notes(vip: DraftVip) -> Vec<Note> {
    let reals = vip.reals.into_iter().flat_map(|real| real.notes);
    vip.notes.into_iter().chain(reals).collect()
}

/// The same for two VIPs only if they differ in nothing but their ports.
fn likeness(vip: &DraftVip) -> String {
    let mut bare = vip.vip.clone();
    bare.ports.clear();
    let checks: Vec<&Check> = vip.checks.iter().map(|check| &check.check).collect();
    let reals = vip.reals.iter().map(|real| (real.address, real.weight, real.state, real.force_up));
    format!("{bare:?} {checks:?} {:?}", reals.collect::<Vec<_>>())
}

/// Whether the ports of both may stand in one list.
fn fits(into: &DraftVip, other: &DraftVip) -> bool {
    let apart = |a: &Ports, b: &Ports| !a.covers(*b) && !b.covers(*a);
    into.vip.ports.len() + other.vip.ports.len() <= PORTS
        && into.vip.ports.iter().all(|a| other.vip.ports.iter().all(|b| apart(a, b)))
}

fn join(into: &mut DraftVip, other: DraftVip) {
    into.vip.ports.extend(other.vip.ports);
    into.notes.extend(other.notes);
    for remark in other.remarks {
        if !into.remarks.contains(&remark) {
            into.remarks.push(remark);
        }
    }
    for (real, other) in into.reals.iter_mut().zip(other.reals) {
        real.notes.extend(other.notes);
    }
}

/// Gives every VIP a valid name of its own.
pub(super) fn name(vips: &mut [DraftVip]) {
    let mut count: HashMap<String, usize> = HashMap::new();
    let wanted: Vec<String> = vips.iter().map(valid).collect();
    for name in &wanted {
        *count.entry(name.clone()).or_default() += 1;
    }
    let mut taken = HashSet::new();
    let mut numbers = HashMap::new();
    for (vip, name) in vips.iter_mut().zip(wanted) {
        let alone = count.get(&name) == Some(&1);
        let name = if alone { name } else { format!("{name}-{}", label(&vip.vip.ports)) };
        vip.vip.name = free(&mut taken, &mut numbers, name);
    }
}

fn valid(vip: &DraftVip) -> String {
    let wanted = &vip.vip.name;
    let named = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = wanted.chars().take(NAME).map(named).collect();
    match name.as_str() {
        "" | "." | ".." => vip.vip.address.to_string().replace(':', "-"),
        _ => name,
    }
}

fn label(ports: &[Ports]) -> String {
    let first = ports.first().map(Ports::to_string).unwrap_or_default();
    first.replace('/', "-").replace('*', "all")
}

/// The name, with a number where it is taken.
fn free(taken: &mut HashSet<String>, numbers: &mut HashMap<String, u32>, name: String) -> String {
    if taken.insert(name.clone()) {
        return name;
    }
    let number = numbers.entry(name.clone()).or_insert(1);
    loop {
        *number += 1;
        let numbered = format!("{name}-{number}");
        if taken.insert(numbered.clone()) {
            return numbered;
        }
    }
}
