//! What `lbctl backend script --format` prints, read and obeyed by the programs it is for: those of
//! Debian's packages, in a namespace. For Red Hat's network scripts, PowerShell and FreeBSD's rc
//! there are none: the first are read by a shell, the last by shellcheck, too.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use lb_user::backend::{Format, Setup, Vip, files, render};
use tests::{Bare, Lab, LabOptions, Output, Process, debian, wait};

const VIPS: [&str; 3] = ["192.0.2.10", "2001:db8:2::10", "192.0.2.53"];

fn setup(interfaces: &[&str]) -> Result<Setup> {
    let vip = |address: &&str| {
        let ports = vec!["tcp/80".parse().map_err(anyhow::Error::msg)?];
        let name = Some("web".into());
        Ok(Vip { name, address: address.parse::<IpAddr>()?, ports, reals: vec![] })
    };
    Ok(Setup {
        vips: VIPS.iter().map(vip).collect::<Result<_>>()?,
        interfaces: interfaces.iter().map(|&name| name.into()).collect(),
        balancers: vec![],
    })
}

fn printed(format: Format) -> Result<String> {
    Ok(render(&setup(&["eth0"])?, format, None))
}

/// A real server that nothing has set up.
struct Bench {
    _lab: Lab,
    bare: Bare,
}

impl Bench {
    fn new() -> Result<Self> {
        let lab = Lab::new(LabOptions::reals(1))?;
        let bare = Bare::like(lab.real(1), "none")?;
        // Another address of lo, which is to stay.
        bare.sh("ip address add 198.51.100.1/32 dev lo")?;
        Ok(Self { _lab: lab, bare })
    }

    fn write(&self, path: &str, mode: u32, text: &str) -> Result<()> {
        let file = self.bare.put("written", text)?;
        self.bare.sh(&format!("install -D -m {mode:o} {} {path}", file.display()))?;
        Ok(())
    }

    /// A program of Debian's, in there.
    fn program(&self, path: &str) -> Result<Command> {
        let mut command = self.bare.netns().command(debian::file(path)?);
        debian::environment(&mut command);
        Ok(command)
    }

    fn lo(&self) -> Result<String> {
        self.bare.netns().ip("-o address show dev lo")
    }

    /// Waits until lo has all VIPs.
    fn comes_up(&self) -> Result<String> {
        let waited = wait::until("the VIPs on lo", wait::PATIENCE, || {
            let lo = self.lo()?;
            Ok(VIPS.iter().all(|vip| lo.contains(&whole(vip))).then_some(lo))
        });
        waited.with_context(|| self.lo().unwrap_or_default())
    }

    /// lo has the VIPs, its own addresses still, and the one of IPv6 is never a source.
    fn is_up(&self) -> Result<()> {
        let lo = self.comes_up()?;
        for own in ["127.0.0.1/8", "::1/128", "198.51.100.1/32"] {
            ensure!(lo.contains(own), "{own} is gone: {lo}");
        }
        let deprecated = |line: &&str| {
            line.contains("2001:db8:2::10/128") && line.contains("preferred_lft 0sec")
        };
        ensure!(lo.lines().any(|line| deprecated(&line)), "{lo}");
        Ok(())
    }

    /// lo has no VIP, and its own addresses still.
    fn is_down(&self) -> Result<()> {
        let lo = self.lo()?;
        ensure!(!VIPS.iter().any(|vip| lo.contains(vip)), "{lo}");
        ensure!(lo.contains("127.0.0.1/8") && lo.contains("198.51.100.1/32"), "{lo}");
        ensure!(self.bare.netns().ip("link show dev lo up")?.contains("lo"), "lo is down");
        Ok(())
    }

    /// systemd's and NetworkManager's programs then take this for a container, and wait for no udev.
    fn without_udev(&self) -> Result<()> {
        self.bare
            .sh("mount -t sysfs -o ro sysfs /sys; mkdir -p /run/systemd /var/lib/NetworkManager")?;
        Ok(())
    }

    /// Starts networkd with what is in `/etc/systemd/network` and `/run/systemd/network`.
    fn networkd(&self) -> Result<Process> {
        self.without_udev()?;
        self.bare.sh("grep -q ^systemd-network: /etc/passwd || \
             echo systemd-network:x:998:998::/:/usr/sbin/nologin >>/etc/passwd; \
             grep -q ^systemd-network: /etc/group || echo systemd-network:x:998: >>/etc/group")?;
        let mut command = self.program("usr/lib/systemd/systemd-networkd")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.bare.netns().spawn(command)
    }
}

