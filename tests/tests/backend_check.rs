//! What the script's check finds on a real server: each fault is made, found alone, and mended.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use tests::{Bare, Lab, LabOptions, Output, Rack, Shell, address, bin, debian};

/// A real server that the script has set up, with an nginx if it is to have one.
struct Bench {
    lab: Lab,
    bare: Bare,
    script: PathBuf,
    shell: Shell,
}

impl Bench {
    fn new(shell: Shell, words: &str) -> Result<Self> {
        let lab = Lab::new(LabOptions::reals(1))?;
        let bare = Bare::new(lab.real(1))?;
        let mut lbctl = Command::new(bin::path("lbctl")?);
        lbctl.args(["backend", "script"]).args(words.split_whitespace());
        let script = bare.put("lb-backend.sh", &Output::of(&mut lbctl)?.success()?.stdout)?;
        let bench = Self { lab, bare, script, shell };
        bench.bare.run(shell, &bench.script, "apply --persist")?.success()?;
        Ok(bench)
    }

    /// All lines that do not say ok, fixes joined to the line before.
    fn check_with(&self, change: impl FnOnce(&mut Command)) -> Result<Vec<String>> {
        let mut command = self.bare.command(self.shell, &self.script, "check");
        change(&mut command);
        let Output { code, stdout, stderr } = Output::of(&mut command)?;
        assert_eq!(stderr, "", "{stdout}");
        let mut found: Vec<String> = Vec::new();
        for line in stdout.lines() {
            let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
            match words.split_once(' ').context("a word")? {
                ("wrong" | "warning", _) => found.push(words),
                ("fix", fix) => *found.last_mut().context("a line")? += &format!("; {fix}"),
                (word, _) => assert!(["ok", "machine", "result"].contains(&word), "{line}"),
            }
        }
        let wrong = found.iter().any(|line| line.starts_with("wrong"));
        assert_eq!(code, i32::from(wrong), "{stdout}");
        assert!(found.iter().all(|line| line.contains("; ")), "a fix for everything: {found:#?}");
        Ok(found)
    }

    fn check(&self) -> Result<Vec<String>> {
        self.check_with(|_| ())
    }

    /// Nothing else than these is found, in these words.
    #[track_caller]
    fn finds(&self, parts: &[&str]) -> Result<()> {
        let found = self.check()?;
        assert_eq!(found.len(), parts.len(), "{parts:?}: {found:#?}");
        for (line, part) in found.iter().zip(parts) {
            assert!(line.contains(part), "{part}: {found:#?}");
        }
        Ok(())
    }

    /// Breaks something, which is found, and mends it.
    #[track_caller]
    fn finds_after(&self, breaks: &str, parts: &[&str], mends: &str) -> Result<()> {
        self.bare.sh(breaks)?;
        self.finds(parts)?;
        self.bare.sh(mends)?;
        self.finds(&[])
    }
}

const VIPS: &str = "--vip 192.0.2.10 --vip 2001:db8:2::10 --port tcp/80 --balancer 10.0.0.2 --balancer 2001:db8:a::2";

fn every_fault_is_found(shell: Shell) -> Result<()> {
    let bench = Bench::new(shell, VIPS)?;
    let nginx = bench.lab.real(1).nginx(&[Rack::vip(), Rack::vip6()])?;
    bench.finds(&[])?;
    // BusyBox shows neither proxies nor several next hops.
    let hidden = |breaks: &str| breaks.contains("proxy 192.0.2.10") || breaks.contains("nexthop");
    let shown = |breaks: &str| shell == Shell::Dash || !hidden(breaks);
    for (breaks, part, mends) in FAULTS.into_iter().filter(|(breaks, ..)| shown(breaks)) {
        bench.finds_after(breaks, &[part], mends)?;
    }
    drop(nginx);
    let lines = [
        "wrong service nothing listens on tcp port 80 of 192.0.2.10",
        "wrong service nothing listens on tcp port 80 of 2001:db8:2::10",
    ];
    bench.finds(&lines)?;
    let fixes = bench.check()?[0].split_once("; ").context("a fix")?.1.to_owned();
    let expected = "nginx: listen 192.0.2.10:80;; Apache: Listen 192.0.2.10:80 and \
                    <VirtualHost 192.0.2.10:80 10.0.0.11:80>; HAProxy: bind 192.0.2.10:80";
    assert_eq!(fixes, expected);
    let _everywhere = bench.lab.real(1).nginx_at(&["0.0.0.0:80".parse()?, "[::]:80".parse()?])?;
    bench.finds(&[])
}

