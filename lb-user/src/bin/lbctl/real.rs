//! `lbctl real …`.

use std::net::IpAddr;

use clap::Args;
use jiff::Timestamp;
use lb_user::{
    api::client::{Client, Error},
    config::change::{NewReal, RealPatch},
    model::{Mac, RealState},
};

use crate::{Failure, node, output::Output, vip::parse_weight};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Add a real server to a VIP.
    #[command(after_help = "Example:\n  lbctl real add web 10.0.0.13 --weight 2")]
    Add {
        #[command(flatten)]
        of: Of,
        /// Its part of the flows relative to the others', 0 to 256.
        #[arg(long, value_parser = parse_weight)]
        weight: Option<u16>,
        /// Its MAC address, if it is not to be resolved.
        #[arg(long)]
        mac: Option<Mac>,
    },
    /// Change a real server of a VIP.
    #[command(after_help = "Example:\n  lbctl real set web 10.0.0.13 --weight 3")]
    Set {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        changes: Changes,
    },
    /// List the real servers of a VIP, or of all.
    #[command(after_help = "Example:\n  lbctl real list web")]
    List {
        /// The VIP's name.
        vip: Option<String>,
    },
    /// Put a real server into service again.
    #[command(after_help = "Example:\n  lbctl real enable web 10.0.0.13")]
    Enable(Of),
    /// Take a real server out of service at once; its flows go to others.
    #[command(after_help = "Example:\n  lbctl real disable web 10.0.0.13")]
    Disable(Of),
    /// Remove a real server from a VIP. This version removes at once, as with --now.
    #[command(after_help = "Example:\n  lbctl real del web 10.0.0.13 --now")]
    Del {
        #[command(flatten)]
        of: Of,
        /// Do not wait for its flows to end.
        #[arg(long)]
        now: bool,
    },
}

/// A real server of a VIP.
#[derive(Args)]
pub(crate) struct Of {
    /// The VIP's name.
    vip: String,
    /// The real server's address.
    real: IpAddr,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Changes {
    /// Its part of the flows relative to the others', 0 to 256.
    #[arg(long, value_parser = parse_weight, allow_negative_numbers = true)]
    weight: Option<u16>,
    /// Its MAC address, or none to resolve it again.
    #[arg(long, value_parser = mac_or_none)]
    mac: Option<String>,
}

pub(crate) fn run(
    command: Command,
    connect: impl Fn() -> Result<Client, Error>,
    output: &mut Output,
) -> Result<(), Failure> {
    let client = connect()?;
    let state = |of: &Of, state: RealState| {
        let patch = RealPatch { state: Some(state.to_string()), ..RealPatch::default() };
        client.set_real(&of.vip, of.real, &patch)
    };
    match command {
        Command::Add { of, weight, mac } => {
            let mac = mac.map(|mac| mac.to_string());
            let real = NewReal { address: of.real.to_string(), weight, mac };
            output.done(&client.add_real(&of.vip, &real)?)
        }
        Command::Set { of, changes } => {
            let patch = RealPatch { weight: changes.weight, mac: changes.mac, state: None };
            output.done(&client.set_real(&of.vip, of.real, &patch)?)
        }
        Command::List { vip: Some(vip) } => {
            output.print(&client.reals(&vip)?, |reals| node::reals(reals, Timestamp::now()))
        }
        Command::List { vip: None } => output.print(&client.vips()?, |vips| {
            let now = Timestamp::now();
            let parts = vips.iter().map(|vip| format!("{}\n{}", vip.name, node::reals(&vip.reals, now)));
            parts.collect::<Vec<_>>().join("\n\n")
        }),
        Command::Enable(of) => output.done(&state(&of, RealState::Active)?),
        Command::Disable(of) => output.done(&state(&of, RealState::Disabled)?),
        Command::Del { of, now: _ } => output.done(&client.remove_real(&of.vip, of.real)?),
    }
}

fn mac_or_none(text: &str) -> Result<String, String> {
    if text == "none" {
        return Ok(text.to_owned());
    }
    text.parse().map(|mac: Mac| mac.to_string())
}
