//! What one packet costs in the program: nanoseconds of one CPU, by the kernel's own test run, without drivers and
//! without the work of the wrapper (`lb-ebpf/src/bin/bench.rs`).

mod case;
mod floors;
mod place;
mod wrapper;

use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::ProgramFd;
use lb_ebpf::bench::Course;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use self::{
    case::{Case, TX},
    floors::Floors,
    place::{FIRST_VIP, Place},
    wrapper::Wrapper,
};
use super::{
    Options,
    figure::{Better, Measure, Section, Unit},
};
use crate::{golden::Family, world::traced};

/// Packets of a timed run, if there are fewer flows.
const PACKETS: u32 = 300_000;
/// The column of the floor whose services have rings of their own.
const APART: &str = "F1, rings apart";
/// How often a run is repeated that was disturbed.
const TRIES: usize = 4;

/// Measures all cases, in a thread of its own: what others start shall not stay on its CPU.
pub fn run(options: &Options) -> Result<Section> {
    thread::scope(|scope| {
        let measured = scope.spawn(|| measure(options));
        measured.join().map_err(|_| anyhow!("the measuring thread panicked"))?
    })
}

fn measure(options: &Options) -> Result<Section> {
    pin()?;
    let mut section = Section::new("Datapath");
    let mut cases = case::all();
    cases.sort_by_key(|case| case.services);
    let mut bench: Option<Bench> = None;
    for case in &cases {
        let wanted = |flows: u32| {
            let asked = options.rows.as_ref().is_none_or(|text| case.row(flows).contains(text));
            asked && !(options.quick && (flows > 1000 || case.services > 1))
        };
        let flows: Vec<u32> = case.flows.iter().copied().filter(|flows| wanted(*flows)).collect();
        if flows.is_empty() {
            continue;
        }
        let bench = match &mut bench {
            Some(bench) if bench.services == case.services => bench,
            other => other.insert(Bench::new(case.services)?),
        };
        for flows in case.flows.iter().filter(|flows| !options.quick || **flows <= 1000) {
            bench.measure(case, *flows, options, &mut section).with_context(|| case.row(*flows))?;
        }
    }
    section.measures = measures(&section);
    section.notes.push(
        "Each figure is net: the wrapper with a target that only returns XDP_TX (its column) is taken away in \
         each round. F0 writes both Ethernet addresses; F1 is the least that balances; F2 is F1 with a table of \
         flows (LRU hash) that is asked first."
            .to_owned(),
    );
    Ok(section)
}

/// Keeps this thread on the last CPU, which has the fewest interrupts.
fn pin() -> Result<()> {
    let mut cpus = CpuSet::new();
    let last = thread::available_parallelism().map_or(1, usize::from) - 1;
    cpus.set(last)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one CPU")
}

/// The programs with so many VIPs.
struct Bench {
    services: u32,
    place: Place,
    floors: Floors,
}

/// A program and its column.
struct Target {
    column: &'static str,
    program: ProgramFd,
    code: u32,
    course: Course,
}

impl Bench {
    fn new(services: u32) -> Result<Self> {
        let place = Place::new(services).context("the balancer")?;
        Ok(Self { services, place, floors: Floors::new(services).context("the floors")? })
    }

    /// The programs that take part, the wrapper's own first.
    fn targets(&mut self, case: &Case, flows: u32) -> Result<Vec<Target>> {
        let course = case.course(flows);
        let target = |column, program, code| Target { column, program, code, course };
        let mut targets = vec![
            target("wrapper", self.floors.program("nothing")?, TX),
            target("F0", self.floors.program("f0")?, TX),
        ];
        if case.floors {
            let [f1, f2] = match case.family {
                Family::V4 => ["f1", "f2"],
                Family::V6 => ["f1_v6", "f2_v6"],
            };
            // Nothing of theirs ever moves.
            let first_vip = if case.code == TX { FIRST_VIP } else { course.first_vip };
            let course = Course { first_vip, ..course };
            let apart = case.apart.then_some((APART, "f1_rings"));
            for (column, name) in [("F1", f1), ("F2", f2)].into_iter().chain(apart) {
                let target = target(column, self.floors.program(name)?, case.code);
                targets.push(Target { course, ..target });
            }
        }
        targets.push(target("lb", self.place.program()?, case.code));
        Ok(targets)
    }

    fn measure(
        &mut self,
        case: &Case,
        flows: u32,
        options: &Options,
        section: &mut Section,
    ) -> Result<()> {
        let mut wrapper = Wrapper::new(case.layout)?;
        let mut targets = self.targets(case, flows)?;
        let packets = if case.begins { flows } else { flows.max(PACKETS) };
        let packets = if options.quick { flows.max(1000) } else { packets };
        if case.begins {
            targets.iter_mut().for_each(|target| target.course.flows = u32::MAX);
        } else {
            self.prepare(case, flows, &mut wrapper, &mut targets)?;
        }
        let mut rounds = vec![Vec::new(); targets.len()];
        for _ in 0..options.rounds {
            let mut own = 0.0;
            for (target, nanos) in targets.iter_mut().zip(&mut rounds) {
                // Its caches were others' meanwhile.
                let untimed = if case.begins { 0 } else { flows };
                let gross = timed(&mut wrapper, case, target, (untimed, packets))?;
                if target.column == "wrapper" {
                    own = gross;
                    nanos.push(gross);
                } else {
                    nanos.push(gross - own);
                }
            }
        }
        for (target, rounds) in targets.iter().zip(rounds) {
            section.add(case.row(flows), target.column, Unit::NanosPerPacket, rounds);
        }
        Ok(())
    }

