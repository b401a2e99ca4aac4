//! Makes families of metrics: a name, a sentence about it, and its samples.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// A family that is being made.
pub(super) struct Family(MetricFamily);

impl Family {
    /// Something that only grows. Its name ends with `_total`.
    pub(super) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// Something that goes up and down.
    pub(super) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Adds a sample with these labels.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let pair = |(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut metric = Metric::from_label(labels.iter().map(pair).collect());
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds a sample for each of these words, which is 1 for the one that holds and 0 for the others.
    pub(super) fn add_state(
        &mut self,
        labels: &[(&str, &str)],
        label: &str,
        words: &[&str],
        holds: &str,
    ) {
        for word in words {
            let labels = [labels, &[(label, *word)]].concat();
            self.add(&labels, truth(*word == holds));
        }
    }

    /// The same with one sample more.
    pub(super) fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.add(labels, value);
        self
    }

    /// What came of it.
    pub(super) fn done(self) -> MetricFamily {
        self.0
    }
}

/// As numbers say it.
pub(super) fn truth(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// What was counted, as a float: exact up to 2^53, as far as Prometheus's own numbers are.
pub(super) fn number(count: u64) -> f64 {
    count as f64
}