fn whole(vip: &str) -> String {
    if vip.contains(':') { format!("{vip}/128") } else { format!("{vip}/32") }
}

/// Where a program may put its files.
fn scratch(name: &str) -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix(name).tempdir()?)
}

fn put(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let file = dir.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

#[test]
fn debians_ifupdown_and_busybox_set_the_vips_up_and_take_nothing_else_away() -> Result<()> {
    let bench = Bench::new()?;
    let [file] = &files::of(&setup(&["eth0"])?, files::Way::Ifupdown)[..] else {
        unreachable!("one file")
    };
    bench.write(&file.path, file.mode, &file.text)?;
    let main = format!("auto lo\niface lo inet loopback\nsource {}\n", file.path);
    bench.write("/etc/network/interfaces", 0o644, &main)?;
    bench.bare.sh(
        "cd /etc/network; mkdir -p if-pre-up.d if-up.d if-down.d if-post-down.d /run/network",
    )?;

    let listed =
        Output::of(bench.program("usr/sbin/ifquery")?.args(["--list", "-a"]))?.success()?;
    assert_eq!(listed.stdout, "lo\nlo:0\nlo:1\nlo:2\n");
    let said =
        Output::of(bench.program("usr/sbin/ifup")?.args(["--no-act", "-v", "-a"]))?.success()?;
    let line = "ip addr replace 2001:db8:2::10/128 dev lo preferred_lft 0\n";
    assert!(said.stderr.contains(line), "{said:?}");

    Output::of(bench.program("usr/sbin/ifup")?.arg("-a"))?.success()?;
    bench.is_up()?;
    // Where the script has added them already, at the first boot after it.
    Output::of(bench.program("usr/sbin/ifup")?.args(["--force", "-a"]))?.success()?;
    Output::of(bench.program("usr/sbin/ifdown")?.args(["lo:0", "lo:1", "lo:2"]))?.success()?;
    bench.is_down()?;

    let busybox = |words: &str| -> Result<Output> {
        let mut command = bench.program("usr/bin/busybox")?;
        Output::of(command.args(words.split_whitespace()))?.success()
    };
    bench.bare.sh("rm -rf /run/network/*")?;
    // Not lo itself: it is up, and BusyBox adds its address once more.
    for label in ["lo:0", "lo:1", "lo:2"] {
        busybox(&format!("ifup {label}"))?;
    }
    bench.is_up()?;
    for label in ["lo:0", "lo:1", "lo:2"] {
        busybox(&format!("ifdown {label}"))?;
    }
    bench.is_down()
}

#[test]
fn networkd_sets_the_vips_up() -> Result<()> {
    let bench = Bench::new()?;
    bench.write(
        "/etc/systemd/network/00-lb-backend.network",
        0o644,
        &printed(Format::Networkd)?,
    )?;
    let _networkd = bench.networkd()?;
    bench.is_up()
}

#[test]
fn networkd_that_has_a_file_for_lo_takes_the_vips_as_a_drop_in_of_it() -> Result<()> {
    let bench = Bench::new()?;
    let own = "[Match]\nName=lo\n\n[Address]\nAddress=198.51.100.2/32\n";
    bench.write("/etc/systemd/network/20-lo.network", 0o644, own)?;
    let drop_in = "/etc/systemd/network/20-lo.network.d/lb-backend.conf";
    bench.write(drop_in, 0o644, &printed(Format::Networkd)?)?;
    let _networkd = bench.networkd()?;
    bench.is_up()?;
    ensure!(bench.lo()?.contains("198.51.100.2/32"), "{}", bench.lo()?);
    Ok(())
}

#[test]
fn netplan_makes_of_it_what_networkd_sets_up() -> Result<()> {
    let bench = Bench::new()?;
    let own = "network:\n  version: 2\n  ethernets:\n    eth0:\n      addresses: [10.0.0.11/24]\n";
    bench.write("/etc/netplan/50-cloud-init.yaml", 0o600, own)?;
    bench.write("/etc/netplan/90-lb-backend.yaml", 0o600, &printed(Format::Netplan)?)?;
    let said =
        Output::of(bench.program("usr/libexec/netplan/generate")?.args(["--root-dir", "/"]))?;
    assert_eq!(said.clone().success()?.stderr, "", "{said:?}");
    let made = bench.bare.sh("cat /run/systemd/network/10-netplan-lo.network")?;
    for vip in VIPS {
        assert!(made.contains(&format!("Address={}\n", whole(vip))), "{made}");
    }
    // Of this test only lo is to be touched.
    bench.bare.sh("rm /run/systemd/network/10-netplan-eth0.network")?;
    let _networkd = bench.networkd()?;
    let lo = bench.comes_up()?;
    ensure!(lo.contains("127.0.0.1/8") && lo.contains("preferred_lft 0sec"), "{lo}");
    Ok(())
}

#[test]
fn networkmanager_reads_the_keyfile_and_sets_the_vips_up() -> Result<()> {
    let text = printed(Format::Nmcli)?;
    let dir = scratch("keyfile")?;
    let file = put(dir.path(), "keyfile", &text)?;
    let mut nmcli = debian::program("usr/bin/nmcli")?;
    nmcli.args(["--offline", "connection", "modify", "connection.zone", "lan"]);
    let read = Output::of(nmcli.stdin(fs::File::open(file)?))?.success()?.stdout;
    for vip in VIPS {
        assert!(read.contains(&whole(vip)), "{vip} is not understood: {read}");
    }

    let bench = Bench::new()?;
    bench.without_udev()?;
    let place = "/etc/NetworkManager/system-connections/lb-backend.nmconnection";
    bench.write(place, 0o600, &text)?;
    bench.write(
        "/etc/NetworkManager/NetworkManager.conf",
        0o644,
        "[keyfile]\nunmanaged-devices=except:interface-name:lo\n",
    )?;
    let mut command = bench.program("usr/sbin/NetworkManager")?;
    let said = Output::of(command.args(["--configure-and-quit=initrd", "--no-daemon", "--debug"]))?;
    let lo = bench.comes_up().with_context(|| format!("{said:?}"))?;
    ensure!(lo.contains("127.0.0.1/8") && lo.contains("::1/128"), "{lo}");
    Ok(())
}

#[test]
fn every_reader_of_sysctl_d_sets_what_the_file_says() -> Result<()> {
    let bench = Bench::new()?;
    // A name with a dot, as VLANs have.
    bench.bare.netns().ip("link add eth1.100 type veth peer name other")?;
    let named = render(&setup(&["eth0", "eth1.100"])?, Format::Sysctl, None);
    let any = render(&setup(&[])?, Format::Sysctl, None);
    let place = "/etc/sysctl.d/zz-lb-backend.conf";
    for (program, words, text) in [
        ("usr/sbin/sysctl", format!("-q -p {place}"), &named),
        ("usr/sbin/sysctl", format!("-q -p {place}"), &any),
        ("usr/lib/systemd/systemd-sysctl", place.to_owned(), &named),
        ("usr/lib/systemd/systemd-sysctl", place.to_owned(), &any),
        ("usr/bin/busybox", format!("sysctl -p {place}"), &named),
    ] {
        bench.bare.sh("cd /proc/sys/net/ipv4/conf; for dir in all eth0 eth1.100; do \
             echo 1 >$dir/rp_filter; echo 0 >$dir/arp_ignore; echo 0 >$dir/arp_announce; done")?;
        bench.write(place, 0o644, text)?;
        let said = Output::of(bench.program(program)?.args(words.split_whitespace()))?.success()?;
        assert_eq!(said.stderr, "", "{program}: {said:?}");
        let set = bench.bare.sh("cd /proc/sys/net/ipv4/conf; for dir in all eth0 eth1.100; do \
             cat $dir/rp_filter $dir/arp_ignore $dir/arp_announce; done | xargs")?;
        assert_eq!(set, "0 1 2 0 1 2 0 1 2\n", "{program}: {text}");
    }
    Ok(())
}

#[test]
fn systemd_has_nothing_to_say_of_the_unit() -> Result<()> {
    for interfaces in [&["eth0", "br-lan"][..], &[]] {
        let bench = Bench::new()?;
        let unit = render(&setup(interfaces)?, Format::Systemd, None);
        let file = "/etc/systemd/system/lb-backend.service";
        bench.write(file, 0o644, &unit)?;
        bench.write("/usr/local/sbin/lb-backend", 0o755, &printed(Format::Script)?)?;
        let mut verify = bench.program("usr/bin/systemd-analyze")?;
        let units = debian::file("usr/lib/systemd/system")?;
        verify.env("SYSTEMD_UNIT_PATH", format!("/etc/systemd/system:{}", units.display()));
        let said = Output::of(verify.args(["verify", "--man=no", file]))?.success()?;
        let about: Vec<_> =
            said.stderr.lines().filter(|line| line.contains("lb-backend")).collect();
        assert!(about.is_empty(), "{unit}: {said:?}");
    }
    // It does look.
    let bench = Bench::new()?;
    let file = "/etc/systemd/system/lb-backend.service";
    bench.write(file, 0o644, &printed(Format::Systemd)?.replace("Type=oneshot", "Type=once"))?;
    let mut verify = bench.program("usr/bin/systemd-analyze")?;
    let said = Output::of(verify.args(["verify", "--man=no", file]))?;
    assert!(said.stderr.contains("Failed to parse service type"), "{said:?}");
    Ok(())
}

/// The lists of words below `bootcmd`, as commands of a shell.
const BOOTCMD: &str = "import shlex, sys, yaml\n\
    for words in yaml.safe_load(open(sys.argv[1]))['bootcmd']: print(shlex.join(words))";

#[test]
fn cloud_init_takes_the_user_data_whose_commands_set_everything_up() -> Result<()> {
    let bench = Bench::new()?;
    for interfaces in [&["eth0"][..], &[]] {
        let text = render(&setup(interfaces)?, Format::CloudInit, None);
        let file = bench.bare.put("user-data", &text)?;
        let mut schema = debian::program("usr/bin/cloud-init")?;
        let said = Output::of(schema.args(["schema", "--config-file"]).arg(&file))?.success()?;
        assert!(said.stdout.contains("Valid cloud-config"), "{said:?}");
        // At every boot: also where all is set.
        for _ in 0..2 {
            let mut python = bench.bare.netns().command("/usr/bin/python3");
            debian::environment(&mut python);
            let commands = Output::of(python.args(["-c", BOOTCMD]).arg(&file))?.success()?.stdout;
            bench.bare.sh(&format!("set -e\n{commands}"))?;
            bench.is_up()?;
        }
        let conf = "cd /proc/sys/net/ipv4/conf; cat all/arp_ignore all/arp_announce eth0/rp_filter";
        assert_eq!(bench.bare.sh(conf)?, "1\n2\n0\n");
    }
    Ok(())
}

#[test]
fn ansible_takes_the_playbook_which_sets_a_machine_up_and_then_changes_nothing() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let real = lab.real(1);
    let bare = Bare::new(real)?;
    bare.sh(
        "ip route replace default via 10.0.0.1; ip -6 route replace default via 2001:db8:a::1",
    )?;
    let before = bare.snapshot()?;
    let playbook = bare.put("playbook.yml", &printed(Format::Ansible)?)?;
    let inventory = bare.put(
        "hosts",
        "[real_servers]\nlocalhost ansible_connection=local \
        ansible_python_interpreter=/usr/bin/python3 ansible_become=false\n",
    )?;
    let run = |words: &str| {
        let mut command = bare.netns().command(debian::file("usr/bin/ansible-playbook")?);
        debian::environment(&mut command);
        command
            .env("HOME", "/run")
            .env("ANSIBLE_LOCAL_TEMP", "/run/ansible")
            .arg("-i")
            .arg(&inventory);
        Output::of(command.args(words.split_whitespace()).arg(&playbook))?.success()
    };
    run("--syntax-check")?;
    let vips: Vec<IpAddr> = VIPS.iter().map(|vip| vip.parse()).collect::<Result<_, _>>()?;
    bare.sh("ip address add 192.0.2.10/32 dev lo; ip address add 192.0.2.53/32 dev lo; \
         ip address add 2001:db8:2::10/128 dev lo nodad preferred_lft 0")?;
    let nginx = real.nginx(&vips)?;
    bare.sh("ip address del 192.0.2.10/32 dev lo; ip address del 192.0.2.53/32 dev lo; \
         ip address del 2001:db8:2::10/128 dev lo")?;
    let first = run("")?.stdout;
    assert!(first.contains("changed=2 "), "{first}");
    let second = run("")?.stdout;
    assert!(second.contains("changed=0 "), "{second}");
    drop(nginx);
    bare.sh(
        "sh /usr/local/sbin/lb-backend undo && rm /usr/local/sbin/lb-backend; rm -rf /etc/ansible",
    )?;
    bare.becomes(&before)
}