/// What breaks something, what is found, and what mends it.
const FAULTS: [(&str, &str, &str); 19] = [
    (
        "ip address del 192.0.2.10/32 dev lo",
        "wrong address 192.0.2.10 is not on lo: packets to it are not taken, or sent back; run `",
        "ip address add 192.0.2.10/32 dev lo",
    ),
    (
        "ip address del 2001:db8:2::10/128 dev lo",
        "wrong address 2001:db8:2::10 is not on lo",
        "ip address add 2001:db8:2::10/128 dev lo nodad preferred_lft 0",
    ),
    (
        "ip address change 2001:db8:2::10/128 dev lo preferred_lft forever valid_lft forever",
        "warning address 2001:db8:2::10 is on lo, and may be chosen as source",
        "ip address change 2001:db8:2::10/128 dev lo preferred_lft 0 valid_lft forever",
    ),
    (
        "ip address del 192.0.2.10/32 dev lo; ip address add 192.0.2.10/24 dev lo",
        "wrong address 192.0.2.10 is on lo with a whole network, of which no other machine can be reached; ip address del 192.0.2.10/24 dev lo",
        "ip address del 192.0.2.10/24 dev lo; ip address add 192.0.2.10/32 dev lo",
    ),
    (
        "ip address add 192.0.2.10/32 dev eth0",
        "wrong address 192.0.2.10 is on eth0: this machine answers ARP for it and takes its traffic; ip address del 192.0.2.10/32 dev eth0",
        "ip address del 192.0.2.10/32 dev eth0",
    ),
    (
        "cd /proc/sys/net/ipv4/conf; echo 0 >all/arp_ignore; echo 0 >eth0/arp_ignore",
        "wrong sysctl net.ipv4.conf.eth0.arp_ignore is in force as 0: this machine answers ARP",
        "echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_ignore",
    ),
    (
        "cd /proc/sys/net/ipv4/conf; echo 0 >all/arp_announce; echo 1 >eth0/arp_announce",
        "wrong sysctl net.ipv4.conf.eth0.arp_announce is in force as 1",
        "echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce",
    ),
    (
        "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter",
        "wrong sysctl net.ipv4.conf.eth0.rp_filter is in force as 1",
        "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter",
    ),
    (
        "echo 2 >/proc/sys/net/ipv4/conf/eth0/rp_filter",
        "warning sysctl net.ipv4.conf.eth0.rp_filter is in force as 2",
        "echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter",
    ),
    (
        "echo 1 >/proc/sys/net/ipv4/conf/eth0/proxy_arp",
        "warning sysctl proxy_arp is on for eth0",
        "echo 0 >/proc/sys/net/ipv4/conf/eth0/proxy_arp",
    ),
    (
        "echo 1 >/proc/sys/net/ipv6/conf/eth0/proxy_ndp",
        "warning sysctl proxy_ndp is on for eth0",
        "echo 0 >/proc/sys/net/ipv6/conf/eth0/proxy_ndp",
    ),
    (
        "ip neigh add proxy 192.0.2.10 dev eth0",
        "wrong sysctl 192.0.2.10 has a proxy entry",
        "ip neigh del proxy 192.0.2.10 dev eth0",
    ),
    (
        "ip route replace default via 10.0.0.2",
        "wrong route the default route of IPv4 goes to the balancer, 10.0.0.2: answers are to go past it; ip -4 route replace default via ROUTER",
        "ip route replace default via 10.0.0.1",
    ),
    (
        "ip -6 route replace default via 2001:db8:a::2",
        "wrong route the default route of IPv6 goes to the balancer, 2001:db8:a::2",
        "ip -6 route replace default via 2001:db8:a::1",
    ),
    (
        "ip route replace default nexthop via 10.0.0.1 nexthop via 10.0.0.2",
        "wrong route the default route of IPv4 goes to the balancer, 10.0.0.2",
        "ip route replace default via 10.0.0.1",
    ),
    (
        "ip route del default; ip route add blackhole default",
        "wrong route there is no default route of IPv4",
        "ip route del blackhole default; ip route add default via 10.0.0.1",
    ),
    (
        "ip -6 route del default via 2001:db8:a::1",
        "wrong route there is no default route of IPv6",
        "ip -6 route add default via 2001:db8:a::1",
    ),
    (
        "ip link set eth0 mtu 1400",
        "warning mtu eth0 has an MTU of 1400: longer packets of clients may be lost; ip link set eth0 mtu 1500",
        "ip link set eth0 mtu 1500",
    ),
    (
        "mkdir /sys/fs/bpf/lb",
        "warning balancer this machine is a balancer (/sys/fs/bpf/lb is there), not a real server",
        "rmdir /sys/fs/bpf/lb",
    ),
];

#[test]
fn every_fault_is_found_alone_with_what_to_do() -> Result<()> {
    every_fault_is_found(Shell::Dash)
}

