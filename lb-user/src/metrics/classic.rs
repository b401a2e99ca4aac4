//! Prometheus's own text format, by the crate `prometheus`.

use prometheus::{Error, TextEncoder};

use super::{Snapshot, families};

/// The whole text. Families are made one at a time, so that never all of them are in memory.
pub(super) fn encode(snapshot: &Snapshot) -> Result<String, Error> {
    let mut text = String::new();
    for family in families::all(snapshot) {
        TextEncoder::new().encode_utf8(&[family], &mut text)?;
    }
    Ok(text)
}
