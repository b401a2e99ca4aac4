//! `GET /v1/capture`: frames as the datapath saw them and sent them, as a pcapng file that grows.

use std::{
    io,
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
use tokio::{io::unix::AsyncFd, sync::mpsc, task::JoinSet, time};

use super::{Answer, Asker, find_real, find_vip, held, queried};
use crate::{
    api::{
        request::{Capture, Refusal, Request, Requests},
        types::{CaptureQuery, Circumstances, Named, Problems, Worded},
    },
    capture::{Names, Writer, destination},
    dataplane::CaptureSource,
    model::Role,
};

/// What waits at most for a client that reads slowly; then frames are missed.
const PIECES: usize = 64;

/// A captured frame, the port that it came in on, and how many were missed before it.
type Taken = (u8, Captured, u64);

/// Packets as the datapath saw them and sent them, each with what was decided about it, as a pcapng file that grows;
/// needs the role admin.
#[utoipa::path(get, path = "/v1/capture", params(CaptureQuery), responses((status = 200, description = "Packets, until it ends", body = Vec<u8>, content_type = "application/x-pcapng"), Problems, Worded, Named, Circumstances))]
pub(super) async fn capture(
    State(requests): State<Requests>,
    Extension(caller): Asker,
    query: Result<Query<CaptureQuery>, QueryRejection>,
) -> Answer {
    let query = queried(query)?;
    query.check().map_err(Refusal::invalid)?;
    if let Some(name) = &query.vip {
        let vip = find_vip(&requests, name).await?;
        query.real.map(|real| find_real(vip, real)).transpose()?;
    }
    let CaptureQuery { count, seconds, .. } = query;
    let what = query.to_string();
    let capture = requests.ask(|reply| Request::Capture(query, reply)).await;
    // It changes nothing, but it shows what clients send.
    let begun =
        capture.as_ref().map_or_else(|refusal| format!("refused: {}", refusal.detail), |_| what);
    caller.audit("capture", &begun).await;
    let capture = capture?;
    let number = capture.number;
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let limit = count.unwrap_or(u64::MAX);
        let handed = hand_on(capture, limit, &sender);
        let ended = match seconds {
            Some(seconds) => {
                time::timeout(Duration::from_secs(seconds), handed).await.unwrap_or(Ok(()))
            }
            None => handed.await,
        };
        if let Err(error) = ended {
            // Whoever reads must not take this for a capture's end.
            drop(sender.send(Err(error)).await);
        }
        requests.tell(Request::EndCapture(number)).await;
    });
    let pieces = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let pieces = held(pieces, caller, Role::Admin);
    let content_type = [(header::CONTENT_TYPE, "application/x-pcapng")];
    Ok((content_type, Body::from_stream(pieces)).into_response())
}

/// Writes frames until there are enough, or nobody reads.
async fn hand_on(
    capture: Capture,
    limit: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let Capture { sources, names, only, .. } = capture;
    let mut writer = Writer::new(&names.borrow())?;
    if sender.send(Ok(writer.take().into())).await.is_err() {
        return Ok(());
    }
    let (taken_tx, mut taken) = mpsc::channel(PIECES);
    // They end with this.
    let mut tasks = JoinSet::new();
    for source in sources {
        // SAFETY: the source owns its ring buffer's descriptor for as long as it lives, and `AsyncFd` owns the
        // source.
        let source = unsafe { AsyncFd::register(source) }?;
        tasks.spawn(follow(source, taken_tx.clone()));
    }
    let clock = Clock::now();
    let mut left = limit;
    while left > 0 {
        let next = tokio::select! {
            next = taken.recv() => next,
            () = sender.closed() => None,
        };
        let Some((port, captured, missed)) = next else {
            break;
        };
        let is_wanted = captured.outcome == Outcome::Forwarded.index()
            || only.is_none_or(|vip| destination(seen(&captured)) == Some(vip));
        if !is_wanted {
            continue;
        }
        left -= 1;
        let current: Arc<Names> = Arc::clone(&names.borrow());
        writer.add(&current, port, &captured, (clock.since_1970(captured.time), missed))?;
        if sender.send(Ok(writer.take().into())).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn seen(captured: &Captured) -> &[u8] {
    let taken = captured.came.taken as usize;
    captured.came.bytes.get(..taken).unwrap_or_default()
}

/// Takes frames out of one port's buffer as they come.
async fn follow(mut source: AsyncFd<CaptureSource>, taken: mpsc::Sender<Taken>) -> io::Result<()> {
    loop {
        let mut ready = source.readable_mut().await?;
        let source = ready.get_inner_mut();
        while let Some(captured) = source.next_frame() {
            let (port, missed) = (source.port, source.missed());
            if taken.send((port, captured, missed)).await.is_err() {
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
