//! Keeps the fragments of a datagram together: the first one has the ports and is steered by them, the
//! others follow it.

use lb_common::{Address, FragmentKey, Outcome, layout::Rule};

use crate::{
    flow::Owner,
    parse::Datagram,
    tables::{Shelf, Tables},
};

/// The real that got the first fragment of the datagram that this is a later one of.
///
/// # Errors
///
/// [`Outcome::Fragment`] where the first one did not come before: the real could not put the datagram
/// together anyway, unless by chance.
#[inline(always)]
pub fn owner<A: Address>(tables: &impl Tables, datagram: &Datagram<A>) -> Result<Owner, Outcome> {
    let place = tables.aside(Shelf::Key, key(datagram), |key| tables.fragment(key)).flatten();
    let place = place.ok_or(Outcome::Fragment)?;
    Ok(Owner { place, rule: Rule::Fragment })
}

/// Remembers who got a first fragment.
#[inline(always)]
pub fn remember<A: Address>(tables: &impl Tables, datagram: &Datagram<A>, place: u32) {
    if datagram.is_first {
        tables.aside(Shelf::Key, key(datagram), |key| tables.remember_fragment(key, place));
    }
}

#[inline(always)]
fn key<A: Address>(datagram: &Datagram<A>) -> FragmentKey {
    let Datagram { source, destination, identification, protocol, .. } = *datagram;
    A::fragment(source, destination, identification, protocol)
}
