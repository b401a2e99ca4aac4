//! What is shared by all kinds.

use std::{net::IpAddr, path::Path, time::Duration};

use super::{write::write, *};
use crate::{
    config,
    model::{CheckKind, ExecCheck, HashMode, HttpCheck, Ports, RealState, Vip},
};

fn origin(line: usize, words: &str) -> Origin {
    Origin { file: "lb.conf".into(), line, words: words.to_owned() }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ports(words: &str) -> Vec<Ports> {
    words.split(' ').map(|word| word.parse().unwrap()).collect()
}

/// A VIP with these ports and reals, at a line.
fn vip(line: usize, at: &str, words: &str, reals: &[&str]) -> DraftVip {
    let mut vip = DraftVip::new(origin(line, at), address(at), ports(words));
    let real = |(index, real): (usize, &&str)| {
        DraftReal::new(origin(line + 1 + index, real), address(real))
    };
    vip.reals = reals.iter().enumerate().map(real).collect();
    vip
}

fn written(vips: Vec<DraftVip>) -> Imported {
    let draft = Draft { interfaces: vec!["eth1".to_owned()], vips, ..Draft::default() };
    write(draft, Path::new("lb.conf")).unwrap()
}

fn reasons(imported: &Imported) -> Vec<String> {
    imported.omissions.iter().map(Note::to_string).collect()
}

#[test]
fn only_what_differs_from_the_defaults_is_written_and_notes_stand_above_what_they_are_about() {
    let mut web = vip(7, "192.0.2.10", "tcp/80", &["10.0.0.11", "10.0.0.12"]);
    web.vip.hash = HashMode::Source;
    web.vip.sorry = Some(address("10.0.0.99"));
    web.notes.push(origin(8, "a\tb\n\u{7}c").note("why"));
    web.reals[1].weight = 3;
    web.reals[1].state = RealState::Disabled;
    web.reals[1].notes.push(origin(10, "d").note("so"));
    let mut http = check(CheckKind::Http(HttpCheck {
        port: 80,
        tls: None,
        method: "GET".to_owned(),
        path: "/healthz".to_owned(),
        host: None,
        status: vec![200..=299],
        body: None,
        version: Default::default(),
    }));
    http.interval = Duration::from_secs(6);
    http.fast_interval = Duration::from_secs(1);
    let draft = Draft {
        vips: vec![web],
        remarks: vec!["Good to know.".to_owned()],
        notes: vec![origin(1, "global").note("gone")],
        ..Draft::default()
    };
    let mut draft = draft;
    draft.vips[0].checks.push(DraftCheck { origin: origin(9, "c"), check: http });
    let imported = write(draft, Path::new("lb.conf")).unwrap();
    assert_eq!(
        imported.toml,
        r#"# From lb.conf, by lbctl import.
# Good to know.

# Adapt this: the interfaces on which clients' packets arrive.
[node]
interfaces = ["eth0"]

# lb.conf:8: a b \u{7}c: why
[[vip]]
name = "192.0.2.10"
address = "192.0.2.10"
ports = ["tcp/80"]
hash = "source"
sorry = "10.0.0.99"
check = { type = "http", port = 80, path = "/healthz", status = "200-299", interval = "6s", fast_interval = "1s" }

[[vip.real]]
address = "10.0.0.11"

# lb.conf:10: d: so
[[vip.real]]
address = "10.0.0.12"
weight = 3
state = "disabled"

# Not carried over, and part of no VIP above:
# lb.conf:1: global: gone
"#
    );
    assert_eq!((imported.vips, imported.reals), (1, 2));
    let lines: Vec<_> = imported.omissions.iter().map(|note| note.line).collect();
    assert_eq!(lines, [1, 8, 10]);
}

#[test]
fn vips_of_an_address_that_differ_in_ports_alone_are_one() {
    let reals = &["10.0.0.11"][..];
    let imported = written(vec![
        vip(1, "192.0.2.10", "tcp/80", reals),
        vip(5, "192.0.2.10", "tcp/443", reals),
        vip(9, "192.0.2.10", "tcp/25", &["10.0.0.12"]),
        vip(13, "192.0.2.10", "any", reals),
        vip(17, "192.0.2.11", "tcp/80", reals),
        vip(21, "192.0.2.10", "tcp/443", reals),
    ]);
    let model = config::parse(&imported.toml).unwrap();
    let vips: Vec<_> = model
        .vips
        .iter()
        .map(|vip| {
            let ports: Vec<_> = vip.ports.iter().map(Ports::to_string).collect();
            format!("{} {}", vip.name, ports.join(" "))
        })
        .collect();
    assert_eq!(
        vips,
        [
            "192.0.2.10-tcp-80 tcp/80 tcp/443",
            "192.0.2.10-tcp-25 tcp/25",
            "192.0.2.10-any any",
            "192.0.2.11 tcp/80",
        ]
    );
    assert_eq!(
        reasons(&imported),
        [
            "lb.conf:21: 192.0.2.10: tcp/443 of 192.0.2.10 is served by a VIP above already: this one is left out"
        ]
    );
}

#[test]
fn names_become_valid_and_unique() {
    let named = |name: &str, at: &str| {
        let mut vip = vip(1, at, "tcp/80", &[]);
        vip.vip.name = name.to_owned();
        vip
    };
    let long = "x".repeat(90);
    let imported = written(vec![
        named("my shop/ä", "192.0.2.1"),
        named("..", "2001:db8::1"),
        named("web", "192.0.2.2"),
        named("web", "192.0.2.3"),
        named("web", "192.0.2.4"),
        named(&long, "192.0.2.5"),
    ]);
    let model = config::parse(&imported.toml).unwrap();
    let names: Vec<_> = model.vips.iter().map(|vip| vip.name.as_str()).collect();
    assert_eq!(
        names,
        ["my-shop--", "2001-db8--1", "web-tcp-80", "web-tcp-80-2", "web-tcp-80-3", &long[..48]]
    );
}

#[test]
fn what_the_check_refuses_is_left_out_with_its_reason() {
    let mut web = vip(1, "192.0.2.10", "tcp/80", &["127.0.0.1", "10.0.0.11", "10.0.0.11", "::1"]);
    web.vip.sorry = Some(address("10.0.0.11"));
    let command = vec!["/nonexistent/check".to_owned(), "a".to_owned()];
    let exec = check(CheckKind::Exec(ExecCheck { command, environment: Default::default() }));
    web.checks.push(DraftCheck { origin: origin(2, "MISC_CHECK"), check: exec });
    let imported = written(vec![web, vip(20, "224.0.0.1", "tcp/80", &["10.0.0.11"])]);
    let model = config::parse(&imported.toml).unwrap();
    assert_eq!(model.vips.len(), 1);
    assert_eq!(model.vips[0].reals.len(), 1);
    assert_eq!((&model.vips[0].sorry, model.vips[0].checks.len()), (&None, 0));
    let reasons = reasons(&imported).join("\n");
    for part in [
        "lb.conf:2: 127.0.0.1: left out: ",
        "127.0.0.1 is a loopback address",
        "real 10.0.0.11 is in the pool twice",
        "lb.conf:5: ::1: left out",
        "lb.conf:1: 192.0.2.10: sorry is left out",
        "install the program or write where it is; it would be: check = { type = \"exec\", command = [\"/nonexistent/check\", \"a\"] }",
        "lb.conf:20: 224.0.0.1: left out",
    ] {
        assert!(reasons.contains(part), "{part}\n{reasons}");
    }
}

#[test]
fn an_interface_that_cannot_be_gives_way_to_one_to_adapt() {
    let draft = Draft { interfaces: vec!["a/b".to_owned()], ..Draft::default() };
    let imported = write(draft, Path::new("lb.conf")).unwrap();
    assert!(imported.toml.contains("\ninterfaces = [\"eth0\"]\n"), "{}", imported.toml);
    assert!(imported.remarks[0].starts_with("The interfaces a/b cannot be used: "));
}

#[test]
fn what_is_more_than_the_tables_hold_is_left_out_from_the_end() {
    let uneven = |index: usize| {
        let mut vip = vip(
            index,
            &format!("192.0.{}.{}", index / 250, index % 250),
            "tcp/80",
            &["10.0.0.1", "10.0.0.2"],
        );
        vip.reals[0].weight = 256;
        vip
    };
    let imported = written((1..=600).map(uneven).collect());
    assert_eq!((imported.vips, imported.omissions.len()), (512, 88));
    assert!(imported.omissions[0].reason.contains("ring slots; this VIP does not fit"));
}

#[test]
fn an_empty_original_is_not_taken_for_a_whole_one() {
    for kind in Kind::WORDS {
        for text in ["", "\n\n", "{}"] {
            let kind: Kind = kind.parse().unwrap();
            let files = |_: &Path| Ok(Vec::new());
            let imported = import(kind, text, Path::new("original"), &Options::default(), &files);
            assert!(imported.is_err(), "{kind}: {text:?}: {imported:?}");
        }
    }
}

/// What is not written must be what the configuration takes then, or an import would say something else.
#[test]
fn what_a_draft_leaves_unsaid_is_what_the_configuration_takes_for_it() {
    for (address, real) in [("192.0.2.10", "10.0.0.11"), ("2001:db8:2::10", "2001:db8:a::11")] {
        for interval in ["", ", interval = \"200ms\"", ", interval = \"1m\""] {
            let text = format!(
                "[node]\ninterfaces = [\"eth0\"]\n[[vip]]\nname = \"web\"\naddress = \"{address}\"\n\
                 ports = [\"tcp/80\"]\ncheck = {{ type = \"tcp\", port = 80{interval} }}\n\
                 [[vip.real]]\naddress = \"{real}\"\n"
            );
            let vip = config::parse(&text).unwrap().vips.remove(0);
            let found = &vip.checks[0];
            let (fast_interval, timeout) = paced(found.interval);
            assert_eq!((found.fast_interval, found.timeout), (fast_interval, timeout));
            if interval.is_empty() {
                assert_eq!(*found, check(found.kind.clone()));
            }
            let plain = draft::plain(vip.address, vip.ports.clone());
            let name = vip.name.clone();
            assert_eq!(Vip { checks: Vec::new(), reals: Vec::new(), ..vip }, Vip { name, ..plain });
        }
    }
}
