//! Real servers that nobody has set up: the script does, and undoes it.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use tests::{Bare, Lab, LabOptions, Nginx, Output, Rack, Shell, address, bin, debian, wait};

/// What `lbctl` prints for these VIPs, without any daemon.
fn script(words: &str) -> Result<String> {
    let mut command = Command::new(bin::path("lbctl")?);
    command.args(["backend", "script"]).args(words.split_whitespace());
    Ok(Output::of(&mut command)?.success()?.stdout)
}

const VIPS: &str = "--vip 192.0.2.10 --vip 2001:db8:2::10 --port tcp/80";
const OTHER_VIPS: &str = "--vip 192.0.2.20 --vip 2001:db8:2::10 --port tcp/80";

/// A lab of one real, and the script for it.
struct Bench {
    lab: Lab,
    bare: Bare,
    script: PathBuf,
}

impl Bench {
    fn new() -> Result<Self> {
        Self::with(VIPS)
    }

    fn with(words: &str) -> Result<Self> {
        let lab = Lab::new(LabOptions::reals(1))?;
        let bare = Bare::new(lab.real(1))?;
        let script = bare.put("lb-backend.sh", &script(words)?)?;
        Ok(Self { lab, bare, script })
    }

    fn run(&self, words: &str) -> Result<Output> {
        self.bare.run(Shell::Dash, &self.script, words)
    }

    fn nginx(&self) -> Result<Nginx> {
        self.lab.real(1).nginx(&[Rack::vip(), Rack::vip6()])
    }

    /// It is refused with this exit code and one line about it, and nothing is changed.
    #[track_caller]
    fn refuses(&self, command: &mut Command, code: i32, words: &str) -> Result<()> {
        let before = self.bare.snapshot()?;
        let output = Output::of(command)?;
        assert_eq!(output.code, code, "{words}: {output:?}");
        assert!(output.stderr.contains(words), "{words}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
        assert!(output.stderr.starts_with("lb-backend: "), "{output:?}");
        self.bare.becomes(&before)
    }

    fn apply(&self, words: &str) -> Command {
        self.bare.command(Shell::Dash, &self.script, &format!("apply {words}"))
    }
}

const WEB: &str = r#"
[[vip]]
name = "web"
address = "192.0.2.10"
ports = ["tcp/80"]
[[vip.real]]
address = "10.0.0.11"
[[vip.real]]
address = "10.0.0.12"

[[vip]]
name = "web6"
address = "2001:db8:2::10"
ports = ["tcp/80"]
[[vip.real]]
address = "2001:db8:a::11"
[[vip.real]]
address = "2001:db8:a::12"
"#;

#[test]
fn bare_machines_are_set_up_serve_clients_please_the_doctor_and_become_what_they_were() -> Result<()>
{
    let lab = Lab::new(LabOptions::reals(2))?;
    let daemon = lab.daemon(&lab.config(WEB))?;
    let rack = Rack { daemon, nginx: Vec::new(), echoes: Vec::new(), lab };
    let text = rack.lbctl(&["backend", "script", "web", "web6"])?.stdout;
    assert!(text.contains("\nLB_BALANCERS='10.0.0.2 2001:db8:a::2 fe80::"), "{text}");
    let set_up = |number, shell| -> Result<_> {
        let real = rack.lab.real(number);
        let bare = Bare::new(real)?;
        let (before, script) = (bare.snapshot()?, bare.put("lb-backend.sh", &text)?);
        bare.run(shell, &script, "apply")?.success()?;
        let nginx = real.nginx(&[Rack::vip(), Rack::vip6(), real.address(), real.address6()])?;
        let checked = bare.run(shell, &script, "check")?.success()?.stdout;
        let last = checked.lines().last().map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(
            last.as_deref().map(|words| &words[..5]),
            Some(&["result", "warning", "0", "wrong,", "1"][..]),
            "{checked}"
        );
        Ok((bare, before, script, shell, nginx))
    };
    let machines = [set_up(1, Shell::Dash)?, set_up(2, Shell::Ash)?];
    rack.usable_of("web", 2)?;
    rack.usable_of("web6", 2)?;
    assert_eq!(rack.answers_at(Rack::web(), 40)?.len(), 2);
    assert_eq!(rack.answers_at(Rack::web6(), 40)?.len(), 2);
    let page = rack.lab.client().curl("http://[2001:db8:2::10]/", &[])?.success()?.stdout;
    assert!(page.starts_with("real"), "{page}");
    let doctor = rack.daemon.lbctl(&["doctor"])?;
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);
    for (bare, before, script, shell, nginx) in machines {
        drop(nginx);
        bare.run(shell, &script, "undo")?.success()?;
        bare.becomes(&before)?;
    }
    Ok(())
}

