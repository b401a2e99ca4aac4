//! Clients of IPv6 are served as those of IPv4 are, beside them and by the same machines: pages,
//! datagrams, pings, path MTUs; and routers find the VIP by neighbour discovery.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, UdpSocket},
};

use anyhow::{Context as _, Result, ensure};
use tests::{Captured, Lab, Output, Rack, address, nginx::LARGE, wait};

/// Types of ICMPv6 (RFC 4443, section 3.2; RFC 4861, sections 4.3 and 4.4), as filters know them.
const TOO_BIG: &str = "icmp6 and ip6[40] = 2";
const SOLICITATION: &str = "icmp6 and ip6[40] = 135";
const ADVERTISEMENT: &str = "icmp6 and ip6[40] = 136";

/// The flag of an advertisement by which it replaces what a neighbour knew.
const OVERRIDE: u8 = 0x20;

/// How the VIP is looked for in lists of addresses.
const WHOLE: &str = "2001:db8:2::20/128";

const ADD: [&str; 7] = ["vip", "add", "other", "--address", "2001:db8:2::20", "--port", "tcp/80"];

/// What the router knows of the VIP's neighbour entry.
fn neighbour(lab: &Lab, vip: IpAddr) -> Result<String> {
    lab.router().ip(&format!("-6 neigh show {vip} dev lan"))
}

fn real_of(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    text.split(' ').next().map(str::to_owned)
}

#[test]
fn both_families_are_served_by_every_real_of_one_daemon() -> Result<()> {
    let rack = Rack::dual(3)?;
    for place in [Rack::web(), Rack::web6()] {
        let answers = rack.answers_at(place, 90)?;
        assert_eq!(answers.len(), 3, "{place}: {answers:?}");
        assert!(answers.values().all(|count| *count > 10), "{place}: {answers:?}");
    }
    let page = rack.lab.client().curl("http://[2001:db8:2::10]/", &["-i"])?.success()?;
    assert!(page.stdout.starts_with("HTTP/1.1 200") && page.stdout.contains("X-Real: real"));
    let log = rack.nginx.iter().map(|nginx| nginx.access_log()).collect::<Result<Vec<_>>>()?;
    let line = r#"2001:db8:1::2 2001:db8:2::10 200 "GET / HTTP/1.1""#.to_owned();
    assert!(log.concat().contains(&line), "the real sees the client's own address");

    let status = rack.status()?;
    let vips = status["vips"].as_array().context("vips")?;
    let flows: BTreeMap<_, _> =
        vips.iter().map(|vip| (vip["address"].as_str(), vip["flows"].as_u64())).collect();
    let counted = [(Some("192.0.2.10"), Some(90)), (Some("2001:db8:2::10"), Some(91))];
    assert_eq!(flows, counted.into(), "what is counted is what was sent");
    let forwarded: u64 = vips.iter().filter_map(|vip| vip["packets"].as_u64()).sum();
    assert_eq!(status["outcomes"]["forwarded"], forwarded);

    rack.lbctl(&["vip", "set", "web6", "--hash", "source"])?;
    assert_eq!(rack.answers_at(Rack::web6(), 20)?.len(), 1, "a client keeps its real");
    Ok(())
}

#[test]
fn datagrams_of_every_size_are_served_both_ways_and_a_flow_stays_with_its_real() -> Result<()> {
    let rack = Rack::dual(3)?;
    let client = rack.lab.client();
    for size in [1, 1000, 8000] {
        let mut names = BTreeSet::new();
        for number in 0..40u8 {
            let payload = vec![number; size];
            let answer = client.udp_exchange(Rack::echo6(), &payload)?;
            assert!(answer.ends_with(&payload), "{size}: {} bytes", answer.len());
            names.insert(real_of(&answer));
        }
        assert_eq!(names.len(), 3, "{size}: {names:?}");
    }
    assert_eq!(rack.status()?["outcomes"]["fragment"], 0);

    let socket = client.netns().run(|| Ok(UdpSocket::bind("[::]:0")?))?;
    socket.connect(Rack::echo6())?;
    socket.set_read_timeout(Some(wait::PATIENCE))?;
    let mut answer = [0; 65_536];
    let mut names = BTreeSet::new();
    for size in (0..20).map(|number| number * 400) {
        socket.send(&vec![7; size])?;
        let length = socket.recv(&mut answer)?;
        names.insert(real_of(&answer[..length]));
    }
    assert_eq!(names.len(), 1, "in one piece or in several: {names:?}");
    Ok(())
}

