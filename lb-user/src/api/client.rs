//! The client of the control socket.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Method,
    blocking::{Client as Http, RequestBuilder, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::types::{Done, Problem, RealStatus, Status, Trace, TraceQuery, VipStatus};
use crate::config::change::{NewReal, NewVip, RealPatch, VipPatch};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer, or which.
#[derive(Debug, Error)]
pub enum Error {
    /// Nobody listens, or we may not ask.
    #[error("no answer from lbd at {socket}: {hint}", socket = socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What to do.
        hint: String,
    },
    /// The daemon says no.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// What answers is not the daemon, or not of this version.
    #[error("{socket} does not answer as lbd does ({detail}): are lbd and lbctl of one version?", socket = socket.display())]
    Garbled {
        /// The socket.
        socket: PathBuf,
        /// What was wrong.
        detail: String,
    },
}

/// Asks the daemon behind a socket.
pub struct Client {
    socket: PathBuf,
    http: Http,
}

impl Client {
    /// A client of the daemon at this socket; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When there is nothing to connect to.
    pub fn new(socket: &Path) -> Result<Self, Error> {
        if let Err(error) = std::os::unix::net::UnixStream::connect(socket) {
            return Err(Error::Unreachable { socket: socket.to_owned(), hint: hint(&error) });
        }
        let http = Http::builder().unix_socket(socket).timeout(PATIENCE).build();
        let http = http.map_err(|error| Error::Unreachable {
            socket: socket.to_owned(),
            hint: error.to_string(),
        })?;
        Ok(Self { socket: socket.to_owned(), http })
    }

    /// Everything that can be seen.
    pub fn status(&self) -> Result<Status, Error> {
        self.get(&["status"])
    }

    /// All VIPs.
    pub fn vips(&self) -> Result<Vec<VipStatus>, Error> {
        self.get(&["vips"])
    }

    /// One VIP.
    pub fn vip(&self, name: &str) -> Result<VipStatus, Error> {
        self.get(&["vips", name])
    }

    /// The pool of a VIP.
    pub fn reals(&self, vip: &str) -> Result<Vec<RealStatus>, Error> {
        self.get(&["vips", vip, "reals"])
    }

    /// Adds a VIP.
    pub fn add_vip(&self, vip: &NewVip) -> Result<Done, Error> {
        self.send(Method::POST, &["vips"], vip)
    }

    /// Changes a VIP.
    pub fn set_vip(&self, name: &str, patch: &VipPatch) -> Result<Done, Error> {
        self.send(Method::PATCH, &["vips", name], patch)
    }

    /// Removes a VIP.
    pub fn remove_vip(&self, name: &str) -> Result<Done, Error> {
        self.finish(self.request(Method::DELETE, &["vips", name]))
    }

    /// Adds a real to a VIP.
    pub fn add_real(&self, vip: &str, real: &NewReal) -> Result<Done, Error> {
        self.send(Method::POST, &["vips", vip, "reals"], real)
    }

    /// Changes a real of a VIP.
    pub fn set_real(&self, vip: &str, real: IpAddr, patch: &RealPatch) -> Result<Done, Error> {
        self.send(Method::PATCH, &["vips", vip, "reals", &real.to_string()], patch)
    }

    /// Removes a real from a VIP.
    pub fn remove_real(&self, vip: &str, real: IpAddr) -> Result<Done, Error> {
        self.finish(self.request(Method::DELETE, &["vips", vip, "reals", &real.to_string()]))
    }

    /// Where a packet would go.
    pub fn trace(&self, query: &TraceQuery) -> Result<Trace, Error> {
        self.send(Method::POST, &["trace"], query)
    }

    /// The running configuration as TOML.
    pub fn export(&self) -> Result<String, Error> {
        let answer = self.answer(self.request(Method::GET, &["export"]))?;
        answer.text().map_err(|error| self.garbled(&error))
    }

    /// Stops forwarding, and the daemon.
    pub fn detach(&self) -> Result<Done, Error> {
        self.finish(self.request(Method::POST, &["detach"]))
    }

    fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Error> {
        self.finish(self.request(Method::GET, path))
    }

    fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.finish(self.request(method, path).json(body))
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = reqwest::Url::parse("http://lbd/v1").expect("a constant");
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        self.http.request(method, url)
    }

    fn finish<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        self.answer(request)?.json().map_err(|error| self.garbled(&error))
    }

    /// The answer, unless it is a problem.
    fn answer(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().map_err(|error| Error::Unreachable {
            socket: self.socket.clone(),
            hint: if error.is_timeout() {
                format!("it did not answer within {} s", PATIENCE.as_secs())
            } else {
                "the connection broke; `lbctl status` shows whether the change was made".to_owned()
            },
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(Error::Refused(response.json().map_err(|error| self.garbled(&error))?))
    }

    fn garbled(&self, error: &reqwest::Error) -> Error {
        Error::Garbled { socket: self.socket.clone(), detail: error.to_string() }
    }
}

fn hint(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such socket; is lbd running (`systemctl status lbd`)? else give --socket PATH"
                .to_owned()
        }
        std::io::ErrorKind::ConnectionRefused => {
            "nobody listens; start lbd (`systemctl start lbd`)".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "permission denied; be root or a member of the group lb".to_owned()
        }
        _ => error.to_string(),
    }
}
