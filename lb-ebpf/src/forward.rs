//! Sends a frame on to a real server: new Ethernet addresses, nothing else.

use lb_common::{Outcome, RealWord};

use crate::{
    packet::{Ethernet, Packet, set_mac},
    tables::Tables,
};

/// Addresses the frame to the real server, from the balancer.
///
/// The source becomes the balancer's own address: a frame that left with the router's would teach
/// the switch that the router lives on the balancer's port.
///
/// # Errors
///
/// [`Outcome::Unresolved`] when nobody has written how the real is reached.
#[inline(always)]
pub fn rewrite(packet: &mut Packet, tables: &impl Tables, real: RealWord) -> Result<(), Outcome> {
    if real.port() != tables.port_number() {
        return Err(Outcome::Unresolved);
    }
    let ethernet: &mut Ethernet = packet.header_mut(0)?;
    set_mac(&mut ethernet.destination, real.mac_bits());
    set_mac(&mut ethernet.source, tables.port().mac_bits());
    Ok(())
}
