//! What an examination finds: each thing is provoked, and named alone; and nothing where all is well.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{Daemon, Lab, LabOptions, Netns, Output, Rack, address, wait, xdp};

/// What is found beside notes: the clock of the machine that runs this is as it is.
fn findings(daemon: &Daemon) -> Result<Vec<Value>> {
    let output = daemon.lbctl(&["doctor", "-o", "json"])?;
    let answer = output.json()?;
    let all = answer["findings"].as_array().context("findings")?;
    let found: Vec<Value> =
        all.iter().filter(|finding| finding["note"] == false).cloned().collect();
    assert_eq!(output.code, i32::from(!found.is_empty()), "{}", output.stdout);
    let says =
        |key: &str| found.iter().all(|one| one[key].as_str().is_some_and(|text| !text.is_empty()));
    assert!(says("message") && says("fix"), "{found:?}");
    Ok(found)
}

/// What a finding is about: code, VIP, real, interface.
fn about(finding: &Value) -> [&str; 4] {
    ["code", "vip", "real", "interface"].map(|key| finding[key].as_str().unwrap_or("-"))
}

#[track_caller]
fn finds(found: &[Value], expected: &[[&str; 4]]) {
    let found_about: Vec<_> = found.iter().map(about).collect();
    assert_eq!(found_about, expected, "{found:#?}");
}

fn nothing(daemon: &Daemon) -> Result<()> {
    finds(&findings(daemon)?, &[]);
    Ok(())
}

fn set(netns: &Netns, names: &[&str], value: &str) -> Result<()> {
    let settings: Vec<_> = names.iter().map(|name| (*name, value)).collect();
    netns.sysctl(&settings)
}

const ARP_IGNORE: [&str; 2] = ["ipv4/conf/all/arp_ignore", "ipv4/conf/eth0/arp_ignore"];

/// A daemon with these VIPs in a lab, once all reals of them own slots.
fn started(lab: Lab, vips: &str, reals: &[(&str, usize)]) -> Result<Rack> {
    let daemon = lab.daemon(&lab.config(vips))?;
    let rack = Rack { daemon, nginx: Vec::new(), echoes: Vec::new(), lab };
    reals.iter().try_for_each(|(vip, count)| rack.usable_of(vip, *count))?;
    Ok(rack)
}

#[test]
fn in_a_healthy_lab_of_both_families_nothing_is_found_and_it_is_said_what_was_examined()
-> Result<()> {
    let rack = Rack::dual(2)?;
    nothing(&rack.daemon)?;
    let Output { code, stdout, .. } = rack.daemon.lbctl(&["doctor"])?;
    assert_eq!(code, 0);
    let expected = "all is well: examined 2 VIPs, 4 reals, 1 interface and this machine";
    assert_eq!(stdout.lines().next(), Some(expected));
    let stdout = rack.lbctl(&["doctor", "web6"])?.stdout;
    assert!(stdout.contains("examined 1 VIP, 2 reals, 1 interface"), "{stdout}");
    let output = rack.daemon.lbctl(&["doctor", "nobody"])?;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("no VIP \"nobody\""), "{}", output.stderr);
    Ok(())
}

#[test]
fn without_a_daemon_it_is_said_that_there_is_none() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    assert_eq!(lab.lbctl(&["doctor"])?.code, 3);
    Ok(())
}

#[test]
fn an_examination_leaves_no_connection_open_and_disturbs_nobody() -> Result<()> {
    let rack = Rack::dual(2)?;
    nothing(&rack.daemon)?;
    for real in rack.lab.reals() {
        let mut command = real.netns().command("ss");
        let open = Output::of(command.args(["-Htan", "state", "syn-recv"]))?.success()?.stdout;
        assert_eq!(open, "", "{}", real.name());
    }
    assert_eq!(rack.answers(20)?.len(), 2);
    Ok(())
}

