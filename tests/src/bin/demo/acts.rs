//! What the demo shows, act by act.

use std::{fmt, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use tests::{Counters, Output, Port, Real, nginx::LARGE};

use crate::{
    connection::Connection,
    show,
    stage::{NAME, NAME6, Stage, VIP, VIP6},
    step,
    tally::Tally,
};

/// How many pages are fetched at a time.
const PAGES: usize = 60;
/// The real that is taken away.
const AWAY: usize = 2;

/// What came of the acts.
#[derive(Default)]
struct Review {
    total: Tally,
    /// What was not as it should be.
    faults: Vec<String>,
}

impl Review {
    fn expect(&mut self, so: bool, else_say: &str) {
        if !so {
            show(&format!("WRONG: {else_say}"));
            self.faults.push(else_say.to_owned());
        }
    }

    fn add(&mut self, tally: &Tally, reals: usize) {
        self.total += tally;
        let made = tally.made();
        self.expect(tally.served() == made, &format!("only {} of {made} served", tally.served()));
        let saying = format!("{} reals served, {reals} should have", tally.reals());
        self.expect(tally.reals() == reals, &saying);
    }
}

/// All acts, and what is to be said of them.
pub fn play(stage: &mut Stage) -> Verdict {
    let mut review = Review::default();
    if let Err(error) = acts(stage, &mut review) {
        let text = format!("{error:#}");
        review.faults.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Verdict::on(stage, &review)
}

fn acts(stage: &mut Stage, review: &mut Review) -> Result<()> {
    add_vip(stage, NAME, VIP, Real::address)?;
    add_vip(stage, NAME6, VIP6, Real::address6)?;
    serve(stage, review)?;
    serve_ipv6(stage, review)?;
    look(stage)?;
    drain_a_real(stage, review)?;
    find_a_black_hole(stage, review)?;
    lose_a_real(stage, review)?;
    lose_the_daemon(stage, review)
}

fn add_vip(stage: &Stage, name: &str, vip: IpAddr, of: fn(&Real) -> IpAddr) -> Result<()> {
    step(&format!("The balancer is told to serve {vip} by the three"));
    let addresses: Vec<IpAddr> = stage.lab.reals().iter().map(of).collect();
    let (vip, reals) =
        (vip.to_string(), addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
    let mut words =
        vec!["vip", "add", name, "--address", &vip, "--port", "tcp/80", "--port", "udp/7"];
    words.extend(["--check", "http:80/"]);
    words.extend(reals.iter().flat_map(|real| ["--real", real]));
    stage.lbctl(&words)?;
    stage.wait_for(name, &addresses)
}

fn all_serve(stage: &Stage) -> Result<()> {
    stage.wait_for(NAME, &stage.lab.reals().iter().map(Real::address).collect::<Vec<_>>())
}

/// The same over IPv6, where the balancer's port sees no answer either.
fn serve_ipv6(stage: &Stage, review: &mut Review) -> Result<()> {
    let mut answers =
        stage.lab.balancer_port().capture(&format!("ip6 src {VIP6} and (tcp or udp)"))?;
    review.add(&stage.fetch(VIP6, PAGES), 3);
    review.add(&stage.send_datagrams(VIP6, PAGES / 2), 3);
    review.expect(answers.count()? == 0, "answers over IPv6 passed through the balancer");
    Ok(())
}

/// Pages, datagrams and large files; what crossed the balancer meanwhile, and what did not.
fn serve(stage: &Stage, review: &mut Review) -> Result<()> {
    let client = Port::new(stage.lab.client().netns(), "eth0");
    let balancer = stage.lab.balancer_port();
    let mut answers = balancer.capture(&format!("ip src {VIP}"))?;
    let before = (client.counters()?, balancer.counters()?);

    let pages = stage.fetch(VIP, PAGES);
    review.add(&pages, 3);
    let datagrams = stage.send_datagrams(VIP, PAGES / 2);
    review.add(&datagrams, 3);
    download(stage)?;

    let (client, balancer) = (client.counters()? - before.0, balancer.counters()? - before.1);
    let returned = answers.frames()?.len();
    show_bytes(client, balancer, returned);
    review.expect(returned == 0, "answers passed through the balancer");
    review.expect(entered(balancer) < client.rx_bytes / 2, "the answers are not larger");
    Ok(())
}

/// Twice, as two flows are likely two reals.
fn download(stage: &Stage) -> Result<()> {
    step(&format!("Client downloads {} twice from http://{VIP}/large", mega(LARGE)));
    for _ in 0..2 {
        let write = "%{size_download} %{time_total} %header{x-real}";
        let arguments = ["-o", "/dev/null", "-w", write];
        let output = stage.lab.client().curl(&format!("http://{VIP}/large"), &arguments)?;
        let output = output.success().context("the download")?.stdout;
        let (size, rest) = output.split_once(' ').context("curl is older than 7.84")?;
        ensure!(size == LARGE.to_string(), "{size} of {LARGE} bytes arrived");
        let (seconds, real) = rest.split_once(' ').unwrap_or((rest, ""));
        show(&format!("{} in {seconds} s from {real}", mega(LARGE)));
    }
    Ok(())
}

fn show_bytes(client: Counters, balancer: Counters, returned: usize) {
    step("Where the bytes went (counters of the client's card and of the switch's port)");
    show(&format!(
        "into the balancer    {:>9} in {:>7} frames\n\
         out of the balancer  {:>9} in {:>7} frames\n\
         to the client        {:>9} in {:>7} frames, past the balancer\n\
         frames from {VIP} at the balancer's port: {returned}",
        mega(entered(balancer)),
        balancer.tx_packets,
        mega(balancer.rx_bytes),
        balancer.rx_packets,
        mega(client.rx_bytes),
        client.rx_packets,
    ));
}

/// The bytes that entered the balancer. A veth counts what its peer's XDP program takes without the
/// Ethernet header, and everything else with it.
fn entered(port: Counters) -> u64 {
    const ETHERNET: u64 = 14;
    port.tx_bytes + port.tx_packets * ETHERNET
}

fn mega(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// What the balancer tells about itself.
fn look(stage: &Stage) -> Result<()> {
    step("What the balancer tells");
    stage.lbctl(&["status"])?;
    let to = format!("{VIP}:80");
    stage.lbctl(&["trace", "--src", "198.51.100.7:40000", "--dst", &to])
}

/// Twelve connections, each used once.
fn connect(stage: &Stage) -> Result<Vec<Connection>> {
    step("Client opens 12 connections, and asks for a page on each");
    let connections = (0..12).map(|_| Connection::open(stage)).collect::<Result<Vec<_>>>()?;
    show(&Tally::of(connections.len(), |number| Ok(connections[number].real.clone())).to_string());
    Ok(connections)
}

/// A real is to be rebooted: what is open stays, what is new goes to the others.
fn drain_a_real(stage: &mut Stage, review: &mut Review) -> Result<()> {
    let (name, address) =
        (stage.lab.real(AWAY).name().to_owned(), stage.lab.real(AWAY).address().to_string());
    let mut connections = connect(stage)?;

    step(&format!("{name} is drained"));
    stage.lbctl(&["real", "drain", NAME, &address])?;
    stage.wait_for(NAME, &[stage.lab.real(1).address(), stage.lab.real(3).address()])?;
    review.add(&stage.fetch(VIP, PAGES), 2);

    step("Client asks again on all of its 12 connections");
    let kept = connections.iter_mut().filter_map(|open| open.ask().ok()).count();
    show(&format!("{kept} are still served, each by its real"));
    review.expect(kept == connections.len(), "connections broke while a real was drained");

    step(&format!("{name} takes new connections again"));
    stage.lbctl(&["real", "enable", NAME, &address])?;
    all_serve(stage)
}

/// A real that has lost the VIP still answers at its own address, where most checks ask: its clients would
/// wait in vain.
fn find_a_black_hole(stage: &mut Stage, review: &mut Review) -> Result<()> {
    let real = stage.lab.real(AWAY);
    let (name, address) = (real.name().to_owned(), real.address());
    step(&format!("{name} loses {VIP} from lo, as by a reboot; at {address} it still answers"));
    real.remove_vip(VIP)?;
    let mut curl = stage.lab.balancer().command("curl");
    let page = Output::of(curl.args(["-sS", "--max-time", "5", &format!("http://{address}/")]))?;
    show(&format!("$ curl http://{address}/\n{}", page.success()?.stdout));
    stage.wait_for(NAME, &[stage.lab.real(1).address(), stage.lab.real(3).address()])?;
    stage.lbctl(&["real", "list", NAME])?;
    review.add(&stage.fetch(VIP, PAGES), 2);

    step("The doctor is asked");
    let found = stage.lbctl_finds(&["doctor", NAME])?;
    review.expect(found.contains("vip_missing"), "the doctor did not find that the VIP is missing");

    step(&format!("{name} has {VIP} on lo again"));
    stage.lab.real(AWAY).add_vip(VIP)?;
    all_serve(stage)?;
    review.add(&stage.fetch(VIP, PAGES), 3);
    Ok(())
}

/// A real goes and comes back. Others' connections notice nothing.
fn lose_a_real(stage: &mut Stage, review: &mut Review) -> Result<()> {
    let (name, address) =
        (stage.lab.real(AWAY).name().to_owned(), stage.lab.real(AWAY).address().to_string());
    let connections = connect(stage)?;
    let mut others: Vec<_> =
        connections.into_iter().filter(|connection| connection.real != name).collect();

    step(&format!("{name} is taken out of service, and its nginx killed"));
    stage.lbctl(&["real", "disable", NAME, &address])?;
    stage.wait_for(NAME, &[stage.lab.real(1).address(), stage.lab.real(3).address()])?;
    stage.kill_nginx(AWAY)?;
    review.add(&stage.fetch(VIP, PAGES), 2);

    step(&format!("Client asks again on its {} connections to the others", others.len()));
    let open = others.len();
    let kept = others.iter_mut().filter_map(|other| other.ask().ok()).count();
    show(&format!("{kept} of {open} are still served, each by its real"));
    review.expect(kept == open, "connections to other reals broke");

    step(&format!("{name} comes back"));
    stage.restart_nginx(AWAY)?;
    stage.lbctl(&["real", "enable", NAME, &address])?;
    all_serve(stage)?;
    review.add(&stage.fetch(VIP, PAGES), 3);
    Ok(())
}

/// The daemon is killed, and started again: the kernel goes on with what it was told.
fn lose_the_daemon(stage: &mut Stage, review: &mut Review) -> Result<()> {
    step("lbd is killed (kill -9)");
    stage.daemon().kill9()?;
    review.add(&stage.fetch(VIP, PAGES), 3);
    step("lbd is started again, and takes over what it finds");
    stage.daemon().restart()?;
    all_serve(stage)?;
    review.add(&stage.fetch(VIP, PAGES), 3);
    Ok(())
}

/// The last word.
pub struct Verdict {
    /// Whether all was as it should be.
    pub good: bool,
    text: String,
}

impl Verdict {
    fn on(stage: &Stage, Review { total, faults }: &Review) -> Self {
        let seconds = stage.began.elapsed().as_secs_f32();
        let served = format!("{} of {} requests served", total.served(), total.made());
        let served = format!("{served} by {} reals in {seconds:.1} s", total.reals());
        let good = faults.is_empty();
        let text = if good {
            format!("{served}, also without one real and without lbd: the balancer works.")
        } else {
            format!("{served}, but: {}", faults.join("; "))
        };
        Self { good, text }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verdict: {}", self.text)
    }
}
