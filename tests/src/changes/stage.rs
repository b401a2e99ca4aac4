//! The rack under load, and what can be done to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    net::IpAddr,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use lb_user::model::Mac;
use serde_json::Value;

use super::{events::Event, report::Row};
use crate::{
    address,
    flood::{Flood, Flooding},
    lab::{Lab, LabOptions},
    load::{Kind, Load, LoadOptions, Servers},
    rack::Rack,
    wait,
};

/// How the VIPs remember flows across a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// For some seconds after they fell silent, which is longer than flows of the load ever are.
    Seconds(u32),
    /// Not at all: whatever a change moves in the ring is moved at once, as in a balancer without
    /// any memory.
    None,
}

impl Memory {
    fn words(self) -> String {
        let (idle, udp) = match self {
            Self::Seconds(seconds) => (format!("{seconds}s"), format!("{seconds}s")),
            Self::None => ("1ms".to_owned(), "1ms".to_owned()),
        };
        format!("idle_timeout = \"{idle}\"\nudp_idle_timeout = \"{udp}\"\ndrain_timeout = \"1h\"\n")
    }
}

/// What a stage is like.
#[derive(Clone, Copy, Debug)]
pub struct StageOptions {
    /// What goes on in it.
    pub load: LoadOptions,
    /// What the VIPs remember.
    pub memory: Memory,
    /// How often a flapping real does.
    pub flaps: usize,
    /// How many frames a flood is of, at least.
    pub flood: u64,
}

/// How many reals the pool has at first.
const REALS: u8 = 8;
/// How many more are there, to be added.
const SPARE: u8 = 2;

/// A VIP.
struct Vip {
    name: &'static str,
    address: IpAddr,
    /// The address of the real with this number.
    real: fn(u8) -> IpAddr,
}

const VIPS: [Vip; 2] = [
    Vip { name: "web", address: address::vip(10), real: address::real },
    Vip { name: "web6", address: address::vip6(10), real: address::real6 },
];

/// A VIP of each family over eight reals, in use; two more reals wait. A real is known by its number.
pub struct Stage {
    load: Load,
    /// The balancer and the machines.
    pub rack: Rack,
    servers: Servers,
    options: StageOptions,
    /// The reals of both VIPs and their weights.
    pool: BTreeMap<u8, u16>,
    /// Those that cannot be reached.
    down: BTreeSet<u8>,
    /// Those that have been unreachable during the present event.
    dead: BTreeSet<String>,
    flooded: u64,
}

impl Stage {
    /// Sets everything up and opens all flows.
    pub fn set(options: StageOptions) -> Result<Self> {
        let lab = Lab::new(LabOptions::reals(REALS + SPARE))?;
        let vips = VIPS.map(|vip| vip.address);
        for real in lab.reals() {
            vips.iter().try_for_each(|vip| real.set_up_dsr(*vip))?;
        }
        let servers = Servers::start(&lab, &vips)?;
        let pool = (1..=REALS).map(|number| (number, 1)).collect();
        let daemon = lab.daemon(&lab.config(&vips_text(&pool, options.memory)))?;
        let rack = Rack { daemon, nginx: Vec::new(), echoes: Vec::new(), lab };
        serving(&rack, &pool.keys().copied().collect())?;
        let load = Load::start(rack.lab.client().netns(), &vips, options.load)?;
        let (down, dead, flooded) = <_>::default();
        Ok(Self { load, rack, servers, options, pool, down, dead, flooded })
    }

    /// The load.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Has an event happen; what came of it, once every flow has been used and some are renewed.
    pub fn play(&mut self, event: &Event) -> Result<Row> {
        let began = Instant::now();
        (self.dead, self.flooded) = <_>::default();
        let connections = self.load.count(Kind::Tcp) + self.load.count(Kind::Short);
        let mut row = Row::new(event.name, connections, self.load.count(Kind::Udp));
        (event.happens)(self).with_context(|| format!("in the event \"{}\"", event.name))?;
        self.load.exercise()?;
        self.renew()?;
        row.add(&self.load.take_broken(), &self.dead);
        (row.took, row.flooded) = (began.elapsed(), self.flooded);
        self.load.replenish()?;
        Ok(row)
    }

    /// Ends the load, and waits until nothing of it is remembered.
    pub fn end(self) -> Result<()> {
        let Self { load, rack, .. } = self;
        drop(load);
        wait::until("the end of all tracking", 2 * wait::PATIENCE, || {
            let status = rack.status()?;
            let vips = status["vips"].as_array().context("vips")?;
            Ok(vips.iter().all(|vip| vip["tracked_slots"] == 0).then_some(()))
        })
    }

