//! `GET /v1/events`: a line for each event, and for a follower one for each that comes.

use std::io;

use axum::{
    Extension,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::IntoResponse as _,
};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::{Answer, Asker, held, queried};
use crate::{
    api::{
        request::{Events, Refusal, Request, Requests},
        types::{EventLine, EventsQuery, Named, Problems, Worded},
    },
    model::Role,
};

/// What has happened, and for a follower what happens: a line of JSON each.
#[utoipa::path(get, path = "/v1/events", params(EventsQuery), responses((status = 200, description = "The events, one a line", body = EventLine, content_type = "application/x-ndjson"), Problems, Worded, Named))]
pub(super) async fn events(
    State(requests): State<Requests>,
    Extension(caller): Asker,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Answer {
    let query = queried(query)?;
    let Events { last, coming, filter } =
        requests.ask(|reply| Request::Events(query, reply)).await?;
    let mut head = String::new();
    for event in last {
        head.push_str(&line(&*event)?);
    }
    let coming = stream::unfold((coming, filter), async |(mut coming, mut filter)| {
        loop {
            let line = match coming.as_mut()?.recv().await {
                Ok(event) if filter.admits(&event.what) => line(&*event),
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => line(&EventLine::Missed { missed }),
                Err(RecvError::Closed) => return None,
            };
            return Some((line, (coming, filter)));
        }
    });
    let head = stream::iter((!head.is_empty()).then_some(Ok(head)));
    let lines =
        head.chain(coming).map(|line| line.map_err(|refusal| io::Error::other(refusal.detail)));
    let lines = held(lines, caller, Role::Read);
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((content_type, Body::from_stream(lines)).into_response())
}

fn line(line: &impl Serialize) -> Result<String, Refusal> {
    let text = serde_json::to_string(line).map_err(|error| Refusal::failed(error.to_string()))?;
    Ok(text + "\n")
}
