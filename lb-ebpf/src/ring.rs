//! Which slot of its service's ring a datagram belongs to.

use lb_common::{Entry, hash};

use crate::{
    parse::{Datagram, Transport},
    tables::Tables,
};

/// The number of the slot, below the ring's length.
#[inline(always)]
pub fn slot(tables: &impl Tables, service: &Entry, datagram: &Datagram) -> u32 {
    let seed = tables.seed();
    let hash = if service.has(Entry::SOURCE_HASH) {
        hash::source(&seed, datagram.source)
    } else {
        let ports = match datagram.transport {
            Transport::Ports(ports) => ports.both,
            Transport::Echo | Transport::Opaque | Transport::Later | Transport::Truncated => 0,
        };
        hash::flow(&seed, datagram.source, datagram.destination, ports, datagram.protocol)
    };
    hash::slot(hash, service.ring_len)
}
