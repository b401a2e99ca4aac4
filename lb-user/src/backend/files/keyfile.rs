//! A keyfile of NetworkManager.

use std::{fmt::Write as _, net::IpAddr};

use super::{File, SOURCE, SYSCTLS, Setup, addresses, has_ipv6, heading, whole};

const PATH: &str = "/etc/NetworkManager/system-connections/lb-backend.nmconnection";

/// The identity of the profile: one a machine, the same on all.
const CONNECTION: &str = "
[connection]
id=lb-backend
uuid=6c622d62-6163-4b65-8e64-2d6c6f2d7669
type=loopback
interface-name=lo
";

/// Its own addresses of lo are those that this interface always has.
pub(super) fn file(setup: &Setup) -> File {
    let mut notes = vec!["NetworkManager 1.42 or later: older ones leave lo alone.", SYSCTLS];
    if has_ipv6(setup) {
        notes.extend(SOURCE);
    }
    let mut text = heading("#", PATH, setup, &notes) + CONNECTION;
    text += &section("ipv4", "127.0.0.1/8", addresses(setup).filter(IpAddr::is_ipv4));
    text += &section("ipv6", "::1/128", addresses(setup).filter(IpAddr::is_ipv6));
    File::new(PATH, 0o600, text)
}

fn section(name: &str, own: &str, vips: impl Iterator<Item = IpAddr>) -> String {
    let mut text = format!("\n[{name}]\nmethod=manual\naddress1={own}\n");
    for (number, address) in vips.enumerate() {
        let _ = writeln!(text, "address{}={}", number + 2, whole(address));
    }
    text
}
