//! Three machines in a row: the generator, a balancer with two interfaces, a real server.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lb_ebpf::bench::Stream;
use lb_user::model::Mac;

use super::generator::{Generator, Way};
use crate::{
    Daemon, Netns, address, balancer::Balancer, packet::Link, port::Port, process::Output,
    site::Site, wait,
};

/// Whose frames F0 makes, and whom it sends them to.
const BALANCER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const REAL: Mac = Mac([2, 0, 0, 0, 0, 11]);
const GENERATOR: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SECOND: Mac = Mac([2, 0, 0, 0, 3, 2]);

/// The VIPs' port, and the clients'.
const PORT: u16 = 53;
const CLIENT_PORT: u16 = 4000;

/// The last byte of the VIP whose real is on that way.
const fn number(way: Way) -> u8 {
    match way {
        Way::Through => 10,
        Way::Back => 11,
    }
}

/// The VIP whose real is on that way.
const fn vip(way: Way, is_v6: bool) -> IpAddr {
    if is_v6 { address::vip6(number(way)) } else { address::vip(number(way)) }
}

/// What the floors find a service by.
fn floor_key(vip: IpAddr) -> u64 {
    let port = u64::from(PORT.to_be()) << 8 | libc::IPPROTO_UDP as u64;
    match vip {
        IpAddr::V4(vip) => u64::from(u32::from_ne_bytes(vip.octets())) << 32 | port,
        IpAddr::V6(vip) => {
            let bytes = u128::from_ne_bytes(vip.octets());
            (bytes as u64).rotate_left(32) ^ (bytes >> 64) as u64 ^ port
        }
    }
}

/// Where a way's real is.
const fn real(way: Way) -> IpAddr {
    match way {
        Way::Through => address::far_real(1),
        Way::Back => address::real(1),
    }
}

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Forwarder {
    /// `lbd`.
    Lb,
    /// The least that forwards, to where frames came from.
    F0,
    /// The same to a second interface.
    F0Redirect,
    /// The least that balances IPv4, to where frames came from.
    F1,
    /// The same for IPv6.
    F1V6,
    /// The kernel's routing.
    Kernel,
}

impl Forwarder {
    /// All there are.
    pub(super) const ALL: [Self; 6] =
        [Self::Lb, Self::F0, Self::F0Redirect, Self::F1, Self::F1V6, Self::Kernel];

    /// What tables call it.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::F0 | Self::F0Redirect => "F0",
            Self::F1 | Self::F1V6 => "F1",
            Self::Kernel => "kernel",
        }
    }
}

/// The machines. Everything ends with them.
pub(super) struct Chain {
    _daemon: Option<Daemon>,
    _links: Vec<OwnedFd>,
    sender: Port,
    _spaces: [Netns; 2],
    _site: Site,
}

impl Chain {
    /// With this one in the middle.
    pub(super) fn new(forwarder: Forwarder, generator: &mut Generator) -> Result<Self> {
        let site = Site::private()?;
        let spaces = [
            site.netns("generator")?,
            site.netns_with_bpf("balancer", site.dir())?,
            site.netns("real")?,
        ];
        let [near, balancer, far] = &spaces;
        lay(near, balancer, far)?;
        let [sender, receiver] = [Port::new(near, "eth0"), Port::new(far, "eth0")];
        let [inner, outer] = [Port::new(balancer, "eth0"), Port::new(balancer, "eth1")];
        let mut links = vec![
            generator.attach("count_drop", &sender)?,
            generator.attach("count_drop", &receiver)?,
        ];
        let mut daemon = None;
        match forwarder {
            Forwarder::Lb => daemon = Some(start(&site, balancer)?),
            Forwarder::F0 => links.push(generator.attach("f0", &inner)?),
            Forwarder::F0Redirect => {
                generator.redirect_to(&outer)?;
                links.push(generator.attach("f0_redirect", &inner)?);
            }
            Forwarder::F1 | Forwarder::F1V6 => {
                let is_v6 = forwarder == Forwarder::F1V6;
                generator.serve(floor_key(vip(Way::Back, is_v6)), REAL)?;
                links.push(generator.attach(if is_v6 { "f1_v6" } else { "f1" }, &inner)?);
            }
            Forwarder::Kernel => route(balancer)?,
        }
        let [near, balancer, far] = spaces;
        let (_daemon, _links, _spaces, _site) = (daemon, links, [balancer, far], site);
        drop(near);
        Ok(Self { _daemon, _links, sender, _spaces, _site })
    }

    /// Where the generator sends.
    pub(super) fn sender(&self) -> &Port {
        &self.sender
    }
}

