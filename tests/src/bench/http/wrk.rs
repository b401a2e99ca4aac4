//! wrk, which asks as often as it is answered.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use crate::{Netns, Output, debian};

/// How many threads it has, and how many connections they have together.
pub(super) const THREADS: u32 = 2;
pub(super) const CONNECTIONS: u32 = 64;

/// How requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Connections {
    /// Each in a connection of its own.
    New,
    /// One after the other in the same ones.
    Kept,
}

impl Connections {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::New, Self::Kept];

    /// What tables call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::New => "a connection for each request",
            Self::Kept => "connections kept",
        }
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answered {
    /// Requests.
    pub requests: u64,
    /// Requests a second.
    pub rate: f64,
}

/// Asks there for so long. Whatever is not answered, or not well, is an error.
pub(super) fn run(
    client: &Netns,
    place: SocketAddr,
    connections: Connections,
    seconds: u32,
) -> Result<Answered> {
    let mut command = client.command(debian::file("usr/bin/wrk")?);
    debian::environment(&mut command);
    command.args([format!("-t{THREADS}"), format!("-c{CONNECTIONS}"), format!("-d{seconds}s")]);
    if connections == Connections::New {
        command.args(["-H", "Connection: close"]);
    }
    let output = Output::of(command.arg(format!("http://{place}/")))?.success()?;
    read(&output.stdout).with_context(|| format!("wrk: {}", output.stdout))
}

/// What it has printed.
fn read(text: &str) -> Result<Answered> {
    for complaint in ["Socket errors", "Non-2xx"] {
        ensure!(!text.contains(complaint), "not all requests were answered");
    }
    let line = |word: &str| text.lines().map(str::trim).find(|line| line.contains(word));
    let requests = line(" requests in ").and_then(|line| line.split(' ').next()?.parse().ok());
    let rate = line("Requests/sec:").and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    Ok(Answered {
        requests: requests.context("no number of requests")?,
        rate: rate.context("no requests a second")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 2s test @ http://192.0.2.10:80/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.07ms    1.63ms  23.33ms   79.52%
    Req/Sec     7.51k     1.25k   10.02k    70.00%
  29930 requests in 2.00s, 6.54MB read
Requests/sec:  14941.23
Transfer/sec:      3.26MB
";

    #[test]
    fn what_wrk_says_is_read() -> Result<()> {
        assert_eq!(read(TEXT)?, Answered { requests: 29930, rate: 14941.23 });
        Ok(())
    }

    #[test]
    fn an_error_is_an_error() {
        for complaint in
            ["Socket errors: connect 0, read 1, write 0, timeout 0", "Non-2xx or 3xx responses: 2"]
        {
            assert!(read(&format!("{TEXT}  {complaint}\n")).is_err());
        }
        assert!(read("").is_err());
    }
}
