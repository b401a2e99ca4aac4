//! Servers within this process: each on a thread of its own, until their guard is dropped.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use tokio::{runtime, sync::oneshot};

use crate::netns::Netns;

/// Tasks on a thread, ended on drop.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Runs what the closure spawns.
    pub(crate) fn start(spawn: impl FnOnce() -> io::Result<()>) -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        spawn()?;
        drop(inside);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            // The guard says nothing; it is gone.
            let _ = runtime.block_on(stopped);
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by itself.
            let _ = thread.join();
        }
    }
}

/// Listens at these places in the namespace, for tasks.
pub(crate) fn listen(netns: &Netns, places: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    bind(netns, places, |place| {
        let listener = TcpListener::bind(place)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })
}

/// Has sockets for datagrams at these places in the namespace, for tasks.
pub(crate) fn datagrams(netns: &Netns, places: &[SocketAddr]) -> Result<Vec<UdpSocket>> {
    bind(netns, places, |place| {
        let socket = UdpSocket::bind(place)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })
}

fn bind<S: Send>(
    netns: &Netns,
    places: &[SocketAddr],
    bind: impl Fn(SocketAddr) -> io::Result<S> + Sync,
) -> Result<Vec<S>> {
    netns.run(|| {
        let sockets =
            places.iter().map(|place| bind(*place).with_context(|| format!("cannot bind {place}")));
        sockets.collect()
    })
}
