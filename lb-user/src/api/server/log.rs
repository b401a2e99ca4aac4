//! What the daemon logs, seen and changed while it runs.

use std::time::Duration;

use axum::Extension;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{Answer, Asker, body::Said, json};
use crate::{
    api::{
        request::Refusal,
        types::{Bodied, Circumstances, LogChange, LogStatus, Problems, Worded},
    },
    logging::{self, Filtering},
};

/// The longest time for which something else is logged.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What lbd logs.
#[utoipa::path(get, path = "/v1/log", responses((status = 200, description = "The filter", body = LogStatus), Problems, Circumstances))]
pub(super) async fn log() -> Answer {
    json(&status()?)
}

/// Changes what lbd logs, for good or for a time; needs the role admin.
#[utoipa::path(put, path = "/v1/log", request_body(content = LogChange, example = json!({"filter": "info,lb_user::health=debug", "for": "60s"})), responses((status = 200, description = "The filter that is in force", body = LogStatus), Problems, Worded, Circumstances, Bodied))]
pub(super) async fn set_log(
    Extension(caller): Asker,
    Said(LogChange { filter, time }): Said<LogChange>,
) -> Answer {
    let time = time.as_deref().map(duration).transpose()?;
    let before = status()?;
    logging::check(&filter).map_err(Refusal::invalid)?;
    let span = time.map(|time| format!(" for {}", humantime::format_duration(time)));
    let change = format!("{} -> {filter}{}", before.filter, span.unwrap_or_default());
    logging::set(&filter, time).map_err(Refusal::conflict)?;
    caller.audit("log", &change).await;
    if let Some(time) = time {
        tokio::spawn(async move {
            sleep(time).await;
            logging::expire();
        });
    }
    json(&status()?)
}

fn status() -> Result<LogStatus, Refusal> {
    let Filtering { filter, until } = logging::now()
        .ok_or_else(|| Refusal::conflict("this process has no log that could be changed"))?;
    let (until, then): (Option<Timestamp>, _) = until.unzip();
    Ok(LogStatus { filter, until, then })
}

fn duration(text: &str) -> Result<Duration, Refusal> {
    let found = humantime::parse_duration(text).ok();
    found.filter(|time| (Duration::from_secs(1)..=LONGEST).contains(time)).ok_or_else(|| {
        Refusal::invalid(format!(
            "\"{}\" is no time for a log; write one from 1s to 24h, such as 60s",
            text.escape_debug()
        ))
    })
}
