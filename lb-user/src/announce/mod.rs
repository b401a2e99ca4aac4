//! How routers find a VIP: its address on an interface, which the kernel then answers for, and
//! frames that tell neighbours before they ask.
//!
//! IPv4 by ARP. What IPv6 has in its place (duplicate address detection, unsolicited neighbour
//! advertisements) belongs beside `arp`, with the same three operations.

mod addresses;
mod arp;
mod socket;

use std::{collections::BTreeSet, io, net::Ipv4Addr, time::Duration};

use tokio::time::{sleep, timeout};

pub use addresses::{Addresses, Error, Found};
use arp::{Operation, Packet};
use socket::Socket;

use crate::model::Mac;

/// How long [`probe`] listens unless there is a reason for another time.
pub const PATIENCE: Duration = Duration::from_millis(250);

const PROBES: usize = 2;
const BETWEEN_PROBES: Duration = Duration::from_millis(100);

/// Another machine that uses an address, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Which address.
    pub address: Ipv4Addr,
    /// The machine's MAC address, by its own account.
    pub mac: Mac,
}

/// Asks whether another machine uses any of the addresses, all at once, and returns after
/// `patience` who does (RFC 5227, section 2.1.1, in less time than its 3 to 7 seconds: a VIP that
/// moves must not wait that long). No cache of any machine changes by it.
///
/// # Errors
/// If frames cannot be sent or received on the interface.
pub async fn probe(
    interface: u32,
    own: Mac,
    addresses: &[Ipv4Addr],
    patience: Duration,
) -> io::Result<Vec<Conflict>> {
    let socket = Socket::open(interface)?;
    let addresses: BTreeSet<_> = addresses.iter().copied().collect();
    let mut conflicts = BTreeSet::new();
    let ask = ask(&socket, own, &addresses);
    let listen = listen(&socket, own, &addresses, &mut conflicts);
    // Both end by an error only; that the time is up is how it ends well.
    if let Ok(Err(error)) = timeout(patience, futures_util::future::try_join(ask, listen)).await {
        return Err(error);
    }
    Ok(conflicts.into_iter().collect())
}

async fn ask(socket: &Socket, own: Mac, addresses: &BTreeSet<Ipv4Addr>) -> io::Result<()> {
    for _ in 0..PROBES {
        for address in addresses {
            socket.send(&Packet::probe(own, *address).broadcast()).await?;
        }
        sleep(BETWEEN_PROBES).await;
    }
    Ok(())
}

async fn listen(
    socket: &Socket,
    own: Mac,
    addresses: &BTreeSet<Ipv4Addr>,
    conflicts: &mut BTreeSet<Conflict>,
) -> io::Result<()> {
    let mut frame = [0; arp::FRAME];
    loop {
        let length = socket.receive(&mut frame).await?;
        let packet = frame.get(..length).and_then(Packet::parse);
        let claim =
            packet.filter(|packet| packet.sender_mac != own).and_then(|packet| packet.claim());
        conflicts.extend(claim.filter(|claim| addresses.contains(&claim.address)));
    }
}

/// Tells all neighbours that the addresses are at this MAC address: those that know another one
/// change it.
///
/// # Errors
/// If frames cannot be sent on the interface.
pub async fn gratuitous(interface: u32, own: Mac, addresses: &[Ipv4Addr]) -> io::Result<()> {
    let socket = Socket::open(interface)?;
    for address in addresses {
        // The request is the announcement of RFC 5227, section 3; some devices heed replies only.
        for operation in [Operation::Request, Operation::Reply] {
            socket.send(&Packet::announcement(operation, own, *address).broadcast()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
