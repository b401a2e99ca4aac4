//! `GET /metrics`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse as _,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::Answer;
use crate::{
    api::{
        request::{Refusal, Request, Requests},
        types::Problems,
    },
    metrics::{self, Format},
};

/// One scrape after the other: however many ask at once, none of them takes the machine from the others.
static ONE: Semaphore = Semaphore::const_new(1);

/// Everything that is counted, for Prometheus: in its text format, or in OpenMetrics if that is asked for.
///
/// The owner of the state is asked once; the text is made in another thread, while it goes on.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Done, or what was asked for", content((String = "text/plain; version=0.0.4"), (String = "application/openmetrics-text; version=1.0.0; charset=utf-8"))), Problems))]
pub(super) async fn metrics(State(requests): State<Requests>, headers: HeaderMap) -> Answer {
    let stopping = || Refusal::failed("lbd is stopping");
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accept.collect::<Vec<_>>().join(","));
    let _one = ONE.acquire().await.map_err(|_| stopping())?;
    let snapshot = Arc::new(requests.ask(Request::Metrics).await?);
    let text = spawn_blocking(move || metrics::render(snapshot, format)).await;
    let text = text.map_err(|_| stopping())?.map_err(Refusal::failed)?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}
