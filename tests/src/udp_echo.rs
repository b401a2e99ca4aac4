//! A UDP server that says who it is.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// A UDP echo, stopped on drop.
#[derive(Debug)]
pub struct UdpEcho {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    received: AtomicU64,
}

impl UdpEcho {
    /// Binds to exactly this address, so that answers come from it, in this namespace.
    pub(crate) fn start(netns: &Netns, place: SocketAddr) -> Result<Self> {
        let socket =
            netns.run(|| UdpSocket::bind(place).with_context(|| format!("cannot bind {place}")))?;
        // How long a stop may take.
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let shared = Arc::new(Shared::default());
        let (name, theirs) = (netns.name().to_owned(), Arc::clone(&shared));
        let thread = Some(thread::spawn(move || serve(&socket, &name, &theirs)));
        Ok(Self { shared, thread })
    }

    /// How many datagrams it got.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by itself.
            let _ = thread.join();
        }
    }
}

/// Is an echo at this address, in this namespace, until the process is killed.
pub fn serve_at(place: SocketAddr, name: &str) -> Result<()> {
    let socket = UdpSocket::bind(place).with_context(|| format!("cannot bind {place}"))?;
    serve(&socket, name, &Shared::default());
    Ok(())
}

fn serve(socket: &UdpSocket, name: &str, shared: &Shared) {
    let mut buffer = vec![0; 65_536];
    while !shared.stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                shared.received.fetch_add(1, Ordering::Relaxed);
                let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
                // A client that is gone, or a route: the client is the one who notices.
                let _ = socket.send_to(&answer, from);
            }
            // The timeout, or a late ICMP error for an answer.
            Err(error) => debug_assert_ne!(error.kind(), io::ErrorKind::InvalidInput),
        }
    }
}
