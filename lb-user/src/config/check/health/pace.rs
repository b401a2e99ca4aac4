//! When a check probes, and after how many results something follows.

use std::time::Duration;

use crate::{
    config::{
        check::duration::{self, PROBES},
        raw::Table,
    },
    model::Initial,
};

/// Probes in a row that may be asked for.
const ROW: i64 = 100;

/// What `fast_interval` is at least where it is not given.
const FAST: Duration = Duration::from_millis(100);

pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) fast_interval: Duration,
    pub(super) timeout: Duration,
    pub(super) rise: u32,
    pub(super) fall: u32,
    pub(super) initial: Initial,
}

pub(super) fn of(table: &Table<'_>) -> Pace {
    let interval = duration::or_default(table, "interval", &PROBES, Duration::from_secs(2));
    let within = |key, default| {
        let duration = duration::or_default(table, key, &PROBES, default);
        not_longer(table, key, duration, interval);
        duration
    };
    Pace {
        interval,
        fast_interval: within("fast_interval", (interval / 4).max(FAST).min(interval)),
        timeout: within("timeout", Duration::from_secs(1).min(interval)),
        rise: table.number("rise", 1, ROW).unwrap_or(2),
        fall: table.number("fall", 1, ROW).unwrap_or(3),
        initial: table.parsed("initial").map(toml::Spanned::into_inner).unwrap_or_default(),
    }
}

fn not_longer(table: &Table<'_>, key: &str, duration: Duration, interval: Duration) {
    if duration > interval {
        let [duration, interval] = [duration, interval].map(humantime::format_duration);
        table.refuse(table.place_of(key), format_args!("{key} {duration} is longer than the interval {interval}; shorten it or lengthen the interval"));
    }
}
