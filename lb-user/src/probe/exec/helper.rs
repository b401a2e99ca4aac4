//! The helper process: becomes another user, then runs what it is told to.

use std::{
    ffi::CString,
    io,
    os::{fd::AsFd as _, unix::net::UnixStream as StdStream},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use caps::CapSet;
use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
        stat::{Mode, umask},
    },
    unistd::{User, geteuid, initgroups, setgid, setsid, setuid},
};
use tokio::{
    net::{UnixStream, unix::OwnedWriteHalf},
    runtime,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::timeout,
};

use super::{
    PROGRAMS, program,
    programs::Programs,
    wire::{self, Hello, Reader, Reply, Request, Welcome},
};

/// How many processes its user may have, those that are no programs of ours too.
const PROCESSES: u64 = 4096;

/// How large a file a program may write.
const FILE: u64 = 64 * 1024 * 1024;

/// How long the end waits for those that are killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// Is the helper, until the daemon ends. Its standard input is the socket to it.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd's helper that runs programs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let socket = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (from, mut to) = UnixStream::from_std(socket)?.into_split();
        let mut from = Reader::new(from);
        let Some(Hello { user }) = from.next().await? else { return Ok(()) };
        let welcome: Welcome =
            become_user(&user).and_then(|()| confine().map_err(|error| error.to_string()));
        wire::write(&mut to, &welcome).await?;
        match welcome {
            Ok(()) => serve(from, to).await,
            Err(_) => Ok(()),
        }
    })
}

/// Why nobody becomes root.
const ROOT: &str = "would be root, whose files its programs could change";

/// Becomes a user, for good.
fn become_user(name: &str) -> Result<(), String> {
    let problem = |what: &str| format!("exec_user = \"{name}\": {what}; name another user");
    let user = User::from_name(name).map_err(|error| problem(error.desc()))?;
    let user = user.ok_or_else(|| problem("there is no such user"))?;
    if user.uid.is_root() {
        return Err(problem(ROOT));
    }
    if user.uid == geteuid() {
        return Ok(());
    }
    let group_name = CString::new(name).map_err(|error| problem(&error.to_string()))?;
    initgroups(&group_name, user.gid)
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .map_err(|error| format!("becoming {name} (exec_user): {}: run lbd as root", error.desc()))
}

/// What holds for this process and, as they inherit it, for all programs.
fn confine() -> io::Result<()> {
    prctl::set_no_new_privs()?;
    // Who becomes a user that is not root has lost them; who was that user all along may have some.
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    // After the change of user, which takes it back.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    prctl::set_child_subreaper(true)?;
    // Whoever stops the daemon from a terminal does not mean what it runs.
    setsid()?;
    umask(Mode::from_bits_truncate(0o022));
    for (resource, limit) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, FILE),
        (Resource::RLIMIT_NPROC, PROCESSES),
    ] {
        lower(resource, limit)?;
    }
    Ok(())
}

/// Lowers a limit; one that is lower already stays.
fn lower(resource: Resource, limit: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let limit = limit.min(hard);
    setrlimit(resource, limit, limit)
}

/// Runs programs until the daemon ends. Then they are killed.
async fn serve(mut from: Reader, to: OwnedWriteHalf) -> io::Result<()> {
    let programs = Arc::new(Programs::default());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = signal(SignalKind::child())?;
    let (replies, written) = mpsc::channel(PROGRAMS);
    tokio::spawn(write(to, written));
    loop {
        tokio::select! {
            request = from.next() => match request {
                Ok(Some(request)) => drop(tokio::spawn(answer(programs.clone(), request, replies.clone()))),
                _ => break,
            },
            _ = child.recv() => programs.reap(),
            _ = terminate.recv() => break,
        }
    }
    drop(timeout(FAREWELL, programs.end(&mut child)).await);
    Ok(())
}

async fn answer(
    programs: Arc<Programs>,
    Request { id, command }: Request,
    replies: mpsc::Sender<Reply>,
) {
    let result = program::run(&programs, command).await;
    drop(replies.send(Reply { id, result }).await);
}

async fn write(mut to: OwnedWriteHalf, mut replies: mpsc::Receiver<Reply>) {
    while let Some(reply) = replies.recv().await {
        if wire::write(&mut to, &reply).await.is_err() {
            break;
        }
    }
}
