//! A balancer.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use lb_user::model::Mac;

use crate::{
    address,
    daemon::{self, Daemon},
    netns::Netns,
    process::Output,
    site::BPF,
};

/// A balancer: a node on the LAN with its default routes at the router, with a directory and a BPF
/// file system of its own.
#[derive(Debug)]
pub struct Balancer {
    netns: Netns,
    address: IpAddr,
    dir: PathBuf,
}

impl Balancer {
    pub(crate) fn new(address: IpAddr, netns: Netns, dir: PathBuf) -> Self {
        Self { netns, address, dir }
    }

    /// Where it is. Runs in here see its BPF file system.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its address on the LAN.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The address of its network card on the LAN.
    #[must_use]
    pub fn mac(&self) -> Mac {
        address::mac(self.address)
    }

    /// Its directory: logs, configuration, the socket.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its daemon pins, on a BPF file system which only this balancer sees.
    #[must_use]
    pub fn pin_dir(&self) -> PathBuf {
        self.dir.join(BPF).join("lb")
    }

    /// Its daemon's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("lbd.sock")
    }

    /// A configuration with these VIPs (`[[vip]]` and below) for its daemon, on eth0.
    #[must_use]
    pub fn config(&self, vips: &str) -> String {
        self.config_on(&["eth0"], vips)
    }

    /// A configuration with these interfaces and VIPs (`[[vip]]` and below) for its daemon.
    #[must_use]
    pub fn config_on(&self, interfaces: &[&str], vips: &str) -> String {
        format!(
            "[node]\ninterfaces = {interfaces:?}\nsocket = {:?}\nstate_dir = {:?}\npin_dir = {:?}\n\n{vips}",
            self.socket(),
            self.dir.join("state"),
            self.pin_dir(),
        )
    }

    /// Starts `lbd` with this configuration and waits until it is ready.
    pub fn daemon(&self, config: &str) -> Result<Daemon> {
        Daemon::start(self, config)
    }

    /// Starts `lbd` with this file and waits until it is ready.
    pub fn daemon_with(&self, file: &Path) -> Result<Daemon> {
        Daemon::start_with(self, file)
    }

    /// Starts `lbd` with this file, which logs no more than where it is installed, and waits until it is ready.
    pub fn daemon_as_installed(&self, file: &Path) -> Result<Daemon> {
        Daemon::start_logging(self, file, "info")
    }

    /// Runs `lbctl`, whether a daemon is running or not.
    pub fn lbctl(&self, words: &[&str]) -> Result<Output> {
        daemon::lbctl(&self.netns, &self.socket(), words)
    }
}
