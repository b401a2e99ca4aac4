//! The UDP echo as a process of its own: a thread of this one would end with the demo.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, bail};
use tests::{Process, Real, wait};

/// Where it listens, and what everybody else calls that (RFC 862).
pub const PORT: u16 = 7;

/// Starts an echo on this real and waits until it answers.
pub fn start(real: &Real, address: IpAddr) -> Result<Process> {
    let place = SocketAddr::new(address, PORT);
    let mut command = real.netns().command(env::current_exe()?);
    command.args(["udp-echo", &place.to_string(), real.name()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = real.netns().spawn(command)?;
    wait::until(&format!("the UDP echo of {}", real.name()), wait::PATIENCE, || {
        if let Some(status) = process.exited()? {
            bail!("the UDP echo of {} ended: {status}", real.name());
        }
        real.netns().run(|| Ok(answers(place)?.then_some(())))
    })?;
    Ok(process)
}

/// Asks from the same machine, where a port that nobody listens on says so at once.
fn answers(place: SocketAddr) -> Result<bool> {
    let any: IpAddr =
        if place.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(place)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(socket.send(b"?").is_ok() && socket.recv(&mut [0; 64]).is_ok())
}