#[test]
fn a_real_that_does_not_resolve_is_named() -> Result<()> {
    let rack = Rack::dual(2)?;
    rack.lab.real(2).netns().ip("link set eth0 down")?;
    rack.lab.balancer().ip("neigh flush all")?;
    rack.usable_of("web", 1)?;
    rack.usable_of("web6", 1)?;
    let expected = [
        ["rip_unresolved", "web", "10.0.0.12", "-"],
        ["rip_unresolved", "web6", "2001:db8:a::12", "-"],
    ];
    finds(&findings(&rack.daemon)?, &expected);
    let output = rack.daemon.lbctl(&["doctor"])?;
    let line = output.stdout.lines().find(|line| line.starts_with("web ")).context("a line")?;
    let words: Vec<&str> = line.split_whitespace().take(3).collect();
    assert_eq!(words, ["web", "10.0.0.12", "rip_unresolved:"]);
    assert!(line.contains("; fix: "), "{line}");
    assert_eq!(output.stderr, "");
    Ok(())
}

#[test]
fn a_vip_that_is_missing_on_lo_is_found_in_both_families() -> Result<()> {
    let rack = Rack::dual(2)?;
    rack.lab.real(1).remove_vip(Rack::vip())?;
    rack.lab.real(2).remove_vip(Rack::vip6())?;
    let expected =
        [["vip_missing", "web", "10.0.0.11", "-"], ["vip_missing", "web6", "2001:db8:a::12", "-"]];
    finds(&findings(&rack.daemon)?, &expected);
    rack.lab.real(1).add_vip(Rack::vip())?;
    rack.lab.real(2).add_vip(Rack::vip6())?;
    nothing(&rack.daemon)
}

#[test]
fn a_real_without_the_vip_that_hands_packets_on_is_missing_it_all_the_same() -> Result<()> {
    let rack = Rack::dual(2)?;
    let real = rack.lab.real(1);
    set(real.netns(), &["ipv4/ip_forward", "ipv6/conf/all/forwarding"], "1")?;
    // What it hands on comes back by the router, and another real answers.
    real.remove_vip(Rack::vip())?;
    real.remove_vip(Rack::vip6())?;
    let expected =
        [["vip_missing", "web", "10.0.0.11", "-"], ["vip_missing", "web6", "2001:db8:a::11", "-"]];
    finds(&findings(&rack.daemon)?, &expected);
    Ok(())
}

#[test]
fn a_server_that_listens_elsewhere_and_one_that_is_down_are_told_apart() -> Result<()> {
    let mut rack = Rack::dual(3)?;
    let (real, own) = (rack.lab.real(1), rack.lab.real(1).address());
    let own6 = real.address6();
    rack.nginx.remove(0);
    rack.nginx.remove(0);
    let _elsewhere = rack.lab.real(1).nginx(&[own, own6])?;
    let expected = [
        ["not_listening", "web", "10.0.0.11", "-"],
        ["service_down", "web", "10.0.0.12", "-"],
        ["not_listening", "web6", "2001:db8:a::11", "-"],
        ["service_down", "web6", "2001:db8:a::12", "-"],
    ];
    finds(&findings(&rack.daemon)?, &expected);
    Ok(())
}

#[test]
fn a_service_without_tcp_is_pinged() -> Result<()> {
    let (lab, _nginx, echoes) = Rack::servers_at(2, &[Rack::vip(), Rack::vip6()])?;
    let vips = Rack::both(2, "").replace("\"tcp/80\", ", "");
    let rack = Rack { echoes, ..started(lab, &vips, &[("web", 2), ("web6", 2)])? };
    nothing(&rack.daemon)?;
    rack.lab.real(1).remove_vip(Rack::vip())?;
    rack.lab.real(2).remove_vip(Rack::vip6())?;
    let expected =
        [["vip_missing", "web", "10.0.0.11", "-"], ["vip_missing", "web6", "2001:db8:a::12", "-"]];
    finds(&findings(&rack.daemon)?, &expected);
    Ok(())
}

