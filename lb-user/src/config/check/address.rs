//! Addresses of VIPs and reals: what may be one, and what two must have in common.

use std::net::{IpAddr, Ipv6Addr};

/// Reads an address that a machine can have.
///
/// # Errors
///
/// What is wrong with it, and what would be right.
pub fn parse(text: &str) -> Result<IpAddr, String> {
    let address = text.parse().map_err(|_| not_an_address(text))?;
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(format!("{address} stands for an IPv4 address; write {v4}"));
    }
    match unusable(address) {
        Some(kind) => Err(format!("{address} is {kind}; write the address of one machine")),
        None => Ok(address),
    }
}

fn not_an_address(text: &str) -> String {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare.filter(|bare| bare.parse::<Ipv6Addr>().is_ok()) {
        Some(bare) => format!("\"{text}\" has brackets; write \"{bare}\""),
        None => format!(
            "\"{text}\" is not an address; write one such as 192.0.2.10 or 2001:db8::10, without a name, prefix length or zone"
        ),
    }
}

/// A real server gets the client's packet as it came, so it must be of the VIP's family.
pub(super) fn same_family(vip: IpAddr, other: IpAddr) -> Result<(), String> {
    if vip.is_ipv4() == other.is_ipv4() {
        return Ok(());
    }
    let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let (wanted, found) = (family(vip), family(other));
    Err(format!(
        "{other} is {found}, but the VIP's address {vip} is {wanted}; write an {wanted} address"
    ))
}

fn unusable(address: IpAddr) -> Option<&'static str> {
    let kinds = [
        (address.is_unspecified() || this_network(address), "not the address of a machine"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (broadcast(address), "the broadcast address"),
        (link_local(address), "a link-local address, which means something on one link only"),
    ];
    kinds.iter().find(|(is, _)| *is).map(|(_, kind)| *kind)
}

/// RFC 1122, 3.2.1.3.
fn this_network(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0)
}

fn broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

/// Of IPv6 only: one of IPv4 is unique on the machine as any other, and needs no interface named
/// beside it.
fn link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_of_the_other_family_is_refused() {
        let [v4, v6] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(same_family(v4, v4), Ok(()));
        assert_eq!(same_family(v6, v6), Ok(()));
        assert_eq!(
            same_family(v6, v4),
            Err("192.0.2.1 is IPv4, but the VIP's address 2001:db8::1 is IPv6; write an IPv6 address".into())
        );
        assert_eq!(
            same_family(v4, v6),
            Err("2001:db8::1 is IPv6, but the VIP's address 192.0.2.1 is IPv4; write an IPv4 address".into())
        );
    }

    #[test]
    fn an_address_of_either_family_is_read_however_it_is_spelt() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("169.254.0.1", "169.254.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:0DB8:0:0::0001", "2001:db8::1"),
            ("fd00::1", "fd00::1"),
            ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
        ] {
            assert_eq!(parse(text), Ok(expected.parse().unwrap()), "{text}");
        }
    }
}
