//! A network namespace without a name: it exists as long as somebody holds its file descriptor.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    panic,
    path::PathBuf,
    process::{self, Command, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};

use crate::process::{Lifetime, Output, Process};

/// A network namespace, and the mount namespace that goes with it, if any. Clones are the same
/// namespace.
#[derive(Clone, Debug)]
pub struct Netns {
    name: Arc<str>,
    spaces: Arc<Spaces>,
    lifetime: Lifetime,
}

#[derive(Debug)]
struct Spaces {
    net: OwnedFd,
    mount: Option<OwnedFd>,
}

impl Spaces {
    /// Moves the calling thread, which must not share its root directory with another, hence a
    /// forked child or a thread after `unshare(CLONE_FS)`. Makes nothing but system calls.
    fn enter(&self) -> io::Result<()> {
        setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET)?;
        if let Some(mount) = &self.mount {
            setns(mount.as_fd(), CloneFlags::CLONE_NEWNS)?;
        }
        Ok(())
    }
}

impl Netns {
    /// A new, empty one; the name is for messages.
    pub fn anonymous(name: &str, mount: Option<OwnedFd>) -> Result<Self> {
        let net = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        })
        .context("cannot make a network namespace (root is needed)")?;
        Ok(Self::held(name, net, mount, Lifetime::Bound))
    }

    /// The one behind this file descriptor.
    pub(crate) fn held(
        name: &str,
        net: OwnedFd,
        mount: Option<OwnedFd>,
        lifetime: Lifetime,
    ) -> Self {
        Self { name: name.into(), spaces: Arc::new(Spaces { net, mount }), lifetime }
    }

    /// The same network, with the mounts of this mount namespace.
    pub(crate) fn with_mounts(&self, mount: OwnedFd) -> Result<Self> {
        let net = self.spaces.net.try_clone()?;
        Ok(Self::held(&self.name, net, Some(mount), self.lifetime.clone()))
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path by which other processes can reach it while this process lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.spaces.net.as_raw_fd()).into()
    }

    /// Runs the closure in a thread inside, and hands on what it returns or how it panics. Sockets
    /// opened in there belong to the namespace for good and may be used from any thread.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            if self.spaces.mount.is_some() {
                unshare(CloneFlags::CLONE_FS)?;
            }
            self.spaces.enter()?;
            work()
        })
        .with_context(|| format!("in {}", self.name))
    }

    /// A command that will run inside. It dies with the thread that starts it, which suits
    /// `output()` and `status()`; start what is to live longer by [`Netns::spawn`].
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let spaces = Arc::clone(&self.spaces);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; `enter` makes
        // plain system calls and neither allocates nor takes locks.
        unsafe { command.pre_exec(move || spaces.enter()) };
        self.lifetime.bind(&mut command);
        command
    }

    /// Starts a command made by [`Netns::command`].
    pub fn spawn(&self, command: Command) -> Result<Process> {
        Process::spawn(command, &self.lifetime).with_context(|| format!("in {}", self.name))
    }

    /// Runs `ip` with these words, which must succeed, and returns what it printed.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut command = self.command("ip");
        let output = Output::of(command.args(words.split_whitespace()))?.success();
        Ok(output.with_context(|| format!("ip {words} in {}", self.name))?.stdout)
    }

    /// Runs many `ip` commands, one a line, in one process.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let mut command = self.command("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start ip")?;
        child.stdin.take().context("no stdin")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("ip in {}: {}{lines}", self.name, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Sets kernel parameters, named as below `/proc/sys/net`, in this order.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (name, value) in settings {
                let file = format!("/proc/sys/net/{name}");
                fs::write(&file, value)
                    .with_context(|| format!("cannot write {value} to {file}"))?;
            }
            Ok(())
        })
    }
}

/// Runs the closure in a thread of its own, which what it does to its namespaces dies with.
pub(crate) fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| panic::resume_unwind(panic))
}