#[test]
fn a_second_apply_changes_nothing_and_a_dry_run_nothing_at_all() -> Result<()> {
    let bench = Bench::new()?;
    let before = bench.bare.snapshot()?;
    let said = bench.run("apply --dry-run --persist")?.success()?.stdout;
    assert!(said.contains("would add 192.0.2.10/32 to lo\n"), "{said}");
    bench.bare.becomes(&before)?;
    bench.run("apply")?.success()?;
    let after = bench.bare.snapshot()?;
    assert_ne!(after, before);
    assert_eq!(bench.run("apply")?.success()?.stdout, "apply: nothing to change\n");
    assert_eq!(bench.run("apply --dry-run")?.success()?.stdout, "apply: nothing to change\n");
    bench.bare.becomes(&after)?;
    bench.run("undo --dry-run")?.success()?;
    bench.bare.becomes(&after)?;
    bench.run("undo")?.success()?;
    bench.bare.becomes(&before)?;
    let said = bench.run("undo")?.success()?.stdout;
    assert!(said.starts_with("undo: nothing is recorded"), "{said}");
    Ok(())
}

#[test]
fn interfaces_that_were_named_once_are_meant_from_then_on() -> Result<()> {
    let bench = Bench::new()?;
    let before = bench.bare.snapshot()?;
    bench
        .bare
        .netns()
        .ip_batch("link add eth7 type veth peer name eth8\nlink set eth7 up\naddress add 10.7.0.1/24 dev eth7")?;
    let arp_ignore = || bench.bare.sh("cat /proc/sys/net/ipv4/conf/eth7/arp_ignore");
    bench.run("apply --interface eth0")?.success()?;
    assert_eq!(bench.run("apply")?.success()?.stdout, "apply: nothing to change\n");
    assert_eq!(arp_ignore()?, "0\n");
    bench.run("apply --interface eth0 --interface eth7 --persist=ifupdown")?.success()?;
    let status = bench.run("status")?.success()?.stdout;
    for shown in ["for the interfaces that were named: eth0 eth7\n", " persist   by ifupdown\n"] {
        assert!(status.contains(shown), "{status}");
    }
    bench.run("apply")?.success()?;
    assert_eq!(arp_ignore()?, "1\n");
    bench.run("undo")?.success()?;
    bench.bare.netns().ip("link del eth7")?;
    bench.bare.becomes(&before)
}

/// What was there before is not as a new machine has it, and something of each kind is to be kept. BusyBox
/// cannot say `nodad`, so it is not what adds addresses with it.
fn lived_in(Bench { bare, .. }: &Bench, nodad: &str) -> Result<String> {
    bare.netns().sysctl(&[
        ("ipv4/conf/all/rp_filter", "2"),
        ("ipv4/conf/eth0/rp_filter", "1"),
        ("ipv4/conf/eth0/arp_ignore", "1"),
        ("ipv4/conf/all/arp_announce", "1"),
    ])?;
    bare.netns().ip("address add 192.0.2.99/32 dev lo")?;
    bare.netns().ip(&format!("address add 2001:db8:2::10/128 dev lo {nodad}"))?;
    wait::until("an address that is settled", wait::PATIENCE, || {
        let tentative = bare.netns().ip("address show dev lo")?.contains("tentative");
        let way = bare.netns().ip("-6 route get 2001:db8:2::10")?;
        Ok((!tentative && way.starts_with("local")).then_some(()))
    })?;
    bare.sh("mkdir -p /etc/sysctl.d && echo '# mine' >/etc/sysctl.d/zz-lb-backend.conf && chmod 640 /etc/sysctl.d/zz-lb-backend.conf")?;
    bare.snapshot()
}

/// Kills runs with these words at their first, second, … write, until one comes to its end; `each` is done
/// after each.
fn killed_at_each_write(
    bare: &Bare,
    (shell, script, words): (Shell, &Path, &str),
    mut each: impl FnMut(u32) -> Result<()>,
) -> Result<u32> {
    for after in 1..100 {
        let output = bare.run_killed(shell, script, words, after)?;
        ensure!([0, -9].contains(&output.code), "{after}: {output:?}");
        each(after)?;
        if output.code == 0 {
            return Ok(after);
        }
    }
    anyhow::bail!("a run never comes to its end")
}

