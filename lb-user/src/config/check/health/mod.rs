//! `check`: one table or several.

mod dns;
mod http;
mod kinds;
mod pace;

use toml::Spanned;

use super::program;
use crate::{
    config::raw::Table,
    model::{Check, CheckKind, CheckVia, Ports, Protocol},
};

/// Checks of one VIP; each takes sockets of this machine.
const MOST: usize = 8;

/// What every check has.
const COMMON: &[&str] =
    &["type", "via", "interval", "fast_interval", "timeout", "rise", "fall", "initial"];

/// What the types of checks have of their own.
const TYPES: &[(&str, &[&str])] = &[
    ("tcp", &["port"]),
    ("syn", &["port"]),
    ("http", &["port", "method", "path", "host", "status", "body", "version"]),
    (
        "https",
        &["port", "method", "path", "host", "status", "body", "version", "sni", "verify", "ca"],
    ),
    ("dns", &["port", "name", "record", "transport", "answer"]),
    ("udp", &["port", "send", "expect"]),
    ("icmp", &[]),
    ("grpc", &["port", "service", "tls", "sni", "verify", "ca"]),
    ("exec", &["command", "env"]),
];

/// The keys that only some types of checks have, this among them.
pub(in crate::config) fn own_keys(word: &str) -> &'static [&'static str] {
    TYPES.iter().find(|(name, _)| *name == word).map_or(&[], |(_, own)| own)
}

/// The checks of a VIP.
pub(super) fn checks(vip: &Table<'_>, ports: &[Spanned<Ports>], user: &str) -> Vec<Check> {
    let tables = vip.table_or_tables("check", "[[vip.check]]");
    if let Some(beyond) = tables.get(MOST) {
        let count = tables.len();
        vip.refuse(
            beyond.place(),
            format_args!("{count} checks; a VIP has at most {MOST}, so remove some"),
        );
    }
    let alone = tables.len() == 1;
    let tables = tables.into_iter().enumerate().map(|(index, table)| {
        let number = if alone { String::new() } else { format!(" {}", index + 1) };
        table.named(format!("{}, check{number}", vip.what()))
    });
    tables.filter_map(|table| check(&table, ports, user)).collect()
}

fn check(table: &Table<'_>, ports: &[Spanned<Ports>], user: &str) -> Option<Check> {
    let word = type_of(table);
    only_own_keys(table, word);
    let pace = pace::of(table);
    let via = table.parsed("via").map_or(CheckVia::Vip, Spanned::into_inner);
    let kind = kind(table, word?, ports, user)?;
    let pace::Pace { interval, fast_interval, timeout, rise, fall, initial } = pace;
    Some(Check { kind, via, interval, fast_interval, timeout, rise, fall, initial })
}

/// The type, if it is one of those there are.
fn type_of(table: &Table<'_>) -> Option<&'static str> {
    let word = table.required("type", "type = \"tcp\" or another", table.text("type"))?;
    let found = TYPES.iter().map(|(name, _)| *name).find(|name| name == word.get_ref());
    if found.is_none() {
        let (word_of, all) = (word.get_ref(), names(|_| true).join(", "));
        table.refuse(word.span(), format_args!("unknown type \"{word_of}\"; one of: {all}"));
    }
    found
}

/// Notes keys that are not of this type; all are taken where the type is not known.
fn only_own_keys(table: &Table<'_>, word: Option<&'static str>) {
    let every: Vec<&str> =
        COMMON.iter().chain(TYPES.iter().flat_map(|(_, own)| *own)).copied().collect();
    let known = word.map_or_else(|| every.clone(), |word| [COMMON, own_keys(word)].concat());
    let foreign = |key: &str| {
        let word = word.unwrap_or_default();
        let types = names(|own| own.contains(&key)).join(", ");
        format!("{} has no {key}; remove it, or use a type that has it: {types}", a_check(word))
    };
    let foreign: Vec<(&str, String)> = every.iter().map(|key| (*key, foreign(key))).collect();
    let foreign: Vec<(&str, &str)> =
        foreign.iter().map(|(key, reason)| (*key, reason.as_str())).collect();
    table.only(&known, &foreign);
}

/// The types of which the keys are such.
fn names(such: impl Fn(&[&str]) -> bool) -> Vec<&'static str> {
    TYPES.iter().filter(|(_, own)| such(own)).map(|(name, _)| *name).collect()
}

/// A check of this type, with its article.
fn a_check(word: &str) -> String {
    let article = if word.starts_with(['h', 'i', 'e']) { "an" } else { "a" };
    format!("{article} {word} check")
}

fn kind(table: &Table<'_>, word: &str, ports: &[Spanned<Ports>], user: &str) -> Option<CheckKind> {
    let tcp = || port(table, ports, Protocol::Tcp);
    match word {
        "tcp" => Some(CheckKind::Tcp { port: tcp()? }),
        "syn" => Some(CheckKind::Syn { port: tcp()? }),
        "http" => http::check(table, tcp(), None),
        "https" => http::check(table, tcp(), Some(http::tls(table))),
        "dns" => dns::check(table, ports),
        "udp" => kinds::udp(table, port(table, ports, Protocol::Udp)),
        "icmp" => Some(CheckKind::Icmp),
        "grpc" => kinds::grpc(table, tcp()),
        "exec" => kinds::exec(table, user),
        _ => None,
    }
}

/// The VIP's only port of the protocol; else there is no telling which is meant.
fn port(table: &Table<'_>, ports: &[Spanned<Ports>], wanted: Protocol) -> Option<u16> {
    if table.has("port") {
        return table.number("port", 1, u16::MAX.into());
    }
    let mut found = ports.iter().filter_map(|ports| match ports.get_ref() {
        Ports::One(protocol, port) if *protocol == wanted => Some(*port),
        _ => None,
    });
    match (found.next(), found.next()) {
        (Some(port), None) => Some(port),
        _ => {
            let example = if wanted == Protocol::Tcp { 80 } else { 53 };
            table.refuse(table.place(), format_args!("port is missing, and the VIP has not exactly one {wanted} port to take for it; write port = {example}"));
            None
        }
    }
}
