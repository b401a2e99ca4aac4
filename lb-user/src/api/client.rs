//! The client of the control socket.
//!
//! It blocks, and so must not be called from an asynchronous task. Every call has a deadline but those
//! that follow events and packets.

use std::{
    error::Error as _,
    io::{self, BufRead as _, BufReader, Lines, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use reqwest::{
    Method,
    blocking::{self, RequestBuilder, Response},
    redirect,
};
use serde::de::DeserializeOwned;

use super::{
    VERSION_HEADER,
    doctor::{Doctor, DoctorQuery},
    types::{
        ApplyQuery, CaptureQuery, Done, EventLine, EventsQuery, Flows, FlowsQuery, LogChange,
        LogStatus, PlanQuery, PlanReport, Problem, RealStatus, RemoveRealQuery, Status, Trace,
        TraceQuery, VipStatus,
    },
};
use crate::capture::ReadError;
use crate::config::change::{NewReal, NewVip, RealPatch, VipPatch};

/// Where the daemon listens unless its configuration says otherwise.
pub const SOCKET: &str = "/run/lb/lbd.sock";

/// Where the daemon behind a socket leaves a link to its configuration file, so that what it
/// forwards can be detached when it is dead.
#[must_use]
pub fn config_link(socket: &Path) -> PathBuf {
    let mut link = socket.as_os_str().to_owned();
    link.push(".config");
    link.into()
}

/// For a call that only reads.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// For a call that writes the file and the tables, or that plans.
const WORK_DEADLINE: Duration = Duration::from_secs(30);

/// For an examination, which waits for answers from hundreds of reals a second.
const EXAMINATION: Duration = Duration::from_secs(120);

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers on the socket, or not to the end, or not in HTTP.
    #[error("{}", silence(.socket, .source))]
    Unreachable {
        /// The socket that was asked.
        socket: PathBuf,
        /// What happened there.
        source: reqwest::Error,
    },
    /// The daemon's own answer.
    #[error("{}", refusal(.0))]
    Problem(Problem),
    /// Something answers, and not as the daemon does.
    #[error(
        "{}: what answers there is not lbd, or not of this version ({reason}); \
         pass lbd's socket with --socket, or upgrade lbd and lbctl together",
        .socket.display()
    )]
    Garbled {
        /// The socket that was asked.
        socket: PathBuf,
        /// What was wrong with the answer.
        reason: String,
    },
    /// The daemon has ended, or has ended the connection, while it was listened to.
    #[error(
        "lbd at {} is gone, it has stopped or was killed: look at `systemctl status lbd`",
        .socket.display()
    )]
    Ended {
        /// The socket that was listened to.
        socket: PathBuf,
    },
}

/// A connection to the daemon's control socket, made anew for each call.
#[derive(Debug)]
pub struct Client {
    http: blocking::Client,
    socket: PathBuf,
    version: OnceLock<String>,
}

impl Client {
    /// A client of the daemon at this socket; connects to nothing yet.
    pub fn new(socket: &Path) -> Result<Self, Error> {
        let http = http(socket, Some(READ_DEADLINE))?;
        Ok(Self { http, socket: socket.to_owned(), version: OnceLock::new() })
    }

    /// The daemon's version, once it has said it in an answer.
    #[must_use]
    pub fn daemon_version(&self) -> Option<&str> {
        self.version.get().map(String::as_str)
    }

    /// The node, its VIPs and its counters.
    pub fn status(&self) -> Result<Status, Error> {
        self.json(self.read("status"))
    }

    /// All VIPs, in the configuration's order.
    pub fn vips(&self) -> Result<Vec<VipStatus>, Error> {
        self.json(self.read("vips"))
    }

    /// One VIP.
    pub fn vip(&self, name: &str) -> Result<VipStatus, Error> {
        self.json(self.read(&vip_path(name)))
    }

    /// Adds a VIP.
    pub fn add_vip(&self, vip: &NewVip) -> Result<Done, Error> {
        self.json(self.work(Method::POST, "vips").json(vip))
    }

    /// Changes what the patch names.
    pub fn set_vip(&self, name: &str, patch: &VipPatch) -> Result<Done, Error> {
        self.json(self.work(Method::PATCH, &vip_path(name)).json(patch))
    }

