//! One probe, from beginning to end.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{Either, select},
};
use nix::sys::resource::{Resource, getrlimit};
use tokio::time::{Instant, timeout};

use super::Probe;
use crate::{
    model::Check,
    probe::{Answer, Failure, Target},
};

/// How many probes there are at a time at most.
const MOST: usize = 8192;

/// Files that are left for all else.
const SPARE: u64 = 256;

/// How much longer than its timeout a probe may take, which ends by itself, until it is given up.
const GRACE: Duration = Duration::from_millis(100);

/// What is to be probed.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Unique for ever.
    pub(super) number: u64,
    /// For which check of the roster.
    pub(super) watch: u64,
    pub(super) check: Arc<Check>,
    pub(super) target: Target,
    /// The real's own address, where a failure is to be looked at closely.
    pub(super) own: Option<Target>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) job: Job,
    pub(super) result: Result<Answer, Failure>,
    /// Of the same at the real's own address.
    pub(super) own: Option<Result<Answer, Failure>>,
    /// How long all of it took.
    pub(super) took: Duration,
}

/// How many probes may be made at a time, so that there are files enough for all: two for each, as
/// there may be a second one at the real's own address.
pub(super) fn places() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    usize::try_from(files.saturating_sub(SPARE) / 2).unwrap_or(MOST).clamp(64, MOST)
}

/// Makes the probe.
pub(super) async fn fly(probe: impl Probe, job: Job) -> Landed {
    let (began, most) = (Instant::now(), job.check.timeout + GRACE);
    let asked = timeout(most, AssertUnwindSafe(ask(&probe, &job)).catch_unwind()).await;
    let (result, own) = match asked {
        Ok(Ok(asked)) => asked,
        Ok(Err(_)) => (Err(Failure::Local("the probe has panicked".to_owned())), None),
        Err(_) => (Err(Failure::Timeout("waiting for the end of the probe")), None),
    };
    Landed { job, result, own, took: began.elapsed() }
}

type Asked = (Result<Answer, Failure>, Option<Result<Answer, Failure>>);

/// The timeout is for all of it, so the own address is asked when half of it has gone, if not before.
async fn ask(probe: &impl Probe, job: &Job) -> Asked {
    let Job { check, target, .. } = job;
    let deadline = Instant::now() + check.timeout;
    let mut first = pin!(probe.probe(&check.kind, target, check.timeout));
    let Some(own) = &job.own else {
        return (first.await, None);
    };
    let early = timeout(check.timeout / 2, &mut first).await;
    let left = deadline.saturating_duration_since(Instant::now());
    let own = probe.probe(&check.kind, own, left);
    match early {
        Ok(result @ (Ok(_) | Err(Failure::Local(_)))) => (result, None),
        Ok(failure) => (failure, Some(own.await)),
        Err(_) => match select(first, pin!(own)).await {
            Either::Left((answer @ Ok(_), _)) => (answer, None),
            Either::Left((failure, own)) => (failure, Some(own.await)),
            Either::Right((own, first)) => (first.await, Some(own)),
        },
    }
}
