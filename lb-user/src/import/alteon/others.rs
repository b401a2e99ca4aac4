//! What in a dump is not load balancing of servers.

/// A section under which blocks are told together: `/c/sys` for all of the system.
pub(super) fn section(names: &[&str]) -> String {
    let deep =
        matches!(names, ["slb", _, ..] | ["l3", "vrrp" | "ha" | "bgp" | "ospf" | "route", ..]);
    let length = if deep { 2 } else { 1 };
    let parts = names.iter().take(length).copied();
    format!("/c/{}", parts.collect::<Vec<_>>().join("/"))
}

const SECTIONS: &[(&str, &str)] = &[
    ("/c/sys", "the machine's own settings"),
    (
        "/c/port",
        "ports of the switch: lbd uses the interfaces in [node] as the system has set them up",
    ),
    ("/c/l2", "VLANs and trunks: lbd uses the interfaces as the system has set them up"),
    ("/c/l3", "addresses and routes of the machine: set them up in the system"),
    ("/c/l3/route", "addresses and routes of the machine: set them up in the system"),
    (
        "/c/l3/vrrp",
        "VRRP: run keepalived beside lbd, with announce = \"none\" for the VIPs that it announces",
    ),
    (
        "/c/l3/ha",
        "high availability: run keepalived beside lbd, with announce = \"none\" for the VIPs that it announces",
    ),
    (
        "/c/l3/bgp",
        "BGP: run a BGP speaker beside lbd, with announce = \"none\" for the VIPs that it announces",
    ),
    (
        "/c/l3/ospf",
        "OSPF: run a routing daemon beside lbd, with announce = \"none\" for the VIPs that it announces",
    ),
    (
        "/c/slb/port",
        "ports with clients or servers: every interface in [node] takes clients' packets",
    ),
    ("/c/slb/adv", "settings of load balancing as a whole have no counterpart"),
    ("/c/slb/advhc", "scripts of health checks: a check of type exec can run a program instead"),
    ("/c/slb/filt", "filters and redirection: only packets for VIPs are looked at"),
    ("/c/slb/gslb", "balancing between sites by DNS"),
    ("/c/slb/sync", "copying the configuration to a peer: copy the file"),
    ("/c/slb/peer", "copying the configuration to a peer: copy the file"),
    ("/c/slb/ssl", "TLS ends on the real servers: nothing within packets is looked at"),
    ("/c/slb/accel", "nothing within packets is looked at"),
    ("/c/slb/layer7", "layer 7: nothing within packets is looked at"),
    ("/c/slb/appshape", "scripts for layer 7: nothing within packets is looked at"),
    (
        "/c/slb/pip",
        "proxy addresses: clients' addresses stay as they are under direct server return",
    ),
    ("/c/bwm", "bandwidth management: use the system's traffic control"),
    ("/c/security", "filters against attacks: use the system's firewall"),
];

/// What is said of a section.
pub(super) fn reason(section: &str) -> String {
    let found = SECTIONS.iter().find(|(name, _)| *name == section);
    format!("left out: {}", found.map_or("it has no counterpart", |(_, reason)| reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_told_as_deep_as_they_differ() {
        for (names, expected) in [
            (&["sys", "access"][..], "/c/sys"),
            (&["l3", "if"], "/c/l3"),
            (&["l3", "vrrp", "vr"], "/c/l3/vrrp"),
            (&["slb", "filt", "adv"], "/c/slb/filt"),
            (&[], "/c/"),
        ] {
            assert_eq!(section(names), expected);
        }
        assert!(reason("/c/elsewhere").ends_with("no counterpart"));
    }
}