    /// Removes a VIP with its pool.
    pub fn delete_vip(&self, name: &str) -> Result<Done, Error> {
        self.json(self.work(Method::DELETE, &vip_path(name)))
    }

    /// The pool of a VIP, in the configuration's order.
    pub fn reals(&self, vip: &str) -> Result<Vec<RealStatus>, Error> {
        self.json(self.read(&reals_path(vip)))
    }

    /// One real of a VIP.
    pub fn real(&self, vip: &str, address: IpAddr) -> Result<RealStatus, Error> {
        self.json(self.read(&real_path(vip, address)))
    }

    /// Adds a real to the pool of a VIP.
    pub fn add_real(&self, vip: &str, real: &NewReal) -> Result<Done, Error> {
        self.json(self.work(Method::POST, &reals_path(vip)).json(real))
    }

    /// Changes what the patch names.
    pub fn set_real(&self, vip: &str, address: IpAddr, patch: &RealPatch) -> Result<Done, Error> {
        self.json(self.work(Method::PATCH, &real_path(vip, address)).json(patch))
    }

    /// Removes a real once it is drained, or at once.
    pub fn delete_real(&self, vip: &str, address: IpAddr, now: bool) -> Result<Done, Error> {
        let request = self.work(Method::DELETE, &real_path(vip, address));
        self.json(if now { request.query(&RemoveRealQuery { now }) } else { request })
    }

    /// The flows noted now.
    pub fn flows(&self, query: &FlowsQuery) -> Result<Flows, Error> {
        self.json(self.read("flows").query(query))
    }

    /// What has happened, and what will, as the query asks.
    pub fn events(&self, query: &EventsQuery) -> Result<Events, Error> {
        // Whoever follows waits as long as nothing happens.
        let patience = if query.follow { None } else { Some(READ_DEADLINE) };
        let http = http(&self.socket, patience)?;
        let response = self.answer(http.get(url("events")).query(query))?;
        Ok(Events {
            lines: BufReader::new(response).lines(),
            socket: self.socket.clone(),
            follow: query.follow,
        })
    }

    /// Packets as the datapath sees them, a pcapng file that grows: as long as the query says, or until the answer is
    /// dropped.
    pub fn capture(&self, query: &CaptureQuery) -> Result<impl Read + use<>, Error> {
        let http = http(&self.socket, None)?;
        self.answer(http.get(url("capture")).query(query))
    }

    /// A capture has ended before its end.
    #[must_use]
    pub fn broken(&self, error: &ReadError) -> Error {
        match error {
            ReadError::Broken(_) => Error::Ended { socket: self.socket.clone() },
            ReadError::Garbled(reason) => self.garbled(reason.clone()),
        }
    }

    /// What is wrong: it takes seconds.
    pub fn doctor(&self, query: &DoctorQuery) -> Result<Doctor, Error> {
        self.json(self.http.get(url("doctor")).timeout(EXAMINATION).query(query))
    }

    /// What this configuration would change.
    pub fn plan(&self, query: &PlanQuery) -> Result<PlanReport, Error> {
        self.json(self.work(Method::POST, "plan").json(query))
    }

    /// Puts this configuration in force.
    pub fn apply(&self, query: &ApplyQuery) -> Result<Done, Error> {
        self.json(self.work(Method::POST, "apply").json(query))
    }

    /// What would become of a packet.
    pub fn trace(&self, query: &TraceQuery) -> Result<Trace, Error> {
        // A configuration may be longer than the server lets a request line be.
        self.json(match query.config {
            None => self.work(Method::GET, "trace").query(query),
            Some(_) => self.work(Method::POST, "trace").json(query),
        })
    }

    /// The running configuration, as TOML.
    pub fn export(&self) -> Result<String, Error> {
        self.text(self.read("export"))
    }

    /// What the daemon logs.
    pub fn log(&self) -> Result<LogStatus, Error> {
        self.json(self.read("log"))
    }

    /// Changes what it logs.
    pub fn set_log(&self, change: &LogChange) -> Result<LogStatus, Error> {
        self.json(self.work(Method::PUT, "log").json(change))
    }

    /// Stops forwarding.
    pub fn detach(&self) -> Result<Done, Error> {
        self.json(self.work(Method::POST, "detach"))
    }

