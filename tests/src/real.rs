//! A real server.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Result;
use lb_user::model::Mac;

use crate::{
    address,
    certificates::Identity,
    faulty::{Faulty, Full, Manner},
    grpc_health::GrpcHealth,
    name_server::NameServer,
    netns::Netns,
    nginx::{Listen, Nginx},
    sshd::{SshKeys, Sshd},
    udp_echo::UdpEcho,
    wait,
};

/// A real server: a node on a LAN with its default routes at the router.
#[derive(Debug)]
pub struct Real {
    netns: Netns,
    address: IpAddr,
    dir: PathBuf,
}

impl Real {
    pub(crate) fn new(address: IpAddr, netns: Netns, lab: &Path) -> Result<Self> {
        let dir = lab.join(netns.name());
        fs::create_dir(&dir)?;
        Ok(Self { netns, address, dir })
    }

    /// Its name, by which its programs answer.
    #[must_use]
    pub fn name(&self) -> &str {
        self.netns.name()
    }

    /// Where it is.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where its programs keep their files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its real address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its real IPv6 address.
    #[must_use]
    pub fn address6(&self) -> IpAddr {
        address::beside(self.address)
    }

    /// The address of its network card.
    #[must_use]
    pub fn mac(&self) -> Mac {
        address::mac(self.address)
    }

    /// Makes the VIP an address of this server, as an operator must for Direct Server Return.
    ///
    /// The parameters come first: a server that owns the VIP for a moment without them answers the
    /// router's ARP request and takes all of the VIP's traffic. They are set on the interface too
    /// since the kernel takes the maximum of `all` and the *receiving* interface.
    ///
    /// IPv6 needs none of them: Linux answers a neighbour solicitation only for an address of the
    /// interface on which it arrived.
    pub fn set_up_dsr(&self, vip: IpAddr) -> Result<()> {
        if vip.is_ipv6() {
            return self.add_vip(vip);
        }
        self.netns.sysctl(&[
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/eth0/rp_filter", "0"),
            ("ipv4/conf/all/arp_ignore", "1"),
            ("ipv4/conf/eth0/arp_ignore", "1"),
            ("ipv4/conf/all/arp_announce", "2"),
            ("ipv4/conf/eth0/arp_announce", "2"),
        ])?;
        self.add_vip(vip)
    }

    /// Adds the VIP to `lo` and nothing else, as an operator who forgot the rest.
    pub fn add_vip(&self, vip: IpAddr) -> Result<()> {
        let whole = if vip.is_ipv4() { "32" } else { "128 nodad" };
        self.netns.ip(&format!("addr add dev lo {vip}/{whole}"))?;
        self.owns(vip)
    }

    /// Waits until an address that was added is one of this machine's: the kernel adds the route to one of
    /// IPv6 a moment later.
    fn owns(&self, address: IpAddr) -> Result<()> {
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        wait::until(&format!("a route to {address}"), wait::PATIENCE, || {
            let way = self.netns.ip(&format!("{family} route get {address}"))?;
            Ok(way.starts_with("local").then_some(()))
        })
    }

    /// Takes the VIP away.
    pub fn remove_vip(&self, vip: IpAddr) -> Result<()> {
        let whole = if vip.is_ipv4() { 32 } else { 128 };
        self.netns.ip(&format!("addr del {vip}/{whole} dev lo")).map(drop)
    }

    /// Starts nginx on port 80 of these addresses.
    pub fn nginx(&self, addresses: &[IpAddr]) -> Result<Nginx> {
        let places: Vec<_> =
            addresses.iter().map(|address| SocketAddr::new(*address, 80)).collect();
        self.nginx_at(&places)
    }

    /// Starts nginx on these addresses and ports.
    pub fn nginx_at(&self, places: &[SocketAddr]) -> Result<Nginx> {
        let listens: Vec<_> = places.iter().map(|place| Listen::plain(*place)).collect();
        self.nginx_with(&listens)
    }

    /// Starts nginx that listens in these ways.
    pub fn nginx_with(&self, listens: &[Listen]) -> Result<Nginx> {
        Nginx::start(&self.netns, &self.dir, listens)
    }

    /// Starts `sshd`, for whoever has these keys, on what is a machine of its own from then on.
    pub fn sshd(&self, keys: &SshKeys) -> Result<Sshd> {
        Sshd::start(&self.netns, &self.dir, keys)
    }

    /// Starts a name server at port 53 of these addresses.
    pub fn name_server(&self, addresses: &[IpAddr]) -> Result<NameServer> {
        NameServer::start(&self.netns, &self.dir, addresses)
    }

    /// Starts a gRPC server that tells its health at these places, with TLS if it has a certificate.
    pub fn grpc_health(&self, places: &[SocketAddr], tls: Option<&Identity>) -> Result<GrpcHealth> {
        GrpcHealth::start(&self.netns, places, tls)
    }

    /// Takes connections at these places, and treats them in this manner.
    pub fn faulty_tcp(&self, places: &[SocketAddr], manner: Manner) -> Result<Faulty> {
        Faulty::tcp(&self.netns, places, manner)
    }

    /// Takes datagrams at these places, and treats them in this manner.
    pub fn faulty_udp(&self, places: &[SocketAddr], manner: Manner) -> Result<Faulty> {
        Faulty::udp(&self.netns, places, manner)
    }

    /// Has the kernel leave SYNs to these places unanswered.
    pub fn full(&self, places: &[SocketAddr]) -> Result<Full> {
        Full::new(&self.netns, places)
    }

    /// Starts a UDP echo which answers with its server's name, a space and what it got.
    pub fn udp_echo(&self, address: IpAddr, port: u16) -> Result<UdpEcho> {
        UdpEcho::start(&self.netns, SocketAddr::new(address, port))
    }
}