#[test]
fn a_real_that_answers_for_the_vip_is_named_with_its_mac_address() -> Result<()> {
    let rack = Rack::dual(2)?;
    set(rack.lab.real(2).netns(), &ARP_IGNORE, "0")?;
    // By IPv6 it takes an address on the interface itself.
    rack.lab.real(1).netns().ip("addr add 2001:db8:2::10/128 dev eth0 nodad")?;
    let found = findings(&rack.daemon)?;
    let expected =
        [["answers_arp", "web", "10.0.0.12", "-"], ["answers_arp", "web6", "2001:db8:a::11", "-"]];
    finds(&found, &expected);
    let message = found[0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("02:00:00:00:00:0c"), "{message}");
    Ok(())
}

#[test]
fn a_stranger_that_answers_for_the_vip_is_named() -> Result<()> {
    // Both are no reals of the VIPs.
    let (lab, nginx, echoes) = Rack::servers_at(3, &[Rack::vip(), Rack::vip6()])?;
    let rack = started(lab, &Rack::both(1, ""), &[("web", 1), ("web6", 1)])?;
    let rack = Rack { nginx, echoes, ..rack };
    nothing(&rack.daemon)?;
    set(rack.lab.real(2).netns(), &ARP_IGNORE, "0")?;
    rack.lab.real(3).netns().ip("addr add 2001:db8:2::10/128 dev eth0 nodad")?;
    let found = findings(&rack.daemon)?;
    finds(&found, &[["stranger_answers", "web", "-", "-"], ["stranger_answers", "web6", "-", "-"]]);
    for (finding, mac) in found.iter().zip(["02:00:00:00:00:0c", "02:00:00:00:00:0d"]) {
        assert!(finding["message"].as_str().is_some_and(|text| text.contains(mac)), "{finding}");
    }
    Ok(())
}

#[test]
fn a_real_whose_gateway_is_the_balancer_is_named() -> Result<()> {
    let rack = Rack::dual(2)?;
    let real = rack.lab.real(2).netns();
    real.ip(&format!("route replace default via {}", address::BALANCER))?;
    real.ip(&format!("route replace default via {}", address::BALANCER6))?;
    let expected = [
        ["returns_through_balancer", "web", "10.0.0.12", "-"],
        ["returns_through_balancer", "web6", "2001:db8:a::12", "-"],
    ];
    finds(&findings(&rack.daemon)?, &expected);
    Ok(())
}

/// A VIP in the words of the file.
fn vip(name: &str, address: IpAddr, reals: &[IpAddr]) -> String {
    let head =
        format!("[[vip]]\nname = \"{name}\"\naddress = \"{address}\"\nports = [\"tcp/80\"]\n");
    reals.iter().fold(head, |text, real| text + &format!("[[vip.real]]\naddress = \"{real}\"\n"))
}

#[test]
fn a_real_that_answers_its_own_network_only_is_suspected_of_rp_filter() -> Result<()> {
    let (lab, nginx, _echoes) = Rack::servers(3)?;
    let other = address::vip(20);
    let third = lab.real(3);
    third.set_up_dsr(other)?;
    let _third =
        third.nginx_at(&[SocketAddr::new(other, 80), SocketAddr::new(third.address(), 8080)])?;
    let reals = [1, 2, 3].map(address::real);
    let vips = vip("web", Rack::vip(), &reals[..2]) + &vip("other", other, &reals[2..]);
    let rack = Rack { nginx, ..started(lab, &vips, &[("web", 2), ("other", 1)])? };
    nothing(&rack.daemon)?;
    // Two networks, and the way to the clients is by the other one.
    let real = rack.lab.real(2).netns();
    real.ip("link add other type veth peer name end")?;
    real.ip("link set end up")?;
    real.ip("addr add 10.9.0.1/24 dev other")?;
    real.ip("link set other up")?;
    real.ip("route replace default via 10.9.0.254")?;
    set(real, &["ipv4/conf/eth0/rp_filter"], "1")?;
    let found = findings(&rack.daemon)?;
    finds(&found, &[["rp_filter", "web", "10.0.0.12", "-"]]);
    assert!(found[0]["message"].as_str().is_some_and(|text| text.contains("suspected")));
    Ok(())
}