#[test]
fn frames_change_nothing_but_mac_addresses_and_answers_go_past_the_balancer() -> Result<()> {
    let rack = Rack::dual(2)?;
    let lab = &rack.lab;
    let port = lab.balancer_port();
    let mut answers = port.capture("ip6 src host 2001:db8:2::10 and dst host 2001:db8:1::2")?;
    let mut requests = port.capture("ip6 dst host 2001:db8:2::10 and tcp dst port 80")?;
    let before = port.counters()?;
    let words = ["-o", "/dev/null", "-w", "%{size_download}"];
    let size = lab.client().curl("http://[2001:db8:2::10]/large", &words)?.success()?.stdout;
    assert_eq!(size.trim().parse::<u64>()?, LARGE);
    let moved = port.counters()? - before;
    assert_eq!(answers.count()?, 0, "an answer came back to the balancer");
    assert!(LARGE > 20 * (moved.tx_bytes + moved.rx_bytes), "{moved:?}");

    // On their way through the machine frames may overtake each other.
    let in_order = |outgoing: bool, frames: &[Captured]| {
        let frames = frames.iter().filter(|frame| frame.outgoing == outgoing);
        let mut frames: Vec<_> = frames.map(|frame| frame.bytes.clone()).collect();
        frames.sort_by(|one, other| one[12..].cmp(&other[12..]));
        frames
    };
    let frames = requests.frames()?;
    let (came, went) = (in_order(true, frames), in_order(false, frames));
    assert!(came.len() > 10 && came.len() == went.len(), "{} {}", came.len(), went.len());
    let balancer = address::mac(address::BALANCER).0;
    let reals = [lab.real(1).mac().0, lab.real(2).mac().0];
    for (came, went) in came.iter().zip(&went) {
        assert_eq!(came[12..], went[12..]);
        assert_eq!((&came[..6], &went[6..12]), (&balancer[..], &balancer[..]));
        assert!(reals.iter().any(|real| went[..6] == *real), "{:?}", &went[..12]);
    }
    Ok(())
}

#[test]
fn a_path_with_the_smallest_mtu_is_found_out_by_the_real_that_needs_to_know() -> Result<()> {
    let rack = Rack::dual(3)?;
    // The client still says that it takes 1440 bytes a segment; the router cannot pass them on.
    rack.lab.router().ip("link set dev wan mtu 1280")?;
    let mut told = Vec::new();
    for real in rack.lab.reals() {
        let errors = rack.lab.real_port(real).capture(&format!("outbound and {TOO_BIG}"))?;
        told.push((real.name(), errors));
    }
    let words = ["-o", "/dev/null", "-w", "%header{x-real} %{size_download}"];
    let printed = rack.lab.client().curl("http://[2001:db8:2::10]/large", &words)?.success()?;
    let (owner, size) = printed.stdout.split_once(' ').context("two words")?;
    assert_eq!(size.trim().parse::<u64>()?, LARGE);
    for (real, errors) in &mut told {
        assert_eq!(errors.count()? > 0, *real == owner, "{real}, owner {owner}");
    }
    Ok(())
}

