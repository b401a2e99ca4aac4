//! `ifcfg-lo:0`, of the network scripts of older Red Hat systems.

use std::net::IpAddr;

use super::{File, SOURCE, SYSCTLS, Setup, addresses, heading};

/// A file for each VIP: an alias has one address.
pub(super) fn files(setup: &Setup) -> Vec<File> {
    addresses(setup).enumerate().map(|(number, address)| file(setup, number, address)).collect()
}

fn file(setup: &Setup, number: usize, address: IpAddr) -> File {
    let path = format!("/etc/sysconfig/network-scripts/ifcfg-lo:{number}");
    let (notes, words) = match address {
        IpAddr::V4(_) => (
            &[SYSCTLS][..],
            format!("IPADDR={address}\nNETMASK=255.255.255.255\nNO_ALIASROUTING=yes\n"),
        ),
        IpAddr::V6(_) => (
            &[
                SYSCTLS,
                "Needs network scripts that know aliases with IPV6ADDR alone.",
                SOURCE[0],
                SOURCE[1],
            ][..],
            // The scripts would set kernel parameters of lo, too.
            format!("IPV6INIT=yes\nIPV6ADDR={address}/128\nIPV6_SET_SYSCTLS=no\n"),
        ),
    };
    let text = heading("#", &path, setup, notes);
    let text = format!("{text}DEVICE=lo:{number}\n{words}ONBOOT=yes\nNM_CONTROLLED=no\n");
    File::new(&path, 0o644, text)
}