#[test]
fn every_fault_is_found_with_the_programs_of_busybox_too() -> Result<()> {
    every_fault_is_found(Shell::Ash)
}

#[test]
fn a_program_that_listens_elsewhere_only_is_named_with_its_own_words() -> Result<()> {
    let bench = Bench::new(Shell::Dash, VIPS)?;
    let real = bench.lab.real(1);
    let _nginx = real.nginx(&[real.address(), Rack::vip6()])?;
    bench.finds(&["wrong service nothing listens on tcp port 80 of 192.0.2.10: nginx does on other addresses only; nginx: listen 192.0.2.10:80;"])
}

#[test]
fn for_udp_a_socket_for_all_addresses_may_answer_from_another() -> Result<()> {
    for shell in [Shell::Dash, Shell::Ash] {
        let bench = Bench::new(shell, "--vip 192.0.2.10 --vip 2001:db8:2::10 --port udp/53")?;
        bench.finds(&["wrong service nothing listens on udp port 53 of 192.0.2.10; have the program listen on 192.0.2.10:53", "of 2001:db8:2::10; have the program listen on [2001:db8:2::10]:53"])?;
        let real = bench.lab.real(1);
        let _six = real.udp_echo(address::vip6(10), 53)?;
        let four = real.udp_echo(address::vip(10), 53)?;
        bench.finds(&[])?;
        drop(four);
        let _any = real.udp_echo("0.0.0.0".parse()?, 53)?;
        bench.finds(&["warning service udp port 53 of 192.0.2.10 is listened on, as on all addresses: its answers may come from another one; have it listen on 192.0.2.10 itself"])?;
    }
    Ok(())
}

#[test]
fn where_all_ports_are_served_something_must_listen_on_any() -> Result<()> {
    let bench = Bench::new(Shell::Dash, "--vip 192.0.2.10 --port any --port tcp/*")?;
    let nothing = "nothing listens on any port of 192.0.2.10; start what is to serve 192.0.2.10";
    bench.finds(&[nothing, nothing])?;
    let place = SocketAddr::new(Rack::vip(), 8080);
    let _nginx = bench.lab.real(1).nginx_at(&[place])?;
    bench.finds(&[])
}

/// Runs `nft` in the real.
fn nft(bench: &Bench, rules: &str) -> Result<()> {
    let file = bench.bare.put("rules.nft", rules)?;
    let mut command = bench.bare.netns().command(debian::file("usr/sbin/nft")?);
    debian::environment(&mut command);
    Output::of(command.arg("-f").arg(file))?.success().map(drop)
}

#[test]
fn a_packet_filter_that_drops_is_found_unless_it_lets_the_vip_through() -> Result<()> {
    let bench = Bench::new(Shell::Dash, VIPS)?;
    let _nginx = bench.lab.real(1).nginx(&[Rack::vip(), Rack::vip6()])?;
    let chain = |head: &str, rules: &str| {
        format!(
            "flush ruleset\ntable inet filter {{ chain input {{\ntype filter hook input priority 0; {head}\n{rules}\n}}\n}}\n"
        )
    };
    let drops = "policy drop;";
    let four = "warning firewall packets to 192.0.2.10, tcp port 80, may be dropped: ";
    let six = "warning firewall packets to 2001:db8:2::10, tcp port 80, may be dropped: ";
    for (rules, expected) in [
        (chain("", ""), [].as_slice()),
        (chain(drops, "ct state established,related accept"), &[four, six]),
        (chain(drops, "tcp dport 22 accept; tcp dport 8080 accept"), &[four, six]),
        (chain(drops, "tcp dport { 22, 80, 443 } accept"), &[]),
        (chain(drops, "ip daddr 192.0.2.10 accept"), &[six]),
        (chain("", "tcp dport 22 accept; counter drop"), &[four, six]),
        (chain("", "ip daddr 192.0.2.10 tcp dport 80 drop"), &[four]),
        (chain("", "udp dport 80 drop; tcp dport 8080 drop; ip daddr 192.0.2.11 drop"), &[]),
        (chain(drops, "ip saddr 203.0.113.0/24 tcp dport 80 accept"), &[four, six]),
        (chain("", "tcp dport 25 drop; ct state invalid drop; ip saddr 203.0.113.0/24 drop"), &[]),
    ] {
        nft(&bench, &rules)?;
        let found = bench.check_with(debian::environment)?;
        assert_eq!(found.len(), expected.len(), "{rules}: {found:#?}");
        for (line, part) in found.iter().zip(expected) {
            assert!(line.contains(part), "{rules}: {found:#?}");
            assert!(line.contains("; in the chain that drops, before that: ip"), "{line}");
        }
    }
    Ok(())
}
