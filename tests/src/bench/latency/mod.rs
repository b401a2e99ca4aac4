//! What the way through the balancer adds to a round trip.

mod pingpong;

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, os::fd::OwnedFd};

use anyhow::{Context as _, Result};

use self::pingpong::{Pair, Protocol, Wait};
use super::{
    Options,
    figure::{Better, Measure, Section, Unit, number},
    live::Generator,
};
use crate::{Daemon, Lab, LabOptions, Port, address, wait};

/// How many round trips make a figure.
const TRIPS: usize = 5_000;
const QUICK: usize = 500;
/// Where the real answers.
const PORT: u16 = 7;
const VIP: IpAddr = address::vip(10);

/// How the client reaches the real.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Direct,
    Lb,
    F0,
}

impl Way {
    const ALL: [Self; 3] = [Self::Direct, Self::Lb, Self::F0];

    const fn column(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Lb => "lb",
            Self::F0 => "F0",
        }
    }
}

/// What messages go by, and how both ends wait for them.
type Manner = (Protocol, Wait);

fn manners() -> impl Iterator<Item = Manner> {
    Protocol::ALL.into_iter().flat_map(|protocol| Wait::ALL.map(|wait| (protocol, wait)))
}

fn name((protocol, wait): Manner) -> String {
    format!("{}, {}", protocol.name(), wait.name())
}

/// What is told of the round trips of a round.
const TOLD: [(&str, f64); 2] = [("median", 0.5), ("p99", 0.99)];

/// Measures.
pub fn run(options: &Options) -> Result<Section> {
    let labs = Labs::new()?;
    let mut results: BTreeMap<(Manner, Way), Vec<[f64; TOLD.len()]>> = BTreeMap::new();
    // The first round is for caches and neighbours.
    for round in 0..=options.rounds {
        let trips = if options.quick || round == 0 { QUICK } else { TRIPS };
        for manner in manners() {
            for way in Way::ALL {
                let what = || format!("{}, {}", name(manner), way.column());
                let told = quantiles(
                    labs.pair(way, manner).and_then(|pair| pair.play(trips)).with_context(what)?,
                );
                if round > 0 {
                    results.entry((manner, way)).or_default().push(told);
                }
            }
        }
    }
    Ok(section(&results))
}

/// Two labs that are alike, as both balancers send with the same MAC address.
struct Labs {
    _daemon: Daemon,
    ours: Lab,
    _floor: OwnedFd,
    theirs: Lab,
}

impl Labs {
    fn new() -> Result<Self> {
        let [ours, theirs] = [lab()?, lab()?];
        let daemon = daemon(&ours)?;
        let mut generator = Generator::load()?;
        let floor = generator.attach("f0", &Port::new(theirs.balancer(), "eth0"))?;
        let mac = theirs.balancers()[0].mac();
        theirs.router().ip(&format!("neigh replace {VIP} lladdr {mac} dev lan nud permanent"))?;
        Ok(Self { _daemon: daemon, ours, _floor: floor, theirs })
    }

    fn pair(&self, way: Way, manner: Manner) -> Result<Pair> {
        let (lab, address) = match way {
            Way::Direct => (&self.ours, self.ours.real(1).address()),
            Way::Lb => (&self.ours, VIP),
            Way::F0 => (&self.theirs, VIP),
        };
        let place = SocketAddr::new(address, PORT);
        Pair::new(lab.client().netns(), lab.real(1).netns(), place, manner)
    }
}

fn lab() -> Result<Lab> {
    let lab = Lab::new(LabOptions::reals(1))?;
    lab.real(1).set_up_dsr(VIP)?;
    Ok(lab)
}

/// Starts the daemon, and waits until the VIP has its real.
fn daemon(lab: &Lab) -> Result<Daemon> {
    let real = lab.real(1).address();
    let vip = format!(
        "[[vip]]\nname = \"pong\"\naddress = \"{VIP}\"\nports = [\"udp/{PORT}\", \"tcp/{PORT}\"]\n\
         [[vip.real]]\naddress = \"{real}\"\n"
    );
    let config = lab.config(&vip).replacen("[node]\n", "[node]\nxdp = \"native\"\n", 1);
    let daemon = lab.daemon(&config)?.hushed();
    wait::until("a usable real", wait::PATIENCE, || {
        let status = daemon.lbctl(&["-o", "json", "status"])?.success()?.json()?;
        Ok((status["vips"][0]["reals"][0]["share"].as_f64() > Some(0.0)).then_some(()))
    })?;
    Ok(daemon)
}

/// What is told, of how long each trip has taken.
fn quantiles(mut trips: Vec<f64>) -> [f64; TOLD.len()] {
    trips.sort_unstable_by(f64::total_cmp);
    TOLD.map(|(_, part)| trips[((trips.len() - 1) as f64 * part) as usize])
}

fn row(manner: Manner, told: &str) -> String {
    format!("{}, {} bytes and back: {told}", name(manner), pingpong::LENGTH)
}

fn section(results: &BTreeMap<(Manner, Way), Vec<[f64; TOLD.len()]>>) -> Section {
    let mut section = Section::new("Latency");
    for manner in manners() {
        for (place, (told, _)) in TOLD.iter().enumerate() {
            for way in Way::ALL {
                let rounds = results.get(&(manner, way)).into_iter().flatten();
                let rounds = rounds.map(|round| round[place]).collect();
                section.add(row(manner, told), way.column(), Unit::Micros, rounds);
            }
        }
    }
    for manner in manners() {
        section.measures.extend(measures(&section, manner));
    }
    section.notes = vec![
        "Round trips of messages of 64 bytes, one at a time, between a client beyond the router on one core and a \
         real server on another. Sleeping sockets are what sockperf and most programs have: the kernel wakes \
         who waits. Spinning ones ask again and again, which leaves the way alone. Requests \
         go client → router → switch → balancer → switch → real, answers real → switch → router → client. \
         `direct` asks the real's own address, on the same switch, by the same sockets: without the balancer, \
         and without the second way through the switch. `F0` is the lab with a program in the balancer's place \
         that does nothing but write both MAC addresses."
            .into(),
    ];
    for manner in manners() {
        section.notes.extend(added(&section, manner));
    }
    section
}

fn medians(section: &Section, manner: Manner) -> Option<[f64; 3]> {
    let row = row(manner, TOLD[0].0);
    let [direct, ours, floor] = Way::ALL.map(|way| section.median(&row, way.column()));
    Some([direct?, ours?, floor?])
}

fn measures(section: &Section, manner: Manner) -> Vec<Measure> {
    let Some([direct, ours, floor]) = medians(section, manner) else { return Vec::new() };
    let what = |other| format!("latency: {}: round trip at the median, lb / {other}", name(manner));
    vec![
        Measure::ratio(what("direct wiring"), ours / direct, Better::Less).target(1.1),
        Measure::ratio(what("F0"), ours / floor, Better::Less),
    ]
}

/// Who adds what.
fn added(section: &Section, manner: Manner) -> Option<String> {
    let [direct, ours, floor] = medians(section, manner)?;
    Some(format!(
        "{}: with F0 in the balancer's place a round trip takes {} µs more than without a balancer ({:.2} ×): two more \
         veths, the switch once more, and a copy of the frame for XDP. lb's program adds {} µs to that.",
        name(manner),
        number(floor - direct),
        floor / direct,
        number(ours - floor),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_trips_the_middle_and_the_slow_end_are_told() {
        let trips = (1..=101).rev().map(f64::from).collect();
        assert_eq!(quantiles(trips), [51.0, 100.0]);
        assert_eq!(quantiles(vec![3.0]), [3.0, 3.0]);
    }
}
