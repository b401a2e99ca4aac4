//! A real server gets another network card: open connections follow it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::RealWord;
use lb_user::model::Mac;
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv,
        setsockopt, socket, sockopt,
    },
    time::{TimeVal, TimeValLike as _},
};
use tests::{Lab, Rack, Real, Talk, address, wait};

/// The group of messages about neighbours (linux/rtnetlink.h): RTNLGRP_NEIGH, 3.
const NEIGHBOURS: u32 = 1 << 2;

/// Listens to what the kernel says about the balancer's neighbours.
fn listen(lab: &Lab) -> Result<OwnedFd> {
    lab.balancer().run(|| {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Netlink, kind, flags, SockProtocol::NetlinkRoute)?;
        let patience = TimeVal::seconds(wait::PATIENCE.as_secs() as i64);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, NEIGHBOURS))?;
        Ok(socket)
    })
}

/// When the kernel said, in the first message about each family, that a neighbour has this MAC address. A
/// message is a header of 16 bytes, then the family (linux/netlink.h, linux/neighbour.h).
fn told(kernel: &OwnedFd, mac: Mac) -> Result<[Instant; 2]> {
    let mut told = BTreeMap::new();
    while told.len() < 2 {
        let mut message = [0; 8192];
        let length = recv(kernel.as_raw_fd(), &mut message, MsgFlags::empty())
            .context("the kernel's messages about neighbours")?;
        if message[..length].windows(6).any(|bytes| bytes == mac.0) {
            told.entry(message[16]).or_insert_with(Instant::now);
        }
    }
    let mut told = told.into_values().collect::<Vec<_>>();
    told.sort();
    Ok([told[0], told[1]])
}

/// The daemon's table of reals.
struct Reals(Array<MapData, u64>);

impl Reals {
    fn open(lab: &Lab) -> Result<Self> {
        let file = lab.pin_dir().join(format!("layout-{}/REALS-65536", lb_common::LAYOUT));
        let map = lab.in_balancer(|| Ok(Map::Array(MapData::from_pin(&file)?)))?;
        Ok(Self(map.try_into()?))
    }

    fn mac(&self, place: u32) -> Result<Mac> {
        Ok(Mac(RealWord(self.0.get(&place, 0)?).mac()))
    }

    /// All places with this MAC address.
    fn places(&self, mac: Mac) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for place in 0..self.0.len() {
            if self.mac(place)? == mac {
                found.push(place);
            }
        }
        Ok(found)
    }

    /// Waits until all of these have this MAC address; asks all the time.
    fn are(&self, places: &[u32], mac: Mac) -> Result<()> {
        let deadline = Instant::now() + wait::PATIENCE;
        for place in places {
            while self.mac(*place)? != mac {
                ensure!(Instant::now() < deadline, "place {place} never got {mac}");
            }
        }
        Ok(())
    }
}

/// How long the balancer's part of a change took.
struct Took {
    /// From the first of the kernel's two messages, one for each family, to the last word.
    both: Duration,
    /// From the second one.
    last: Duration,
}

/// Gives the real another MAC address, which it tells everybody (a gratuitous ARP and an unsolicited
/// neighbour advertisement), and waits until it stands in all words of the datapath.
fn change(lab: &Lab, real: &Real, before: Mac, after: Mac) -> Result<Took> {
    let reals = Reals::open(lab)?;
    let places = reals.places(before)?;
    ensure!(places.len() >= 2, "{before} is in {} words", places.len());
    let kernel = listen(lab)?;
    let netns = real.netns();
    netns.sysctl(&[("ipv4/conf/eth0/arp_notify", "1"), ("ipv6/conf/eth0/ndisc_notify", "1")])?;
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let told = told(&kernel, after)?;
            reals.are(&places, after)?;
            let [both, last] = told.map(|message| message.elapsed());
            Ok(Took { both, last })
        });
        netns.ip(&format!("link set eth0 address {after}"))?;
        watch.join().map_err(|_| anyhow!("the watch panicked"))?
    })
}

/// `count` more VIPs over the three reals of the lab, which announce nothing.
fn more(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, vip| {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "[[vip]]\nname = \"v{vip}\"\naddress = \"192.0.2.200\"\nports = [\"tcp/{}\"]\nannounce = \"none\"\n",
            1000 + vip
        );
        for real in 1..=3 {
            let _ = write!(text, "[[vip.real]]\naddress = \"{}\"\n", address::real(real));
        }
        text
    })
}

#[test]
fn an_open_connection_follows_its_real_to_another_network_card() -> Result<()> {
    let (rack, _servers) = Rack::echoing(3, "")?;
    let real = rack.lab.real(1);
    let talks = [Rack::web(), Rack::web6()].map(|to| Talk::open_on(&rack.lab, to, 1));
    let talks: Vec<_> = talks.into_iter().collect::<Result<_>>()?;
    let mut mac = real.mac();
    for (round, vips) in [2, 2, 300, 300].into_iter().enumerate() {
        let file = rack.lab.dir().join("more.toml");
        fs::write(&file, rack.lab.config(&(Rack::both(3, "") + "\n" + &more(vips - 2))))?;
        rack.lbctl(&["apply", "-f", file.to_str().context("a path")?])?;
        let other = Mac([2, 0, 0, 0, 9, round as u8]);
        let began = Instant::now();
        let Took { both, last } = change(&rack.lab, real, mac, other)?;
        talks.iter().try_for_each(Talk::goes_on)?;
        let went_on = began.elapsed();
        println!(
            "{vips} VIPs: {both:?} from the first message to the last word, {last:?} from the second; \
             connections went on after {went_on:?} in all"
        );
        assert!(both < Duration::from_secs(1), "{both:?}");
        mac = other;
    }
    Ok(())
}
