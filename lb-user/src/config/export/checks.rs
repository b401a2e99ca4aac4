//! A check as an inline table.

use std::ops::RangeInclusive;

use toml_edit::{Array, InlineTable, Value};

use crate::model::{Check, CheckKind, DnsCheck, ExecCheck, HttpCheck, Tls};

type Fields = Vec<(&'static str, Value)>;

pub(super) fn table(check: &Check) -> InlineTable {
    let mut fields: Fields = vec![("type", check.kind.word().into())];
    fields.extend(kind(&check.kind));
    let duration = |duration| humantime::format_duration(duration).to_string().into();
    fields.extend([
        ("via", word(check.via)),
        ("interval", duration(check.interval)),
        ("fast_interval", duration(check.fast_interval)),
        ("timeout", duration(check.timeout)),
        ("rise", number(check.rise)),
        ("fall", number(check.fall)),
        ("initial", word(check.initial)),
    ]);
    fields.into_iter().collect()
}

fn kind(kind: &CheckKind) -> Fields {
    match kind {
        CheckKind::Tcp { port: at } | CheckKind::Syn { port: at } => vec![port(*at)],
        CheckKind::Http(check) => http(check),
        CheckKind::Dns(check) => dns(check),
        CheckKind::Udp { port: at, send, expect } => {
            let expect = (!expect.is_empty()).then(|| ("expect", bytes(expect)));
            [port(*at), ("send", bytes(send))].into_iter().chain(expect).collect()
        }
        CheckKind::Icmp => Vec::new(),
        CheckKind::Grpc { port: at, tls: with, service } => {
            let fields = vec![
                port(*at),
                ("service", service.as_str().into()),
                ("tls", with.is_some().into()),
            ];
            fields.into_iter().chain(with.iter().flat_map(tls)).collect()
        }
        CheckKind::Exec(check) => exec(check),
    }
}

fn http(check: &HttpCheck) -> Fields {
    let mut fields = vec![
        port(check.port),
        ("method", check.method.as_str().into()),
        ("path", check.path.as_str().into()),
    ];
    fields.extend(optional("host", check.host.as_ref()));
    let status: Vec<_> = check.status.iter().map(range).collect();
    fields.push(("status", status.join(",").into()));
    fields.extend(optional("body", check.body.as_ref()));
    fields.push(("version", word(check.version)));
    fields.extend(check.tls.iter().flat_map(tls));
    fields
}

fn range(range: &RangeInclusive<u16>) -> String {
    let (low, high) = (range.start(), range.end());
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

fn tls(tls: &Tls) -> Fields {
    let ca = tls.ca.as_ref().map(|ca| ca.display().to_string());
    let mut fields: Fields = optional("sni", tls.name.as_ref()).into_iter().collect();
    fields.push(("verify", tls.verify.into()));
    fields.extend(optional("ca", ca.as_ref()));
    fields
}

fn dns(check: &DnsCheck) -> Fields {
    let mut fields = vec![
        port(check.port),
        ("name", check.name.as_str().into()),
        ("record", check.record.as_str().into()),
        ("transport", word(check.transport)),
    ];
    fields.extend(optional("answer", check.answer.as_ref()));
    fields
}

fn exec(check: &ExecCheck) -> Fields {
    let command: Array = check.command.iter().map(String::as_str).collect();
    let mut fields: Fields = vec![("command", command.into())];
    if !check.environment.is_empty() {
        let environment: InlineTable = check.environment.iter().collect();
        fields.push(("env", environment.into()));
    }
    fields
}

/// As text where it can be read, else in hexadecimal.
fn bytes(bytes: &[u8]) -> Value {
    let text = str::from_utf8(bytes).ok();
    let readable = |text: &&str| !text.starts_with("hex:") && !text.contains(char::is_control);
    match text.filter(readable) {
        Some(text) => text.into(),
        None => format!("hex:{}", hex::encode(bytes)).into(),
    }
}

fn port(port: u16) -> (&'static str, Value) {
    ("port", i64::from(port).into())
}

fn number(number: u32) -> Value {
    i64::from(number).into()
}

fn word(word: impl ToString) -> Value {
    word.to_string().into()
}

fn optional(key: &'static str, text: Option<&String>) -> Option<(&'static str, Value)> {
    text.map(|text| (key, text.as_str().into()))
}
