//! Real servers, asked by ordinary sockets: at their own address, and at the one that stands for the VIP.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::SockRef;
use tokio::{net::TcpStream, time::timeout};

use super::packet::Answer;

/// In it the kernel asks a second time.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How a server answers a connection; nothing where that could not be tried.
pub(super) async fn connect(address: IpAddr, port: u16) -> Option<Answer> {
    match timeout(PATIENCE, TcpStream::connect(SocketAddr::new(address, port))).await {
        Ok(Ok(stream)) => {
            // Closed by a reset: an examination leaves no connection in TIME-WAIT behind.
            drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
            Some(Answer::Open)
        }
        Ok(Err(error)) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Some(Answer::Refused),
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Some(Answer::Silent)
            }
            _ => {
                log::debug!("{address} port {port} cannot be examined: {error}");
                None
            }
        },
        Err(_) => Some(Answer::Silent),
    }
}
