//! The lab as a whole.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    access::AccessPort,
    address,
    balancer::Balancer,
    client::Client,
    daemon::Daemon,
    netns::Netns,
    persist::Persist,
    port::Port,
    process::Output,
    real::Real,
    site::{BPF, Site},
    topology::{self, SECOND_SWITCH, SWITCH},
    xdp,
};

/// The longest packet of a lab, when nothing else is said.
const MTU: u32 = 1500;
/// Up to this MTU a frame fits into a page, with all that the kernel puts around it.
const MTU_OF_ONE_PAGE: u32 = 3000;

/// What may be different from lab to lab.
#[derive(Clone, Copy, Debug)]
pub struct LabOptions {
    /// How many real servers there are on the LAN: 10.0.0.11, 10.0.0.12 and so on.
    pub reals: u8,
    /// How many more there are on a second LAN, which the balancers reach by `eth1`: 10.0.1.21,
    /// 10.0.1.22 and so on. Zero: there is no second LAN.
    pub second_lan_reals: u8,
    /// How many balancers there are: 10.0.0.2, 10.0.0.3 and so on.
    pub balancers: u8,
    /// The longest packet on all links.
    pub mtu: u32,
}

impl LabOptions {
    /// Nothing extraordinary, with so many real servers.
    #[must_use]
    pub const fn reals(reals: u8) -> Self {
        Self { reals, second_lan_reals: 0, balancers: 1, mtu: MTU }
    }
}

impl Default for LabOptions {
    fn default() -> Self {
        Self::reals(3)
    }
}

