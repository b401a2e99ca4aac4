//! What configurations of many VIPs and many reals cost the daemon: time, memory, and how soon a change
//! stands in the datapath's tables.

mod arena;
mod carrier;
mod life;
mod memory;
mod rings;
mod stage;
mod yardstick;

use anyhow::Result;

use super::{
    Options,
    figure::{Better, Measure, Section, Unit},
};
use life::{Life, Taken};
use stage::Shape;
use yardstick::Yardstick;

const DOWN: &str = "one real down: to the last slot";

/// What a figure of a daemon is of, its unit, and how it is taken from one life.
type Row = (&'static str, Unit, fn(&Taken) -> f64);

const ROWS: [Row; 13] = [
    ("load: start to ready", Unit::Millis, |taken| taken.ready),
    ("start to first packet forwarded", Unit::Millis, |taken| taken.first_packet),
    ("one change: lbctl real set --weight", Unit::Millis, |taken| taken.change),
    ("status: lbctl -o json status", Unit::Millis, |taken| taken.status),
    ("apply of a file with 1 % of the VIPs changed", Unit::Millis, |taken| taken.apply),
    (DOWN, Unit::Millis, |taken| taken.down.told),
    ("the same from the cable's end on", Unit::Millis, |taken| taken.down.asked),
    ("the same real back: to the last slot", Unit::Millis, |taken| taken.back.told),
    ("the same from the cable's return on", Unit::Millis, |taken| taken.back.asked),
    ("down again while slots are tracked", Unit::Millis, |taken| taken.again.told),
    ("longest wait for an answer around a resync", Unit::Millis, |taken| taken.wait),
    ("resident beside the maps", Unit::Mebibytes, |taken| taken.resident),
    ("maps", Unit::Mebibytes, |taken| taken.maps),
];

/// Measures.
///
/// # Errors
///
/// Where a lab cannot be made, or a daemon does not do what it is asked.
pub fn run(options: &Options) -> Result<Section> {
    let mut section = Section::new("Control: many VIPs, many reals");
    let mut yardstick = Yardstick::default();
    rings::measure(&mut section, &mut yardstick, options.rounds.max(3));
    let shapes = if options.quick { &Shape::QUICK[..] } else { &Shape::ALL[..] };
    // Whole lives of daemons take seconds each.
    let rounds = if options.quick { 1 } else { options.rounds.min(LIVES) };
    let mut taken: Vec<Vec<Taken>> = shapes.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        yardstick.measure();
        for (shape, taken) in shapes.iter().zip(&mut taken) {
            taken.push(Life::live(shape, round == 0 && !options.quick)?);
        }
    }
    for (shape, taken) in shapes.iter().zip(&taken) {
        for (row, unit, read) in ROWS {
            let rounds: Vec<f64> = taken.iter().map(read).filter(|value| !value.is_nan()).collect();
            if !rounds.is_empty() {
                section.add(row, shape.name, unit, rounds);
            }
        }
    }
    yardstick.add(&mut section);
    measures(&mut section, shapes, yardstick.median());
    section.notes = notes(rounds);
    Ok(section)
}

/// How many lives of each shape there are at most.
const LIVES: usize = 3;

/// What is promised, and what is guarded besides.
fn measures(section: &mut Section, shapes: &[Shape], yardstick: f64) {
    let targets = [
        (rings::ROWS[2].0, "1 thread", 2.0),
        (DOWN, Shape::MANY.name, 20.0),
        ("start to first packet forwarded", Shape::LARGE.name, 3000.0),
        ("resident beside the maps", Shape::LARGE.name, 300e6 / f64::from(1 << 20)),
    ];
    let mut add = |row: &str, column: &str, unit, target: Option<f64>| {
        let Some(value) = section.median(row, column) else { return };
        let guard = (unit == Unit::Millis).then_some(yardstick);
        let measure = Measure::figure(format!("{row}, {column}"), value, unit, Better::Less, guard);
        section.measures.push(match target {
            Some(target) => measure.target(target),
            None => measure,
        });
    };
    let target = |row: &str, column: &str| {
        targets.iter().find(|target| (target.0, target.1) == (row, column)).map(|target| target.2)
    };
    for (row, ..) in rings::ROWS {
        add(row, "1 thread", Unit::Millis, target(row, "1 thread"));
    }
    for shape in shapes {
        for (row, unit, _) in ROWS {
            add(row, shape.name, unit, target(row, shape.name));
        }
    }
}

fn notes(rounds: usize) -> Vec<String> {
    let notes = [
        "The daemon and `lbctl` are the optimised ones, in a lab of network namespaces: a balancer with two \
         interfaces, and servers behind them. Every pool is different from all others.",
        "VIPs have `announce = \"none\"`: to probe for and to announce an address takes seconds by protocol, \
         whatever the balancer does meanwhile. 113 servers are found by ARP: beyond 128 neighbours the kernel \
         collects what it thinks unused. The 1000 servers of `100 × 1000` have `mac` in the file.",
        "First packet: a SYN to the last VIP is sent from the router every millisecond, from before the \
         process starts until one arrives at a server.",
        "One real down: the cable of the second interface, by which one of the reals is reached that is in \
         every pool (in `10000 × 10`: in every 25th), is taken away, and the arena of rings is watched \
         through a mapping of its own until the last of the slots that this concerns is another's. It counts \
         from the moment at which a socket of the benchmark's own has the kernel's message; what the kernel takes \
         before, milliseconds with a veth, is in the next row. The rings are at rest before, but in the row that says \
         otherwise: for that VIPs have `idle_timeout = \"1s\"`.",
        "The longest wait: a cheap question (the last event) is asked over the control socket again and \
         again, for as long as it takes that a resync, due every 10 s, falls into it. A failover at that \
         moment waits as long at most. In the first life only.",
        "Commands count from the start of `lbctl` to its end, the answer printed. Resident is `RssAnon` of \
         /proc/PID/status, which the mapped arrays are no part of; maps are the sum of `memlock` in \
         /proc/PID/fdinfo.",
        "What is guarded is the ratio to a fixed computation in the same run, on one core: a million numbers \
         are made, sorted and hashed.",
    ];
    let rounds = format!("Rounds: of whole daemons {rounds}; they take seconds each.");
    notes.into_iter().map(str::to_owned).chain([rounds]).collect()
}
