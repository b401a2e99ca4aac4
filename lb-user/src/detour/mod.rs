//! Addresses that stand for a VIP at one machine. What is sent to such an address by an ordinary socket
//! leaves as a packet for the VIP, to that machine's MAC address; and the answer comes back to the socket.

use std::net::IpAddr;

use crate::model::Mac;

/// A VIP at one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Detour {
    /// The VIP's address.
    pub vip: IpAddr,
    /// The machine's MAC address.
    pub mac: Mac,
    /// The index of the interface on whose network it is.
    pub interface: u32,
}
