//! Counts how a frame ended, and what was steered to whom.

use lb_common::Outcome;

use crate::{Ended, tables::Count};

/// Counts one frame.
#[inline(always)]
pub fn frame(counters: &impl Count, ended: &Ended) {
    let Ended { outcome, forward } = ended;
    counters.outcome(*outcome);
    if *outcome == Outcome::Forwarded {
        counters.steered(forward.place, forward.length, forward.begins);
    }
}
