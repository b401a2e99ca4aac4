//! What the script writes for `--persist` is what `lbctl` prints for the same system, survives a
//! reboot, and is gone after `undo`.

use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt as _, path::PathBuf};

use anyhow::{Result, ensure};
use lb_user::backend::{
    self, Format, Setup, Vip,
    files::{self, Way},
};
use tests::{Bare, Lab, LabOptions, Output, Shell, wait};

const VIPS: [&str; 3] = ["192.0.2.10", "2001:db8:2::10", "192.0.2.53"];

fn setup(vips: &[&str], interfaces: &[&str]) -> Result<Setup> {
    let vip = |address: &&str| {
        let ports = vec!["tcp/80".parse().map_err(anyhow::Error::msg)?];
        Ok(Vip { name: None, address: address.parse::<IpAddr>()?, ports, reals: vec![] })
    };
    Ok(Setup {
        vips: vips.iter().map(vip).collect::<Result<_>>()?,
        interfaces: interfaces.iter().map(|&name| name.into()).collect(),
        balancers: vec![],
    })
}

/// A real that sets up its network in one way, and the script.
struct Bench {
    _lab: Lab,
    bare: Bare,
    script: PathBuf,
}

impl Bench {
    fn new(way: &str) -> Result<Self> {
        let lab = Lab::new(LabOptions::reals(1))?;
        let bare = Bare::like(lab.real(1), way)?;
        let text = backend::render(&setup(&VIPS, &[])?, Format::Script, None);
        let script = bare.put("lb-backend.sh", &text)?;
        Ok(Self { _lab: lab, bare, script })
    }

    fn run(&self, words: &str) -> Result<Output> {
        self.bare.run(Shell::Dash, &self.script, words)
    }

    /// It is there, with these permissions.
    fn has(&self, file: &files::File) -> Result<()> {
        let (text, mode) = self.bare.netns().run(|| {
            let mode = fs::metadata(&file.path)?.permissions().mode();
            Ok((fs::read_to_string(&file.path)?, mode & 0o7777))
        })?;
        assert_eq!((text, mode), (file.text.clone(), file.mode), "{}", file.path);
        Ok(())
    }

    /// An apply fails with this message, and leaves everything as it was.
    #[track_caller]
    fn refuses(&self, words: &str, code: i32, message: &str) -> Result<()> {
        let before = self.bare.snapshot()?;
        let output = self.run(words)?;
        assert_eq!(output.code, code, "{output:?}");
        assert!(output.stderr.contains(message), "{output:?}");
        self.bare.becomes(&before)
    }
}

/// It is found that the system does it in this way; what is written is what is printed.
fn survives(way: Way) -> Result<()> {
    let bench = Bench::new(&way.to_string())?;
    let printed = setup(&VIPS, &["eth0"])?;
    let before = bench.bare.snapshot()?;
    for shell in [Shell::Dash, Shell::Ash] {
        let run = |words: &str| bench.bare.run(shell, &bench.script, words)?.success();
        run("apply --persist --interface eth0")?;
        bench.has(&files::kernel_parameters(&printed))?;
        for file in files::of(&printed, way) {
            bench.has(&file)?;
        }
        let checked = bench.bare.run(shell, &bench.script, "check")?.stdout;
        let line = format!("ok        persist   it survives a reboot by {way}\n");
        assert!(checked.contains(&line), "{checked}");
        assert_eq!(run("apply")?.stdout, "apply: nothing to change\n");
        run("undo")?;
        bench.bare.becomes(&before)?;
    }
    Ok(())
}

#[test]
fn it_survives_by_ifupdown() -> Result<()> {
    survives(Way::Ifupdown)
}

#[test]
fn it_survives_by_networkd() -> Result<()> {
    survives(Way::Networkd)
}

#[test]
fn it_survives_by_netplan() -> Result<()> {
    survives(Way::Netplan)
}

#[test]
fn it_survives_by_networkmanager() -> Result<()> {
    survives(Way::NetworkManager)
}

#[test]
fn it_survives_by_the_network_scripts_of_red_hat() -> Result<()> {
    survives(Way::Ifcfg)
}

#[test]
fn it_survives_by_a_unit_of_systemd() -> Result<()> {
    survives(Way::Systemd)
}

