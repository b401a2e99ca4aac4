//! Ethernet and VLAN tags (IEEE 802.3, 802.1Q).

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_user::model::Mac;

use super::{Ipv4, Ipv6};

const CUSTOMER_TAG: u16 = 0x8100;

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its EtherType: 0x8100, or 0x88a8 for the outer one of two.
    pub protocol: u16,
    /// Priority and VLAN.
    pub control: u16,
}

/// The Ethernet header of a frame to be.
#[derive(Clone, Debug)]
pub struct Link {
    source: Mac,
    destination: Mac,
    tags: Vec<Tag>,
    ethertype: Option<u16>,
}

impl Link {
    /// A frame from one to another.
    #[must_use]
    pub fn new(source: Mac, destination: Mac) -> Self {
        Self { source, destination, tags: Vec::new(), ethertype: None }
    }

    /// Adds a VLAN tag inside those there are.
    #[must_use]
    pub fn vlan(self, vlan: u16) -> Self {
        self.tag(CUSTOMER_TAG, vlan)
    }

    /// Adds any tag inside those there are.
    #[must_use]
    pub fn tag(mut self, protocol: u16, control: u16) -> Self {
        self.tags.push(Tag { protocol, control });
        self
    }

    /// Says another EtherType than what follows has.
    #[must_use]
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// Goes on with IPv4.
    #[must_use]
    pub fn ipv4(self, source: Ipv4Addr, destination: Ipv4Addr) -> Ipv4 {
        Ipv4::new(self, source, destination)
    }

    /// Goes on with IPv6.
    #[must_use]
    pub fn ipv6(self, source: Ipv6Addr, destination: Ipv6Addr) -> Ipv6 {
        Ipv6::new(self, source, destination)
    }

    /// The frame, with these bytes after a header of this EtherType.
    #[must_use]
    pub fn carry(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination.0, self.source.0].concat();
        for tag in &self.tags {
            frame.extend(tag.protocol.to_be_bytes());
            frame.extend(tag.control.to_be_bytes());
        }
        frame.extend(self.ethertype.unwrap_or(ethertype).to_be_bytes());
        frame.extend(payload);
        frame
    }
}
