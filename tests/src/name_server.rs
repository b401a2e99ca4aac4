//! A name server.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{netns::Netns, process::Process, wait};

/// A running dnsmasq at port 53, by UDP and TCP, killed on drop. It knows `www.example.test`
/// (192.0.2.80, 2001:db8::80, a TXT record), says NXDOMAIN of others below `example.test` and REFUSED of
/// the rest.
#[derive(Debug)]
pub struct NameServer {
    process: Process,
}

impl NameServer {
    pub(crate) fn start(netns: &Netns, dir: &Path, addresses: &[IpAddr]) -> Result<Self> {
        let mut command = netns.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file",
            "--user=root",
        ]);
        command.args(["--no-resolv", "--no-hosts", "--no-poll", "--bind-interfaces"]);
        command.args(["--local=/example.test/", "--log-facility=-"]);
        command.arg("--host-record=www.example.test,192.0.2.80,2001:db8::80");
        command.arg("--txt-record=www.example.test,a real server");
        command.args(addresses.iter().map(|address| format!("--listen-address={address}")));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(dir.join("dnsmasq.log"))?);
        let mut server = Self { process: netns.spawn(command)? };
        addresses.iter().try_for_each(|address| server.listens(netns, dir, *address))?;
        Ok(server)
    }

    fn listens(&mut self, netns: &Netns, dir: &Path, address: IpAddr) -> Result<()> {
        let place = SocketAddr::new(address, 53);
        let connect = || Ok(TcpStream::connect_timeout(&place, Duration::from_secs(1)).is_ok());
        wait::until(&format!("dnsmasq at {place}"), wait::PATIENCE, || {
            if let Some(status) = self.process.exited()? {
                let log = std::fs::read_to_string(dir.join("dnsmasq.log"))?;
                bail!("dnsmasq: {status}: {log}");
            }
            Ok(netns.run(connect)?.then_some(()))
        })
    }

    /// The process: to stop, to kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
