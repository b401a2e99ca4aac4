//! `sshd` on a real server that is a machine of its own as far as scripts can tell: with
//! directories of its own.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    debian, mounts,
    netns::Netns,
    process::{Output, Process},
    wait,
};
use anyhow::{Result, bail};

/// Where `sshd` listens.
const PORT: u16 = 22;

/// A running `sshd`, killed on drop. Root may come with the key of [`SshKeys`].
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    netns: Netns,
    dir: PathBuf,
}

impl Sshd {
    pub(crate) fn start(real: &Netns, dir: &Path, keys: &SshKeys) -> Result<Self> {
        let dir = dir.join("sshd");
        fs::create_dir(&dir)?;
        let netns = real.with_mounts(mounts::own(&dir, furnish)?)?;
        let config = dir.join("sshd_config");
        fs::write(&config, keys.config())?;
        // It starts itself anew for each connection, by the path that it was started by.
        let mut command = netns.command(debian::file("usr/sbin/sshd")?);
        debian::environment(&mut command);
        command.args(["-D", "-e", "-f"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log(&dir))?);
        let mut sshd = Self { process: netns.spawn(command)?, netns, dir };
        sshd.listens()?;
        Ok(sshd)
    }

    /// The machine as its programs see it.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    fn listens(&mut self) -> Result<()> {
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
        wait::until("sshd", wait::PATIENCE, || {
            if let Some(status) = self.process.exited()? {
                bail!("sshd: {status}: {}", fs::read_to_string(log(&self.dir))?);
            }
            Ok(self.netns.run(|| Ok(TcpStream::connect(place).is_ok()))?.then_some(()))
        })
    }
}

fn log(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// What it needs of a machine: a user of its own, a place below `/run`.
fn furnish() -> Result<()> {
    let mut users = File::options().append(true).open("/etc/passwd")?;
    users.write_all(b"sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")?;
    Ok(fs::create_dir("/run/sshd")?)
}

/// A key of an operator, and one by which all servers of a lab are known.
#[derive(Debug)]
pub struct SshKeys {
    dir: PathBuf,
}

impl SshKeys {
    /// New keys, kept in a lab's directory.
    pub fn new(lab: &Path) -> Result<Self> {
        let dir = lab.join("ssh");
        fs::create_dir(&dir)?;
        let keys = Self { dir };
        for name in ["operator", "server"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(keys.file(name));
            Output::of(&mut command)?.success()?;
        }
        let server = fs::read_to_string(keys.file("server.pub"))?;
        fs::write(keys.file("known_hosts"), format!("* {server}"))?;
        Ok(keys)
    }

    /// What the operator's `ssh` must be told, as options of `lbctl`.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let (key, hosts) = (self.file("operator"), self.file("known_hosts"));
        let options = [
            format!("IdentityFile={}", key.display()),
            format!("UserKnownHostsFile={}", hosts.display()),
            "StrictHostKeyChecking=yes".to_owned(),
            "ConnectTimeout=5".to_owned(),
        ];
        options.into_iter().flat_map(|option| ["--ssh-option".to_owned(), option]).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The directory is one of a user's that others may write to.
    fn config(&self) -> String {
        format!(
            "Port {PORT}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\nPidFile none\n",
            self.file("server").display(),
            self.file("operator.pub").display(),
        )
    }
}
