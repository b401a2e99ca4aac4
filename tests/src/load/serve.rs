//! The servers of the load: in each real's namespace a TCP and a UDP echo, all of them served by one
//! thread.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::AsFd as _,
    sync::Arc,
    thread,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{Backlog, listen};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net, runtime,
    sync::{oneshot, watch},
};

use super::{QUERY_PORT, TCP_PORT};
use crate::{lab::Lab, real::Real};

/// How many connections may wait to be accepted; a flood of SYNs must not be what ends the load.
const BACKLOG: i32 = 4096;
/// The longest message.
const MESSAGE: usize = 512;

/// Echoes at these VIPs on all reals of a lab, stopped on drop. By TCP (port 80) a real tells its
/// name and a line's end, and then sends back what it gets; by UDP (port 53) it answers with its name,
/// a space and what it got.
#[derive(Debug)]
pub struct Servers {
    stop: Option<oneshot::Sender<()>>,
    /// By the names of the reals: changes whenever one forgets its connections.
    forget: BTreeMap<Arc<str>, watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The sockets of one real at one VIP.
struct Place {
    name: Arc<str>,
    forgotten: watch::Receiver<()>,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Place {
    /// Binds inside the real's namespace, to which the sockets belong from then on, as do those of
    /// the connections they accept.
    fn new(real: &Real, vip: IpAddr, forgotten: watch::Receiver<()>) -> Result<Self> {
        real.netns().run(|| {
            let at = |port| SocketAddr::new(vip, port);
            let tcp = TcpListener::bind(at(TCP_PORT)).context("cannot bind the TCP echo")?;
            listen(&tcp.as_fd(), Backlog::new(BACKLOG)?)?;
            let udp = UdpSocket::bind(at(QUERY_PORT)).context("cannot bind the UDP echo")?;
            tcp.set_nonblocking(true)?;
            udp.set_nonblocking(true)?;
            Ok(Self { name: real.name().into(), forgotten, tcp, udp })
        })
    }
}

impl Servers {
    /// Starts the echoes on all reals, which have these VIPs on `lo` already.
    pub fn start(lab: &Lab, vips: &[IpAddr]) -> Result<Self> {
        let mut forget = BTreeMap::new();
        let mut places = Vec::new();
        for real in lab.reals() {
            let (sender, forgotten) = watch::channel(());
            forget.insert(real.name().into(), sender);
            for vip in vips {
                places.push(Place::new(real, *vip, forgotten.clone())?);
            }
        }
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                for place in places {
                    spawn(place);
                }
                // An error is the other end's drop, which means the same.
                let _ = stopped.await;
            });
        });
        Ok(Self { stop: Some(stop), forget, thread: Some(thread) })
    }

    /// A real forgets all its connections, as if it had been restarted. What a connection has left that
    /// was moved away would otherwise answer, instead of a reset, to a later one with the same ports.
    pub fn forget(&self, real: &str) {
        if let Some(forget) = self.forget.get(real) {
            forget.send_replace(());
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by itself.
            let _ = thread.join();
        }
    }
}

fn spawn(place: Place) {
    let name = Arc::clone(&place.name);
    tokio::spawn(async move {
        let Ok(listener) = net::TcpListener::from_std(place.tcp) else { return };
        loop {
            // What fails is one connection, which was gone before it was accepted.
            if let Ok((stream, _)) = listener.accept().await {
                let mut forgotten = place.forgotten.clone();
                forgotten.mark_unchanged();
                tokio::spawn(serve(stream, Arc::clone(&name), forgotten));
            }
        }
    });
    tokio::spawn(async move {
        let Ok(socket) = net::UdpSocket::from_std(place.udp) else { return };
        answer(&socket, &place.name).await;
    });
}

/// Serves one connection, until whichever end; why it ended is for the client to judge.
async fn serve(mut stream: net::TcpStream, name: Arc<str>, mut forgotten: watch::Receiver<()>) {
    tokio::select! {
        () = echo(&mut stream, &name) => {}
        // Without a trace: the kernel would go on trying to close it.
        _ = forgotten.changed() => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
    }
}

async fn echo(stream: &mut net::TcpStream, name: &str) {
    let _ = stream.set_nodelay(true);
    if stream.write_all(format!("{name}\n").as_bytes()).await.is_err() {
        return;
    }
    let mut message = [0; MESSAGE];
    while let Ok(length @ 1..) = stream.read(&mut message).await {
        if stream.write_all(&message[..length]).await.is_err() {
            return;
        }
    }
}

async fn answer(socket: &net::UdpSocket, name: &str) {
    let mut message = [0; MESSAGE];
    loop {
        // Errors are late ICMP messages about clients that are gone.
        if let Ok((length, from)) = socket.recv_from(&mut message).await {
            let answer = [name.as_bytes(), b" ", &message[..length]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    }
}
