//! `GET /v1/capture`: frames as the datapath saw them and sent them, as a pcapng file that grows.

use std::{
    future, io, mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::IntoResponse as _,
};
use futures_util::stream;
use lb_common::{Outcome, capture::Captured};
use nix::time::ClockId;
use tokio::{
    io::unix::AsyncFd,
    sync::{
        mpsc::{self, error::SendTimeoutError},
        oneshot, watch,
    },
    task::JoinSet,
    time,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

use super::{Answer, Asker, find_vip, held, queried};
use crate::{
    api::{
        access::Caller,
        request::{Capture, Refusal, Request, Requests},
        types::{CaptureQuery, Circumstances, Named, Problems, VipStatus, Worded},
    },
    capture::{Names, Only, Writer},
    dataplane::CaptureSource,
    model::Role,
};

/// What waits at most for a client that reads slowly; then frames are missed.
const PIECES: usize = 64;

/// Whoever has read nothing for so long has stopped, and others may want to capture.
const STALLED: Duration = Duration::from_secs(30);

/// A captured frame, the port that it came in on, and how many were missed before it.
type Taken = (u8, Captured, u64);

/// Where the file goes, piece by piece.
type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// Packets as the datapath saw them and sent them, each with what was decided about it, as a pcapng file that grows;
/// needs the role admin.
#[utoipa::path(get, path = "/v1/capture", params(CaptureQuery), responses((status = 200, description = "Packets, until it ends", body = inline(File), content_type = "application/x-pcapng"), Problems, Worded, Named, Circumstances))]
pub(super) async fn capture(
    State(requests): State<Requests>,
    Extension(caller): Asker,
    query: Result<Query<CaptureQuery>, QueryRejection>,
) -> Answer {
    let query = queried(query)?;
    query.check().map_err(Refusal::invalid)?;
    find_named(&requests, &query).await?;
    let (begun_tx, begun) = oneshot::channel();
    let (sender, receiver) = mpsc::channel(PIECES);
    // What has begun is noted and ended, even if whoever asked has gone away before that is known here.
    tokio::spawn(run(requests, caller.clone(), query, begun_tx, sender));
    begun.await.unwrap_or_else(|_| Err(Refusal::failed("the capture did not begin")))?;
    let pieces = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let pieces = held(pieces, caller, Role::Admin);
    let content_type = [(header::CONTENT_TYPE, "application/x-pcapng")];
    Ok((content_type, Body::from_stream(pieces)).into_response())
}

/// What is answered, for its description.
struct File;

impl PartialSchema for File {
    fn schema() -> RefOr<Schema> {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).into()
    }
}

impl ToSchema for File {}

/// Fails if there is no such VIP or real.
async fn find_named(requests: &Requests, query: &CaptureQuery) -> Result<(), Refusal> {
    let vips = match &query.vip {
        Some(name) => vec![find_vip(requests, name).await?],
        None if query.real.is_some() => requests.ask(Request::Status).await?.vips,
        None => return Ok(()),
    };
    let Some(real) = query.real else { return Ok(()) };
    let has = |vip: &VipStatus| {
        vip.sorry == Some(real) || vip.reals.iter().any(|one| one.address == real)
    };
    match &query.vip {
        _ if vips.iter().any(has) => Ok(()),
        Some(name) => Err(Refusal::missing(format!("VIP \"{name}\" has no real {real}"))),
        None => Err(Refusal::missing(format!("no VIP has a real {real}; see `lbctl real list`"))),
    }
}

