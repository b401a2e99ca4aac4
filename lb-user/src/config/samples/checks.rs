//! Any check that a file can describe.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};

use super::duration;
use crate::model::*;

pub(in crate::config) fn checks() -> impl Strategy<Value = Vec<Check>> {
    prop_oneof![2 => vec(check(), 0..=1), 1 => vec(check(), 2..=4), 1 => vec(check(), 8)]
}

fn check() -> impl Strategy<Value = Check> {
    let via = select(vec![CheckVia::Vip, CheckVia::Rip]);
    let initial = select(vec![Initial::Down, Initial::Up]);
    let times = || duration(3_600_000);
    (kind(), via, [times(), times(), times()], 1..=100u32, 1..=100u32, initial).prop_map(
        |(kind, via, [a, b, c], rise, fall, initial)| {
            let interval: Duration = a.max(b).max(c);
            let (fast_interval, timeout) = if a == interval { (b, c) } else { (a, b.min(c)) };
            Check { kind, via, interval, fast_interval, timeout, rise, fall, initial }
        },
    )
}

fn port() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn kind() -> impl Strategy<Value = CheckKind> {
    let udp = (port(), bytes(1), bytes(0));
    let grpc = (port(), option::of(tls()), "[a-z.]{0,9}");
    prop_oneof![
        port().prop_map(|port| CheckKind::Tcp { port }),
        port().prop_map(|port| CheckKind::Syn { port }),
        http().prop_map(CheckKind::Http),
        dns().prop_map(CheckKind::Dns),
        udp.prop_map(|(port, send, expect)| CheckKind::Udp { port, send, expect }),
        Just(CheckKind::Icmp),
        grpc.prop_map(|(port, tls, service)| CheckKind::Grpc { port, tls, service }),
        exec().prop_map(CheckKind::Exec),
    ]
}

fn http() -> impl Strategy<Value = HttpCheck> {
    let asked = (
        select(vec!["GET", "POST", "OPTIONS", "x-mine"]),
        "/[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]{0,20}",
        option::of("[a-z0-9.-]{1,9}(:[1-9][0-9]{0,3})?"),
    );
    let answer = (
        vec(codes(), 1..4),
        option::of("[^\n\r]{1,9}"),
        select(vec![HttpVersion::One, HttpVersion::Two]),
    );
    (port(), option::of(tls()), asked, answer).prop_map(
        |(port, tls, (method, path, host), (status, body, version))| {
            let method = method.to_owned();
            HttpCheck { port, tls, method, path, host, status, body, version }
        },
    )
}

fn codes() -> impl Strategy<Value = RangeInclusive<u16>> {
    (100..=599u16, 0..=99u16).prop_map(|(low, more)| low..=(low + more).min(599))
}

fn tls() -> impl Strategy<Value = Tls> {
    let name = select(vec!["shop.example", "a_b.example", "192.0.2.1", "2001:db8::1"]);
    let ca = "/[a-z \"\\\\é]{0,20}".prop_map(PathBuf::from);
    (option::of(name.prop_map(str::to_owned)), any::<bool>(), option::of(ca))
        .prop_map(|(name, verify, ca)| Tls { name, verify, ca })
}

fn dns() -> impl Strategy<Value = DnsCheck> {
    let records = vec![("A", "192.0.2.1"), ("AAAA", "::1"), ("TXT", "\"a b\""), ("MX", "10 a.b.")];
    let transport = select(vec![Protocol::Tcp, Protocol::Udp]);
    (
        port(),
        transport,
        "_?[a-z0-9-]{1,60}([.][a-z]{1,60}){0,2}[.]?",
        select(records),
        any::<bool>(),
    )
        .prop_map(|(port, transport, name, (record, answer), answered)| DnsCheck {
            port,
            transport,
            name,
            record: record.to_owned(),
            answer: answered.then(|| answer.to_owned()),
        })
}

fn bytes(least: usize) -> impl Strategy<Value = Vec<u8>> {
    let text = vec(any::<char>(), least..9).prop_map(|text| String::from_iter(text).into_bytes());
    let hex = vec(any::<u8>(), least..9).prop_map(|bytes| [b"hex:", &*bytes].concat());
    prop_oneof![vec(any::<u8>(), least..99), text, hex]
}

fn exec() -> impl Strategy<Value = ExecCheck> {
    let environment = btree_map("[A-Z_][A-Z0-9_]{0,9}", "[^\0\n\r]{0,9}", 0..3);
    ("/[a-z \"\\\\é]{0,20}", vec("[^\0\n\r]{0,9}", 0..3), environment).prop_map(
        |(program, arguments, environment): (String, Vec<String>, BTreeMap<_, _>)| ExecCheck {
            command: std::iter::once(program).chain(arguments).collect(),
            environment,
        },
    )
}
