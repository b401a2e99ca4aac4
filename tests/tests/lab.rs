//! The lab itself, with plain kernel forwarding and no balancer: what it promises to the tests that
//! stand on it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use lb_user::model::Mac;
use tests::{
    Lab, LabOptions, Netns, Output, Persist, Port, address,
    packet::{Link, SYN},
    wait,
    xdp::{self, Verdict},
};

const VIP: IpAddr = address::vip(10);
const VIP6: IpAddr = address::vip6(10);

fn lab(reals: u8) -> Lab {
    Lab::new(LabOptions::reals(reals)).expect("a lab")
}

#[test]
fn the_client_reaches_the_router_and_every_real() -> Result<()> {
    let lab = lab(3);
    let all = [address::ROUTER_WAN, address::ROUTER_LAN, address::BALANCER];
    for address in all
        .into_iter()
        .chain(lab.reals().iter().map(|real| real.address()))
        .flat_map(|address| [address, address::beside(address)])
    {
        let to = SocketAddr::new(address, 9);
        let error = lab.client().connect(to).expect_err("nobody listens");
        assert!(format!("{error:#}").contains("refused"), "{error:#}");
    }
    Ok(())
}

#[test]
fn only_the_router_forwards() -> Result<()> {
    let lab = lab(1);
    for parameter in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let file = format!("/proc/sys/net/{parameter}");
        let forwards = |netns: &Netns| netns.run(|| Ok(fs::read_to_string(&file)?));
        assert_eq!(forwards(lab.router())?, "1\n");
        for netns in [lab.client().netns(), lab.balancer(), lab.switch(), lab.real(1).netns()] {
            assert_eq!(forwards(netns)?, "0\n", "{}", netns.name());
        }
    }
    Ok(())
}

