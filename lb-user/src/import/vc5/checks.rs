//! Checks of either form.

use std::ops::RangeInclusive;

use super::{
    super::{DraftCheck, Note, check},
    service::{Reader, unknown},
    tree::{Node, Value},
};
use crate::model::{CheckKind, DnsCheck, HttpCheck, HttpVersion, Protocol, Tls};

const KEYS: &[&str] = &["type", "port", "host", "path", "method", "expect", "expt", "name"];

const ANY_ANSWER: &str = "vc5 takes any answer to a DNS query, this check one without an error: write a name \
    that the reals know";

const NO_STATUS: &str = "left out: not status codes from 100 to 599; 200 is expected";

/// For what a check is, and where it finds what it does not say.
#[derive(Clone, Copy)]
pub(super) struct Context<'c, 'a> {
    pub(super) reader: &'c Reader<'a>,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// The nearest first.
    pub(super) settings: &'c [&'c Node],
}

#[derive(Default)]
pub(super) struct Checks {
    pub(super) checks: Vec<DraftCheck>,
    pub(super) notes: Vec<Note>,
}

impl Checks {
    /// Reads a list of checks, each with its type, or all of the one that is given.
    pub(super) fn list(&mut self, list: &Node, kind: Option<&str>, context: Context<'_, '_>) {
        for item in list.items() {
            let kind = kind.or_else(|| item.get("type").and_then(Node::text)).unwrap_or_default();
            self.notes.extend(unknown(item, KEYS, context.reader));
            self.one(kind, item, item, context);
        }
    }

    /// A check with what is said of it in `given`; `at` is where it stands.
    pub(super) fn one(&mut self, kind: &str, at: &Node, given: &Node, context: Context<'_, '_>) {
        let origin = context.reader.origin(at);
        let own = given.get("port").and_then(Node::text).and_then(|port| port.parse().ok());
        let port = own.filter(|port| *port > 0).unwrap_or(context.port);
        let kind = match kind {
            "http" | "https" => CheckKind::Http(self.http(kind, port, given, context)),
            "syn" | "half" => CheckKind::Syn { port },
            "tcp" => CheckKind::Tcp { port },
            "dns" | "dnstcp" => {
                self.notes.push(origin.note(ANY_ANSWER));
                CheckKind::Dns(dns(kind, port, given, context))
            }
            "ping" | "icmp" => CheckKind::Icmp,
            _ => {
                let reason = format!(
                    "left out: a check of type {kind:?}; write another, maybe one of type exec"
                );
                return self.notes.push(origin.note(reason));
            }
        };
        self.checks.push(DraftCheck { origin, check: check(kind) });
    }

    fn http(&mut self, kind: &str, port: u16, given: &Node, context: Context<'_, '_>) -> HttpCheck {
        let setting =
            |key| given.get(key).or_else(|| context.settings.iter().find_map(|node| node.get(key)));
        let text = |key| setting(key).and_then(Node::text).map(str::to_owned);
        let status = setting("expect").or(setting("expt")).map(|node| {
            status(node).unwrap_or_else(|| {
                self.notes.push(context.reader.origin(node).note(NO_STATUS));
                vec![200..=200]
            })
        });
        // A path of its own or of the service, but for what is only for DNS.
        let method = text("method").filter(|method| !matches!(method.as_str(), "tcp" | "udp"));
        HttpCheck {
            port,
            // vc5 takes any certificate.
            tls: (kind == "https").then_some(Tls { name: None, verify: false, ca: None }),
            method: method.unwrap_or_else(|| "GET".to_owned()),
            path: text("path").unwrap_or_else(|| "/".to_owned()),
            host: text("host"),
            status: status.unwrap_or_else(|| vec![200..=200]),
            body: None,
            version: HttpVersion::One,
        }
    }
}

fn dns(kind: &str, port: u16, given: &Node, context: Context<'_, '_>) -> DnsCheck {
    let method = given.get("method").and_then(Node::text).map(str::to_ascii_lowercase);
    let transport = match (kind, method.as_deref()) {
        ("dnstcp", _) | (_, Some("tcp" | "true")) => Protocol::Tcp,
        (_, Some("udp" | "false")) => Protocol::Udp,
        _ => context.protocol,
    };
    DnsCheck { port, transport, name: "localhost".to_owned(), record: "A".to_owned(), answer: None }
}

/// A code, a list of codes, ranges of them, or all.
fn status(node: &Node) -> Option<Vec<RangeInclusive<u16>>> {
    let words: Vec<&str> = match &node.value {
        Value::List(items) => items.iter().filter_map(Node::text).collect(),
        Value::Text(text) => text.split_whitespace().collect(),
        _ => Vec::new(),
    };
    if words.iter().any(|word| matches!(*word, "any" | "0")) {
        return Some(vec![100..=599]);
    }
    let range = |word: &&str| {
        let (low, high) = word.split_once('-').unwrap_or((word, word));
        let [low, high] = [low, high].map(|code| code.parse().ok());
        let (low, high) = (low?, high?);
        let (low, high) = if low <= high { (low, high) } else { (high, low) };
        (100..=599).contains(&low).then_some(())?;
        (high <= 599).then_some(low..=high)
    };
    let ranges: Option<Vec<_>> = words.iter().map(range).collect();
    ranges.filter(|ranges| !ranges.is_empty())
}
