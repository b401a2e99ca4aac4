//! Servers that do not do what they should, or do it on command.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    sync::watch,
    time::sleep,
};

use crate::{
    background::{self, Background},
    netns::Netns,
};

/// What a [`Faulty`] server does. Whoever drips or is silent holds connections until the client goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It takes connections and says nothing, ever.
    Silent,
    /// It closes connections as soon as they are open. Datagrams it ignores.
    Closes,
    /// When it has heard something it says this, and closes.
    Says(Vec<u8>),
    /// It says this, a byte at a time, without waiting for a question; then it is silent. Of datagrams, each
    /// has a byte.
    Drips(Vec<u8>),
    /// When it has heard something it says this, and then zeros without end; the same with datagrams, but not
    /// without end.
    Floods(Vec<u8>),
}

impl Manner {
    /// What nobody can take for an answer of any protocol.
    #[must_use]
    pub fn garbage() -> Self {
        Self::Says((0..512).map(|number| (number * 7 + 129) as u8 | 0x80).collect())
    }

    /// An answer of HTTP with this status and body.
    #[must_use]
    pub fn http(status: &str, body: &str) -> Self {
        let length = body.len();
        Self::Says(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into())
    }
}

/// How long it pauses between bytes when it drips.
const DROP: Duration = Duration::from_millis(20);
/// How many datagrams are a flood.
const FLOOD: usize = 200;

/// A server, stopped on drop.
#[derive(Debug)]
pub struct Faulty {
    manner: watch::Sender<Manner>,
    _serves: Background,
}

impl Faulty {
    /// Takes connections at these places.
    pub fn tcp(netns: &Netns, places: &[SocketAddr], manner: Manner) -> Result<Self> {
        let listeners = background::listen(netns, places)?;
        let (manner, manners) = watch::channel(manner);
        let serves = Background::start(|| {
            for listener in listeners {
                let listener = TcpListener::from_std(listener)?;
                tokio::spawn(accept(listener, manners.clone()));
            }
            Ok(())
        })?;
        Ok(Self { manner, _serves: serves })
    }

    /// Takes datagrams at these places.
    pub fn udp(netns: &Netns, places: &[SocketAddr], manner: Manner) -> Result<Self> {
        let sockets = background::datagrams(netns, places)?;
        let (manner, manners) = watch::channel(manner);
        let serves = Background::start(|| {
            for socket in sockets {
                let socket = UdpSocket::from_std(socket)?;
                tokio::spawn(answer(socket, manners.clone()));
            }
            Ok(())
        })?;
        Ok(Self { manner, _serves: serves })
    }

    /// What it does with whoever comes from now on.
    pub fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }
}

async fn accept(listener: TcpListener, manner: watch::Receiver<Manner>) {
    loop {
        // An error is one of a client that is gone already.
        if let Ok((stream, _)) = listener.accept().await {
            let manner = manner.borrow().clone();
            // Clients that have had enough are nothing to speak of.
            tokio::spawn(async move { treat(stream, manner).await.unwrap_or_default() });
        }
    }
}

async fn treat<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, manner: Manner) -> io::Result<()> {
    let mut heard = [0; 4096];
    match manner {
        Manner::Silent => {}
        Manner::Closes => return Ok(()),
        Manner::Says(words) => {
            let _a_question = stream.read(&mut heard).await?;
            stream.write_all(&words).await?;
            return stream.shutdown().await;
        }
        Manner::Drips(words) => {
            for byte in words {
                stream.write_all(&[byte]).await?;
                sleep(DROP).await;
            }
        }
        Manner::Floods(words) => {
            let _a_question = stream.read(&mut heard).await?;
            stream.write_all(&words).await?;
            loop {
                stream.write_all(&[0; 4096]).await?;
            }
        }
    }
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}

async fn answer(socket: UdpSocket, manner: watch::Receiver<Manner>) {
    let mut heard = [0; 4096];
    loop {
        let Ok((_, from)) = socket.recv_from(&mut heard).await else { continue };
        let manner = manner.borrow().clone();
        let answers = match manner {
            Manner::Silent | Manner::Closes => vec![],
            Manner::Says(words) => vec![words],
            Manner::Drips(words) => words.into_iter().map(|byte| vec![byte]).collect(),
            Manner::Floods(words) => vec![words; FLOOD],
        };
        for answer in answers {
            // Whoever asked may be gone.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// A server that is so far behind with its connections that the kernel takes no more: SYNs are not answered.
#[derive(Debug)]
pub struct Full {
    _held: Vec<(Socket, TcpStream)>,
}

impl Full {
    /// Is full at these places, until it is dropped.
    pub fn new(netns: &Netns, places: &[SocketAddr]) -> Result<Self> {
        let fill = |place: &SocketAddr| -> io::Result<_> {
            let listener = Socket::new(Domain::for_address(*place), Type::STREAM, None)?;
            listener.bind(&(*place).into())?;
            // One waits, and there is room for none.
            listener.listen(0)?;
            let waits = TcpStream::connect(place)?;
            Ok((listener, waits))
        };
        let held = netns.run(|| {
            let fill = |place| fill(place).with_context(|| format!("cannot fill {place}"));
            places.iter().map(fill).collect()
        })?;
        Ok(Self { _held: held })
    }
}
