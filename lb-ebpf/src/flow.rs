//! Which real server owns a flow.

use lb_common::{Entry, Outcome, layout::Rule};

use crate::tables::Tables;

/// The owner of a flow: a real's place, and the rule that chose it.
pub struct Owner {
    /// Its place in the arrays of reals and of counters.
    pub place: u32,
    /// Why it.
    pub rule: Rule,
}

/// The real that gets the flows of this slot of this service.
///
/// # Errors
///
/// [`Outcome::NoReal`] when nobody owns the slot.
#[inline(always)]
pub fn owner(tables: &impl Tables, service: &Entry, slot: u32) -> Result<Owner, Outcome> {
    let owners = tables.slot(service.ring.wrapping_add(slot));
    let current = owners.current().ok_or(Outcome::NoReal)?;
    Ok(Owner { place: current.place(service.pool), rule: Rule::Current })
}
