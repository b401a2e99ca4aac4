//! systemd-networkd.

use std::fmt::Write as _;

use super::{File, SYSCTLS, Setup, addresses, heading, whole};

const PATH: &str = "/etc/systemd/network/00-lb-backend.network";

/// Without `KeepConfiguration` networkd would remove other addresses of lo.
const LO: &str = "
[Match]
Name=lo

[Network]
KeepConfiguration=static
";

pub(super) fn file(setup: &Setup) -> File {
    let notes = [
        "Only the first file for lo counts: where there is another, this is to be a drop-in of it:",
        "/etc/systemd/network/NAME.network.d/lb-backend.conf.",
        SYSCTLS,
    ];
    let mut text = heading("#", PATH, setup, &notes) + LO;
    for address in addresses(setup) {
        let _ = write!(text, "\n[Address]\nAddress={}\n", whole(address));
        if address.is_ipv6() {
            text += "PreferredLifetime=0\nDuplicateAddressDetection=none\n";
        }
    }
    File::new(PATH, 0o644, text)
}
