//! The lab as a whole.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    client::Client,
    daemon::Daemon,
    netns::Netns,
    persist::Persist,
    port::Port,
    process::Output,
    real::Real,
    site::{BPF, Site},
    topology::{self, SWITCH},
    xdp::{self, Verdict},
};

/// What may be different from lab to lab.
#[derive(Clone, Copy, Debug)]
pub struct LabOptions {
    /// How many real servers there are: 10.0.0.11, 10.0.0.12 and so on.
    pub reals: u8,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { reals: 3 }
    }
}

/// A client, a router, a switch, a balancer and real servers, wired up. Nothing of it is left after
/// drop.
#[derive(Debug)]
pub struct Lab {
    client: Client,
    router: Netns,
    switch: Netns,
    balancer: Netns,
    reals: Vec<Real>,
    /// Keeps the passing program at the switch's port towards the balancer.
    pass: OwnedFd,
    site: Site,
}

impl Lab {
    /// A lab of one's own, next to which any number of others may stand.
    pub fn new(options: LabOptions) -> Result<Self> {
        Self::build(Site::private()?, options)
    }

    /// A lab that stays up, and its programs with it, until it is torn down. (Not so a [`UdpEcho`],
    /// which is a thread of this process.)
    ///
    /// [`UdpEcho`]: crate::UdpEcho
    pub fn persist(place: &Persist, options: LabOptions) -> Result<Self> {
        let site = Site::public(place)?;
        let lab = Self::build(site, options).and_then(|lab| {
            xdp::pin(&lab.pass, &place.dir.join(BPF).join("lab_pass"))?;
            Ok(lab)
        });
        if lab.is_err() {
            // The first error is the one to tell.
            let _ = place.tear_down();
        }
        lab
    }

    /// Removes a lab that stayed up, or what there is of it.
    pub fn tear_down(place: &Persist) -> Result<()> {
        place.tear_down()
    }

    fn build(site: Site, options: LabOptions) -> Result<Self> {
        let nodes = topology::nodes(options.reals);
        let mut spaces = BTreeMap::from([(SWITCH.to_owned(), site.netns(SWITCH)?)]);
        for name in nodes.iter().map(|node| &node.name) {
            let netns =
                if name == "balancer" { site.netns_with_bpf(name)? } else { site.netns(name)? };
            spaces.insert(name.clone(), netns);
        }
        topology::lay(&nodes, &spaces)?;
        let space = |name: &str| spaces.get(name).cloned().context("a node has no namespace");
        let real = |number| Real::new(number, space(&topology::real_name(number))?, site.dir());
        Ok(Self {
            client: Client::new(space("client")?),
            router: space("router")?,
            switch: space(SWITCH)?,
            balancer: space("balancer")?,
            reals: (1..=options.reals).map(real).collect::<Result<_>>()?,
            pass: xdp::attach(&space(SWITCH)?, "balancer", Verdict::Pass)?,
            site,
        })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The router; its interfaces are `wan` and `lan`.
    #[must_use]
    pub fn router(&self) -> &Netns {
        &self.router
    }

    /// The switch; its ports are called like the nodes at their other ends.
    #[must_use]
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// The balancer; its interface is `eth0`. Runs in here see the BPF file system.
    #[must_use]
    pub fn balancer(&self) -> &Netns {
        &self.balancer
    }

    /// The real servers.
    #[must_use]
    pub fn reals(&self) -> &[Real] {
        &self.reals
    }

    /// The real server with this number, from 1.
    ///
    /// # Panics
    /// When the lab has no such server.
    #[must_use]
    pub fn real(&self, number: usize) -> &Real {
        &self.reals[number - 1]
    }

    /// Runs the closure in a thread in the balancer, where the BPF file system is seen.
    pub fn in_balancer<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.balancer.run(work)
    }

    /// The switch's port towards the balancer: where to see what enters (outgoing, from here) and
    /// leaves the balancer, although XDP handles it.
    #[must_use]
    pub fn balancer_port(&self) -> Port {
        Port::new(&self.switch, "balancer")
    }

    /// The switch's port towards a real server.
    #[must_use]
    pub fn real_port(&self, real: &Real) -> Port {
        Port::new(&self.switch, real.name())
    }

    /// The router's interface on the LAN: where to send frames as if they came from clients.
    #[must_use]
    pub fn router_lan(&self) -> Port {
        Port::new(&self.router, "lan")
    }

    /// The lab's directory: logs, configuration, the socket.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.site.dir()
    }

    /// Where the daemon pins, on a BPF file system which only the balancer sees.
    #[must_use]
    pub fn pin_dir(&self) -> PathBuf {
        self.dir().join(BPF).join("lb")
    }

    /// The daemon's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir().join("lbd.sock")
    }

    /// A configuration with these VIPs (`[[vip]]` and below) for a daemon in this lab.
    #[must_use]
    pub fn config(&self, vips: &str) -> String {
        format!(
            "[node]\ninterfaces = [\"eth0\"]\nsocket = {:?}\nstate_dir = {:?}\npin_dir = {:?}\n\n{vips}",
            self.socket(),
            self.dir().join("state"),
            self.pin_dir(),
        )
    }

    /// Starts `lbd` in the balancer with this configuration and waits until it is ready.
    pub fn daemon(&self, config: &str) -> Result<Daemon> {
        Daemon::start(self, config)
    }

    /// Starts `lbd` in the balancer with this file and waits until it is ready.
    pub fn daemon_with(&self, file: &Path) -> Result<Daemon> {
        Daemon::start_with(self, file)
    }

    /// Runs `lbctl` in the balancer, whether a daemon is running or not.
    pub fn lbctl(&self, words: &[&str]) -> Result<Output> {
        crate::daemon::lbctl(&self.balancer, &self.socket(), words)
    }
}
