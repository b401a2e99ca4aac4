//! Sockets below TCP and UDP.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
};

use etherparse::Ipv4HeaderSlice;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Type};
use tokio::io::{Interest, unix::AsyncFd};

/// Receives all of a protocol that one address sends.
#[derive(Debug)]
pub(super) struct Socket {
    inner: AsyncFd<socket2::Socket>,
    with_header: bool,
}

impl Socket {
    /// A socket that is not connected yet: what fails is this machine's matter.
    pub(super) fn open(to: IpAddr, protocol: Protocol) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address((to, 0).into()), Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        // Else an address that does not resolve is only a silence.
        match to {
            IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
        // SAFETY: the socket is moved in and closes its descriptor itself, when it is dropped,
        // after `AsyncFd` has deregistered it; until then it has always the same one.
        let inner = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { inner, with_header: to.is_ipv4() })
    }

    /// Limits it to one address; says which of ours it is that talks to it.
    pub(super) fn connect(&self, to: IpAddr) -> io::Result<IpAddr> {
        let socket = self.inner.get_ref();
        socket.connect(&SocketAddr::new(to, 0).into())?;
        let own = socket.local_addr()?.as_socket();
        own.map(|own| own.ip()).ok_or_else(|| io::Error::other("a socket without an address"))
    }

    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.inner.async_io(Interest::WRITABLE, |socket| socket.send(packet)).await.map(drop)
    }

    /// The first packet that means something. Many others may arrive: all that the address sends.
    pub(super) async fn receive<T>(&self, meaning: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        let mut buffer = [0; 2048];
        loop {
            let receive = |mut socket: &socket2::Socket| socket.read(&mut buffer);
            let length = self.inner.async_io(Interest::READABLE, receive).await?;
            if let Some(meaning) = self.payload(&buffer[..length]).and_then(&meaning) {
                return Ok(meaning);
            }
        }
    }

    /// Sockets of IPv4 receive the header too, those of IPv6 do not.
    fn payload<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        if !self.with_header {
            return Some(packet);
        }
        let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
        packet.get(header.slice().len()..)
    }
}
