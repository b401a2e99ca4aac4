//! A lab with a service in it: reals set up as a backend must be, nginx and a UDP echo on the VIP, and the
//! daemon that balances them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{Daemon, Lab, LabOptions, Nginx, Output, UdpEcho, address, load::Servers, wait};

/// The rack. Everything ends with it; the daemon first.
pub struct Rack {
    /// The daemon.
    pub daemon: Daemon,
    /// One nginx for each real, in their order.
    pub nginx: Vec<Nginx>,
    /// One echo for each real, in their order; in a rack of both families two.
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

    /// The IPv6 VIP of a rack of both families: 2001:db8:2::10, tcp/80 and udp/53.
    #[must_use]
    pub fn vip6() -> IpAddr {
        address::vip6(10)
    }

    /// Where the pages are, by IPv6.
    #[must_use]
    pub fn web6() -> SocketAddr {
        SocketAddr::new(Self::vip6(), 80)
    }

    /// Where the echo is, by IPv6.
    #[must_use]
    pub fn echo6() -> SocketAddr {
        SocketAddr::new(Self::vip6(), 53)
    }

    /// The VIP "web" over all reals of the lab, in the words of the file.
    #[must_use]
    pub fn vips(reals: u8) -> String {
        text("web", Self::vip(), (1..=reals).map(address::real))
    }

    /// The VIP "web6" over the IPv6 addresses of all reals of the lab, in the words of the file.
    #[must_use]
    pub fn vips6(reals: u8) -> String {
        text("web6", Self::vip6(), (1..=reals).map(address::real6))
    }

    /// A rack whose VIP has this many reals, all of them usable.
    pub fn new(reals: u8) -> Result<Self> {
        let (lab, nginx, echoes) = Self::servers(reals)?;
        let daemon = lab.daemon(&lab.config(&Self::vips(reals)))?;
        let rack = Self { daemon, nginx, echoes, lab };
        rack.usable(usize::from(reals))?;
        Ok(rack)
    }

    /// A rack with the VIPs "web" and "web6", each of which has all of this many reals, all of them
    /// usable.
    pub fn dual(reals: u8) -> Result<Self> {
        let (lab, nginx, echoes) = Self::servers_at(reals, &[Self::vip(), Self::vip6()])?;
        let vips = Self::vips(reals) + "\n" + &Self::vips6(reals);
        let daemon = lab.daemon(&lab.config(&vips))?;
        let rack = Self { daemon, nginx, echoes, lab };
        rack.usable_of("web", usize::from(reals))?;
        rack.usable_of("web6", usize::from(reals))?;
        Ok(rack)
    }

    /// A rack with the VIPs "web" and "web6", each of which has all of this many reals, all of them usable,
    /// and more words of the file in it. Not nginx answers, but the echoes, which end when they are dropped.
    pub fn echoing(reals: u8, words: &str) -> Result<(Self, Servers)> {
        let lab = Lab::new(LabOptions::reals(reals))?;
        let vips = [Self::vip(), Self::vip6()];
        for real in lab.reals() {
            vips.iter().try_for_each(|vip| real.set_up_dsr(*vip))?;
        }
        let servers = Servers::start(&lab, &vips)?;
        let (nginx, echoes) = <_>::default();
        let daemon = lab.daemon(&lab.config(&Self::both(reals, words)))?;
        let rack = Self { daemon, nginx, echoes, lab };
        rack.usable_of("web", usize::from(reals))?;
        rack.usable_of("web6", usize::from(reals))?;
        Ok((rack, servers))
    }

    /// The VIPs "web" and "web6" over all reals of the lab, with more words in both.
    #[must_use]
    pub fn both(reals: u8, words: &str) -> String {
        let vips = Self::vips(reals) + "\n" + &Self::vips6(reals);
        let ports = "\"udp/53\"]\n";
        vips.replace(ports, &format!("{ports}{words}"))
    }

    /// The machines and their servers, and no daemon.
    pub fn servers(reals: u8) -> Result<(Lab, Vec<Nginx>, Vec<UdpEcho>)> {
        Self::servers_at(reals, &[Self::vip()])
    }