#[test]
fn the_router_is_told_of_a_new_vip_and_may_use_it_at_once() -> Result<()> {
    let rack = Rack::dual(2)?;
    let lab = &rack.lab;
    for real in lab.reals() {
        real.set_up_dsr(address::vip6(20))?;
    }
    let _servers = lab
        .reals()
        .iter()
        .map(|real| real.nginx(&[address::vip6(20)]))
        .collect::<Result<Vec<_>>>()?;
    // The kernel shall detect duplicates, and would keep a new address back for a second.
    lab.balancer().sysctl(&[
        ("ipv6/conf/all/accept_dad", "1"),
        ("ipv6/conf/eth0/accept_dad", "1"),
        ("ipv6/conf/eth0/dad_transmits", "1"),
    ])?;
    // Somebody else had the address. Linux makes no entry because of an advertisement.
    lab.router().ip("neigh replace 2001:db8:2::20 lladdr 02:00:00:00:00:99 nud stale dev lan")?;
    let port = lab.balancer_port();
    let mut told = port.capture(&format!("inbound and {ADVERTISEMENT} and dst host ff02::1"))?;
    let mut asked = port.capture(&format!("outbound and {SOLICITATION}"))?;
    rack.lbctl(&[&ADD[..], &["--real", "2001:db8:a::11", "--real", "2001:db8:a::12"]].concat())?;
    let addresses = lab.balancer().ip("-6 address show dev eth0")?;
    let (_, line) = addresses.split_once(WHOLE).context("the address is there")?;
    assert!(!line.lines().next().is_some_and(|line| line.contains("tentative")), "{addresses}");

    wait::until("the router's new entry", wait::PATIENCE, || {
        let entry = neighbour(lab, address::vip6(20))?;
        Ok(entry.contains("02:00:00:00:00:02").then_some(()))
    })?;
    assert_eq!(asked.count()?, 0, "nobody asked");
    let frame = &told.wait_for(1)?[0].bytes;
    assert_eq!(frame[58] & OVERRIDE, OVERRIDE, "{frame:02x?}");
    rack.usable_of("other", 2)?;
    let answers = rack.answers_at((address::vip6(20), 80).into(), 20)?;
    assert_eq!(answers.len(), 2, "{answers:?}");
    Ok(())
}

#[test]
fn the_vip_answers_pings_and_the_router_that_makes_sure_of_it() -> Result<()> {
    let rack = Rack::dual(1)?;
    let lab = &rack.lab;
    let mut command = lab.client().netns().command("ping");
    command.args(["-6", "-c", "3", "-i", "0.05", "-s", "1000", "-W", "5", "2001:db8:2::10"]);
    let ping = Output::of(&mut command)?.success()?;
    assert!(ping.stdout.contains("3 received"), "{}", ping.stdout);
    assert_eq!(rack.status()?["outcomes"]["echo_answered"], 3);

    let mut asked = lab.balancer_port().capture(&format!("outbound and {SOLICITATION}"))?;
    lab.router().ip("neigh change 2001:db8:2::10 dev lan nud probe")?;
    wait::until("a reachable neighbour", wait::PATIENCE, || {
        Ok(neighbour(lab, Rack::vip6())?.contains("REACHABLE").then_some(()))
    })?;
    let frame = &asked.wait_for(1)?[0].bytes;
    assert_eq!(frame[..6], address::mac(address::BALANCER).0, "asked by name");
    assert_eq!(rack.answers_at(Rack::web6(), 3)?.len(), 1);
    Ok(())
}

#[test]
fn an_address_that_somebody_answers_for_is_not_taken() -> Result<()> {
    let rack = Rack::dual(2)?;
    let careless = rack.lab.real(2).netns();
    careless.ip("address add 2001:db8:2::20/128 dev eth0 nodad")?;
    let refused = rack.daemon.lbctl(&ADD)?;
    assert_eq!((refused.code, refused.stderr.lines().count()), (1, 1), "{refused:?}");
    for part in ["2001:db8:2::20", "02:00:00:00:00:0c", "2001:db8:a::12", "lo"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert!(!rack.lab.balancer().ip("address show dev eth0")?.contains(WHOLE));

    careless.ip("address del 2001:db8:2::20/128 dev eth0")?;
    rack.lab.balancer().ip("neigh flush all")?;
    rack.lbctl(&ADD)?;
    assert!(rack.lab.balancer().ip("address show dev eth0")?.contains(WHOLE));
    rack.lbctl(&["vip", "del", "other"])?;
    assert!(!rack.lab.balancer().ip("address show dev eth0")?.contains(WHOLE));
    Ok(())
}

#[test]
fn a_conflict_at_the_start_is_said_and_ends_when_it_is_mended() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers_at(1, &[Rack::vip(), Rack::vip6()])?;
    let thief = lab.real(1).netns().clone();
    thief.ip("address add 2001:db8:2::10/128 dev eth0 nodad")?;
    let daemon = lab.daemon(&lab.config(&(Rack::vips(1) + "\n" + &Rack::vips6(1))))?;
    let rack = Rack { daemon, nginx, echoes, lab };
    let vips = || -> Result<_> { Ok(rack.status()?["vips"].clone()) };
    let (v4, v6) = (&vips()?[0], &vips()?[1]);
    assert_eq!((&v4["state"], &v4["announced"]), (&"up".into(), &true.into()));
    assert_eq!((&v6["state"], &v6["announced"]), (&"down".into(), &false.into()));
    assert!(v6["reason"].as_str().is_some_and(|reason| reason.contains("02:00:00:00:00:0b")));

    thief.ip("address del 2001:db8:2::10/128 dev eth0")?;
    wait::until("the announcement", wait::PATIENCE, || {
        Ok((vips()?[1]["announced"] == true).then_some(()))
    })?;
    rack.usable_of("web6", 1)?;
    assert_eq!(rack.answers_at(Rack::web6(), 3)?.len(), 1);
    Ok(())
}

