//! What rows of both families have in common: an IP header to be, whichever it is.

use crate::{
    packet::{Icmp, Ipv4, Ipv6, Link, Tcp, Udp},
    world::Party,
};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An IP header to be.
#[derive(Clone, Debug)]
pub enum Ip {
    /// IPv4.
    V4(Ipv4),
    /// IPv6.
    V6(Ipv6),
}

/// A type of ICMP message that both families have.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A ping.
    EchoRequest,
    /// Its answer.
    EchoReply,
    /// A packet did not fit the next link.
    TooBig,
    /// A question that no balancer needs to understand: a timestamp, a node's information.
    Other,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The header from one to another.
    #[must_use]
    pub fn ip(self, link: Link, source: Party, destination: Party) -> Ip {
        match self {
            Self::V4 => Ip::V4(link.ipv4(source.v4, destination.v4)),
            Self::V6 => Ip::V6(link.ipv6(source.v6, destination.v6)),
        }
    }

    /// The length of the header without options.
    #[must_use]
    pub const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// The types of ICMP errors (RFC 792; RFC 4443, section 2.1).
    #[must_use]
    pub const fn errors(self) -> &'static [u8] {
        match self {
            Self::V4 => &[3, 11, 12],
            Self::V6 => &[1, 2, 3, 4],
        }
    }

    /// Type and code of a message.
    const fn message(self, kind: Kind) -> (u8, u8) {
        match (self, kind) {
            (Self::V4, Kind::EchoRequest) => (8, 0),
            (Self::V4, Kind::EchoReply) => (0, 0),
            (Self::V4, Kind::TooBig) => (3, 4),
            (Self::V4, Kind::Other) => (13, 0),
            (Self::V6, Kind::EchoRequest) => (128, 0),
            (Self::V6, Kind::EchoReply) => (129, 0),
            (Self::V6, Kind::TooBig) => (2, 0),
            (Self::V6, Kind::Other) => (139, 0),
        }
    }
}

impl Ip {
    /// Sets the TTL or hop limit.
    #[must_use]
    pub fn hops(self, hops: u8) -> Self {
        match self {
            Self::V4(ip) => Self::V4(ip.ttl(hops)),
            Self::V6(ip) => Self::V6(ip.hop_limit(hops)),
        }
    }

    /// Sets the DSCP and ECN byte.
    #[must_use]
    pub fn tos(self, tos: u8) -> Self {
        match self {
            Self::V4(ip) => Self::V4(ip.tos(tos)),
            Self::V6(ip) => Self::V6(ip.traffic_class(tos)),
        }
    }

    /// Says another version.
    #[must_use]
    pub fn version(self, version: u8) -> Self {
        match self {
            Self::V4(ip) => Self::V4(ip.version(version)),
            Self::V6(ip) => Self::V6(ip.version(version)),
        }
    }

    /// Says that so much follows the header.
    #[must_use]
    pub fn length(self, length: u16) -> Self {
        match self {
            Self::V4(ip) => Self::V4(ip.total_length(length.saturating_add(20))),
            Self::V6(ip) => Self::V6(ip.payload_length(length)),
        }
    }

    /// Makes it a fragment of a datagram.
    #[must_use]
    pub fn fragment(self, id: u16, offset: u16, more: bool) -> Self {
        match self {
            Self::V4(ip) => Self::V4(ip.id(id).fragment(offset, more)),
            Self::V6(ip) => Self::V6(ip.fragment(offset, more, id.into())),
        }
    }

    /// Goes on with TCP.
    #[must_use]
    pub fn tcp(self, source: u16, destination: u16) -> Tcp {
        match self {
            Self::V4(ip) => ip.tcp(source, destination),
            Self::V6(ip) => ip.tcp(source, destination),
        }
    }

    /// Goes on with UDP.
    #[must_use]
    pub fn udp(self, source: u16, destination: u16) -> Udp {
        match self {
            Self::V4(ip) => ip.udp(source, destination),
            Self::V6(ip) => ip.udp(source, destination),
        }
    }

    /// Goes on with an ICMP message that both families have.
    #[must_use]
    pub fn message(self, kind: Kind) -> Icmp {
        let (kind, code) = match &self {
            Self::V4(_) => Family::V4.message(kind),
            Self::V6(_) => Family::V6.message(kind),
        };
        self.icmp(kind, code)
    }

    /// Goes on with an ICMP message of this type and code.
    #[must_use]
    pub fn icmp(self, kind: u8, code: u8) -> Icmp {
        match self {
            Self::V4(ip) => ip.icmp(kind, code),
            Self::V6(ip) => ip.icmp(kind, code),
        }
    }

    /// The frame, with these bytes after the header: another protocol, or a later fragment.
    #[must_use]
    pub fn raw(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(ip) => ip.raw(protocol, payload),
            Self::V6(ip) => ip.raw(protocol, payload),
        }
    }
}