    /// Lets each flow do what it has done before, and looks whether the balancer then chooses by the rule that
    /// the case is about.
    fn prepare(
        &mut self,
        case: &Case,
        flows: u32,
        wrapper: &mut Wrapper,
        targets: &mut [Target],
    ) -> Result<()> {
        for frame in &case.before {
            for target in targets.iter_mut() {
                wrapper.run(&target.program, frame, &mut target.course, (0, flows, target.code))?;
            }
        }
        if case.code != TX {
            return Ok(());
        }
        let (kernel, state) = self.place.parts();
        let (place, _, rule) =
            traced(kernel, &case.frame).map_err(|outcome| anyhow!("it ends with {outcome:?}"))?;
        ensure!(rule == case.rule, "the rule is {rule:?}");
        state.occupant(place).context("a real")?;
        Ok(())
    }
}

/// Nanoseconds for each packet, undisturbed if that can be had.
fn timed(
    wrapper: &mut Wrapper,
    case: &Case,
    target: &mut Target,
    (untimed, packets): (u32, u32),
) -> Result<f64> {
    let mut least = f64::MAX;
    for _ in 0..TRIES {
        let Target { program, course, code, .. } = target;
        let run = wrapper.run(program, &case.frame, course, (untimed, packets, *code));
        let run = run.with_context(|| target.column)?;
        least = least.min(run.nanos);
        if !run.disturbed {
            break;
        }
    }
    Ok(least)
}

/// What is promised of these figures.
fn measures(section: &Section) -> Vec<Measure> {
    let of = |row: &str, column: &str| section.median(row, column);
    let ratio = |name: &str, above: (&str, &str), below: (&str, &str), target: Option<f64>| {
        let value = of(above.0, above.1)? / of(below.0, below.1)?;
        let measure = Measure::ratio(name, value, Better::Less);
        Some(match target {
            Some(target) => measure.target(target),
            None => measure,
        })
    };
    const ONE: &str = "IPv4 TCP, 1 flow";
    const MILLION: &str = "IPv4 TCP, 1000000 flows";
    const OLDER: &str = "IPv4 moved: older than the move, 1 flow";
    const MANY_OLDER: &str = "IPv4 moved: older than the move, 1000000 flows";
    let (lb, f1, f2) = ("lb", "F1", "F2");
    let rows = [
        ratio("stable path, TCP/IPv4, 1 flow: lb / F1", (ONE, lb), (ONE, f1), Some(1.5)),
        ratio("TCP/IPv4, 1 000 000 flows / 1 flow", (MILLION, lb), (ONE, lb), Some(1.25)),
        ratio("TCP/IPv4, 1 000 000 flows: lb / F2", (MILLION, lb), (MILLION, f2), Some(0.15)),
        ratio("TCP, 1 flow: IPv6 / IPv4", ("IPv6 TCP, 1 flow", lb), (ONE, lb), Some(1.5)),
        ratio("not ours / stable path", ("IPv4 no VIP, 1 flow", lb), (ONE, lb), Some(1.0)),
        ratio(
            "10 000 VIPs / 1 VIP, 100 000 flows",
            ("IPv4 TCP, 10 000 VIPs, 100000 flows", lb),
            ("IPv4 TCP, 1 VIP, 100000 flows", lb),
            Some(1.3),
        ),
        ratio(
            "1 of 10 000 VIPs / 1 VIP, 100 000 flows",
            ("IPv4 TCP, 1 of 10 000 VIPs, 100000 flows", lb),
            ("IPv4 TCP, 1 VIP, 100000 flows", lb),
            None,
        ),
        ratio(
            "10 000 VIPs, 100 000 flows: lb / F1 with rings apart",
            ("IPv4 TCP, 10 000 VIPs, 100000 flows", lb),
            ("IPv4 TCP, 10 000 VIPs, 100000 flows", APART),
            None,
        ),
        ratio("tracked slot, older flow, 1 flow: lb / F2", (OLDER, lb), (OLDER, f2), Some(1.0)),
        ratio(
            "tracked slot, older flows, 1 000 000 flows: lb / F2",
            (MANY_OLDER, lb),
            (MANY_OLDER, f2),
            Some(1.0),
        ),
        ratio(
            "UDP/IPv4, 1 flow: lb / F1",
            ("IPv4 UDP, 1 flow", lb),
            ("IPv4 UDP, 1 flow", f1),
            None,
        ),
        ratio(
            "TCP/IPv6, 1 flow: lb / F1",
            ("IPv6 TCP, 1 flow", lb),
            ("IPv6 TCP, 1 flow", f1),
            None,
        ),
    ];
    rows.into_iter().flatten().collect()
}
