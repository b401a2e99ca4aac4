//! `[[vip]]`.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use toml::Spanned;

use super::{
    address,
    duration::{self, FLOWS, STARTS},
    health, real, watermarks,
};
use crate::{
    config::raw::Table,
    model::{
        Announce, Check, HashMode, OnDeadline, Ports, Real, UdpMode, Vip, VipState, Watermarks,
    },
};

const KEYS: &[&str] = &[
    "name",
    "address",
    "ports",
    "state",
    "announce",
    "hash",
    "idle_timeout",
    "drain_timeout",
    "on_deadline",
    "udp_idle_timeout",
    "udp",
    "slow_start",
    "sorry",
    "min_up",
    "min_up_high",
    "panic_threshold",
    "check",
    "real",
];

/// A VIP as far as it could be read, with the places of what the rules between VIPs look at.
pub(super) struct Draft<'t> {
    pub(super) table: Table<'t>,
    pub(super) name: Option<Spanned<&'t str>>,
    pub(super) address: Option<Spanned<IpAddr>>,
    pub(super) ports: Vec<Spanned<Ports>>,
    pub(super) sorry: Option<Spanned<IpAddr>>,
    pub(super) reals: Vec<Spanned<Real>>,
    options: Options,
}

/// What no rule between VIPs looks at.
struct Options {
    announce: Announce,
    hash: HashMode,
    idle_timeout: Duration,
    drain_timeout: Duration,
    on_deadline: OnDeadline,
    udp_idle_timeout: Duration,
    udp: UdpMode,
    slow_start: Option<Duration>,
    state: VipState,
    min_up: Option<Watermarks>,
    panic_threshold: Option<u8>,
    checks: Vec<Check>,
}

/// Programs that check are run as `user`.
pub(super) fn draft<'t>(table: Table<'t>, index: usize, user: &str) -> Draft<'t> {
    let what = table
        .peek("name")
        .map_or_else(|| format!("vip number {}", index + 1), |name| format!("vip {name:?}"));
    let table = table.named(what);
    table.only(KEYS, &[]);
    let name = name(&table);
    let address = address(&table);
    let family = address.as_ref().map(|address| *address.get_ref());
    let ports = ports(&table);
    let sorry = real::server(&table, "sorry", family);
    let reals = real::pool(&table, family);
    if let Some(sorry) = sorry
        .as_ref()
        .filter(|sorry| reals.iter().any(|real| real.get_ref().address == *sorry.get_ref()))
    {
        table.refuse(
            sorry.span(),
            format_args!(
                "sorry {} is also a real of the pool; use another server or remove it",
                sorry.get_ref()
            ),
        );
    }
    let options = options(&table, &ports, user);
    Draft { table, name, address, ports, sorry, reals, options }
}

impl<'t> Draft<'t> {
    /// The name as messages quote it.
    pub(super) fn what(&self) -> &str {
        self.table.what()
    }

    /// The VIP and its table.
    pub(super) fn finish(self) -> Option<(Table<'t>, Vip)> {
        let options = self.options;
        let vip = Vip {
            name: self.name?.into_inner().to_owned(),
            address: self.address?.into_inner(),
            ports: self.ports.into_iter().map(Spanned::into_inner).collect(),
            announce: options.announce,
            hash: options.hash,
            idle_timeout: options.idle_timeout,
            drain_timeout: options.drain_timeout,
            on_deadline: options.on_deadline,
            udp_idle_timeout: options.udp_idle_timeout,
            udp: options.udp,
            slow_start: options.slow_start,
            sorry: self.sorry.map(Spanned::into_inner),
            checks: options.checks,
            enabled: options.state == VipState::Enabled,
            min_up: options.min_up,
            panic_threshold: options.panic_threshold,
            reals: self.reals.into_iter().map(Spanned::into_inner).collect(),
        };
        Some((self.table, vip))
    }
}

/// `.` and `..` would not survive in the API's paths.
fn name<'t>(table: &Table<'t>) -> Option<Spanned<&'t str>> {
    let name = table.required("name", "name = \"web\"", table.text("name"))?;
    let text = *name.get_ref();
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !letters || !(1..=63).contains(&text.len()) || matches!(text, "." | "..") {
        table.refuse(name.span(), format_args!("name {text:?} is not valid; use 1 to 63 letters, digits, dots, hyphens and underscores"));
    }
    Some(name)
}

fn address(table: &Table<'_>) -> Option<Spanned<IpAddr>> {
    let text = table.required("address", "address = \"192.0.2.10\"", table.text("address"))?;
    let checked = match text.get_ref().parse::<SocketAddr>() {
        Ok(socket) => Err(format!(
            "\"{socket}\" has a port; write address = \"{}\" and the port in ports",
            socket.ip()
        )),
        Err(_) => address::parse(text.get_ref()),
    };
    let address = checked.map_err(|reason| table.refuse(text.span(), reason)).ok()?;
    Some(Spanned::new(text.span(), address))
}

fn ports(table: &Table<'_>) -> Vec<Spanned<Ports>> {
    let list = table.texts("ports", "ports = [\"tcp/80\"]");
    let mut ports = Vec::new();
    for text in list.into_iter().flatten() {
        match text.get_ref().parse::<Ports>() {
            Ok(entry) => ports.push(Spanned::new(text.span(), entry)),
            Err(reason) => table.refuse(text.span(), reason),
        }
    }
    redundant(table, &ports);
    ports
}

/// Notes entries that stand twice or within another of the same VIP.
fn redundant(table: &Table<'_>, ports: &[Spanned<Ports>]) {
    let all: HashSet<Ports> = ports.iter().map(|entry| *entry.get_ref()).collect();
    let mut seen = HashSet::new();
    for entry in ports {
        let this = *entry.get_ref();
        let wider = wider(this).into_iter().flatten().find(|wider| all.contains(wider));
        if !seen.insert(this) {
            table.refuse(entry.span(), format_args!("{this} is given twice; remove one"));
        } else if let Some(wider) = wider {
            table.refuse(
                entry.span(),
                format_args!("{this} is already within {wider}; remove one of them"),
            );
        }
    }
}

fn wider(ports: Ports) -> [Option<Ports>; 2] {
    match ports {
        Ports::Any => [None, None],
        Ports::All(_) => [Some(Ports::Any), None],
        Ports::One(protocol, _) => [Some(Ports::Any), Some(Ports::All(protocol))],
    }
}

fn options(table: &Table<'_>, ports: &[Spanned<Ports>], user: &str) -> Options {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    Options {
        announce: table.parsed("announce").map_or(Announce::Arp, Spanned::into_inner),
        hash: table.parsed("hash").map_or(HashMode::Flow, Spanned::into_inner),
        idle_timeout: duration::or_default(table, "idle_timeout", &FLOWS, minutes(15)),
        drain_timeout: duration::or_default(table, "drain_timeout", &FLOWS, minutes(60)),
        on_deadline: table.parsed("on_deadline").map(Spanned::into_inner).unwrap_or_default(),
        udp_idle_timeout: duration::or_default(
            table,
            "udp_idle_timeout",
            &FLOWS,
            Duration::from_secs(30),
        ),
        udp: table.parsed("udp").map_or(UdpMode::Flow, Spanned::into_inner),
        slow_start: duration::optional(table, "slow_start", &STARTS),
        state: table.parsed("state").map(Spanned::into_inner).unwrap_or_default(),
        min_up: watermarks::watermarks(table),
        panic_threshold: watermarks::panic_threshold(table),
        checks: health::checks(table, ports, user),
    }
}
