//! `lbctl vip …`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use comfy_table::CellAlignment::{Left, Right};
use jiff::Timestamp;
use lb_user::{
    api::types::VipStatus,
    config::change::{NewReal, NewVip, VipOptions, VipPatch},
    model::{Announce, HashMode, OnDeadline, Ports, UdpMode, VipState},
};

use crate::{
    Session,
    failure::Failure,
    output::{count, grid},
    real, value,
};

const ADD_EXAMPLES: &str = "\
Examples:
  lbctl vip add web --address 192.0.2.10 --port tcp/80 --port tcp/443 \\
      --real 10.0.0.11 --real 10.0.0.12,weight=2 --check http:80/healthz
  lbctl vip add dns --address 192.0.2.53 --port udp/53 --port tcp/53 --udp packet";

const LIST_EXAMPLES: &str = "\
REALS counts those that own a part of the ring, of all in the pool.

Examples:
  lbctl vip list
  lbctl vip list -o yaml";

const SHOW_EXAMPLES: &str = "\
Example:
  lbctl vip show web";

const SET_EXAMPLES: &str = "\
Changes what is named and keeps the rest; --port and --check replace the whole list.

Examples:
  lbctl vip set web --check tcp:80 --drain-timeout 30m
  lbctl vip set web --check http:/healthz --check icmp --min-up 50%
  lbctl vip set web --port tcp/80 --port tcp/443
  lbctl vip set web --slow-start 30s --on-deadline reset
  lbctl vip set web --sorry none";

const ENABLE_EXAMPLES: &str = "\
Example:
  lbctl vip enable web";

const DISABLE_EXAMPLES: &str = "\
New connections are dropped; open ones go on, and its address is still announced for them.

Example:
  lbctl vip disable web";

const DEL_EXAMPLES: &str = "\
Removes the VIP with its pool at once; its open connections break.

Example:
  lbctl vip del web";

/// Virtual addresses with their ports and pools.
#[derive(Debug, Subcommand)]
pub enum Vip {
    /// Adds a VIP
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Lists the VIPs
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Shows a VIP with its pool
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its name
        #[arg(value_parser = value::name)]
        name: String,
    },
    /// Changes a VIP
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),
    /// Puts a VIP into service again
    #[command(after_help = ENABLE_EXAMPLES)]
    Enable {
        /// Its name
        #[arg(value_parser = value::name)]
        name: String,
    },
    /// Takes a VIP out of service
    #[command(after_help = DISABLE_EXAMPLES)]
    Disable {
        /// Its name
        #[arg(value_parser = value::name)]
        name: String,
    },
    /// Removes a VIP
    #[command(after_help = DEL_EXAMPLES)]
    Del {
        /// Its name
        #[arg(value_parser = value::name)]
        name: String,
    },
}

/// A VIP to add.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name, unique
    #[arg(value_parser = value::name)]
    name: String,
    /// The virtual address
    #[arg(long, value_name = "IP", value_parser = value::address)]
    address: IpAddr,
    /// What it serves: tcp/80, udp/53, tcp/*, udp/* or any (repeatable)
    #[arg(long = "port", value_name = "PORT", required = true)]
    ports: Vec<Ports>,
    /// A real server of its pool (repeatable)
    #[arg(long = "real", value_name = "IP[,weight=N][,mac=M]", value_parser = value::real)]
    reals: Vec<NewReal>,
    #[command(flatten)]
    options: Options,
}

/// A VIP to change.
#[derive(Debug, Args)]
#[group(
    id = "change",
    required = true,
    multiple = true,
    args = [
        "address", "ports", "announce", "hash", "sorry", "check", "min_up", "min_up_high",
        "panic_threshold", "idle_timeout", "drain_timeout", "on_deadline", "udp_idle_timeout", "udp",
        "slow_start",
    ]
)]
pub struct Set {
    /// Its name
    #[arg(value_parser = value::name)]
    name: String,
    /// Another virtual address
    #[arg(long, value_name = "IP", value_parser = value::address)]
    address: Option<IpAddr>,
    /// What it serves from now on: tcp/80, udp/53, tcp/*, udp/* or any (repeatable)
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<Ports>,
    #[command(flatten)]
    options: Options,
}

