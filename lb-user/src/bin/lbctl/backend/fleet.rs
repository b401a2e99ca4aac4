//! Many hosts at once, and one stream of what they say.

use std::io;

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinSet,
};

use super::ssh::{Ending, Job, Ran, Ssh};
use crate::output::Notes;

/// Runs all jobs, some at once, and tells each line with its host before it. Gives what became of
/// them in their order. An interrupt ends those that run; the others are not begun.
pub fn run(ssh: &Ssh, jobs: &[Job], notes: &mut Notes<'_>) -> io::Result<Vec<Ran>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = Interrupts::new()?;
        let (said, hear) = mpsc::unbounded_channel();
        let fleet = Fleet::new(ssh, jobs, said);
        Ok(fleet.run(interrupted, hear, notes).await)
    })
}

/// The same, and only the end tells.
pub fn run_quietly(ssh: &Ssh, jobs: &[Job]) -> io::Result<Vec<Ran>> {
    run(ssh, jobs, &mut Notes::new(&mut io::sink(), false))
}

/// A line of the host with this number.
type Line = (usize, String);

struct Fleet<'a> {
    ssh: &'a Ssh,
    jobs: &'a [Job],
    begun: usize,
    running: JoinSet<(usize, Ran)>,
    ran: Vec<Ran>,
    said: UnboundedSender<Line>,
}

impl<'a> Fleet<'a> {
    fn new(ssh: &'a Ssh, jobs: &'a [Job], said: UnboundedSender<Line>) -> Self {
        let ran = vec![Ran::silent(Ending::NotBegun); jobs.len()];
        Self { ssh, jobs, begun: 0, running: JoinSet::new(), ran, said }
    }

    async fn run(
        mut self,
        mut interrupts: Interrupts,
        mut hear: UnboundedReceiver<Line>,
        notes: &mut Notes<'_>,
    ) -> Vec<Ran> {
        self.begin();
        while !self.running.is_empty() {
            tokio::select! {
                // All that a host has said stands before its end.
                biased;
                () = interrupts.any() => break,
                Some((host, line)) = hear.recv() => {
                    notes.line(&format!("{}| {line}", self.jobs[host].host));
                }
                Some(ended) = self.running.join_next() => {
                    if let Ok((number, ran)) = ended {
                        self.ran[number] = ran;
                    }
                    self.begin();
                }
            }
        }
        self.running.shutdown().await;
        self.ran
    }

    /// Begins as many as may run at once.
    fn begin(&mut self) {
        while self.running.len() < usize::from(self.ssh.jobs) && self.begun < self.jobs.len() {
            let (number, ssh, said) = (self.begun, self.ssh.clone(), self.said.clone());
            let job = self.jobs[number].clone();
            self.ran[number] = Ran::silent(Ending::Interrupted);
            self.running.spawn(async move {
                // Nobody listens any more once all is over.
                let tell = |line| drop(said.send((number, line)));
                (number, ssh.run(job, tell).await)
            });
            self.begun += 1;
        }
    }
}

/// What the operator ends a command by.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Waits for one of them.
    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hangup.recv() => (),
        }
    }
}