#[test]
fn killed_at_any_write_it_is_repaired_by_a_second_apply() -> Result<()> {
    let bench = Bench::new()?;
    let before = lived_in(&bench, "")?;
    let ash = |words: &str| bench.bare.run(Shell::Ash, &bench.script, words);
    ash("apply --persist")?.success()?;
    let done = bench.bare.snapshot()?;
    ash("undo")?.success()?;
    bench.bare.becomes(&before)?;
    let run = (Shell::Ash, &*bench.script, "apply --persist");
    let writes = killed_at_each_write(&bench.bare, run, |_| {
        ash("apply --persist")?.success()?;
        let said = ash("apply")?.success()?.stdout;
        assert_eq!(said, "apply: nothing to change\n");
        let parts =
            |snapshot: &str| snapshot.lines().filter(|line| !line.contains("/lb-backend/")).count();
        assert_eq!(parts(&bench.bare.snapshot()?), parts(&done));
        ash("undo")?.success()?;
        bench.bare.becomes(&before)
    })?;
    assert!(writes > 12, "{writes}");
    Ok(())
}

#[test]
fn killed_at_any_write_it_is_undone_also_if_undo_is_killed_at_any() -> Result<()> {
    let bench = Bench::new()?;
    let before = lived_in(&bench, "nodad")?;
    let run = (Shell::Dash, &*bench.script, "apply --persist");
    killed_at_each_write(&bench.bare, run, |_| {
        bench.run("undo")?.success()?;
        bench.bare.becomes(&before)
    })?;
    bench.run("apply --persist")?.success()?;
    // Each undo does a part of the rest.
    let mut undone = 0;
    while bench.bare.run_killed(Shell::Dash, &bench.script, "undo", 2)?.code != 0 {
        undone += 1;
        ensure!(undone < 100, "undo never comes to its end");
    }
    assert!(undone > 3, "{undone}");
    bench.bare.becomes(&before)
}

#[test]
fn another_set_of_vips_takes_the_place_of_the_first_also_after_a_kill() -> Result<()> {
    let bench = Bench::new()?;
    let before = lived_in(&bench, "nodad")?;
    let other = bench.bare.put("other.sh", &script(OTHER_VIPS)?)?;
    let on_lo = || bench.bare.netns().ip("-o -4 address show dev lo");
    killed_at_each_write(&bench.bare, (Shell::Dash, &other, "apply"), |_| {
        bench.bare.run(Shell::Dash, &other, "apply")?.success()?;
        ensure!(on_lo()?.contains("192.0.2.20/32") && !on_lo()?.contains("192.0.2.10/32"));
        bench.run("apply")?.success()?;
        ensure!(on_lo()?.contains("192.0.2.10/32") && !on_lo()?.contains("192.0.2.20/32"));
        Ok(())
    })?;
    bench.run("undo")?.success()?;
    bench.bare.becomes(&before)
}

#[test]
fn a_failed_step_is_named_and_what_the_run_did_is_undone() -> Result<()> {
    let bench = Bench::new()?;
    let before = bench.bare.snapshot()?;
    bench.bare.sh("mount -o remount,ro /etc")?;
    let output = bench.run("apply --persist")?;
    assert_eq!(output.code, 1, "{output:?}");
    let place = "/etc/sysctl.d/zz-lb-backend.conf";
    let error = format!(
        "lb-backend: writing {place}: cannot be written: is /etc/sysctl.d full or read-only?\n"
    );
    assert_eq!(output.stderr, error);
    assert!(output.stdout.contains("add 192.0.2.10/32 to lo"), "{output:?}");
    assert!(output.stdout.ends_with("what this run did is undone\n"), "{output:?}");
    bench.bare.becomes(&before)?;

    // What a run before did stays.
    bench.run("apply")?.success()?;
    let after = bench.bare.snapshot()?;
    assert_eq!(bench.run("apply --persist")?.code, 1);
    bench.bare.becomes(&after)
}

#[test]
fn what_does_not_pass_the_check_is_taken_back() -> Result<()> {
    let bench = Bench::new()?;
    let before = bench.bare.snapshot()?;
    let output = bench.run("apply --check --persist")?;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stdout.contains("wrong     service   nothing listens on tcp port 80"),
        "{output:?}"
    );
    assert_eq!(output.stderr, "lb-backend: check found something wrong, see above\n");
    bench.bare.becomes(&before)?;

    bench.run("apply")?.success()?;
    let _nginx = bench.nginx()?;
    let output = bench.run("apply --check")?;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    Ok(())
}