    /// The machines and their servers at these VIPs, and no daemon. Each nginx serves its real's own
    /// addresses, too; the echoes are one for each real and VIP, in this order.
    pub fn servers_at(reals: u8, vips: &[IpAddr]) -> Result<(Lab, Vec<Nginx>, Vec<UdpEcho>)> {
        let lab = Lab::new(LabOptions::reals(reals))?;
        let (mut nginx, mut echoes) = (Vec::new(), Vec::new());
        for real in lab.reals() {
            vips.iter().try_for_each(|vip| real.set_up_dsr(*vip))?;
            nginx.push(real.nginx(&[vips, &[real.address(), real.address6()]].concat())?);
            for vip in vips {
                echoes.push(real.udp_echo(*vip, 53)?);
            }
        }
        Ok((lab, nginx, echoes))
    }

    /// Waits until this many reals of the first VIP own slots.
    pub fn usable(&self, reals: usize) -> Result<()> {
        self.wait_for_reals(reals, |_| true)
    }

    /// Waits until this many reals of the VIP with this name own slots.
    pub fn usable_of(&self, name: &str, reals: usize) -> Result<()> {
        self.wait_for_reals(reals, |vip| vip["name"] == name)
    }

    fn wait_for_reals(&self, reals: usize, is_it: impl Fn(&Value) -> bool) -> Result<()> {
        wait::until(&format!("{reals} usable reals"), wait::PATIENCE, || {
            let status = self.status()?;
            let vips = status["vips"].as_array().context("vips")?;
            let vip = vips.iter().find(|vip| is_it(vip)).context("no such VIP")?;
            let shares = vip["reals"].as_array().context("reals")?.iter();
            let usable = shares.filter(|real| real["share"].as_f64() > Some(0.0)).count();
            Ok((usable == reals).then_some(()))
        })
    }

    /// `lbctl -o json status`.
    pub fn status(&self) -> Result<Value> {
        self.daemon.lbctl(&["-o", "json", "status"])?.success()?.json()
    }

    /// A VIP in the status.
    pub fn vip_status(&self, name: &str) -> Result<Value> {
        let mut status = self.status()?;
        let vips = status["vips"].as_array_mut().context("vips")?;
        let vip = vips.iter_mut().find(|vip| vip["name"] == name);
        Ok(vip.with_context(|| format!("no VIP {name}"))?.take())
    }

    /// A real of a VIP in the status, if it is in there.
    pub fn real_status(&self, vip: &str, real: IpAddr) -> Result<Option<Value>> {
        let mut vip = self.vip_status(vip)?;
        let reals = vip["reals"].as_array_mut().context("reals")?;
        let found = reals.iter_mut().find(|entry| entry["address"] == real.to_string());
        Ok(found.map(Value::take))
    }

    /// Waits until the status says so of a real of a VIP; what it says then.
    pub fn real_becomes(
        &self,
        what: &str,
        (vip, real): (&str, IpAddr),
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let what = format!("{vip} {real}: {what}");
        wait::until(&what, wait::PATIENCE, || {
            Ok(self.real_status(vip, real)?.filter(|status| is_so(status)))
        })
    }

    /// Runs `lbctl`, which must succeed.
    pub fn lbctl(&self, words: &[&str]) -> Result<Output> {
        self.daemon.lbctl(words)?.success()
    }

    /// How many of this many connections to "web" each real answered.
    pub fn answers(&self, connections: usize) -> Result<BTreeMap<String, usize>> {
        self.answers_at(Self::web(), connections)
    }

    /// How many of this many connections to a place each real answered.
    pub fn answers_at(
        &self,
        place: SocketAddr,
        connections: usize,
    ) -> Result<BTreeMap<String, usize>> {
        let mut answers = BTreeMap::new();
        for _ in 0..connections {
            *answers.entry(self.lab.client().who_answers(place)?).or_default() += 1;
        }
        Ok(answers)
    }
}

/// A VIP in the words of the file.
fn text(name: &str, address: IpAddr, reals: impl Iterator<Item = IpAddr>) -> String {
    let head = format!(
        "[[vip]]\nname = \"{name}\"\naddress = \"{address}\"\nports = [\"tcp/80\", \"udp/53\"]\n"
    );
    reals.fold(head, |text, real| text + &format!("\n[[vip.real]]\naddress = \"{real}\"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vip_is_told_with_the_reals_of_its_family() {
        assert_eq!(
            Rack::vips6(2),
            r#"[[vip]]
name = "web6"
address = "2001:db8:2::10"
ports = ["tcp/80", "udp/53"]

[[vip.real]]
address = "2001:db8:a::11"

[[vip.real]]
address = "2001:db8:a::12"
"#
        );
        assert!(Rack::vips(1).ends_with("[[vip.real]]\naddress = \"10.0.0.11\"\n"));
    }
}
