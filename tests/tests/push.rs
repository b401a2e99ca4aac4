//! Real servers set up by SSH: in the lab by Debian's `sshd`, each on a machine of its own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tests::{
    Lab, LabOptions, Nginx, Output, Rack, Real, SshKeys, Sshd, address, bin, process::put_program,
    wait,
};

/// A rack whose reals nobody has set up yet: they have nothing but `sshd`, and a server program.
struct Site {
    rack: Rack,
    sshd: Vec<Sshd>,
    options: Vec<String>,
}

const CHECK: &str =
    r#"check = { type = "tcp", interval = "100ms", timeout = "100ms", rise = 1, fall = 1 }"#;

impl Site {
    /// The servers of the first reals listen everywhere, that of the last one at its own address only
    /// if it is `broken`.
    fn new(reals: u8, broken: bool) -> Result<Self> {
        let lab = Lab::new(LabOptions::reals(reals))?;
        let keys = SshKeys::new(lab.dir())?;
        let sshd = lab.reals().iter().map(|real| real.sshd(&keys)).collect::<Result<_>>()?;
        let listen = |real: &Real| {
            let last = real.address() == address::real(reals);
            real.nginx(&[if broken && last { real.address() } else { ANY }])
        };
        let nginx: Vec<Nginx> = lab.reals().iter().map(listen).collect::<Result<_>>()?;
        let daemon = lab.daemon(&lab.config(&config(reals)))?;
        let rack = Rack { daemon, nginx, echoes: Vec::new(), lab };
        rack.usable(0)?;
        Ok(Self { rack, sshd, options: keys.options() })
    }

    /// `lbctl backend` with these words, and the keys.
    fn backend(&self, words: &str) -> Result<Output> {
        let mut all = vec!["backend"];
        all.extend(words.split(' '));
        all.extend(self.options.iter().map(String::as_str));
        self.rack.daemon.lbctl(&all)
    }

    /// What there is to see of all machines.
    fn snapshots(&self) -> Result<Vec<String>> {
        self.sshd.iter().map(snapshot).collect()
    }
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn config(reals: u8) -> String {
    let real = |number| format!("\n[[vip.real]]\naddress = \"{}\"\n", address::real(number));
    let vip = format!("[[vip]]\nname = \"web\"\naddress = \"{}\"\n", Rack::vip());
    vip + "ports = [\"tcp/80\"]\n" + CHECK + "\n" + &(1..=reals).map(real).collect::<String>()
}

/// Addresses, routes, kernel parameters and files of a machine.
fn snapshot(sshd: &Sshd) -> Result<String> {
    const LOOK: &str = "ip -o addr show; ip route show table all; ip -6 route show table all
        grep -H . /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/arp_*
        find /etc /var/lib /root /usr/local/sbin | sort";
    let output = Output::of(sshd.netns().command("sh").args(["-c", LOOK]))?.success()?;
    Ok(output.stdout)
}

/// HOST, RESULT and DETAIL of each line of the table.
fn table(output: &Output) -> Vec<[String; 3]> {
    let lines = output.stdout.lines().skip(1).take_while(|line| !line.is_empty());
    let cells = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (host, result) = (word(), word());
        [host, result, words.collect::<Vec<_>>().join(" ")]
    };
    lines.map(cells).collect()
}

fn results(output: &Output) -> Vec<[String; 2]> {
    table(output).into_iter().map(|[host, result, _]| [host, result]).collect()
}

#[test]
fn one_command_sets_all_reals_up_but_the_broken_one_which_is_what_it_was_before() -> Result<()> {
    let mut site = Site::new(3, true)?;
    let before = site.snapshots()?;
    let push = "push web --all-reals --user root";

    let output = site.backend(push)?;
    assert_eq!(output.code, 1, "{output:?}");
    let expected = [["10.0.0.11", "done"], ["10.0.0.12", "done"], ["10.0.0.13", "failed"]];
    assert_eq!(results(&output), expected, "{output:?}");
    assert!(output.stdout.ends_with("\n2 of 3 done\n"), "{}", output.stdout);
    let [_, _, why] = &table(&output)[2];
    assert!(why.starts_with("service: nothing listens on tcp port 80 of 192.0.2.10"), "{why}");
    for line in ["10.0.0.11| ok ", "10.0.0.13| wrong ", "10.0.0.13| what this run did is undone"] {
        assert!(output.stderr.contains(line), "{line}: {}", output.stderr);
    }
    assert_eq!(snapshot(&site.sshd[2])?, before[2]);
    site.rack.usable(2)?;
    assert_eq!(site.rack.answers(20)?.len(), 2);

    site.rack.nginx.pop();
    site.rack.nginx.push(site.rack.lab.real(3).nginx(&[ANY])?);
    let output = site.backend(push)?.success()?;
    let changed = |output: &Output| {
        let rows = table(output);
        rows.iter().map(|[.., detail]| !detail.contains("nothing to change")).collect::<Vec<_>>()
    };
    assert_eq!(changed(&output), [false, false, true], "{output:?}");
    site.rack.usable(3)?;
    assert_eq!(site.rack.answers(30)?.len(), 3);

    let set_up = site.snapshots()?;
    let output = site.backend(push)?.success()?;
    assert_eq!(changed(&output), [false; 3], "{output:?}");
    assert_eq!(site.snapshots()?, set_up);

    site.backend(&format!("{push} --undo"))?.success()?;
    assert_eq!(site.snapshots()?, before);
    Ok(())
}

