//! Several interfaces: what comes in by one is served by reals behind another, whatever becomes of
//! either.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use lb_user::model::Mac;
use serde_json::Value;
use tests::{Captured, Lab, LabOptions, Netns, Nginx, Output, Rack, UdpEcho, address, wait, xdp};

const INTERFACES: [&str; 2] = ["eth0", "eth1"];

/// Both VIPs, on a real of the LAN and one of the second LAN.
fn vips() -> String {
    let reals = [address::real(1), address::far_real(1)];
    [("web", Rack::vip(), reals), ("web6", Rack::vip6(), reals.map(address::beside))]
        .map(|(name, address, reals)| {
            let reals = reals.map(|real| format!("[[vip.real]]\naddress = \"{real}\"\n"));
            format!(
                "[[vip]]\nname = \"{name}\"\naddress = \"{address}\"\nports = [\"tcp/80\", \"udp/53\"]\n{}",
                reals.concat()
            )
        })
        .concat()
}

/// A LAN with a real, a second LAN with another, and servers on both.
fn servers() -> Result<(Lab, Vec<Nginx>, Vec<UdpEcho>)> {
    let lab = Lab::new(LabOptions { second_lan_reals: 1, ..LabOptions::reals(1) })?;
    let vips = [Rack::vip(), Rack::vip6()];
    let (mut nginx, mut echoes) = (Vec::new(), Vec::new());
    for real in lab.reals() {
        vips.iter().try_for_each(|vip| real.set_up_dsr(*vip))?;
        nginx.push(real.nginx(&vips)?);
        for vip in vips {
            echoes.push(real.udp_echo(vip, 53)?);
        }
    }
    Ok((lab, nginx, echoes))
}

fn start((lab, nginx, echoes): (Lab, Vec<Nginx>, Vec<UdpEcho>)) -> Result<Rack> {
    let daemon = lab.daemon(&lab.balancers()[0].config_on(&INTERFACES, &vips()))?;
    Ok(Rack { daemon, nginx, echoes, lab })
}

fn rack() -> Result<Rack> {
    let rack = start(servers()?)?;
    all_usable(&rack)?;
    Ok(rack)
}

fn all_usable(rack: &Rack) -> Result<()> {
    ["web", "web6"].iter().try_for_each(|vip| rack.usable_of(vip, 2))
}

#[track_caller]
fn all_serve(rack: &Rack) -> Result<()> {
    for place in [Rack::web(), Rack::web6()] {
        let answers = rack.answers_at(place, 40)?;
        assert_eq!(answers.len(), 2, "{place}: {answers:?}");
    }
    Ok(())
}

fn interface(rack: &Rack, name: &str) -> Result<Value> {
    let status = rack.status()?;
    let all = status["node"]["interfaces"].as_array().context("interfaces")?;
    all.iter().find(|interface| interface["name"] == name).cloned().context("no such interface")
}

/// Waits until the reals of the second LAN are down for this reason.
fn far_is_down(rack: &Rack, reason: &str) -> Result<()> {
    wait::until(reason, wait::PATIENCE, || {
        let status = rack.status()?;
        let vips = status["vips"].as_array().context("vips")?;
        let down = |vip: &Value| {
            let real = &vip["reals"][1];
            let said = real["reason"].as_str().unwrap_or_default();
            real["health"] == "down" && said.contains(reason) && vip["state"] == "degraded"
        };
        Ok(vips.iter().all(down).then_some(()))
    })?;
    for place in [Rack::web(), Rack::web6()] {
        assert_eq!(rack.answers_at(place, 10)?.get("real1"), Some(&10), "{place}");
    }
    Ok(())
}

/// What the router knows of a VIP.
fn neighbour(lab: &Lab, vip: IpAddr) -> Result<String> {
    lab.router().ip(&format!("neigh show {vip} dev lan"))
}

