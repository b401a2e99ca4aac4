//! The lab with its programs running, and what can be done in it.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context as _, Result};
use tests::{Daemon, Lab, LabOptions, Nginx, Process, Real, address, wait};

use crate::{echo, show, step, tally::Tally};

/// The lab of the demo.
pub const LAB: LabOptions = LabOptions::reals(3);
/// The virtual address.
pub const VIP: IpAddr = address::vip(10);
/// What the balancer calls it.
pub const NAME: &str = "web";

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
            "Lab: client {}, router, balancer {}, and three real servers on its LAN",
            address::CLIENT,
            address::BALANCER
        ));
        step(&format!("Each real server gets {VIP} on lo, then nginx and a UDP echo"));
        for real in lab.reals() {
            real.set_up_dsr(VIP)?;
            show(&format!("{}  {}  {}", real.name(), real.address(), real.mac()));
        }
        let nginx = lab.reals().iter().map(start_nginx).collect::<Result<_>>()?;
        let echoes =
            lab.reals().iter().map(|real| echo::start(real, VIP)).collect::<Result<_>>()?;
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

    /// Waits until exactly these reals have a part of the ring.
    pub fn wait_for_reals(&self, wanted: &[&Real]) -> Result<()> {
        let wanted: Vec<_> = wanted.iter().map(|real| real.address().to_string()).collect();
        let what = format!("service by {}; lbctl status tells more", wanted.join(", "));
        wait::until(&what, wait::PATIENCE, || {
            let status = self.lab.lbctl(&["-o", "json", "status"])?.success()?.json()?;
            let reals = status["vips"][0]["reals"].as_array().cloned().unwrap_or_default();
            let serving = reals.iter().filter(|real| real["share"].as_f64() > Some(0.0));
            let serving: Vec<_> = serving.filter_map(|real| real["address"].as_str()).collect();
            Ok((serving == wanted).then_some(()))
        })
    }

    /// Fetches the page so many times, each in a new connection, every tenth by curl.
    pub fn fetch(&self, pages: usize) -> Tally {
        step(&format!("Client fetches {pages} pages from http://{VIP}/"));
        let tally = Tally::of(pages, |number| {
            if number % 10 == 9 {
                let page = self.lab.client().curl(&format!("http://{VIP}/"), &[])?.success()?;
                Ok(page.stdout.trim_end().to_owned())
            } else {
                self.lab.client().who_answers(SocketAddr::new(VIP, 80))
            }
        });
        show(&tally.to_string());
        tally
    }

    /// Sends so many datagrams, each from a new port.
    pub fn send_datagrams(&self, datagrams: usize) -> Tally {
        step(&format!("Client sends {datagrams} datagrams to udp {VIP}:{}", echo::PORT));
        let tally = Tally::of(datagrams, |_| {
            let to = SocketAddr::new(VIP, echo::PORT);
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

fn start_nginx(real: &Real) -> Result<Nginx> {
    real.nginx(&[VIP, real.address()])
}
