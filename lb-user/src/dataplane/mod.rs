//! The datapath as the daemon sees it: where plans are applied, counters read and packets traced.
//!
//! [`Kernel`] is the one that forwards. [`Memory`] runs the same packet code on the same tables in
//! this process, for predictions and for tests. Only this module knows `aya`.

mod attach;
mod capture;
mod detour;
mod error;
mod flows;
mod form;
mod former;
mod growth;
mod instances;
mod kernel;
mod load;
mod mapped;
mod memory;
mod noted;
mod pins;
mod port;
mod resize;
mod steered;
#[cfg(test)]
mod tests;

pub use self::{
    attach::{Mode, detach_all},
    capture::{Attached, CaptureSource},
    detour::{DetourEntry, DetourPrograms, sweep},
    error::Error,
    flows::{Cursor, FlowTable},
    form::Form,
    kernel::Kernel,
    load::{CAPTURE, Loader, OBJECT},
    memory::Memory,
    port::Port,
};
use crate::plan::Op;

/// Where a plan can be applied.
pub trait Dataplane {
    /// What can go wrong.
    type Error;

    /// Carries out the writes in their order.
    ///
    /// # Errors
    ///
    /// When the tables cannot be written.
    fn apply(&mut self, ops: &[Op]) -> Result<(), Self::Error>;
}
