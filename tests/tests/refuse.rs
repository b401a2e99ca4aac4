//! What cannot be is refused with a clear line, and nothing has changed then.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};
use tests::{Lab, LabOptions, Output, Rack, daemon::lbd, wait, xdp};

/// Starts a daemon that must not start, and returns what it says.
fn refused(lab: &Lab, config: &str) -> Result<String> {
    let file = lab.dir().join("refused.toml");
    fs::write(&file, config)?;
    let output = lbd(lab, &["--config", file.to_str().context("a path")?])?;
    assert_ne!(output.code, 0, "{}", output.stderr);
    Ok(output.stderr)
}

fn untouched(lab: &Lab) -> Result<()> {
    let dir = lab.pin_dir();
    let pinned = lab.in_balancer(|| Ok(dir.exists()))?;
    assert!(!pinned, "something was pinned");
    assert!(!lab.balancer().ip("-d link show dev eth0")?.contains("name lb "), "attached");
    assert!(!lab.balancer().ip("address show dev eth0")?.contains("192.0.2."), "assigned");
    Ok(())
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

#[test]
fn an_interface_that_does_not_exist_is_named() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let config = lab.config(&Rack::vips(1)).replace("eth0", "eth7");
    says(&refused(&lab, &config)?, &["interface \"eth7\" does not exist", "`ip link`"]);
    untouched(&lab)
}

#[test]
fn another_program_on_the_interface_is_named() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let _other = xdp::attach(lab.balancer(), "eth0", xdp::Verdict::Pass)?;
    let text = refused(&lab, &lab.config(&Rack::vips(1)))?;
    says(&text, &["interface \"eth0\" is busy: XDP program", "(id ", "xdp off"]);
    untouched(&lab)
}

#[test]
fn a_pin_directory_that_is_not_on_bpffs_is_refused() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let elsewhere = lab.dir().join("elsewhere");
    let config = lab
        .config(&Rack::vips(1))
        .replace(lab.pin_dir().to_str().context("a path")?, elsewhere.to_str().context("a path")?);
    says(&refused(&lab, &config)?, &["not on a BPF file system", "mount -t bpf bpf /sys/fs/bpf"]);
    assert!(!elsewhere.exists());
    untouched(&lab)
}

#[test]
fn a_second_daemon_is_refused_and_the_first_one_goes_on() -> Result<()> {
    let rack = Rack::new(1)?;
    let text = refused(&rack.lab, &rack.lab.config(&Rack::vips(1)))?;
    says(&text, &["another lbd is running"]);
    assert_eq!(rack.answers(5)?.len(), 1);
    Ok(())
}

#[test]
fn without_privileges_the_daemon_says_what_it_needs() -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let lab = Lab::new(LabOptions::reals(1))?;
    let file = lab.dir().join("lb.toml");
    fs::write(&file, lab.config(&Rack::vips(1)))?;
    fs::create_dir(lab.dir().join("state"))?;
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(lab.dir().join("state"), fs::Permissions::from_mode(0o777))?;
    // The program may stand where only root can read.
    let program = lab.dir().join("lbd");
    fs::copy(tests::bin::path("lbd")?, &program)?;
    let mut command = lab.balancer().command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
    command.arg(&program).arg("--config").arg(&file).process_group(0);
    let output = Output::of(&mut command)?;
    assert_ne!(output.code, 0);
    says(&output.stderr, &["root"]);
    untouched(&lab)
}

#[test]
fn a_socket_path_that_is_a_file_is_left_alone() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    fs::write(lab.socket(), "precious")?;
    says(&refused(&lab, &lab.config(&Rack::vips(1)))?, &["is not a socket"]);
    assert_eq!(fs::read_to_string(lab.socket())?, "precious");
    untouched(&lab)
}

#[test]
fn a_wrong_file_is_refused_with_every_place_and_reason() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let config = lab.config(&Rack::vips(1)) + "weight = 300\nport = 8080\n";
    let text = refused(&lab, &config)?;
    says(&text, &["refused.toml:14:10: ", "0 to 256", "refused.toml:15:1: ", "port"]);
    let file = lab.dir().join("refused.toml");
    let check = ["--check", "--config", file.to_str().context("a path")?];
    assert_eq!(lbd(&lab, &check)?.code, 2);
    fs::write(&file, lab.config(&Rack::vips(1)))?;
    assert_eq!(lbd(&lab, &check)?.code, 0);
    untouched(&lab)
}

#[test]
fn an_address_that_somebody_answers_for_is_not_taken() -> Result<()> {
    let rack = Rack::new(2)?;
    // A real server where the operator forgot arp_ignore.
    let careless = rack.lab.real(2);
    let vip = tests::address::vip(20);
    careless
        .netns()
        .sysctl(&[("ipv4/conf/all/arp_ignore", "0"), ("ipv4/conf/eth0/arp_ignore", "0")])?;
    careless.add_vip(vip)?;
    let before = fs::read_to_string(rack.daemon.config_file())?;
    let add = ["vip", "add", "other", "--address", "192.0.2.20", "--port", "tcp/80"];
    let output = rack.daemon.lbctl(&add)?;
    assert_eq!(output.code, 1);
    says(&output.stderr, &["192.0.2.20", "02:00:00:00:00:0c", "10.0.0.12", "arp_ignore"]);
    assert_eq!(output.stderr.lines().count(), 1);
    assert_eq!(fs::read_to_string(rack.daemon.config_file())?, before);
    assert!(!rack.lab.balancer().ip("address show dev eth0")?.contains("192.0.2.20"));

    careless.remove_vip(vip)?;
    rack.lab.balancer().ip("neigh flush all")?;
    rack.lbctl(&add)?;
    assert!(rack.lab.balancer().ip("address show dev eth0")?.contains("192.0.2.20/32"));
    Ok(())
}

