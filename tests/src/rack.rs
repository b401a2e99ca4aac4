//! A lab with a service in it: reals set up as a backend must be, nginx and a UDP echo on the VIP, and the
//! daemon that balances them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{Daemon, Lab, LabOptions, Nginx, Output, UdpEcho, address, wait};

/// The rack. Everything ends with it; the daemon first.
pub struct Rack {
    /// The daemon.
    pub daemon: Daemon,
    /// One nginx for each real, in their order.
    pub nginx: Vec<Nginx>,
    /// One echo for each real, in their order.
    pub echoes: Vec<UdpEcho>,
    /// The machines.
    pub lab: Lab,
}

impl Rack {
    /// The VIP: 192.0.2.10, tcp/80 and udp/53.
    #[must_use]
    pub fn vip() -> IpAddr {
        address::vip(10)
    }

    /// Where the pages are.
    #[must_use]
    pub fn web() -> SocketAddr {
        SocketAddr::new(Self::vip(), 80)
    }

    /// Where the echo is.
    #[must_use]
    pub fn echo() -> SocketAddr {
        SocketAddr::new(Self::vip(), 53)
    }

    /// The VIP "web" over all reals of the lab, in the words of the file.
    #[must_use]
    pub fn vips(reals: u8) -> String {
        let head =
            "[[vip]]\nname = \"web\"\naddress = \"192.0.2.10\"\nports = [\"tcp/80\", \"udp/53\"]\n";
        let real = |number| format!("\n[[vip.real]]\naddress = \"{}\"\n", address::real(number));
        (1..=reals).map(real).fold(head.to_owned(), |text, real| text + &real)
    }

    /// A rack whose VIP has this many reals, all of them usable.
    pub fn new(reals: u8) -> Result<Self> {
        let (lab, nginx, echoes) = Self::servers(reals)?;
        let daemon = lab.daemon(&lab.config(&Self::vips(reals)))?;
        let rack = Self { daemon, nginx, echoes, lab };
        rack.usable(usize::from(reals))?;
        Ok(rack)
    }

    /// The machines and their servers, and no daemon.
    pub fn servers(reals: u8) -> Result<(Lab, Vec<Nginx>, Vec<UdpEcho>)> {
        let lab = Lab::new(LabOptions { reals })?;
        let vip = Self::vip();
        let (mut nginx, mut echoes) = (Vec::new(), Vec::new());
        for real in lab.reals() {
            real.set_up_dsr(vip)?;
            nginx.push(real.nginx(&[vip, real.address()])?);
            echoes.push(real.udp_echo(vip, 53)?);
        }
        Ok((lab, nginx, echoes))
    }

    /// Waits until this many reals of the VIP "web" own slots.
    pub fn usable(&self, reals: usize) -> Result<()> {
        wait::until(&format!("{reals} usable reals"), wait::PATIENCE, || {
            let status = self.status()?;
            let shares = status["vips"][0]["reals"].as_array().context("reals")?.iter();
            let usable = shares.filter(|real| real["share"].as_f64() > Some(0.0)).count();
            Ok((usable == reals).then_some(()))
        })
    }

    /// `lbctl -o json status`.
    pub fn status(&self) -> Result<Value> {
        self.daemon.lbctl(&["-o", "json", "status"])?.success()?.json()
    }

    /// Runs `lbctl`, which must succeed.
    pub fn lbctl(&self, words: &[&str]) -> Result<Output> {
        self.daemon.lbctl(words)?.success()
    }

    /// How many of this many connections each real answered.
    pub fn answers(&self, connections: usize) -> Result<BTreeMap<String, usize>> {
        let mut answers = BTreeMap::new();
        for _ in 0..connections {
            *answers.entry(self.lab.client().who_answers(Self::web())?).or_default() += 1;
        }
        Ok(answers)
    }
}