#[test]
fn what_cannot_be_done_is_refused_in_one_line_and_nothing_is_changed() -> Result<()> {
    let bench = Bench::new()?;
    bench.refuses(
        &mut bench.apply("--interface eth9"),
        2,
        "interface eth9: is not there: name one of these: eth0",
    )?;
    bench.refuses(&mut bench.apply("--interface"), 2, "--interface: name one")?;
    bench.refuses(
        &mut bench.apply("--interface eth0;reboot"),
        2,
        "not the name of a network card",
    )?;
    bench.refuses(&mut bench.apply("--fast"), 2, "apply --fast: unknown: see")?;
    bench.refuses(&mut bench.apply("--persist=floppy"), 2, "--persist=floppy: unknown; one of:")?;
    let mut destroy = bench.bare.command(Shell::Ash, &bench.script, "destroy");
    bench.refuses(&mut destroy, 2, "destroy: unknown: apply, check, undo or status")?;
    let mut nobody = bench.bare.netns().command("setpriv");
    nobody.args(["--reuid=65534", "--clear-groups", "sh", "-s", "apply"]);
    nobody.stdin(File::open(&bench.script)?);
    bench.refuses(
        &mut nobody,
        2,
        "you are not root: run it as root, as in `sudo sh lb-backend.sh apply`",
    )
}

#[test]
fn a_machine_without_what_it_takes_is_refused_and_nothing_is_changed() -> Result<()> {
    let bench = Bench::new()?;
    let bare = &bench.bare;
    let during = |begin: &str, end: &str, code, words: &str| -> Result<()> {
        bare.sh(begin)?;
        bench.refuses(&mut bench.apply(""), code, words)?;
        bare.sh(end).map(drop)
    };
    during(
        "mount -o remount,ro /var/lib",
        "mount -o remount,rw /var/lib",
        2,
        "/var/lib/lb-backend: cannot be written",
    )?;
    during(
        "ip link set eth0 down; ip address flush dev eth0",
        "true",
        2,
        "no network card with an address",
    )?;
    bare.netns().ip("address add 10.0.0.11/24 dev eth0")?;
    bare.netns().ip("link set eth0 up")?;
    during(
        "mount --bind -o ro /proc/sys /proc/sys",
        "umount /proc/sys",
        1,
        "setting net.ipv4.conf.all.arp_ignore: cannot be set to 1 (is /proc/sys read-only?)",
    )?;
    during(
        "echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6",
        "echo 0 >/proc/sys/net/ipv6/conf/lo/disable_ipv6",
        2,
        "2001:db8:2::10: IPv6 is off on lo",
    )?;
    during(
        "mount -t tmpfs none /proc/sys/net/ipv6",
        "umount /proc/sys/net/ipv6",
        2,
        "2001:db8:2::10: this kernel has no IPv6",
    )?;
    during(
        "mount -t tmpfs none /proc/sys/net/ipv4",
        "umount /proc/sys/net/ipv4",
        2,
        "net.ipv4.conf.all.rp_filter: this kernel does not have it",
    )
}

#[test]
fn on_a_full_disk_nothing_is_half_done() -> Result<()> {
    let bench = Bench::new()?;
    for room in [4, 8, 12, 16] {
        bench.bare.sh(&format!("mount -t tmpfs -o size={room}k none /var/lib"))?;
        let before = bench.bare.snapshot()?;
        let output = bench.run("apply")?;
        if output.code == 0 {
            bench.run("undo")?.success()?;
        } else {
            assert_eq!(output.code, 1, "{output:?}");
            assert!(output.stderr.contains("full"), "{output:?}");
        }
        bench.bare.becomes(&before)?;
        bench.bare.sh("umount /var/lib")?;
    }
    Ok(())
}

#[test]
fn a_balancer_is_refused_unless_it_is_to_serve_itself() -> Result<()> {
    let bench = Bench::new()?;
    bench.bare.sh("mkdir /sys/fs/bpf/lb")?;
    bench.refuses(
        &mut bench.apply(""),
        2,
        "this machine is a balancer (/sys/fs/bpf/lb is there): run this on a real",
    )?;
    bench.run("apply --local-real")?.success()?;
    // It is remembered.
    assert_eq!(bench.run("apply")?.success()?.stdout, "apply: nothing to change\n");
    bench.run("undo")?.success()?;
    bench.bare.sh("rmdir /sys/fs/bpf/lb")?;
    bench.bare.netns().ip("address add 192.0.2.10/32 dev eth0")?;
    bench.refuses(&mut bench.apply(""), 2, "192.0.2.10 is an address of eth0: remove it there")
}

