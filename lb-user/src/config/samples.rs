//! Models for property tests: any that a file can describe.

mod checks;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use lb_common::Seed;
use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
    sample::select,
};

use self::checks::checks;
use crate::model::*;

pub(super) fn model() -> impl Strategy<Value = Model> {
    (node(), vec(vip(), 0..4), hooks(), option::of(access())).prop_map(
        |(node, vips, hooks, access)| {
            // A name and an address for each, so that nothing is served twice.
            let vips = vips.into_iter().enumerate().map(|(index, vip)| Vip {
                name: format!("{}{index}", vip.name),
                address: Ipv4Addr::new(192, 0, 2, index as u8).into(),
                ..vip
            });
            Model { node, vips: vips.collect(), hooks, access }
        },
    )
}

/// A model with VIPs of both families.
pub(super) fn dual() -> impl Strategy<Value = Model> {
    model().prop_map(|mut model| {
        let vips = model.vips.into_iter().enumerate();
        let odd = |(index, vip): (usize, Vip)| if index % 2 == 1 { of_ipv6(vip) } else { vip };
        model.vips = vips.map(odd).collect();
        model
    })
}

/// The VIP with each address as the end of one of IPv6.
fn of_ipv6(mut vip: Vip) -> Vip {
    let six = |address: &mut IpAddr| {
        if let IpAddr::V4(v4) = *address {
            *address = Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(v4.to_bits())).into();
        }
    };
    six(&mut vip.address);
    vip.sorry.iter_mut().for_each(six);
    vip.reals.iter_mut().for_each(|real| six(&mut real.address));
    vip
}

/// Nobody is named twice.
fn access() -> impl Strategy<Value = Access> {
    let names = btree_set("[a-z][a-z0-9._-]{0,10}", 0..6);
    (names, vec((any::<bool>(), select(Role::ALL.to_vec())), 6)).prop_map(|(names, kinds)| {
        let mut access = Access::default();
        for (name, (is_user, role)) in names.into_iter().zip(kinds) {
            let who = if is_user { Principal::User(name) } else { Principal::Group(name) };
            match role {
                Role::Read => access.read.push(who),
                Role::Operate => access.operate.push(who),
                Role::Admin => access.admin.push(who),
            }
        }
        access
    })
}

fn node() -> impl Strategy<Value = Node> {
    let path = || "/[a-z \"\\\\é]{0,20}";
    let listen = select(vec!["127.0.0.1:9101".parse().unwrap(), "[::1]:80".parse().unwrap()]);
    let xdp = select(vec![XdpChoice::Auto, XdpChoice::Native, XdpChoice::Generic]);
    let seed = any::<[u64; 2]>().prop_map(|words| HashSeed(Seed(words)));
    let interfaces =
        btree_set("[a-z0-9.@-]{2,15}".prop_map(|name| name.replace("..", "lo")), 1..=15);
    let seed_and_listen = (option::of(seed), option::of(listen));
    let probes = (prefixes(), "[a-z_][a-z0-9_-]{0,31}");
    (interfaces, xdp, [path(), path(), path()], seed_and_listen, tables(), probes).prop_map(
        |(interfaces, xdp, paths, (hash_seed, listen), tables, (probe_prefixes, exec_user))| {
            let [socket, state_dir, pin_dir] = paths;
            Node {
                interfaces: interfaces.into_iter().collect(),
                xdp,
                socket: socket.into(),
                state_dir: state_dir.into(),
                pin_dir: pin_dir.into(),
                hash_seed,
                listen,
                tables,
                probe_prefixes,
                exec_user,
            }
        },
    )
}

fn tables() -> impl Strategy<Value = FlowTables> {
    let size = || FlowTables::LEAST..=FlowTables::MOST;
    (size(), size(), size()).prop_map(|(pinned, fresh, datagrams)| FlowTables {
        pinned,
        fresh,
        datagrams,
    })
}

fn vip() -> impl Strategy<Value = Vip> {
    let words = (
        select(vec![Announce::Arp, Announce::None]),
        select(vec![HashMode::Flow, HashMode::Source]),
        select(vec![UdpMode::Flow, UdpMode::Packet]),
        select(vec![OnDeadline::Rehash, OnDeadline::Reset]),
        option::of(duration(86_400_000)),
        any::<bool>(),
    );
    let timeouts = [duration(604_800_000), duration(604_800_000), duration(604_800_000)];
    (
        "[A-Za-z0-9._-]{1,60}",
        ports(),
        words,
        timeouts,
        option::of(server(90..99)),
        (checks(), shortage()),
        pool(),
    )
        .prop_map(
            |(
                name,
                ports,
                (announce, hash, udp, on_deadline, slow_start, enabled),
                [idle_timeout, drain_timeout, udp_idle_timeout],
                sorry,
                (checks, (min_up, panic_threshold)),
                reals,
            )| {
                let address = Ipv4Addr::UNSPECIFIED.into();
                Vip {
                    name,
                    address,
                    ports,
                    announce,
                    hash,
                    idle_timeout,
                    drain_timeout,
                    on_deadline,
                    udp_idle_timeout,
                    udp,
                    slow_start,
                    sorry,
                    checks,
                    enabled,
                    min_up,
                    panic_threshold,
                    reals,
                }
            },
        )
}