#[test]
fn generic_xdp_is_worth_a_word_only_where_nobody_has_chosen_it() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers(1)?;
    let config = lab.config(&Rack::vips(1)).replace("[node]\n", "[node]\nxdp = \"generic\"\n");
    let daemon = lab.daemon(&config)?;
    let rack = Rack { daemon, nginx, echoes, lab };
    rack.usable(1)?;
    nothing(&rack.daemon)
}

/// Runs `ethtool -K` in the balancer.
fn ethtool(rack: &Rack, words: &[&str]) -> Result<()> {
    let mut command = rack.lab.balancer().command("ethtool");
    Output::of(command.arg("-K").args(words))?.success().map(drop)
}

#[test]
fn tags_that_the_network_card_takes_out_are_found_where_there_are_vlans() -> Result<()> {
    if !Lab::has_vlan_devices()? {
        return Ok(());
    }
    let rack = Rack::new(1)?;
    ethtool(&rack, &["eth0", "rxvlan", "on"])?;
    nothing(&rack.daemon)?;
    rack.lab.balancer().ip("link add link eth0 name eth0.100 type vlan id 100")?;
    finds(&findings(&rack.daemon)?, &[["rxvlan", "-", "-", "eth0"]]);
    ethtool(&rack, &["eth0", "rxvlan", "off"])?;
    rack.lab.balancer().ip("link set eth0.100 mtu 1400")?;
    let found = findings(&rack.daemon)?;
    finds(&found, &[["mtu", "-", "-", "eth0"]]);
    assert!(found[0]["message"].as_str().is_some_and(|text| text.contains("eth0.100 1400")));
    Ok(())
}

#[test]
fn a_program_on_a_vlan_is_found() -> Result<()> {
    if !Lab::has_vlan_devices()? {
        return Ok(());
    }
    let rack = Rack::new(1)?;
    let balancer = rack.lab.balancer();
    balancer.ip("link add link eth0 name eth0.100 type vlan id 100 ")?;
    balancer.ip("link set eth0.100 up")?;
    let _other = xdp::attach_generic(balancer, "eth0.100", xdp::Verdict::Pass)?;
    finds(&findings(&rack.daemon)?, &[["second_xdp", "-", "-", "eth0"]]);
    Ok(())
}

#[test]
fn a_program_that_has_taken_the_balancers_place_is_found() -> Result<()> {
    let rack = Rack::new(1)?;
    let balancer = rack.lab.balancer();
    let pin = rack.lab.pin_dir().join("link-eth0");
    rack.lab.in_balancer(|| xdp::detach(&pin))?;
    let _other = xdp::attach(balancer, "eth0", xdp::Verdict::Pass)?;
    finds(&findings(&rack.daemon)?, &[["second_xdp", "-", "-", "eth0"]]);
    Ok(())
}

#[test]
fn a_veth_whose_other_end_loses_what_xdp_sends_is_found() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers(1)?;
    let balancer = lab.balancer();
    balancer.ip("link add near type veth peer name far")?;
    balancer.ip("link set near up")?;
    balancer.ip("link set far up")?;
    let config = lab.config(&Rack::vips(1)).replace("[\"eth0\"]", "[\"eth0\", \"near\"]");
    let daemon = lab.daemon(&config)?;
    let rack = Rack { daemon, nginx, echoes, lab };
    rack.usable(1)?;
    ethtool(&rack, &["far", "gro", "off"])?;
    finds(&findings(&rack.daemon)?, &[["veth_peer", "-", "-", "near"]]);
    ethtool(&rack, &["far", "gro", "on"])?;
    nothing(&rack.daemon)?;
    rack.lab.balancer().ip("link set far mtu 1400")?;
    finds(&findings(&rack.daemon)?, &[["mtu", "-", "-", "near"]]);
    Ok(())
}

