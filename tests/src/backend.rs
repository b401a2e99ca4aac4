//! A real server as it comes: nobody has set it up, and what is written there stays there.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    debian, mounts,
    netns::Netns,
    process::{Lifetime, Output},
    real::Real,
    wait,
};
use anyhow::{Context as _, Result, ensure};

/// What runs the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// Debian's, with the programs of this machine.
    Dash,
    /// BusyBox's, with BusyBox's programs, as on Alpine.
    Ash,
}

/// Leaves nothing that tells of a system, and makes it one of `$way`.
const SYSTEM: &str = r#"
set -e
cd /etc
rm -rf network netplan NetworkManager sysconfig systemd/network systemd/system/*.wants
wants=/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants" sysctl.d
program() {
    printf '#!/bin/sh\n%s\n' "$2" >"/usr/local/sbin/$1"
    chmod 755 "/usr/local/sbin/$1"
}
case $way in
    ifupdown)
        program ifup :
        mkdir network
        printf 'auto lo\niface lo inet loopback\n' >network/interfaces
        ;;
    networkd) ln -s nowhere "$wants/systemd-networkd.service" ;;
    netplan)
        program netplan :
        mkdir netplan
        printf 'network:\n  version: 2\n' >netplan/50-cloud-init.yaml
        ;;
    networkmanager)
        program nmcli 'echo "nmcli tool, version 1.42.4"'
        mkdir -p NetworkManager/system-connections
        ln -s nowhere "$wants/NetworkManager.service"
        ;;
    ifcfg)
        mkdir -p sysconfig/network-scripts
        : >sysconfig/network-scripts/ifup-aliases
        ln -s nowhere "$wants/network.service"
        ;;
    systemd) mkdir -p /run/systemd/system ;;
esac
"#;

/// A real server with directories of its own: `/etc`, `/var/lib`, `/run`, `/root`, `/usr/local/sbin`, `/sys/fs/bpf`;
/// what programs without the script see is as ever.
#[derive(Debug)]
pub struct Bare {
    netns: Netns,
    dir: PathBuf,
    busybox: PathBuf,
}

impl Bare {
    /// Gives a real server of a lab its own directories; it seems to be a Debian with ifupdown.
    pub fn new(real: &Real) -> Result<Self> {
        Self::like(real, "ifupdown")
    }

    /// Gives it its own directories, with just what tells the script that the system sets up its network in
    /// this way, whatever this machine's does; in none, where it is no way.
    pub fn like(real: &Real, way: &str) -> Result<Self> {
        let dir = real.dir().join("bare");
        fs::create_dir(&dir)?;
        let net = File::open(real.netns().path())?.into();
        let netns =
            Netns::held(real.name(), net, Some(mounts::own(&dir, || Ok(()))?), Lifetime::Bound);
        let bare = Self { netns, busybox: busybox(&dir)?, dir };
        bare.sh(&format!("way={way}\n{SYSTEM}"))?;
        Ok(bare)
    }

    /// Where commands see those directories.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Puts a script there; gives its place.
    pub fn put(&self, name: &str, script: &str) -> Result<PathBuf> {
        let file = self.dir.join(name);
        fs::write(&file, script)?;
        Ok(file)
    }

    /// Runs a script with these words.
    pub fn run(&self, shell: Shell, script: &Path, words: &str) -> Result<Output> {
        Output::of(&mut self.command(shell, script, words))
    }

    /// Runs a script, which is killed after so many writes, if it makes so many.
    pub fn run_killed(
        &self,
        shell: Shell,
        script: &Path,
        words: &str,
        after: u32,
    ) -> Result<Output> {
        let mut command = self.command(shell, script, words);
        Output::of(command.env("LB_BACKEND_STOP_AFTER", after.to_string()))
    }

    /// A command that runs a script.
    #[must_use]
    pub fn command(&self, shell: Shell, script: &Path, words: &str) -> Command {
        let mut command = match shell {
            Shell::Dash => self.netns.command("dash"),
            Shell::Ash => {
                let mut command = self.netns.command(self.busybox.join("busybox"));
                command.arg("ash").env("PATH", &self.busybox);
                command
            }
        };
        command.arg(script).args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// Runs a line of shell, which must succeed.
    pub fn sh(&self, line: &str) -> Result<String> {
        let output = Output::of(self.netns.command("sh").args(["-c", line]))?.success();
        Ok(output.with_context(|| format!("{line} in {}", self.netns.name()))?.stdout)
    }

    /// All that a script may change: addresses, routes, kernel parameters, files.
    pub fn snapshot(&self) -> Result<String> {
        self.sh("ip -o address show; ip -4 route show table all; ip -6 route show table all; \
             grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf | sort; \
             find /etc /var/lib /usr/local/sbin -printf '%p %M %u %g %l\\n' | sort; \
             find /etc /var/lib /usr/local/sbin -type f | sort | xargs -d '\\n' sha256sum")
    }

    /// Waits until it is again as it was: the kernel forgets routes of IPv6 addresses a moment after these.
    pub fn becomes(&self, before: &str) -> Result<()> {
        let mut now = String::new();
        let same = wait::until("what was before", wait::PATIENCE / 10, || {
            now = self.snapshot()?;
            Ok((now == before).then_some(()))
        });
        same.with_context(|| difference(before, &now))
    }
}

/// The lines that only one of both has.
fn difference(before: &str, now: &str) -> String {
    let only = |mark, one: &str, other: &str| {
        let lines: Vec<_> = other.lines().collect();
        let lines = one.lines().filter(|line| !lines.contains(line));
        lines.map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    only('-', before, now) + &only('+', now, before)
}

/// A directory with BusyBox under all its names, so that it stands for all programs it knows.
fn busybox(dir: &Path) -> Result<PathBuf> {
    let program = debian::file("usr/bin/busybox")?;
    let names = Output::of(Command::new(&program).arg("--list"))?.success()?.stdout;
    ensure!(names.lines().any(|name| name == "ash"), "this BusyBox has no shell");
    let dir = dir.join("busybox");
    fs::create_dir(&dir)?;
    for name in names.lines().chain(["busybox"]).collect::<std::collections::BTreeSet<_>>() {
        symlink(&program, dir.join(name))?;
    }
    Ok(dir)
}
