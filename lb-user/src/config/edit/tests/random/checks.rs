//! Checks in the ways that they can be written, and what becomes of them.

use toml_edit::{InlineTable, Value};

use super::{text::only, *};
use crate::config::export::to_toml;
use crate::model::{Check, CheckKind, CheckVia, Initial};

/// How checks are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum CheckStyle {
    /// As a table or a list of tables, on one line.
    Line,
    /// As a list, each on a line of its own.
    Lines,
    /// As `[vip.check]` or as several `[[vip.check]]`.
    Sections,
}

/// Words that need nothing of this machine and no ports of the VIP.
const WORDS: &[&str] = &[
    "tcp:80",
    "tcp:65535",
    "syn:1",
    "http:8080",
    "http:80/up",
    "http:1/a?b=c",
    "icmp",
    "grpc:50051",
    "grpc:1/a.b/c",
];

pub(super) fn words() -> impl Strategy<Value = Option<Vec<String>>> {
    let words = vec(select(WORDS).prop_map(str::to_owned), 0..=4);
    option::of(prop_oneof![4 => words, 1 => Just(vec!["none".to_owned()])])
}

/// The keys of a VIP for its checks, and its sections for them; one of both is empty.
pub(super) fn with_checks(vip: &Vip, style: CheckStyle) -> (String, String) {
    let checks: Vec<String> = vip.checks.iter().map(|check| inline(vip, check)).collect();
    let keys = match (style, checks.as_slice()) {
        (CheckStyle::Sections, checks) => {
            let header = if checks.len() == 1 { "[vip.check]" } else { "[[vip.check]]" };
            let sections = checks.iter().map(|check| format!("\n{header}\n{}", lines(check)));
            return (String::new(), sections.collect());
        }
        (_, []) => String::new(),
        (CheckStyle::Line, [check]) => format!("check = {check}\n"),
        (CheckStyle::Line, checks) => format!("check = [{}]\n", checks.join(", ")),
        (CheckStyle::Lines, checks) => format!("check = [\n  {},\n]\n", checks.join(",\n\n  ")),
    };
    (keys, String::new())
}

/// A check as it is exported.
fn inline(vip: &Vip, check: &Check) -> String {
    let text =
        to_toml(&only(Vip { checks: vec![check.clone()], reals: Vec::new(), ..vip.clone() }));
    let line = text.lines().find_map(|line| line.strip_prefix("check = "));
    line.unwrap().to_owned()
}

fn lines(check: &str) -> String {
    let keys: InlineTable = match check.parse().unwrap() {
        Value::InlineTable(keys) => keys,
        other => panic!("{other} is no table"),
    };
    keys.iter().map(|(key, value)| format!("{key} = {}\n", value.to_string().trim())).collect()
}

/// What the words make of the checks.
pub(super) fn applied(words: &[String], old: &[Check]) -> Vec<Check> {
    if words == ["none"] {
        return Vec::new();
    }
    let kinds: Vec<CheckKind> = words.iter().map(|word| kind(word)).collect();
    let mut old = old.to_vec();
    while old.len() > kinds.len() {
        let wanted = |check: &Check| kinds.iter().any(|kind| kind.word() == check.kind.word());
        let gone = old.iter().rposition(|check| !wanted(check)).unwrap_or(old.len() - 1);
        old.remove(gone);
    }
    let mut old = old.into_iter();
    let changed = |kind| match old.next() {
        Some(old) => Check { kind: replaced(kind, &old.kind), ..old },
        None => fresh(kind),
    };
    kinds.into_iter().map(changed).collect()
}

fn kind(word: &str) -> CheckKind {
    let (kind, argument) = word.split_once(':').unwrap_or((word, ""));
    let (port, path) = argument.split_at(argument.find('/').unwrap_or(argument.len()));
    let port = || port.parse().unwrap();
    let slash = |path: &str| if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    match kind {
        "tcp" => CheckKind::Tcp { port: port() },
        "syn" => CheckKind::Syn { port: port() },
        "http" => CheckKind::Http(samples::http(port(), slash(path))),
        "grpc" => {
            let service = path.trim_start_matches('/').to_owned();
            CheckKind::Grpc { port: port(), tls: None, service }
        }
        _ => CheckKind::Icmp,
    }
}

/// What a word does not say stays with the kind.
fn replaced(new: CheckKind, old: &CheckKind) -> CheckKind {
    match (new, old.clone()) {
        (CheckKind::Http(new), CheckKind::Http(old)) if old.tls.is_none() => {
            CheckKind::Http(crate::model::HttpCheck { port: new.port, path: new.path, ..old })
        }
        (CheckKind::Grpc { port, service, .. }, CheckKind::Grpc { tls, .. }) => {
            CheckKind::Grpc { port, service, tls }
        }
        (new, _) => new,
    }
}

fn fresh(kind: CheckKind) -> Check {
    let [interval, timeout] = [2, 1].map(Duration::from_secs);
    Check {
        kind,
        via: CheckVia::Vip,
        interval,
        fast_interval: interval / 4,
        timeout,
        rise: 2,
        fall: 3,
        initial: Initial::Down,
    }
}
