//! The golden table: packets, and how each must end in the [world](crate::world).

mod both;
mod family;
mod ipv4;
mod ipv6;
mod moved;
mod ways;

use lb_common::{Outcome, layout::Rule};

pub use self::{
    family::{Family, Ip, Kind},
    ways::{arriving, expected},
};
use crate::{
    packet::Link,
    world::{BALANCER, CLIENT, Party, ROUTER},
};

/// A packet, and how it must end.
pub struct Row {
    /// What the row says.
    pub claim: String,
    /// The frame as it arrives.
    pub frame: Vec<u8>,
    /// How it must end.
    pub outcome: Outcome,
    /// Whether it begins a TCP connection.
    pub begins: bool,
    /// What must leave, where only one real is there to take it; else any of the pool.
    pub sent: Option<Vec<u8>>,
    /// To whom it must go, where that matters: the last byte of the real's MAC address, and why to it.
    pub owner: Option<(u8, Rule)>,
}

fn row(claim: impl Into<String>, frame: Vec<u8>, outcome: Outcome) -> Row {
    Row { claim: claim.into(), frame, outcome, begins: false, sent: None, owner: None }
}

impl Row {
    fn begins(self) -> Self {
        Self { begins: true, ..self }
    }

    fn sent(self, frame: Vec<u8>) -> Self {
        Self { sent: Some(frame), ..self }
    }

    fn to(self, owner: u8, rule: Rule) -> Self {
        Self { owner: Some((owner, rule)), ..self }
    }
}

/// A frame from the router to the balancer.
#[must_use]
pub fn to_balancer() -> Link {
    Link::new(ROUTER, BALANCER)
}

impl Family {
    /// A header from the client to somebody, without tags.
    #[must_use]
    pub fn to(self, destination: Party) -> Ip {
        self.ip(to_balancer(), CLIENT, destination)
    }

    /// A header of what a real answers the client.
    #[must_use]
    pub fn answer(self, vip: Party) -> Ip {
        self.ip(to_balancer(), vip, CLIENT)
    }
}

/// All of it, in an order that counts: fragments, and flows of slots that have moved, are steered by what
/// came before.
#[must_use]
pub fn table() -> Vec<Row> {
    let both = Family::ALL.into_iter().flat_map(|family| {
        let rows = both::rows(family).into_iter().chain(ways::rows(family));
        rows.chain(moved::rows(family))
            .map(move |row| Row { claim: format!("{family:?}: {}", row.claim), ..row })
    });
    both.chain(ipv4::rows()).chain(ipv6::rows()).chain(ways::not_ip()).collect()
}

/// A frame cut off at every offset that the kernel's test run takes: 14 bytes and more.
fn cut_off(claim: &str, whole: &[u8]) -> Vec<Row> {
    let cut = |length: usize| {
        row(
            format!("{claim}, cut off after {length}"),
            whole[..length].to_vec(),
            Outcome::Truncated,
        )
    };
    (14..whole.len()).map(cut).collect()
}
