//! `lbctl real …`.

use std::{net::IpAddr, str::FromStr};

use clap::{Args, Subcommand};
use comfy_table::CellAlignment::{Left, Right};
use jiff::Timestamp;
use lb_user::{
    api::types::{DrainStatus, RealStatus, SlowStartStatus, VipStatus},
    config::change::{NewReal, RealPatch},
    model::{Mac, RealState},
};
use serde::Serialize;

use crate::{
    Session, drain,
    failure::Failure,
    output::{age, count, grid, percent, span},
    value,
};

const ADD_EXAMPLES: &str = "\
Examples:
  lbctl real add web 10.0.0.13
  lbctl real add web 10.0.0.14 --weight 2 --mac 02:00:00:00:00:0e";

const SET_EXAMPLES: &str = "\
Examples:
  lbctl real set web 10.0.0.13 --weight 3
  lbctl real set web 10.0.0.13 --mac none";

const LIST_EXAMPLES: &str = "\
With -o json or -o yaml and no VIP, each real has a field `vip` in front of the usual ones.

Examples:
  lbctl real list
  lbctl real list web -o json";

const ENABLE_EXAMPLES: &str = "\
Calls off what `disable`, `drain` and `force-up` have said.

Example:
  lbctl real enable web 10.0.0.13";

const DRAIN_EXAMPLES: &str = "\
It takes no new flows from now on and keeps its open ones until they have ended, or until
the deadline: --timeout, or the VIP's drain timeout. `real enable` calls it off. --wait
shows what is left and ends when nothing is; Ctrl-C ends the waiting, not the drain.

Examples:
  lbctl real drain web 10.0.0.13
  lbctl real drain web 10.0.0.13 --timeout 10m --wait";

const DISABLE_EXAMPLES: &str = "\
Its open connections break.

Example:
  lbctl real disable web 10.0.0.13";

const FORCE_UP_EXAMPLES: &str = "\
It counts as up whatever its checks say, until --release or `real enable`. Its checks go on.

Examples:
  lbctl real force-up web 10.0.0.13
  lbctl real force-up web 10.0.0.13 --release";

const DEL_EXAMPLES: &str = "\
Takes no new flows from now on and is removed when its open ones have ended, or at the
VIP's drain timeout; `lbctl real list` shows it until then. With --now it is removed at
once, and its open connections break.

Examples:
  lbctl real del web 10.0.0.13
  lbctl real del web 10.0.0.13 --now";

/// The real servers in a VIP's pool.
#[derive(Debug, Subcommand)]
pub enum Real {
    /// Adds a real to the pool of a VIP
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Changes the weight or the MAC address of a real
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),
    /// Lists the reals of one VIP, or of all
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// The VIP's name; all when absent
        #[arg(value_parser = value::name)]
        vip: Option<String>,
    },
    /// Lets a real's open flows end and gives it no new ones
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain {
        #[command(flatten)]
        which: Which,
        /// How long it lasts at most, as in 10m; the VIP's drain timeout when absent
        #[arg(long, value_name = "TIME")]
        timeout: Option<String>,
        /// Wait until it is over, and show how far it is
        #[arg(long)]
        wait: bool,
    },
    /// Takes a real into service
    #[command(after_help = ENABLE_EXAMPLES)]
    Enable(Which),
    /// Takes a real out of service at once
    #[command(after_help = DISABLE_EXAMPLES)]
    Disable(Which),
    /// Counts a real as up whatever its checks say
    #[command(after_help = FORCE_UP_EXAMPLES)]
    ForceUp {
        #[command(flatten)]
        which: Which,
        /// Goes by its checks again
        #[arg(long)]
        release: bool,
    },
    /// Removes a real once its open flows have ended
    #[command(after_help = DEL_EXAMPLES)]
    Del {
        #[command(flatten)]
        which: Which,
        /// At once: its open connections break
        #[arg(long)]
        now: bool,
    },
}

/// A real in a pool.
#[derive(Debug, Args)]
pub struct Which {
    /// The VIP's name
    #[arg(value_parser = value::name)]
    vip: String,
    /// The real's address
    #[arg(value_name = "IP", value_parser = value::address)]
    address: IpAddr,
}

/// A real to add.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    which: Which,
    /// Its part of the flows relative to the others', 0 to 256; 1 when absent
    #[arg(long, value_name = "N", value_parser = value::weight)]
    weight: Option<u16>,
    /// Its MAC address; resolved when absent
    #[arg(long, value_name = "M", value_parser = Mac::from_str)]
    mac: Option<Mac>,
}

/// A real to change.
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["weight", "mac"])]
pub struct Set {
    #[command(flatten)]
    which: Which,
    /// Its part of the flows relative to the others', 0 to 256
    #[arg(long, value_name = "N", value_parser = value::weight)]
    weight: Option<u16>,
    /// Its MAC address, or none to resolve it again
    #[arg(long, value_name = "M|none", value_parser = value::mac_or_none)]
    mac: Option<String>,
}