#[test]
fn a_machine_that_forwards_what_is_not_its_own_is_found_in_both_families() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers_at(1, &[Rack::vip(), Rack::vip6()])?;
    let forwards = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
    set(lab.balancer(), &forwards, "1")?;
    let rack = started(lab, &Rack::both(1, "announce = \"none\"\n"), &[("web", 1), ("web6", 1)])?;
    let rack = Rack { nginx, echoes, ..rack };
    let found = findings(&rack.daemon)?;
    finds(&found, &[["ip_forward", "-", "-", "-"], ["ip_forward", "-", "-", "-"]]);
    set(rack.lab.balancer(), &forwards, "0")?;
    nothing(&rack.daemon)?;
    // With the addresses there is no loop.
    set(rack.lab.balancer(), &forwards, "1")?;
    for vip in ["192.0.2.10/32", "2001:db8:2::10/128"] {
        rack.lab.balancer().ip(&format!("addr add {vip} dev eth0"))?;
    }
    wait::until("the addresses", wait::PATIENCE, || {
        Ok(findings(&rack.daemon)?.is_empty().then_some(()))
    })
}

#[test]
fn examinations_that_are_asked_for_together_take_turns() -> Result<()> {
    let rack = Rack::new(1)?;
    rack.lab.real(1).remove_vip(Rack::vip())?;
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| findings(&rack.daemon))).collect();
        for answer in asked {
            let found = answer.join().map_err(|_| anyhow::anyhow!("panicked"))??;
            ensure!(found.iter().map(about).eq([["vip_missing", "web", "10.0.0.11", "-"]]));
        }
        Ok(())
    })
}

#[test]
fn with_checks_a_real_is_examined_by_the_way_that_they_take() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers_at(2, &[Rack::vip(), Rack::vip6()])?;
    let words = "check = { type = \"tcp\", port = 80, interval = \"500ms\" }\n";
    let rack = started(lab, &Rack::both(2, words), &[("web", 2), ("web6", 2)])?;
    let mut rack = Rack { nginx, echoes, ..rack };
    nothing(&rack.daemon)?;
    rack.lab.real(1).remove_vip(Rack::vip())?;
    rack.lab.real(1).remove_vip(Rack::vip6())?;
    rack.nginx.pop();
    let _elsewhere = {
        let real = rack.lab.real(2);
        real.nginx(&[real.address(), real.address6()])?
    };
    let expected = [
        ["vip_missing", "web", "10.0.0.11", "-"],
        ["not_listening", "web", "10.0.0.12", "-"],
        ["vip_missing", "web6", "2001:db8:a::11", "-"],
        ["not_listening", "web6", "2001:db8:a::12", "-"],
    ];
    finds(&findings(&rack.daemon)?, &expected);
    Ok(())
}

#[test]
fn a_neighbour_that_is_elsewhere_again_and_again_is_found() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let real = lab.real(1);
    real.set_up_dsr(Rack::vip())?;
    let _nginx = real.nginx(&[Rack::vip(), real.address()])?;
    let notify = [("ipv4/conf/eth0/arp_notify", "1"), ("ipv6/conf/eth0/ndisc_notify", "1")];
    real.netns().sysctl(&notify)?;
    let rack = started(lab, &vip("web", Rack::vip(), &[address::real(1)]), &[("web", 1)])?;
    for last in [0x71, 0x72, 0x73] {
        let mac = format!("02:00:00:00:00:{last:02x}");
        rack.lab.real(1).netns().ip(&format!("link set eth0 address {mac}"))?;
        let known = || {
            let status = rack.vip_status("web")?;
            Ok((status["reals"][0]["mac"] == mac.as_str()).then_some(()))
        };
        wait::until("the other MAC address", wait::PATIENCE, known)?;
    }
    finds(&findings(&rack.daemon)?, &[["neighbour_flapping", "web", "10.0.0.11", "-"]]);
    Ok(())
}
