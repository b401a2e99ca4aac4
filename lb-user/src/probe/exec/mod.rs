//! Programs of the administrator, for checks and hooks.
//!
//! The daemon does not run them itself: it keeps what they must not have. A helper process does, which has
//! become another user for good, and of which the daemon wants nothing but answers. It is the same program
//! ([`HELPER`]), it is started again if it ends, and it ends with the daemon, with all that it has started.

pub(super) mod check;
mod driver;
mod helper;
mod program;
mod programs;
#[cfg(test)]
mod tests;
mod wire;

use std::{collections::BTreeMap, fmt, io, time::Duration};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use helper::main as helper;

use driver::Job;

/// The argument by which `lbd` knows that it is to be the helper: [`helper`] is all that it calls then.
pub const HELPER: &str = "exec-helper";

/// How much of each output is handed over.
pub const HEAD: usize = 4096;

/// What a check may write until it is killed.
pub const OUTPUT: usize = 64 * 1024;

/// How many programs run at the same time.
const PROGRAMS: usize = 256;

/// Requests that may wait for the helper to read them.
const QUEUE: usize = 256;

/// How much later than the timeout the helper may answer.
const GRACE: Duration = Duration::from_secs(2);

/// A program to run, and its bounds. Of our environment it gets nothing: `PATH` has a fixed value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program, an absolute path, and its arguments.
    pub argv: Vec<String>,
    /// Its environment besides `PATH`.
    pub env: BTreeMap<String, String>,
    /// What it may read from its standard input, which then ends.
    pub stdin: String,
    /// When it is killed, with all that it has started.
    pub timeout: Duration,
    /// How many bytes it may write, to standard output and error together, until it is killed.
    pub output_limit: usize,
}

/// What a program that has ended leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// How it ended.
    pub end: End,
    /// How its standard output began.
    pub stdout: String,
    /// How its standard error began.
    pub stderr: String,
}

/// How a program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

impl Output {
    /// The first line that says something, of what was written to standard output, else to standard error.
    #[must_use]
    pub fn first_line(&self) -> Option<&str> {
        let lines = self.stdout.lines().chain(self.stderr.lines());
        lines.map(str::trim).find(|line| !line.is_empty())
    }
}

/// Why a program has not ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RunError {
    /// It could not be started.
    #[error("{program} cannot be run: {reason}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        reason: String,
    },
    /// It took too long, and was killed.
    #[error("not done in time, killed")]
    Timeout,
    /// It wrote too much, and was killed.
    #[error("wrote more than {0} bytes, killed")]
    Flood(usize),
    /// Too many run already.
    #[error("{0} programs run already, which is the most: make them faster or run them less often")]
    Busy(usize),
    /// The helper does not do what it is for.
    #[error("the helper process that runs programs: {0}")]
    Helper(String),
}

/// Runs programs as another user. The helper process ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Runner(mpsc::Sender<Job>);

impl Runner {
    /// Starts the helper, which becomes `user` ([`crate::model::Node::exec_user`]). To be called before
    /// capabilities are given up. Where it cannot, maybe as there is no such user yet, that is told, and tried
    /// again with the programs that are to be run.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn start(user: &str) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel(QUEUE);
        driver::start(user.to_owned(), jobs)?;
        Ok(Self(sender))
    }

    /// Runs a program until it ends or is killed.
    ///
    /// # Errors
    ///
    /// When it does not end by itself.
    pub async fn run(&self, command: Command) -> Result<Output, RunError> {
        let deadline = command.timeout.saturating_add(GRACE);
        let (answer, answered) = oneshot::channel();
        let run = async {
            self.0.send(Job { command, answer }).await.ok()?;
            answered.await.ok()
        };
        match timeout(deadline, run).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(RunError::Helper("has ended".to_owned())),
            Err(_) => Err(RunError::Helper("does not answer".to_owned())),
        }
    }
}