/// What FreeBSD's rc offers to scripts, as far as ours asks.
const RC: &str = r#"load_rc_config() { :; }
run_rc_command() { eval "\${${1}_cmd}"; }
"#;

#[test]
fn the_script_for_freebsd_is_clean_and_does_what_it_is_asked() -> Result<()> {
    let bench = Bench::new()?;
    let text = printed(Format::Freebsd)?;
    let script = bench.bare.put("lb_backend", &text)?;
    Output::of(debian::program("usr/bin/shellcheck")?.arg(&script))?.success()?;
    bench.write("/etc/rc.subr", 0o644, RC)?;
    let tool = "#!/bin/sh\necho \"${0##*/} $*\" >>/run/said\n[ \"$1\" != -n ] || echo 1\n";
    for name in ["ifconfig", "sysctl"] {
        bench.write(&format!("/usr/local/sbin/{name}"), 0o755, tool)?;
    }
    let run = format!("PATH=/usr/local/sbin:$PATH sh {}", script.display());
    bench.bare.sh(&format!("{run} start >/dev/null && {run} stop"))?;
    let said = bench.bare.sh("cat /run/said")?;
    let expected = "\
sysctl -n net.inet.ip.check_interface
sysctl net.inet.ip.check_interface=0
sysctl -n net.inet.ip.rfc1122_strong_es
sysctl net.inet.ip.rfc1122_strong_es=0
ifconfig lo0 inet 192.0.2.10/32 alias
ifconfig lo0 inet6 2001:db8:2::10/128 pltime 0 alias
ifconfig lo0 inet 192.0.2.53/32 alias
ifconfig lo0 inet 192.0.2.10 -alias
ifconfig lo0 inet6 2001:db8:2::10 -alias
ifconfig lo0 inet 192.0.2.53 -alias
";
    assert_eq!(said, expected);
    Ok(())
}

