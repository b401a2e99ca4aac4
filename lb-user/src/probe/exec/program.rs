//! One program, from its start to its end.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command as Process, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe::{Receiver, Sender},
    time::timeout,
};

use super::{Command, End, HEAD, Output, RunError, programs::Programs};

pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program until it ends or must be killed.
pub(super) async fn run(programs: &Programs, command: Command) -> Result<Output, RunError> {
    if programs.are_full() {
        return Err(RunError::Busy(super::PROGRAMS));
    }
    let failed = |error: io::Error| RunError::Start {
        program: command.argv.first().cloned().unwrap_or_default(),
        reason: error.to_string(),
    };
    let (pid, mut pipes) = start(&command).map_err(failed)?;
    let mut ended = programs.add(pid);
    let left = AtomicUsize::new(command.output_limit);
    let work = async {
        pipes.drain(command.stdin.as_bytes(), &left).await?;
        Ok((&mut ended).await.ok())
    };
    let result = timeout(command.timeout, work).await;
    let end = match result {
        Ok(Ok(end)) => end,
        Ok(Err(Flood)) => {
            programs.kill(pid);
            return Err(RunError::Flood(command.output_limit));
        }
        // It may have ended, and a descendant that is still dying holds its output.
        Err(_) => ended.try_recv().ok().or_else(|| {
            programs.kill(pid);
            None
        }),
    };
    end.map(|end| pipes.output(end)).ok_or(RunError::Timeout)
}

/// More was written than is allowed.
struct Flood;

/// The other ends of a program's standard streams.
struct Pipes {
    stdin: Option<Sender>,
    stdout: Stream,
    stderr: Stream,
}

/// An output, and how it began.
struct Stream {
    pipe: Receiver,
    head: Vec<u8>,
}

fn start(command: &Command) -> io::Result<(Pid, Pipes)> {
    let [program, arguments @ ..] = command.argv.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program is named"));
    };
    let mut process = Process::new(program);
    process.args(arguments).current_dir("/").env_clear().env("PATH", PATH).envs(&command.env);
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    confine(&mut process, command.timeout)?;
    let mut child = process.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let none = || io::Error::other("without a pipe");
    let stdin = OwnedFd::from(child.stdin.take().ok_or_else(none)?);
    let stdout = OwnedFd::from(child.stdout.take().ok_or_else(none)?);
    let stderr = OwnedFd::from(child.stderr.take().ok_or_else(none)?);
    let pipes = Pipes {
        stdin: Some(Sender::from_owned_fd(stdin)?),
        stdout: Stream { pipe: Receiver::from_owned_fd(stdout)?, head: Vec::new() },
        stderr: Stream { pipe: Receiver::from_owned_fd(stderr)?, head: Vec::new() },
    };
    Ok((Pid::from_raw(pid), pipes))
}

/// How many files a program may have open until it asks for more. Many expect no more: they use select(2), or go
/// through all numbers that there may be. The daemon has as many as it can get, which a later helper inherits.
const FILES: u64 = 1024;

/// What a program cannot get rid of, besides what it inherits.
fn confine(process: &mut Process, timeout: Duration) -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let files = soft.min(FILES);
    // One that has left its group, and is missed for that, does not burn a processor for ever.
    let seconds = timeout.as_secs().saturating_add(2);
    let confine = move || {
        // Should the helper be killed, nobody else would bound it.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        setrlimit(Resource::RLIMIT_CPU, seconds, seconds)?;
        setrlimit(Resource::RLIMIT_NOFILE, files, hard)?;
        Ok(())
    };
    // SAFETY: all are plain system calls: nothing is allocated, locked or kept.
    unsafe { process.pre_exec(confine) };
    Ok(())
}

impl Pipes {
    /// Writes the input and reads the outputs, until the program has closed them.
    async fn drain(&mut self, input: &[u8], left: &AtomicUsize) -> Result<(), Flood> {
        let stdin = self.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program need not read it.
                drop(stdin.write_all(input).await);
            }
            Ok(())
        };
        tokio::try_join!(feed, self.stdout.drain(left), self.stderr.drain(left)).map(drop)
    }

    fn output(self, end: End) -> Output {
        Output { end, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Stream {
    async fn drain(&mut self, left: &AtomicUsize) -> Result<(), Flood> {
        let mut buffer = [0; 4096];
        loop {
            let length = self.pipe.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                return Ok(());
            }
            if left.fetch_sub(length.min(left.load(Ordering::Relaxed)), Ordering::Relaxed) < length
            {
                return Err(Flood);
            }
            let room = HEAD.saturating_sub(self.head.len());
            self.head.extend_from_slice(&buffer[..length.min(room)]);
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }
}
