//! `lbctl vip …`.

use std::{net::IpAddr, time::Duration};

use clap::Args;
use jiff::Timestamp;
use lb_user::{
    api::{
        client::{Client, Error},
        types::VipStatus,
    },
    config::change::{NewReal, NewVip, VipOptions, VipPatch},
    model::{Announce, HashMode, Mac, Ports, UdpMode},
};

use crate::{
    Failure, node,
    output::{Output, table},
};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Add a VIP.
    #[command(after_help = "Example:\n  lbctl vip add web --address 192.0.2.10 --port tcp/80 --port tcp/443 \
        --real 10.0.0.11 --real 10.0.0.12,weight=2")]
    Add(Add),
    /// List all VIPs.
    #[command(after_help = "Example:\n  lbctl vip list")]
    List,
    /// Show a VIP with its pool.
    #[command(after_help = "Example:\n  lbctl vip show web")]
    Show {
        /// Its name.
        name: String,
    },
    /// Change a VIP.
    #[command(after_help = "Example:\n  lbctl vip set web --port tcp/80 --port tcp/443 --hash source")]
    Set(Set),
    /// Remove a VIP, and its address if lbd has assigned it.
    #[command(after_help = "Example:\n  lbctl vip del web")]
    Del {
        /// Its name.
        name: String,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    /// A name of your choice: letters, digits, dots, dashes and underscores.
    name: String,
    /// The virtual address.
    #[arg(long)]
    address: IpAddr,
    /// What it serves: tcp/80, udp/53, tcp/*, udp/* or any. May be given several times.
    #[arg(long = "port", required = true)]
    ports: Vec<Ports>,
    /// A real server: IP[,weight=N][,mac=M]. May be given several times.
    #[arg(long = "real", value_name = "IP[,weight=N][,mac=M]", value_parser = parse_real)]
    reals: Vec<NewReal>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Changes {
    /// Another address.
    #[arg(long)]
    address: Option<IpAddr>,
    /// What it serves from now on, instead of what it has served.
    #[arg(long = "port")]
    ports: Vec<Ports>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
pub(crate) struct Set {
    /// Its name.
    name: String,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
struct Options {
    /// Who makes routers find it: arp (lbd) or none (something else).
    #[arg(long)]
    announce: Option<Announce>,
    /// What chooses the real: flow or source.
    #[arg(long)]
    hash: Option<HashMode>,
    /// How long a silent flow is still honoured after a change.
    #[arg(long, value_parser = duration)]
    idle_timeout: Option<String>,
    /// How long a drain lasts at most.
    #[arg(long, value_parser = duration)]
    drain_timeout: Option<String>,
    /// How long unknown UDP flows count as old after a change.
    #[arg(long, value_parser = duration)]
    udp_idle_timeout: Option<String>,
    /// Whether UDP flows keep their real across changes: flow or packet.
    #[arg(long)]
    udp: Option<UdpMode>,
    /// The server that gets everything while no real is usable, or none.
    #[arg(long, value_parser = address_or_none)]
    sorry: Option<String>,
    /// How health is checked: tcp[:PORT], http:[PORT]/PATH, or none.
    #[arg(long, value_name = "KIND[:ARG]")]
    check: Option<String>,
}

impl From<Options> for VipOptions {
    fn from(options: Options) -> Self {
        Self {
            announce: options.announce.map(|word| word.to_string()),
            hash: options.hash.map(|word| word.to_string()),
            idle_timeout: options.idle_timeout,
            drain_timeout: options.drain_timeout,
            udp_idle_timeout: options.udp_idle_timeout,
            udp: options.udp.map(|word| word.to_string()),
            sorry: options.sorry,
            check: options.check,
        }
    }
}

pub(crate) fn run(
    command: Command,
    connect: impl Fn() -> Result<Client, Error>,
    output: &mut Output,
) -> Result<(), Failure> {
    let client = connect()?;
    match command {
        Command::Add(add) => output.done(&client.add_vip(&NewVip {
            name: add.name,
            address: add.address.to_string(),
            ports: words(&add.ports),
            reals: add.reals,
            options: add.options.into(),
        })?),
        Command::List => output.print(&client.vips()?, |vips| list(vips)),
        Command::Show { name } => {
            output.print(&client.vip(&name)?, |vip| node::vip_with_reals(vip, Timestamp::now()))
        }
        Command::Set(Set { name, changes }) => {
            let patch = VipPatch {
                address: changes.address.map(|address| address.to_string()),
                ports: Some(words(&changes.ports)).filter(|ports| !ports.is_empty()),
                options: changes.options.into(),
            };
            output.done(&client.set_vip(&name, &patch)?)
        }
        Command::Del { name } => output.done(&client.remove_vip(&name)?),
    }
}

fn list(vips: &[VipStatus]) -> String {
    let rows = vips.iter().map(|vip| {
        [
            vip.name.clone(),
            vip.address.to_string(),
            vip.ports.join(" "),
            vip.state.clone(),
            vip.reals.len().to_string(),
            vip.packets.to_string(),
            vip.flows.to_string(),
        ]
    });
    table(["VIP", "ADDRESS", "PORTS", "STATE", "REALS", "PACKETS", "FLOWS"], rows)
}

fn words(ports: &[Ports]) -> Vec<String> {
    ports.iter().map(ToString::to_string).collect()
}

/// `IP[,weight=N][,mac=M]`.
fn parse_real(text: &str) -> Result<NewReal, String> {
    let mut parts = text.split(',');
    let address = parts.next().unwrap_or_default();
    let address: IpAddr = address.parse().map_err(|_| format!("\"{address}\" is not an address"))?;
    let mut real = NewReal { address: address.to_string(), ..NewReal::default() };
    for part in parts {
        match part.split_once('=') {
            Some(("weight", value)) => real.weight = Some(parse_weight(value)?),
            Some(("mac", value)) => real.mac = Some(value.parse::<Mac>()?.to_string()),
            Some(("port", _)) => {
                return Err("a real serves the VIP's port: DSR cannot translate ports".to_owned());
            }
            _ => return Err(format!("\"{part}\": write weight=N or mac=M")),
        }
    }
    Ok(real)
}

/// A weight, 0 to 256.
pub(crate) fn parse_weight(text: &str) -> Result<u16, String> {
    let weight = text.parse().ok().filter(|weight| *weight <= lb_common::limits::WEIGHT_MAX);
    weight.ok_or_else(|| format!("\"{text}\" is not a weight; write 0 to {}", lb_common::limits::WEIGHT_MAX))
}

fn duration(text: &str) -> Result<String, String> {
    let checked: Result<Duration, _> = humantime::parse_duration(text);
    checked.map(|_| text.to_owned()).map_err(|error| format!("{error}; write it as 15m or 30s"))
}

fn address_or_none(text: &str) -> Result<String, String> {
    if text == "none" {
        return Ok(text.to_owned());
    }
    let address: Result<IpAddr, _> = text.parse();
    address.map(|address| address.to_string()).map_err(|_| format!("\"{text}\" is not an address, nor none"))
}
