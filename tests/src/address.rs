//! Who is who. Addresses are those of documentation (RFC 5737, RFC 3849) outside, and 10.0.0.0/24
//! and 10.0.1.0/24 on the LANs; everybody has an IPv6 address which ends with the digits of the
//! IPv4 address. MAC addresses end like IPv4 addresses, so that a capture can be read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_user::model::Mac;

/// The client.
pub const CLIENT: IpAddr = v4(198, 51, 100, 2);
/// The client, by IPv6: 2001:db8:1::2.
pub const CLIENT6: IpAddr = beside(CLIENT);
/// The router as the client sees it.
pub const ROUTER_WAN: IpAddr = v4(198, 51, 100, 1);
/// The router as the client sees it by IPv6: 2001:db8:1::1.
pub const ROUTER_WAN6: IpAddr = beside(ROUTER_WAN);
/// The router as the LAN sees it.
pub const ROUTER_LAN: IpAddr = v4(10, 0, 0, 1);
/// The router as the LAN sees it by IPv6: 2001:db8:a::1.
pub const ROUTER_LAN6: IpAddr = beside(ROUTER_LAN);
/// The router as the second LAN sees it.
pub const ROUTER_SECOND_LAN: IpAddr = v4(10, 0, 1, 1);
/// The balancer.
pub const BALANCER: IpAddr = balancer(1);
/// The balancer, by IPv6: 2001:db8:a::2.
pub const BALANCER6: IpAddr = beside(BALANCER);
/// The balancer on the second LAN.
pub const BALANCER_SECOND_LAN: IpAddr = on_second_lan(BALANCER);
/// Where VIPs come from; the router asks for them on the LAN.
pub const VIPS: &str = "192.0.2.0/24";
/// Where IPv6 VIPs come from; the router asks for them on the LAN.
pub const VIPS6: &str = "2001:db8:2::/64";

/// The balancer with this number, from 1.
#[must_use]
pub const fn balancer(number: u8) -> IpAddr {
    v4(10, 0, 0, 1 + number)
}

/// The real server with this number, from 1.
#[must_use]
pub const fn real(number: u8) -> IpAddr {
    v4(10, 0, 0, 10 + number)
}

/// The real server with this number, from 1, by IPv6: 2001:db8:a::11 and so on.
#[must_use]
pub const fn real6(number: u8) -> IpAddr {
    beside(real(number))
}

/// The first, second and so on of the real servers on the second LAN: 10.0.1.21.
#[must_use]
pub const fn far_real(number: u8) -> IpAddr {
    v4(10, 0, 1, 20 + number)
}

/// The address on the second LAN of who has this one on the LAN: 10.0.1.2 for 10.0.0.2.
#[must_use]
pub const fn on_second_lan(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => v4(10, 0, 1, address.octets()[3]),
        IpAddr::V6(_) => address,
    }
}

/// The VIP with this last byte.
#[must_use]
pub const fn vip(last: u8) -> IpAddr {
    v4(192, 0, 2, last)
}

/// The IPv6 VIP which ends with these digits: 2001:db8:2::10 for 10.
#[must_use]
pub const fn vip6(last: u8) -> IpAddr {
    beside(vip(last))
}

/// The IPv6 address of who has this IPv4 address in the lab: 2001:db8:a::11 for 10.0.0.11.
#[must_use]
pub const fn beside(address: IpAddr) -> IpAddr {
    let IpAddr::V4(address) = address else {
        return address;
    };
    let [a, _, network, host] = address.octets();
    let network = match (a, network) {
        (198, _) => 1,
        (192, _) => 2,
        (_, 0) => 0xa,
        _ => 0xb,
    };
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, same_digits(host)))
}

/// The link-local address at this IPv4 address: fe80::a:0:0:11 for 10.0.0.11. Without one an
/// interface asks for no neighbour.
#[must_use]
pub(crate) const fn link_local(address: IpAddr) -> IpAddr {
    match beside(address) {
        IpAddr::V6(address) => {
            let [_, _, network, .., host] = address.segments();
            IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, network, 0, 0, host))
        }
        address => address,
    }
}

/// A network cable or switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Between client and router, and whatever else is not on a LAN.
    Outside,
    /// Where the balancer receives.
    Lan,
    /// Where some of the real servers may be.
    SecondLan,
}

impl Segment {
    /// Where an address is.
    pub(crate) fn of(address: IpAddr) -> Self {
        let IpAddr::V6(address) = beside(address) else {
            return Self::Outside;
        };
        match address.segments()[2] {
            0xa => Self::Lan,
            0xb => Self::SecondLan,
            _ => Self::Outside,
        }
    }
}

/// Whether an address is one of the LAN.
#[must_use]
pub fn on_lan(address: IpAddr) -> bool {
    Segment::of(address) == Segment::Lan
}

/// The MAC address that goes with an address of either family: 02:00:00:00:00:0b for 10.0.0.11, and
/// 01 in the fifth byte outside the LANs, 03 on the second one.
#[must_use]
pub fn mac(address: IpAddr) -> Mac {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => {
            let digits = address.segments()[7];
            (digits / 0x100 * 100 + digits / 0x10 % 0x10 * 10 + digits % 0x10) as u8
        }
    };
    let segment = match Segment::of(address) {
        Segment::Lan => 0,
        Segment::Outside => 1,
        Segment::SecondLan => 3,
    };
    Mac([2, 0, 0, 0, segment, last])
}

/// The number that looks in hexadecimal as this one does in decimal.
const fn same_digits(number: u8) -> u16 {
    let number = number as u16;
    number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_look_alike_and_go_with_one_mac_address() {
        let text = |address: IpAddr| (address.to_string(), beside(address).to_string());
        assert_eq!(text(CLIENT), ("198.51.100.2".into(), "2001:db8:1::2".into()));
        assert_eq!(text(real(1)), ("10.0.0.11".into(), "2001:db8:a::11".into()));
        assert_eq!(text(far_real(1)), ("10.0.1.21".into(), "2001:db8:b::21".into()));
        assert_eq!(text(vip(110)), ("192.0.2.110".into(), "2001:db8:2::110".into()));
        for address in [CLIENT, BALANCER, BALANCER_SECOND_LAN, real(1), far_real(9), vip(254)] {
            assert_eq!(mac(beside(address)), mac(address), "{address}");
        }
        assert_eq!(mac(real(1)).to_string(), "02:00:00:00:00:0b");
    }
}
