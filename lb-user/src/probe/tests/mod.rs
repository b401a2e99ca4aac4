//! Probes of servers that behave and of such that do not, in both families.

mod dns;
mod exec;
mod grpc;
mod http;
mod packets;
mod tls;

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::*;

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Long enough that no test waits for it unless something is broken.
const LONG: Duration = Duration::from_secs(60);

/// Where the time is to run out.
const SHORT: Duration = Duration::from_millis(200);

fn target(address: IpAddr) -> Target {
    Target { connect: address, address, real: address, vip: address }
}

/// What a probe says.
async fn ask(kind: &CheckKind, address: IpAddr, timeout: Duration) -> Result<String, Failure> {
    let answer = Prober::new(None).probe(kind, &target(address), timeout).await;
    answer.map(|answer| answer.summary)
}

fn wrong(text: &str) -> Result<String, Failure> {
    Err(Failure::Wrong(text.to_owned()))
}

/// A server that does this with each connection, for as long as the test runs.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    address: IpAddr,
    handle: impl Fn(TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    port
}

/// A server that answers each datagram with others.
async fn datagrams(
    address: IpAddr,
    answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> u16 {
    let socket = UdpSocket::bind((address, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            for answer in answers(&buffer[..length]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    port
}

fn tcp_socket(address: IpAddr) -> TcpSocket {
    let socket = match address {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.unwrap();
    socket.bind(SocketAddr::new(address, 0)).unwrap();
    socket
}

/// A port where nobody listens, for as long as the socket lives.
fn closed_port(address: IpAddr) -> (TcpSocket, u16) {
    let socket = tcp_socket(address);
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}
