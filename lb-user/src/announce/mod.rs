//! How routers find a VIP: its address on an interface, which the kernel then answers for, and
//! frames that tell neighbours before they ask.
//!
//! IPv4 by ARP, IPv6 by Neighbour Discovery: `arp` and `nd` have the same three operations, which
//! are a question, an announcement and what a frame claims.

mod addresses;
mod arp;
mod nd;
mod socket;
pub mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    time::Duration,
};

use futures_util::future::try_join;
use tokio::time::{sleep, timeout};

pub use addresses::{Addresses, Error, Found};
pub(crate) use socket::Socket;

use crate::model::Mac;

/// How long [`probe`] listens unless there is a reason for another time.
pub const PATIENCE: Duration = Duration::from_millis(250);

const PROBES: usize = 2;
const BETWEEN_PROBES: Duration = Duration::from_millis(100);

/// The longest packet that every IPv6 link carries, behind an Ethernet header. What has to be heard
/// is far shorter.
pub(crate) const LONGEST: usize = 14 + 1280;

/// Another machine that uses an address, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Which address.
    pub address: IpAddr,
    /// The machine's MAC address, by its own account.
    pub mac: Mac,
}

/// What a family's addresses are asked for and announced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Arp,
    Nd,
}

impl Protocol {
    /// By which an address is asked for.
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Arp } else { Self::Nd }
    }

    pub(crate) fn open(self, interface: u32) -> io::Result<Socket> {
        match self {
            Self::Arp => Socket::open(interface, arp::ETHERTYPE, &[]),
            Self::Nd => Socket::open(interface, nd::ETHERTYPE, &nd::FILTER),
        }
    }

    fn claim(self, frame: &[u8]) -> Option<Conflict> {
        match self {
            Self::Arp => arp::claim(frame),
            Self::Nd => nd::claim(frame),
        }
    }

    /// What the sender of a frame says to have: unlike a claim, this is no question whether the address is
    /// free, which a machine may put that never means to take it, such as another balancer that watches.
    pub(crate) fn assertion(self, frame: &[u8]) -> Option<Conflict> {
        match self {
            Self::Arp => arp::assertion(frame),
            Self::Nd => nd::assertion(frame),
        }
    }
}

/// The frame that asks everyone whether they have the address; it changes no cache.
pub(crate) fn question(own: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp::question(own, address),
        IpAddr::V6(address) => nd::question(own, address),
    }
}

/// The same question to one machine alone.
pub(crate) fn question_to(own: Mac, machine: Mac, address: IpAddr) -> Vec<u8> {
    let mut frame = question(own, address);
    frame[..6].copy_from_slice(&machine.0);
    frame
}

fn announcements(own: Mac, address: IpAddr) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => arp::announcements(own, address),
        IpAddr::V6(address) => vec![nd::announcement(own, address)],
    }
}

/// The addresses by what they are asked for with.
fn by_protocol(addresses: &[IpAddr]) -> [(Protocol, BTreeSet<IpAddr>); 2] {
    let (v4, v6) = addresses.iter().partition(|address| address.is_ipv4());
    [(Protocol::Arp, v4), (Protocol::Nd, v6)]
}

/// Asks whether another machine uses any of the addresses, all at once, and returns after
/// `patience` who does, one for each address (RFC 5227, section 2.1.1, and RFC 4862, section 5.4, in
/// less time than their 3 to 7 seconds and 1 second: a VIP that moves must not wait that long). No
/// cache of any machine changes by it.
///
/// # Errors
/// If frames cannot be sent or received on the interface.
pub async fn probe(
    interface: u32,
    own: Mac,
    addresses: &[IpAddr],
    patience: Duration,
) -> io::Result<Vec<Conflict>> {
    let [v4, v6] = by_protocol(addresses)
        .map(|(protocol, addresses)| heard(protocol, interface, own, addresses, patience));
    let (v4, v6) = try_join(v4, v6).await?;
    Ok(v4.into_iter().chain(v6).map(|(address, mac)| Conflict { address, mac }).collect())
}

/// Who has answered for each of the addresses first.
async fn heard(
    protocol: Protocol,
    interface: u32,
    own: Mac,
    addresses: BTreeSet<IpAddr>,
    patience: Duration,
) -> io::Result<BTreeMap<IpAddr, Mac>> {
    let mut heard = BTreeMap::new();
    if addresses.is_empty() {
        return Ok(heard);
    }
    let socket = protocol.open(interface)?;
    let _membership = nd::join(interface, &addresses)?;
    let ask = ask(&socket, own, &addresses);
    let listen = listen(protocol, &socket, own, &addresses, &mut heard);
    // Both end by an error only; that the time is up is how it ends well.
    if let Ok(Err(error)) = timeout(patience, try_join(ask, listen)).await {
        return Err(error);
    }
    Ok(heard)
}

async fn ask(socket: &Socket, own: Mac, addresses: &BTreeSet<IpAddr>) -> io::Result<()> {
    for _ in 0..PROBES {
        for address in addresses {
            socket.send(&question(own, *address)).await?;
        }
        sleep(BETWEEN_PROBES).await;
    }
    Ok(())
}

async fn listen(
    protocol: Protocol,
    socket: &Socket,
    own: Mac,
    addresses: &BTreeSet<IpAddr>,
    heard: &mut BTreeMap<IpAddr, Mac>,
) -> io::Result<()> {
    let mut frame = [0; LONGEST];
    loop {
        let length = socket.receive(&mut frame).await?;
        let claim = frame.get(..length).and_then(|frame| protocol.claim(frame));
        // What comes back to this machine, as through a switch with a loop, is no other's.
        if let Some(Conflict { address, mac }) = claim.filter(|claim| claim.mac != own)
            && addresses.contains(&address)
        {
            heard.entry(address).or_insert(mac);
        }
    }
}

/// Tells all neighbours that the addresses are at this MAC address: those that know another one
/// change it.
///
/// # Errors
/// If frames cannot be sent on the interface.
pub async fn gratuitous(interface: u32, own: Mac, addresses: &[IpAddr]) -> io::Result<()> {
    for (protocol, addresses) in by_protocol(addresses) {
        if addresses.is_empty() {
            continue;
        }
        let socket = protocol.open(interface)?;
        for frame in addresses.into_iter().flat_map(|address| announcements(own, address)) {
            socket.send(&frame).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
