//! VIPs as addresses of this machine.

use std::{future::Future, io, net::IpAddr, time::Duration};

use rtnetlink::{
    AddressMessageBuilder, Handle,
    packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo},
};

/// For the kernel to answer: it takes microseconds, so this only keeps a lost answer from
/// stopping everything.
const PATIENCE: Duration = Duration::from_secs(2);

/// What can go wrong when an address is assigned or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket to the kernel.
    #[error("no netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The interface has no IPv6.
    #[error(
        "{address}: IPv6 is disabled there: `sysctl -w net.ipv6.conf.NAME.disable_ipv6=0` with the \
         interface's name, or announce = \"none\""
    )]
    NoIpv6 {
        /// Which address.
        address: IpAddr,
    },
    /// The kernel refused.
    #[error("{address} on interface {interface}: {source}")]
    Refused {
        /// Which address.
        address: IpAddr,
        /// On which interface.
        interface: u32,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// How an address was found before it was assigned or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was there.
    Present,
    /// It was not.
    Absent,
}

/// Assigns and removes addresses in the network namespace that it was made in.
#[derive(Clone, Debug)]
pub struct Addresses(Handle);

impl Addresses {
    /// Opens a socket to the kernel.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn connect() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Socket)?;
        // Ends by itself when the last handle is gone.
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Sees to it that the address, as a host's alone, is on the interface. Returns how it was
    /// before: what an operator assigned by hand is not the daemon's to remove.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn assign(&self, interface: u32, address: IpAddr) -> Result<Found, Error> {
        let mut add = self.0.address().add(interface, address, length(address));
        // The daemon has probed for it; until the kernel had, it would not answer for it.
        add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        if address.is_ipv6() {
            add.message_mut().attributes.push(AddressAttribute::CacheInfo(not_as_source()));
        }
        match answer(add.execute()).await {
            Ok(()) => Ok(Found::Absent),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(Found::Present),
            // What a lack of privileges brings about is EPERM.
            Err(error) if address.is_ipv6() && error.raw_os_error() == Some(libc::EACCES) => {
                Err(Error::NoIpv6 { address })
            }
            Err(source) => Err(Error::Refused { address, interface, source }),
        }
    }

    /// Sees to it that the address is not on the interface. Returns how it was before.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn remove(&self, interface: u32, address: IpAddr) -> Result<Found, Error> {
        let delete = self.0.address().del(message(interface, address));
        match answer(delete.execute()).await {
            Ok(()) => Ok(Found::Present),
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(Found::Absent),
            Err(source) => Err(Error::Refused { address, interface, source }),
        }
    }
}

/// Valid for ever, and deprecated: answered for, but not chosen as a source (RFC 6724, rule 3).
///
/// The kernel prefers the longest common prefix, counted up to the address's own length, so towards
/// neighbours a VIP/128 would win against the machine's own address/64. The real servers have the
/// VIP themselves and would answer to it at home: health checks, and all else that this machine
/// begins with them, would get no answer. An IPv4 route names its source, so a VIP/32 is in nobody's
/// way.
fn not_as_source() -> CacheInfo {
    let mut lifetimes = CacheInfo::default();
    (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX);
    lifetimes
}

fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn message(interface: u32, address: IpAddr) -> AddressMessage {
    let length = length(address);
    match address {
        IpAddr::V4(address) => {
            let message = AddressMessageBuilder::<std::net::Ipv4Addr>::new();
            message.index(interface).address(address, length).build()
        }
        IpAddr::V6(address) => {
            let message = AddressMessageBuilder::<std::net::Ipv6Addr>::new();
            message.index(interface).address(address, length).build()
        }
    }
}

async fn answer(answer: impl Future<Output = Result<(), rtnetlink::Error>>) -> io::Result<()> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(rtnetlink::Error::NetlinkError(error))) => Err(error.to_io()),
        Ok(Err(other)) => Err(io::Error::other(other)),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