    /// What the daemon logged, which tells nothing to whom all went well.
    pub fn forget_log(&self) -> Result<()> {
        Ok(fs::remove_file(self.rack.lab.dir().join("lbd.log"))?)
    }

    /// The reals in the pool.
    #[must_use]
    pub fn reals(&self) -> Vec<u8> {
        self.pool.keys().copied().collect()
    }

    /// A tenth of the connections are closed by their clients, and others opened: flows that begin
    /// after one change are there when the next one comes.
    pub(super) fn renew(&self) -> Result<()> {
        self.load.renew(self.options.load.connections / 10)
    }

    /// Adds a real to both VIPs.
    pub fn add(&mut self, real: u8, weight: u16) -> Result<()> {
        self.lbctl(&["real", "add"], real, &["--weight", &weight.to_string()])?;
        self.pool.insert(real, weight);
        self.settle()
    }

    /// Gives a real another weight in both VIPs.
    pub fn weigh(&mut self, real: u8, weight: u16) -> Result<()> {
        self.lbctl(&["real", "set"], real, &["--weight", &weight.to_string()])?;
        self.pool.insert(real, weight);
        Ok(())
    }

    /// Begins to drain a real of both VIPs.
    pub fn drain(&mut self, real: u8) -> Result<()> {
        self.lbctl(&["real", "drain"], real, &["--timeout", "1h"])?;
        self.pool.remove(&real);
        self.settle()
    }

    /// Whether neither slots nor flows are left to these reals.
    pub fn are_drained(&self, reals: &[u8]) -> Result<Option<()>> {
        let status = self.rack.status()?;
        let vips = status["vips"].as_array().context("vips")?.iter();
        let pools = vips.filter_map(|vip| vip["reals"].as_array()).flatten();
        let names = reals.iter().flat_map(|real| VIPS.iter().map(|vip| (vip.real)(*real)));
        let names: Vec<String> = names.map(|address| address.to_string()).collect();
        let left = pools.filter(|real| names.iter().any(|name| real["address"] == *name));
        let has_some = |real: &Value| real["drain"]["slots"] != 0 || real["drain"]["flows"] != 0;
        Ok((!left.into_iter().any(has_some)).then_some(()))
    }

    /// Waits until a drain has ended in both VIPs.
    pub fn wait_for_drain(&self, real: u8) -> Result<()> {
        self.lbctl(&["real", "drain"], real, &["--timeout", "1h", "--wait"])
    }

    /// Removes a real from both VIPs.
    pub fn remove(&mut self, real: u8) -> Result<()> {
        self.lbctl(&["real", "del"], real, &[])?;
        self.pool.remove(&real);
        self.settle()
    }

    /// The clients of a real close what they have with it, and go on with other flows.
    pub fn leave(&self, reals: &[u8]) -> Result<()> {
        let names: Vec<_> = reals.iter().map(|real| name(*real)).collect();
        self.load.leave(&names.iter().map(String::as_str).collect())
    }

    /// Applies a configuration with this pool in both VIPs.
    pub fn apply(&mut self, pool: BTreeMap<u8, u16>) -> Result<()> {
        let file = self.rack.lab.dir().join("applied.toml");
        fs::write(&file, self.rack.lab.config(&vips_text(&pool, self.options.memory)))?;
        self.rack.lbctl(&["apply", "-f", file.to_str().context("a path")?])?;
        self.pool = pool;
        self.settle()
    }

    /// Makes a real unreachable: its cable leads to no switch, which is not seen at either end, and it
    /// forgets its connections. Waits until the balancer has noticed, and every flow has.
    pub fn cut_off(&mut self, real: u8) -> Result<()> {
        self.plug(real, "nomaster")?;
        self.servers.forget(&name(real));
        self.down.insert(real);
        self.dead.insert(name(real));
        // The kernel would ask only after half a minute without traffic from there.
        for vip in VIPS {
            let address = (vip.real)(real);
            self.rack.lab.balancer().ip(&format!("neigh change {address} dev eth0 nud probe"))?;
        }
        self.settle()?;
        self.load.exercise()
    }

    /// Makes it reachable again, and waits until it serves.
    pub fn reconnect(&mut self, real: u8) -> Result<()> {
        self.plug(real, "master br0")?;
        self.down.remove(&real);
        self.settle()?;
        self.load.exercise()
    }

    fn plug(&self, real: u8, into: &str) -> Result<()> {
        self.rack.lab.switch().ip(&format!("link set {} {into}", name(real))).map(drop)
    }