    fn read(&self, path: &str) -> RequestBuilder {
        self.http.get(url(path)).timeout(READ_DEADLINE)
    }

    fn work(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, url(path)).timeout(WORK_DEADLINE)
    }

    fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let text = self.text(request)?;
        serde_json::from_str(&text).map_err(|error| self.garbled(error.to_string()))
    }

    fn text(&self, request: RequestBuilder) -> Result<String, Error> {
        Response::text(self.answer(request)?).map_err(|error| self.unreachable(error))
    }

    /// The answer, unless it is a refusal.
    fn answer(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().map_err(|error| self.unreachable(error))?;
        if let Some(version) = response.headers().get(VERSION_HEADER) {
            let version = String::from_utf8_lossy(version.as_bytes()).into_owned();
            self.version.get_or_init(|| version);
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = Response::text(response).map_err(|error| self.unreachable(error))?;
        Err(serde_json::from_str(&text).map_or_else(
            |_| self.garbled(format!("HTTP {status} without a problem document")),
            Error::Problem,
        ))
    }

    fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { socket: self.socket.clone(), source }
    }

    fn garbled(&self, reason: String) -> Error {
        Error::Garbled { socket: self.socket.clone(), reason }
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct Events {
    lines: Lines<BufReader<Response>>,
    socket: PathBuf,
    follow: bool,
}

impl Iterator for Events {
    type Item = Result<EventLine, Error>;

    /// The next one. Whoever follows waits for it, and hears of an end only as an error.
    fn next(&mut self) -> Option<Self::Item> {
        let ended = || Error::Ended { socket: self.socket.clone() };
        match self.lines.next() {
            Some(Ok(line)) => Some(serde_json::from_str(&line).map_err(|error| Error::Garbled {
                socket: self.socket.clone(),
                reason: error.to_string(),
            })),
            Some(Err(_)) => Some(Err(ended())),
            None => self.follow.then(|| Err(ended())),
        }
    }
}

fn http(socket: &Path, patience: Option<Duration>) -> Result<blocking::Client, Error> {
    blocking::Client::builder()
        .unix_socket(socket)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(patience)
        .build()
        .map_err(|source| Error::Unreachable { socket: socket.to_owned(), source })
}

/// The host is a word for the `Host` header; the socket decides who is asked.
fn url(path: &str) -> String {
    format!("http://lbd/v1/{path}")
}

fn vip_path(name: &str) -> String {
    format!("vips/{}", segment(name))
}

fn reals_path(vip: &str) -> String {
    format!("{}/reals", vip_path(vip))
}

fn real_path(vip: &str, address: IpAddr) -> String {
    format!("{}/{}", reals_path(vip), segment(&address.to_string()))
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

fn refusal(problem: &Problem) -> String {
    if problem.detail.is_empty() {
        format!("lbd answered {} {}", problem.status, problem.title)
    } else {
        problem.detail.clone()
    }
}

fn silence(socket: &Path, error: &reqwest::Error) -> String {
    let socket = socket.display();
    if error.is_timeout() {
        return format!("lbd at {socket} did not answer in time: look at `systemctl status lbd`");
    }
    let denied = |cause: &io::Error| cause.kind() == io::ErrorKind::PermissionDenied;
    if causes(error).filter_map(|cause| cause.downcast_ref()).any(denied) {
        return format!("no permission for {socket}: be root or in group `lb`");
    }
    let cause = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    format!(
        "cannot reach lbd at {socket} ({cause}): is lbd running? \
         look at `systemctl status lbd`, or pass --socket"
    )
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_segment_cannot_break_out_of_its_place() {
        for (text, encoded) in [
            ("web-1.example_x", "web-1.example_x"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("2001:db8::1", "2001%3Adb8%3A%3A1"),
            ("ü %", "%C3%BC%20%25"),
        ] {
            assert_eq!(segment(text), encoded);
        }
    }

    #[test]
    fn a_refusal_without_detail_still_says_what_happened() {
        let problem = Problem {
            kind: "about:blank".into(),
            title: "Internal Server Error".into(),
            status: 500,
            detail: String::new(),
            places: Vec::new(),
        };
        assert_eq!(Error::Problem(problem).to_string(), "lbd answered 500 Internal Server Error");
    }
}
