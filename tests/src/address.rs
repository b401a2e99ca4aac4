//! Who is who. Addresses are those of documentation (RFC 5737) outside and 10.0.0.0/24 on the LAN;
//! MAC addresses end like the IP addresses, so that a capture can be read.

use std::net::{IpAddr, Ipv4Addr};

use lb_user::model::Mac;

/// The client.
pub const CLIENT: IpAddr = v4(198, 51, 100, 2);
/// The router as the client sees it.
pub const ROUTER_WAN: IpAddr = v4(198, 51, 100, 1);
/// The router as the LAN sees it.
pub const ROUTER_LAN: IpAddr = v4(10, 0, 0, 1);
/// The balancer.
pub const BALANCER: IpAddr = v4(10, 0, 0, 2);
/// Where VIPs come from; the router asks for them on the LAN.
pub const VIPS: &str = "192.0.2.0/24";

/// The real server with this number, from 1.
#[must_use]
pub const fn real(number: u8) -> IpAddr {
    v4(10, 0, 0, 10 + number)
}

/// The VIP with this last byte.
#[must_use]
pub const fn vip(last: u8) -> IpAddr {
    v4(192, 0, 2, last)
}

/// Whether an address is one of the LAN.
#[must_use]
pub fn on_lan(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
}

/// The MAC address that goes with an address: 02:00:00:00:00:0b for 10.0.0.11, and 01 in the fifth
/// byte outside the LAN.
#[must_use]
pub fn mac(address: IpAddr) -> Mac {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    Mac([2, 0, 0, 0, u8::from(!on_lan(address)), last])
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}