#[test]
fn a_conflict_at_the_start_is_said_and_ends_when_it_is_mended() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers(1)?;
    let thief = lab.real(1);
    let sysctls = |value| {
        thief
            .netns()
            .sysctl(&[("ipv4/conf/all/arp_ignore", value), ("ipv4/conf/eth0/arp_ignore", value)])
    };
    sysctls("0")?;
    let daemon = lab.daemon(&lab.config(&Rack::vips(1)))?;
    let rack = Rack { daemon, nginx, echoes, lab };
    let status = rack.status()?;
    assert_eq!(status["vips"][0]["state"], "down");
    assert_eq!(status["vips"][0]["announced"], false);
    says(status["vips"][0]["reason"].as_str().unwrap_or_default(), &["02:00:00:00:00:0b"]);
    let thief = rack.lab.real(1);
    thief
        .netns()
        .sysctl(&[("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/eth0/arp_ignore", "1")])?;
    wait::until("the announcement", std::time::Duration::from_secs(20), || {
        Ok((rack.status()?["vips"][0]["announced"] == true).then_some(()))
    })?;
    assert_eq!(rack.status()?["vips"][0]["state"], "up");
    Ok(())
}

/// A tiny file system at a directory, in the mount namespace of the lab.
fn tiny_disk(lab: &Lab, dir: &Path) -> Result<()> {
    fs::create_dir(dir)?;
    lab.in_balancer(|| {
        let options = Some("size=16k");
        Ok(mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), options)?)
    })
}

#[test]
fn a_full_disk_changes_nothing_anywhere() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers(2)?;
    let disk = lab.dir().join("disk");
    tiny_disk(&lab, &disk)?;
    let file = disk.join("lb.toml");
    let config = lab.config(&Rack::vips(2));
    lab.in_balancer(|| Ok(fs::write(&file, &config)?))?;
    let daemon = lab.daemon_with(&file)?;
    // Fill it up to the last byte.
    lab.in_balancer(|| {
        let full = (0..100).any(|n| fs::write(disk.join(format!("fill{n}")), [0; 4096]).is_err());
        anyhow::ensure!(full, "the disk is not full");
        Ok(())
    })?;
    let status = |daemon: &tests::Daemon| daemon.lbctl(&["-o", "json", "vip", "list"])?.json();
    let before = status(&daemon)?;
    for words in [
        &["vip", "add", "x", "--address", "192.0.2.30", "--port", "tcp/80", "--announce", "none"][..],
        &["real", "disable", "web", "10.0.0.11"],
        &["vip", "del", "web"],
    ] {
        let output = daemon.lbctl(words)?;
        assert_eq!(output.code, 1, "{words:?}");
        says(&output.stderr, &["nothing was changed", "No space left"]);
        assert_eq!(output.stderr.lines().count(), 1);
    }
    let after = status(&daemon)?;
    assert_eq!(after[0]["reals"][0]["state"], before[0]["reals"][0]["state"]);
    assert_eq!(after.as_array().map(Vec::len), Some(1));
    assert_eq!(lab.in_balancer(|| Ok(fs::read_to_string(&file)?))?, config);
    let left = lab.in_balancer(|| Ok(fs::read_dir(&disk)?.count()))?;
    let fills = lab.in_balancer(|| {
        let names =
            fs::read_dir(&disk)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
        let names: Vec<String> = names.collect::<Result<_>>()?;
        Ok(names.iter().filter(|name| name.starts_with("fill")).count())
    })?;
    assert_eq!(left, fills + 1, "no temporary file is left");
    Ok(())
}

#[test]
fn a_bad_reload_is_refused_whole_and_a_good_one_taken() -> Result<()> {
    let mut rack = Rack::new(2)?;
    let file = rack.daemon.config_file();
    let good = fs::read_to_string(&file)?;
    fs::write(&file, good.clone() + "wieght = 3\n")?;
    rack.daemon.process().signal(Signal::SIGHUP)?;
    let log = |rack: &Rack, text: &str| -> Result<()> {
        wait::until(text, wait::PATIENCE, || Ok(rack.daemon.log()?.contains(text).then_some(())))
    };
    log(&rack, "the old configuration goes on")?;
    says(&rack.daemon.log()?, &["lb.toml:", "wieght", "weight"]);
    // A change through lbctl would lose the edit, or load a file that nobody has checked.
    let output = rack.daemon.lbctl(&["real", "disable", "web", "10.0.0.11"])?;
    assert_eq!(output.code, 1);
    says(&output.stderr, &["was edited", "reload"]);
    assert_eq!(rack.answers(20)?.len(), 2);

    fs::write(&file, good.replace("\"10.0.0.12\"", "\"10.0.0.12\"\nstate = \"disabled\""))?;
    rack.daemon.process().signal(Signal::SIGHUP)?;
    log(&rack, "lb.toml reloaded")?;
    assert_eq!(rack.answers(10)?.len(), 1);
    Ok(())
}
