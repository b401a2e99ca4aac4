//! What the results of one check have come to: up or down, and when to probe again. Pure; time is an
//! argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Check, Initial};

/// By how much an interval is shortened, in shares of it. Never lengthened: after `fall` failures a
/// server is down within `fall` intervals and a timeout, always. The least share makes up for timers,
/// which come up to a millisecond late.
const SHORTENED: (f64, f64) = (0.01, 0.1);

/// The standing of one check of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    up: bool,
    /// Whether somebody has found out that it is up or down: not so at the very beginning.
    known: bool,
    row: Option<Row>,
}

/// The same result over and over, up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    passed: bool,
    length: u32,
}

impl Record {
    /// Of a server that nothing is known about.
    #[must_use]
    pub fn new(initial: Initial) -> Self {
        Self { up: initial == Initial::Up, known: false, row: None }
    }

    /// Of a server that is known to be up or down, which is believed until results say otherwise.
    #[must_use]
    pub fn believed(up: bool) -> Self {
        Self { up, known: true, row: None }
    }

    /// Whether it counts as up.
    #[must_use]
    pub fn up(&self) -> bool {
        self.up
    }

    /// Whether it is known to be up or down.
    #[must_use]
    pub fn known(&self) -> Option<bool> {
        self.known.then_some(self.up)
    }

    /// Takes note of a result. Says whether enough of this kind have come in a row to speak for the
    /// server: then it is up or down by them, and again each time that as many more have come.
    pub fn note(&mut self, check: &Check, passed: bool) -> bool {
        let length = match self.row {
            Some(row) if row.passed == passed => row.length.saturating_add(1),
            _ => 1,
        };
        self.row = Some(Row { passed, length });
        let speaks = length.is_multiple_of(threshold(check, passed));
        if speaks {
            (self.up, self.known) = (passed, true);
        }
        speaks
    }

    /// Whether another failure would speak for the server, and is worth a closer look.
    #[must_use]
    pub fn at_stake(&self, check: &Check) -> bool {
        let failures = self.row.filter(|row| !row.passed).map_or(0, |row| row.length);
        failures.saturating_add(1).is_multiple_of(threshold(check, false))
    }

    /// When to probe again after a probe that began and ended then. `jitter` is from 0 to 1.
    #[must_use]
    pub fn next(&self, check: &Check, began: Instant, ended: Instant, jitter: f64) -> Instant {
        let pace = if self.settled(check) { check.interval } else { check.fast_interval };
        let (least, most) = SHORTENED;
        let share = least + (most - least) * jitter.clamp(0.0, 1.0);
        // One probe at a time; and whatever the configuration says, there is an end to a loop.
        (began + pace.mul_f64(1.0 - share).max(Duration::from_millis(1))).max(ended)
    }

    /// Whether results have confirmed the standing, and nothing has spoken against it since.
    fn settled(&self, check: &Check) -> bool {
        self.row.is_some_and(|Row { passed, length }| {
            passed == self.up && length >= threshold(check, passed)
        })
    }
}

fn threshold(check: &Check, passed: bool) -> u32 {
    if passed { check.rise.max(1) } else { check.fall.max(1) }
}

#[cfg(test)]
mod tests;
