//! Which slot of its service's ring a datagram belongs to.

use lb_common::{Address, Entry, hash};

use crate::{parse::Datagram, tables::Tables};

/// The number of the slot, below the ring's length.
#[inline(always)]
pub fn slot<A: Address>(tables: &impl Tables, service: &Entry, datagram: &Datagram<A>) -> u32 {
    let seed = tables.seed();
    let hash = if service.has(Entry::SOURCE_HASH) {
        A::source(&seed, datagram.source)
    } else {
        A::flow(
            &seed,
            datagram.source,
            datagram.destination,
            datagram.ports.both,
            datagram.protocol,
        )
    };
    hash::slot(hash, service.ring_len)
}
