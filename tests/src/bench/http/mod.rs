//! HTTP requests through the balancer, beside other balancers in its place.

mod site;
mod usage;
mod wrk;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use self::{
    site::{Balancer, Site},
    usage::Usage,
    wrk::Connections,
};
use super::{
    Options,
    figure::{Better, Measure, Section, Unit, number},
};

/// How long a figure is measured, in seconds, which is what wrk counts in.
const SECONDS: u32 = 2;
const QUICK: u32 = 1;

/// What a round has found of one balancer.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Requests a second.
    rate: f64,
    /// Processor time of the whole machine, in microseconds a request.
    cpu: f64,
}

type Results = BTreeMap<(Connections, Balancer), Vec<Found>>;

/// Measures.
pub fn run(options: &Options) -> Result<Section> {
    let site = Site::new()?;
    let mut results = Results::new();
    if !options.quick {
        // For caches and neighbours.
        let each = |balancer| measure(&site, balancer, Connections::New, QUICK).map(drop);
        Balancer::ALL.into_iter().try_for_each(each)?;
    }
    let seconds = |connections| match connections {
        Connections::New if !options.quick => SECONDS,
        // What lasts is steadier.
        _ => QUICK,
    };
    for round in 0..options.rounds {
        for connections in Connections::ALL {
            // Each is the first in its turn, should that make a difference.
            let order = Balancer::ALL.into_iter().cycle().skip(round % Balancer::ALL.len());
            for balancer in order.take(Balancer::ALL.len()) {
                let found = measure(&site, balancer, connections, seconds(connections))
                    .with_context(|| row(connections, balancer))?;
                results.entry((connections, balancer)).or_default().push(found);
            }
        }
    }
    let program = program(&site, seconds(Connections::New))?;
    Ok(section(&results, program))
}

fn measure(
    site: &Site,
    balancer: Balancer,
    connections: Connections,
    seconds: u32,
) -> Result<Found> {
    let before = Usage::now()?;
    let answered = wrk::run(site.client(), site.place(balancer), connections, seconds)?;
    let used = Usage::now()?.since(before);
    ensure!(answered.requests > 0, "no answers");
    Ok(Found { rate: answered.rate, cpu: used.as_secs_f64() * 1e6 / answered.requests as f64 })
}

/// A note of what the kernel says of the program, beside the difference of two large figures: how often it ran
/// for a request, and for how long. Keeping these accounts costs time itself, hence a run of its own.
fn program(site: &Site, seconds: u32) -> Result<String> {
    let accounts = site.accounts()?;
    let before = accounts.read()?;
    let connections = Connections::New;
    let answered = wrk::run(site.client(), site.place(Balancer::Lb), connections, seconds)?;
    let after = accounts.read()?;
    let of_one = |total: f64| total / answered.requests as f64;
    Ok(format!(
        "The kernel's own accounts (`BPF_ENABLE_STATS`) have lb's program run {} times for a request with a connection \
         of its own, for {} µs together, the reading of two clocks included; the rest of what is lb's in the table is \
         the two more ways through veths, and noise.",
        number(of_one((after.count - before.count) as f64)),
        number(of_one((after.time - before.time).as_secs_f64() * 1e6)),
    ))
}

fn row(connections: Connections, balancer: Balancer) -> String {
    format!("{}: {}", connections.name(), balancer.name())
}

/// Of the columns.
const RATE: &str = "answered";
const CPU: &str = "processors busy for a request";
const SHARE: &str = "of which the balancer's";

fn section(results: &Results, program: String) -> Section {
    let mut section = Section::new("HTTP");
    for connections in Connections::ALL {
        for balancer in Balancer::ALL {
            add(&mut section, results, connections, balancer);
        }
        let rate = |balancer| section.median(&row(connections, balancer), RATE);
        let ratio = |other: Balancer| {
            let value = rate(Balancer::Lb)? / rate(other)?;
            let (connections, other) = (connections.name(), other.name());
            let name = format!("http: requests a second, {connections}, lb / {other}");
            Some(Measure::ratio(name, value, Better::More))
        };
        let others = [Balancer::HaProxy, Balancer::Nginx, Balancer::None];
        let measures: Vec<_> = others.into_iter().filter_map(ratio).collect();
        section.measures.extend(measures);
    }
    section.notes = vec![
        format!(
            "wrk, with {} connections of {} threads, gets an answer of {} bytes of two nginx processes on one real \
             server. All of it — wrk, router, switch, balancer, nginx — shares this machine's cores, which are busy \
             all the time: so requests a second tell what a request costs all of them together.",
            wrk::CONNECTIONS,
            wrk::THREADS,
            site::ANSWER.len()
        ),
        "`lb` is lbd: requests pass it, answers do not. HAProxy (`mode tcp`, two threads) and nginx (`stream`, two \
         processes) are on a machine of the same LAN, without XDP; requests and answers pass them. `direct`: the \
         client asks the real server's own address."
            .into(),
        "Processor time is what /proc/stat counts of the whole machine (user, system, interrupts), so work that the \
         kernel does for somebody else is not missed; the balancer's is the difference to `direct` in the same \
         round. It includes the second way through the switch, and is rough where it is small."
            .into(),
        program,
    ];
    section
}

/// A row.
fn add(section: &mut Section, results: &Results, connections: Connections, balancer: Balancer) {
    let row = row(connections, balancer);
    let all = |balancer| results.get(&(connections, balancer)).into_iter().flatten();
    let rates = all(balancer).map(|found| found.rate).collect();
    section.add(&row, RATE, Unit::Requests, rates);
    let times = all(balancer).map(|found| found.cpu).collect();
    section.add(&row, CPU, Unit::Micros, times);
    if balancer != Balancer::None {
        let pairs = all(balancer).zip(all(Balancer::None));
        let shares = pairs.map(|(with, without)| with.cpu - without.cpu).collect();
        section.add(&row, SHARE, Unit::Micros, shares);
    }
}