#[test]
fn after_a_reboot_the_unit_sets_all_of_it_again_and_undo_still_knows_what_was_before() -> Result<()>
{
    let bench = Bench::new("systemd")?;
    let before = bench.bare.snapshot()?;
    bench.run("apply --persist --interface eth0")?.success()?;
    let after = bench.bare.snapshot()?;
    bench.bare.sh("ip address del 192.0.2.10/32 dev lo; ip address del 192.0.2.53/32 dev lo; \
         ip address del 2001:db8:2::10/128 dev lo; \
         echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore; \
         echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_announce")?;
    assert_ne!(bench.bare.snapshot()?, after);
    let unit = "/etc/systemd/system/lb-backend.service";
    bench.bare.sh(&format!("$(sed -n 's/^ExecStart=//p' {unit})"))?;
    // The record's lines may have another order.
    let parts = |snapshot: &str| {
        let lines = snapshot.lines().filter(|line| !line.ends_with("/lb-backend/record"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    wait::until("all of it again", wait::PATIENCE, || {
        Ok((parts(&bench.bare.snapshot()?) == parts(&after)).then_some(()))
    })?;
    bench.bare.sh("/usr/local/sbin/lb-backend undo")?;
    bench.bare.becomes(&before)
}

#[test]
fn where_no_way_is_seen_the_ways_are_listed_and_nothing_is_changed() -> Result<()> {
    let bench = Bench::new("none")?;
    let ways = Way::WORDS.join(" ");
    bench.refuses("apply --persist", 2, &format!("name the way, one of: {ways}\n"))?;
    // Who names one has it, and is told.
    let output = bench.run("apply --persist=ifupdown")?.success()?;
    assert!(
        output.stderr.contains("warning: --persist=ifupdown: this system does not"),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn networkd_that_has_a_file_for_lo_gets_a_drop_in_of_it() -> Result<()> {
    let bench = Bench::new("networkd")?;
    bench.bare.sh("mkdir -p /etc/systemd/network; cd /etc/systemd/network; \
         printf '[Match]\\nName=eth0\\n' >10-eth0.network; \
         printf '[Match]\\nName=lo\\n\\n[Address]\\nAddress=198.51.100.1/32\\n' >20-lo.network")?;
    let before = bench.bare.snapshot()?;
    bench.run("apply --persist")?.success()?;
    let listed = bench.bare.sh("cd /etc/systemd/network; find . -type f | sort")?;
    assert_eq!(listed, "./10-eth0.network\n./20-lo.network\n./20-lo.network.d/lb-backend.conf\n");
    let checked = bench.run("check")?.stdout;
    assert!(checked.contains("ok        persist "), "{checked}");
    bench.run("undo")?.success()?;
    bench.bare.becomes(&before)
}

#[test]
fn what_others_have_configured_is_not_overwritten() -> Result<()> {
    let bench = Bench::new("ifupdown")?;
    bench.bare.sh("printf 'auto lo:1\\niface lo:1 inet static\\n  address 198.51.100.1/32\\n' \
         >>/etc/network/interfaces")?;
    bench.refuses(
        "apply --persist",
        1,
        "/etc/network/interfaces has lo:1 already: remove it there",
    )?;

    let bench = Bench::new("ifcfg")?;
    let alias = "/etc/sysconfig/network-scripts/ifcfg-lo:0";
    bench.bare.sh(&format!("printf 'DEVICE=lo:0\\nIPADDR=198.51.100.1\\n' >{alias}"))?;
    bench.refuses(
        "apply --persist",
        1,
        &format!("{alias} is there already, for another address"),
    )?;
    // One that was made by hand for the same VIP is replaced, and comes back.
    bench.bare.sh(&format!("printf 'DEVICE=lo:0\\nIPADDR=192.0.2.10\\n' >{alias}"))?;
    let before = bench.bare.snapshot()?;
    bench.run("apply --persist")?.success()?;
    bench.run("undo")?.success()?;
    bench.bare.becomes(&before)?;

    let bench = Bench::new("networkmanager")?;
    let profile = "/etc/NetworkManager/system-connections/own.nmconnection";
    bench.bare.sh(&format!("printf '[connection]\\ntype=loopback\\n' >{profile}"))?;
    bench.refuses("apply --persist", 1, &format!("{profile} has lo already"))
}

#[test]
fn another_way_takes_the_place_of_the_first() -> Result<()> {
    let bench = Bench::new("ifupdown")?;
    let before = bench.bare.snapshot()?;
    bench.run("apply --persist")?.success()?;
    bench.bare.sh("mkdir -p /run/systemd/system")?;
    bench.run("apply --persist=systemd")?.success()?;
    let left = bench.bare.sh("find /etc/network -name lb-backend; cat /etc/network/interfaces")?;
    assert!(!left.contains("lb-backend"), "{left}");
    // Without a word it stays with the way.
    assert_eq!(bench.run("apply")?.success()?.stdout, "apply: nothing to change\n");
    bench.run("undo")?.success()?;
    bench.bare.becomes(&before)
}

#[test]
fn the_check_names_files_that_are_no_longer_what_was_written() -> Result<()> {
    let bench = Bench::new("netplan")?;
    bench.run("apply --persist")?.success()?;
    bench.bare.sh(
        "echo '# mine' >>/etc/netplan/90-lb-backend.yaml; rm /etc/sysctl.d/zz-lb-backend.conf; \
         echo net.ipv4.conf.all.arp_ignore=0 >/etc/sysctl.d/zzz.conf",
    )?;
    let output = bench.run("check")?;
    assert_eq!(output.code, 1);
    for line in [
        "wrong     persist   /etc/sysctl.d/zz-lb-backend.conf is not what --persist=netplan writes",
        "wrong     persist   /etc/netplan/90-lb-backend.yaml is not what --persist=netplan writes",
        "warning   persist   /etc/sysctl.d/zzz.conf sets kernel parameters of ARP, too",
    ] {
        assert!(output.stdout.contains(line), "{line}: {output:?}");
    }
    bench.run("apply")?.success()?;
    ensure!(!bench.run("check")?.stdout.contains("wrong     persist"));
    Ok(())
}

#[test]
fn a_script_that_is_no_file_cannot_be_kept_and_says_so() -> Result<()> {
    let bench = Bench::new("systemd")?;
    let before = bench.bare.snapshot()?;
    let script = bench.script.display();
    let said = bench.bare.sh(&format!("sh -s apply --persist <{script} 2>&1 || echo code $?"))?;
    assert!(said.contains("this script was not read from a file, and cannot be kept"), "{said}");
    assert!(said.ends_with("code 1\n"), "{said}");
    bench.bare.becomes(&before)
}
