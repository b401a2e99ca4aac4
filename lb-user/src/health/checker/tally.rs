//! How long checks took, by what came of them.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, core::Collector as _, proto::MetricFamily};

use crate::probe::{Answer, Failure};

/// From what a server on the same LAN takes up to the longest timeouts, in seconds.
const BUCKETS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How long checks took since the daemon was started, by the kind of check and what came of it. Clones are the same.
#[derive(Clone, Debug)]
pub struct Durations(Option<HistogramVec>);

impl Default for Durations {
    fn default() -> Self {
        let help = "How long checks took: by the type of check and what came of it.";
        let options = HistogramOpts::new("lb_check_duration_seconds", help);
        // It refuses names and buckets that are wrong, which these are not.
        let made = HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["type", "result"]);
        Self(made.inspect_err(|error| log::error!("metrics of checks: {error}")).ok())
    }
}

impl Durations {
    /// Counts the end of a probe.
    pub(crate) fn note(
        &self,
        kind: &'static str,
        result: &Result<Answer, Failure>,
        took: Duration,
    ) {
        let histogram = self.0.as_ref();
        let found = histogram.map(|all| all.get_metric_with_label_values(&[kind, word(result)]));
        if let Some(Ok(one)) = found {
            one.observe(took.as_secs_f64());
        }
    }

    /// As metrics: nothing before the first probe has ended.
    #[must_use]
    pub fn collect(&self) -> Option<MetricFamily> {
        let families = self.0.as_ref()?.collect();
        families.into_iter().find(|family| !family.get_metric().is_empty())
    }
}

/// What came of a probe, in a word.
fn word(result: &Result<Answer, Failure>) -> &'static str {
    match result {
        Ok(_) => "passed",
        Err(Failure::Timeout(_)) => "timeout",
        Err(Failure::Refused) => "refused",
        Err(Failure::Unreachable(_)) => "unreachable",
        Err(Failure::Wrong(_)) => "wrong",
        Err(Failure::Local(_)) => "local",
    }
}
