//! That a datagram is answered.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;

use super::{
    Failure, Target,
    socket::{self, ANSWER, Clock, SENDING, WAITING, excerpt},
};

pub(super) async fn probe(
    target: &Target,
    port: u16,
    send: &[u8],
    expect: &[u8],
    clock: &Clock,
) -> Result<String, Failure> {
    let socket = ask(target, port, send, clock).await?;
    let mut answer = vec![0; ANSWER];
    let length = clock.io(WAITING, socket.recv(&mut answer)).await?;
    let answer = &answer[..length];
    match answer.starts_with(expect) {
        true => Ok(format!("answered, {length} bytes")),
        false => Err(Failure::Wrong(format!("answered something else: {}", excerpt(answer)))),
    }
}

/// Sends a datagram. Only what comes back from there is received, errors too.
pub(super) async fn ask(
    target: &Target,
    port: u16,
    send: &[u8],
    clock: &Clock,
) -> Result<UdpSocket, Failure> {
    let socket = open(target.connect).await.map_err(|error| socket::local(&error))?;
    clock.io(SENDING, socket.connect((target.connect, port))).await?;
    clock.io(SENDING, socket.send(send)).await?;
    Ok(socket)
}

async fn open(to: IpAddr) -> io::Result<UdpSocket> {
    let any = match to {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Else an address that does not resolve is only a silence.
    match to {
        IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    Ok(socket)
}
