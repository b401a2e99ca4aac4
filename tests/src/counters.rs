//! What an interface has counted.

use std::ops::Sub;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The kernel's counters of one interface, or the difference of two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames dropped on reception.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames dropped on sending.
    pub tx_dropped: u64,
}

impl Counters {
    /// Reads what `ip -j -s link show` printed of one interface. (/sys/class/net shows the
    /// namespace it was mounted in, not the reader's.)
    pub(crate) fn from_ip(json: &str) -> Result<Self> {
        let links: Value = serde_json::from_str(json)?;
        let number = |direction: &str, what: &str| {
            let value = &links[0]["stats64"][direction][what];
            value
                .as_u64()
                .with_context(|| format!("no {direction}.{what} in {json}"))
        };
        Ok(Self {
            rx_packets: number("rx", "packets")?,
            rx_bytes: number("rx", "bytes")?,
            rx_dropped: number("rx", "dropped")?,
            tx_packets: number("tx", "packets")?,
            tx_bytes: number("tx", "bytes")?,
            tx_dropped: number("tx", "dropped")?,
        })
    }
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            rx_packets: self.rx_packets - earlier.rx_packets,
            rx_bytes: self.rx_bytes - earlier.rx_bytes,
            rx_dropped: self.rx_dropped - earlier.rx_dropped,
            tx_packets: self.tx_packets - earlier.tx_packets,
            tx_bytes: self.tx_bytes - earlier.tx_bytes,
            tx_dropped: self.tx_dropped - earlier.tx_dropped,
        }
    }
}
