//! What is measured: packets of one kind.

use lb_common::layout::Rule;
use lb_ebpf::bench::{Course, Layout};

use super::place::{ALL_TCP, FIRST_VIP, MOVED, NO_VIP, PORT, TAGGED, UDP_PORT, VLAN, party};
use crate::{
    golden::Family,
    packet::{ACK, Link, SYN},
    world::{BALANCER, ROUTER},
};

/// XDP actions.
pub const PASS: u32 = 2;
/// See [`PASS`].
pub const TX: u32 = 3;

/// The number of the first client, as that of VIPs.
const FIRST_CLIENT: u32 = 0x0a40_0000;
/// The same of clients that nothing is noted of before.
const OTHERS: [u32; 4] = [0x0b00_0000, 0x0c00_0000, 0x0d00_0000, 0x0e00_0000];

/// Packets of one kind.
pub struct Case {
    /// What they are.
    pub name: &'static str,
    /// Their family.
    pub family: Family,
    /// How many flows they are of: one row each.
    pub flows: &'static [u32],
    /// How many VIPs there are.
    pub services: u32,
    /// For how many of them they are.
    pub asked: u32,
    /// What is sent of each flow before.
    pub before: Vec<Vec<u8>>,
    /// What is measured.
    pub frame: Vec<u8>,
    /// What of it is different from flow to flow.
    pub layout: Layout,
    /// The number of the first client.
    pub client: u32,
    /// The number of the first VIP, and the port of VIPs.
    pub vip: (u32, u16),
    /// What the balancer answers.
    pub code: u32,
    /// The rule that chooses the real, where it forwards.
    pub rule: Rule,
    /// Whether the floors with services can do this.
    pub floors: bool,
    /// Whether the floor takes part whose services have rings of their own.
    pub apart: bool,
    /// Whether each packet begins a flow that was never seen.
    pub begins: bool,
}

/// Few and many flows.
const ALL_FLOWS: &[u32] = &[1, 1000, 100_000, 1_000_000];
const SOME_FLOWS: &[u32] = &[1, 100_000];
const ONE_FLOW: &[u32] = &[1];
/// As many as a VIP promotes within a second.
const PROMOTED: &[u32] = &[1, 5000];

/// All there are.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        cases.extend(stable(family));
        cases.extend(special(family));
        cases.extend(tracked(family));
    }
    cases.extend([(1, 1), (1000, 1000), (10_000, 1), (10_000, 10_000)].map(services));
    cases
}

/// Slots that have not moved.
fn stable(family: Family) -> Vec<Case> {
    let tcp = |flags| segment(family, FIRST_VIP, flags);
    let case = |name, frame| Case { name, ..case(family, FIRST_VIP, frame) };
    vec![
        Case { flows: ALL_FLOWS, ..case("TCP", tcp(ACK)) },
        Case { flows: SOME_FLOWS, ..case("TCP, SYN", tcp(SYN)) },
        Case {
            flows: SOME_FLOWS,
            vip: (FIRST_VIP, UDP_PORT),
            ..case("UDP", datagram(family, FIRST_VIP))
        },
        Case {
            name: "no VIP",
            vip: (NO_VIP, PORT),
            code: PASS,
            ..case("", segment(family, NO_VIP, ACK))
        },
    ]
}

/// What is not plain, and what not all balancers do.
fn special(family: Family) -> Vec<Case> {
    let case = |name, vip, frame| Case { name, floors: false, ..case(family, vip, frame) };
    let vlan = link().vlan(VLAN);
    let tagged = ip(family, vlan, FIRST_CLIENT, TAGGED).tcp(1024, PORT).flags(ACK).build();
    let later = |first: bool| {
        let (offset, more) = if first { (0, true) } else { (8, false) };
        ip(family, link(), FIRST_CLIENT, FIRST_VIP)
            .fragment(0, offset, more)
            .udp(1024, UDP_PORT)
            .build()
    };
    let at = identification(family);
    vec![
        Case { layout: layout(family, 18), ..case("TCP, in a VLAN", TAGGED, tagged) },
        case("TCP, all ports", ALL_TCP, segment(family, ALL_TCP, ACK)),
        Case { layout: quoted(family), ..case("ICMP error", FIRST_VIP, error(family)) },
        Case {
            flows: &[1, 1000],
            before: vec![later(true)],
            layout: Layout { ports: 0, identification: at, ..layout(family, 14) },
            rule: Rule::Fragment,
            ..case("later fragment", FIRST_VIP, later(false))
        },
    ]
}

