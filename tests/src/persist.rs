//! A lab that stays up when its process ends, for demonstrations: `ip netns exec` reaches its
//! namespaces by name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    mount::umount,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    process::{self, Output},
    site::BPF,
    wait,
};

/// Where a lab that stays is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// What its namespaces are called, before `-client`, `-router` and so on.
    pub prefix: String,
    /// Its directory; logs, configuration, the socket and `bpf`.
    pub dir: PathBuf,
}

impl Persist {
    /// The demonstration's: `lbdemo-client` and so on, and `/run/lb-demo`.
    #[must_use]
    pub fn demo() -> Self {
        Self { prefix: "lbdemo".to_owned(), dir: "/run/lb-demo".into() }
    }

    /// The name that `ip netns` knows a node of the lab by.
    #[must_use]
    pub fn netns(&self, node: &str) -> String {
        format!("{}-{node}", self.prefix)
    }

    /// The list of the lab's processes.
    pub(crate) fn pids(&self) -> PathBuf {
        self.dir.join("pids")
    }

    /// Whether there is anything of it.
    pub fn is_up(&self) -> Result<bool> {
        Ok(self.dir.exists() || !self.namespaces()?.is_empty())
    }

    /// Removes all of it, or what there is of it. Kills processes which the lab recorded and which
    /// still are the recorded ones, and whatever else runs in its namespaces: programs that were
    /// started there by hand.
    pub(crate) fn tear_down(&self) -> Result<()> {
        self.ensure_outside()?;
        process::kill_recorded(&self.pids())?;
        self.kill_inhabitants()?;
        let bpf = self.dir.join(BPF);
        if is_mounted(&bpf)? {
            umount(&bpf).with_context(|| format!("cannot unmount {}", bpf.display()))?;
        }
        for name in self.namespaces()? {
            Output::of(Command::new("ip").args(["netns", "del", &name]))?.success()?;
        }
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to saw off the branch it sits on.
    fn ensure_outside(&self) -> Result<()> {
        let inside = self.inhabitants()?.contains(&Pid::this());
        ensure!(!inside, "this runs in a namespace that is to be removed: leave it first");
        Ok(())
    }

    fn kill_inhabitants(&self) -> Result<()> {
        wait::until("the end of what runs in the lab", wait::PATIENCE, || {
            let inhabitants = self.inhabitants()?;
            for id in &inhabitants {
                match kill(*id, Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(error) => return Err(error).context(format!("cannot kill {id}")),
                }
            }
            Ok(inhabitants.is_empty().then_some(()))
        })
    }

    /// The processes in its namespaces.
    fn inhabitants(&self) -> Result<Vec<Pid>> {
        let mut all = Vec::new();
        for name in self.namespaces()? {
            let output =
                Output::of(Command::new("ip").args(["netns", "pids", &name]))?.success()?;
            for id in output.stdout.lines() {
                all.push(Pid::from_raw(id.parse()?));
            }
        }
        Ok(all)
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        let all = match fs::read_dir("/run/netns") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            all => all?,
        };
        let names = all.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let start = self.netns("");
        Ok(names.filter(|name| name.starts_with(&start)).collect())
    }
}

/// Whether something is mounted here (proc_pid_mountinfo(5): the fifth field is the place).
fn is_mounted(place: &Path) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let place = place.to_string_lossy();
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(&place)))
}
