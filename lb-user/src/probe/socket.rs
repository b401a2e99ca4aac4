//! What the kinds of probes have in common: time that runs out, connections, and what the errors of sockets
//! mean.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};

use super::{Failure, Target};

/// How much of an answer is read.
pub(super) const ANSWER: usize = 64 * 1024;

pub(super) const CONNECTING: &str = "connecting";
pub(super) const SENDING: &str = "sending the question";
pub(super) const WAITING: &str = "waiting for the answer";
pub(super) const READING: &str = "reading the answer";

/// When a probe's time is over.
#[derive(Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new(started: Instant, timeout: Duration) -> Self {
        // A time that far away never comes, so any will do.
        Self(started.checked_add(timeout).unwrap_or(started + Duration::from_secs(1 << 30)))
    }

    /// A step of the probe, and what it is called if the time runs out in it.
    pub(super) async fn within<T>(
        &self,
        during: &'static str,
        step: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout_at(self.0, step).await.unwrap_or(Err(Failure::Timeout(during)))
    }

    /// Likewise, of a socket.
    pub(super) async fn io<T>(
        &self,
        during: &'static str,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Failure> {
        self.within(during, async { step.await.map_err(|error| failure(&error, during)) }).await
    }
}

/// Opens a connection. It is reset when it is dropped, as thousands would else wait for their end
/// (TIME-WAIT) at any time.
pub(super) async fn connect(
    target: &Target,
    port: u16,
    clock: &Clock,
) -> Result<TcpStream, Failure> {
    let open = || {
        let socket = match target.connect {
            IpAddr::V4(_) => TcpSocket::new_v4(),
            IpAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_zero_linger()?;
        socket.set_nodelay(true)?;
        io::Result::Ok(socket)
    };
    let socket = open().map_err(|error| local(&error))?;
    clock.io(CONNECTING, socket.connect(SocketAddr::new(target.connect, port))).await
}

/// What could not be done on this machine.
pub(super) fn local(error: &io::Error) -> Failure {
    Failure::Local(text(error))
}

/// What an error of a socket says of the server.
pub(super) fn failure(error: &io::Error, during: &'static str) -> Failure {
    if let Some(code) = error.raw_os_error() {
        return match code {
            libc::ECONNREFUSED => Failure::Refused,
            libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => closed(during),
            libc::ETIMEDOUT => Failure::Timeout(during),
            libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENONET => {
                Failure::Unreachable(format!("unreachable: {}", text(error)))
            }
            // What a router says that is told to refuse (RFC 4443, section 3.1, code 1).
            libc::EACCES => Failure::Unreachable("unreachable: administratively prohibited".into()),
            _ => local(error),
        };
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => closed(during),
        io::ErrorKind::TimedOut => Failure::Timeout(during),
        _ => Failure::Wrong(format!("{during}: {}", text(error))),
    }
}

pub(super) fn closed(during: &'static str) -> Failure {
    Failure::Wrong(format!("connection closed while {during}"))
}

/// An error in the system's words, without their number.
pub(super) fn text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::Error::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// Bytes from a server in a message: no more than a few, and harmless to a terminal.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const LENGTH: usize = 100;
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.trim().chars().take(LENGTH).flat_map(char::escape_debug).collect();
    if text.trim().chars().nth(LENGTH).is_some() {
        short.push('…');
    }
    short
}
