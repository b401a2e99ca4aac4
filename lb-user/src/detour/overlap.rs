//! Whether somebody else uses the addresses.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Error, network::Kernel};
use crate::model::ProbePrefixes;

/// Fails if one of this machine's addresses, or of its routes but the widest, overlaps the prefixes.
pub(super) async fn check(kernel: &Kernel, prefixes: ProbePrefixes) -> Result<(), Error> {
    let ProbePrefixes { v4, v6 } = prefixes;
    let prefixes = [(IpAddr::V4(v4.0), v4.1), (IpAddr::V6(v6.0), v6.1)];
    let names = kernel.names().await?;
    let addresses = kernel.locals().await?.into_iter().map(|local| {
        let text = format!("the address {}/{}", local.address, local.length);
        (local.address, host(local.address), text, Some(local.interface))
    });
    let routes = kernel.routed().await?.into_iter().map(|route| {
        let text = format!("the route {}/{}", route.first, route.length);
        (route.first, route.length, text, route.interface)
    });
    for (first, length, text, interface) in addresses.chain(routes) {
        for prefix in prefixes {
            if overlaps(prefix, (first, length)) {
                let other = on(text, interface, &names);
                return Err(Error::Overlap { prefix: format!("{}/{}", prefix.0, prefix.1), other });
            }
        }
    }
    Ok(())
}

fn on(text: String, interface: Option<u32>, names: &BTreeMap<u32, String>) -> String {
    match interface.and_then(|interface| names.get(&interface)) {
        Some(name) => format!("{text} dev {name}"),
        None => text,
    }
}

/// Whether a route's addresses are some of the prefix's. One that is wider than any prefix may be says nothing
/// of them: it leads to the rest of the world, as a default route does.
fn overlaps(prefix: (IpAddr, u8), route: (IpAddr, u8)) -> bool {
    let narrow = if route.0.is_ipv4() { 8 } else { 16 };
    let shorter = prefix.1.min(route.1);
    route.1 >= narrow && contains(prefix.0, shorter, route.0)
}

fn host(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether an address begins with so many bits of the first.
pub(super) fn contains(first: IpAddr, length: u8, address: IpAddr) -> bool {
    let differs = match (first, address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            (first.to_bits() ^ address.to_bits()).leading_zeros()
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => {
            (first.to_bits() ^ address.to_bits()).leading_zeros()
        }
        _ => return false,
    };
    differs >= u32::from(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> (IpAddr, u8) {
        let (address, length) = text.split_once('/').expect("a prefix");
        (address.parse().expect("an address"), length.parse().expect("a length"))
    }

    #[test]
    fn routes_within_and_around_overlap_and_those_to_the_world_do_not() {
        for (route, expected) in [
            ("198.18.0.0/15", true),
            ("198.19.7.0/24", true),
            ("198.16.0.0/12", true),
            ("198.19.255.255/32", true),
            ("198.20.0.0/16", false),
            ("10.0.0.0/8", false),
            ("0.0.0.0/0", false),
            ("128.0.0.0/1", false),
            ("2001:2::/48", false),
        ] {
            assert_eq!(overlaps(prefix("198.18.0.0/15"), prefix(route)), expected, "{route}");
        }
        for (route, expected) in [
            ("2001:2::/48", true),
            ("2001:2:0:5::/64", true),
            ("2001::/23", true),
            ("2000::/3", false),
            ("::/0", false),
            ("2001:db8::/32", false),
        ] {
            assert_eq!(overlaps(prefix("2001:2::/48"), prefix(route)), expected, "{route}");
        }
    }
}
