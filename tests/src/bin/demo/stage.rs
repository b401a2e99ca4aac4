//! The lab with its programs running, and what can be done in it.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use tests::{Daemon, Lab, LabOptions, Nginx, Output, Process, Real, address, wait};

use crate::{echo, show, step, tally::Tally};

/// The lab of the demo.
pub const LAB: LabOptions = LabOptions::reals(3);
/// The virtual address.
pub const VIP: IpAddr = address::vip(10);
/// What the balancer calls it.
pub const NAME: &str = "web";
/// The IPv6 one.
pub const VIP6: IpAddr = address::vip6(10);
/// What the balancer calls that.
pub const NAME6: &str = "web6";

/// The lab with its programs running. What it was made in decides whether they stay.
pub struct Stage {
    daemon: Daemon,
    nginx: Vec<Nginx>,
    _echoes: Vec<Process>,
    pub lab: Lab,
    pub began: Instant,
}

impl Stage {
    /// Sets the reals up and starts everything; the balancer knows of no VIP yet.
    pub fn set(lab: Lab) -> Result<Self> {
        let began = Instant::now();
        step(&format!(
            "Lab: client {} and {}, router, balancer {}, and three real servers on its LAN",
            address::CLIENT,
            address::CLIENT6,
            address::BALANCER
        ));
        for real in lab.reals() {
            let (name, mac) = (real.name(), real.mac());
            show(&format!("{name}  {}  {}  {mac}", real.address(), real.address6()));
        }
        let script = print_script(&lab)?;
        step("Each real server runs it, then starts nginx and UDP echoes");
        for real in lab.reals() {
            run_script(real, &script, "apply")?;
        }
        let nginx = lab.reals().iter().map(start_nginx).collect::<Result<_>>()?;
        let places = lab.reals().iter().flat_map(|real| [(real, VIP), (real, VIP6)]);
        let echoes = places.map(|(real, vip)| echo::start(real, vip)).collect::<Result<_>>()?;
        for real in lab.reals() {
            run_script(real, &script, "check")?;
        }
        step("lbd starts on the balancer, with a configuration that has no VIP");
        let daemon = lab.daemon(&lab.config(""))?;
        Ok(Self { daemon, nginx, _echoes: echoes, lab, began })
    }

    /// Runs `lbctl`, which must succeed, and shows the command and the answer.
    pub fn lbctl(&self, words: &[&str]) -> Result<()> {
        show(&format!("$ lbctl {}", words.join(" ")));
        let output = self.lab.lbctl(words)?.success().context("lbctl")?;
        show(&output.stdout);
        Ok(())
    }

    /// Runs an `lbctl` that finds something, which is no success, and shows it.
    pub fn lbctl_finds(&self, words: &[&str]) -> Result<String> {
        show(&format!("$ lbctl {}", words.join(" ")));
        let output = self.lab.lbctl(words)?;
        ensure!(output.code == 1, "lbctl found nothing: {output:?}");
        show(&output.stdout);
        Ok(output.stdout)
    }

    /// Waits until exactly these addresses have a part of the ring of this VIP.
    pub fn wait_for(&self, name: &str, wanted: &[IpAddr]) -> Result<()> {
        let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
        let what = format!("service by {}; lbctl status tells more", wanted.join(", "));
        wait::until(&what, wait::PATIENCE, || {
            let status = self.lab.lbctl(&["-o", "json", "status"])?.success()?.json()?;
            let vip = status["vips"]
                .as_array()
                .and_then(|vips| vips.iter().find(|vip| vip["name"] == *name));
            let reals = vip.and_then(|vip| vip["reals"].as_array()).cloned().unwrap_or_default();
            let serving = reals.iter().filter(|real| real["share"].as_f64() > Some(0.0));
            let serving: Vec<_> = serving.filter_map(|real| real["address"].as_str()).collect();
            Ok((serving == wanted).then_some(()))
        })
    }

    /// Fetches the page so many times, each in a new connection, every tenth by curl.
    pub fn fetch(&self, vip: IpAddr, pages: usize) -> Tally {
        let place = SocketAddr::new(vip, 80);
        step(&format!("Client fetches {pages} pages from http://{place}/"));
        let tally = Tally::of(pages, |number| {
            if number % 10 == 9 {
                let page = self.lab.client().curl(&format!("http://{place}/"), &[])?.success()?;
                Ok(page.stdout.trim_end().to_owned())
            } else {
                self.lab.client().who_answers(place)
            }
        });
        show(&tally.to_string());
        tally
    }

    /// Sends so many datagrams, each from a new port.
    pub fn send_datagrams(&self, vip: IpAddr, datagrams: usize) -> Tally {
        let to = SocketAddr::new(vip, echo::PORT);
        step(&format!("Client sends {datagrams} datagrams to udp {to}"));
        let tally = Tally::of(datagrams, |_| {
            let answer = String::from_utf8(self.lab.client().udp_exchange(to, b"ping")?)?;
            let name = answer.strip_suffix(" ping").context("not an echo")?;
            Ok(name.to_owned())
        });
        show(&tally.to_string());
        tally
    }

    /// Kills the nginx of the real with this number, from 1.
    pub fn kill_nginx(&mut self, real: usize) -> Result<()> {
        self.nginx[real - 1].process().kill()
    }

    /// Starts the nginx of that real anew.
    pub fn restart_nginx(&mut self, real: usize) -> Result<()> {
        self.nginx[real - 1] = start_nginx(self.lab.real(real))?;
        Ok(())
    }

    /// The daemon.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// What the daemon logged, which tells nothing to whom everything went well: its guard prints
    /// at the end what there is of it.
    pub fn forget_log(&self) -> Result<()> {
        Ok(fs::remove_file(self.log_file())?)
    }

    /// Where the daemon logs.
    pub fn log_file(&self) -> PathBuf {
        self.lab.dir().join("lbd.log")
    }
}

/// The script that makes machines real servers, as no daemon runs yet.
fn print_script(lab: &Lab) -> Result<PathBuf> {
    let words =
        format!("backend script --vip {VIP} --vip {VIP6} --port tcp/80 --port udp/{}", echo::PORT);
    step(
        "lbctl prints the script that sets real servers up: kernel parameters, then the VIPs on lo",
    );
    show(&format!("$ lbctl {words} > lb-backend.sh"));
    let output = lab.lbctl(&words.split(' ').collect::<Vec<_>>())?.success()?;
    let script = lab.dir().join("lb-backend.sh");
    fs::write(&script, output.stdout)?;
    Ok(script)
}

/// Runs it, and shows what it says on the first real. These share the file systems of this machine, so
/// what the script records has a place of its own.
fn run_script(real: &Real, script: &Path, word: &str) -> Result<()> {
    let own = |what: &str| script.with_file_name(format!("{}.{what}", real.name()));
    let mut command = real.netns().command("sh");
    command.arg(script).arg(word);
    command.env("LB_BACKEND_DIR", own("backend")).env("LB_BACKEND_PINS", own("pins"));
    let said = Output::of(&mut command)?.success()?.stdout;
    if real.name() == "real1" {
        show(&format!("{}$ sh lb-backend.sh {word}\n{said}", real.name()));
    }
    Ok(())
}

fn start_nginx(real: &Real) -> Result<Nginx> {
    real.nginx(&[VIP, VIP6, real.address()])
}
