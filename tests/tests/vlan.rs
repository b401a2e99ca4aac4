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

/// The words that make an interface for a VLAN, with its addresses, and its name.
fn device(below: &str, vlan: u16, protocol: &str, addresses: &[&str]) -> (String, String) {
    let name = format!("{below}.{vlan}");
    let addresses: String =
        addresses.iter().map(|address| format!("address add {address} dev {name}\n")).collect();
    let words = format!(
        "link add link {below} name {name} mtu 1500 type vlan proto {protocol} id {vlan}\n{addresses}\
         link set {name} up\n"
    );
    (words, name)
}

/// Every link carries a tag beside its MTU, but not two.
fn make_room(lab: &Lab) -> Result<()> {
    let room = |interface: &str| format!("link set {interface} mtu 1504\n");
    let ports = ["br0", "router", "balancer"].into_iter();
    let ports = ports.chain(lab.reals().iter().map(|real| real.name()));
    lab.switch().ip_batch(&ports.map(room).collect::<String>())?;
    lab.router().ip_batch(&room("lan"))?;
    lab.balancer().ip_batch(&room("eth0"))?;
    lab.reals().iter().try_for_each(|real| real.netns().ip_batch(&room("eth0")))
}

/// Moves everybody from the LAN to two VLANs of the same switch: the router and the balancer to 10
/// and 20, the reals to 20. Whoever is in a VLAN has an interface for it. VLAN 20 may itself be in
/// VLAN 100, of this protocol.
fn divide(lab: &Lab, outer: Option<&str>) -> Result<()> {
    let in_vlan_20 = |interface: &str, addresses: &[&str]| {
        let (outer, below) = match outer {
            Some(protocol) => device(interface, 100, protocol, &[]),
            None => (String::new(), interface.to_owned()),
        };
        outer + &device(&below, 20, "802.1Q", addresses).0
    };
    let nodes = [(lab.router(), "lan"), (lab.balancer(), "eth0"), (lab.switch(), "balancer")];
    let reals = lab.reals().iter().map(|real| (real.netns(), "eth0"));
    for (netns, interface) in nodes.into_iter().chain(reals) {
        // The lab has done the same for tags of 802.1Q.
        let mut ethtool = netns.command("ethtool");
        ethtool.args(["-K", interface]);
        ethtool.args(["tx-vlan-stag-hw-insert", "off", "rx-vlan-stag-hw-parse", "off"]);
        Output::of(&mut ethtool)?.success()?;
        if interface != "balancer" {
            netns.ip(&format!("address flush dev {interface}"))?;
        }
    }
    if outer.is_some() {
        make_room(lab)?;
    }
    for (netns, interface, last, more) in [
        (
            lab.router(),
            "lan",
            1,
            "route replace 192.0.2.0/24 dev lan.10\nroute replace 2001:db8:2::/64 dev lan.10\n",
        ),
        (lab.balancer(), "eth0", 2, ""),
    ] {
        let addresses = |v4: &str, v6: &str| {
            [
                format!("10.0.{v4}.{last}/24"),
                format!("2001:db8:{v6}::{last}/64 nodad"),
                format!("fe80::{v6}:0:0:{last}/64 nodad"),
            ]
        };
        let (near, far) = (addresses("0", "a"), addresses("20", "c"));
        let (near, _) = device(interface, 10, "802.1Q", &near.each_ref().map(String::as_str));
        let far = in_vlan_20(interface, &far.each_ref().map(String::as_str));
        netns.ip_batch(&(near + &far + more))?;
    }
    for (number, real) in (1..).zip(lab.reals()) {
        let [v4, v6] = real_on_vlan(number);
        let addresses = [
            format!("{v4}/24"),
            format!("{v6}/64 nodad"),
            format!("fe80::c:0:0:{number}/64 nodad"),
        ];
        let words = in_vlan_20("eth0", &addresses.each_ref().map(String::as_str));
        let routes =
            "route replace default via 10.0.20.1\nroute replace default via 2001:db8:c::1\n";
        real.netns().ip_batch(&(words + routes))?;
    }
    Ok(())
}

const VIPS: [(&str, IpAddr); 2] = [("web", address::vip(10)), ("web6", address::vip6(10))];

