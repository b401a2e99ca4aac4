//! Clients and reals in VLANs, which the balancer sees as tags.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use tests::{Lab, LabOptions, Nginx, Output, Rack, UdpEcho, address, wait};

/// The addresses of a lab's reals on VLAN 20, where the lab has none.
fn real_on_vlan(number: u8) -> [IpAddr; 2] {
    let digits = format!("{}", 10 + number);
    [format!("10.0.20.{digits}"), format!("2001:db8:c::{digits}")]
        .map(|address| address.parse().expect("an address"))
}

/// Moves everybody from the LAN to two VLANs of the same switch: the router and the balancer to 10
/// and 20, the reals to 20. Whoever is in a VLAN has an interface for it.
fn divide(lab: &Lab) -> Result<()> {
    let device = |below: &str, vlan: u16, addresses: &[&str]| {
        let name = format!("{below}.{vlan}");
        let addresses =
            addresses.iter().map(|address| format!("address add {address} dev {name}\n"));
        format!(
            "link add link {below} name {name} type vlan id {vlan}\n{}link set {name} up\n",
            addresses.collect::<String>()
        )
    };
    let router = [
        device("lan", 10, &["10.0.0.1/24", "2001:db8:a::1/64 nodad", "fe80::a:0:0:1/64 nodad"]),
        device("lan", 20, &["10.0.20.1/24", "2001:db8:c::1/64 nodad", "fe80::c:0:0:1/64 nodad"]),
    ];
    lab.router().ip("address flush dev lan")?;
    lab.router().ip_batch(
        &(router.concat()
            + "route replace 192.0.2.0/24 dev lan.10\nroute replace 2001:db8:2::/64 dev lan.10\n"),
    )?;
    let balancer = [
        device("eth0", 10, &["10.0.0.2/24", "2001:db8:a::2/64 nodad", "fe80::a:0:0:2/64 nodad"]),
        device("eth0", 20, &["10.0.20.2/24", "2001:db8:c::2/64 nodad", "fe80::c:0:0:2/64 nodad"]),
    ];
    lab.balancer().ip("address flush dev eth0")?;
    lab.balancer().ip_batch(&balancer.concat())?;
    for (number, real) in (1..).zip(lab.reals()) {
        let [v4, v6] = real_on_vlan(number);
        let addresses = [
            format!("{v4}/24"),
            format!("{v6}/64 nodad"),
            format!("fe80::c:0:0:{number}/64 nodad"),
        ];
        real.netns().ip("address flush dev eth0")?;
        real.netns().ip_batch(
            &(device("eth0", 20, &addresses.each_ref().map(String::as_str))
                + "route replace default via 10.0.20.1\nroute replace default via 2001:db8:c::1\n"),
        )?;
    }
    Ok(())
}

#[test]
fn clients_of_one_vlan_are_served_by_reals_of_another() -> Result<()> {
    if !Lab::has_vlan_devices()? {
        println!(
            "skipped: this kernel has no VLAN devices (`cargo xtask test --kernel 6.1 -- vlan`)"
        );
        return Ok(());
    }
    let lab = Lab::new(LabOptions::reals(2))?;
    divide(&lab)?;
    let vips = [("web", Rack::vip()), ("web6", Rack::vip6())];
    let (mut nginx, mut echoes, mut config) = (Vec::new(), Vec::new(), String::new());
    for real in lab.reals() {
        vips.iter().try_for_each(|(_, vip)| real.set_up_dsr(*vip))?;
        nginx.push(real.nginx(&vips.map(|(_, vip)| vip))?);
        for (_, vip) in vips {
            echoes.push(real.udp_echo(vip, 53)?);
        }
    }
    for (family, (name, vip)) in vips.iter().enumerate() {
        config += &format!(
            "[[vip]]\nname = \"{name}\"\naddress = \"{vip}\"\nports = [\"tcp/80\", \"udp/53\"]\n"
        );
        for number in [1, 2] {
            config += &format!("[[vip.real]]\naddress = \"{}\"\n", real_on_vlan(number)[family]);
        }
    }
    let daemon = lab.daemon(&lab.config(&config))?;
    let mut rack = Rack { daemon, nginx, echoes, lab };
    let usable = |rack: &Rack| vips.iter().try_for_each(|(name, _)| rack.usable_of(name, 2));
    let served = |rack: &Rack| -> Result<()> {
        for (_, vip) in vips {
            let answers = rack.answers_at((vip, 80).into(), 30)?;
            assert_eq!(answers.len(), 2, "{vip}: {answers:?}");
            let payload = vec![7; 4000];
            let answer = rack.lab.client().udp_exchange((vip, 53).into(), &payload)?;
            assert!(answer.ends_with(&payload));
        }
        Ok(())
    };
    usable(&rack)?;
    let port = rack.lab.balancer_port();
    let mut came = port.capture("outbound and vlan 10 and not icmp6 and not arp")?;
    let mut went = port.capture("inbound and vlan 20 and ether src 02:00:00:00:00:02")?;
    served(&rack)?;
    for (_, vip) in vips {
        let page = rack.lab.client().curl(&url(vip), &[])?.success()?;
        assert!(page.stdout.starts_with("real"), "{}", page.stdout);
    }
    let tag = |vlan: u8| [0x81, 0, 0, vlan];
    assert!(
        came.count()? > 100 && came.frames()?.iter().all(|frame| frame.bytes[12..16] == tag(10))
    );
    let mut to_reals = 0;
    for frame in went.frames()? {
        assert_eq!(frame.bytes[12..16], tag(20));
        let reals = rack.lab.reals();
        to_reals += usize::from(reals.iter().any(|real| frame.bytes[..6] == real.mac().0));
    }
    assert!(to_reals > 100, "{to_reals}");

    let status = rack.status()?;
    for vip in status["vips"].as_array().context("VIPs")? {
        let real = &vip["reals"][0];
        assert_eq!((&real["vlan"], &real["interface"]), (&20.into(), &"eth0.20".into()));
    }
    pinged(&rack.lab)?;
    rack.daemon.kill9()?;
    served(&rack)?;
    rack.daemon.restart()?;
    served(&rack)?;

    rack.lab.balancer().ip("link set eth0.20 down")?;
    wait::until("the reason", wait::PATIENCE, || {
        let reason = rack.status()?["vips"][0]["reals"][0]["reason"].clone();
        Ok(reason.as_str().is_some_and(|text| text.contains("eth0.20 is down")).then_some(()))
    })?;
    rack.lab.balancer().ip_batch(
        "link set eth0.20 up\naddress replace 2001:db8:c::2/64 dev eth0.20 nodad\n\
         address replace fe80::c:0:0:2/64 dev eth0.20 nodad\n",
    )?;
    usable(&rack)?;
    served(&rack)
}

