//! One daemon's life: started, asked, changed, and something fails.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    super::figure::Samples,
    arena::{self, Arena},
    carrier::Carrier,
    memory,
    stage::{self, Shape},
};
use crate::{Daemon, Lab, Port, wait};

/// How often a cable is taken away.
const FAILURES: usize = 3;

/// Longer than a daemon lets pass between two resyncs.
const RESYNC: Duration = Duration::from_millis(10_500);

/// What one life has shown: milliseconds and mebibytes; not a number where that was not looked at.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) ready: f64,
    pub(super) first_packet: f64,
    pub(super) change: f64,
    pub(super) status: f64,
    pub(super) apply: f64,
    pub(super) down: Reaction,
    pub(super) back: Reaction,
    pub(super) again: Reaction,
    pub(super) wait: f64,
    pub(super) resident: f64,
    pub(super) maps: f64,
}

/// How long it takes until the last slot is written, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaction {
    /// Since the kernel has told everybody.
    pub(super) told: f64,
    /// Since the cable was asked to go, or to come.
    pub(super) asked: f64,
}

/// A daemon and what is around it.
pub(super) struct Life<'a> {
    daemon: Daemon,
    lab: Lab,
    shape: &'a Shape,
}

impl<'a> Life<'a> {
    /// Lives a whole life; with `waits`, so long that a resync falls into it.
    pub(super) fn live(shape: &'a Shape, waits: bool) -> Result<Taken> {
        let lab = stage::lab()?;
        let config = lab.balancers()[0].config_on(&["eth0", "eth1"], &shape.text(|_| false)?);
        let (daemon, ready, first_packet) = start(&lab, shape, &config)?;
        let mut life = Self { daemon, lab, shape };
        life.wait_for_reals()?;
        let status = life.timed(&["-o", "json", "status"])?;
        let [down, back, again] = life.fail()?;
        let wait = if waits { life.longest_wait()? } else { f64::NAN };
        let process = life.daemon.process().id();
        let (resident, maps) = (memory::resident(process)?, memory::maps(process)?);
        let change = life.change()?;
        let apply = life.apply()?;
        life.daemon.terminate()?;
        Ok(Taken {
            ready,
            first_packet,
            change,
            status,
            apply,
            down,
            back,
            again,
            wait,
            resident,
            maps,
        })
    }