/// A rack whose reals are in a VLAN of their own.
fn divided(outer: Option<&str>, mode: &str) -> Result<Rack> {
    let lab = Lab::new(LabOptions::reals(2))?;
    divide(&lab, outer)?;
    let (mut nginx, mut echoes, mut config) = (Vec::new(), Vec::new(), String::new());
    for real in lab.reals() {
        VIPS.iter().try_for_each(|(_, vip)| real.set_up_dsr(*vip))?;
        nginx.push(real.nginx(&VIPS.map(|(_, vip)| vip))?);
        for (_, vip) in VIPS {
            echoes.push(real.udp_echo(vip, 53)?);
        }
    }
    for (family, (name, vip)) in VIPS.iter().enumerate() {
        config += &format!(
            "[[vip]]\nname = \"{name}\"\naddress = \"{vip}\"\nports = [\"tcp/80\", \"udp/53\"]\n"
        );
        for number in [1, 2] {
            config += &format!("[[vip.real]]\naddress = \"{}\"\n", real_on_vlan(number)[family]);
        }
    }
    let config = lab.config(&config).replace("[node]", &format!("[node]\nxdp = \"{mode}\""));
    let daemon = lab.daemon(&config)?;
    let rack = Rack { daemon, nginx, echoes, lab };
    usable(&rack)?;
    Ok(rack)
}

fn usable(rack: &Rack) -> Result<()> {
    VIPS.iter().try_for_each(|(name, _)| rack.usable_of(name, 2))
}

/// Pages and long datagrams, by both families.
fn served(rack: &Rack) -> Result<()> {
    for (_, vip) in VIPS {
        let answers = rack.answers_at((vip, 80).into(), 30)?;
        assert_eq!(answers.len(), 2, "{vip}: {answers:?}");
        let page = rack.lab.client().curl(&url(vip), &[])?.success()?;
        assert!(page.stdout.starts_with("real"), "{}", page.stdout);
        let payload = vec![7; 4000];
        let answer = rack.lab.client().udp_exchange((vip, 53).into(), &payload)?;
        assert!(answer.ends_with(&payload));
    }
    Ok(())
}

/// Whether this kernel has VLAN devices; says so if not.
fn skipped() -> Result<bool> {
    let skipped = !Lab::has_vlan_devices()?;
    if skipped {
        println!(
            "skipped: this kernel has no VLAN devices (`cargo xtask test --kernel 6.1 -- vlan`)"
        );
    }
    Ok(skipped)
}

/// Serves, and looks at the tags of what comes in and of what goes to the reals.
fn served_with_tags(rack: &Rack, tags: &[u8]) -> Result<()> {
    let port = rack.lab.balancer_port();
    let mut came = port.capture("outbound and vlan 10 and (tcp or udp)")?;
    let mut went = port.capture("inbound and ether src 02:00:00:00:00:02")?;
    served(rack)?;
    assert!(came.count()? > 100);
    let reals = rack.lab.reals();
    let mut to_reals = 0;
    for frame in went.frames()? {
        if reals.iter().any(|real| frame.bytes[..6] == real.mac().0) {
            assert_eq!(frame.bytes[12..12 + tags.len()], *tags);
            to_reals += 1;
        }
    }
    assert!(to_reals > 200, "{to_reals}");
    Ok(())
}

#[test]
fn clients_of_one_vlan_are_served_by_reals_of_another() -> Result<()> {
    if skipped()? {
        return Ok(());
    }
    let mut rack = divided(None, "native")?;
    served_with_tags(&rack, &[0x81, 0, 0, 20])?;
    pinged(&rack.lab)?;
    let status = rack.status()?;
    for vip in status["vips"].as_array().context("VIPs")? {
        let real = &vip["reals"][0];
        assert_eq!((&real["vlan"], &real["interface"]), (&20.into(), &"eth0.20".into()));
    }
    rack.daemon.kill9()?;
    served(&rack)?;
    rack.daemon.restart()?;
    served(&rack)
}

#[test]
fn a_vlan_may_go_down_and_may_be_made_anew() -> Result<()> {
    if skipped()? {
        return Ok(());
    }
    let rack = divided(None, "native")?;
    let balancer = rack.lab.balancer();
    let reason = |text: &str| {
        wait::until(text, wait::PATIENCE, || {
            let reason = rack.status()?["vips"][1]["reals"][0]["reason"].clone();
            Ok(reason.as_str().is_some_and(|reason| reason.contains(text)).then_some(()))
        })
    };
    let addresses = ["10.0.20.2/24", "2001:db8:c::2/64 nodad", "fe80::c:0:0:2/64 nodad"];
    balancer.ip("link set eth0.20 down")?;
    reason("interface eth0.20 is down")?;
    balancer.ip("link set eth0.20 up")?;
    balancer.ip_batch(
        &addresses.map(|address| format!("address replace {address} dev eth0.20\n")).concat(),
    )?;
    usable(&rack)?;
    served(&rack)?;

    balancer.ip("link del eth0.20")?;
    reason("interface eth0.20 is missing")?;
    balancer.ip_batch(&device("eth0", 20, "802.1Q", &addresses).0)?;
    usable(&rack)?;
    served(&rack)
}