/// Cables and addresses.
fn lay(near: &Netns, balancer: &Netns, far: &Netns) -> Result<()> {
    for netns in [near, balancer, far] {
        netns.sysctl(&[
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/addr_gen_mode", "1"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
        ])?;
    }
    let [near_path, far_path] = [near.path(), far.path()];
    balancer.ip_batch(&format!(
        "link add name eth0 address {BALANCER} type veth peer name eth0 address {GENERATOR} netns {}\n\
         link add name eth1 address {SECOND} type veth peer name eth0 address {REAL} netns {}\n",
        near_path.display(),
        far_path.display(),
    ))?;
    let ends = [
        (near, "eth0", address::ROUTER_LAN),
        (balancer, "eth0", address::BALANCER),
        (balancer, "eth1", address::BALANCER_SECOND_LAN),
        (far, "eth0", real(Way::Through)),
    ];
    for (netns, interface, address) in ends {
        netns.ip_batch(&format!(
            "addr add {address}/24 dev {interface}\n\
             addr add {}/64 dev {interface} nodad\n\
             addr add {}/64 dev {interface} nodad\n\
             link set lo up\n\
             link set {interface} up\n",
            address::beside(address),
            address::link_local(address),
        ))?;
    }
    Ok(())
}

/// Has the kernel route what is for the VIPs to the real. An interface takes frames that XDP sends to it only
/// while it polls, which one with GRO does.
fn route(balancer: &Netns) -> Result<()> {
    balancer.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    let mut ethtool: Command = balancer.command("ethtool");
    Output::of(ethtool.args(["-K", "eth0", "gro", "on"]))?.success()?;
    let (real, real6) = (real(Way::Through), address::beside(real(Way::Through)));
    balancer.ip_batch(&format!(
        "neigh replace {real} lladdr {REAL} dev eth1 nud permanent\n\
         neigh replace {real6} lladdr {REAL} dev eth1 nud permanent\n\
         route add {} via {real} dev eth1\n\
         route add {} via {real6} dev eth1\n",
        address::VIPS,
        address::VIPS6,
    ))
}

/// Starts the daemon, and waits until all VIPs have their reals.
fn start(site: &Site, netns: &Netns) -> Result<Daemon> {
    let balancer = Balancer::new(address::BALANCER, netns.clone(), site.dir().to_owned());
    let vips: String = [Way::Through, Way::Back].into_iter().flat_map(vips).collect();
    let config = balancer.config_on(&["eth0", "eth1"], &vips);
    let config = config.replacen("[node]\n", "[node]\nxdp = \"native\"\n", 1);
    let daemon = balancer.daemon(&config)?.hushed();
    wait::until("usable reals of all VIPs", wait::PATIENCE, || {
        let status = daemon.lbctl(&["-o", "json", "status"])?.success()?.json()?;
        let vips = status["vips"].as_array().context("vips")?;
        let ready = |vip: &serde_json::Value| vip["reals"][0]["share"].as_f64() > Some(0.0);
        Ok((vips.len() == 4 && vips.iter().all(ready)).then_some(()))
    })?;
    Ok(daemon)
}

/// The VIPs of a way, of both families, in the words of the file.
fn vips(way: Way) -> [String; 2] {
    let real = real(way);
    [(false, real), (true, address::beside(real))].map(|(is_v6, real)| {
        let vip = vip(way, is_v6);
        format!(
            "[[vip]]\nname = \"{way:?}-{}\"\naddress = \"{vip}\"\nports = [\"udp/{PORT}\"]\nannounce = \"none\"\n\
             [[vip.real]]\naddress = \"{real}\"\nmac = \"{REAL}\"\n",
            if is_v6 { 6 } else { 4 },
        )
    })
}

/// What goes to the VIP of a way, of so many sources and this often.
pub(super) fn stream(way: Way, is_v6: bool, flows: u32, frames: u32) -> Result<Stream> {
    const ROOM: [u8; 22] = [0; 22];
    let link = Link::new(GENERATOR, BALANCER);
    let bytes = match vip(way, is_v6) {
        IpAddr::V4(vip) => {
            let client = Ipv4Addr::UNSPECIFIED;
            link.ipv4(client, vip).udp(CLIENT_PORT, PORT).payload(&ROOM).build()
        }
        IpAddr::V6(vip) => {
            let client = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
            link.ipv6(client, vip).udp(CLIENT_PORT, PORT).payload(&ROOM[..2]).build()
        }
    };
    ensure!(bytes.len() == Stream::LENGTH, "a frame of {} bytes", bytes.len());
    let mut frame = [0; Stream::LENGTH / 8];
    for (word, bytes) in frame.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    let first_source = if is_v6 { 1 } else { u32::from(Ipv4Addr::new(100, 64, 0, 1)) };
    let header_sum = if is_v6 { 0 } else { header_sum(&bytes[14..34]) };
    let (is_v6, left) = (is_v6.into(), frames);
    Ok(Stream { frame, flows, flow: 0, first_source, is_v6, header_sum, left, first: 0, last: 0 })
}

/// The sum of an IPv4 header's 16-bit words, as they lie in memory, but for the checksum's.
fn header_sum(header: &[u8]) -> u32 {
    const CHECKSUM: usize = 5;
    let words = header.as_chunks().0.iter().enumerate();
    words
        .filter(|(place, _)| *place != CHECKSUM)
        .map(|(_, word)| u32::from(u16::from_ne_bytes(*word)))
        .sum()
}
