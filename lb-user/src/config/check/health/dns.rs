//! DNS queries.

use std::net::{Ipv4Addr, Ipv6Addr};

use toml::Spanned;

use super::port;
use crate::{
    config::raw::Table,
    model::{CheckKind, DnsCheck, Ports, Protocol},
};

/// The types of records that can be asked for.
const RECORDS: &[&str] = &[
    "A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "SVCB", "TLSA",
    "TXT",
];

pub(super) fn check(table: &Table<'_>, ports: &[Spanned<Ports>]) -> Option<CheckKind> {
    let transport = table.parsed("transport").map_or(Protocol::Udp, Spanned::into_inner);
    let record = record(table);
    let answer = answer(table, &record);
    let name = table.required("name", "name = \"example.com\"", table.text("name"));
    if let Some(name) = &name
        && !is_name(name.get_ref())
    {
        let text = name.get_ref();
        table.refuse(name.span(), format_args!("name {text:?} is not a domain name; write one such as example.com, in its ASCII form"));
    }
    let port = port(table, ports, transport);
    let name = (*name?.get_ref()).to_owned();
    Some(CheckKind::Dns(DnsCheck { port: port?, transport, name, record, answer }))
}

fn record(table: &Table<'_>) -> String {
    let Some(text) = table.text("record") else {
        return "A".to_owned();
    };
    let record = text.get_ref().to_ascii_uppercase();
    if !RECORDS.contains(&record.as_str()) {
        let (found, all) = (text.get_ref(), RECORDS.join(", "));
        table.refuse(text.span(), format_args!("unknown record {found:?}; one of: {all}"));
    }
    record
}

/// Of addresses it can be told here whether they can ever be an answer.
fn answer(table: &Table<'_>, record: &str) -> Option<String> {
    let text = table.text("answer")?;
    let answer = *text.get_ref();
    let (right, example) = match record {
        "A" => (answer.parse::<Ipv4Addr>().is_ok(), "192.0.2.1"),
        "AAAA" => (answer.parse::<Ipv6Addr>().is_ok(), "2001:db8::1"),
        _ => (!answer.trim().is_empty(), "what a zone file has there"),
    };
    if !right {
        table.refuse(
            text.span(),
            format_args!("answer {answer:?} is none to a question for {record}; write {example}"),
        );
    }
    Some(answer.to_owned())
}

/// RFC 1035, section 2.3.4, and the underscores of RFC 8552.
fn is_name(text: &str) -> bool {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    text == "." || bare.len() <= 253 && bare.split('.').all(label)
}
