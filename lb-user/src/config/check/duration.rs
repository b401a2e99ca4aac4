//! Durations as in `500ms`, `30s`, `15m`, `1h`.

use std::{ops::RangeInclusive, time::Duration};

use crate::config::raw::Table;

/// For how long flows may be remembered.
pub(in crate::config) const FLOWS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);

/// For how long a probe may wait, or the next one be put off.
pub(super) const PROBES: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

/// For how long a real may take to get its whole part of the new flows.
pub(super) const STARTS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(86_400);

/// The duration under a key, or the default.
pub(super) fn or_default(
    table: &Table<'_>,
    key: &str,
    bounds: &RangeInclusive<Duration>,
    default: Duration,
) -> Duration {
    optional(table, key, bounds).unwrap_or(default)
}

/// The duration under a key, if it is there.
pub(super) fn optional(
    table: &Table<'_>,
    key: &str,
    bounds: &RangeInclusive<Duration>,
) -> Option<Duration> {
    let text = table.text(key)?;
    let duration = parse(key, text.get_ref(), bounds);
    duration.map_err(|reason| table.refuse(text.span(), reason)).ok()
}

/// A duration within bounds; messages begin with the key.
pub(in crate::config) fn parse(
    key: &str,
    text: &str,
    bounds: &RangeInclusive<Duration>,
) -> Result<Duration, String> {
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
