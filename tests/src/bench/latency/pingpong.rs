//! A message there and back, again and again.

use std::{
    hint,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::{Netns, cpu};

/// How long a message is.
pub(super) const LENGTH: usize = 64;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon a server that sleeps notices that it shall end.
const NAP: Duration = Duration::from_millis(20);

type Message = [u8; LENGTH];

/// What messages go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    /// Datagrams.
    Udp,
    /// One connection, which sends at once.
    Tcp,
}

impl Protocol {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Udp, Self::Tcp];

    /// What tables call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// How both ends wait for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// As most programs do: they sleep, and the kernel wakes them.
    Sleep,
    /// Asking again and again, so that nobody has to be woken.
    Spin,
}

impl Wait {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Sleep, Self::Spin];

    /// What tables call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleeping sockets",
            Self::Spin => "spinning sockets",
        }
    }
}

/// One end.
enum End {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl End {
    fn udp(socket: UdpSocket, wait: Wait) -> Result<Self> {
        match wait {
            Wait::Sleep => socket.set_read_timeout(Some(NAP))?,
            Wait::Spin => socket.set_nonblocking(true)?,
        }
        Ok(Self::Udp(socket))
    }

    fn tcp(stream: TcpStream, wait: Wait) -> Result<Self> {
        stream.set_nodelay(true)?;
        match wait {
            Wait::Sleep => stream.set_read_timeout(Some(NAP))?,
            Wait::Spin => stream.set_nonblocking(true)?,
        }
        Ok(Self::Tcp(stream))
    }

    fn send(&self, message: &Message) -> Result<()> {
        let sent = match self {
            Self::Udp(socket) => socket.send(message)?,
            Self::Tcp(stream) => (&mut &*stream).write(message)?,
        };
        ensure!(sent == LENGTH, "sent {sent} bytes of {LENGTH}");
        Ok(())
    }

    /// Waits for a message; nothing once it shall not wait any longer.
    fn receive(&self, mut shall_wait: impl FnMut() -> bool) -> Result<Option<Message>> {
        let (mut message, mut there) = ([0; LENGTH], 0);
        while there < LENGTH {
            let room = &mut message[there..];
            let received = match self {
                Self::Udp(socket) => socket.recv(room),
                Self::Tcp(stream) => (&mut &*stream).read(room),
            };
            match received {
                Ok(0) => bail!("the other end has closed"),
                Ok(length) => there += length,
                Err(error) if would_wait(&error) => {
                    if !shall_wait() {
                        return Ok(None);
                    }
                    hint::spin_loop();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(message))
    }
}

fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Two ends that are connected.
pub(super) struct Pair {
    client: End,
    server: End,
}

impl Pair {
    /// The server is at this place in its namespace, and is reached from the client's.
    pub(super) fn new(
        client: &Netns,
        server: &Netns,
        place: SocketAddr,
        (protocol, wait): (Protocol, Wait),
    ) -> Result<Self> {
        match protocol {
            Protocol::Udp => {
                let theirs = server.run(|| Ok(UdpSocket::bind(place)?))?;
                let ours = client.run(|| {
                    let socket = UdpSocket::bind("0.0.0.0:0")?;
                    socket.connect(place)?;
                    Ok(socket)
                })?;
                theirs.connect(ours.local_addr()?)?;
                Ok(Self { client: End::udp(ours, wait)?, server: End::udp(theirs, wait)? })
            }
            Protocol::Tcp => {
                let listener = server.run(|| Ok(TcpListener::bind(place)?))?;
                let ours = client.run(|| Ok(TcpStream::connect_timeout(&place, PATIENCE)?))?;
                let (theirs, _) = listener.accept()?;
                Ok(Self { client: End::tcp(ours, wait)?, server: End::tcp(theirs, wait)? })
            }
        }
    }

    /// How long each of so many round trips has taken, in microseconds.
    pub(super) fn play(self, trips: usize) -> Result<Vec<f64>> {
        let stop = AtomicBool::new(false);
        let Self { client, server } = &self;
        thread::scope(|scope| {
            let server = scope.spawn(|| serve(server, &stop));
            let trips = scope.spawn(|| ask(client, trips)).join();
            stop.store(true, Ordering::Relaxed);
            let served = server.join().map_err(|_| anyhow!("the server panicked"))?;
            let trips = trips.map_err(|_| anyhow!("the client panicked"))?;
            // Who has no answer may have no server.
            served.context("the server")?;
            trips
        })
    }
}

fn serve(end: &End, stop: &AtomicBool) -> Result<()> {
    cpu::pin(1)?;
    while let Some(message) = end.receive(|| !stop.load(Ordering::Relaxed))? {
        end.send(&message)?;
    }
    Ok(())
}

fn ask(end: &End, trips: usize) -> Result<Vec<f64>> {
    cpu::pin(0)?;
    let mut took = Vec::with_capacity(trips);
    for number in 0..trips as u64 {
        let mut message = [0; LENGTH];
        message[..8].copy_from_slice(&number.to_ne_bytes());
        let start = Instant::now();
        end.send(&message)?;
        let answer = end.receive(|| start.elapsed() < PATIENCE)?;
        let elapsed = start.elapsed();
        ensure!(answer == Some(message), "no answer, or another, to message {number}");
        took.push(elapsed.as_secs_f64() * 1e6);
    }
    Ok(took)
}
