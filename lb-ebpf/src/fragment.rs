//! Keeps the fragments of a datagram together: the first one has the ports and is steered by them, the
//! others follow it.

use lb_common::{FragmentKey, Outcome, layout::Rule};

use crate::{flow::Owner, parse::Datagram, tables::Tables};

/// The real that got the first fragment of the datagram that this is a later one of.
///
/// # Errors
///
/// [`Outcome::Fragment`] where the first one did not come before: the real could not put the datagram
/// together anyway, unless by chance.
#[inline(always)]
pub fn owner(tables: &impl Tables, datagram: &Datagram) -> Result<Owner, Outcome> {
    let place = tables.fragment(&key(datagram)).ok_or(Outcome::Fragment)?;
    Ok(Owner { place, rule: Rule::Fragment })
}

/// Remembers who got a first fragment.
#[inline(always)]
pub fn remember(tables: &impl Tables, datagram: &Datagram, place: u32) {
    if datagram.is_first {
        tables.remember_fragment(&key(datagram), place);
    }
}

#[inline(always)]
fn key(datagram: &Datagram) -> FragmentKey {
    FragmentKey {
        source: datagram.source,
        destination: datagram.destination,
        datagram: u32::from(datagram.identification) | u32::from(datagram.protocol) << 16,
    }
}
