//! Why a command failed, and the exit code for it.

use std::{
    io::{self, ErrorKind, Write},
    path::PathBuf,
};

use lb_user::api::client;

/// The daemon refused, or the thing asked about is not so.
const REFUSED: u8 = 1;
/// Usage or invalid input.
pub const INVALID: u8 = 2;
/// The daemon cannot be reached.
const UNREACHABLE: u8 = 3;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon said so, or said nothing.
    #[error(transparent)]
    Daemon(#[from] client::Error),
    /// The file of `--config` cannot be read.
    #[error("--config \"{}\" cannot be read ({source}): name a readable TOML file", .path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What a dead daemon left cannot be detached.
    #[error("lbd does not run, and `lbd --detach` failed: {0}")]
    Detach(#[source] io::Error),
    /// The answer is there and cannot be shown.
    #[error("cannot write the answer: {0}; what was asked for is done")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Says it in one line; gives the exit code.
    pub fn report(&self, stderr: &mut dyn Write) -> u8 {
        let code = self.code();
        if code != 0 {
            let line = self.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            // Where even this cannot be written, the exit code has to say it.
            let _ = writeln!(stderr, "lbctl: {line}");
        }
        code
    }

    fn code(&self) -> u8 {
        match self {
            Self::Daemon(client::Error::Problem(problem)) if problem.status == 400 => INVALID,
            Self::Daemon(client::Error::Problem(_)) => REFUSED,
            Self::Daemon(client::Error::Unreachable { .. } | client::Error::Garbled { .. }) => {
                UNREACHABLE
            }
            Self::File { .. } => INVALID,
            Self::Detach(_) => REFUSED,
            // Whoever reads our output has read enough, as `head` does.
            Self::Output(error) if error.kind() == ErrorKind::BrokenPipe => 0,
            Self::Output(_) => REFUSED,
        }
    }
}
