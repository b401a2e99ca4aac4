//! `GET /metrics`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse as _,
};

use super::{
    Answer,
    texts::{Kind, Texts},
};
use crate::{
    api::{
        request::{Refusal, Request, Requests},
        types::Problems,
    },
    metrics::{self, Format},
};

/// Everything that is counted, for Prometheus: in its text format, or in OpenMetrics if that is asked for.
///
/// The owner of the state is asked once; the text is made in another thread, while it goes on.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Done, or what was asked for", content((String = "text/plain; version=0.0.4"), (String = "application/openmetrics-text; version=1.0.0; charset=utf-8"))), Problems))]
pub(super) async fn metrics(
    State(requests): State<Requests>,
    Extension(texts): Extension<Texts>,
    headers: HeaderMap,
) -> Answer {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accept.collect::<Vec<_>>().join(","));
    let begin = async move {
        let snapshot = Arc::new(requests.ask(Request::Metrics).await?);
        Ok(move || metrics::render(snapshot, format).map_err(Refusal::failed))
    };
    let text = texts.get(Kind::Metrics(format), begin).await?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}
