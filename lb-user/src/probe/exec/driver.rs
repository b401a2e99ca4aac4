//! The daemon's side: keeps a helper running and passes questions and answers.
//!
//! On a thread of its own, as checks and hooks live in different runtimes.

use std::{
    collections::HashMap,
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdStream, process::CommandExt as _},
    },
    process::{Child, Command as Process, Stdio},
    sync::mpsc as channel,
    thread,
    time::{Duration, Instant},
};

use caps::{CapSet, Capability, errors::CapsError};
use tokio::{
    net::{UnixStream, unix::OwnedWriteHalf},
    runtime,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Command, Output, RunError,
    wire::{self, Hello, Reader, Reply, Request, Welcome},
};

/// How long a helper may take to become ready.
const BEGINNING: Duration = Duration::from_secs(10);

/// How often a helper that cannot be started is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A program to run, and whom to tell.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<Output, RunError>>,
}

/// Starts the thread, and returns when its first helper is ready, or could not be started.
pub(super) fn start(user: String, jobs: mpsc::Receiver<Job>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, started) = channel::channel();
    let run = move || {
        let mut driver = Driver { user, helper: None, failed: None, waiting: Waiting::new() };
        // What fails is told, and tried again when there is something to run: the user may be known later.
        drop(runtime.block_on(driver.helper()));
        if let Err(error) = limit_capabilities() {
            log::warn!("the thread that runs programs keeps capabilities: {error}");
        }
        // Who started it waits for this.
        let _ = ready.send(());
        runtime.block_on(driver.run(jobs));
    };
    thread::Builder::new().name("exec".to_owned()).spawn(run)?;
    started.recv().map_err(|_| io::Error::other("the thread has ended"))
}

/// What a helper needs to become another user.
const NEEDED: [Capability; 2] = [Capability::CAP_SETUID, Capability::CAP_SETGID];

/// A thread has capabilities of its own, and this one is not reached when the daemon gives up its. It can do
/// nothing by those that it keeps; but under `no_new_privs` a helper that is started later gets only what is
/// permitted to this thread.
fn limit_capabilities() -> Result<(), CapsError> {
    let needed = NEEDED.into_iter().collect();
    let had = caps::read(None, CapSet::Permitted)?;
    let kept = had.intersection(&needed).copied().collect();
    caps::clear(None, CapSet::Inheritable)?;
    caps::clear(None, CapSet::Effective)?;
    caps::set(None, CapSet::Permitted, &kept)
}

/// Whom to tell, by the number of the request.
type Waiting = HashMap<u64, oneshot::Sender<Result<Output, RunError>>>;

struct Driver {
    user: String,
    helper: Option<Helper>,
    /// When no helper could be started, and why.
    failed: Option<(Instant, String)>,
    waiting: Waiting,
}

impl Driver {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut id = 0;
        loop {
            tokio::select! {
                job = jobs.recv() => {
                    let Some(job) = job else { break };
                    id += 1;
                    self.ask(id, job).await;
                }
                reply = next(self.helper.as_mut()) => self.tell(reply),
            }
        }
        if let Some(helper) = self.helper {
            helper.end();
        }
    }

    async fn ask(&mut self, id: u64, Job { command, answer }: Job) {
        match self.helper().await {
            // What fails here ends the reading too, and all who wait are told there.
            Ok(helper) => drop(wire::write(&mut helper.to, &Request { id, command }).await),
            Err(reason) => return drop(answer.send(Err(RunError::Helper(reason)))),
        }
        self.waiting.insert(id, answer);
    }

    /// The helper; a new one if it has ended.
    async fn helper(&mut self) -> Result<&mut Helper, String> {
        if let Some(helper) = self.helper.take() {
            return Ok(self.helper.insert(helper));
        }
        if let Some((when, reason)) = &self.failed
            && when.elapsed() < AGAIN
        {
            return Err(reason.clone());
        }
        match Helper::start(&self.user).await {
            Ok(helper) => {
                self.failed = None;
                Ok(self.helper.insert(helper))
            }
            Err(error) => {
                let reason = error.to_string();
                let is_news = self.failed.as_ref().is_none_or(|(_, before)| *before != reason);
                if is_news {
                    log::error!("no check or hook can run a program: {reason}");
                }
                self.failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    fn tell(&mut self, reply: io::Result<Option<Reply>>) {
        let reason = match reply {
            Ok(Some(Reply { id, result })) => {
                if let Some(answer) = self.waiting.remove(&id) {
                    drop(answer.send(result));
                }
                return;
            }
            Ok(None) => "has ended; it is started again".to_owned(),
            Err(error) => format!("{error}; it is started again"),
        };
        log::warn!("the helper process that runs programs {reason}");
        for (_, answer) in self.waiting.drain() {
            drop(answer.send(Err(RunError::Helper(reason.clone()))));
        }
        if let Some(helper) = self.helper.take() {
            helper.kill();
        }
    }
}

/// The next reply; never if there is no helper.
async fn next(helper: Option<&mut Helper>) -> io::Result<Option<Reply>> {
    match helper {
        Some(helper) => helper.from.next().await,
        None => std::future::pending().await,
    }
}

/// A helper process that is ready.
#[derive(Debug)]
struct Helper {
    process: Child,
    from: Reader,
    to: OwnedWriteHalf,
}

impl Helper {
    async fn start(user: &str) -> io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let (from, to) = UnixStream::from_std(ours)?.into_split();
        let process = spawn(theirs.into())?;
        let mut helper = Self { process, from: Reader::new(from), to };
        match helper.greet(user).await {
            Ok(()) => Ok(helper),
            Err(error) => {
                helper.kill();
                Err(error)
            }
        }
    }

    async fn greet(&mut self, user: &str) -> io::Result<()> {
        wire::write(&mut self.to, &Hello { user: user.to_owned() }).await?;
        match timeout(BEGINNING, self.from.next::<Welcome>()).await?? {
            Some(welcome) => welcome.map_err(io::Error::other),
            None => Err(io::Error::other("ended before it was ready")),
        }
    }

    /// Lets it end, with all that it has started.
    fn end(mut self) {
        drop((self.to, self.from));
        drop(self.process.wait());
    }

    fn kill(mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn spawn(socket: OwnedFd) -> io::Result<Child> {
    let mut process = Process::new("/proc/self/exe");
    process
        .arg0("lbd")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null());
    arguments(&mut process);
    process.spawn()
}

#[cfg(not(test))]
fn arguments(process: &mut Process) {
    process.arg(super::HELPER);
}

/// Within tests we are not `lbd`: a test is the helper.
#[cfg(test)]
fn arguments(process: &mut Process) {
    let name = "probe::exec::tests::the_helper_itself";
    process.args(["--exact", name, "--ignored", "--nocapture"]).env(super::HELPER, "1");
}
