//! A rack whose reals are checked, and serve what the test wants.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{Lab, LabOptions, Rack, Real, address, wait};

/// Soon enough for tests, and not so soon that a busy machine fails by itself.
pub const FAST: &str = "interval = \"200ms\", timeout = \"200ms\", rise = 2, fall = 2";

/// What the status is to say of a real: its number, its health, and words that are all in the reason.
pub type Expected<'a> = (u8, &'a str, &'a [&'a str]);

/// A lab whose reals have the VIPs "web" and "web6", and no server.
pub fn lab(reals: u8) -> Result<Lab> {
    let lab = Lab::new(LabOptions::reals(reals))?;
    lab.reals()
        .iter()
        .try_for_each(|real| vips().iter().try_for_each(|vip| real.set_up_dsr(*vip)))?;
    Ok(lab)
}

/// The addresses of "web" and "web6".
#[must_use]
pub fn vips() -> [IpAddr; 2] {
    [Rack::vip(), Rack::vip6()]
}

/// A port of both VIPs.
#[must_use]
pub fn at_vips(port: u16) -> [SocketAddr; 2] {
    vips().map(|vip| SocketAddr::new(vip, port))
}

/// A port of a real's own addresses.
#[must_use]
pub fn at_own(real: &Real, port: u16) -> [SocketAddr; 2] {
    [real.address(), real.address6()].map(|address| SocketAddr::new(address, port))
}

/// Both.
#[must_use]
pub fn everywhere(real: &Real, port: u16) -> Vec<SocketAddr> {
    [at_vips(port), at_own(real, port)].concat()
}

/// A check in the words of the file, with these keys beside [`FAST`].
#[must_use]
pub fn check(keys: &str) -> String {
    format!("check = {{ {keys}, {FAST} }}\n")
}

/// Starts the daemon with "web" and "web6" over all reals of the lab, and these words of the file in both.
pub fn start(lab: Lab, words: &str) -> Result<Rack> {
    start_with(lab, "", words)
}

/// The same with more words before the VIPs, which may go on with `[node]`.
pub fn start_with(lab: Lab, node: &str, words: &str) -> Result<Rack> {
    let reals = u8::try_from(lab.reals().len())?;
    let config = lab.config(&(node.to_owned() + &Rack::both(reals, words)));
    let daemon = lab.daemon(&config)?;
    let (nginx, echoes) = <_>::default();
    Ok(Rack { daemon, nginx, echoes, lab })
}

impl Rack {
    /// Waits until the status says this of reals of "web" and "web6".
    pub fn become_all(&self, expected: &[Expected]) -> Result<()> {
        self.vip_becomes("web", address::real, expected)?;
        self.vip_becomes("web6", address::real6, expected)
    }

    fn vip_becomes(
        &self,
        name: &str,
        address: fn(u8) -> IpAddr,
        expected: &[Expected],
    ) -> Result<()> {
        let mut unlike = String::new();
        let awaited = wait::until(&format!("{name}: {expected:?}"), wait::PATIENCE, || {
            let vip = self.vip_status(name)?;
            let differs = expected.iter().find(|expected| {
                !reals(&vip).any(|real| {
                    real["address"] == address(expected.0).to_string() && is_so(real, expected)
                })
            });
            unlike = differs.map_or(String::new(), |(real, ..)| format!("real {real}: {vip:#}"));
            Ok(unlike.is_empty().then_some(()))
        });
        awaited.with_context(|| unlike)
    }
}

fn reals(vip: &Value) -> impl Iterator<Item = &Value> {
    vip["reals"].as_array().into_iter().flatten()
}

fn is_so(real: &Value, (_, health, words): &Expected) -> bool {
    let reason = real["reason"].as_str().unwrap_or_default();
    real["health"] == *health && words.iter().all(|word| reason.contains(word))
}