/// Entries of which none is within another.
pub(super) fn ports() -> impl Strategy<Value = Vec<Ports>> {
    let protocol = || select(vec![Protocol::Tcp, Protocol::Udp]);
    let one = || (protocol(), 1..=u16::MAX).prop_map(|(protocol, port)| Ports::One(protocol, port));
    let entry =
        prop_oneof![1 => Just(Ports::Any), 2 => protocol().prop_map(Ports::All), 9 => one()];
    vec(entry, 1..5).prop_map(|entries| {
        let mut kept: Vec<Ports> = Vec::new();
        for entry in entries {
            if !kept.iter().any(|other| other.covers(entry) || entry.covers(*other)) {
                kept.push(entry);
            }
        }
        kept
    })
}

fn pool() -> impl Strategy<Value = Vec<Real>> {
    let real = || {
        let state = select(vec![RealState::Active, RealState::Drain, RealState::Disabled]);
        (0..=256u16, state, option::of(any::<[u8; 5]>()), any::<bool>())
    };
    let addresses: BoxedStrategy<BTreeSet<u8>> = btree_set(1..80u8, 0..6).boxed();
    (addresses, vec(real(), 6)).prop_map(|(addresses, reals)| {
        let by_address: BTreeMap<_, _> = addresses.into_iter().zip(reals).collect();
        type Drawn = (u16, RealState, Option<[u8; 5]>, bool);
        let real = |(last, (weight, state, mac, force_up)): (u8, Drawn)| Real {
            address: Ipv4Addr::new(10, 0, 0, last).into(),
            weight,
            state,
            mac: mac.map(|[a, b, c, d, e]| Mac([2, a, b, c, d, e])),
            force_up,
        };
        by_address.into_iter().map(real).collect()
    })
}

fn server(last: std::ops::Range<u8>) -> impl Strategy<Value = IpAddr> {
    last.prop_map(|last| Ipv4Addr::new(10, 0, 0, last).into())
}

/// A share, or a number of reals.
fn amounts() -> impl Strategy<Value = [Amount; 2]> {
    let counts = [1..=4096u16, 1..=4096u16].prop_map(|counts| counts.map(Amount::Count));
    let shares = [1..=100u8, 1..=100u8].prop_map(|shares| shares.map(Amount::Share));
    prop_oneof![counts, shares]
}

/// What becomes of a VIP when few of its reals are up; one or the other, or nothing.
fn shortage() -> impl Strategy<Value = (Option<Watermarks>, Option<u8>)> {
    let watermarks = amounts().prop_map(|[a, b]| {
        let (low, high) = if a.of(1 << 16) <= b.of(1 << 16) { (a, b) } else { (b, a) };
        (Some(Watermarks { low, high }), None)
    });
    prop_oneof![Just((None, None)), watermarks, (1..=100u8).prop_map(|share| (None, Some(share)))]
}

fn prefixes() -> impl Strategy<Value = ProbePrefixes> {
    let v4 = select(vec![("198.18.0.0", 15), ("198.18.240.0", 20), ("11.0.0.0", 8)]);
    let v6 = select(vec![("2001:2::", 48), ("fd00::", 16), ("2001:2::ff00:0", 104)]);
    (v4, v6).prop_map(|((v4, bits4), (v6, bits6))| ProbePrefixes {
        v4: (v4.parse().unwrap(), bits4),
        v6: (v6.parse().unwrap(), bits6),
    })
}

fn hooks() -> impl Strategy<Value = Hooks> {
    let exec = prop_oneof![Just(Vec::new()), vec("/[a-z é\"]{0,9}", 1..3)];
    let webhook = select(vec!["http://[2001:db8::1]:80/", "https://example.com/lb?a=b"]);
    (exec, option::of(webhook.prop_map(str::to_owned)))
        .prop_map(|(exec, webhook)| Hooks { exec, webhook })
}

fn duration(most_ms: u64) -> BoxedStrategy<Duration> {
    (1..=most_ms).prop_map(Duration::from_millis).boxed()
}

/// A check by HTTP of which only this is configured.
pub(super) fn http(port: u16, path: String) -> HttpCheck {
    HttpCheck {
        port,
        tls: None,
        method: "GET".to_owned(),
        path,
        host: None,
        status: vec![200..=399],
        body: None,
        version: HttpVersion::One,
    }
}