#[test]
fn reals_in_a_vlan_of_a_vlan_are_served() -> Result<()> {
    if skipped()? {
        return Ok(());
    }
    for (protocol, ether_type, mode) in
        [("802.1ad", [0x88, 0xa8], "native"), ("802.1Q", [0x81, 0], "generic")]
    {
        let mut rack = divided(Some(protocol), mode)?;
        served_with_tags(&rack, &[&ether_type[..], &[0, 100, 0x81, 0, 0, 20]].concat())?;
        let real = &rack.status()?["vips"][1]["reals"][1];
        assert_eq!((&real["vlan"], &real["interface"]), (&20.into(), &"eth0.100.20".into()));
        rack.daemon.kill9()?;
        served(&rack)?;
        rack.daemon.restart()?;
        served(&rack)?;
    }
    Ok(())
}

#[test]
fn a_vlan_is_not_an_interface_for_the_datapath() -> Result<()> {
    if skipped()? {
        return Ok(());
    }
    let lab = Lab::new(LabOptions::reals(1))?;
    lab.balancer().ip("link add link eth0 name eth0.10 type vlan id 10")?;
    let config = lab.balancers()[0].config_on(&["eth0.10"], &Rack::vips(1));
    let error = lab.daemon(&config).expect_err("it must not start");
    let text = format!("{error:#}");
    assert!(text.contains("eth0.10 is a VLAN of eth0: write \"eth0\""), "{text}");
    Ok(())
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
fn from_a_tag_to_none(mode: &str) -> Result<()> {
    if !Lab::has_access_ports()? {
        println!("skipped: this kernel has no tcx, of which the lab makes access ports");
        return Ok(());
    }
    let lab = Lab::new(LabOptions { second_lan_reals: 2, ..LabOptions::reals(1) })?;
    let (mut nginx, mut echoes): (Vec<Nginx>, Vec<UdpEcho>) = (Vec::new(), Vec::new());
    for real in lab.reals() {
        VIPS.iter().try_for_each(|(_, vip)| real.set_up_dsr(*vip))?;
        nginx.push(real.nginx(&VIPS.map(|(_, vip)| vip))?);
        echoes.push(real.udp_echo(Rack::vip(), 53)?);
        echoes.push(real.udp_echo(Rack::vip6(), 53)?);
    }
    let mut config = String::new();
    for (name, vip) in VIPS {
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
    let config = lab.balancers()[0].config_on(&["eth0", "eth1"], &config);
    let daemon = lab.daemon(&config.replace("[node]", &format!("[node]\nxdp = \"{mode}\"")))?;
    let rack = Rack { daemon, nginx, echoes, lab };
    let lab = &rack.lab;
    for (name, _) in VIPS {
        rack.usable_of(name, 2)?;
        rack.usable_of(&format!("{name}-udp"), 1)?;
    }
    // From now on nobody on that VLAN can ask the balancer's kernel for anything.
    let _member = lab.access_port(&lab.router_port(), 10)?;
    for (_, vip) in VIPS {
        let mac = address::mac(address::BALANCER);
        lab.router().ip(&format!("neigh replace {vip} lladdr {mac} nud permanent dev lan"))?;
    }
    let mut came = lab.balancer_port().capture("outbound and vlan 10 and tcp dst port 80")?;
    let mut came6 = lab.balancer_port().capture("outbound and vlan 10 and ip6")?;
    let far = lab.second_port_of(&lab.balancers()[0]).context("a second LAN")?;
    let mut went = far.capture("inbound and tcp dst port 80")?;
    for (_, vip) in VIPS {
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
    for (_, vip) in VIPS {
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

#[test]
fn what_comes_with_a_tag_reaches_reals_without_one() -> Result<()> {
    from_a_tag_to_none("native")
}

#[test]
fn what_comes_with_a_tag_reaches_reals_without_one_by_generic_xdp() -> Result<()> {
    from_a_tag_to_none("generic")
}
