//! Durations as in `500ms`, `30s`, `15m`, `1h`.

use std::{ops::RangeInclusive, time::Duration};

use crate::config::raw::Table;

/// For how long flows may be remembered.
pub(super) const FLOWS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);

/// For how long a probe may wait, or the next one be put off.
pub(super) const PROBES: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

/// The duration under a key, or the default.
pub(super) fn or_default(
    table: &Table<'_>,
    key: &str,
    bounds: &RangeInclusive<Duration>,
    default: Duration,
) -> Duration {
    let Some(text) = table.text(key) else {
        return default;
    };
    parse(key, text.get_ref(), bounds).unwrap_or_else(|reason| {
        table.refuse(text.span(), reason);
        default
    })
}

fn parse(key: &str, text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|_| {
        format!("{key} \"{text}\" is not a duration; write a number with its unit, such as 500ms, 30s, 15m or 1h")
    })?;
    if duration.is_zero() {
        return Err(format!("{key} must be more than 0"));
    }
    if !bounds.contains(&duration) {
        let [low, high] =
            [bounds.start(), bounds.end()].map(|bound| humantime::format_duration(*bound));
        return Err(format!("{key} \"{text}\" is out of range; write {low} to {high}"));
    }
    Ok(duration)
}