/// A client, a router, switches, balancers and real servers, wired up. Nothing of it is left after
/// drop.
#[derive(Debug)]
pub struct Lab {
    client: Client,
    router: Netns,
    switch: Netns,
    second_switch: Option<Netns>,
    balancers: Vec<Balancer>,
    reals: Vec<Real>,
    /// Keep the passing programs at the switches' ports towards the balancers.
    passes: Vec<OwnedFd>,
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
        ensure!(options.balancers == 1, "a lab that stays has one balancer");
        let site = Site::public(place)?;
        let lab = Self::build(site, options).and_then(|lab| {
            for (number, pass) in lab.passes.iter().enumerate() {
                let name =
                    if number == 0 { "lab_pass".into() } else { format!("lab_pass{number}") };
                xdp::pin(pass, &place.dir.join(BPF).join(name))?;
            }
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
        ensure!(options.balancers > 0, "a lab has a balancer");
        let balancers: Vec<_> = (1..=options.balancers)
            .map(|number| Self::place(&site, number))
            .collect::<Result<_>>()?;
        let mut spaces: BTreeMap<_, _> = balancers
            .iter()
            .map(|balancer| (balancer.netns().name().to_owned(), balancer.netns().clone()))
            .collect();
        let nodes = topology::nodes(&options);
        let switches = topology::switches(&options).iter().copied();
        for name in switches.chain(nodes.iter().map(|node| &*node.name)) {
            if !spaces.contains_key(name) {
                spaces.insert(name.to_owned(), site.netns(name)?);
            }
        }
        topology::lay(&options, &nodes, &spaces)?;

        let space = |name: &str| spaces.get(name).cloned().context("a node has no namespace");
        let reals = (1..).zip(topology::reals(&options)).map(|(number, address)| {
            Real::new(address, space(&topology::real_name(number))?, site.dir())
        });
        let long = options.mtu > MTU_OF_ONE_PAGE;
        let passes = topology::balancer_ports(&options)
            .map(|(switch, port)| xdp::attach_gate(&space(switch)?, &port, long));
        Ok(Self {
            client: Client::new(space("client")?),
            router: space("router")?,
            switch: space(SWITCH)?,
            second_switch: spaces.get(SECOND_SWITCH).cloned(),
            balancers,
            reals: reals.collect::<Result<_>>()?,
            passes: passes.collect::<Result<_>>()?,
            site,
        })
    }

    /// The place for a balancer. The first one's directory is the lab's.
    fn place(site: &Site, number: u8) -> Result<Balancer> {
        let name = topology::balancer_name(number);
        let mut dir = site.dir().to_owned();
        if number > 1 {
            dir.push(&name);
            fs::create_dir(&dir)?;
        }
        let netns = site.netns_with_bpf(&name, &dir)?;
        Ok(Balancer::new(address::balancer(number), netns, dir))
    }

    /// Whether this kernel has VLAN devices: by making one, in a namespace that is gone afterwards.
    pub fn has_vlan_devices() -> Result<bool> {
        let netns = Netns::anonymous("probe", None)?;
        netns.ip("link add name near type veth peer name far")?;
        Ok(netns.ip("link add link near name tagged type vlan id 2").is_ok())
    }

    /// Whether this kernel has what access ports are made of: by making one, in a namespace that is
    /// gone afterwards.
    pub fn has_access_ports() -> Result<bool> {
        let netns = Netns::anonymous("probe", None)?;
        Ok(AccessPort::new(&Port::new(&netns, "lo"), 2).is_ok())
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

    /// The second LAN's switch, if there is a second LAN; its ports are called like the first's.
    #[must_use]
    pub fn second_switch(&self) -> Option<&Netns> {
        self.second_switch.as_ref()
    }

    /// The first balancer; its interface is `eth0`, and `eth1` on the second LAN. Runs in here see
    /// the BPF file system.
    #[must_use]
    pub fn balancer(&self) -> &Netns {
        self.balancers[0].netns()
    }

    /// All balancers.
    #[must_use]
    pub fn balancers(&self) -> &[Balancer] {
        &self.balancers
    }

    /// The real servers, those of the second LAN last.
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
        self.balancer().run(work)
    }

    /// The switch's port towards the balancer: where to see what enters (outgoing, from here) and
    /// leaves the balancer, although XDP handles it.
    #[must_use]
    pub fn balancer_port(&self) -> Port {
        Port::new(&self.switch, "balancer")
    }

    /// The switch's port towards any balancer.
    #[must_use]
    pub fn port_of(&self, balancer: &Balancer) -> Port {
        Port::new(&self.switch, balancer.netns().name())
    }

    /// The second switch's port towards a balancer's `eth1`, if there is a second LAN.
    #[must_use]
    pub fn second_port_of(&self, balancer: &Balancer) -> Option<Port> {
        Some(Port::new(self.second_switch.as_ref()?, balancer.netns().name()))
    }

    /// The switch's port towards a real server, of whichever LAN it is on.
    #[must_use]
    pub fn real_port(&self, real: &Real) -> Port {
        let far = !address::on_lan(real.address());
        let switch = self.second_switch.as_ref().filter(|_| far).unwrap_or(&self.switch);
        Port::new(switch, real.name())
    }

    /// The switch's port towards the router.
    #[must_use]
    pub fn router_port(&self) -> Port {
        Port::new(&self.switch, "router")
    }

    /// Makes a port of a switch an access port of this VLAN for as long as the result is held. Wants
    /// kernel 6.6, but no VLAN devices.
    pub fn access_port(&self, port: &Port, vlan: u16) -> Result<AccessPort> {
        AccessPort::new(port, vlan)
    }

    /// Has the switch forget where everybody is, and not learn it again: from now on every frame
    /// goes to every port.
    pub fn flood(&self) -> Result<()> {
        self.switch.ip("link set br0 type bridge ageing_time 0 fdb_flush").map(drop)
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
        self.balancers[0].pin_dir()
    }

    /// The daemon's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.balancers[0].socket()
    }

    /// A configuration with these VIPs (`[[vip]]` and below) for a daemon in this lab.
    #[must_use]
    pub fn config(&self, vips: &str) -> String {
        self.balancers[0].config(vips)
    }

    /// Starts `lbd` in the balancer with this configuration and waits until it is ready.
    pub fn daemon(&self, config: &str) -> Result<Daemon> {
        self.balancers[0].daemon(config)
    }

    /// Starts `lbd` in the balancer with this file and waits until it is ready.
    pub fn daemon_with(&self, file: &Path) -> Result<Daemon> {
        self.balancers[0].daemon_with(file)
    }

    /// Runs `lbctl` in the balancer, whether a daemon is running or not.
    pub fn lbctl(&self, words: &[&str]) -> Result<Output> {
        self.balancers[0].lbctl(words)
    }
}