/// Sets the addresses of the balancer on the second LAN, which it loses with the interface, and
/// lets it up.
fn address_eth1(lab: &Lab) -> Result<()> {
    lab.balancer().ip_batch(
        "address replace 10.0.1.2/24 dev eth1\naddress replace 2001:db8:b::2/64 dev eth1 nodad\n\
         address replace fe80::b:0:0:2/64 dev eth1 nodad\nlink set eth1 up\n",
    )
}

/// A new cable to the second switch, which lasts for as long as its pass for XDP is held.
fn new_eth1(lab: &Lab, mac: &str) -> Result<OwnedFd> {
    let pass = lay_eth1(lab, lab.second_switch().context("a second LAN")?, "balancer", mac)?;
    address_eth1(lab)?;
    Ok(pass)
}

/// A cable from the balancer's eth1 to a port of a switch, and the pass for XDP there.
fn lay_eth1(lab: &Lab, switch: &Netns, port: &str, mac: &str) -> Result<OwnedFd> {
    lab.balancer().ip(&format!(
        "link add name eth1 address {mac} type veth peer name {port} netns {}",
        switch.path().display()
    ))?;
    switch.ip(&format!("link set {port} master br0 up"))?;
    for (netns, name, features) in
        [(lab.balancer(), "eth1", &["tx", "tso", "gso", "gro"][..]), (switch, port, &[])]
    {
        let mut ethtool = netns.command("ethtool");
        ethtool.args(["-K", name, "txvlan", "off", "rxvlan", "off"]);
        for feature in features {
            ethtool.args([*feature, "off"]);
        }
        Output::of(&mut ethtool)?.success()?;
    }
    xdp::attach(switch, port, xdp::Verdict::Pass)
}

#[test]
fn clients_of_one_interface_are_served_by_reals_behind_another() -> Result<()> {
    let mut rack = rack()?;
    all_serve(&rack)?;
    let far = rack.lab.real(2);
    let mut seen = rack.lab.real_port(far).capture("outbound and udp dst port 53")?;
    for place in [Rack::echo(), Rack::echo6()] {
        for size in [100, 8000] {
            let mut far_served = 0;
            for number in 0..30u8 {
                let payload = vec![number; size];
                let answer = rack.lab.client().udp_exchange(place, &payload)?;
                assert!(answer.ends_with(&payload));
                far_served += usize::from(answer.starts_with(b"real2 "));
            }
            assert!((1..30).contains(&far_served), "{place}: {far_served} of 30 by real2");
        }
    }
    for frame in seen.frames()? {
        assert_eq!(frame.bytes[..6], far.mac().0);
        assert_eq!(frame.bytes[6..12], address::mac(address::BALANCER_SECOND_LAN).0);
    }

    for name in INTERFACES {
        let interface = interface(&rack, name)?;
        assert_eq!((&interface["xdp"], &interface["state"]), (&"native".into(), &"up".into()));
    }
    let status = rack.status()?;
    for vip in status["vips"].as_array().context("vips")? {
        let interfaces = [0, 1].map(|real| vip["reals"][real]["interface"].clone());
        assert_eq!(interfaces, INTERFACES);
    }
    let text = rack.lbctl(&["status"])?.stdout;
    assert!(INTERFACES.iter().all(|name| text.contains(name)), "{text}");

    rack.daemon.kill9()?;
    all_serve(&rack)?;
    rack.daemon.restart()?;
    all_serve(&rack)?;
    all_usable(&rack)?;
    rack.lbctl(&["detach"])?;
    let links = rack.lab.balancer().ip("-d link show")?;
    assert!(!links.contains("name lb "), "{links}");
    Ok(())
}

