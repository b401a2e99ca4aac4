//! What `/metrics` says: a snapshot of everything that is counted, in the text that monitoring systems read.
//!
//! The owner of the state makes the [`Snapshot`] and does nothing else; the families are made of it, and written
//! one after the other, wherever the answer is. There is a series for each VIP, each of its reals, each interface,
//! outcome and kind of check, so the configuration bounds how many there are; most are the reals'. Nothing that a
//! client chooses, no address or port of one, is ever a label.

mod classic;
mod families;
mod family;
mod format;
mod openmetrics;
mod process;
mod snapshot;
mod tally;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{
    format::Format,
    snapshot::{Check, Config, Fill, Interface, Program, Real, Snapshot, Vip},
    tally::{Came, Tally},
};

/// The snapshot in this format.
///
/// # Errors
///
/// What one of the encoders finds wrong with a family, which would be an error in the program.
pub fn render(snapshot: Arc<Snapshot>, format: Format) -> Result<String, String> {
    match format {
        Format::Classic => classic::encode(&snapshot).map_err(|error| error.to_string()),
        Format::OpenMetrics => openmetrics::encode(snapshot).map_err(|error| error.to_string()),
    }
}
