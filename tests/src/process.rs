//! Programs that end with their guard, or with the test process, whichever comes first.
//!
//! The kernel kills a child when its parent dies (`PR_SET_PDEATHSIG`), but by parent it means the
//! *thread* that forked. Tests run in threads that come and go, so what is to live longer than one
//! call is forked by one thread that lives as long as the process.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{self, Sender},
    },
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Pid, getpid, getppid, setsid},
};

use crate::wait;

/// Writes a program that everybody may run. Another process does, as what this one has open for writing
/// while a thread of it forks cannot be run at that moment (ETXTBSY).
pub fn put_program(path: &Path, text: &str) -> Result<()> {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().context("cannot run install")?;
    install.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
    let status = install.wait()?;
    ensure!(status.success(), "install {}: {status}", path.display());
    Ok(())
}

/// How long a program lives.
#[derive(Clone, Debug)]
pub(crate) enum Lifetime {
    /// Until its guard is dropped or this process dies.
    Bound,
    /// Until it is torn down by who reads this list of processes.
    Recorded(PathBuf),
}

impl Lifetime {
    /// Makes the command's program live this long.
    pub(crate) fn bind(&self, command: &mut Command) {
        let hook: fn(Pid) -> io::Result<()> = match self {
            Self::Bound => die_with,
            Self::Recorded(_) => leave,
        };
        let parent = getpid();
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; both hooks make
        // plain system calls and neither allocate nor take locks.
        unsafe { command.pre_exec(move || hook(parent)) };
    }
}

fn die_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above.
    if getppid() != parent { Err(io::Error::from_raw_os_error(libc::ESRCH)) } else { Ok(()) }
}

/// Away from the terminal, which would send its signals.
fn leave(_parent: Pid) -> io::Result<()> {
    setsid()?;
    Ok(())
}

/// A running program, killed on drop unless it is to stay.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stays: bool,
}

impl Process {
    /// Starts a command that was bound to this lifetime.
    pub(crate) fn spawn(command: Command, lifetime: &Lifetime) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child =
            fork_from_lasting_thread(command).with_context(|| format!("cannot start {program}"))?;
        let stays = match lifetime {
            Lifetime::Bound => false,
            Lifetime::Recorded(list) => {
                record(list, child.id(), &program)?;
                true
            }
        };
        Ok(Self { child, stays })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it outlives its guard.
    pub(crate) fn stays(&self) -> bool {
        self.stays
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(pid(self.id()), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.id()))
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits, not for ever, until it ends.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let what = format!("the end of process {}", self.id());
        wait::until(&what, wait::PATIENCE, || self.exited())
    }

    /// Kills it and reaps it.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.stays {
            // It may have ended by itself; there is nobody to tell of anything worse.
            let _ = self.kill();
        }
    }
}

fn fork_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static FORKER: OnceLock<Sender<Job>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    let gone = |_| io::Error::other("the forking thread is gone");
    forker.send((command, answer)).map_err(|_| io::Error::other("the forking thread is gone"))?;
    child.recv().map_err(gone)?
}

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code; minus the signal if it was killed by one.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end, whatever that is.
    pub fn of(command: &mut Command) -> Result<Self> {
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let status = output.status;
        Ok(Self {
            code: status.code().unwrap_or_else(|| -status.signal().unwrap_or_default()),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Itself if the command succeeded, else an error with all that it said.
    pub fn success(self) -> Result<Self> {
        if self.code != 0 {
            bail!("exit code {}: {}{}", self.code, self.stderr, self.stdout);
        }
        Ok(self)
    }

    /// What it printed, as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {self:?}"))
    }
}

/// Appends a process to a list, with its start time: a process id alone may come to mean another.
fn record(list: &Path, id: u32, program: &str) -> Result<()> {
    let mut line = String::new();
    let started = start_time(id).with_context(|| format!("{program} ended at once"))?;
    writeln!(line, "{id} {started} {program}")?;
    OpenOptions::new().append(true).create(true).open(list)?.write_all(line.as_bytes())?;
    Ok(())
}

/// Kills the processes of a list that are still the ones that were recorded, and waits for their
/// end. A missing list is an empty one.
pub(crate) fn kill_recorded(list: &Path) -> Result<()> {
    let text = match fs::read_to_string(list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    for line in text.lines() {
        let mut words = line.split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (Some(id), Some(started)) = (number(), number()) else {
            bail!("{}: \"{line}\" is not a process", list.display());
        };
        kill_if_same(u32::try_from(id)?, started)?;
    }
    Ok(())
}

fn kill_if_same(id: u32, started: u64) -> Result<()> {
    if start_time(id) != Some(started) {
        return Ok(());
    }
    kill(pid(id), Signal::SIGKILL).with_context(|| format!("cannot kill {id}"))?;
    let what = format!("the end of process {id}");
    wait::until(&what, wait::PATIENCE, || Ok((start_time(id) != Some(started)).then_some(())))
}

/// When the process started, in clock ticks since boot (proc_pid_stat(5), field 22); `None` if there
/// is none or only its zombie is left.
fn start_time(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may itself contain anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if state == "Z" { None } else { fields.nth(18)?.parse().ok() }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id as i32)
}
