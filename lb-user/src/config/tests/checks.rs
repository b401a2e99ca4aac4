//! `check`: every type, its defaults and what is refused.

use std::time::Duration;

use super::*;
use crate::model::{
    Check, CheckKind, CheckVia, DnsCheck, ExecCheck, HttpCheck, HttpVersion, Initial, Tls,
};

/// What a check of this kind is where nothing else is said.
fn plain(kind: CheckKind) -> Check {
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

/// The only check of a VIP with these fields, wherever it would be read.
fn checked(fields: &str) -> Check {
    let reading = read(&with_check(fields)).map_err(|errors| format!("{fields}: {errors}"));
    reading.unwrap().model.vips.remove(0).checks.remove(0)
}

/// The same of what it probes.
fn kind(fields: &str) -> CheckKind {
    checked(fields).kind
}

fn http() -> HttpCheck {
    crate::config::samples::http(80, "/".into())
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

const TLS: Tls = Tls { name: None, verify: true, ca: None };

#[test]
fn each_type_has_the_documented_defaults_and_the_only_port_of_its_protocol() {
    let udp = CheckKind::Udp { port: 80, send: b"ping".to_vec(), expect: Vec::new() };
    let dns = DnsCheck {
        port: 80,
        transport: Protocol::Udp,
        name: "example.com".to_owned(),
        record: "A".to_owned(),
        answer: None,
    };
    let exec = ExecCheck { command: vec!["/bin/sh".to_owned()], environment: Default::default() };
    for (fields, expected) in [
        ("type = \"tcp\"", CheckKind::Tcp { port: 80 }),
        ("type = \"syn\"", CheckKind::Syn { port: 80 }),
        ("type = \"http\"", CheckKind::Http(http())),
        ("type = \"https\"", CheckKind::Http(HttpCheck { tls: Some(TLS), ..http() })),
        ("type = \"dns\", name = \"example.com\"", CheckKind::Dns(dns)),
        ("type = \"udp\", send = \"ping\"", udp),
        ("type = \"icmp\"", CheckKind::Icmp),
        ("type = \"grpc\"", CheckKind::Grpc { port: 80, tls: None, service: String::new() }),
        ("type = \"exec\", command = [\"/bin/sh\"]", CheckKind::Exec(exec)),
    ] {
        assert_eq!(checked(fields), plain(expected), "{fields}");
    }
}

#[test]
fn everything_that_can_be_said_of_a_check_is_read() {
    let http = HttpCheck {
        port: 8443,
        tls: Some(Tls { name: some("shop.example"), verify: false, ca: Some("/ca.pem".into()) }),
        method: "POST".to_owned(),
        path: "/a?b=c".to_owned(),
        host: some("shop.example:8443"),
        status: vec![200..=299, 301..=301],
        body: some("ok"),
        version: HttpVersion::Two,
    };
    assert_eq!(
        kind(
            r#"type = "https", port = 8443, sni = "shop.example", verify = false, ca = "/ca.pem", method = "POST",
               path = "/a?b=c", host = "shop.example:8443", status = "200-299, 301", body = "ok", version = "2""#
        ),
        CheckKind::Http(http)
    );
    let dns =
        r#"type = "dns", name = "_a.example.", record = "aaaa", transport = "tcp", answer = "::1""#;
    let expected = DnsCheck {
        port: 80,
        transport: Protocol::Tcp,
        name: "_a.example.".to_owned(),
        record: "AAAA".to_owned(),
        answer: some("::1"),
    };
    assert_eq!(kind(dns), CheckKind::Dns(expected));
    assert_eq!(
        kind(r#"type = "udp", port = 123, send = "hex:00fF", expect = "a\r\n""#),
        CheckKind::Udp { port: 123, send: vec![0, 255], expect: b"a\r\n".to_vec() }
    );
    assert_eq!(
        kind(r#"type = "grpc", port = 1, service = "a.B", tls = true, sni = "x""#),
        CheckKind::Grpc {
            port: 1,
            tls: Some(Tls { name: some("x"), ..TLS }),
            service: "a.B".into()
        }
    );
    let exec = ExecCheck {
        command: ["/bin/sh", "-c", "true"].map(str::to_owned).to_vec(),
        environment: [("A_1".to_owned(), "b c".to_owned())].into(),
    };
    assert_eq!(
        kind(r#"type = "exec", command = ["/bin/sh", "-c", "true"], env = { A_1 = "b c" }"#),
        CheckKind::Exec(exec)
    );
}

#[test]
fn the_pace_of_a_check_follows_its_interval() {
    let pace = |fields: &str| {
        let check = checked(&format!("type = \"icmp\", {fields}"));
        [check.interval, check.fast_interval, check.timeout].map(|time| time.as_millis())
    };
    assert_eq!(pace("interval = \"500ms\""), [500, 125, 500]);
    assert_eq!(pace("interval = \"200ms\""), [200, 100, 200]);
    assert_eq!(pace("interval = \"50ms\""), [50, 50, 50]);
    assert_eq!(pace("interval = \"1m\""), [60_000, 15_000, 1000]);
    assert_eq!(pace("fast_interval = \"2s\", timeout = \"2s\""), [2000, 2000, 2000]);
    let check = checked("type = \"icmp\", via = \"rip\", rise = 1, fall = 100, initial = \"up\"");
    let expected = (CheckVia::Rip, 1, 100, Initial::Up);
    assert_eq!((check.via, check.rise, check.fall, check.initial), expected);
}

#[test]
fn a_vip_may_have_several_checks_in_either_way_and_eight_at_most() {
    let kinds = |text: &str| {
        let checks = parse(text).unwrap().vips.remove(0).checks.into_iter();
        checks.map(|check| check.kind).collect::<Vec<_>>()
    };
    let expected = [CheckKind::Tcp { port: 80 }, CheckKind::Icmp];
    let list = "check = [{ type = \"tcp\" }, { type = \"icmp\" }]";
    assert_eq!(kinds(&with_vip(list)), expected);
    let sections = "[[vip.check]]\ntype = \"tcp\"\n[[vip.check]]\ntype = \"icmp\"";
    assert_eq!(kinds(&with_vip(sections)), expected);
    assert_eq!(kinds(&with_vip("check = []")), []);
    let many = |count| {
        let checks = vec!["{ type = \"icmp\" }"; count];
        with_vip(&format!("check = [{}]", checks.join(", ")))
    };
    assert_eq!(kinds(&many(8)).len(), 8);
    assert_eq!(
        refused(&many(9)),
        "7:162: vip \"web\": 9 checks; a VIP has at most 8, so remove some"
    );
    assert_eq!(
        refused(&with_vip("check = [{ type = \"icmp\" }, { type = \"icmp\", rise = 0 }]")),
        "7:53: vip \"web\", check 2: rise 0 is out of range; write a whole number from 1 to 100"
    );
    assert_eq!(
        refused(&with_vip("check = \"tcp\"")),
        "7:9: vip \"web\": check must be a table, not a string"
    );
}

const TYPES: &str = "tcp, syn, http, https, dns, udp, icmp, grpc, exec";

#[test]
fn a_wrong_check_is_refused() {
    let at = "vip \"web\", check:";
    for (fields, place, reason) in [
        ("port = 80", "7:9", "type is missing; write type = \"tcp\" or another".to_owned()),
        ("type = \"smtp\"", "7:18", format!("unknown type \"smtp\"; one of: {TYPES}")),
        (
            "type = \"tcp\", port = 0",
            "7:32",
            "port 0 is out of range; write a whole number from 1 to 65535".into(),
        ),
        (
            "type = \"tcp\", via = \"nat\"",
            "7:31",
            "unknown check path \"nat\"; one of: vip, rip".into(),
        ),
        (
            "type = \"tcp\", initial = \"unknown\"",
            "7:35",
            "unknown initial state \"unknown\"; one of: down, up".into(),
        ),
        (
            "type = \"tcp\", interval = \"1s\", timeout = \"2s\"",
            "7:52",
            "timeout 2s is longer than the interval 1s; shorten it or lengthen the interval".into(),
        ),
        (
            "type = \"tcp\", fast_interval = \"3s\"",
            "7:41",
            "fast_interval 3s is longer than the interval 2s; shorten it or lengthen the interval"
                .into(),
        ),
        (
            "type = \"tcp\", interval = \"2h\"",
            "7:36",
            "interval \"2h\" is out of range; write 1ms to 1h".into(),
        ),
        (
            "type = \"tcp\", rise = 0",
            "7:32",
            "rise 0 is out of range; write a whole number from 1 to 100".into(),
        ),
        (
            "type = \"tcp\", fall = 0",
            "7:32",
            "fall 0 is out of range; write a whole number from 1 to 100".into(),
        ),
    ] {
        assert_eq!(refused(&with_check(fields)), format!("{place}: {at} {reason}"), "{fields}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_what_would_be_right() {
    for (fields, reason) in [
        ("http\", path = \"healthz", "path \"healthz\" is not a path; write one such as /healthz"),
        ("http\", path = \"/a b", "path \"/a b\" is not a path"),
        ("http\", path = \"/a#b", "path \"/a#b\" is not a path"),
        (
            "http\", method = \"GE T",
            "method \"GE T\" asks for nothing; write one such as GET or HEAD",
        ),
        ("http\", method = \"CONNECT", "method \"CONNECT\" asks for nothing"),
        ("http\", host = \"a b", "host \"a b\" is not a host; write one such as shop.example"),
        ("http\", host = \"me@shop", "host \"me@shop\" is not a host"),
        ("http\", status = \"ok", "status \"ok\" is not a list of status codes from 100 to 599"),
        ("http\", status = \"299-200", "write it as \"200\" or \"200-299,301\""),
        ("http\", status = \"200,", "status \"200,\" is not a list"),
        ("http\", status = \"600", "status \"600\" is not a list"),
        ("http\", body = \"", "nothing can be found in the body of an answer so"),
        (
            "http\", method = \"HEAD\", body = \"ok",
            "nothing can be found in the body of an answer so",
        ),
        ("http\", version = \"3", "unknown HTTP version \"3\"; one of: 1.1, 2"),
        (
            "https\", sni = \"a b",
            "sni \"a b\" is not a server's name; write one such as shop.example",
        ),
        ("https\", ca = \"ca.pem", "ca \"ca.pem\" is not an absolute path"),
        ("dns\", record = \"A", "name is missing; write name = \"example.com\""),
        (
            "dns\", name = \"a..b",
            "name \"a..b\" is not a domain name; write one such as example.com",
        ),
        ("dns\", name = \"é", "name \"é\" is not a domain name"),
        ("dns\", name = \"a\", record = \"AXFR", "unknown record \"AXFR\"; one of: A, AAAA"),
        ("dns\", name = \"a\", transport = \"tls", "unknown protocol \"tls\"; one of: tcp, udp"),
        (
            "dns\", name = \"a\", answer = \"::1",
            "answer \"::1\" is none to a question for A; write 192.0.2.1",
        ),
        ("udp", "send is missing; write send = \"ping\" or send = \"hex:00ff\""),
        ("udp\", send = \"", "send has 0 bytes; write 1 to 1200"),
        (
            "udp\", send = \"hex:0",
            "send is not in hexadecimal (Odd number of digits); write it as hex:00ff",
        ),
        ("udp\", send = \"a\", expect = \"hex:zz", "expect is not in hexadecimal"),
        ("exec", "command is missing; write command = [\"/usr/local/bin/check\"]"),
        ("grpc\", sni = \"a", "sni is for TLS only; remove it or write tls = true"),
    ] {
        let found = refused(&with_check(&format!("type = \"{fields}\"")));
        assert!(found.contains("vip \"web\", check: "), "{fields}: {found}");
        assert!(found.contains(reason) && found.lines().count() == 1, "{fields}: {found}");
    }
    for (fields, reason) in [
        ("command = []", "command is empty; write command = [\"/usr/local/bin/check\"]"),
        ("command = [\"check\"]", "command \"check\" is not an absolute path"),
        ("command = \"/bin/sh\"", "command must be a list of strings, not a string"),
        (
            "command = [\"/bin/sh\"], env = { \"A-B\" = \"\" }",
            "env: \"A-B\" is not the name of a variable",
        ),
        (
            "command = [\"/bin/sh\"], env = { A = 1 }",
            "env must be a table of strings, not a whole number",
        ),
    ] {
        let found = refused(&with_check(&format!("type = \"exec\", {fields}")));
        assert!(found.contains(reason) && found.lines().count() == 1, "{fields}: {found}");
    }
}

#[test]
fn a_key_that_belongs_to_another_type_is_refused_with_the_types_that_have_it() {
    for (fields, reason) in [
        (
            "type = \"tcp\", path = \"/\"",
            "a tcp check has no path; remove it, or use a type that has it: http, https",
        ),
        (
            "type = \"http\", sni = \"a\"",
            "an http check has no sni; remove it, or use a type that has it: https, grpc",
        ),
        (
            "type = \"icmp\", port = 80",
            "an icmp check has no port; remove it, or use a type that has it: tcp, syn, http, https, dns, udp, grpc",
        ),
    ] {
        let column = 9 + "{ ".len() + fields.find(", ").unwrap() + 2;
        let expected = format!("7:{column}: vip \"web\", check: {reason}");
        assert_eq!(refused(&with_check(fields)), expected);
    }
}

#[test]
fn a_check_without_port_is_refused_where_no_single_one_can_be_taken() {
    let without = |fields: &str, ports: &str| {
        refused(&with_check(fields).replace("\"tcp/80\", \"udp/80\"", ports))
    };
    let missing = |protocol, example| {
        format!(
            "7:9: vip \"web\", check: port is missing, and the VIP has not exactly one {protocol} port to take for it; write port = {example}"
        )
    };
    for ports in ["\"tcp/80\", \"tcp/81\"", "\"udp/53\"", "\"tcp/*\"", "\"any\""] {
        assert_eq!(without("type = \"tcp\"", ports), missing("tcp", 80), "{ports}");
    }
    let dns = "type = \"dns\", name = \"a\"";
    assert_eq!(without(dns, "\"tcp/53\""), missing("udp", 53));
    assert_eq!(without(&format!("{dns}, transport = \"tcp\""), "\"tcp/53\""), "accepted");
}

#[test]
fn addresses_for_probes_are_nobodys_where_a_check_needs_them() {
    let at = |check: &str| {
        refused(&with_vip(&format!("check = {{ type = \"icmp\"{check} }}\nsorry = \"198.19.0.1\"")))
    };
    assert_eq!(at(", via = \"rip\""), "accepted");
    assert_eq!(
        at(""),
        "3:1: vip \"web\": 198.19.0.1 is within 198.18.0.0/15, where probes have their addresses; write others in probe_prefixes of [node]"
    );
}
