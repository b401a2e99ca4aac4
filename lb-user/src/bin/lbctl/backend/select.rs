//! Which VIPs.

use clap::Args;
use lb_user::backend::{Setup, Vip};

use crate::{Session, failure::Failure, value};

/// The VIPs of the daemon that are meant.
#[derive(Debug, Args)]
pub struct Select {
    /// The VIPs
    #[arg(value_name = "VIP", value_parser = value::name)]
    names: Vec<String>,
}

impl Select {
    pub fn setup(&self, session: &mut Session<'_>) -> Result<Setup, Failure> {
        let mut vips = Vec::new();
        for name in &self.names {
            let vip = session.client.vip(name)?;
            vips.push(Vip {
                name: Some(vip.name),
                address: vip.address,
                ports: vip.ports.iter().filter_map(|ports| ports.parse().ok()).collect(),
                reals: vip.reals.iter().map(|real| real.address).collect(),
            });
        }
        Ok(Setup { vips, interfaces: Vec::new(), balancers: Vec::new() })
    }
}

pub fn script(setup: &Setup) -> String {
    let vips: Vec<_> = setup.vips.iter().map(|vip| vip.address.to_string()).collect();
    format!("echo {} \"$@\"\n", vips.join(" "))
}
