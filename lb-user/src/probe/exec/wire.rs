//! What the daemon and its helper say to each other: lines of JSON on a pair of sockets.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};

use super::{Command, Output, RunError};

/// The first line to the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Whom it is to become.
    pub(super) user: String,
}

/// The first line from the helper: what has come of it.
pub(super) type Welcome = Result<(), String>;

/// Any other line to the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) command: Command,
}

/// Any other line from the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) id: u64,
    pub(super) result: Result<Output, RunError>,
}

/// Lines that arrive.
#[derive(Debug)]
pub(super) struct Reader(Lines<BufReader<OwnedReadHalf>>);

impl Reader {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self(BufReader::new(half).lines())
    }

    /// The next line; none when the other side has ended. May be cancelled without loss.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let line = self.0.next_line().await?;
        Ok(line.map(|line| serde_json::from_str(&line)).transpose()?)
    }
}

/// Writes one line.
pub(super) async fn write<T: Serialize>(to: &mut OwnedWriteHalf, line: &T) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    to.write_all(&bytes).await
}
