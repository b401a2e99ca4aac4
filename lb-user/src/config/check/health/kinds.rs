//! Datagrams, gRPC and programs.

use std::collections::BTreeMap;

use toml::Spanned;

use super::{http, program};
use crate::{
    config::raw::Table,
    model::{CheckKind, ExecCheck},
};

/// What fits into a datagram on every path.
const DATAGRAM: usize = 1200;

/// What stands before bytes that are no text.
const HEX: &str = "hex:";

pub(super) fn udp(table: &Table<'_>, port: Option<u16>) -> Option<CheckKind> {
    let example = "send = \"ping\" or send = \"hex:00ff\"";
    let send = table.required("send", example, table.text("send"));
    let send = send.and_then(|text| bytes(table, "send", &text));
    let expect =
        table.text("expect").map_or(Some(Vec::new()), |text| bytes(table, "expect", &text));
    Some(CheckKind::Udp { port: port?, send: send?, expect: expect? })
}

fn bytes(table: &Table<'_>, key: &str, text: &Spanned<&str>) -> Option<Vec<u8>> {
    let bytes = match text.get_ref().strip_prefix(HEX) {
        Some(digits) => hex::decode(digits).map_err(|error| {
            format!("{key} is not in hexadecimal ({error}); write it as hex:00ff")
        }),
        None => Ok(text.get_ref().as_bytes().to_vec()),
    };
    let bytes = bytes.and_then(|bytes| match bytes.len() {
        length @ 1..=DATAGRAM => Ok((length, bytes)),
        length => Err(format!("{key} has {length} bytes; write 1 to {DATAGRAM}")),
    });
    bytes.map_err(|reason| table.refuse(text.span(), reason)).ok().map(|(_, bytes)| bytes)
}

pub(super) fn grpc(table: &Table<'_>, port: Option<u16>) -> Option<CheckKind> {
    let with_tls = table.flag("tls").unwrap_or_default();
    for key in ["sni", "verify", "ca"] {
        if !with_tls && table.has(key) {
            let reason = format!("{key} is for TLS only; remove it or write tls = true");
            table.refuse(table.place_of(key), reason);
        }
    }
    let tls = with_tls.then(|| http::tls(table));
    let service = table.text("service").map_or("", Spanned::into_inner).to_owned();
    Some(CheckKind::Grpc { port: port?, tls, service })
}

pub(super) fn exec(table: &Table<'_>, user: &str) -> Option<CheckKind> {
    let command = table.texts("command", "command = [\"/usr/local/bin/check\"]");
    let command = command.and_then(|command| program::command(table, "command", &command, user));
    let environment = environment(table);
    Some(CheckKind::Exec(ExecCheck { command: command?, environment }))
}

fn environment(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for (name, value) in table.dictionary("env") {
        let text = *name.get_ref();
        let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !letters || text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) {
            table.refuse(name.span(), format_args!("env: {text:?} is not the name of a variable; use letters, digits and underscores"));
        } else if value.contains('\0') {
            table.refuse(name.span(), format_args!("env: {text} has a NUL in it; remove it"));
        }
        environment.insert(text.to_owned(), value.to_owned());
    }
    environment
}
