//! How long clients are sent to a real that is dead. Nothing is held to a figure here:
//! `cargo xtask test -- --test failover -- --ignored --nocapture` prints them.

use std::{
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use tests::{
    Capture, Nginx, Rack,
    checked::{at_own, at_vips, lab, start},
    wait,
};

/// How often each death is died.
const ROUNDS: usize = 5;
/// How many clients connect one time after the other.
const CLIENTS: usize = 4;

/// How a real dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// Its server ends, and the kernel refuses connections.
    Server,
    /// Its cable is cut: nothing comes back any more.
    Link,
}

/// What a death cost.
#[derive(Debug)]
struct Cost {
    /// From the death to the last packet of a client to the dead.
    last: Duration,
    /// How many packets of clients went there.
    packets: usize,
}

/// Keeps clients connecting while something is done.
fn under_load<T>(rack: &Rack, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                rack.lab.client().netns().run(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for vip in at_vips(80) {
                            // Whether somebody answers is not asked.
                            let _ = TcpStream::connect_timeout(&vip, Duration::from_millis(20));
                        }
                    }
                    Ok(())
                })
            });
        }
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

/// Looks at what is sent to the second real until the status has said for a while that it is down for both VIPs.
fn watch(rack: &Rack, died: Instant, capture: &mut Capture) -> Result<Cost> {
    let before = capture.count()?;
    let (mut seen, mut last) = (before, died);
    let is_down = AtomicBool::new(false);
    thread::scope(|scope| {
        let status = scope.spawn(|| {
            let down = rack.become_all(&[(2, "down", &[])]);
            // Whatever comes now comes at once.
            thread::sleep(Duration::from_secs(1));
            is_down.store(true, Ordering::Relaxed);
            down
        });
        while !is_down.load(Ordering::Relaxed) {
            let count = capture.count()?;
            if count > seen {
                (seen, last) = (count, Instant::now());
            }
            thread::sleep(Duration::from_millis(1));
        }
        status.join().map_err(|_| anyhow!("the watch panicked"))??;
        Ok(Cost { last: last - died, packets: seen - before })
    })
}

fn page(rack: &Rack) -> Result<Nginx> {
    let real = rack.lab.real(2);
    real.nginx_at(&[at_vips(80), at_own(real, 80)].concat())
}

/// One death, after which the real is made to live again.
fn die(rack: &Rack, server: &mut Option<Nginx>, how: Death) -> Result<Cost> {
    rack.become_all(&[(1, "up", &[]), (2, "up", &[])])?;
    let real = rack.lab.real(2);
    // Not what the balancer itself asks it.
    let filter = format!(
        "inbound and ether dst {} and tcp and not src host 10.0.0.2 and not src host 2001:db8:a::2",
        real.mac()
    );
    let mut capture = rack.lab.balancer_port().capture(&filter)?;
    let link = |state| rack.lab.switch().ip(&format!("link set {} {state}", real.name()));
    under_load(rack, || {
        capture.wait_for(100)?;
        let died = Instant::now();
        match how {
            Death::Server => *server = None,
            Death::Link => drop(link("down")?),
        }
        watch(rack, died, &mut capture)
    })
    .and_then(|cost| {
        match how {
            Death::Server => *server = Some(page(rack)?),
            Death::Link => drop(link("up")?),
        }
        Ok(cost)
    })
}

#[test]
#[ignore = "a measurement"]
fn how_long_clients_are_sent_to_a_real_that_is_dead() -> Result<()> {
    for keys in [
        "interval = \"1s\", fast_interval = \"200ms\", timeout = \"1s\"",
        "interval = \"1s\", fast_interval = \"200ms\", timeout = \"200ms\"",
        "interval = \"200ms\", timeout = \"200ms\"",
    ] {
        let lab = lab(2)?;
        let _one = lab.real(1).nginx_at(&at_vips(80))?;
        let rack = start(lab, &format!("check = {{ type = \"tcp\", {keys} }}\n"))?;
        let mut server = Some(page(&rack)?);
        for how in [Death::Server, Death::Link] {
            let costs = (0..ROUNDS).map(|_| die(&rack, &mut server, how));
            let mut costs =
                costs.collect::<Result<Vec<_>>>().with_context(|| format!("{how:?}"))?;
            costs.sort_by_key(|cost| cost.last);
            let lasts: Vec<_> = costs.iter().map(|cost| cost.last.as_millis()).collect();
            let packets: Vec<_> = costs.iter().map(|cost| cost.packets).collect();
            println!("{keys}, {how:?}: the last packet after {lasts:?} ms, {packets:?} packets");
        }
    }
    Ok(())
}

/// VIPs on one address that are all checked.
const VIPS: usize = 1000;

fn many_vips(address: std::net::IpAddr) -> String {
    let vip = |vip: usize| {
        let head = format!(
            "[[vip]]\nname = \"v{vip}\"\naddress = \"{address}\"\nports = [\"tcp/{}\"]\nannounce = \"none\"\n\
             check = {{ type = \"icmp\", interval = \"2s\" }}\n",
            1000 + vip
        );
        let reals = (1..=3)
            .map(|real| format!("[[vip.real]]\naddress = \"{}\"\n", tests::address::real(real)));
        head + &reals.collect::<String>()
    };
    (0..VIPS).map(vip).collect()
}

/// What the daemon says of how long it took from what was found to the last slot.
fn acted_on(log: &str) -> Vec<Duration> {
    let spans = log.lines().filter_map(|line| line.split_once(" acted on in "));
    spans.filter_map(|(_, span)| parsed(span)).collect()
}

/// As `Debug` writes it.
fn parsed(span: &str) -> Option<Duration> {
    let number = |unit: &str| span.strip_suffix(unit)?.parse::<f64>().ok();
    let seconds = number("ms").map(|ms| ms / 1e3).or_else(|| number("µs").map(|us| us / 1e6));
    seconds.or_else(|| number("s")).map(Duration::from_secs_f64)
}

#[test]
#[ignore = "a measurement"]
fn from_a_verdict_to_the_slots_of_one_of_many_vips() -> Result<()> {
    let vip = tests::address::vip(200);
    let lab = lab(3)?;
    for real in lab.reals() {
        real.set_up_dsr(vip)?;
    }
    let daemon = lab.daemon(&lab.config(&many_vips(vip)))?;
    let rack = Rack { daemon, nginx: Vec::new(), echoes: Vec::new(), lab };
    let all = |count: usize, health: &str| {
        wait::until(health, 4 * wait::PATIENCE, || {
            let status = rack.status()?;
            let vips = status["vips"].as_array().context("vips")?;
            let is_so = |vip: &&serde_json::Value| vip["reals"][1]["health"] == health;
            Ok((vips.iter().filter(is_so).count() == count).then_some(()))
        })
    };
    all(VIPS, "up")?;
    let before = acted_on(&rack.daemon.log()?).len();
    rack.lab.real(2).remove_vip(vip)?;
    all(VIPS, "down")?;
    let mut spans = acted_on(&rack.daemon.log()?).split_off(before);
    spans.sort();
    let (middle, last) = (spans[spans.len() / 2], spans[spans.len() - 1]);
    println!("{} batches of findings, {middle:?} each, {last:?} at most", spans.len());
    Ok(())
}