#[test]
fn generic_xdp_serves_by_both_interfaces_too() -> Result<()> {
    let (lab, nginx, echoes) = servers()?;
    let config = lab.balancers()[0].config_on(&INTERFACES, &vips());
    let daemon = lab.daemon(&config.replace("[node]", "[node]\nxdp = \"generic\""))?;
    let rack = Rack { daemon, nginx, echoes, lab };
    all_usable(&rack)?;
    all_serve(&rack)?;
    for name in INTERFACES {
        assert_eq!(interface(&rack, name)?["xdp"], "generic");
    }
    rack.lab.balancer().ip("link del eth1")?;
    far_is_down(&rack, "interface eth1 is missing")?;
    let _pass = new_eth1(&rack.lab, "02:00:00:00:03:63")?;
    all_usable(&rack)?;
    all_serve(&rack)?;
    assert_eq!(interface(&rack, "eth1")?["xdp"], "generic");
    Ok(())
}

#[test]
fn flows_to_one_interface_do_not_notice_what_becomes_of_another() -> Result<()> {
    let rack = rack()?;
    let mut flows = Vec::new();
    for place in [Rack::echo(), Rack::echo6()] {
        for _ in 0..40 {
            let any = if place.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = rack.lab.client().netns().run(|| Ok(UdpSocket::bind(any)?))?;
            socket.connect(place)?;
            socket.set_read_timeout(Some(wait::PATIENCE))?;
            flows.push(socket);
        }
    }
    let owner = |flow: &UdpSocket| -> Result<Vec<u8>> {
        let mut answer = [0; 100];
        flow.send(b"who are you?")?;
        let length = flow.recv(&mut answer)?;
        Ok(answer[..length].to_vec())
    };
    let owners = || flows.iter().map(owner).collect::<Result<Vec<_>>>();
    let before = owners()?;
    let near: Vec<_> =
        flows.iter().zip(&before).filter(|(_, owner)| owner.starts_with(b"real1")).collect();
    assert!((1..80).contains(&near.len()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (flow, before) in &near {
                    assert_eq!(owner(flow)?, **before);
                }
            }
            anyhow::Ok(())
        });
        let away = || {
            rack.lab.balancer().ip("link set eth1 down")?;
            far_is_down(&rack, "interface eth1 is down")?;
            rack.lab.balancer().ip("link del eth1")?;
            far_is_down(&rack, "interface eth1 is missing")
        };
        let away = away();
        done.store(true, Ordering::Relaxed);
        away?;
        asking.join().expect("the client")
    })?;
    let _pass = new_eth1(&rack.lab, "02:00:00:00:03:63")?;
    all_usable(&rack)?;
    let is_near = |owner: &&Vec<u8>| owner.starts_with(b"real1");
    for (was, is) in before.iter().zip(owners()?).filter(|(was, _)| is_near(was)) {
        assert_eq!(*was, is);
    }
    Ok(())
}

#[test]
fn an_interface_may_go_down_and_may_be_made_anew() -> Result<()> {
    let rack = rack()?;
    let balancer = rack.lab.balancer();
    balancer.ip("link set eth1 down")?;
    far_is_down(&rack, "interface eth1 is down")?;
    assert_eq!(interface(&rack, "eth1")?["state"], "down");
    // IPv6 addresses went with it.
    address_eth1(&rack.lab)?;
    all_usable(&rack)?;
    all_serve(&rack)?;

    balancer.ip("link del eth1")?;
    far_is_down(&rack, "interface eth1 is missing")?;
    assert_eq!(interface(&rack, "eth1")?["xdp"], "missing");
    let mut seen = rack.lab.real_port(rack.lab.real(2)).capture("outbound and tcp dst port 80")?;
    let _pass = new_eth1(&rack.lab, "02:00:00:00:03:63")?;
    all_usable(&rack)?;
    all_serve(&rack)?;
    let eth1 = interface(&rack, "eth1")?;
    assert_eq!((&eth1["xdp"], &eth1["mac"]), (&"native".into(), &"02:00:00:00:03:63".into()));
    let is_new = |frame: &Captured| frame.bytes[6..12] == [2, 0, 0, 0, 3, 0x63];
    assert!(seen.count()? > 0 && seen.frames()?.iter().all(is_new));
    Ok(())
}