/// Slots that have moved, by each rule.
fn tracked(family: Family) -> Vec<Case> {
    let tcp =
        |client, flags| ip(family, link(), client, MOVED).tcp(1024, PORT).flags(flags).build();
    let case = |name, rule, client, flags| {
        let frame = tcp(client, flags);
        Case { name, rule, client, ..case(family, MOVED, frame) }
    };
    let udp = datagram(family, MOVED);
    let [older, pinned, fresh, new] = OTHERS;
    vec![
        Case {
            flows: &[1, 100_000, 1_000_000],
            ..case("moved: older than the move", Rule::Previous, older, ACK)
        },
        Case {
            flows: PROMOTED,
            before: vec![tcp(pinned, SYN), tcp(pinned, ACK)],
            ..case("moved: pinned", Rule::Pinned, pinned, ACK)
        },
        Case {
            flows: PROMOTED,
            before: vec![tcp(fresh, SYN)],
            ..case("moved: fresh, a SYN again", Rule::Fresh, fresh, SYN)
        },
        Case {
            flows: &[10_000],
            begins: true,
            ..case("moved: begins, is noted", Rule::Current, new, SYN)
        },
        Case {
            flows: PROMOTED,
            before: vec![udp.clone()],
            vip: (MOVED, UDP_PORT),
            frame: udp,
            ..case("moved: UDP, noted", Rule::Pinned, FIRST_CLIENT, ACK)
        },
    ]
}

/// Many VIPs, in turn.
fn services((services, asked): (u32, u32)) -> Case {
    let name = match (services, asked) {
        (1, _) => "TCP, 1 VIP",
        (1000, _) => "TCP, 1000 VIPs",
        (_, 1) => "TCP, 1 of 10 000 VIPs",
        _ => "TCP, 10 000 VIPs",
    };
    let case = case(Family::V4, FIRST_VIP, segment(Family::V4, FIRST_VIP, ACK));
    Case { name, services, asked, apart: true, flows: &[100_000], ..case }
}

/// A plain one.
fn case(family: Family, vip: u32, frame: Vec<u8>) -> Case {
    Case {
        name: "",
        family,
        flows: ONE_FLOW,
        services: 1,
        asked: 1,
        before: Vec::new(),
        frame,
        layout: layout(family, 14),
        client: FIRST_CLIENT,
        vip: (vip, PORT),
        code: TX,
        rule: Rule::Current,
        floors: vip == FIRST_VIP || vip == NO_VIP || vip == MOVED,
        apart: false,
        begins: false,
    }
}

impl Case {
    /// A course of so many flows.
    #[must_use]
    pub fn course(&self, flows: u32) -> Course {
        let (vip, port) = self.vip;
        Course {
            flows,
            services: self.asked,
            first_client: self.client,
            first_vip: vip,
            port: u32::from(port),
            macs: [BALANCER, ROUTER].map(|mac| lb_common::layout::mac_bits(mac.0)),
            ..Course::default()
        }
    }

    /// The row in the report.
    #[must_use]
    pub fn row(&self, flows: u32) -> String {
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let word = if flows == 1 { "flow" } else { "flows" };
        let flows = if self.begins { "each a flow".to_owned() } else { format!("{flows} {word}") };
        format!("{family} {}, {flows}", self.name)
    }
}

fn link() -> Link {
    Link::new(ROUTER, BALANCER)
}

fn ip(family: Family, link: Link, client: u32, vip: u32) -> crate::golden::Ip {
    family.ip(link, party(client), party(vip))
}

fn segment(family: Family, vip: u32, flags: u8) -> Vec<u8> {
    ip(family, link(), FIRST_CLIENT, vip).tcp(1024, PORT).flags(flags).build()
}

fn datagram(family: Family, vip: u32) -> Vec<u8> {
    ip(family, link(), FIRST_CLIENT, vip).udp(1024, UDP_PORT).payload(&[0; 18]).build()
}

/// A packet did not fit on its way to the client (RFC 1191, RFC 4443).
fn error(family: Family) -> Vec<u8> {
    let (vip, client) = (party(FIRST_VIP), party(FIRST_CLIENT));
    let quote = family.ip(link(), vip, client).tcp(PORT, 1024).flags(ACK).packet();
    let (kind, code) = match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    };
    ip(family, link(), 0x0a00_0001, FIRST_VIP).icmp(kind, code).payload(&quote).build()
}

/// What differs in a packet whose IP header is here.
fn layout(family: Family, at: u32) -> Layout {
    let (client, vip) = match family {
        Family::V4 => (at + 16, at + 20),
        Family::V6 => (at + 24, at + 40),
    };
    let is_v6 = u32::from(family == Family::V6);
    Layout { client, vip, ports: vip, identification: 0, is_v6, is_quoted: 0 }
}

/// What differs in what an ICMP error quotes: the client is where its packet goes.
fn quoted(family: Family) -> Layout {
    let Layout { vip, .. } = layout(family, 14);
    let within = layout(family, vip + 8);
    Layout { client: within.vip, vip: 0, is_quoted: 1, ..within }
}

/// Where a fragment has its identification.
fn identification(family: Family) -> u32 {
    match family {
        Family::V4 => 14 + 4,
        Family::V6 => 14 + 40 + 4,
    }
}
