//! `/etc/network/interfaces.d` of Debian's ifupdown, of ifupdown-ng and of BusyBox.

use std::fmt::Write as _;

use super::{File, SYSCTLS, Setup, addresses, heading, whole};

const PATH: &str = "/etc/network/interfaces.d/lb-backend";

/// `manual`, with commands: as `static`, BusyBox would on `ifdown lo:0` set the whole of lo down, and
/// ifupdown-ng remove all its addresses; and neither can give IPv6 a lifetime.
pub(super) fn file(setup: &Setup) -> File {
    let notes = [
        "/etc/network/interfaces must name it: `source /etc/network/interfaces.d/lb-backend`",
        SYSCTLS,
    ];
    let mut text = heading("#", PATH, setup, &notes);
    for (number, address) in addresses(setup).enumerate() {
        let words =
            if address.is_ipv4() { format!("label lo:{number}") } else { "preferred_lft 0".into() };
        let address = whole(address);
        let _ = write!(
            text,
            "\nauto lo:{number}\n\
             iface lo:{number} inet manual\n    \
             up ip addr replace {address} dev lo {words}\n    \
             down ip addr del {address} dev lo\n"
        );
    }
    File::new(PATH, 0o644, text)
}
