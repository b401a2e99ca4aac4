//! The client.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{netns::Netns, process::Output};

/// How long the client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The client.
#[derive(Debug)]
pub struct Client {
    netns: Netns,
}

impl Client {
    pub(crate) fn new(netns: Netns) -> Self {
        Self { netns }
    }

    /// Where it is.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Runs curl, quiet but for errors, and with a deadline. Brackets in the URL are those of IPv6
    /// addresses.
    pub fn curl(&self, url: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = self.netns.command("curl");
        command.args(["-sSg", "--max-time", "30"]).args(arguments).arg(url);
        Output::of(&mut command)
    }

    /// Sends a datagram and waits for the answer, which counts only if it comes from where the
    /// datagram went.
    pub fn udp_exchange(&self, to: SocketAddr, payload: &[u8]) -> Result<Vec<u8>> {
        let socket = self.netns.run(|| Ok(UdpSocket::bind(any(to))?))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.send(payload)?;
        let mut answer = vec![0; 65_536];
        let length =
            socket.recv(&mut answer).with_context(|| format!("no answer from udp {to}"))?;
        answer.truncate(length);
        Ok(answer)
    }

    /// Opens a TCP connection.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let connect = || {
            TcpStream::connect_timeout(&to, TIMEOUT)
                .with_context(|| format!("cannot connect to {to}"))
        };
        let stream = self.netns.run(connect)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(stream)
    }

    /// Asks the nginx there, in a connection of its own, for its page: the name of the real server.
    /// Much cheaper than curl, for thousands of flows.
    pub fn who_answers(&self, at: SocketAddr) -> Result<String> {
        let mut stream = self.connect(at)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(|| format!("no answer from {at}"))?;
        let (_, body) =
            answer.split_once("\r\n\r\n").with_context(|| format!("not HTTP: {answer:?}"))?;
        Ok(body.trim_end().to_owned())
    }
}

fn any(family_of: SocketAddr) -> &'static str {
    if family_of.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
}