/// What can be given when a VIP is added, and set later.
#[derive(Debug, Args)]
struct Options {
    /// Who makes routers find it: lbd by ARP or Neighbour Discovery, or something else
    #[arg(long, value_name = "arp|none")]
    announce: Option<Announce>,
    /// What of a packet chooses the real: the whole flow, or the client's address
    #[arg(long, value_name = "flow|source")]
    hash: Option<HashMode>,
    /// Takes new flows while no real is up
    #[arg(long, value_name = "IP|none", value_parser = value::address_or_none)]
    sorry: Option<String>,
    /// How health is checked: tcp[:PORT], syn[:PORT], http[s][:[PORT][/PATH]], icmp, dns:NAME,
    /// grpc[:[PORT][/SERVICE]], exec:/PROGRAM (repeatable: all must pass) or none; more in the file
    #[arg(long, value_name = "KIND[:ARG]")]
    check: Vec<String>,
    /// How many reals must be up, or the VIP is down and not announced, as in 2 or 50%
    #[arg(long, value_name = "N|P%|none", value_parser = value::amount_or_none)]
    min_up: Option<String>,
    /// With how many it is up again; as many as --min-up when absent
    #[arg(long, value_name = "N|P%|none", value_parser = value::amount_or_none)]
    min_up_high: Option<String>,
    /// With fewer reals up than this share, all that can be reached are used
    #[arg(long, value_name = "P%|none", value_parser = value::share_or_none)]
    panic_threshold: Option<String>,
    /// How long a silent flow is still honoured after a change, as in 15m
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<String>,
    /// How long a drain lasts at most, as in 1h
    #[arg(long, value_name = "TIME")]
    drain_timeout: Option<String>,
    /// What becomes of flows that are open at a drain's deadline: others get them, or lbd resets them
    #[arg(long, value_name = "rehash|reset")]
    on_deadline: Option<OnDeadline>,
    /// How long unknown UDP flows count as old after a change, as in 30s
    #[arg(long, value_name = "TIME")]
    udp_idle_timeout: Option<String>,
    /// Whether UDP flows keep their real across changes, or every packet is for itself
    #[arg(long, value_name = "flow|packet")]
    udp: Option<UdpMode>,
    /// How long a real that comes into service takes to get its whole part of the new flows, as in 30s
    #[arg(long, value_name = "TIME|none")]
    slow_start: Option<String>,
}

impl From<Options> for VipOptions {
    fn from(options: Options) -> Self {
        Self {
            announce: options.announce.map(|word| word.to_string()),
            hash: options.hash.map(|word| word.to_string()),
            idle_timeout: options.idle_timeout,
            drain_timeout: options.drain_timeout,
            on_deadline: options.on_deadline.map(|word| word.to_string()),
            udp_idle_timeout: options.udp_idle_timeout,
            udp: options.udp.map(|word| word.to_string()),
            slow_start: options.slow_start,
            sorry: options.sorry,
            state: None,
            min_up: options.min_up,
            min_up_high: options.min_up_high,
            panic_threshold: options.panic_threshold,
            check: Some(options.check).filter(|check| !check.is_empty()),
        }
    }
}

impl From<Add> for NewVip {
    fn from(add: Add) -> Self {
        Self {
            name: add.name,
            address: add.address.to_string(),
            ports: words(&add.ports),
            reals: add.reals,
            options: add.options.into(),
        }
    }
}

impl Vip {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let client = &session.client;
        let done = match self {
            Self::Add(add) => client.add_vip(&add.into())?,
            Self::List => {
                let vips = client.vips()?;
                return Ok(session.output.show(&vips, |vips| list(vips))?);
            }
            Self::Show { name } => {
                let vip = client.vip(&name)?;
                return Ok(session.output.show(&vip, |vip| show(vip, Timestamp::now()))?);
            }
            Self::Set(Set { name, address, ports, options }) => {
                let ports = Some(words(&ports)).filter(|ports| !ports.is_empty());
                let address = address.map(|address| address.to_string());
                client.set_vip(&name, &VipPatch { address, ports, options: options.into() })?
            }
            Self::Enable { name } => client.set_vip(&name, &in_state(VipState::Enabled))?,
            Self::Disable { name } => client.set_vip(&name, &in_state(VipState::Disabled))?,
            Self::Del { name } => client.delete_vip(&name)?,
        };
        Ok(session.output.done(&done)?)
    }
}

