//! Netplan.

use std::fmt::Write as _;

use super::{File, SYSCTLS, Setup, addresses, heading, whole};

const PATH: &str = "/etc/netplan/90-lb-backend.yaml";

const LO: &str = "network:
  version: 2
  ethernets:
    lo:
      addresses:
";

/// Netplan complains of files that others may read.
pub(super) fn file(setup: &Setup) -> File {
    let notes = ["For the renderer networkd; with NetworkManager use the format nmcli.", SYSCTLS];
    let mut text = heading("#", PATH, setup, &notes) + LO;
    for address in addresses(setup) {
        let _ = match address.is_ipv4() {
            true => writeln!(text, "        - \"{}\"", whole(address)),
            // Never a source.
            false => writeln!(text, "        - \"{}\":\n            lifetime: 0", whole(address)),
        };
    }
    File::new(PATH, 0o600, text)
}