#[test]
fn another_mac_address_of_an_interface_is_followed() -> Result<()> {
    let rack = rack()?;
    let lab = &rack.lab;
    // Until the router knows both VIPs, an announcement tells it nothing.
    all_serve(&rack)?;
    for (name, mac, real) in
        [("eth0", [2, 0, 0, 0, 0, 0x63], 1), ("eth1", [2, 0, 0, 0, 3, 0x63], 2)]
    {
        let mut seen = lab.real_port(lab.real(real)).capture("outbound and tcp dst port 80")?;
        let mac = Mac(mac).to_string();
        lab.balancer().ip(&format!("link set {name} address {mac}"))?;
        wait::until("the new MAC address", wait::PATIENCE, || {
            Ok((interface(&rack, name)?["mac"] == mac).then_some(()))
        })?;
        wait::until("the router to have heard of it", wait::PATIENCE, || {
            let entries = [Rack::vip(), Rack::vip6()].map(|vip| neighbour(lab, vip));
            let heard = |entry: Result<String>| Ok(entry?.contains("02:00:00:00:00:63"));
            let heard: Result<Vec<bool>> = entries.into_iter().map(heard).collect();
            Ok(heard?.into_iter().all(|heard| heard).then_some(()))
        })?;
        all_serve(&rack)?;
        let is_new = |frame: &Captured| {
            Mac(frame.bytes[6..12].try_into().unwrap_or_default()).to_string() == mac
        };
        assert!(seen.count()? > 0 && seen.frames()?.iter().all(is_new), "{name}");
    }
    Ok(())
}

#[test]
fn an_interface_that_is_missing_at_the_start_is_used_once_it_is_there() -> Result<()> {
    let servers = servers()?;
    servers.0.balancer().ip("link del eth1")?;
    let mut rack = start(servers)?;
    far_is_down(&rack, "interface eth1 is missing")?;
    let pass = new_eth1(&rack.lab, "02:00:00:00:03:02")?;
    all_usable(&rack)?;
    all_serve(&rack)?;

    // The same while no daemon is there to see it.
    rack.daemon.kill9()?;
    drop(pass);
    rack.lab.balancer().ip("link del eth1")?;
    let _pass = new_eth1(&rack.lab, "02:00:00:00:03:64")?;
    rack.daemon.restart()?;
    all_usable(&rack)?;
    all_serve(&rack)
}

#[test]
fn clients_may_come_in_by_either_interface() -> Result<()> {
    let rack = rack()?;
    // The router looks for the VIPs on the second LAN now.
    rack.lab.router().ip_batch(
        "route replace 192.0.2.0/24 dev lan2\nroute del 2001:db8:2::/64 dev lan\n\
         route add 2001:db8:2::/64 dev lan2\n",
    )?;
    let port = rack.lab.second_port_of(&rack.lab.balancers()[0]).context("a second LAN")?;
    let mut requests = port.capture("outbound and tcp dst port 80")?;
    all_serve(&rack)?;
    assert!(requests.count()? > 0);
    let silent = SocketAddr::new(Rack::vip(), 81);
    assert!(rack.lab.client().connect(silent).is_err(), "the VIP's machine refuses");
    Ok(())
}

#[test]
fn two_interfaces_in_one_network_do_not_take_each_other_for_somebody_else() -> Result<()> {
    let vips = [Rack::vip(), Rack::vip6()];
    let (lab, nginx, echoes) = Rack::servers_at(2, &vips)?;
    let _pass = lay_eth1(&lab, lab.switch(), "balancer-1", "02:00:00:00:03:02")?;
    lab.balancer().ip("link set eth1 up")?;
    let text = format!("{}{}", Rack::vips(2), Rack::vips6(2));
    let daemon = lab.daemon(&lab.balancers()[0].config_on(&INTERFACES, &text))?;
    let rack = Rack { daemon, nginx, echoes, lab };
    all_usable(&rack)?;
    for vip in rack.status()?["vips"].as_array().context("vips")? {
        assert_eq!((&vip["state"], &vip["announced"]), (&"up".into(), &true.into()), "{vip}");
    }
    all_serve(&rack)
}