#[test]
fn what_is_pushed_can_survive_a_reboot_and_be_undone() -> Result<()> {
    let site = Site::new(2, false)?;
    let before = site.snapshots()?;
    for (way, files) in [
        ("ifupdown", ["/etc/network/interfaces.d/lb-backend", "/etc/sysctl.d/zz-lb-backend.conf"]),
        ("systemd", ["/etc/systemd/system/lb-backend.service", "/usr/local/sbin/lb-backend"]),
    ] {
        site.backend(&format!("push web --all-reals --user root --persist={way}"))?.success()?;
        for machine in site.snapshots()? {
            for file in files {
                assert!(machine.contains(&format!("\n{file}\n")), "{way}: {file}: {machine}");
            }
        }
        site.backend("push web --all-reals --user root --undo")?.success()?;
        assert_eq!(site.snapshots()?, before, "{way}");
    }
    Ok(())
}

#[test]
fn a_dry_run_says_what_would_be_changed_and_changes_nothing() -> Result<()> {
    let site = Site::new(1, false)?;
    let before = site.snapshots()?;
    let output = site.backend("push web --all-reals --user root --dry-run")?.success()?;
    assert!(output.stdout.contains("changes, none of them made"), "{output:?}");
    let planned =
        "10.0.0.11| would run `sh lb-backend.sh apply --check --dry-run` for 192.0.2.10\n";
    assert!(output.stderr.starts_with(planned), "{output:?}");
    assert_eq!(site.snapshots()?, before);
    Ok(())
}

#[test]
fn a_host_that_is_not_there_is_told_from_one_that_is_reached_by_ipv6() -> Result<()> {
    let site = Site::new(1, false)?;
    let push = "push web --ssh root@10.0.0.99 --ssh root@[2001:db8:a::11]:22 \
                --ssh root@10.0.0.11:23 -o json";
    let output = site.backend(push)?;
    assert_eq!(output.code, 1, "{output:?}");
    let answer = output.json()?;
    let hosts = answer["hosts"].as_array().context("hosts")?;
    let found: Vec<_> = hosts.iter().map(|host| (&host["host"], &host["result"])).collect();
    let expected = [
        ("root@10.0.0.99", "unreachable"),
        ("root@[2001:db8:a::11]:22", "done"),
        ("root@10.0.0.11:23", "unreachable"),
    ];
    assert_eq!(found.len(), expected.len());
    for ((host, result), expected) in found.iter().zip(expected) {
        assert_eq!((host.as_str(), result.as_str()), (Some(expected.0), Some(expected.1)));
    }
    let said = |number: usize| hosts[number]["detail"].as_str().unwrap_or_default();
    assert!(said(0).starts_with("ssh: connect to host 10.0.0.99 port 22: "), "{}", said(0));
    assert!(said(2).contains("Connection refused"), "{}", said(2));
    assert_eq!(answer["failed"], 2);
    Ok(())
}

#[test]
fn what_cannot_be_meant_is_refused_before_anybody_is_asked() -> Result<()> {
    let site = Site::new(1, false)?;
    for (words, code, message) in [
        ("push web", 2, "say where: --ssh HOST, or --all-reals"),
        ("push web --ssh real1 --ssh root@real1:22", 2, "is the same server as --ssh real1"),
        ("push --vip 192.0.2.10 --port tcp/80 --all-reals", 2, "only the daemon knows the reals"),
        ("push nobody --all-reals", 1, "no VIP \"nobody\""),
        ("check web --pasted /nonexistent", 2, "--pasted \"/nonexistent\": cannot be read"),
        ("check web --pasted /etc/passwd", 2, "there is no output of the script in it"),
    ] {
        let output = site.backend(words)?;
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{words}: {output:?}");
        assert!(output.stderr.contains(message), "{words}: {}", output.stderr);
    }
    site.rack.lbctl(&[
        "vip",
        "add",
        "dns",
        "--address",
        "192.0.2.53",
        "--port",
        "udp/53",
        "--real",
        "10.0.0.11",
    ])?;
    let output = site.backend("push web --all-reals")?;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("is also a real of vip \"dns\""), "{}", output.stderr);
    Ok(())
}

