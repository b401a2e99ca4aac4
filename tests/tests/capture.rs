//! `lbctl capture`: packets as the datapath saw and sent them, which no packet socket ever sees.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use lb_user::capture::Lines;
use serde_json::Value;
use tests::{Output, Process, Rack, address, bin, debian, wait};

/// Starts `lbctl` with these words; it ends with the process that is returned.
fn start(rack: &Rack, words: &[&str]) -> Result<Process> {
    let mut command = rack.lab.balancer().command(bin::path("lbctl")?);
    command.arg("--socket").arg(rack.lab.socket()).args(words);
    rack.lab.balancer().spawn(command)
}

/// The XDP program on the balancer's interface.
fn program(rack: &Rack) -> Result<String> {
    let link = rack.lab.balancer().ip("-j -d link show dev eth0")?;
    let link: Value = serde_json::from_str(&link)?;
    let name = &link[0]["xdp"]["prog"]["name"];
    Ok(name.as_str().context("an XDP program with a name")?.to_owned())
}

fn becomes(rack: &Rack, name: &str) -> Result<()> {
    wait::until(&format!("program {name}"), wait::PATIENCE, || {
        Ok((program(rack)? == name).then_some(()))
    })
}

/// What tshark says of a capture: these fields of each packet.
fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = debian::program("usr/bin/tshark")?;
    command.args(["-n", "-r"]).arg(file).args(["-Y", filter, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = Output::of(&mut command)?.success()?;
    let line = |line: &str| line.split('|').map(str::to_owned).collect();
    Ok(output.stdout.lines().map(line).collect())
}

#[test]
fn a_capture_shows_each_packet_as_it_came_and_as_it_left() -> Result<()> {
    let rack = Rack::dual(2)?;
    ensure!(program(&rack)? == "lb");
    let file = rack.daemon.config_file().with_file_name("web.pcapng");
    let name = file.to_str().context("a name")?;
    let began = SystemTime::now();
    let mut capture = start(&rack, &["capture", "--vip", "web", "-w", name, "-c", "12"])?;
    becomes(&rack, "capture")?;
    // Connections begin and end, of the other VIP, too, which is not to be seen.
    rack.answers_at(Rack::web6(), 2)?;
    let answers = rack.answers(8)?;
    capture.wait()?;
    let mode = fs::metadata(&file)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "what clients send is for nobody else's eyes");
    // Nothing is left of it, and it cost nobody anything.
    becomes(&rack, "lb")?;
    assert_eq!(rack.answers(4)?.values().sum::<usize>(), 4);

    let mac = |netns: &tests::Netns| -> Result<String> {
        let link: Value = serde_json::from_str(&netns.ip("-j link show dev eth0")?)?;
        Ok(link[0]["address"].as_str().context("a MAC address")?.to_owned())
    };
    let balancer = mac(rack.lab.balancer())?;
    let fields = [
        "frame.comment",
        "eth.src",
        "eth.dst",
        "ip.dst",
        "tcp.stream",
        "frame.interface_name",
        "frame.time_epoch",
    ];
    let packets = tshark(&file, "frame", &fields)?;
    assert_eq!(packets.len(), 24, "{packets:?}");
    for pair in packets.chunks(2) {
        let [came, left] = pair else { panic!("an odd packet: {pair:?}") };
        assert_eq!((&*came[2], &*came[3], &*came[5]), (&*balancer, "192.0.2.10", "eth0"));
        let real =
            (1..=2).find(|real| came[0].contains(&format!("real {},", address::real(*real))));
        let real = real.with_context(|| format!("no real in {:?}", came[0]))?;
        assert!(came[0].starts_with("forwarded: vip web, real "), "{:?}", came[0]);
        assert!(came[0].contains(", by current, slot "), "{:?}", came[0]);
        assert_eq!((&*left[0], &*left[1]), ("sent on", &*balancer));
        assert_eq!(left[2], mac(rack.lab.real(real.into()).netns())?, "{came:?}");
        assert_eq!(came[4], left[4], "the same connection");
        let time = Duration::try_from_secs_f64(came[6].parse()?)?;
        let since = (SystemTime::UNIX_EPOCH + time).duration_since(began);
        let since = since.context("a time before the capture")?;
        assert!(since < wait::PATIENCE, "{since:?} after the capture began");
    }
    assert_eq!(answers.values().sum::<usize>(), 8);
    // As a person sees it.
    let shown = thread::scope(|scope| -> Result<_> {
        let shown =
            scope.spawn(|| rack.lbctl(&["capture", "--vip", "web6", "-c", "1", "--for", "30s"]));
        becomes(&rack, "capture")?;
        rack.answers_at(Rack::web6(), 1)?;
        Ok(shown.join().expect("lbctl was run")?.stdout)
    })?;
    let lines: Vec<_> = shown.lines().collect();
    let vip = SocketAddr::new(Rack::vip6(), 80);
    assert!(lines.len() == 2 && lines[0].contains(&format!("> {vip} tcp S, ")), "{shown}");
    assert!(lines[0].contains("eth0 in ") && lines[1].contains("eth0 out"), "{shown}");
    Ok(())
}

