//! `lbctl capture`.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use jiff::Timestamp;
use lb_user::{
    api::types::CaptureQuery,
    capture::{Line, Lines, ReadError},
};
use serde::Serialize;

use crate::{Session, failure::Failure, value};

const EXAMPLES: &str = "\
Shows frames as the datapath saw them and as it sent them on, with what it decided: what XDP sends
on is never seen by tcpdump. Of each frame the first 256 bytes are taken; -w writes all that to a
file for tshark or Wireshark, in which each packet has a comment.

Frames are taken in passing: at most 2000 a second on each CPU of what comes in on one interface, and
what is too much is counted, not waited for. Nothing is captured, and it costs nothing, when nobody
asks. One capture at a time, which ends, too, when nobody has read of it for 30 seconds.

Of frames that are sent on, --vip and --real show exactly those that were asked for. Others are for a
VIP by their address and port; one of which no port can be read is shown with each VIP of its address,
and frames that were missed may have been for another one.

Examples:
  lbctl capture --vip web -c 10
  lbctl capture --real 10.0.0.11 -w real11.pcapng --for 30s
  lbctl capture --outcome no_service
  lbctl capture --sample 1000 -c 100 -w - | tshark -r - -Y 'tcp.flags.syn == 1'";

/// Packets as the datapath saw and sent them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Capture {
    /// Only what is for this VIP
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    vip: Option<String>,
    /// Only what is sent to this real or sorry server
    #[arg(long, value_name = "IP", value_parser = value::address)]
    real: Option<IpAddr>,
    /// Only what ends so, as `lbctl status` has it: forwarded, no_real, ...
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// End after N packets
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, in whole seconds
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    period: Option<Duration>,
    /// Look at one packet of N, chosen at random
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Write to this file (pcapng), or to standard output: -
    #[arg(short = 'w', long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl Capture {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let query = CaptureQuery {
            vip: self.vip,
            real: self.real,
            outcome: self.outcome,
            count: self.count,
            seconds: self.period.map(|period| period.as_secs_f64().ceil().max(1.0) as u64),
            sample: self.sample,
        };
        match self.write {
            Some(path) => write(session, &query, &path),
            None => show(session, &query),
        }
    }
}

fn show(session: &mut Session<'_>, query: &CaptureQuery) -> Result<(), Failure> {
    let lines =
        Lines::new(session.client.capture(query)?).map_err(|error| broken(session, error))?;
    for line in lines {
        let line = line.map_err(|error| broken(session, error))?;
        if line.missed > 0 {
            session
                .notes
                .line(&format!("{} packets came too fast and are missing here", line.missed));
        }
        session.output.item(&Shown::of(&line), Shown::text)?;
    }
    Ok(())
}

fn broken(session: &Session<'_>, error: ReadError) -> Failure {
    session.client.broken(&error).into()
}

/// Copies the capture as it comes, so that a file is good up to its last packet whatever ends it.
fn write(session: &mut Session<'_>, query: &CaptureQuery, path: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::Capture { path: path.to_owned(), source };
    let mut capture = BufReader::with_capacity(1 << 16, session.client.capture(query)?);
    // What was there stays there if nothing can be captured.
    let mut file = (path != Path::new("-")).then(|| create(path)).transpose()?;
    let mut bytes = 0;
    loop {
        let piece = match capture.fill_buf() {
            Ok([]) => break,
            Ok(piece) => piece,
            Err(error) => return Err(broken(session, error.into())),
        };
        let length = piece.len();
        match &mut file {
            Some(file) => file.write_all(piece).map_err(failed)?,
            None => session.output.text(piece)?,
        }
        capture.consume(length);
        bytes += length;
        if file.is_some() {
            let name = format!("{}: ", path.display());
            session.notes.progress(&name, &size(bytes), Instant::now());
        }
    }
    session.notes.end_progress();
    file.map_or(Ok(()), |file| file.sync_all().or_else(unless_no_file)).map_err(failed)
}

/// A file for nobody else's eyes: it shows what clients send.
fn create(path: &Path) -> Result<File, Failure> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(|source| Failure::NoFile { path: path.to_owned(), source })
}

/// Pipes and devices cannot be synchronised, and need not be.
fn unless_no_file(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}

fn size(bytes: usize) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

/// A frame in the shapes of answers.
#[derive(Serialize)]
struct Shown<'a> {
    time: Timestamp,
    interface: &'a str,
    direction: &'static str,
    frame: &'a str,
    comment: &'a str,
    missed: u64,
}

impl<'a> Shown<'a> {
    fn of(line: &'a Line) -> Self {
        let time = Timestamp::UNIX_EPOCH.checked_add(line.time).unwrap_or(Timestamp::MAX);
        let direction = if line.is_outbound { "out" } else { "in" };
        let Line { interface, frame, comment, missed, .. } = line;
        Self { time, interface, direction, frame, comment, missed: *missed }
    }

    fn text(&self) -> String {
        let Self { time, interface, direction, frame, comment, .. } = self;
        format!("{time:.6}  {interface} {direction:<3}  {frame}  [{comment}]")
    }
}