#[test]
fn a_real_comes_in_when_it_can_be_reached() -> Result<()> {
    let rack = Rack::dual(2)?;
    let late = rack.lab.real(2);
    late.netns().ip("link set eth0 down")?;
    rack.lab.balancer().ip("-6 neigh flush all")?;
    rack.lbctl(&["real", "del", "web6", "2001:db8:a::12"])?;
    rack.lbctl(&["real", "add", "web6", "2001:db8:a::12"])?;
    wait::until("the reason", wait::PATIENCE, || {
        let status = rack.status()?;
        let real = &status["vips"][1]["reals"][1];
        let reason = real["reason"].as_str().unwrap_or_default();
        Ok((real["health"] == "down" && reason.contains("no answer to neighbour solicitations"))
            .then_some(()))
    })?;
    assert_eq!(rack.answers_at(Rack::web6(), 10)?.len(), 1);

    late.netns().ip_batch(
        "address add 2001:db8:a::12/64 dev eth0 nodad\naddress add fe80::a:0:0:12/64 dev eth0 nodad\n\
         link set eth0 up\nroute replace default via 2001:db8:a::1\n",
    )?;
    rack.usable_of("web6", 2)?;
    assert_eq!(rack.answers_at(Rack::web6(), 40)?.len(), 2);
    Ok(())
}

#[test]
fn a_changed_mac_address_of_a_real_is_followed() -> Result<()> {
    let rack = Rack::dual(1)?;
    assert_eq!(rack.answers_at(Rack::web6(), 3)?.len(), 1);
    let real = rack.lab.real(1).netns();
    // It says so itself, to all nodes (ndisc_notify).
    real.sysctl(&[("ipv6/conf/eth0/ndisc_notify", "1")])?;
    real.ip("link set eth0 address 02:00:00:00:00:77")?;
    wait::until("the new MAC address", wait::PATIENCE, || {
        let real = &rack.status()?["vips"][1]["reals"][0];
        Ok((real["mac"] == "02:00:00:00:00:77").then_some(()))
    })?;
    assert_eq!(rack.answers_at(Rack::web6(), 5)?.len(), 1);
    Ok(())
}

/// An interface that goes down loses its IPv6 addresses, and its reals are nobody's neighbours.
#[test]
fn an_interface_that_goes_down_and_up_has_its_vips_again() -> Result<()> {
    let rack = Rack::dual(2)?;
    let (balancer, vips) = (rack.lab.balancer(), [("web", Rack::web()), ("web6", Rack::web6())]);
    for (_, place) in vips {
        assert_eq!(rack.answers_at(place, 40)?.len(), 2, "{place}");
    }
    balancer.ip("link set eth0 down")?;
    wait::until("the reason", wait::PATIENCE, || {
        let status = rack.status()?;
        let reason = |vip: usize| status["vips"][vip]["reals"][0]["reason"].clone();
        Ok([reason(0), reason(1)]
            .iter()
            .all(|reason| reason == "interface eth0 is down")
            .then_some(()))
    })?;
    balancer.ip_batch(
        "link set eth0 up\naddress replace 2001:db8:a::2/64 dev eth0 nodad\n\
         address replace fe80::a:0:0:2/64 dev eth0 nodad\n",
    )?;
    wait::until("the announcement", wait::PATIENCE, || {
        Ok((rack.status()?["vips"][1]["announced"] == true).then_some(()))
    })?;
    for (name, place) in vips {
        rack.usable_of(name, 2)?;
        assert_eq!(rack.answers_at(place, 40)?.len(), 2, "{place}");
    }
    rack.lbctl(&["detach"])?;
    let addresses = balancer.ip("address show")?;
    assert!(!addresses.contains("192.0.2.10") && !addresses.contains("2001:db8:2::10"));
    Ok(())
}