#[test]
fn a_second_run_waits_for_nobody_and_a_dead_ones_lock_for_nothing() -> Result<()> {
    let bench = Bench::new()?;
    let own = std::process::id();
    let stat = fs::read_to_string(format!("/proc/{own}/stat"))?;
    let started = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19));
    let started = started.unwrap_or_default();
    let lock = |word: String| {
        bench.bare.netns().run(|| {
            fs::create_dir_all("/var/lib/lb-backend")?;
            Ok(symlink(word, "/var/lib/lb-backend/lock")?)
        })
    };
    lock(format!("{own}:{started}"))?;
    bench.refuses(&mut bench.apply(""), 2, &format!("another run (process {own}) is under way"))?;
    bench.bare.sh("rm /var/lib/lb-backend/lock")?;
    lock(format!("{own}:1"))?;
    bench.run("apply")?.success()?;
    Ok(())
}

#[test]
fn what_somebody_else_has_changed_since_is_left_as_it_is() -> Result<()> {
    let bench = Bench::new()?;
    bench.run("apply")?.success()?;
    bench.bare.netns().sysctl(&[("ipv4/conf/all/arp_announce", "1")])?;
    bench.bare.netns().ip("address del 192.0.2.10/32 dev lo")?;
    let output = bench.run("undo")?;
    assert_eq!(output.code, 0, "{output:?}");
    let warning = "lb-backend: warning: net.ipv4.conf.all.arp_announce is 1, which is not what this script had set: left as it is\n";
    assert_eq!(output.stderr, warning);
    assert_eq!(bench.bare.sh("cat /proc/sys/net/ipv4/conf/all/arp_announce")?, "1\n");
    Ok(())
}

#[test]
fn a_script_on_standard_input_is_read_to_its_end_and_half_a_script_does_nothing() -> Result<()> {
    let bench = Bench::new()?;
    let before = bench.bare.snapshot()?;
    let by_stdin = |file: &Path| {
        let mut command = bench.bare.netns().command("dash");
        command.args(["-s", "apply"]).stdin(File::open(file)?);
        Output::of(&mut command)
    };
    let text = fs::read_to_string(&bench.script)?;
    for part in [1, 2, 3] {
        let half = bench.bare.put("half.sh", &text[..text.len() * part / 4])?;
        by_stdin(&half)?;
        bench.bare.becomes(&before)?;
    }
    let said = by_stdin(&bench.script)?.success()?.stdout;
    assert!(said.ends_with("apply: done, 6 changes\n"), "{said}");
    Ok(())
}

#[test]
fn shellcheck_has_nothing_to_say_of_the_script_in_either_dialect() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let bare = Bare::new(lab.real(1))?;
    for (name, words) in
        [("both.sh", VIPS), ("any.sh", "--vip 192.0.2.10 --port any --interface eth0 --os debian")]
    {
        let file = bare.put(name, &script(words)?)?;
        for dialect in ["sh", "dash"] {
            let mut command = debian::program("usr/bin/shellcheck")?;
            // Functions for ways to survive a reboot need not all be used.
            command.args(["--shell", dialect, "--exclude=SC2317", "--color=never"]).arg(&file);
            Output::of(&mut command)?.success()?;
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_asked_for_is_refused() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let empty = "[[vip]]\nname = \"idle\"\naddress = \"192.0.2.10\"\nports = [\"tcp/80\"]\n";
    let daemon = lab.daemon(&lab.config(empty))?;
    let refused = |words: &str, code, part: &str| -> Result<()> {
        let words: Vec<_> = ["backend", "script"].into_iter().chain(words.split(' ')).collect();
        let output = daemon.lbctl(&words)?;
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{output:?}");
        assert!(output.stderr.contains(part), "{part}: {output:?}");
        Ok(())
    };
    refused("nobody", 1, "no VIP \"nobody\"")?;
    refused("idle", 1, "vip \"idle\" has no reals: add one with `lbctl real add idle IP`")?;
    refused("--all", 1, "vip \"idle\" has no reals")?;
    refused("idle --os beos", 2, "unknown system \"beos\"; one of: linux, debian")?;
    refused("idle --format floppy", 2, "unknown format \"floppy\"; one of: script")?;
    refused("idle --os freebsd --format netplan", 2, "--format netplan: not for --os freebsd")?;
    daemon.lbctl(&["real", "add", "idle", &address::real(1).to_string()])?.success()?;
    let text = daemon.lbctl(&["backend", "script", "--all"])?.success()?.stdout;
    assert!(text.contains("\nLB_VIPS='192.0.2.10'\nLB_SERVICES='tcp:192.0.2.10:80'\n"), "{text}");
    Ok(())
}
