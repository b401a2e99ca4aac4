//! One happening of each kind, for tests.

use std::net::IpAddr;

use super::Happening;

/// A real of a VIP that is now as the word says.
pub(super) fn health(vip: &str, real: IpAddr, to: &str) -> Happening {
    Happening::Health {
        vip: vip.into(),
        real,
        from: None,
        to: to.into(),
        reason: "http 200".into(),
    }
}

/// One of each.
pub(super) fn all() -> Vec<Happening> {
    let real = IpAddr::from([10, 0, 0, 11]);
    let address = IpAddr::from([192, 0, 2, 10]);
    vec![
        Happening::Health {
            vip: "web".into(),
            real,
            from: Some("up".into()),
            to: "down".into(),
            reason: "connection refused".into(),
        },
        health("web", "2001:db8:a::11".parse().unwrap(), "up"),
        Happening::Vip {
            vip: "web".into(),
            from: Some("up".into()),
            to: "degraded".into(),
            reason: "1 of 2 reals is up".into(),
        },
        Happening::Config { vip: Some("web".into()), change: "vip \"web\" changed".into() },
        Happening::Neighbour { real, mac: Some("02:00:00:00:00:0b".into()) },
        Happening::Neighbour { real, mac: None },
        Happening::Announce { address, interface: "eth0".into(), announced: true },
        Happening::Announce {
            address: "2001:db8:2::10".parse().unwrap(),
            interface: "eth0".into(),
            announced: false,
        },
        Happening::Thief {
            address,
            mac: "02:00:00:00:00:0c".into(),
            who: "this is real 10.0.0.12: see arp_ignore".into(),
        },
    ]
}
