//! Which slot of its service's ring a datagram belongs to.

use lb_common::{Address, Entry, hash};

use crate::{parse::Datagram, tables::Tables};

/// The hash of a datagram: of its flow, or of its client alone.
#[inline(always)]
pub fn hash<A: Address>(tables: &impl Tables, service: &Entry, datagram: &Datagram<A>) -> u64 {
    let seed = tables.seed();
    if service.has(Entry::SOURCE_HASH) {
        A::source(&seed, datagram.source)
    } else {
        A::flow(
            &seed,
            datagram.source,
            datagram.destination,
            datagram.ports.both,
            datagram.protocol,
        )
    }
}

/// The number of the slot for a hash, below the ring's length.
#[inline(always)]
pub fn slot(service: &Entry, hash: u64) -> u32 {
    hash::slot(hash, service.ring_len)
}
