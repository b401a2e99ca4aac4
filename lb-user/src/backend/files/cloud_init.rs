//! User data of cloud-init.

use std::fmt::Write as _;

use super::{Setup, addresses, has_ipv4, heading, whole};

const PARAMETERS: [(&str, u8); 3] = [("rp_filter", 0), ("arp_ignore", 1), ("arp_announce", 2)];

/// Commands of every boot, in the order in which they must come. Small: clouds take 16 KiB.
pub(super) fn text(setup: &Setup) -> String {
    let notes = [
        "`bootcmd` runs at every boot, before network services. Where the image's own user data has",
        "one, put these lines into it: cloud-init takes one list only.",
        "It sets up, and neither checks nor undoes: that is the script's, `lbctl backend script`.",
    ];
    let mut text = String::from("#cloud-config\n");
    text += &heading("#", "User data of cloud-init.", setup, &notes);
    text += "bootcmd:\n";
    if has_ipv4(setup) {
        text += &parameters(setup);
    }
    for address in addresses(setup) {
        let words = if address.is_ipv6() { ", preferred_lft, \"0\"" } else { "" };
        let _ = writeln!(text, "  - [ip, addr, replace, \"{}\", dev, lo{words}]", whole(address));
    }
    text
}

/// Of `all` and of the interfaces; of every interface where none is named.
fn parameters(setup: &Setup) -> String {
    let mut text = String::new();
    for name in ["all"].into_iter().chain(setup.interfaces.iter().map(String::as_str)) {
        for (parameter, value) in PARAMETERS {
            let setting = quoted(&format!("net/ipv4/conf/{name}/{parameter}={value}"));
            let _ = writeln!(text, "  - [sysctl, -w, {setting}]");
        }
    }
    if setup.interfaces.is_empty() {
        let each = "for each in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$each; done";
        let _ = writeln!(text, "  - [sh, -c, {}]", quoted(each));
    }
    text
}

/// A string of JSON is one of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
