//! What must hold between VIPs, and for all of them together.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use lb_common::limits;
use toml::Spanned;

use super::{node, vip::Draft};
use crate::{
    config::raw::Table,
    model::{CheckVia, ProbePrefixes, Room, Vip},
};

/// Notes every VIP that cannot be beside the others.
pub(super) fn between(vips: &[Draft<'_>]) {
    names_are_unique(vips);
    services_are_unique(vips);
    servers_are_no_vips(vips);
    service_keys_fit(vips);
}

fn names_are_unique(vips: &[Draft<'_>]) {
    let mut first = HashMap::new();
    for vip in vips {
        let Some(name) = &vip.name else { continue };
        let before = first.entry(*name.get_ref()).or_insert(name.span()).clone();
        if before != name.span() {
            let line = vip.table.line(&before);
            vip.table.refuse(
                name.span(),
                format_args!("the name is taken by the VIP at line {line}; give each its own"),
            );
        }
    }
}

/// The same ports in two VIPs of one address. Ports within wildcards of another VIP are well: the
/// most specific wins.
fn services_are_unique(vips: &[Draft<'_>]) {
    let mut owners: HashMap<_, &Draft<'_>> = HashMap::new();
    for vip in vips {
        let Some(address) = &vip.address else {
            continue;
        };
        for ports in &vip.ports {
            let owner = *owners.entry((*address.get_ref(), *ports.get_ref())).or_insert(vip);
            if !std::ptr::eq(owner, vip) {
                let (ports_of, address, owner) = (ports.get_ref(), address.get_ref(), owner.what());
                vip.table.refuse(ports.span(), format_args!("{ports_of} of {address} is already served by {owner}; use another port or address"));
            }
        }
    }
}

fn servers_are_no_vips(vips: &[Draft<'_>]) {
    let addresses =
        vips.iter().filter_map(|vip| Some((*vip.address.as_ref()?.get_ref(), vip.what())));
    let addresses: HashMap<IpAddr, &str> = addresses.collect();
    for vip in vips {
        let reals = vip.reals.iter().map(|real| (real.get_ref().address, real.span(), "real"));
        let sorry = vip.sorry.iter().map(|sorry| (*sorry.get_ref(), sorry.span(), "sorry"));
        for (address, place, role) in reals.chain(sorry) {
            if let Some(owner) = addresses.get(&address) {
                vip.table.refuse(
                    place,
                    format_args!(
                        "{role} {address} is the address of {owner}; write the server's own address"
                    ),
                );
            }
        }
    }
}

/// The VIP with which the limit is passed is noted, at its beginning.
fn service_keys_fit(vips: &[Draft<'_>]) {
    let mut addresses = HashSet::new();
    let mut keys = 0;
    for vip in vips {
        let new_address = vip
            .address
            .as_ref()
            .map(Spanned::get_ref)
            .is_some_and(|address| addresses.insert(*address));
        let before = keys;
        keys += vip.ports.len() + usize::from(new_address);
        let limit = limits::SERVICE_KEYS as usize;
        if before <= limit && keys > limit {
            vip.table.refuse(
                vip.table.place(),
                format_args!("more than {limit} service keys (one for each address and each of ports); this VIP does not fit"),
            );
        }
    }
}

/// The same for what depends on whole pools.
pub(super) fn rings_and_pools_fit(vips: &[(Table<'_>, Vip)]) {
    let mut taken = Room { slots: 0, places: 0 };
    for (table, vip) in vips {
        let before = taken;
        taken = taken + Room::of(vip);
        let Room { slots, places } = Room::MOST;
        for (what, before, now, limit) in [
            ("places for reals", before.places, taken.places, places),
            ("ring slots", before.slots, taken.slots, slots),
        ] {
            if before <= limit && now > limit {
                table.refuse(table.place(), format_args!("more than {limit} {what}; this VIP does not fit; use fewer VIPs or smaller pools"));
            }
        }
    }
}

/// An address that stands for a VIP at one real is nobody's, so that a probe reaches nobody else. Where
/// no check needs one there is none.
pub(super) fn probes_have_their_own_addresses(prefixes: &ProbePrefixes, vips: &[(Table<'_>, Vip)]) {
    if !vips.iter().any(|(_, vip)| vip.checks.iter().any(|check| check.via == CheckVia::Vip)) {
        return;
    }
    for (table, vip) in vips {
        let reals = vip.reals.iter().map(|real| real.address);
        for address in std::iter::once(vip.address).chain(reals).chain(vip.sorry) {
            let (network, length): (IpAddr, u8) = match address {
                IpAddr::V4(_) => (prefixes.v4.0.into(), prefixes.v4.1),
                IpAddr::V6(_) => (prefixes.v6.0.into(), prefixes.v6.1),
            };
            if node::first(address, length) == network {
                table.refuse(table.place(), format_args!("{address} is within {network}/{length}, where probes have their addresses; write others in probe_prefixes of [node]"));
            }
        }
    }
}
