//! Whatever happens to the daemon, the datapath forwards.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tests::{Daemon, Lab, Rack, daemon, nginx::LARGE, wait};

/// Which real each of some flows would get.
fn owners(daemon: &Daemon) -> Result<Vec<String>> {
    (0..40)
        .map(|flow| {
            let source = format!("198.51.100.2:{}", 20_000 + flow);
            let words = ["-o", "json", "trace", "--src", &source, "--dst", "192.0.2.10:80"];
            let trace = daemon.lbctl(&words)?.success()?.json()?;
            Ok(trace["real"].as_str().unwrap_or("nobody").to_owned())
        })
        .collect()
}

/// The names of XDP programs' pins and of the maps' directory.
fn pins(lab: &Lab) -> Result<Vec<String>> {
    let dir = lab.pin_dir();
    lab.in_balancer(|| {
        if !dir.exists() {
            return Ok(Vec::new());
        }
        let names =
            fs::read_dir(&dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
        names.collect()
    })
}

fn has_xdp(lab: &Lab) -> Result<bool> {
    Ok(lab.balancer().ip("-d link show dev eth0")?.contains("xdp"))
}

#[test]
fn a_download_survives_the_daemon_being_killed() -> Result<()> {
    let mut rack = Rack::new(2)?;
    let mut stream = rack.lab.client().connect(Rack::web())?;
    stream.write_all(b"GET /large HTTP/1.0\r\n\r\n")?;
    let mut head = [0; 4096];
    let mut received = stream.read(&mut head)? as u64;
    let header =
        head.windows(4).position(|four| four == b"\r\n\r\n").context("a header")? as u64 + 4;
    rack.daemon.kill9()?;
    let mut rest = vec![0; 1 << 20];
    loop {
        match stream.read(&mut rest)? {
            0 => break,
            length => received += length as u64,
        }
    }
    assert_eq!(received - header, LARGE);
    assert_eq!(rack.answers(20)?.values().sum::<usize>(), 20, "new connections are served, too");
    Ok(())
}

#[test]
fn a_new_daemon_takes_over_what_the_killed_one_has_left() -> Result<()> {
    let mut rack = Rack::new(3)?;
    rack.answers(10)?;
    let (before, status) = (owners(&rack.daemon)?, rack.status()?);
    for _ in 0..3 {
        rack.daemon.kill9()?;
        assert!(has_xdp(&rack.lab)?);
        rack.daemon.restart()?;
        assert_eq!(owners(&rack.daemon)?, before);
    }
    let after = rack.status()?;
    assert_eq!(after["vips"][0]["flows"], status["vips"][0]["flows"], "counters go on");
    assert_eq!(after["node"]["seed_id"], status["node"]["seed_id"]);
    assert_eq!(rack.answers(30)?.len(), 3);
    Ok(())
}

#[test]
fn no_request_fails_while_daemons_come_and_go() -> Result<()> {
    let mut rack = Rack::new(3)?;
    let (lab, daemon) = (&rack.lab, &mut rack.daemon);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                lab.client().who_answers(Rack::web())?;
                served += 1;
            }
            anyhow::Ok(served)
        });
        let restarts = (0..3).try_for_each(|_| {
            daemon.kill9()?;
            daemon.restart()
        });
        done.store(true, Ordering::Relaxed);
        restarts?;
        assert!(client.join().expect("the client")? > 0);
        Ok(())
    })
}

#[test]
fn a_configuration_edited_while_the_daemon_is_down_is_loaded_around_what_stays() -> Result<()> {
    let mut rack = Rack::new(3)?;
    rack.lbctl(&["vip", "add", "first", "--address", "192.0.2.11", "--port", "tcp/80"])?;
    let before = owners(&rack.daemon)?;
    rack.daemon.terminate()?;
    // Another VIP comes first in the file, one goes, and "web" has another name.
    let other = "[[vip]]\nname = \"new\"\naddress = \"192.0.2.12\"\nports = [\"any\"]\nannounce = \"none\"\n\n";
    let config =
        rack.lab.config(&(other.to_owned() + &Rack::vips(3))).replace("\"web\"", "\"www\"");
    fs::write(rack.daemon.config_file(), config)?;
    rack.daemon.restart()?;
    assert_eq!(owners(&rack.daemon)?, before);
    let status = rack.status()?;
    let names = status["vips"].as_array().context("vips")?.iter().map(|vip| vip["name"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), [Some("new"), Some("www")]);
    let addresses = rack.lab.balancer().ip("address show dev eth0")?;
    assert!(!addresses.contains("192.0.2.11"), "what lbd assigned for a VIP that is gone is gone");
    assert!(addresses.contains("192.0.2.10/32"));
    Ok(())
}

#[test]
fn ending_the_daemon_leaves_forwarding_and_addresses() -> Result<()> {
    let mut rack = Rack::new(2)?;
    rack.daemon.terminate()?;
    rack.lab.router().ip("neigh flush all")?;
    assert_eq!(rack.answers(30)?.len(), 2);
    Ok(())
}