fn url(vip: IpAddr) -> String {
    format!("http://{}/", SocketAddr::new(vip, 80))
}

fn pinged(lab: &Lab) -> Result<()> {
    for vip in [Rack::vip(), Rack::vip6()] {
        let mut ping = lab.client().netns().command("ping");
        ping.args(["-c", "2", "-i", "0.05", "-W", "5", &vip.to_string()]);
        Output::of(&mut ping)?.success()?;
    }
    Ok(())
}

/// The balancer knows nothing of the VLAN, but the datapath takes what comes from it.
#[test]
fn what_comes_with_a_tag_reaches_reals_without_one() -> Result<()> {
    if !Lab::has_access_ports()? {
        println!("skipped: this kernel has no tcx, of which the lab makes access ports");
        return Ok(());
    }
    let lab = Lab::new(LabOptions { second_lan_reals: 2, ..LabOptions::reals(1) })?;
    let vips = [("web", Rack::vip()), ("web6", Rack::vip6())];
    let (mut nginx, mut echoes): (Vec<Nginx>, Vec<UdpEcho>) = (Vec::new(), Vec::new());
    for real in lab.reals() {
        vips.iter().try_for_each(|(_, vip)| real.set_up_dsr(*vip))?;
        nginx.push(real.nginx(&vips.map(|(_, vip)| vip))?);
        echoes.push(real.udp_echo(Rack::vip(), 53)?);
        echoes.push(real.udp_echo(Rack::vip6(), 53)?);
    }
    let mut config = String::new();
    for (name, vip) in vips {
        config +=
            &format!("[[vip]]\nname = \"{name}\"\naddress = \"{vip}\"\nports = [\"tcp/80\"]\n");
        for real in [address::far_real(1), address::far_real(2)] {
            let address = if vip.is_ipv4() { real } else { address::beside(real) };
            config += &format!("[[vip.real]]\naddress = \"{address}\"\n");
        }
        // The one on the LAN of the tag is found by nobody: its MAC address is configured.
        let near = lab.real(1);
        let address = if vip.is_ipv4() { near.address() } else { near.address6() };
        config += &format!(
            "[[vip]]\nname = \"{name}-udp\"\naddress = \"{vip}\"\nports = [\"udp/53\"]\n\
             [[vip.real]]\naddress = \"{address}\"\nmac = \"{}\"\n",
            near.mac()
        );
    }
    let daemon = lab.daemon(&lab.balancers()[0].config_on(&["eth0", "eth1"], &config))?;
    let rack = Rack { daemon, nginx, echoes, lab };
    let lab = &rack.lab;
    for (name, _) in vips {
        rack.usable_of(name, 2)?;
        rack.usable_of(&format!("{name}-udp"), 1)?;
    }
    // From now on nobody on that VLAN can ask the balancer's kernel for anything.
    let _member = lab.access_port(&lab.router_port(), 10)?;
    for (_, vip) in vips {
        let mac = address::mac(address::BALANCER);
        lab.router().ip(&format!("neigh replace {vip} lladdr {mac} nud permanent dev lan"))?;
    }
    let mut came = lab.balancer_port().capture("outbound and vlan 10 and tcp dst port 80")?;
    let mut came6 = lab.balancer_port().capture("outbound and vlan 10 and ip6")?;
    let far = lab.second_port_of(&lab.balancers()[0]).context("a second LAN")?;
    let mut went = far.capture("inbound and tcp dst port 80")?;
    for (_, vip) in vips {
        let answers = rack.answers_at((vip, 80).into(), 30)?;
        assert_eq!(answers.len(), 2, "{vip}: {answers:?}");
    }
    assert!(came.count()? > 60 && came6.count()? > 60);
    assert!(went.count()? > 120 && went.frames()?.iter().all(|frame| frame.bytes[12] != 0x81));
    pinged(lab)?;

    // A real without a tag on the same wire: there is no way back for it, but it gets all.
    let near = lab.real(1);
    let filter = format!("outbound and udp dst port 53 and ether dst {}", near.mac());
    let mut went = lab.real_port(near).capture(&filter)?;
    for (_, vip) in vips {
        let socket = lab.client().netns().run(|| {
            let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            Ok(std::net::UdpSocket::bind(any)?)
        })?;
        for size in [10, 4000] {
            socket.send_to(&vec![7; size], (vip, 53))?;
        }
    }
    wait::until("the datagrams", wait::PATIENCE, || {
        let received: u64 = rack.echoes[..2].iter().map(UdpEcho::received).sum();
        Ok((received == 4).then_some(()))
    })?;
    assert!(went.frames()?.iter().all(|frame| frame.bytes[12] != 0x81));
    Ok(())
}