/// The rows of a check, by real, side and level.
fn rows(output: &Output) -> Result<Vec<Value>> {
    Ok(output.json()?["rows"].as_array().context("rows")?.clone())
}

fn of<'a>(rows: &'a [Value], real: &str, side: &str) -> Vec<&'a str> {
    let is = |row: &&Value| row["real"] == real && row["seen_from"] == side;
    rows.iter().filter(is).filter_map(|row| row["level"].as_str()).collect()
}

#[test]
fn a_check_shows_both_sides_by_ssh_and_from_a_terminal() -> Result<()> {
    let site = Site::new(2, false)?;
    let output = site.backend("check web --all-reals --user root -o json")?;
    assert_eq!(output.code, 1, "{output:?}");
    let found = rows(&output)?;
    for real in ["10.0.0.11", "10.0.0.12"] {
        assert_eq!(of(&found, real, "balancer"), ["wrong"], "{found:?}");
        assert!(of(&found, real, "real").contains(&"wrong"), "{found:?}");
    }

    site.backend("push web --all-reals --user root")?.success()?;
    site.rack.usable(2)?;
    let pasted = site.rack.lab.dir().join("terminal.txt");
    fs::write(&pasted, from_terminal(&site)?)?;
    let words = format!("check web --ssh root@10.0.0.11 --pasted {}", pasted.display());
    let output = site.backend(&format!("{words} -o json"))?.success()?;
    let found = rows(&output)?;
    for real in ["10.0.0.11", "10.0.0.12"] {
        assert_eq!(of(&found, real, "balancer"), ["ok"], "{found:?}");
        let levels = of(&found, real, "real");
        assert!(levels.contains(&"ok") && !levels.contains(&"wrong"), "{found:?}");
    }
    let output = site.backend(&words)?.success()?;
    let heading: Vec<_> = output.stdout.lines().next().context("a line")?.split("  ").collect();
    assert_eq!(heading[0], "VIP");
    assert!(output.stdout.contains("0 wrong, "), "{}", output.stdout);
    Ok(())
}

/// What the second real's check prints, as somebody copied it from a terminal.
fn from_terminal(site: &Site) -> Result<String> {
    let script = site.rack.lbctl(&["backend", "script", "web"])?.stdout;
    let file = site.rack.lab.dir().join("lb-backend.sh");
    fs::write(&file, script)?;
    let mut command = site.sshd[1].netns().command("sh");
    let output = Output::of(command.arg(file).arg("check"))?.success()?;
    let lines: Vec<_> = output.stdout.split_whitespace().collect();
    assert!(lines.len() > 10);
    let collapsed = output.stdout.replace("   ", " ").replace('\n', "\r\n");
    Ok(format!("root@real2:~# sh lb-backend.sh check\r\n{collapsed}root@real2:~# "))
}

/// Stands for `ssh`: says that it is there, and waits for something that never comes.
const WAITS: &str = "#!/bin/sh\necho $$ >\"${0%/*}/at.$$\"\nexec sleep 3600\n";

#[test]
fn an_interrupt_ends_all_that_run_and_tells_which_had_begun() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ssh = dir.path().join("ssh");
    put_program(&ssh, WAITS)?;
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH")?);
    let words = "backend push --vip 192.0.2.10 --port tcp/80 --jobs 2 --ssh a --ssh b --ssh c";
    let mut command = Command::new(bin::path("lbctl")?);
    command.args(words.split(' ')).env("PATH", path).stdout(Stdio::piped());
    let child = command.spawn()?;
    let waiting = wait::until("two of them", wait::PATIENCE, || {
        let waiting = waiting(dir.path())?;
        Ok((waiting.len() == 2).then_some(waiting))
    })?;
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout)?;
    let output = Output { code: 1, stdout, stderr: String::new() };
    let expected = [["a", "interrupted"], ["b", "interrupted"], ["c", "not_begun"]];
    assert_eq!(results(&output), expected);
    for id in waiting {
        let gone = || Ok((!Path::new("/proc").join(&id).join("exe").exists()).then_some(()));
        wait::until("its end", wait::PATIENCE, gone)?;
    }
    Ok(())
}

/// The ids of those that wait.
fn waiting(dir: &Path) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some() {
            ids.push(fs::read_to_string(path)?.trim().to_owned());
        }
    }
    Ok(ids.into_iter().filter(|id| !id.is_empty()).collect())
}
