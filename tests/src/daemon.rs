//! `lbd` in the balancer, and `lbctl` to talk to it.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    balancer::Balancer,
    bin,
    lab::Lab,
    netns::Netns,
    process::{Output, Process},
    wait,
};

/// What is logged in tests.
const DEBUG: &str = "debug,aya=info,aya_obj=info";

/// A running `lbd`, killed on drop. What it logged is printed then, which the test harness shows
/// for tests that fail.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    netns: Netns,
    dir: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    /// It logs so much that nobody wants to read it.
    hushed: bool,
}

impl Daemon {
    /// Writes the configuration, starts the daemon and waits until it says that it is ready.
    pub(crate) fn start(balancer: &Balancer, config: &str) -> Result<Self> {
        let file = balancer.dir().join("lb.toml");
        fs::write(&file, config)?;
        Self::start_with(balancer, &file)
    }

    /// Starts the daemon with this file, as the balancer sees it, and waits until it is ready.
    pub(crate) fn start_with(balancer: &Balancer, config: &Path) -> Result<Self> {
        Self::start_logging(balancer, config, DEBUG)
    }

    /// The same with a filter of what is logged.
    pub(crate) fn start_logging(balancer: &Balancer, config: &Path, filter: &str) -> Result<Self> {
        let netns = balancer.netns().clone();
        let process = launch(&netns, balancer.dir(), config, filter)?;
        let (dir, config) = (balancer.dir().to_owned(), config.to_owned());
        let hushed = filter != DEBUG;
        Ok(Self { process, netns, dir, config, socket: balancer.socket(), hushed })
    }

    /// The same, and what it logged is not printed in the end.
    #[must_use]
    pub fn hushed(mut self) -> Self {
        self.hushed = true;
        self
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.clone()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What all daemons of this balancer logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(log(&self.dir))?)
    }

    /// Kills it without a warning.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("lbd ended with {status}");
        }
        Ok(())
    }

    /// Starts it anew with the file as it now is, after asking it to end if it is still running,
    /// and waits until it is ready.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.exited()?.is_none() {
            self.terminate()?;
        }
        self.process = launch(&self.netns, &self.dir, &self.config, DEBUG)?;
        Ok(())
    }

    /// Runs `lbctl` in the balancer.
    pub fn lbctl(&self, words: &[&str]) -> Result<Output> {
        lbctl(&self.netns, &self.socket, words)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.stays() || self.hushed {
            return;
        }
        if let Ok(log) = self.log() {
            eprintln!("--- lbd ---\n{log}-----------");
        }
    }
}

/// Runs `lbctl` in the balancer.
pub(crate) fn lbctl(balancer: &Netns, socket: &Path, words: &[&str]) -> Result<Output> {
    Output::of(balancer.command(bin::path("lbctl")?).arg("--socket").arg(socket).args(words))
}

/// Runs `lbd` in the balancer to its end, for calls that do not stay.
pub fn lbd(lab: &Lab, words: &[&str]) -> Result<Output> {
    Output::of(lab.balancer().command(bin::path("lbd")?).args(words))
}

fn log(dir: &Path) -> PathBuf {
    dir.join("lbd.log")
}

/// Starts the daemon and waits for its word on the socket that service managers offer
/// (sd_notify(3)).
fn launch(netns: &Netns, dir: &Path, config: &Path, filter: &str) -> Result<Process> {
    let notify = dir.join("notify.sock");
    match fs::remove_file(&notify) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let ready = UnixDatagram::bind(&notify)?;
    // How soon an early end is noticed.
    ready.set_read_timeout(Some(Duration::from_millis(20)))?;

    let mut command = netns.command(bin::path("lbd")?);
    command.arg("--config").arg(config);
    command.env("NOTIFY_SOCKET", &notify);
    if std::env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", filter);
    }
    // What stays running must not hold on to a pipe that somebody reads to its end.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(OpenOptions::new().create(true).append(true).open(log(dir))?);
    let mut process = netns.spawn(command)?;
    wait_until_ready(&mut process, &ready).with_context(|| {
        format!("lbd did not start:\n{}", fs::read_to_string(log(dir)).unwrap_or_default())
    })?;
    Ok(process)
}

fn wait_until_ready(process: &mut Process, socket: &UnixDatagram) -> Result<()> {
    let mut message = [0; 4096];
    wait::until("READY=1", wait::PATIENCE, || {
        if let Some(status) = process.exited()? {
            bail!("it ended with {status}");
        }
        let length = match socket.recv(&mut message) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            length => length?,
        };
        let said_so = message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
        Ok(said_so.then_some(()))
    })
}