    /// Gives a real's network card another address, which it says to everybody (a gratuitous ARP
    /// and an unsolicited neighbour advertisement), as one does who fails over.
    pub fn change_mac(&self, real: u8, mac: Mac) -> Result<()> {
        let netns = self.rack.lab.real(real.into()).netns();
        netns
            .sysctl(&[("ipv4/conf/eth0/arp_notify", "1"), ("ipv6/conf/eth0/ndisc_notify", "1")])?;
        netns.ip(&format!("link set eth0 address {mac}"))?;
        wait::until("the new MAC address", wait::PATIENCE, || {
            let known = |status: Value| -> Option<()> {
                let mut vips = VIPS.iter().zip(status["vips"].as_array()?);
                let moved = vips.all(|(vip, told)| {
                    let of = |entry: &&Value| entry["address"] == (vip.real)(real).to_string();
                    let entry = told["reals"].as_array().and_then(|all| all.iter().find(of));
                    entry.is_some_and(|entry| entry["mac"] == mac.to_string())
                });
                moved.then_some(())
            };
            Ok(known(self.rack.status()?))
        })
    }

    /// Floods both VIPs, does something meanwhile, and goes on until it was a flood.
    pub fn flooded(
        &mut self,
        what: Flooding,
        meanwhile: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let before = self.forwarded()?;
        let flood = Flood::start(&self.rack.lab, &VIPS.map(|vip| vip.address), what)?;
        meanwhile(self)?;
        wait::until("a flood", 10 * wait::PATIENCE, || {
            Ok((flood.sent() >= self.options.flood).then_some(()))
        })?;
        let sent = flood.stop()?;
        let arrived = sent.min(self.forwarded()? - before);
        ensure!(arrived >= sent / 2, "of {sent} frames {arrived} arrived: that was no flood");
        self.flooded += arrived;
        Ok(())
    }

    /// How many frames the balancer has forwarded.
    fn forwarded(&self) -> Result<u64> {
        self.rack.status()?["outcomes"]["forwarded"].as_u64().context("a counter")
    }

    /// How often a flapping real does.
    pub(super) fn flaps(&self) -> usize {
        self.options.flaps
    }

    /// Runs `lbctl` for a real of each VIP.
    fn lbctl(&self, verb: &[&str], real: u8, rest: &[&str]) -> Result<()> {
        VIPS.iter().try_for_each(|vip| {
            let address = (vip.real)(real).to_string();
            self.rack.lbctl(&[verb, &[vip.name, &address], rest].concat()).map(drop)
        })
    }

    /// Waits until exactly those take new flows that should.
    pub(super) fn settle(&self) -> Result<()> {
        let has_weight = |(_, weight): &(&u8, &u16)| **weight > 0;
        let weighed = self.pool.iter().filter(has_weight).map(|(real, _)| *real);
        serving(&self.rack, &weighed.filter(|real| !self.down.contains(real)).collect())
    }
}

/// Waits until exactly these reals own slots of both VIPs.
fn serving(rack: &Rack, reals: &BTreeSet<u8>) -> Result<()> {
    wait::until(&format!("service by {reals:?} alone"), 2 * wait::PATIENCE, || {
        let status = rack.status()?;
        let vips = status["vips"].as_array().context("vips")?;
        let as_wanted = VIPS.iter().zip(vips).all(|(vip, told)| {
            let entries = told["reals"].as_array().into_iter().flatten();
            let owns = |entry: &&Value| entry["share"].as_f64() > Some(0.0);
            let owners: BTreeSet<_> =
                entries.filter(owns).filter_map(|entry| entry["address"].as_str()).collect();
            let wanted: Vec<_> = reals.iter().map(|real| (vip.real)(*real).to_string()).collect();
            owners == wanted.iter().map(String::as_str).collect()
        });
        Ok(as_wanted.then_some(()))
    })
}

fn name(real: u8) -> String {
    format!("real{real}")
}

/// Both VIPs in the words of the file.
fn vips_text(pool: &BTreeMap<u8, u16>, memory: Memory) -> String {
    let mut text = String::new();
    for Vip { name, address, real: address_of } in VIPS {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "[[vip]]\nname = \"{name}\"\naddress = \"{address}\"\nports = [\"tcp/80\", \"udp/53\"]\n{}",
            memory.words()
        );
        for (real, weight) in pool {
            let address = address_of(*real);
            let _ = writeln!(text, "[[vip.real]]\naddress = \"{address}\"\nweight = {weight}\n");
        }
    }
    text
}
