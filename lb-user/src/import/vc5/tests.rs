use super::*;
use crate::model::{Announce, CheckKind, RealState};

fn reads(text: &str) -> Draft {
    read(text, Path::new("vc5")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn service(policy: &str) -> String {
    format!(
        "services:\n  - name: a\n    virtual: 192.0.2.1\n    servers: [10.0.0.1, 10.0.0.2*]\n    policy:\n      {policy}\n"
    )
}

#[test]
fn a_service_is_a_vip_for_each_port_of_its_policy() {
    let draft = reads(&service("domain:\n      http:"));
    let ports: Vec<_> = draft.vips.iter().map(|vip| vip.vip.ports[0].to_string()).collect();
    assert_eq!(ports, ["tcp/53", "udp/53", "tcp/80"]);
    let http = &draft.vips[2];
    assert_eq!((http.vip.announce, http.reals[1].state), (Announce::None, RealState::Disabled));
    assert!(matches!(&http.checks[0].check.kind, CheckKind::Http(check) if check.path == "/"));
    assert!(http.notes.is_empty() && draft.notes.is_empty());
}

#[test]
fn what_is_not_as_vc5_has_it_is_refused_at_its_place() {
    for (text, expected) in [
        ("".to_owned(), "vc5:1:1: no services in it"),
        ("a: 1\n".to_owned(), "vc5:1:1: no services in it"),
        ("services: [1]\n".to_owned(), "vc5:1:12: a service is a map"),
        ("services:\n  - name: a\n".to_owned(), "vc5:2:5: the service has no virtual address"),
        (service("0:"), "vc5:6:7: not a port of a policy"),
        (service("http: many"), "vc5:6:13: not a port of the reals"),
        ("services:\n  a: {}\n".to_owned(), "vc5:2:3: a service is named by address"),
        ("vips:\n  192.0.2.1: {80: {}}\n".to_owned(), "vc5:2:15: a service is named by protocol"),
    ] {
        let found = read(&text, Path::new("vc5")).map(|_| ()).unwrap_err().to_string();
        assert!(found.starts_with(expected), "{found}\n{text}");
    }
}

#[test]
fn every_address_with_every_server_is_more_than_is_read() {
    let list = |prefix: &str| {
        (0..800)
            .map(|index| format!("10.{prefix}.{}.{}, ", index / 200, index % 200))
            .collect::<String>()
    };
    let text = format!(
        "services:\n  - virtual: [{}]\n    servers: [{}]\n    policy: {{80: }}\n",
        list("1"),
        list("2")
    );
    let refused = read(&text, Path::new("vc5")).map(|_| ()).unwrap_err();
    assert!(refused.message.starts_with("more than 524288 servers"), "{refused}");
}

#[test]
fn an_anchor_cannot_blow_up_what_is_read() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let again = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{again}]\n"));
    }
    let refused = read(&text, Path::new("vc5")).map(|_| ()).unwrap_err();
    assert!(refused.message.starts_with("not YAML"), "{refused}");
}