#[test]
fn detach_leaves_nothing() -> Result<()> {
    let mut rack = Rack::new(2)?;
    rack.lab.balancer().ip("address add 192.0.2.77/32 dev eth0")?;
    rack.lbctl(&["vip", "add", "mine", "--address", "192.0.2.77", "--port", "tcp/80"])?;
    rack.lbctl(&["detach"])?;
    assert!(rack.daemon.process().wait()?.success(), "lbd ends by itself");
    assert_eq!(pins(&rack.lab)?, Vec::<String>::new());
    assert!(!has_xdp(&rack.lab)?);
    let addresses = rack.lab.balancer().ip("address show dev eth0")?;
    assert!(!addresses.contains("192.0.2.10"), "{addresses}");
    assert!(addresses.contains("192.0.2.77"), "what the operator has assigned stays: {addresses}");
    let unreachable = rack.lab.lbctl(&["status"])?;
    assert_eq!(unreachable.code, 3);
    assert_eq!(unreachable.stderr.lines().count(), 1, "{}", unreachable.stderr);
    Ok(())
}

#[test]
fn a_dead_daemons_datapath_can_be_detached_without_starting_one() -> Result<()> {
    let mut rack = Rack::new(1)?;
    let file = rack.daemon.config_file();
    let lbd = ["--config", file.to_str().context("a path")?, "--detach"];
    for by_lbctl in [true, false] {
        rack.daemon.kill9()?;
        assert_eq!(rack.answers(3)?.len(), 1);
        let detached =
            if by_lbctl { rack.lab.lbctl(&["detach"])? } else { daemon::lbd(&rack.lab, &lbd)? };
        detached.success()?;
        assert!(!has_xdp(&rack.lab)?);
        assert_eq!(pins(&rack.lab)?, Vec::<String>::new());
        assert!(!rack.lab.balancer().ip("address show dev eth0")?.contains("192.0.2.10"));
        rack.daemon.restart()?;
    }
    Ok(())
}

#[test]
fn another_interface_takes_over_what_the_former_one_had() -> Result<()> {
    let mut rack = Rack::new(1)?;
    let balancer = rack.lab.balancer().clone();
    balancer
        .ip_batch("link add eth1 type veth peer name eth2\nlink set eth1 up\nlink set eth2 up\n")?;
    rack.daemon.terminate()?;
    let file = rack.daemon.config_file();
    fs::write(&file, fs::read_to_string(&file)?.replace("eth0", "eth1"))?;
    rack.daemon.restart()?;
    assert!(!has_xdp(&rack.lab)?, "eth0 is left");
    assert!(!balancer.ip("address show dev eth0")?.contains("192.0.2.10"));
    assert!(balancer.ip("-d link show dev eth1")?.contains("name lb "));
    assert_eq!(rack.status()?["vips"][0]["reals"][0]["health"], "down");
    Ok(())
}

#[test]
fn a_hundred_vips_of_ten_reals_are_forwarding_when_the_daemon_says_so() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers(1)?;
    let mut config = lab.config("");
    for vip in 0..100 {
        config += &format!(
            "[[vip]]\nname = \"v{vip}\"\naddress = \"192.0.2.{}\"\nports = [\"tcp/80\"]\nannounce = \"none\"\n",
            100 + vip
        );
        for real in 0..10 {
            config += &format!(
                "[[vip.real]]\naddress = \"10.0.0.{}\"\nmac = \"02:00:00:00:01:{real:02x}\"\n",
                100 + real
            );
        }
    }
    let started = std::time::Instant::now();
    let mut daemon = lab.daemon(&config)?;
    println!("100 VIPs of 10 reals: ready after {:?}", started.elapsed());
    for vip in [100, 150, 199] {
        let destination = format!("192.0.2.{vip}:80");
        let words = ["-o", "json", "trace", "--src", "198.51.100.2:1", "--dst", &destination];
        assert_eq!(daemon.lbctl(&words)?.success()?.json()?["verdict"], "forward");
    }
    let memory = fs::read_to_string(format!("/proc/{}/status", daemon.process().id()))?;
    let anonymous = memory.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes: u64 = anonymous
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .context("RssAnon")?;
    println!("100 VIPs of 10 reals: {kilobytes} kB of memory beside the maps");
    assert!(kilobytes < 50_000, "{kilobytes} kB beside the maps");
    drop((nginx, echoes));
    Ok(())
}

#[test]
fn drift_in_the_tables_is_repaired() -> Result<()> {
    let rack = Rack::new(2)?;
    let map = rack.lab.pin_dir().join(format!(
        "layout-{}/REALS-{}",
        lb_common::LAYOUT,
        lb_common::limits::REALS
    ));
    rack.lab.in_balancer(|| {
        let map = aya::maps::Map::Array(aya::maps::MapData::from_pin(&map)?);
        let mut reals: aya::maps::Array<_, u64> = map.try_into()?;
        (0..8).try_for_each(|place| Ok(reals.set(place, 0, 0)?))
    })?;
    assert!(rack.lab.client().curl("http://192.0.2.10/", &["--max-time", "0.5"])?.code != 0);
    let served = || {
        let page = rack.lab.client().curl("http://192.0.2.10/", &["--max-time", "0.5"])?;
        Ok((page.code == 0).then_some(()))
    };
    wait::until("the repair", Duration::from_secs(20), served)?;
    let mut answers = BTreeMap::new();
    answers.extend(rack.answers(20)?);
    assert_eq!(answers.len(), 2);
    Ok(())
}
