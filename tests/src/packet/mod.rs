//! Frames, written down layer by layer from the outside in; lengths and checksums are right unless
//! they are set otherwise.
//!
//! ```
//! use std::net::Ipv4Addr;
//! use lb_user::model::Mac;
//! use tests::packet::{Link, SYN};
//!
//! let (client, vip) = (Ipv4Addr::new(198, 51, 100, 2), Ipv4Addr::new(192, 0, 2, 10));
//! let frame = Link::new(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
//!     .vlan(100)
//!     .ipv4(client, vip)
//!     .ttl(63)
//!     .tcp(40_000, 80)
//!     .flags(SYN)
//!     .build();
//! assert_eq!(frame.len(), 14 + 4 + 20 + 20);
//! ```
//!
//! Each transport is written once for all address families: what it needs to know of its network
//! layer is in [`Network`].

mod checksum;
mod ipv4;
mod ipv6;
mod link;
mod transport;

pub use checksum::checksum;
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use link::{Link, Tag};
pub use transport::{ACK, FIN, Icmp, Network, PSH, RST, SYN, Tcp, Udp};
