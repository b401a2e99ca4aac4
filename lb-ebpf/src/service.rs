//! Which service a datagram is for.
//!
//! The table is a perfect hash laid out by user space (hash and displace: Belazzouzi, Botelho and
//! Dietzfelbinger, ESA 2009): the key's hash chooses a displacement, both choose the one entry
//! where the key can be. No loop, no helper call, one comparison.

use lb_common::{
    Entry, Outcome, hash,
    layout::{TableWord, key},
};
use network_types::ip::IpProto;

use crate::{
    parse::{Datagram, Ports, Transport},
    tables::Tables,
};

/// The entry for a datagram: its port's, else that of all ports of its protocol, else that of
/// everything sent to its address.
///
/// # Errors
///
/// The outcome of a datagram that is for no service.
#[inline(always)]
pub fn lookup<'a>(tables: &'a impl Tables, datagram: &Datagram) -> Result<&'a Entry, Outcome> {
    let table = tables.table();
    if !table.is_written() {
        return Err(Outcome::NotVip);
    }
    if let Transport::Ports(Ports { destination, .. }) = datagram.transport {
        let exact = key(datagram.destination, datagram.protocol, destination);
        if let Some(entry) = find(tables, table, exact) {
            return Ok(entry);
        }
    }
    let Some(address) = find(tables, table, key(datagram.destination, 0, 0)) else {
        return Err(Outcome::NotVip);
    };
    match datagram.transport {
        Transport::Truncated => return Err(Outcome::Truncated),
        Transport::Later => return Err(Outcome::Fragment),
        Transport::Echo => return Err(Outcome::EchoAnswered),
        Transport::Ports(_) if has_all_ports(address, datagram.protocol) => {
            let all = key(datagram.destination, datagram.protocol, 0);
            return find(tables, table, all).ok_or(Outcome::NoService);
        }
        Transport::Ports(_) | Transport::Opaque => {}
    }
    if address.ring_len != 0 {
        Ok(address)
    } else if address.has(Entry::LOCAL) {
        Err(Outcome::VipLocal)
    } else {
        Err(Outcome::NoService)
    }
}

#[inline(always)]
fn has_all_ports(address: &Entry, protocol: u8) -> bool {
    let flag = if protocol == IpProto::Tcp as u8 { Entry::ALL_TCP } else { Entry::ALL_UDP };
    address.has(flag)
}

#[inline(always)]
fn find(tables: &impl Tables, table: TableWord, key: u64) -> Option<&Entry> {
    let hash = hash::service(key, table.seed());
    let displacement = tables.displacement(table.displacement_index(hash));
    let entry = tables.entry(table.entry_index(hash, displacement))?;
    (entry.key == key).then_some(entry)
}