impl Real {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let client = &session.client;
        let done = match self {
            Self::Add(Add { which: Which { vip, address }, weight, mac }) => {
                let mac = mac.map(|mac| mac.to_string());
                client.add_real(&vip, &NewReal { address: address.to_string(), weight, mac })?
            }
            Self::Set(Set { which: Which { vip, address }, weight, mac }) => client.set_real(
                &vip,
                address,
                &RealPatch { weight, mac, ..RealPatch::default() },
            )?,
            Self::List { vip } => return list(session, vip),
            Self::Drain { which: Which { vip, address }, timeout, wait } => {
                let done = client.set_real(
                    &vip,
                    address,
                    &RealPatch { timeout, ..state(RealState::Drain) },
                )?;
                if wait { drain::wait(session, &vip, address)? } else { done }
            }
            Self::Enable(Which { vip, address }) => client.set_real(&vip, address, &enabled())?,
            Self::ForceUp { which: Which { vip, address }, release } => client.set_real(
                &vip,
                address,
                &RealPatch { force_up: Some(!release), ..RealPatch::default() },
            )?,
            Self::Disable(Which { vip, address }) => {
                client.set_real(&vip, address, &state(RealState::Disabled))?
            }
            Self::Del { which: Which { vip, address }, now } => {
                client.delete_real(&vip, address, now)?
            }
        };
        Ok(session.output.done(&done)?)
    }
}

/// Has the real be in this state.
pub fn state(state: RealState) -> RealPatch {
    RealPatch { state: Some(state.to_string()), ..RealPatch::default() }
}

/// Takes the real into service, and calls off what was forced on it.
pub fn enabled() -> RealPatch {
    RealPatch { force_up: Some(false), ..state(RealState::Active) }
}

/// A real with the VIP it serves, where more than one VIP is told of.
#[derive(Serialize)]
pub struct Member<'a> {
    vip: &'a str,
    #[serde(flatten)]
    real: &'a RealStatus,
}

fn list(session: &mut Session<'_>, vip: Option<String>) -> Result<(), Failure> {
    let now = Timestamp::now();
    if let Some(vip) = vip {
        let reals = session.client.reals(&vip)?;
        return Ok(session.output.show(&reals, |reals| pool(reals, now))?);
    }
    let vips = session.client.vips()?;
    Ok(session.output.show(&members(&vips), |members| everyone(members, now))?)
}

/// Why the real is as it is, and what a drain or a slow start still waits for.
pub fn reason(real: &RealStatus) -> String {
    let mut reason = real.reason.clone();
    if let Some(DrainStatus { slots, flows, seconds_left, removes, .. }) = &real.drain {
        let then = if *removes { " until it is removed" } else { "" };
        let left = span(*seconds_left);
        reason.push_str(&format!("; {slots} slots, {flows} flows, {left} left{then}"));
    }
    if let Some(SlowStartStatus { part, seconds_left }) = &real.slow_start {
        let (part, left) = (percent(*part), span(*seconds_left));
        reason.push_str(&format!("; starts slowly: {part} of its part, {left} left"));
    }
    reason
}

pub fn members(vips: &[VipStatus]) -> Vec<Member<'_>> {
    vips.iter()
        .flat_map(|vip| vip.reals.iter().map(|real| Member { vip: &vip.name, real }))
        .collect()
}

pub fn everyone(members: &[Member<'_>], now: Timestamp) -> String {
    if members.is_empty() {
        return "no reals: add one with `lbctl real add`".to_owned();
    }
    let columns = [
        ("VIP", Left),
        ("REAL", Left),
        ("STATE", Left),
        ("HEALTH", Left),
        ("FOR", Right),
        ("WEIGHT", Right),
        ("SHARE", Right),
        ("REASON", Left),
    ];
    grid(
        columns,
        members.iter().map(|Member { vip, real }| {
            [
                (*vip).to_owned(),
                real.address.to_string(),
                real.state.clone(),
                real.health.clone(),
                age(real.since, now),
                real.weight.to_string(),
                percent(real.share),
                reason(real),
            ]
        }),
    )
}

/// The reals of one VIP: what the operator wants of them, how they are, and what they get.
pub fn pool(reals: &[RealStatus], now: Timestamp) -> String {
    if reals.is_empty() {
        return "no reals: add one with `lbctl real add`".to_owned();
    }
    let columns = [
        ("REAL", Left),
        ("STATE", Left),
        ("HEALTH", Left),
        ("FOR", Right),
        ("WEIGHT", Right),
        ("SHARE", Right),
        ("FLOWS", Right),
        ("REASON", Left),
    ];
    grid(
        columns,
        reals.iter().map(|real| {
            [
                real.address.to_string(),
                real.state.clone(),
                real.health.clone(),
                age(real.since, now),
                real.weight.to_string(),
                percent(real.share),
                count(real.flows),
                reason(real),
            ]
        }),
    )
}

/// The same reals: the way to them and what went there.
pub fn traffic(reals: &[RealStatus]) -> String {
    let columns = [
        ("REAL", Left),
        ("MAC", Left),
        ("INTERFACE", Left),
        ("FLOWS", Right),
        ("PACKETS", Right),
        ("BYTES", Right),
    ];
    let known = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
    grid(
        columns,
        reals.iter().map(|real| {
            [
                real.address.to_string(),
                known(&real.mac),
                known(&real.interface),
                count(real.flows),
                count(real.packets),
                count(real.bytes),
            ]
        }),
    )
}