fn in_state(state: VipState) -> VipPatch {
    let options = VipOptions { state: Some(state.to_string()), ..VipOptions::default() };
    VipPatch { options, ..VipPatch::default() }
}

fn words(ports: &[Ports]) -> Vec<String> {
    ports.iter().map(Ports::to_string).collect()
}

/// The state with the reason for it, where there is one.
pub fn state(vip: &VipStatus) -> String {
    if vip.reason.is_empty() { vip.state.clone() } else { format!("{}: {}", vip.state, vip.reason) }
}

pub fn list(vips: &[VipStatus]) -> String {
    if vips.is_empty() {
        return "no VIPs: add one with `lbctl vip add`".to_owned();
    }
    let columns = [
        ("NAME", Left),
        ("ADDRESS", Left),
        ("PORTS", Left),
        ("REALS", Right),
        ("FLOWS", Right),
        ("PACKETS", Right),
        ("BYTES", Right),
        ("STATE", Left),
    ];
    grid(
        columns,
        vips.iter().map(|vip| {
            let serving = vip.reals.iter().filter(|real| real.share > 0.0).count();
            [
                vip.name.clone(),
                vip.address.to_string(),
                vip.ports.join(" "),
                format!("{serving}/{}", vip.reals.len()),
                count(vip.flows),
                count(vip.packets),
                count(vip.bytes),
                state(vip),
            ]
        }),
    )
}

/// What is checked, and what follows from how many are up.
fn checks(vip: &VipStatus) -> String {
    let mut words = match vip.checks.as_slice() {
        [] => "none".to_owned(),
        checks => checks.join(", "),
    };
    if let Some(low) = &vip.min_up {
        let high = vip.min_up_high.as_ref().unwrap_or(low);
        words.push_str(&format!("; at least {low} up, again with {high}"));
    }
    if let Some(share) = &vip.panic_threshold {
        words.push_str(&format!("; below {share} up all are used"));
    }
    words
}

pub fn show(vip: &VipStatus, now: Timestamp) -> String {
    let announced = if vip.announced { "announced" } else { "not announced by lbd" };
    let sorry = vip.sorry.map_or_else(|| "none".to_owned(), |sorry| sorry.to_string());
    let starts = vip
        .slow_start
        .as_ref()
        .map_or_else(|| "at once".to_owned(), |time| format!("slowly, within {time}"));
    let lines = [
        ("name", vip.name.clone()),
        ("address", vip.address.to_string()),
        ("ports", vip.ports.join(" ")),
        ("state", state(vip)),
        ("announce", format!("{} ({announced})", vip.announce)),
        ("hash", vip.hash.clone()),
        (
            "timeouts",
            format!(
                "idle {}, drain {} (then {}), udp idle {}",
                vip.idle_timeout, vip.drain_timeout, vip.on_deadline, vip.udp_idle_timeout
            ),
        ),
        ("udp", vip.udp.clone()),
        ("checks", checks(vip)),
        ("starts", starts),
        ("sorry", sorry),
        ("ring", format!("{} slots, {} with a previous owner", vip.ring, vip.tracked_slots)),
        (
            "traffic",
            format!(
                "{} flows, {} packets, {} bytes",
                count(vip.flows),
                count(vip.packets),
                count(vip.bytes)
            ),
        ),
    ];
    let mut text: String = lines.iter().map(|(key, value)| format!("{key:<10}{value}\n")).collect();
    text.push_str(&format!("\n{}\n", real::pool(&vip.reals, now)));
    if !vip.reals.is_empty() {
        text.push_str(&format!("\n{}\n", real::traffic(&vip.reals)));
    }
    text
}
