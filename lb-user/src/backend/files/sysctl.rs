//! Kernel parameters: a real server must not claim the VIPs, and must take packets from whoever
//! brings them.

use super::{File, Setup, has_ipv4, heading, template};

/// It sorts after what others put there, `99-sysctl.conf` too: the last word counts.
const PATH: &str = "/etc/sysctl.d/zz-lb-backend.conf";

const PARAMETERS: &str = "\
net.ipv4.conf.all.rp_filter = 0
net.ipv4.conf.all.arp_ignore = 1
net.ipv4.conf.all.arp_announce = 2
net/ipv4/conf/@INTERFACE@/rp_filter = 0
net/ipv4/conf/@INTERFACE@/arp_ignore = 1
net/ipv4/conf/@INTERFACE@/arp_announce = 2
";

pub(super) fn file(setup: &Setup) -> File {
    let interfaces = match &setup.interfaces[..] {
        [] => &["*".to_owned()][..],
        given => given,
    };
    let note = match setup.interfaces.is_empty() && has_ipv4(setup) {
        true => {
            "# The stars stand for every interface, as none was named (--interface); BusyBox \
            knows none.\n"
        }
        false => "",
    };
    let File { path, mode, text } = template(setup);
    File { path, mode, text: template::fill(&text, interfaces) + note }
}

/// With places for the interfaces.
pub(super) fn template(setup: &Setup) -> File {
    let notes: &[&str] = if has_ipv4(setup) {
        &[
            "The balancer alone answers ARP for them (arp_ignore, arp_announce), and packets to them",
            "come from it, but their answers go to the router (rp_filter). IPv6 needs no such thing.",
        ]
    } else {
        &["IPv6 needs no kernel parameters: only an interface's own addresses are answered for."]
    };
    let parameters = if has_ipv4(setup) { PARAMETERS } else { "" };
    File::new(PATH, 0o644, heading("#", PATH, setup, notes) + parameters)
}
