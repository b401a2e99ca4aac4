//! Packets a second, of frames that leave an interface and arrive at another: `BPF_F_TEST_XDP_LIVE_FRAMES`.

mod chain;
mod generator;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

pub(super) use self::generator::Generator;
use self::{
    chain::{Chain, Forwarder},
    generator::Way,
};
use super::{
    Options,
    figure::{Better, Measure, Section, Unit, number},
};

/// How many frames make a figure: about a quarter of a second; fewer for who takes longer.
const FRAMES: u32 = 2_000_000;
const SLOW_FRAMES: u32 = 800_000;
const QUICK: u32 = 20_000;
/// How many sources frames come from, where they come from many.
const MANY: u32 = 100_000;
/// The part of the frames that may be lost for a figure to mean anything.
const LOSS: f64 = 0.01;

/// Those that are compared on a way: of frames that leave by a second interface, and of those that go back.
const REDIRECTS: [Forwarder; 3] = [Forwarder::Lb, Forwarder::F0Redirect, Forwarder::Kernel];
const RETURNS: [Forwarder; 3] = [Forwarder::Lb, Forwarder::F0, Forwarder::F1];
const RETURNS6: [Forwarder; 3] = [Forwarder::Lb, Forwarder::F0, Forwarder::F1V6];

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    way: Way,
    is_v6: bool,
    flows: u32,
}

impl Row {
    fn all() -> impl Iterator<Item = Self> {
        let flows = |way, is_v6| [1, MANY].map(|flows| Self { way, is_v6, flows });
        let families =
            move |way| [false, true].into_iter().flat_map(move |is_v6| flows(way, is_v6));
        [Way::Through, Way::Back].into_iter().flat_map(families)
    }

    fn forwarders(self) -> &'static [Forwarder] {
        match self.way {
            Way::Through => &REDIRECTS,
            Way::Back if self.is_v6 => &RETURNS6,
            Way::Back => &RETURNS,
        }
    }

    fn name(self) -> String {
        let way = match self.way {
            Way::Through => "to a second interface",
            Way::Back => "back out of the same one",
        };
        let family = if self.is_v6 { "IPv6" } else { "IPv4" };
        let flows = if self.flows == 1 { "1 flow" } else { "100 000 flows" };
        format!("{family}, {flows}, {way}")
    }
}

/// Measures.
pub fn run(options: &Options) -> Result<Section> {
    let mut generator = Generator::load()?;
    let mut chains = BTreeMap::new();
    for forwarder in Forwarder::ALL {
        chains.insert(forwarder, Chain::new(forwarder, &mut generator)?);
    }
    let mut course = Course { generator, chains, sent: 0, lost: 0 };
    let mut results: BTreeMap<(Row, Forwarder), Vec<f64>> = BTreeMap::new();
    // The first round is for caches, neighbours and page pools.
    for round in 0..=options.rounds {
        let is_short = options.quick || round == 0;
        for row in Row::all() {
            for forwarder in row.forwarders() {
                let frames = match forwarder {
                    _ if is_short => QUICK.max(row.flows),
                    Forwarder::Kernel => SLOW_FRAMES,
                    _ => FRAMES,
                };
                let rate = course.rate(row, *forwarder, frames)?;
                if round > 0 {
                    results.entry((row, *forwarder)).or_default().push(rate);
                }
            }
        }
    }
    Ok(section(results, course.sent, course.lost))
}

/// All that rounds are made of.
struct Course {
    generator: Generator,
    chains: BTreeMap<Forwarder, Chain>,
    sent: u64,
    lost: u64,
}

impl Course {
    /// Thousands of packets a second that have arrived.
    fn rate(&mut self, row: Row, forwarder: Forwarder, frames: u32) -> Result<f64> {
        let stream = chain::stream(row.way, row.is_v6, row.flows, frames)?;
        let sent = self.generator.send(self.chains[&forwarder].sender(), &stream)?;
        let lost = u64::from(frames).saturating_sub(sent.arrived);
        ensure!(
            lost as f64 <= LOSS * f64::from(frames),
            "{}, {}: of {frames} frames {} arrived",
            row.name(),
            forwarder.column(),
            sent.arrived
        );
        self.sent += u64::from(frames);
        self.lost += lost;
        Ok(sent.arrived as f64 / sent.took.as_secs_f64() / 1e3)
    }
}

fn section(results: BTreeMap<(Row, Forwarder), Vec<f64>>, sent: u64, lost: u64) -> Section {
    let mut section = Section::new("Live frames");
    for row in Row::all() {
        for forwarder in row.forwarders() {
            if let Some(rounds) = results.get(&(row, *forwarder)) {
                section.add(row.name(), forwarder.column(), Unit::KiloPackets, rounds.clone());
            }
        }
    }
    for row in Row::all() {
        measure(&mut section, row);
    }
    section.notes = vec![
        "Frames of 64 bytes (UDP) that the kernel makes in batches of 64 (`BPF_F_TEST_XDP_LIVE_FRAMES`), a \
         program numbers by their source, and veths carry: generator → balancer → a program that counts and \
         drops. `lb` is `lbd` with its program in the driver; `F0` writes both MAC addresses and looks at \
         nothing; `F1` is the least that balances; `kernel` is a machine without XDP that routes (its interface has \
         GRO on, else it would not take such frames). All frames of a row are the same for all."
            .into(),
        "The generator, both veths, the balancer and the counting run one after the other on one core, so a \
         figure is of the whole chain, of which the program is a part: that, and not the number of cores or \
         a network card, limits it. `F1` shows how near to F0 a balancer can come here."
            .into(),
        format!(
            "Of {sent} frames, {lost} did not arrive ({} of a million); the figures are of those that did.",
            number(lost as f64 / sent as f64 * 1e6)
        ),
    ];
    section.notes.push(difference(&section));
    section
}

/// What `lb` promises on a row.
fn measure(section: &mut Section, row: Row) {
    let name = row.name();
    let median = |column| section.median(&name, column);
    let Some(ours) = median("lb") else { return };
    let mut measures = Vec::new();
    if let Some(floor) = median("F0") {
        let what = format!("live: packets a second, lb / F0: {name}");
        measures.push(Measure::ratio(what, ours / floor, Better::More).target(0.9));
    }
    if let Some(least) = median("F1") {
        let what = format!("live: packets a second, lb / F1: {name}");
        measures.push(Measure::ratio(what, ours / least, Better::More));
    }
    if let Some(kernel) = median("kernel") {
        let what = format!("live: packets a second, lb / kernel forwarding: {name}");
        measures.push(Measure::ratio(what, ours / kernel, Better::More));
    }
    section.measures.extend(measures);
}

/// What a frame costs more than with F0, in nanoseconds.
fn difference(section: &Section) -> String {
    let more = |row: Row, column| {
        let name = row.name();
        let (slower, floor) = (section.median(&name, column)?, section.median(&name, "F0")?);
        Some(format!("{} ({name}, {column})", number(1e6 / slower - 1e6 / floor)))
    };
    let all = Row::all().flat_map(|row| ["lb", "F1"].map(|column| more(row, column)));
    let all: Vec<_> = all.flatten().collect();
    format!("Nanoseconds that a frame takes longer than with F0: {}.", all.join("; "))
}