#[test]
fn reals_come_and_go_by_lbctl_and_daemons_by_restarts() -> Result<()> {
    let mut rack = Rack::dual(3)?;
    rack.lbctl(&["real", "disable", "web6", "2001:db8:a::12"])?;
    assert_eq!(rack.answers_at(Rack::web6(), 30)?.get("real2"), None);
    assert_eq!(rack.answers(60)?.len(), 3, "which is no matter of IPv4");
    rack.lbctl(&["real", "enable", "web6", "2001:db8:a::12"])?;
    rack.lbctl(&["real", "del", "web6", "2001:db8:a::13", "--now"])?;
    assert_eq!(rack.answers_at(Rack::web6(), 30)?.get("real3"), None);
    rack.lbctl(&["real", "add", "web6", "2001:db8:a::13", "--weight", "1"])?;
    rack.usable_of("web6", 3)?;

    let status = rack.status()?;
    let vip = status["vips"].as_array().and_then(|vips| vips.last()).context("a VIP")?;
    assert_eq!((&vip["state"], &vip["announced"]), (&"up".into(), &true.into()));
    let real = &vip["reals"][0];
    assert_eq!(real["address"], "2001:db8:a::11");
    assert_eq!((&real["mac"], &real["interface"]), (&"02:00:00:00:00:0b".into(), &"eth0".into()));
    let text = rack.lbctl(&["status"])?.stdout;
    assert!(text.contains("2001:db8:2::10") && text.contains("2001:db8:a::13"), "{text}");

    rack.daemon.kill9()?;
    let served = |rack: &Rack| {
        let served = rack.answers_at(Rack::web6(), 40)?.len();
        ensure!(served == 3, "{served} reals");
        Ok(())
    };
    served(&rack)?;
    rack.daemon.restart()?;
    served(&rack)?;
    rack.daemon.terminate()?;
    rack.lab.router().ip("-6 neigh flush all")?;
    served(&rack)
}

#[test]
fn ports_of_one_address_are_different_services() -> Result<()> {
    let rack = Rack::dual(2)?;
    let mut servers = Vec::new();
    for (vip, name, real) in
        [(Rack::vip(), "alt", "10.0.0.12"), (Rack::vip6(), "alt6", "2001:db8:a::12")]
    {
        servers.push(rack.lab.real(2).nginx_at(&[(vip, 8080).into()])?);
        let address = vip.to_string();
        let words = ["--address", &address, "--port", "tcp/8080", "--real", real];
        rack.lbctl(&[&["vip", "add", name][..], &words].concat())?;
        rack.usable_of(name, 1)?;
        let alone = rack.answers_at((vip, 8080).into(), 10)?;
        assert_eq!(alone.get("real2"), Some(&10), "{alone:?}");
        assert_eq!(rack.answers_at((vip, 80).into(), 30)?.len(), 2);
        rack.lbctl(&["vip", "del", name])?;
        assert_eq!(rack.answers_at((vip, 80).into(), 30)?.len(), 2, "the address is still in use");
    }
    Ok(())
}

#[test]
fn an_address_that_cannot_be_assigned_is_the_answer_to_its_change() -> Result<()> {
    let rack = Rack::new(1)?;
    rack.lab.balancer().sysctl(&[("ipv6/conf/eth0/disable_ipv6", "1")])?;
    let add = ["vip", "add", "six", "--address", "2001:db8:2::6", "--port", "tcp/80"];
    let refused = rack.daemon.lbctl(&add)?;
    assert_eq!(refused.code, 1, "{refused:?}");
    for part in ["\"six\" added", "2001:db8:2::6", "IPv6 is disabled", "disable_ipv6=0"] {
        assert!(refused.stderr.contains(part), "{:?} does not say {part:?}", refused.stderr);
    }
    rack.lab.balancer().sysctl(&[("ipv6/conf/eth0/disable_ipv6", "0")])?;
    wait::until("the VIP is announced", wait::PATIENCE, || {
        let status = rack.status()?;
        Ok((status["vips"][1]["announced"] == true).then_some(()))
    })
}