/// A whole capture, from the question whether it may be to its end.
async fn run(
    requests: Requests,
    caller: Caller,
    query: CaptureQuery,
    begun: oneshot::Sender<Result<(), Refusal>>,
    sender: Pieces,
) {
    let (what, period) = (query.to_string(), query.seconds.map(Duration::from_secs));
    let limit = query.count.unwrap_or(u64::MAX);
    let capture = requests.ask(|reply| Request::Capture(query, reply)).await;
    // It changes nothing, but it shows what clients send.
    let outcome =
        capture.as_ref().map_or_else(|refusal| format!("refused: {}", refusal.detail), |_| what);
    caller.audit("capture", &outcome).await;
    let capture = match capture {
        Ok(capture) => capture,
        Err(refusal) => return drop(begun.send(Err(refusal))),
    };
    drop(begun.send(Ok(())));
    let (number, names) = (capture.number, capture.names.clone());
    let ended = tokio::select! {
        ended = hand_on(capture, limit, &sender) => ended,
        () = stopped(names) => Err(io::Error::other("lbd is stopping")),
        () = passed(period) => Ok(()),
    };
    // Before whoever reads is told, who may have stopped reading.
    requests.tell(Request::EndCapture(number)).await;
    if let Err(error) = ended {
        // Nobody must take this for a capture's end.
        drop(sender.send(Err(error)).await);
    }
}

/// Until nobody tells names any more.
async fn stopped(mut names: watch::Receiver<Arc<Names>>) {
    while names.changed().await.is_ok() {}
}

async fn passed(period: Option<Duration>) {
    match period {
        Some(period) => time::sleep(period).await,
        None => future::pending().await,
    }
}

/// Writes frames until there are enough, or nobody reads.
async fn hand_on(capture: Capture, limit: u64, sender: &Pieces) -> io::Result<()> {
    let Capture { sources, names, only, .. } = capture;
    let mut writer = Writer::new(&names.borrow())?;
    if !send(sender, writer.take()).await? {
        return Ok(());
    }
    let (taken_tx, mut taken) = mpsc::channel(PIECES);
    // They end with this.
    let mut tasks = JoinSet::new();
    for source in sources {
        // SAFETY: the source owns its ring buffer's descriptor for as long as it lives, and `AsyncFd` owns the
        // source.
        let source = unsafe { AsyncFd::register(source) }?;
        tasks.spawn(follow(source, only.clone(), taken_tx.clone()));
    }
    drop(taken_tx);
    let clock = Clock::now();
    let mut left = limit;
    while left > 0 {
        let next = tokio::select! {
            next = taken.recv() => next,
            () = sender.closed() => return Ok(()),
        };
        let Some((port, captured, missed)) = next else {
            return Err(io::Error::other("no frames come any more"));
        };
        left -= 1;
        let current: Arc<Names> = Arc::clone(&names.borrow());
        writer.add(&current, port, &captured, (clock.since_1970(captured.time), missed))?;
        if !send(sender, writer.take()).await? {
            break;
        }
    }
    Ok(())
}

/// Hands on a piece; false if nobody reads any more.
async fn send(sender: &Pieces, piece: Vec<u8>) -> io::Result<bool> {
    match sender.send_timeout(Ok(piece.into()), STALLED).await {
        Ok(()) => Ok(true),
        Err(SendTimeoutError::Closed(_)) => Ok(false),
        Err(SendTimeoutError::Timeout(_)) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "whoever captures has stopped reading"))
        }
    }
}

/// Takes frames out of one port's buffer as they come, but for those that nobody wants.
async fn follow(
    mut source: AsyncFd<CaptureSource>,
    only: Option<Only>,
    taken: mpsc::Sender<Taken>,
) -> io::Result<()> {
    let is_wanted = |captured: &Captured| {
        captured.outcome == Outcome::Forwarded.index()
            || only.as_ref().is_none_or(|only| only.has(captured.came.seen()))
    };
    let mut missed = 0;
    loop {
        let mut ready = source.readable_mut().await?;
        let source = ready.get_inner_mut();
        missed += source.missed();
        while let Some(captured) = source.next_frame() {
            if is_wanted(&captured)
                && taken.send((source.port, captured, mem::take(&mut missed))).await.is_err()
            {
                return Ok(());
            }
        }
        ready.clear_ready();
    }
}

/// What the monotonic clock shows since 1970.
struct Clock {
    wall: Duration,
    monotonic: Duration,
}

impl Clock {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let monotonic = nix::time::clock_gettime(ClockId::CLOCK_MONOTONIC);
        Self { wall, monotonic: monotonic.map(Duration::from).unwrap_or_default() }
    }

    fn since_1970(&self, nanoseconds: u64) -> Duration {
        (self.wall + Duration::from_nanos(nanoseconds)).saturating_sub(self.monotonic)
    }
}
