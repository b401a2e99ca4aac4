//! What the LAN may be like: frames longer than a page, and a switch that shows every frame to
//! everybody, another balancer among them, which may take over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result, ensure};
use tests::{Daemon, Lab, LabOptions, Netns, Output, Process, Rack, Real, address, wait};

/// A VIP in the words of the file, with more lines and these reals.
fn vip(name: &str, address: IpAddr, lines: &str, reals: &[Real]) -> String {
    let head = format!("[[vip]]\nname = \"{name}\"\naddress = \"{address}\"\n{lines}\n");
    reals.iter().fold(head, |text, real| {
        let real = if address.is_ipv4() { real.address() } else { real.address6() };
        text + &format!("[[vip.real]]\naddress = \"{real}\"\n")
    })
}

/// Waits until all reals of all VIPs can be used.
fn all_up(daemon: &Daemon) -> Result<()> {
    wait::until("usable reals", wait::PATIENCE, || {
        let status = daemon.lbctl(&["-o", "json", "status"])?.success()?.json()?;
        let vips = status["vips"].as_array().context("vips")?;
        Ok(vips.iter().all(|vip| vip["state"] == "up").then_some(()))
    })
}

fn outcome(daemon: &Daemon, label: &str) -> Result<u64> {
    let status = daemon.lbctl(&["-o", "json", "status"])?.success()?.json()?;
    status["outcomes"][label].as_u64().context("a counter")
}

const FLOWS: usize = 60;

