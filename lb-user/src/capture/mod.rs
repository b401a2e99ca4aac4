//! Captured frames as a file that other programs read: pcapng (draft-ietf-opsawg-pcapng), each frame as it came
//! and as it left, with a comment that says what was decided about it.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use etherparse::{LaxNetSlice, LaxSlicedPacket};
use lb_common::{Outcome, capture::Captured, layout::Rule};

pub use self::{
    read::{Line, Lines, ReadError},
    write::Writer,
};

/// What places and ports are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The VIP and the real of each place.
    pub places: HashMap<u32, (Arc<str>, IpAddr)>,
    /// The interface of each port.
    pub ports: BTreeMap<u8, String>,
}

impl Names {
    /// What was decided about a frame, in words: `forwarded: vip web, real 10.0.0.11, by current, slot 17`.
    #[must_use]
    pub fn verdict(&self, captured: &Captured) -> String {
        let Some(outcome) = Outcome::from_index(captured.outcome) else {
            return format!("outcome {}", captured.outcome);
        };
        if outcome != Outcome::Forwarded {
            return format!("{}: {}", outcome.label(), outcome.describe());
        }
        let (vip, real) = match self.places.get(&captured.place) {
            Some((vip, real)) => (&**vip, real.to_string()),
            None => ("?", "?".to_owned()),
        };
        let rule = Rule::from_number(captured.rule).map_or("?", Rule::label);
        format!("forwarded: vip {vip}, real {real}, by {rule}, slot {}", captured.slot)
    }
}

/// Where a frame goes, if it is one of IP.
#[must_use]
pub fn destination(frame: &[u8]) -> Option<IpAddr> {
    match LaxSlicedPacket::from_ethernet(frame).ok()?.net? {
        LaxNetSlice::Ipv4(ip) => Some(ip.header().destination_addr().into()),
        LaxNetSlice::Ipv6(ip) => Some(ip.header().destination_addr().into()),
        LaxNetSlice::Arp(_) => None,
    }
}
