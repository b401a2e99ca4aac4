//! `check`.

use std::time::Duration;

use toml::Spanned;

use super::duration::{self, PROBES};
use crate::{
    config::raw::Table,
    model::{Check, CheckKind, CheckVia, HttpCheck, HttpVersion, Initial, Ports, Protocol},
};

const KEYS: &[&str] = &["type", "port", "path", "via", "interval", "timeout", "rise", "fall"];

/// Kinds that are to come.
const LATER: &[&str] = &["https", "udp", "dns", "icmp", "ping", "tls", "grpc", "exec", "script"];

/// Probes in a row that may be asked for.
const ROW: i64 = 100;

pub(super) fn check(table: &Table<'_>, ports: &[Spanned<Ports>]) -> Option<Check> {
    table.only(KEYS, &[]);
    let interval = duration::or_default(table, "interval", &PROBES, Duration::from_secs(2));
    let timeout =
        duration::or_default(table, "timeout", &PROBES, Duration::from_secs(1).min(interval));
    if timeout > interval {
        let [timeout, interval] = [timeout, interval].map(humantime::format_duration);
        table.refuse(table.place_of("timeout"), format_args!("timeout {timeout} is longer than the interval {interval}; shorten it or lengthen the interval"));
    }
    let via = table.parsed("via").map_or(CheckVia::Vip, Spanned::into_inner);
    let rise = table.number("rise", 1, ROW).unwrap_or(2);
    let fall = table.number("fall", 1, ROW).unwrap_or(3);
    Some(Check {
        kind: kind(table, ports)?,
        via,
        interval,
        fast_interval: interval / 4,
        timeout,
        rise,
        fall,
        initial: Initial::Down,
    })
}

fn kind(table: &Table<'_>, ports: &[Spanned<Ports>]) -> Option<CheckKind> {
    let word = table.required("type", "type = \"tcp\" or type = \"http\"", table.text("type"))?;
    match *word.get_ref() {
        "tcp" => {
            if let Some(path) = table.text("path") {
                table.refuse(
                    path.span(),
                    "a tcp check has no path; remove it or write type = \"http\"",
                );
            }
            Some(CheckKind::Tcp { port: port(table, ports)? })
        }
        "http" => {
            let path = path(table);
            Some(CheckKind::Http(HttpCheck {
                port: port(table, ports)?,
                tls: None,
                method: "GET".to_owned(),
                path,
                host: None,
                status: vec![200..=399],
                body: None,
                version: HttpVersion::One,
            }))
        }
        other => {
            let reason = if LATER.contains(&other) {
                format!("type \"{other}\" is not supported in this version")
            } else {
                format!("unknown type \"{other}\"")
            };
            table.refuse(word.span(), format_args!("{reason}; one of: tcp, http"));
            None
        }
    }
}

/// The VIP's TCP port where it has exactly one; else there is no telling which is meant.
fn port(table: &Table<'_>, ports: &[Spanned<Ports>]) -> Option<u16> {
    if table.has("port") {
        return table.number("port", 1, u16::MAX.into());
    }
    let mut tcp = ports.iter().filter_map(|ports| match ports.get_ref() {
        Ports::One(Protocol::Tcp, port) => Some(*port),
        _ => None,
    });
    match (tcp.next(), tcp.next()) {
        (Some(port), None) => Some(port),
        _ => {
            table.refuse(table.place(), "port is missing, and the VIP has not exactly one tcp port to take for it; write port = 80");
            None
        }
    }
}

fn path(table: &Table<'_>) -> String {
    let Some(text) = table.text("path") else {
        return "/".to_owned();
    };
    let path = *text.get_ref();
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        table.refuse(
            text.span(),
            format_args!("path {path:?} is not a path; write one such as /healthz, without spaces"),
        );
    }
    path.to_owned()
}