#[test]
fn two_balancers_that_see_all_frames_forward_each_packet_once() -> Result<()> {
    let lab = Lab::new(LabOptions { balancers: 2, ..LabOptions::reals(2) })?;
    // Each announces one VIP of each family, and would serve those of the other, too.
    let vips = [address::vip(10), address::vip6(10), address::vip(20), address::vip6(20)];
    let mut echoes = Vec::new();
    for real in lab.reals() {
        for vip in vips {
            real.set_up_dsr(vip)?;
            echoes.push(real.udp_echo(vip, 53)?);
        }
    }
    let config = |announced: &[IpAddr]| -> String {
        let vips = vips.iter().enumerate().map(|(number, address)| {
            let how = if announced.contains(address) { "arp" } else { "none" };
            let lines = format!("ports = [\"udp/53\"]\nannounce = \"{how}\"");
            vip(&format!("v{number}"), *address, &lines, lab.reals())
        });
        vips.collect()
    };
    let balancers = lab.balancers();
    let daemons = [
        balancers[0].daemon(&balancers[0].config(&config(&vips[..2])))?,
        balancers[1].daemon(&balancers[1].config(&config(&vips[2..])))?,
    ];
    daemons.iter().try_for_each(all_up)?;
    lab.flood()?;

    let mut ports = Vec::new();
    for real in lab.reals() {
        let filter = format!("outbound and udp dst port 53 and ether dst {}", real.mac());
        ports.push(lab.real_port(real).capture(&filter)?);
    }
    for vip in vips {
        for number in 0..FLOWS {
            let payload = format!("<{vip} {number}>");
            let answer = lab.client().udp_exchange(SocketAddr::new(vip, 53), payload.as_bytes())?;
            assert!(answer.ends_with(payload.as_bytes()));
        }
    }
    let mut seen = BTreeMap::new();
    for port in &mut ports {
        for frame in port.frames()? {
            let at = frame.bytes.iter().position(|byte| *byte == b'<').context("a mark")?;
            *seen.entry(frame.bytes[at..].to_vec()).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.len(), vips.len() * FLOWS);
    assert!(seen.values().all(|times| *times == 1), "a packet was forwarded twice");
    for daemon in &daemons {
        assert_eq!(outcome(daemon, "forwarded")?, 2 * FLOWS as u64, "what is sent to its MAC");
        assert!(outcome(daemon, "not_for_us")? >= 2 * FLOWS as u64, "what the other one gets");
    }
    assert_eq!(echoes.iter().map(|echo| echo.received()).sum::<u64>(), 4 * FLOWS as u64);
    Ok(())
}

#[test]
fn a_vip_moves_to_another_balancer_and_its_flows_stay_with_their_reals() -> Result<()> {
    let lab = Lab::new(LabOptions { balancers: 2, ..LabOptions::reals(3) })?;
    let vips = [Rack::vip(), Rack::vip6()];
    let mut echoes = Vec::new();
    for real in lab.reals() {
        for vip in vips {
            real.set_up_dsr(vip)?;
            echoes.push(real.udp_echo(vip, 53)?);
        }
    }
    let start = |balancer: usize, how: &str| {
        let lines = format!("ports = [\"udp/53\"]\nannounce = \"{how}\"");
        let vips = vips.iter().map(|address| {
            let name = if address.is_ipv4() { "dns" } else { "dns6" };
            vip(name, *address, &lines, lab.reals())
        });
        let balancer = &lab.balancers()[balancer];
        let config = balancer.config(&vips.collect::<String>());
        let seed = "[node]\nhash_seed = \"000102030405060708090a0b0c0d0e0f\"";
        balancer.daemon(&config.replace("[node]", seed))
    };
    let daemons = [start(0, "arp")?, start(1, "none")?];
    daemons.iter().try_for_each(all_up)?;

    let mut flows = Vec::new();
    for vip in vips {
        for _ in 0..FLOWS {
            let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = lab.client().netns().run(|| Ok(UdpSocket::bind(any)?))?;
            socket.connect((vip, 53))?;
            socket.set_read_timeout(Some(wait::PATIENCE))?;
            flows.push(socket);
        }
    }
    let owners = || -> Result<Vec<Vec<u8>>> {
        let ask = |flow: &UdpSocket| {
            let mut answer = [0; 100];
            flow.send(b"who are you?")?;
            let length = flow.recv(&mut answer)?;
            Ok(answer[..length].to_vec())
        };
        flows.iter().map(ask).collect()
    };
    let before = owners()?;
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(outcome(&daemons[1], "forwarded")?, 0);
    for (name, address) in [("dns", "192.0.2.10"), ("dns6", "2001:db8:2::10")] {
        let announce = |how| ["vip", "set", name, "--announce", how];
        daemons[0].lbctl(&announce("none"))?.success()?;
        daemons[1].lbctl(&announce("arp"))?.success()?;
        let mac = lab.balancers()[1].mac().to_string();
        wait::until("the router to have heard of it", wait::PATIENCE, || {
            let entry = lab.router().ip(&format!("neigh show {address} dev lan"))?;
            Ok(entry.contains(&mac).then_some(()))
        })?;
    }
    assert_eq!(owners()?, before);
    assert_eq!(outcome(&daemons[1], "forwarded")?, 2 * FLOWS as u64);
    Ok(())
}

/// Starts an iperf3 server there and waits until it listens.
fn iperf_server(real: &Real, vip: IpAddr) -> Result<Process> {
    let mut command = real.netns().command("iperf3");
    command.args(["-s", "-B", &vip.to_string()]).stdout(std::process::Stdio::null());
    let server = real.netns().spawn(command)?;
    let at = SocketAddr::new(vip, 5201).to_string();
    wait::until(&format!("iperf3 at {at}"), wait::PATIENCE, || {
        let mut command = real.netns().command("ss");
        let listening = Output::of(command.args(["-Hltn"]))?.success()?.stdout;
        Ok(listening.contains(&at).then_some(()))
    })?;
    Ok(server)
}

/// Sends so many bytes by iperf3 to the VIP, and returns how many arrived.
fn iperf(client: &Netns, vip: IpAddr, bytes: u64) -> Result<u64> {
    let mut command = client.command("iperf3");
    command.args(["-J", "-P", "2", "-n", &bytes.to_string(), "-c", &vip.to_string()]);
    let report = Output::of(&mut command)?.success()?.json()?;
    let received = &report["end"]["sum_received"];
    println!(
        "{vip}: {} Mbit/s by iperf3",
        received["bits_per_second"].as_f64().unwrap_or(0.) / 1e6
    );
    received["bytes"].as_u64().with_context(|| format!("iperf3: {report}"))
}

#[test]
fn frames_longer_than_a_page_are_forwarded() -> Result<()> {
    ["native", "generic"].into_iter().try_for_each(forwards_long_frames)
}

fn forwards_long_frames(mode: &str) -> Result<()> {
    const UPLOAD: u64 = 16 << 20;
    let lab = Lab::new(LabOptions { mtu: 9000, ..LabOptions::reals(2) })?;
    let vips = [Rack::vip(), Rack::vip6()];
    let (mut nginx, mut echoes, mut iperfs) = (Vec::new(), Vec::new(), Vec::new());
    for real in lab.reals() {
        vips.iter().try_for_each(|vip| real.set_up_dsr(*vip))?;
        nginx.push(real.nginx(&vips)?);
        for vip in vips {
            echoes.push(real.udp_echo(vip, 53)?);
            iperfs.push(iperf_server(real, vip)?);
        }
    }
    // iperf3 has several connections, which must all end at one server.
    let lines = "hash = \"source\"\nports = [\"tcp/80\", \"tcp/5201\", \"udp/53\"]";
    let config: String = ["web", "web6"]
        .iter()
        .zip(vips)
        .map(|(name, address)| vip(name, address, lines, lab.reals()))
        .collect();
    let config = lab.config(&config).replace("[node]", &format!("[node]\nxdp = \"{mode}\""));
    let daemon = lab.daemon(&config)?;
    all_up(&daemon)?;
    let status = daemon.lbctl(&["-o", "json", "status"])?.success()?.json()?;
    assert_eq!(status["node"]["interfaces"][0]["xdp"], mode);

    let file = lab.dir().join("file");
    File::create(&file)?.set_len(UPLOAD)?;
    let file = file.to_str().context("a path")?;
    for vip in vips {
        let place = SocketAddr::new(vip, 80);
        let mut long = Vec::new();
        for real in lab.reals() {
            long.push(
                lab.real_port(real).capture("outbound and greater 8000 and tcp dst port 80")?,
            );
        }
        let words = ["-T", file, "-H", "Expect:", "-w", "%{http_code}"];
        let code = lab.client().curl(&format!("http://{place}/upload"), &words)?.success()?.stdout;
        assert!(code.ends_with("201") || code.ends_with("204"), "{code}");
        let long: usize = long.iter_mut().map(|port| port.count()).sum::<Result<_>>()?;
        assert!(long as u64 * 9000 > UPLOAD / 2, "{long} long frames");

        let payload = vec![7; 8900];
        let answer = lab.client().udp_exchange(SocketAddr::new(vip, 53), &payload)?;
        assert!(answer.ends_with(&payload));
        // When the client says that all is sent the server stops counting, whatever is on its way.
        assert!(iperf(lab.client().netns(), vip, 64 << 20)? > 32 << 20);
    }
    let uploaded = nginx.iter().map(tests::Nginx::uploaded).collect::<Result<Vec<_>>>()?;
    ensure!(uploaded.contains(&Some(UPLOAD)), "{uploaded:?}");
    for label in ["truncated", "malformed", "fragment"] {
        assert_eq!(outcome(&daemon, label)?, 0, "{label}");
    }
    Ok(())
}
