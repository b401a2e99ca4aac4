//! The programs that run, and who else they have started.

use std::{
    collections::HashMap,
    fs, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::{
        signal::{Signal, kill, killpg},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{Pid, getpgid},
};
use tokio::{signal::unix::Signal as SignalStream, sync::oneshot};

use super::{End, PROGRAMS};

/// Programs that run, each the leader of a process group.
#[derive(Debug, Default)]
pub(super) struct Programs(Mutex<HashMap<Pid, oneshot::Sender<End>>>);

impl Programs {
    fn running(&self) -> MutexGuard<'_, HashMap<Pid, oneshot::Sender<End>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn are_full(&self) -> bool {
        self.running().len() >= PROGRAMS
    }

    /// Adds one that has just been started; says when it has ended.
    pub(super) fn add(&self, pid: Pid) -> oneshot::Receiver<End> {
        let (sender, receiver) = oneshot::channel();
        self.running().insert(pid, sender);
        receiver
    }

    /// Takes note of all that have ended. Their descendants end with them.
    pub(super) fn reap(&self) {
        while let Some((pid, end)) = ended() {
            let program = self.running().remove(&pid);
            if let Some(program) = program {
                // As long as its leader is not reaped, its number cannot become another group's.
                let _ = killpg(pid, Signal::SIGKILL);
                let _ = program.send(end);
            }
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
        self.kill_orphans();
    }

    /// Kills those that have left the group of the program that had started them, once that does not live
    /// any more: `timeout`, what `setsid` starts, daemons.
    fn kill_orphans(&self) {
        let running = self.running();
        for pid in children() {
            match getpgid(Some(pid)) {
                Ok(group) if running.contains_key(&group) => {}
                Ok(group) if group == pid => drop(killpg(pid, Signal::SIGKILL)),
                Ok(_) => drop(kill(pid, Signal::SIGKILL)),
                Err(_) => {}
            }
        }
    }

    /// Kills one, if it still runs.
    pub(super) fn kill(&self, pid: Pid) {
        if self.running().contains_key(&pid) {
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }

    fn kill_all(&self) {
        for pid in self.running().keys() {
            let _ = killpg(*pid, Signal::SIGKILL);
        }
    }

    /// Kills all, until nobody is left: each that dies may leave us others.
    pub(super) async fn end(&self, child: &mut SignalStream) {
        loop {
            self.kill_all();
            self.reap();
            if children().is_empty() {
                break;
            }
            child.recv().await;
        }
    }
}

/// One that has ended and how, not reaped yet. (Nix would fail at real-time signals.)
fn ended() -> Option<(Pid, End)> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeroes are a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: it writes to `info` only.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) };
    // SAFETY: the call fills it in, or leaves it zero where nobody has ended.
    let pid = unsafe { info.si_pid() };
    // SAFETY: likewise.
    let status = unsafe { info.si_status() };
    let end = match info.si_code {
        libc::CLD_EXITED => End::Code(status),
        _ => End::Signal(status),
    };
    (result == 0 && pid != 0).then_some((Pid::from_raw(pid), end))
}

/// Our children: programs, and whoever has lost its parent.
fn children() -> Vec<Pid> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
    });
    pids.map(Pid::from_raw).collect()
}
