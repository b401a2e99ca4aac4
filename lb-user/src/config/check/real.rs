//! `[[vip.real]]` and `sorry`.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use lb_common::limits;
use toml::Spanned;

use super::address;
use crate::{
    config::raw::Table,
    model::{Mac, Real, RealState},
};

const KEYS: &[&str] = &["address", "weight", "state", "mac", "force_up"];

const NO_PORTS: &str = "a real server has no port of its own: direct server return cannot translate ports; \
    remove it and let the real server listen on the VIP's port";

/// The pool of a VIP, without those of which the address cannot be used.
pub(super) fn pool(vip: &Table<'_>, vip_address: Option<IpAddr>) -> Vec<Spanned<Real>> {
    let tables = vip.tables("real", "[[vip.real]]");
    if tables.len() > limits::POOL as usize {
        let place = tables[limits::POOL as usize].place();
        vip.refuse(
            place,
            format_args!("{} reals; at most {} fit into one pool", tables.len(), limits::POOL),
        );
    }
    let mut addresses = HashSet::new();
    let mut pool = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let Some(real) = real(table, index, vip_address) else {
            continue;
        };
        let address = real.get_ref().address;
        if !addresses.insert(address) {
            vip.refuse(
                real.span(),
                format_args!("real {address} is in the pool twice; remove one"),
            );
        }
        pool.push(real);
    }
    pool
}

fn real(table: Table<'_>, index: usize, vip: Option<IpAddr>) -> Option<Spanned<Real>> {
    let name = table.peek("address").map_or_else(|| format!("number {}", index + 1), str::to_owned);
    let what = format!("{}, real {name}", table.what());
    let table = table.named(what);
    table.only(KEYS, &[("port", NO_PORTS), ("ports", NO_PORTS)]);
    let weight = table.number("weight", 0, limits::WEIGHT_MAX.into()).unwrap_or(1);
    let state = table.parsed("state").map_or(RealState::Active, Spanned::into_inner);
    let mac = table.parsed::<Mac>("mac").map(Spanned::into_inner);
    let force_up = table.flag("force_up").unwrap_or_default();
    let address =
        table.required("address", "address = \"10.0.0.11\"", server(&table, "address", vip))?;
    let place = address.span();
    Some(Spanned::new(place, Real { address: address.into_inner(), weight, state, mac, force_up }))
}

/// The address of a server behind the VIP.
pub(super) fn server(table: &Table<'_>, key: &str, vip: Option<IpAddr>) -> Option<Spanned<IpAddr>> {
    let text = table.text(key)?;
    let checked = without_port(text.get_ref()).and_then(|()| address::parse(text.get_ref()));
    let checked = checked.and_then(|address| {
        vip.map_or(Ok(()), |vip| address::same_family(vip, address))?;
        Ok(address)
    });
    let address = checked.map_err(|reason| table.refuse(text.span(), reason)).ok()?;
    Some(Spanned::new(text.span(), address))
}

fn without_port(text: &str) -> Result<(), String> {
    match text.parse::<SocketAddr>() {
        Ok(socket) => Err(format!(
            "\"{text}\": direct server return cannot translate ports; write \"{}\" and let the server listen on the VIP's port",
            socket.ip()
        )),
        Err(_) => Ok(()),
    }
}