/// Has the router ask for the VIP, then for the real's own address: when the second question is
/// answered, an answer to the first would have been.
fn answers_for_vip(lab: &Lab) -> Result<bool> {
    let mut answers =
        lab.real_port(lab.real(1)).capture("arp[6:2] = 2 and ether src 02:00:00:00:00:0b")?;
    let own = lab.real(1).address();
    for address in [VIP, own] {
        lab.router().run(|| Ok(UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", (address, 9))?))?;
    }
    // The sender's address stands at byte 28 of the frame.
    let sender = |frame: &[u8]| IpAddr::from([frame[28], frame[29], frame[30], frame[31]]);
    wait::until("the real's answer for itself", wait::PATIENCE, || {
        let senders: Vec<_> = answers.frames()?.iter().map(|frame| sender(&frame.bytes)).collect();
        Ok(senders.contains(&own).then(|| senders.contains(&VIP)))
    })
}

#[test]
fn a_real_set_up_for_direct_return_does_not_answer_for_the_vip() -> Result<()> {
    let lab = lab(1);
    lab.real(1).set_up_dsr(VIP)?;
    assert!(!answers_for_vip(&lab)?);
    Ok(())
}

#[test]
fn a_real_with_nothing_but_the_vip_answers_for_it() -> Result<()> {
    let lab = lab(1);
    lab.real(1).add_vip(VIP)?;
    assert!(answers_for_vip(&lab)?);
    Ok(())
}

/// The same by neighbour solicitations.
fn answers_for_vip6(lab: &Lab) -> Result<bool> {
    let mut answers =
        lab.real_port(lab.real(1)).capture("ip6[40] = 136 and ether src 02:00:00:00:00:0b")?;
    let own = lab.real(1).address6();
    for address in [VIP6, own] {
        lab.router().run(|| Ok(UdpSocket::bind("[::]:0")?.send_to(b"?", (address, 9))?))?;
    }
    // The target's address stands at byte 62 of the frame.
    let target = |frame: &[u8]| frame[62..78].try_into().map(|bytes: [u8; 16]| bytes.into());
    wait::until("the real's answer for itself", wait::PATIENCE, || {
        let frames = answers.frames()?.iter();
        let targets: Vec<IpAddr> =
            frames.map(|frame| target(&frame.bytes)).collect::<Result<_, _>>()?;
        Ok(targets.contains(&own).then(|| targets.contains(&VIP6)))
    })
}

#[test]
fn a_real_with_the_vip_on_lo_does_not_answer_for_it_by_ipv6() -> Result<()> {
    let lab = lab(1);
    lab.real(1).set_up_dsr(VIP6)?;
    assert!(!answers_for_vip6(&lab)?);
    Ok(())
}

#[test]
fn a_real_with_the_vip_on_its_interface_answers_for_it_by_ipv6() -> Result<()> {
    let lab = lab(1);
    lab.real(1).netns().ip(&format!("addr add {VIP6}/128 dev eth0 nodad"))?;
    assert!(answers_for_vip6(&lab)?);
    Ok(())
}

/// Sends everything for the VIPs to this real, as a balancer would, but by the router's neighbour
/// table.
fn steer(lab: &Lab, real: usize) -> Result<()> {
    [VIP, VIP6].iter().try_for_each(|vip| {
        let mac = lab.real(real).mac();
        lab.router().ip(&format!("neigh replace {vip} lladdr {mac} dev lan")).map(drop)
    })
}

#[test]
fn nginx_serves_the_vip_and_says_which_real_it_is() -> Result<()> {
    let lab = lab(2);
    lab.real(2).set_up_dsr(VIP)?;
    let nginx = lab.real(2).nginx(&[VIP, lab.real(2).address()])?;
    steer(&lab, 2)?;

    let answer = lab.client().curl(&format!("http://{VIP}/page"), &["-i"])?.success()?.stdout;
    assert!(answer.contains("404 Not Found") && answer.contains("X-Real: real2"), "{answer}");
    assert_eq!(lab.client().curl(&format!("http://{VIP}/"), &[])?.success()?.stdout, "real2\n");
    assert_eq!(lab.client().curl("http://10.0.0.12/healthz", &[])?.success()?.stdout, "ok\n");
    assert_eq!(lab.client().who_answers(SocketAddr::new(VIP, 80))?, "real2");
    let log = nginx.access_log()?;
    assert!(log.contains(&r#"198.51.100.2 192.0.2.10 200 "GET / HTTP/1.1""#.to_owned()), "{log:?}");
    Ok(())
}

#[test]
fn programs_on_a_real_serve_both_families() -> Result<()> {
    let lab = lab(2);
    let real = lab.real(2);
    real.set_up_dsr(VIP)?;
    real.set_up_dsr(VIP6)?;
    let nginx = real.nginx(&[VIP, VIP6, real.address6()])?;
    let echo = real.udp_echo(VIP6, 53)?;
    steer(&lab, 2)?;

    let client = lab.client();
    assert_eq!(client.curl("http://[2001:db8:a::12]/healthz", &[])?.success()?.stdout, "ok\n");
    assert_eq!(client.curl(&format!("http://[{VIP6}]/"), &[])?.success()?.stdout, "real2\n");
    assert_eq!(client.who_answers(SocketAddr::new(VIP6, 80))?, "real2");
    assert_eq!(client.who_answers(SocketAddr::new(VIP, 80))?, "real2");
    assert_eq!(client.udp_exchange(SocketAddr::new(VIP6, 53), b"hello")?, b"real2 hello");
    assert_eq!(echo.received(), 1);
    let log = nginx.access_log()?;
    let line = r#"2001:db8:1::2 2001:db8:2::10 200 "GET / HTTP/1.1""#.to_owned();
    assert!(log.contains(&line), "{log:?}");
    Ok(())
}

#[test]
fn a_large_file_arrives_whole() -> Result<()> {
    let lab = lab(1);
    let _nginx = lab.real(1).nginx(&[lab.real(1).address()])?;
    let arguments = ["-o", "/dev/null", "-w", "%{size_download}"];
    let size = lab.client().curl("http://10.0.0.11/large", &arguments)?.success()?.stdout;
    assert_eq!(size, tests::nginx::LARGE.to_string());
    Ok(())
}

#[test]
fn the_udp_echo_answers_from_the_vip_with_its_name() -> Result<()> {
    let lab = lab(1);
    lab.real(1).set_up_dsr(VIP)?;
    let echo = lab.real(1).udp_echo(VIP, 53)?;
    steer(&lab, 1)?;
    assert_eq!(lab.client().udp_exchange(SocketAddr::new(VIP, 53), b"hello")?, b"real1 hello");
    assert_eq!(echo.received(), 1);
    Ok(())
}

#[test]
fn a_server_that_cannot_start_says_why() -> Result<()> {
    let lab = lab(1);
    let error = lab.real(1).nginx(&[VIP]).expect_err("the VIP is not there");
    assert!(format!("{error:#}").contains("Cannot assign requested address"), "{error:#}");
    Ok(())
}

#[test]
fn captures_and_counters_see_exactly_what_passed() -> Result<()> {
    let lab = lab(1);
    let port = lab.balancer_port();
    let mut capture = port.capture("tcp dst port 7777")?;
    let before = port.counters()?;
    let frame = |port: u16, vlan: bool| {
        let link = Link::new(address::mac(address::ROUTER_LAN), address::mac(address::BALANCER));
        let link = if vlan { link.vlan(7) } else { link };
        link.ipv4([198, 51, 100, 2].into(), [192, 0, 2, 10].into())
            .tcp(port, 7777)
            .flags(SYN)
            .build()
    };
    let sent: Vec<_> = (1..=50).map(|port| frame(port, false)).collect();
    lab.router_lan().send(&sent)?;
    let seen: Vec<_> = capture.wait_for(50)?.to_vec();
    assert!(seen.iter().all(|frame| frame.outgoing));
    assert_eq!(seen.into_iter().map(|frame| frame.bytes).collect::<Vec<_>>(), sent);
    let passed = port.counters()? - before;
    assert!(passed.tx_packets >= 50 && passed.tx_bytes >= 50 * 54, "{passed:?}");

    let mut tagged = port.capture("vlan 7")?;
    lab.router_lan().send(&[frame(1, true)])?;
    assert_eq!(tagged.wait_for(1)?[0].bytes, frame(1, true));
    Ok(())
}

/// The case that decides whether a balancer can be tested here at all.
#[test]
fn frames_that_native_xdp_sends_back_arrive_at_the_switch() -> Result<()> {
    let lab = lab(1);
    let reflector = xdp::attach(lab.balancer(), "eth0", Verdict::Send)?;
    let port = lab.balancer_port();
    let mut back = port.capture("inbound and udp")?;
    let link = Link::new(address::mac(address::ROUTER_LAN), address::mac(address::BALANCER));
    let frame = link
        .ipv4([198, 51, 100, 2].into(), [10, 0, 0, 2].into())
        .udp(1, 2)
        .payload(b"back")
        .build();
    lab.router_lan().send(&[&frame])?;
    assert_eq!(back.wait_for(1)?[0].bytes, frame);
    drop(reflector);
    Ok(())
}

/// Sends one echo request of so many bytes, which nobody may fragment.
fn ping(from: &Netns, to: IpAddr, bytes: u32) -> Result<Output> {
    let mut command = from.command("ping");
    command.args(["-c1", "-W2", "-Mdo", "-s", &bytes.to_string(), &to.to_string()]);
    Output::of(&mut command)
}

#[test]
fn long_packets_pass_where_the_mtu_says_so() -> Result<()> {
    let lab = Lab::new(LabOptions { mtu: 9000, ..LabOptions::reals(1) })?;
    let plain = xdp::attach(lab.balancer(), "eth0", Verdict::Pass);
    assert!(plain.is_err(), "for frames of more than a page there must be fragments");
    let _pass = xdp::attach_for_long_frames(lab.balancer(), "eth0", Verdict::Pass)?;
    for to in [lab.real(1).address(), address::BALANCER] {
        ping(lab.client().netns(), to, 9000 - 20 - 8)?.success()?;
        ping(lab.client().netns(), address::beside(to), 9000 - 40 - 8)?.success()?;
        assert_ne!(ping(lab.client().netns(), to, 9000)?.code, 0);
    }
    let _nginx = lab.real(1).nginx(&[lab.real(1).address6()])?;
    let mut long = lab.real_port(lab.real(1)).capture("inbound and greater 8000")?;
    let arguments = ["-o", "/dev/null", "-w", "%{size_download}"];
    let size = lab.client().curl("http://[2001:db8:a::11]/large", &arguments)?.success()?.stdout;
    assert_eq!(size, tests::nginx::LARGE.to_string());
    assert!(long.count()? > 1000);
    Ok(())
}

#[test]
fn the_balancer_reaches_the_second_lan_by_its_second_interface() -> Result<()> {
    let lab = Lab::new(LabOptions { second_lan_reals: 1, ..LabOptions::reals(1) })?;
    let far = lab.real(2);
    assert_eq!((far.name(), far.address()), ("real2", address::far_real(1)));
    let _nginx = far.nginx(&[far.address(), far.address6()])?;
    for address in [far.address(), far.address6()] {
        assert_eq!(lab.client().who_answers(SocketAddr::new(address, 80))?, "real2");
        let mut seen = lab.real_port(far).capture("outbound and ether src 02:00:00:00:03:02")?;
        ping(lab.balancer(), address, 8)?.success()?;
        assert!(seen.count()? > 0);
    }
    Ok(())
}

#[test]
fn frames_that_native_xdp_redirects_arrive_at_the_second_switch() -> Result<()> {
    let lab = Lab::new(LabOptions { second_lan_reals: 1, ..LabOptions::reals(0) })?;
    let far = lab.real(1);
    let echo = far.udp_echo(far.address6(), 53)?;
    let _redirect = xdp::attach_redirect(lab.balancer(), "eth0", "eth1")?;
    let port = lab.second_port_of(&lab.balancers()[0]).context("a second LAN")?;
    let mut redirected = port.capture("inbound and udp")?;
    let mut answers = Port::new(lab.router(), "lan2").capture("inbound and udp port 53")?;
    let frame = frame6(address::mac(address::ROUTER_LAN), far.mac(), far.address6());
    // The bridge of the LAN does not know who that is, and asks all.
    lab.router_lan().send(&[&frame])?;
    assert_eq!(redirected.wait_for(1)?[0].bytes, frame);
    answers.wait_for(1)?;
    assert_eq!(echo.received(), 1);
    Ok(())
}

/// A datagram from the client to port 53 of this address.
fn frame6(source: Mac, destination: Mac, to: IpAddr) -> Vec<u8> {
    let (IpAddr::V6(client), IpAddr::V6(to)) = (address::CLIENT6, to) else {
        unreachable!("both are of IPv6");
    };
    Link::new(source, destination).ipv6(client, to).udp(4444, 53).payload(b"hello").build()
}

#[test]
fn access_ports_separate_vlans_and_the_balancer_sees_their_tags() -> Result<()> {
    let lab = lab(3);
    let reals = lab.reals();
    let member = |real: usize, vlan| lab.access_port(&lab.real_port(lab.real(real)), vlan);
    if !Lab::has_access_ports()? {
        let error = member(1, 100).expect_err("no tcx");
        assert!(format!("{error:#}").contains("kernel 6.6"), "{error:#}");
        return Ok(());
    }
    let _members = [member(1, 100)?, member(2, 100)?, member(3, 200)?];
    let balancer = lab.balancer_port();
    let mut asked = balancer.capture("outbound and vlan 100 and arp")?;
    for to in [reals[1].address(), reals[1].address6()] {
        ping(reals[0].netns(), to, 8)?.success()?;
    }
    for to in [reals[2].address(), reals[2].address6(), address::ROUTER_LAN] {
        assert_ne!(ping(reals[0].netns(), to, 8)?.code, 0, "{to}");
    }
    assert_eq!(asked.wait_for(1)?[0].bytes[12..18], [0x81, 0, 0, 100, 8, 6]);

    // XDP sees nothing but the bytes of a frame: a tag that it sends back was among them.
    let _reflector = xdp::attach(lab.balancer(), "eth0", Verdict::Send)?;
    let mut back = balancer.capture("inbound and vlan 200 and ip6")?;
    let frame = frame6(reals[2].mac(), address::mac(address::BALANCER), VIP6);
    Port::new(reals[2].netns(), "eth0").send(&[&frame])?;
    let tagged = [&frame[..12], &[0x81, 0, 0, 200], &frame[12..]].concat();
    assert_eq!(back.wait_for(1)?[0].bytes, tagged);
    Ok(())
}

#[test]
fn whether_there_are_vlan_devices_is_known() -> Result<()> {
    let lab = lab(0);
    let made = lab.balancer().ip("link add link eth0 name eth0.100 type vlan id 100").is_ok();
    assert_eq!(Lab::has_vlan_devices()?, made);
    Ok(())
}

#[test]
fn a_flooding_switch_shows_every_frame_to_both_balancers() -> Result<()> {
    let lab = Lab::new(LabOptions { balancers: 2, ..LabOptions::reals(1) })?;
    let [one, other] = lab.balancers() else { panic!("two balancers") };
    // After this the switch knows where both are.
    ping(one.netns(), other.address(), 8)?.success()?;
    ping(one.netns(), address::beside(other.address()), 8)?.success()?;
    let source = address::mac(address::ROUTER_LAN);
    let frames = [one, other].map(|balancer| frame6(source, balancer.mac(), VIP6));

    let mut seen = lab.port_of(other).capture("outbound and udp port 53")?;
    lab.router_lan().send(&frames)?;
    assert_eq!(seen.wait_for(1)?[0].bytes, frames[1]);
    assert_eq!(seen.count()?, 1);

    lab.flood()?;
    let mut both = [one, other].map(|to| lab.port_of(to).capture("outbound and udp port 53"));
    lab.router_lan().send(&frames)?;
    for seen in &mut both {
        let seen = seen.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?.wait_for(2)?;
        assert_eq!(
            seen.iter().map(|frame| &frame.bytes).collect::<Vec<_>>(),
            [&frames[0], &frames[1]]
        );
    }
    Ok(())
}

#[test]
fn each_of_two_balancers_has_programs_and_pins_of_its_own() -> Result<()> {
    let lab = Lab::new(LabOptions { balancers: 2, ..LabOptions::reals(0) })?;
    let [one, other] = lab.balancers() else { panic!("two balancers") };
    let pin = other.dir().join("bpf/send");
    let link = xdp::attach(other.netns(), "eth0", Verdict::Send)?;
    other.netns().run(|| xdp::pin(&link, &pin))?;
    assert!(other.netns().run(|| Ok(pin.exists()))?);
    assert!(!one.netns().run(|| Ok(pin.exists()))?);
    assert!(one.socket() != other.socket() && one.pin_dir() != other.pin_dir());

    let mut back = lab.port_of(other).capture("inbound and udp")?;
    let frame = frame6(address::mac(address::ROUTER_LAN), other.mac(), VIP6);
    lab.router_lan().send(&[&frame])?;
    assert_eq!(back.wait_for(1)?[0].bytes, frame);
    Ok(())
}

#[test]
fn two_daemons_run_beside_each_other() -> Result<()> {
    let lab = Lab::new(LabOptions { balancers: 2, ..LabOptions::reals(1) })?;
    let [one, other] = lab.balancers() else { panic!("two balancers") };
    let daemons = [one.daemon(&one.config(""))?, other.daemon(&other.config(""))?];
    for daemon in &daemons {
        assert_eq!(daemon.lbctl(&["status"])?.code, 0);
    }
    assert!(one.dir().join("lbd.log").exists() && other.dir().join("lbd.log").exists());
    Ok(())
}

#[test]
fn pins_outlive_their_maker_and_are_seen_in_the_balancer_alone() -> Result<()> {
    let lab = lab(1);
    let pin = lab.dir().join("bpf/pass");
    let link = xdp::attach(lab.balancer(), "eth0", Verdict::Pass)?;
    lab.in_balancer(|| xdp::pin(&link, &pin))?;
    drop(link);
    let attached =
        || Ok::<_, anyhow::Error>(lab.balancer().ip("-d link show dev eth0")?.contains("prog/xdp"));
    assert!(attached()?);
    assert!(!pin.exists(), "on the host");
    lab.in_balancer(|| Ok(fs::remove_file(&pin)?))?;
    // The kernel detaches some time after the last reference has gone.
    wait::until("the end of the link", wait::PATIENCE, || Ok((!attached()?).then_some(())))
}

#[test]
fn two_labs_do_not_disturb_each_other() -> Result<()> {
    let (one, other) = (lab(1), lab(1));
    let _first = one.real(1).nginx(&[one.real(1).address()])?;
    let at = SocketAddr::new(other.real(1).address(), 80);
    assert!(other.client().connect(at).is_err());
    let second = other.real(1).nginx(&[other.real(1).address()])?;
    drop(second);
    assert_eq!(one.client().who_answers(at)?, "real1");
    Ok(())
}

/// The identities of a lab's namespaces, as links in /proc call them.
fn identities(lab: &Lab) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for netns in
        [lab.client().netns(), lab.router(), lab.switch(), lab.balancer(), lab.real(1).netns()]
    {
        all.push(format!("net:[{}]", fs::metadata(netns.path())?.ino()));
    }
    all.push(
        lab.in_balancer(|| Ok(fs::read_link("/proc/thread-self/ns/mnt")?.display().to_string()))?,
    );
    Ok(all)
}

/// Whether any process is in one of the namespaces, or holds it open: what keeps it alive.
fn held(identities: &[String]) -> bool {
    let links = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
            .collect()
    };
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let mut found =
        processes.flat_map(|path| [links(&path.join("fd")), links(&path.join("ns"))].concat());
    found.any(|link| identities.contains(&link))
}

fn gone(identities: &[String], dir: &Path) -> Result<()> {
    wait::until("the namespaces' end", wait::PATIENCE, || Ok((!held(identities)).then_some(())))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(&*dir.to_string_lossy()), "a mount is left: {mounts}");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_dropped_lab() -> Result<()> {
    let lab = lab(1);
    let (identities, dir) = (identities(&lab)?, lab.dir().to_owned());
    let mut nginx = lab.real(1).nginx(&[lab.real(1).address()])?;
    let server = format!("/proc/{}", nginx.process().id());
    let echo = lab.real(1).udp_echo(lab.real(1).address(), 53)?;
    let capture = lab.balancer_port().capture("arp")?;
    assert!(held(&identities) && Path::new(&server).exists());
    drop((nginx, echo, capture, lab));
    assert!(!Path::new(&server).exists());
    assert!(!dir.exists());
    gone(&identities, &dir)
}

/// Not a test but the victim of the next one.
#[test]
#[ignore = "waits to be killed; does nothing when nobody does"]
fn victim() -> Result<()> {
    if std::env::var_os("LAB_VICTIM").is_none() {
        return Ok(());
    }
    let lab = lab(1);
    let mut nginx = lab.real(1).nginx(&[lab.real(1).address()])?;
    println!(
        "\nvictim {} {} {}",
        nginx.process().id(),
        lab.dir().display(),
        identities(&lab)?.join(" ")
    );
    std::io::stdin().read_to_string(&mut String::new())?;
    Ok(())
}

#[test]
fn nothing_that_lives_is_left_when_the_test_process_is_killed() -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "--ignored", "--nocapture", "victim"]).env("LAB_VICTIM", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let line =
        lines.map_while(Result::ok).find(|line| line.starts_with("victim ")).context("no lab")?;
    let words: Vec<_> = line.split(' ').skip(1).map(str::to_owned).collect();
    let (server, dir, identities) =
        (format!("/proc/{}/exe", words[0]), Path::new(&words[1]), &words[2..]);
    assert!(held(identities) && fs::read_link(&server).is_ok());

    child.kill()?;
    child.wait()?;
    let ended = || Ok(fs::read_link(&server).is_err().then_some(()));
    wait::until("the end of nginx", wait::PATIENCE, ended)?;
    gone(identities, dir)?;
    // Only its directory is left, until the next lab comes.
    drop(lab(1));
    assert!(!dir.exists());
    Ok(())
}

