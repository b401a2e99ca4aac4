//! What is sent: how large it may be, how long it may take, and how many at once have a whole configuration in hand.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    api::{access::Caller, request::Refusal},
    model::Role,
};

/// The largest body, in bytes, but for a configuration.
const SMALL: usize = 1 << 20;

/// The largest one with a configuration, in bytes: of every size that fits into the tables.
const LARGE: usize = 64 << 20;

/// How long a body may take, once it can be sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// One configuration after the other: each takes memory and time. Who may do less is in nobody's way.
static TURNS: [Semaphore; Role::ALL.len()] = [const { Semaphore::const_new(1) }; Role::ALL.len()];

/// What a small body says.
pub(super) struct Said<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Said<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        parse(&receive(request, SMALL).await?).map(Self)
    }
}

/// A body with a configuration, and the turn that it has.
pub(super) struct Large {
    body: Bytes,
    turn: SemaphorePermit<'static>,
}

impl<S: Sync> FromRequest<S> for Large {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let role = request.extensions().get::<Caller>().and_then(Caller::role);
        let [least, ..] = Role::ALL;
        let turn = TURNS[role.unwrap_or(least) as usize].acquire().await;
        let turn = turn.map_err(|_| Refusal::failed("lbd is stopping"))?;
        Ok(Self { body: receive(request, LARGE).await?, turn })
    }
}

impl Large {
    /// Reads it, and does this with it, in a thread where it may take its time: it may be large, and names
    /// are looked up, maybe on other machines.
    pub(super) async fn read<T: DeserializeOwned, R: Send + 'static>(
        self,
        work: impl FnOnce(T) -> Result<R, Refusal> + Send + 'static,
    ) -> Result<R, Refusal> {
        let Self { body, turn } = self;
        let read = spawn_blocking(move || {
            let read = parse(&body).and_then(work);
            drop(turn);
            read
        });
        read.await.unwrap_or_else(|error| Err(Refusal::failed(error.to_string())))
    }
}

/// The whole body.
async fn receive(mut request: Request, most: usize) -> Result<Bytes, Refusal> {
    DefaultBodyLimit::max(most).apply(&mut request);
    match timeout(PATIENCE, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) => Err(Refusal::new(rejection.status().as_u16(), rejection.body_text())),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(Refusal::new(408, format!("the request's body did not come within {seconds} s")))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("the request's body: {error}")))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let refusal = receive(Request::new(never), SMALL).await.unwrap_err();
        assert_eq!(refusal.status, 408);
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_in_words() {
        let body = Body::from(vec![b'x'; SMALL + 1]);
        let refusal = receive(Request::new(body), SMALL).await.unwrap_err();
        assert_eq!(refusal.status, 413);
        assert!(!refusal.detail.is_empty());
    }
}
