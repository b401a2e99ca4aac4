//! `[node]`.

use std::{net::IpAddr, path::PathBuf};

use lb_common::limits;
use toml::Spanned;

use super::address;
use crate::{
    config::raw::Table,
    model::{FlowTables, Node, ProbePrefixes},
};

const KEYS: &[&str] = &[
    "interfaces",
    "xdp",
    "socket",
    "state_dir",
    "pin_dir",
    "hash_seed",
    "listen",
    "pinned_flows",
    "fresh_flows",
    "datagram_flows",
    "probe_prefixes",
    "exec_user",
];

/// As whom programs are run where nothing is said.
pub(super) const NOBODY: &str = "nobody";

/// The longest name of a user (useradd(8)).
const USER: usize = 32;

/// The datapath's number 0 stands for no interface.
const INTERFACES: usize = limits::PORTS as usize - 1;

/// The longest path of a Unix socket (`sun_path`, unix(7)), without the final zero.
const SOCKET_PATH: usize = 107;

pub(super) fn node(table: &Table<'_>) -> Option<Node> {
    table.only(KEYS, &[]);
    let interfaces = interfaces(table);
    Some(Node {
        xdp: table.parsed("xdp").map(Spanned::into_inner).unwrap_or_default(),
        socket: socket(table),
        state_dir: path(table, "state_dir", "/var/lib/lb"),
        pin_dir: path(table, "pin_dir", "/sys/fs/bpf/lb"),
        hash_seed: table.parsed("hash_seed").map(Spanned::into_inner),
        listen: listen(table),
        tables: tables(table),
        probe_prefixes: probe_prefixes(table),
        exec_user: exec_user(table),
        interfaces: interfaces?,
    })
}

fn interfaces(table: &Table<'_>) -> Option<Vec<String>> {
    let names = table.texts("interfaces", "interfaces = [\"eth0\"]")?;
    if let Some(beyond) = names.get(INTERFACES) {
        table.refuse(
            beyond.span(),
            format_args!(
                "{} interfaces; at most {INTERFACES} can be served, so remove those that see no traffic for a VIP",
                names.len()
            ),
        );
    }
    let mut interfaces: Vec<String> = Vec::new();
    for name in names {
        match interface(name.get_ref(), &interfaces) {
            Ok(()) => interfaces.push((*name.get_ref()).to_owned()),
            Err(reason) => table.refuse(name.span(), reason),
        }
    }
    Some(interfaces)
}

/// The kernel's rule (`dev_valid_name`, net/core/dev.c) and those of the list.
fn interface(name: &str, before: &[String]) -> Result<(), String> {
    let letters = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
    if !letters || !(1..=15).contains(&name.len()) || matches!(name, "." | "..") {
        return Err(format!(
            "\"{name}\" is not an interface name; write one that `ip link` shows (1 to 15 characters, no space, / or :)"
        ));
    }
    if before.iter().any(|other| other == name) {
        return Err(format!("interface \"{name}\" is given twice; remove one"));
    }
    Ok(())
}

/// The kernel makes them at a start, so what they cost is bounded here.
fn tables(table: &Table<'_>) -> FlowTables {
    let size = |key, default| {
        table.number(key, FlowTables::LEAST.into(), FlowTables::MOST.into()).unwrap_or(default)
    };
    let FlowTables { pinned, fresh, datagrams } = FlowTables::default();
    FlowTables {
        pinned: size("pinned_flows", pinned),
        fresh: size("fresh_flows", fresh),
        datagrams: size("datagram_flows", datagrams),
    }
}

fn socket(table: &Table<'_>) -> PathBuf {
    let socket = path(table, "socket", "/run/lb/lbd.sock");
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH {
        table.refuse(
            table.place_of("socket"),
            format_args!(
                "socket is {length} bytes long; a Unix socket's path has at most {SOCKET_PATH}"
            ),
        );
    }
    socket
}

fn path(table: &Table<'_>, key: &str, default: &str) -> PathBuf {
    let Some(text) = table.text(key) else {
        return default.into();
    };
    let path = *text.get_ref();
    if !path.starts_with('/') || path.contains('\0') {
        table.refuse(
            text.span(),
            format_args!(
                "{key} \"{}\" is not an absolute path; write one such as {default}",
                path.escape_debug()
            ),
        );
    }
    path.into()
}

fn listen(table: &Table<'_>) -> Option<std::net::SocketAddr> {
    let text = table.text("listen")?;
    let address = text.get_ref().parse();
    if address.is_err() {
        let text_of = text.get_ref();
        table.refuse(text.span(), format_args!("listen \"{text_of}\" is not an address with a port; write one such as 127.0.0.1:9101"));
    }
    address.ok()
}

/// One of each family at most; the other keeps its default.
fn probe_prefixes(table: &Table<'_>) -> ProbePrefixes {
    let mut prefixes = ProbePrefixes::default();
    let (mut v4, mut v6) = (false, false);
    for text in table.some_texts("probe_prefixes").into_iter().flatten() {
        let twice = match prefix(text.get_ref()) {
            Ok((IpAddr::V4(network), length)) => {
                prefixes.v4 = (network, length);
                std::mem::replace(&mut v4, true)
            }
            Ok((IpAddr::V6(network), length)) => {
                prefixes.v6 = (network, length);
                std::mem::replace(&mut v6, true)
            }
            Err(reason) => {
                table.refuse(text.span(), reason);
                continue;
            }
        };
        if twice {
            table.refuse(text.span(), "probe_prefixes has two of this family; remove one");
        }
    }
    prefixes
}

/// A network whose addresses machines can have, of a length that leaves enough of them.
fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("\"{text}\" is not a prefix; write one such as 198.18.0.0/15");
    let (network, length) = text.split_once('/').ok_or_else(wrong)?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    let network = address::parse(network)?;
    let (low, high) = if network.is_ipv4() { (8, 20) } else { (16, 104) };
    if !(low..=high).contains(&length) {
        return Err(format!(
            "prefix \"{text}\" is out of range; write a length from {low} to {high}"
        ));
    }
    let first = first(network, length);
    if first != network {
        return Err(format!("\"{text}\" has bits behind its length; write {first}/{length}"));
    }
    Ok((network, length))
}

/// The address without the bits behind a length of 1 or more.
pub(super) fn first(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX << 32u8.saturating_sub(length).min(31);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX << 128u8.saturating_sub(length).min(127);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

fn exec_user(table: &Table<'_>) -> String {
    let Some(text) = table.text("exec_user") else {
        return NOBODY.to_owned();
    };
    let name = *text.get_ref();
    let letters = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/'));
    if !letters || !(1..=USER).contains(&name.len()) {
        table.refuse(
            text.span(),
            format_args!(
                "exec_user {name:?} is not the name of a user; write one such as {NOBODY}"
            ),
        );
    }
    name.to_owned()
}
