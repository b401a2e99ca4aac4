//! Frames on an interface, below the IP stack.

use std::{
    io::{self, Read},
    time::Duration,
};

use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Type};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};

/// While the interface's queue is full, and how often that is waited for.
const FULL: Duration = Duration::from_millis(1);
const TRIES: usize = 50;

/// Sends any frame, receives those of one Ethernet type.
#[derive(Debug)]
pub(crate) struct Socket(AsyncFd<socket2::Socket>);

impl Socket {
    /// Receives what the filter lets through; all of the type when it is empty.
    pub(crate) fn open(interface: u32, ethertype: u16, filter: &[SockFilter]) -> io::Result<Self> {
        // Without a protocol nothing arrives until `bind` says from where.
        let socket = socket2::Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        if !filter.is_empty() {
            socket.attach_filter(filter)?;
        }
        socket.bind(&address(interface, ethertype)?)?;
        // SAFETY: the socket is moved in and closes its descriptor itself, when it is dropped,
        // after `AsyncFd` has deregistered it; until then it has always the same one.
        let socket = unsafe { AsyncFd::register(socket) };
        Ok(Self(socket?))
    }

    pub(crate) async fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut tries = 0;
        loop {
            let sent = self.0.async_io(Interest::WRITABLE, |socket| socket.send(frame));
            match sent.await {
                Ok(_) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && tries < TRIES => {
                    tries += 1;
                    sleep(FULL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next frame, cut to the length of `frame`.
    pub(crate) async fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        let receive = |mut socket: &socket2::Socket| socket.read(frame);
        self.0.async_io(Interest::READABLE, receive).await
    }
}

fn address(interface: u32, ethertype: u16) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the platform's `sockaddr_*` types.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_protocol = ethertype.to_be();
    link.sll_ifindex = interface.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the first `length` bytes of the storage were written above as a `sockaddr_ll`, and
    // its family says so.
    Ok(unsafe { SockAddr::new(storage, length) })
}
