//! Counts how a frame ended, and what was steered to whom.

use lb_common::Outcome;

use crate::{Forward, tables::Count};

/// Counts one frame of `bytes` bytes.
#[inline(always)]
pub fn frame(counters: &impl Count, verdict: &Result<Forward, Outcome>, bytes: u64) {
    match verdict {
        Ok(forward) => {
            counters.outcome(Outcome::Forwarded);
            counters.steered(forward.place, bytes, forward.begins);
        }
        Err(outcome) => counters.outcome(*outcome),
    }
}