#[test]
fn what_is_dropped_or_passed_is_captured_with_its_reason() -> Result<()> {
    let rack = &Rack::dual(1)?;
    let file = rack.daemon.config_file().with_file_name("drops.pcapng");
    let name = file.to_str().context("a name")?;
    let words = ["capture", "--vip", "web", "--outcome", "no_real", "-c", "1", "-w", name];
    let mut capture = start(rack, &words)?;
    becomes(rack, "capture")?;
    rack.answers(2)?;
    rack.lbctl(&["real", "disable", "web", "10.0.0.11"])?;
    let client = rack.lab.client();
    client.curl("http://192.0.2.10/", &["--max-time", "1"])?;
    capture.wait()?;
    let packets = tshark(&file, "frame", &["frame.comment", "tcp.dstport", "tcp.flags.syn"])?;
    let [packet] = &packets[..] else { panic!("one packet: {packets:?}") };
    assert!(packet[0].starts_with("no_real: ") && packet[1..] == ["80", "1"], "{packet:?}");

    // A ping is answered here: as it came, and the answer.
    let shown = thread::scope(|scope| -> Result<_> {
        let words = ["capture", "--outcome", "echo_answered", "-c", "1", "--for", "30s"];
        let shown = scope.spawn(move || rack.lbctl(&words));
        becomes(rack, "capture")?;
        Output::of(client.netns().command("ping").args(["-c", "1", "192.0.2.10"]))?.success()?;
        Ok(shown.join().expect("lbctl was run")?.stdout)
    })?;
    assert!(shown.contains("198.51.100.2 > 192.0.2.10 icmp type 8 code 0"), "{shown}");
    assert!(shown.contains("192.0.2.10 > 198.51.100.2 icmp type 0 code 0"), "{shown}");

    // Datagrams.
    rack.lbctl(&["real", "enable", "web", "10.0.0.11"])?;
    for (name, vip) in [("web", "192.0.2.10".parse()?), ("web6", Rack::vip6())] {
        let shown = thread::scope(|scope| -> Result<_> {
            let words =
                ["capture", "--vip", name, "--outcome", "forwarded", "-c", "1", "--for", "30s"];
            let shown = scope.spawn(move || rack.lbctl(&words));
            becomes(rack, "capture")?;
            let send = format!("echo > /dev/udp/{vip}/53");
            Output::of(client.netns().command("bash").args(["-c", &send]))?.success()?;
            Ok(shown.join().expect("lbctl was run")?.stdout)
        })?;
        let vip = SocketAddr::new(vip, 53);
        let datagrams = shown.matches(&format!("> {vip} udp, ")).count();
        assert_eq!(datagrams, 2, "as it came and as it left: {shown}");
    }

    // One of so many is not among a few.
    let shown = thread::scope(|scope| -> Result<_> {
        let words = ["capture", "--sample", "4000000000", "--for", "1s"];
        let shown = scope.spawn(move || rack.lbctl(&words));
        becomes(rack, "capture")?;
        rack.answers_at(Rack::web6(), 1)?;
        Ok(shown.join().expect("lbctl was run")?.stdout)
    })?;
    assert_eq!(shown, "");
    Ok(())
}

#[test]
fn a_capture_ends_with_whoever_asked_for_it_and_there_is_one_at_a_time() -> Result<()> {
    let mut rack = Rack::new(2)?;
    let mut capture = start(&rack, &["capture", "-w", "/dev/null"])?;
    becomes(&rack, "capture")?;
    let second = rack.daemon.lbctl(&["capture", "-c", "1"])?;
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("somebody captures already"), "{second:?}");
    let log = rack.daemon.log()?;
    for noted in ["capture: all packets", "capture: refused: somebody captures already"] {
        assert!(log.contains(noted), "whoever sees what clients send is noted: {noted}\n{log}");
    }
    // A change of the pool is followed while somebody looks on.
    rack.lbctl(&["real", "del", "web", "10.0.0.12", "--now"])?;
    assert_eq!(rack.answers(10)?.len(), 1);
    capture.signal(nix::sys::signal::Signal::SIGKILL)?;
    capture.wait().ok();
    becomes(&rack, "lb")?;

    // A daemon that is killed leaves its program, which forwards; the next one puts its own there.
    let mut capture = start(&rack, &["capture", "-w", "/dev/null"])?;
    becomes(&rack, "capture")?;
    rack.daemon.kill9()?;
    assert_eq!(rack.answers(10)?.len(), 1);
    rack.daemon.restart()?;
    becomes(&rack, "lb")?;
    assert_eq!(rack.answers(10)?.len(), 1);
    assert_eq!(capture.wait()?.code(), Some(3), "it cannot go on");

    // One that ends takes it back by itself.
    let mut capture = start(&rack, &["capture", "-w", "/dev/null"])?;
    becomes(&rack, "capture")?;
    rack.daemon.terminate()?;
    becomes(&rack, "lb")?;
    assert_eq!(capture.wait()?.code(), Some(3), "it was not the capture's end");
    Ok(())
}

