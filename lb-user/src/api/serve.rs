//! Connections: how many, how long and how large, so that nobody who can connect disturbs those who may ask.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::access::{Caller, Gate, Peer};
use crate::model::Role;

/// What a connection may take.
#[derive(Clone, Copy)]
struct Bounds {
    /// The longest request line with its headers, in bytes.
    header: usize,
    /// How long they may take, from when they can be sent: so long a connection is idle at most.
    patience: Duration,
    /// Whether more may be asked for.
    keep_alive: bool,
}

/// For whoever reaches the network listener.
const NETWORK: Bounds =
    Bounds { header: 16 << 10, patience: Duration::from_secs(5), keep_alive: true };

/// How long a connection of those may last.
const NETWORK_LIFE: Duration = Duration::from_secs(60);

/// For those who have a role at the control socket: a trace's question is long, and events are followed for
/// ever.
const CONTROL: Bounds =
    Bounds { header: 256 << 10, patience: Duration::from_secs(60), keep_alive: true };

/// For those who have none, and will hear so, once.
const STRANGER: Bounds =
    Bounds { header: 16 << 10, patience: Duration::from_secs(5), keep_alive: false };

/// How long a connection of those may last.
const STRANGER_LIFE: Duration = Duration::from_secs(5);

/// How many connections the network listener has at once; further ones wait in the kernel.
const NETWORK_ROOM: usize = 64;

/// How many the control socket has of each kind of peer: nobody takes another kind's place.
const CONTROL_ROOM: usize = 256;

/// The same, of those who have no role.
const STRANGER_ROOM: usize = 16;

/// After an error of the system that will not be over at once, such as too many open files.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves the network listener, for ever.
pub async fn network(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(NETWORK_ROOM));
    // Never closed, so that this fails never.
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), NETWORK);
                let connection = bounded(connection, NETWORK_LIFE);
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => recover("the network listener", &error).await,
        }
    }
}

/// Serves the control socket until it is told to stop, and the answers that are under way have left.
pub async fn control(
    listener: UnixListener,
    router: Router,
    gate: Gate,
    stopped: impl Future<Output = ()>,
) {
    let rooms = Rooms::default();
    let graceful = GracefulShutdown::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(stream, &router, &gate, &rooms, &graceful),
            Err(error) => recover("the control socket", &error).await,
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Places for each kind of peer, so that none takes another's: root, each role, strangers.
struct Rooms {
    root: Arc<Semaphore>,
    roles: [Arc<Semaphore>; Role::ALL.len()],
    strangers: Arc<Semaphore>,
}

impl Default for Rooms {
    fn default() -> Self {
        let room = |places| Arc::new(Semaphore::new(places));
        let roles = Role::ALL.map(|_| room(CONTROL_ROOM));
        Self { root: room(CONTROL_ROOM), roles, strangers: room(STRANGER_ROOM) }
    }
}

impl Rooms {
    fn of(&self, peer: &Peer, role: Option<Role>) -> &Arc<Semaphore> {
        match role {
            _ if peer.is_root() => &self.root,
            Some(role) => &self.roles[role as usize],
            None => &self.strangers,
        }
    }
}

/// Serves a connection, if there is room for such a peer; closes it if not.
fn admit(
    stream: UnixStream,
    router: &Router,
    gate: &Gate,
    rooms: &Rooms,
    graceful: &GracefulShutdown,
) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => return log::warn!("who has connected to the control socket: {error}"),
    };
    let role = gate.role(&peer);
    let bounds = role.map_or(STRANGER, |_| CONTROL);
    let Ok(permit) = Arc::clone(rooms.of(&peer, role)).try_acquire_owned() else {
        return log::debug!("the control socket has too many connections such as that of {peer:?}");
    };
    let router = router.clone().layer(Extension(Caller::new(gate.clone(), peer)));
    let connection = graceful.watch(connection(stream, router, bounds));
    tokio::spawn(async move {
        match role {
            Some(_) => drop(connection.await),
            None => drop(timeout(STRANGER_LIFE, connection).await),
        }
        drop(permit);
    });
}

type Connection<S> = http1::Connection<TokioIo<S>, TowerToHyperService<Router>>;

fn connection<S>(stream: S, router: Router, bounds: Bounds) -> Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.patience)
        .max_buf_size(bounds.header)
        .keep_alive(bounds.keep_alive)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

/// Lets a connection end what it does once it has lived long enough, and drops it if it still does after as long
/// again: it may read what it gets as slowly as it likes.
async fn bounded<S>(connection: Connection<S>, life: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = std::pin::pin!(connection);
    if timeout(life, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        drop(timeout(life, connection).await);
    }
}

/// A client that has gone is nothing; other errors are told, and tried again a little later.
async fn recover(what: &str, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        log::error!("{what}: {error}");
        sleep(PAUSE).await;
    }
}
