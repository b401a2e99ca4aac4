//! Why a command failed, and the exit code for it.

use std::{
    io::{self, ErrorKind},
    net::IpAddr,
    path::PathBuf,
};

use lb_user::api::{client, types::Place};

use crate::output::Notes;

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
    /// A file that was named cannot be read.
    #[error("{option} \"{}\" cannot be read ({source}): name a readable TOML file", .path.display())]
    File {
        /// The option that named it.
        option: &'static str,
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A configuration that was to be imported cannot be read.
    #[error("\"{}\" cannot be read ({source}): name the file to import, or - for standard input", .path.display())]
    Original {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file for a capture cannot be made.
    #[error("{}: {source}: name a file that can be written, or - for standard output", .path.display())]
    NoFile {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A captured frame cannot be written.
    #[error("{}: {source}; what is there is good up to the last whole packet, and forwarding goes on", .path.display())]
    Capture {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A configuration is wrong; each line tells of one place.
    #[error("{}", lines(.file, .places))]
    BadFile {
        /// As given.
        file: String,
        /// Where it is wrong.
        places: Vec<Place>,
    },
    /// The drain that was waited for was called off.
    #[error(
        "real {address} of vip \"{vip}\" is active again: somebody enabled it while it drained"
    )]
    Resumed {
        /// The VIP.
        vip: String,
        /// The real.
        address: IpAddr,
    },
    /// An examination has found something, or an import has omitted something, and shown it.
    #[error("something is wrong")]
    Findings,
    /// The words of the command do not fit together.
    #[error("{0}")]
    Usage(String),
    /// What was asked for would do harm.
    #[error("{0}")]
    Refused(String),
    /// What a dead daemon left cannot be detached.
    #[error("lbd does not run, and `lbd --detach` failed: {0}")]
    Detach(#[source] io::Error),
    /// The terminal cannot be drawn on, or has gone away.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[source] io::Error),
    /// The answer is there and cannot be shown.
    #[error("cannot write the answer: {0}; what was asked for is done")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Says it in one line, or a line for each place of a bad file, as `lbd --check` does; gives the
    /// exit code.
    pub fn report(&self, notes: &mut Notes<'_>) -> u8 {
        let code = self.code();
        notes.end_progress();
        if let Self::BadFile { .. } = self {
            notes.line(&self.to_string());
        } else if code != 0 && !matches!(self, Self::Findings) {
            let line = self.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            notes.line(&format!("lbctl: {line}"));
        }
        code
    }

    fn code(&self) -> u8 {
        match self {
            Self::Daemon(client::Error::Problem(problem)) if problem.status == 400 => INVALID,
            Self::Daemon(client::Error::Problem(_)) => REFUSED,
            Self::Daemon(
                client::Error::Unreachable { .. }
                | client::Error::Garbled { .. }
                | client::Error::Ended { .. },
            ) => UNREACHABLE,
            Self::File { .. } | Self::Original { .. } | Self::BadFile { .. } | Self::Usage(_) => {
                INVALID
            }
            Self::NoFile { .. }
            | Self::Capture { .. }
            | Self::Detach(_)
            | Self::Resumed { .. }
            | Self::Findings
            | Self::Refused(_)
            | Self::Terminal(_) => REFUSED,
            // Whoever reads our output has read enough, as `head` does.
            Self::Output(error) if error.kind() == ErrorKind::BrokenPipe => 0,
            Self::Output(_) => REFUSED,
        }
    }
}

fn lines(file: &str, places: &[Place]) -> String {
    let line =
        |Place { line, column, message }: &Place| format!("{file}:{line}:{column}: {message}");
    places.iter().map(line).collect::<Vec<_>>().join("\n")
}
