//! When a checker checks. A virtual server says it for its reals, and these for their checkers.

use std::time::Duration;

use super::tree::Statement;
use crate::{
    import::{Note, check},
    model::{Check, CheckKind, Initial},
};

/// From one check to the next, where nothing is said.
const INTERVAL: Duration = Duration::from_secs(60);

/// Failures in a row that can be asked for.
const ROW: u32 = 100;

/// For an answer, where nothing is said.
const CONNECT: Duration = Duration::from_secs(5);

/// What was said of it so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    before_retry: Option<Duration>,
    retry: Option<u32>,
    alpha: bool,
}

/// What a checker does where nothing is said.
pub(super) struct Defaults {
    /// More probes until a real is down.
    pub(super) retry: u32,
    /// From a failed probe to the next; the interval where there is none.
    pub(super) before_retry: Option<Duration>,
    /// Whether a probe may take the whole interval.
    pub(super) patient: bool,
}

impl Pace {
    /// Takes a statement that is about it; else gives it back.
    pub(super) fn take<'s>(
        &mut self,
        statement: &'s Statement,
        notes: &mut Vec<Note>,
    ) -> Option<&'s Statement> {
        match statement.keyword() {
            "delay_loop" => self.interval = duration(statement, notes).or(self.interval),
            "connect_timeout" | "misc_timeout" => {
                self.timeout = duration(statement, notes).or(self.timeout);
            }
            "delay_before_retry" => {
                self.before_retry = duration(statement, notes).or(self.before_retry);
            }
            "retry" | "nb_get_retry" | "nb_sock_retry" => {
                let count = statement.word(1).and_then(|text| text.parse().ok());
                if count.is_none_or(|count: u32| count >= ROW) {
                    let reason = format!(
                        "not carried over: write a number below {ROW} (fall = {ROW} is the most)"
                    );
                    notes.push(statement.note(reason));
                }
                self.retry = count.filter(|count| *count < ROW).or(self.retry);
            }
            "alpha" => self.alpha = truth(statement),
            _ => return Some(statement),
        }
        None
    }

    /// A check at this pace.
    pub(super) fn check(&self, kind: CheckKind, defaults: &Defaults) -> Check {
        let interval = self.interval.unwrap_or(INTERVAL);
        let timeout = if defaults.patient { interval } else { CONNECT };
        let before_retry = self.before_retry.or(defaults.before_retry);
        Check {
            interval,
            fast_interval: before_retry.unwrap_or(interval).min(interval),
            timeout: self.timeout.unwrap_or(timeout).min(interval),
            // The first success is enough for keepalived.
            rise: 1,
            fall: self.retry.unwrap_or(defaults.retry) + 1,
            initial: if self.alpha { Initial::Down } else { Initial::Up },
            ..check(kind)
        }
    }

    /// Whether nobody has said how often.
    pub(super) fn is_leisurely(&self) -> bool {
        self.interval.is_none()
    }

    /// What of it does not fit into the interval.
    pub(super) fn shortened(&self, statement: &Statement, check: &Check) -> Vec<Note> {
        let longer = |what: &str, given: Option<Duration>| {
            let given = given.filter(|given| *given > check.interval)?;
            let [given, interval] = [given, check.interval].map(humantime::format_duration);
            Some(statement.note(format!("{what} {given} is shortened to the interval of {interval}: a probe ends before the next begins")))
        };
        let notes =
            [longer("the timeout of", self.timeout), longer("the delay of", self.before_retry)];
        notes.into_iter().flatten().collect()
    }
}

/// `on`, `true`, `yes`, or nothing at all.
pub(super) fn truth(statement: &Statement) -> bool {
    !matches!(statement.word(1), Some("off" | "false" | "no"))
}

/// Seconds, to the millisecond.
fn duration(statement: &Statement, notes: &mut Vec<Note>) -> Option<Duration> {
    let seconds = statement.word(1).and_then(|text| text.parse::<f64>().ok());
    let fits = seconds.filter(|seconds| (0.001..=3600.0).contains(seconds));
    if fits.is_none() {
        notes.push(statement.note("not carried over: write 0.001 to 3600 seconds"));
    }
    fits.map(|seconds| Duration::from_millis((seconds * 1000.0).round() as u64))
}
