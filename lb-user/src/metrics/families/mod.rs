//! All metrics that there are: a function for each, which makes a family of a snapshot.

mod node;
mod real;
mod vip;

use prometheus::proto::MetricFamily;

use super::{Snapshot, family::Family, process};

type Make = fn(&Snapshot) -> Family;

/// All families that have a sample, one after the other.
pub(super) fn all(snapshot: &Snapshot) -> impl Iterator<Item = MetricFamily> {
    let made = [node::FAMILIES, vip::FAMILIES, real::FAMILIES].into_iter().flatten();
    let made = made.map(|make| make(snapshot).done());
    let made = made.filter(|family| !family.get_metric().is_empty());
    made.chain(snapshot.checks.collect()).chain(process::families())
}
