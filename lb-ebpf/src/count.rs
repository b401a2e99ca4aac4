//! Counts how a frame ended, and what was steered to whom.

use lb_common::Outcome;

use crate::{Ended, tables::Count};

/// Counts one frame. What is forwarded is counted at its real only: of all reals together, the daemon knows the sum.
#[inline(always)]
pub fn frame(counters: &impl Count, ended: &Ended) {
    let Ended { outcome, forward } = ended;
    if *outcome == Outcome::Forwarded {
        counters.steered(forward.place, forward.length, forward.begins);
    } else {
        counters.outcome(*outcome);
    }
}
