//! Counts how a frame ended, and what was steered to whom.

use lb_common::Outcome;

use crate::{Forward, tables::Count};

/// Counts one frame.
#[inline(always)]
pub fn frame(counters: &impl Count, verdict: &Result<Forward, Outcome>) {
    match verdict {
        Ok(forward) => {
            counters.outcome(Outcome::Forwarded);
            counters.steered(forward.place, forward.length, forward.begins);
        }
        Err(outcome) => counters.outcome(*outcome),
    }
}