    /// Milliseconds that a command takes, which must succeed.
    fn timed(&self, words: &[&str]) -> Result<f64> {
        let start = Instant::now();
        self.daemon.lbctl(words)?.success()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    /// Waits until every real owns slots.
    fn wait_for_reals(&self) -> Result<()> {
        wait::until("slots for every real", wait::PATIENCE, || {
            let status = self.daemon.lbctl(&["-o", "json", "status"])?.success()?.stdout;
            Ok((!status.contains("\"share\":0.0,") && !status.contains("\"share\": 0.0,"))
                .then_some(()))
        })
    }

    fn change(&self) -> Result<f64> {
        let vip = self.shape.last();
        let real = self.shape.second(vip).context("a second real")?.to_string();
        self.timed(&["real", "set", &Shape::vip(vip), &real, "--weight", "2"])
    }

    /// Applies a file in which each hundredth VIP has another weight.
    fn apply(&self) -> Result<f64> {
        let last = self.shape.last();
        let text = self.shape.text(|vip| vip % 100 == 0 || vip == last)?;
        let file = self.lab.dir().join("changed.toml");
        fs::write(&file, self.lab.balancers()[0].config_on(&["eth0", "eth1"], &text))?;
        self.timed(&["apply", "-f", &file.to_string_lossy()])
    }

    /// Takes the cable of the second interface away and puts it back: how long it takes until the last slot has
    /// moved, and until the last is as before, each in a ring at rest; and until it has moved again while the
    /// slots that came back are tracked still.
    fn fail(&self) -> Result<[Reaction; 3]> {
        let arena = Arena::of(&self.lab)?;
        let mut cable = Cable::of(&self.lab)?;
        let before = arena.at_rest()?;
        cable.set("down")?;
        let after = arena.at_rest()?;
        let (moves, returns) = (arena::moved(&before, &after), arena::moved(&after, &before));
        ensure!(!moves.is_empty(), "nothing has moved");
        drop((before, after));
        let carrier = Carrier::of(&self.lab)?;
        let mut react = |state: &str, slots: &[(usize, u16)]| -> Result<Reaction> {
            carrier.forget()?;
            let asked = cable.set(state)?;
            let told = carrier.wait(state == "up")?;
            let over = arena.wait(slots)?;
            let since = |begun: Instant| over.saturating_duration_since(begun).as_secs_f64() * 1e3;
            Ok(Reaction { told: since(told), asked: since(asked) })
        };
        let mut reactions = [const { Vec::new() }; 3];
        for _ in 0..FAILURES {
            react("up", &returns)?;
            arena.at_rest()?;
            reactions[0].push(react("down", &moves)?);
            arena.at_rest()?;
            reactions[1].push(react("up", &returns)?);
            reactions[2].push(react("down", &moves)?);
            arena.at_rest()?;
        }
        Ok(reactions.map(middle))
    }

    /// The longest time that the daemon takes for an answer until it has compared everything once.
    fn longest_wait(&self) -> Result<f64> {
        let begun = Instant::now();
        let mut longest = 0.0f64;
        while begun.elapsed() < RESYNC {
            let start = Instant::now();
            let mut socket = UnixStream::connect(self.lab.socket())?;
            let version = lb_user::api::VERSION;
            write!(
                socket,
                "GET /v1/events?last=1 HTTP/1.1\r\nHost: lbd\r\nConnection: close\r\n{}: {version}\r\n\r\n",
                lb_user::api::VERSION_HEADER
            )?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            longest = longest.max(start.elapsed().as_secs_f64() * 1e3);
            thread::sleep(Duration::from_millis(1));
        }
        Ok(longest)
    }
}

fn middle(reactions: Vec<Reaction>) -> Reaction {
    let middle =
        |of: fn(&Reaction) -> f64| Samples::new(reactions.iter().map(of).collect()).median();
    Reaction { told: middle(|reaction| reaction.told), asked: middle(|reaction| reaction.asked) }
}

/// Starts a daemon: milliseconds until it is ready, and until the first packet is forwarded.
fn start(lab: &Lab, shape: &Shape, config: &str) -> Result<(Daemon, f64, f64)> {
    let file = lab.dir().join("lb.toml");
    fs::write(&file, config)?;
    let over = AtomicBool::new(false);
    let server = Port::new(lab.real(1).netns(), "eth0");
    let mut capture = server.capture(&shape.filter())?;
    let begun = Instant::now();
    let mut first = || -> Result<f64> {
        let router = lab.router_lan();
        for port in (1024..60_000).cycle() {
            if capture.count()? > 0 || over.load(Ordering::Relaxed) {
                break;
            }
            router.send(&[shape.syn(lab, port)])?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    thread::scope(|scope| {
        let first = scope.spawn(&mut first);
        let daemon = lab.balancers()[0].daemon_as_installed(&file);
        let ready = begun.elapsed().as_secs_f64() * 1e3;
        if daemon.is_err() {
            over.store(true, Ordering::Relaxed);
        }
        let first = first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((daemon?, ready, first?))
    })
}

/// The far end of the balancer's second interface, and an `ip` that waits for what to do with it: its start is
/// not to be counted.
struct Cable(Child);

impl Cable {
    fn of(lab: &Lab) -> Result<Self> {
        let switch = lab.second_switch().context("a second LAN")?;
        let mut command = switch.command("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self(command.spawn().context("cannot start ip")?))
    }

    /// Takes it away or puts it back; when that was asked for.
    fn set(&mut self, state: &str) -> Result<Instant> {
        let start = Instant::now();
        let input = self.0.stdin.as_mut().context("no stdin")?;
        writeln!(input, "link set balancer {state}")?;
        input.flush()?;
        Ok(start)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // It ends with its input, and nobody needs to know how.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
