use std::{net::IpAddr, process::Command};

use proptest::prelude::*;

use super::*;

fn vip(name: Option<&str>, address: &str, ports: &[&str]) -> Vip {
    Vip {
        name: name.map(str::to_owned),
        address: address.parse().unwrap(),
        ports: ports.iter().map(|ports| ports.parse().unwrap()).collect(),
        reals: Vec::new(),
    }
}

fn setup(vips: Vec<Vip>) -> Setup {
    Setup { vips, interfaces: Vec::new(), balancers: Vec::new() }
}

#[test]
fn the_header_tells_the_setup_and_nothing_else() {
    let web = vip(Some("web"), "192.0.2.10", &["tcp/80", "tcp/443"]);
    let rest = vip(Some("dns"), "2001:DB8:2::10", &["udp/53", "tcp/*", "any"]);
    let balancers: Vec<IpAddr> =
        ["10.0.0.2", "fe80::2"].map(|address| address.parse().unwrap()).into();
    let setup = Setup {
        interfaces: vec!["eth0".into(), "eth0.20".into()],
        balancers,
        ..setup(vec![web, rest])
    };
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "#!/bin/sh
# Makes this machine a real server for a balancer that works by Direct Server Return, of the VIPs
# 192.0.2.10 (web), 2001:db8:2::10 (dns).
# `sh lb-backend.sh --help` says more.
# shellcheck disable=SC2317 # Functions are also called by names that variables hold.

LB_VERSION='{version}'
LB_VIPS='192.0.2.10 2001:db8:2::10'
LB_SERVICES='tcp:192.0.2.10:80 tcp:192.0.2.10:443 udp:[2001:db8:2::10]:53 tcp:[2001:db8:2::10]:* any:[2001:db8:2::10]:*'
LB_INTERFACES='eth0 eth0.20'
LB_BALANCERS='10.0.0.2 fe80::2'
LB_WAY='netplan'

"
    );
    let script = text(&setup, Some(Way::Netplan));
    assert_eq!(
        script.strip_prefix(&expected).map(|rest| rest.starts_with("# ")),
        Some(true),
        "{script}"
    );
    assert!(script.ends_with("main \"$@\" </dev/null\nexit $?\n"), "{script}");
}

#[test]
fn a_name_that_would_end_the_comment_is_left_out() {
    for name in ["web\nreboot", "web\rreboot", "", "web $(reboot)", "wéb"] {
        let header = header(&setup(vec![vip(Some(name), "192.0.2.10", &["any"])]), None);
        assert!(name.is_empty() || !header.contains(name), "{header}");
        assert!(header.contains("# 192.0.2.10"), "{header}");
    }
}

#[test]
fn all_that_a_script_contains_is_plain_text_of_lines_that_a_terminal_shows() {
    let script = text(&setup(vec![vip(None, "192.0.2.10", &["tcp/80"])]), None);
    for line in script.lines() {
        assert!(line.is_ascii() && line.len() <= 130 && line.trim_end() == line, "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_shell_reads_what_was_quoted_and_runs_nothing(text in "[^\0]{0,40}|['\"$`();&|<>\\\\ \n#*~!-]{0,20}") {
        let script = format!("set -- {}; printf %s \"$1\"; exit $#", quote(&text));
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        prop_assert_eq!(output.status.code(), Some(1));
        prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        prop_assert!(output.stderr.is_empty());
    }
}
