//! The OpenMetrics text format, by the crate `prometheus-client`.

use std::{fmt, sync::Arc};

use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::{self, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use super::{Snapshot, families};

/// No counter has an example of what it counted.
const NONE: Option<&Exemplar<NoLabelSet, f64>> = None;

/// The whole text.
pub(super) fn encode(snapshot: Arc<Snapshot>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(snapshot)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Makes the families one at a time, so that never all of them are in memory.
#[derive(Debug)]
struct Families(Arc<Snapshot>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        families::all(&self.0).try_for_each(|family| encode_family(&mut encoder, &family))
    }
}

/// In this format a family has the name without what its type and its unit add to it.
fn encode_family(encoder: &mut DescriptorEncoder<'_>, family: &MetricFamily) -> fmt::Result {
    let name = family.name();
    let (kind, name) = match family.get_field_type() {
        MetricType::COUNTER => {
            (metrics::MetricType::Counter, name.strip_suffix("_total").unwrap_or(name))
        }
        MetricType::HISTOGRAM => (metrics::MetricType::Histogram, name),
        _ => match name.strip_suffix("_info") {
            Some(name) => (metrics::MetricType::Info, name),
            None => (metrics::MetricType::Gauge, name),
        },
    };
    let units = [Unit::Seconds, Unit::Bytes].into_iter();
    let mut units = units.filter_map(|unit| {
        let short = name.strip_suffix(unit.as_str())?.strip_suffix('_')?;
        Some((short, unit))
    });
    let (name, unit) = units.next().map_or((name, None), |(name, unit)| (name, Some(unit)));
    let mut encoder = encoder.encode_descriptor(name, family.help(), unit.as_ref(), kind)?;
    family.get_metric().iter().try_for_each(|metric| encode_metric(&mut encoder, kind, metric))
}

fn encode_metric(
    encoder: &mut MetricEncoder<'_>,
    kind: metrics::MetricType,
    metric: &Metric,
) -> fmt::Result {
    let labels = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
    let labels: Vec<(&str, &str)> = labels.collect();
    match kind {
        metrics::MetricType::Info => encoder.encode_info(&labels),
        _ if labels.is_empty() => encode_value(encoder, kind, metric),
        _ => encode_value(&mut encoder.encode_family(&labels)?, kind, metric),
    }
}

fn encode_value(
    encoder: &mut MetricEncoder<'_>,
    kind: metrics::MetricType,
    metric: &Metric,
) -> fmt::Result {
    match kind {
        metrics::MetricType::Counter => {
            encoder.encode_counter(&metric.get_counter().get_value(), NONE)
        }
        metrics::MetricType::Histogram => {
            let histogram = metric.get_histogram();
            let (sum, count) = (histogram.get_sample_sum(), histogram.get_sample_count());
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets(histogram), None)
        }
        _ => encoder.encode_gauge(&metric.get_gauge().get_value()),
    }
}

/// How many samples are in each bucket, and in no smaller one.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut before = 0;
    let ends = histogram.get_bucket().iter();
    let ends = ends.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let last = (f64::INFINITY, histogram.get_sample_count());
    let ends = ends.filter(|(end, _)| end.is_finite()).chain([last]);
    ends.map(|(end, up_to)| (end, up_to - std::mem::replace(&mut before, up_to))).collect()
}
