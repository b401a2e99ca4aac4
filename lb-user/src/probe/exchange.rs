//! One HTTP request and its answer, on a connection of its own.

use std::{
    error::Error as _,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    client::conn::{http1, http2},
    header::HeaderValue,
    http::uri::Authority,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::{
    Failure, Target,
    socket::{ANSWER, CONNECTING, Clock, READING, WAITING, closed, connect, failure},
    tls::{Clients, server_name},
};
use crate::model::{HttpVersion, Tls};

/// What we call ourselves in requests.
pub(super) const AGENT: HeaderValue = HeaderValue::from_static("lbd");

/// Whom to ask, and how.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) target: &'a Target,
    pub(super) port: u16,
    pub(super) tls: Option<&'a Tls>,
    pub(super) version: HttpVersion,
    /// What the server is called; its address where nothing is given.
    pub(super) host: Option<&'a str>,
}

/// What came of a request. The body is cut after as much as is read.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) is_cut: bool,
    pub(super) trailers: HeaderMap,
}

/// Bytes to and from a server.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Place<'_> {
    /// The host and, where it is not the usual one, the port.
    pub(super) fn authority(&self) -> String {
        if let Some(host) = self.host {
            return host.to_owned();
        }
        let host = match self.target.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        match (self.port, self.tls) {
            (80, None) | (443, Some(_)) => host,
            (port, _) => format!("{host}:{port}"),
        }
    }

    /// Makes a request and reads the answer, for as long as its status is one that `passes`: what follows
    /// another is not waited for.
    pub(super) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        passes: impl Fn(StatusCode) -> bool,
        clients: &Clients,
        clock: &Clock,
    ) -> Result<Reply, Failure> {
        let stream = self.open(clients, clock).await?;
        // What is under way ends with it, and with that the connection.
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let mut sender = clock.within(CONNECTING, self.begin(stream, &tasks)).await?;
        let answer = async { sender.send(request).await.map_err(|e| self.meaning(&e, WAITING)) };
        let (head, body) = clock.within(WAITING, answer).await?.into_parts();
        let mut reply = Reply {
            status: head.status,
            headers: head.headers,
            body: Vec::new(),
            is_cut: false,
            trailers: HeaderMap::new(),
        };
        if passes(reply.status) {
            clock.within(READING, self.read(body, &mut reply)).await?;
        }
        Ok(reply)
    }

    async fn open(&self, clients: &Clients, clock: &Clock) -> Result<Box<dyn Stream>, Failure> {
        let stream = connect(self.target, self.port, clock).await?;
        let Some(tls) = self.tls else { return Ok(Box::new(stream)) };
        let host: Option<Authority> = self.host.and_then(|host| host.parse().ok());
        let host = host.as_ref().map(|host| host.host().trim_matches(['[', ']']));
        let address = self.target.address.to_string();
        let name = server_name(tls, host.into_iter().chain([address.as_str()]))?;
        Ok(Box::new(clients.connect(stream, tls, name, self.version, clock).await?))
    }

    async fn begin(&self, stream: Box<dyn Stream>, tasks: &Tasks) -> Result<Sender, Failure> {
        let io = TokioIo::new(stream);
        let executor = Executor(Arc::downgrade(tasks));
        let sender = match self.version {
            HttpVersion::One => {
                let builder = http1::Builder::new().max_buf_size(ANSWER).handshake(io).await;
                builder.map(|(sender, connection)| {
                    executor.spawn(async { drop(connection.await) });
                    Sender::One(sender)
                })
            }
            HttpVersion::Two => {
                let builder = http2::Builder::new(executor.clone()).handshake(io).await;
                builder.map(|(sender, connection)| {
                    executor.spawn(async { drop(connection.await) });
                    Sender::Two(sender)
                })
            }
        };
        sender.map_err(|error| self.meaning(&error, CONNECTING))
    }

    async fn read(&self, mut body: Incoming, reply: &mut Reply) -> Result<(), Failure> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.meaning(&error, READING))?;
            match frame.into_data() {
                Ok(data) => reply.body.extend_from_slice(&data),
                Err(frame) => reply.trailers = frame.into_trailers().unwrap_or_default(),
            }
            if reply.body.len() > ANSWER {
                reply.body.truncate(ANSWER);
                reply.is_cut = true;
                break;
            }
        }
        Ok(())
    }

    /// What an error says of the server.
    fn meaning(&self, error: &hyper::Error, during: &'static str) -> Failure {
        let causes: Vec<_> =
            std::iter::successors(error.source(), |&error| error.source()).collect();
        let io = causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>());
        let failure = match io {
            Some(io) => Some(failure(io, during)),
            None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
                Some(closed(during))
            }
            None => None,
        };
        // The answer to what looks like a request of HTTP/1.1 may be lost with the connection.
        match failure {
            Some(Failure::Wrong(text))
                if self.version == HttpVersion::Two && self.tls.is_none() =>
            {
                return Failure::Wrong(format!("{text}: does the server speak HTTP/2?"));
            }
            Some(failure) => return failure,
            None => {}
        }
        let detail = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        Failure::Wrong(format!("the server does not speak HTTP/{}: {detail}", self.version))
    }
}

/// Where requests are put in.
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<hyper::Response<Incoming>> {
        match self {
            Self::One(sender) => sender.send_request(request).await,
            Self::Two(sender) => sender.send_request(request).await,
        }
    }
}

/// What runs beside the exchange, and ends when it is dropped.
type Tasks = Arc<Mutex<JoinSet<()>>>;

/// Starts tasks, which hold it themselves: it must not keep them alive.
#[derive(Clone)]
struct Executor(Weak<Mutex<JoinSet<()>>>);

impl Executor {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
