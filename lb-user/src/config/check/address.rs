//! Addresses of VIPs and reals: what may be one, and what two must have in common.

use std::net::IpAddr;

/// Reads an address that a machine can have.
pub(super) fn parse(text: &str) -> Result<IpAddr, String> {
    let address = text.parse().map_err(|_| {
        format!("\"{text}\" is not an address; write an IPv4 address such as 192.0.2.10")
    })?;
    supported(address)?;
    match unusable(address) {
        Some(kind) => Err(format!("{address} is {kind}; write the address of one machine")),
        None => Ok(address),
    }
}

/// The one place where this version knows only one family.
fn supported(address: IpAddr) -> Result<(), String> {
    match address {
        IpAddr::V4(_) => Ok(()),
        IpAddr::V6(_) => {
            Err(format!("\"{address}\": IPv6 is not supported yet; use an IPv4 address"))
        }
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
    fn addresses_of_the_coming_family_are_already_sorted_into_usable_and_not() {
        for (text, expected) in [
            ("2001:db8::1", None),
            ("::", Some("not the address of a machine")),
            ("::1", Some("a loopback address")),
            ("ff02::1", Some("a multicast address")),
        ] {
            assert_eq!(unusable(text.parse().unwrap()), expected, "{text}");
        }
    }
}
