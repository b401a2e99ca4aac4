//! Which service a datagram is for.
//!
//! The table is a perfect hash laid out by user space (hash and displace: Belazzouzi, Botelho and
//! Dietzfelbinger, ESA 2009): the key's hash chooses a displacement, both choose the one entry
//! where the key can be. No loop, no helper call, one comparison.

use lb_common::{Address, Entry, Outcome, TableWord, hash};
use network_types::ip::IpProto;

use crate::{
    parse::{Datagram, Transport},
    tables::Tables,
};

/// The entry for a datagram: its port's, else that of all ports of its protocol, else that of
/// everything sent to its address.
///
/// # Errors
///
/// The outcome of a datagram that is for no service.
#[inline(always)]
pub fn lookup<'a, A: Address>(
    tables: &'a impl Tables,
    table: TableWord,
    datagram: &Datagram<A>,
) -> Result<&'a Entry, Outcome> {
    if !table.is_written() {
        return Err(Outcome::NotVip);
    }
    let Datagram { destination, protocol, transport, ports, .. } = *datagram;
    if transport == Transport::Ports
        && let Some(entry) = find(tables, table, destination, protocol, ports.destination)
    {
        return Ok(entry);
    }
    let Some(address) = find(tables, table, destination, 0, 0) else {
        return Err(Outcome::NotVip);
    };
    match transport {
        Transport::Truncated => return Err(Outcome::Truncated),
        Transport::Malformed => return Err(Outcome::Malformed),
        Transport::Beyond => return Err(Outcome::ExtensionHeaders),
        Transport::Later => return Err(Outcome::Fragment),
        Transport::Echo => return Err(Outcome::EchoAnswered),
        Transport::Discovery => return Err(Outcome::NeighbourDiscovery),
        Transport::Ports if has_all_ports(address, protocol) => {
            return find(tables, table, destination, protocol, 0).ok_or(Outcome::NoService);
        }
        Transport::Ports | Transport::Opaque => {}
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
fn find<A: Address>(
    tables: &impl Tables,
    table: TableWord,
    address: A,
    protocol: u8,
    port: u16,
) -> Option<&Entry> {
    let service = address.service(protocol, port);
    let hash = hash::service(address.mixed(service), table.0);
    let displacement = tables.displacement(table.displacement_index(hash));
    let entry = tables.entry(table.entry_index(hash, displacement))?;
    (entry.service == service && address.is_of(entry)).then_some(entry)
}