#[test]
fn a_lab_that_stays_is_reached_by_name_until_it_is_torn_down() -> Result<()> {
    let id = std::process::id();
    let place = Persist { prefix: format!("lbtest{id}"), dir: format!("/run/lb-test-{id}").into() };
    let torn_down = TearDown(place.clone());
    let lab = Lab::persist(&place, LabOptions::reals(1))?;
    let mut nginx = lab.real(1).nginx(&[lab.real(1).address()])?;
    let server = format!("/proc/{}/exe", nginx.process().id());
    drop((nginx, lab));

    let curl = ["netns", "exec", &place.netns("client"), "curl", "-sS", "http://10.0.0.11/"];
    assert_eq!(Command::new("ip").args(curl).output()?.stdout, b"real1\n");
    assert!(place.dir.join("bpf/lab_pass").exists());
    assert!(Lab::persist(&place, LabOptions::default()).is_err(), "there can be only one");
    assert!(fs::read_link(&server).is_ok(), "which does not harm the first");

    drop(torn_down);
    assert!(fs::read_link(&server).is_err());
    assert!(!place.dir.exists());
    let names = Command::new("ip").args(["netns", "list"]).output()?.stdout;
    assert!(!String::from_utf8(names)?.contains(&place.prefix));
    assert!(!fs::read_to_string("/proc/self/mountinfo")?.contains(&place.prefix));
    Ok(())
}

struct TearDown(Persist);

impl Drop for TearDown {
    fn drop(&mut self) {
        Lab::tear_down(&self.0).expect("torn down");
    }
}