#[test]
fn a_detach_during_a_capture_leaves_nothing_attached() -> Result<()> {
    let mut rack = Rack::new(1)?;
    let mut capture = start(&rack, &["capture", "-w", "/dev/null"])?;
    becomes(&rack, "capture")?;
    rack.lbctl(&["detach"])?;
    rack.daemon.process().wait()?;
    assert_eq!(capture.wait()?.code(), Some(3));
    let link = rack.lab.balancer().ip("-j -d link show dev eth0")?;
    let link: Value = serde_json::from_str(&link)?;
    assert_eq!(link[0]["xdp"], Value::Null, "{link}");
    Ok(())
}

#[test]
fn a_capture_on_standard_output_has_each_packet_at_once_and_tells_when_it_breaks_off() -> Result<()>
{
    let mut rack = Rack::new(1)?;
    let path = rack.daemon.config_file().with_file_name("piped.pcapng");
    let mut command = rack.lab.balancer().command(bin::path("lbctl")?);
    command.arg("--socket").arg(rack.lab.socket()).args(["capture", "--vip", "web", "-w", "-"]);
    let errors = path.with_extension("stderr");
    command.stdout(File::create(&path)?).stderr(File::create(&errors)?);
    let mut capture = rack.lab.balancer().spawn(command)?;
    becomes(&rack, "capture")?;
    rack.answers(1)?;
    // The last segment that the client sends is there although nothing follows.
    wait::until("the end of a connection", wait::PATIENCE, || {
        let file = fs::read(&path)?;
        let Ok(lines) = Lines::new(&*file) else { return Ok(None) };
        let frames: Vec<_> = lines.map_while(Result::ok).collect();
        let fins = frames.iter().filter(|line| line.frame.contains("tcp F."));
        Ok((fins.count() == 2).then_some(()))
    })?;
    rack.daemon.kill9()?;
    assert_eq!(capture.wait()?.code(), Some(3));
    let said = fs::read_to_string(&errors)?;
    assert!(said.contains("is gone, it has stopped or was killed"), "{said}");
    Ok(())
}

#[test]
fn a_capture_that_cannot_be_written_or_asked_for_says_so() -> Result<()> {
    let rack = Rack::new(1)?;
    let full = rack.daemon.lbctl(&["capture", "-w", "/dev/full"])?;
    assert_eq!(full.code, 1, "{full:?}");
    assert!(full.stderr.contains("/dev/full: No space left on device"), "{full:?}");
    becomes(&rack, "lb")?;
    for (words, code, said) in [
        (&["--vip", "nobody"][..], 1, "no VIP \"nobody\"; there are: web"),
        (&["--vip", "web", "--real", "10.0.0.99"], 1, "has no real 10.0.0.99"),
        (&["--real", "10.0.0.99"], 1, "no VIP has a real 10.0.0.99"),
        (&["--outcome", "lost"], 2, "no outcome \"lost\"; there are: forwarded, "),
        (&["--outcome", "no_real", "--real", "10.0.0.11"], 2, "not sent to a real"),
        (&["-c", "0"], 2, "'0'"),
        (&["--for", "soon"], 2, "soon"),
        (&["-w", "/nowhere/x.pcapng"], 1, "/nowhere/x.pcapng: No such file"),
    ] {
        let words = [&["capture"], words].concat();
        let output = rack.daemon.lbctl(&words)?;
        assert_eq!(output.code, code, "{words:?}: {output:?}");
        assert!(output.stderr.contains(said), "{words:?}: {output:?}");
    }
    // What was begun for a file that cannot be made has ended.
    becomes(&rack, "lb")?;
    // A time that passes without a packet is no error.
    let quiet = rack.daemon.lbctl(&["capture", "--real", "10.0.0.11", "--for", "1s"])?.success()?;
    assert_eq!(quiet.stdout, "");
    // A sorry server is no real of the pool, and gets packets of the VIP.
    rack.lbctl(&["vip", "set", "web", "--sorry", "10.0.0.12"])?;
    let words = ["capture", "--vip", "web", "--real", "10.0.0.12", "--for", "1s"];
    rack.daemon.lbctl(&words)?.success()?;
    Ok(())
}