#[test]
fn the_script_itself_is_clean_whatever_the_vips() -> Result<()> {
    let dir = scratch("script")?;
    for vips in [&VIPS[..], &VIPS[..1], &VIPS[1..2]] {
        let mut setup = setup(&["eth0"])?;
        setup.vips.retain(|vip| vips.contains(&&*vip.address.to_string()));
        let script = put(dir.path(), "lb-backend.sh", &render(&setup, Format::Script, None))?;
        Output::of(debian::program("usr/bin/shellcheck")?.args(["-s", "sh"]).arg(script))?
            .success()?;
    }
    Ok(())
}

#[test]
fn aliases_of_red_hats_network_scripts_are_assignments_that_a_shell_reads() -> Result<()> {
    let dir = scratch("ifcfg")?;
    let expected = [
        ("lo:0", "192.0.2.10 255.255.255.255 "),
        ("lo:1", "  2001:db8:2::10/128"),
        ("lo:2", "192.0.2.53 255.255.255.255 "),
    ];
    let files = files::of(&setup(&["eth0"])?, files::Way::Ifcfg);
    assert_eq!(files.len(), expected.len());
    for (file, (device, words)) in files.iter().zip(expected) {
        assert!(file.path.ends_with(&format!("/ifcfg-{device}")), "{}", file.path);
        let place = put(dir.path(), "ifcfg", &file.text)?;
        let mut sh = Command::new("sh");
        sh.arg("-eu")
            .arg("-c")
            .arg(". \"$0\"; echo \"$DEVICE $ONBOOT ${IPADDR-} ${NETMASK-} ${IPV6ADDR-}\"");
        let read = Output::of(sh.arg(&place))?.success()?.stdout;
        assert_eq!(read, format!("{device} yes {words}\n"));
    }
    Ok(())
}

#[test]
fn a_playbook_carries_the_script_to_the_byte() -> Result<()> {
    let text = printed(Format::Ansible)?;
    let (_, block) = text.split_once("content: !unsafe |\n").context("no script in it")?;
    let margin = " ".repeat(10);
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with(&margin));
    let carried: String =
        lines.map(|line| format!("{}\n", line.strip_prefix(&margin).unwrap_or(line))).collect();
    assert_eq!(carried, printed(Format::Script)?);
    Ok(())
}
