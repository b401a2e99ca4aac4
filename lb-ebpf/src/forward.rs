//! Sends a frame on to a real server: new Ethernet addresses, the VLAN tags of its network, nothing
//! else.

use lb_common::{Outcome, PortWord, RealWord, layout::VLAN_MASK};

use crate::{
    packet::{Ethernet, Frame, Tag, mac_bits, set_mac},
    parse::link::{CUSTOMER_TAG, Link, SERVICE_TAG, Tags},
    tables::Tables,
};

/// Addresses the frame to the real server, from the balancer, and chooses the port.
///
/// The source becomes the balancer's own address: a frame that left with the router's would teach
/// the switch that the router lives on the balancer's port.
///
/// # Errors
///
/// The outcome of a frame that cannot get there; it is untouched then.
#[inline(always)]
pub fn rewrite(
    frame: &mut impl Frame,
    tables: &impl Tables,
    link: &Link,
    real: RealWord,
) -> Result<(), Outcome> {
    let is_untagged = link.tags.count() == 0 && real.is_untagged_at(tables.port_number());
    if !is_untagged && real.port() == 0 {
        return Err(if real == RealWord::RESET { Outcome::Reset } else { Outcome::Unresolved });
    }
    // Before anything is moved: afterwards there is no address where one was.
    if mac_bits(&frame.packet().header::<Ethernet>(0)?.source) == real.mac_bits() {
        return Err(Outcome::Bounced);
    }
    if is_untagged {
        return address(frame, real, link.own);
    }
    let port = if real.port() == tables.port_number() {
        PortWord(link.own)
    } else {
        other_port(frame, tables, real.port())?
    };
    if link.tags.count() != 0 || real.vlan() != 0 || port.outer_vlan() != 0 {
        tag(frame, link.tags, port, real)?;
    }
    address(frame, real, port.mac_bits())
}

/// Writes both addresses.
#[inline(always)]
fn address(frame: &mut impl Frame, real: RealWord, source: u64) -> Result<(), Outcome> {
    let mut packet = frame.packet();
    let ethernet: &mut Ethernet = packet.header_mut(0)?;
    set_mac(&mut ethernet.destination, real.mac_bits());
    set_mac(&mut ethernet.source, source);
    Ok(())
}

/// Has the frame sent by another port than it came in on.
#[inline(always)]
fn other_port(
    frame: &mut impl Frame,
    tables: &impl Tables,
    number: u8,
) -> Result<PortWord, Outcome> {
    let port = tables.port(number);
    // Emptied when its interface went: what left from no address would confuse switches.
    if port.mac_bits() == 0 {
        return Err(Outcome::InterfaceGone);
    }
    frame.redirect(number)?;
    Ok(port)
}

/// Gives the frame the tags of the way to the real: none, one or two, whatever it had. The priorities
/// that it had stay.
#[inline(never)]
fn tag(frame: &mut impl Frame, tags: Tags, port: PortWord, real: RealWord) -> Result<(), Outcome> {
    let (outer, inner) = (port.outer_vlan(), real.vlan());
    let more = i32::from(outer != 0) + i32::from(inner != 0) - tags.count() as i32;
    if more != 0 {
        frame.move_start(-more * size_of::<Tag>() as i32)?;
    }
    let control = |old: u16, vlan: u16| (old & !VLAN_MASK | vlan).to_be_bytes();
    let kind = if port.is_service_tag() { SERVICE_TAG } else { CUSTOMER_TAG };
    let network = tags.ether_type().to_ne_bytes();
    let mut packet = frame.packet();
    let (first, behind_outer) = match (outer, inner) {
        (0, 0) => (tags.ether_type(), network),
        (0, _) => (CUSTOMER_TAG, network),
        (_, 0) => (kind, network),
        (_, _) => (kind, CUSTOMER_TAG.to_ne_bytes()),
    };
    packet.header_mut::<Ethernet>(0)?.ether_type = first.to_ne_bytes();
    let mut at = Link::behind(0);
    if outer != 0 {
        let tag = Tag { control: control(tags.outer(), outer), next: behind_outer };
        *packet.header_mut(at)? = tag;
        at = Link::behind(1);
    }
    if inner != 0 {
        *packet.header_mut(at)? = Tag { control: control(tags.inner(), inner), next: network };
    }
    Ok(())
}
