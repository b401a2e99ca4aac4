//! `lbctl flows`.

use std::net::IpAddr;

use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use lb_user::api::types::{self, FlowsQuery, TableStatus};

use crate::{
    Session,
    failure::Failure,
    output::{grid, span},
    value,
};

const EXAMPLES: &str = "\
A flow is noted only where the ring has changed and older flows may still be under way:
no line does not mean no traffic. AGE is the time since it was noted, IDLE since its last
packet. The table stops at 1000 flows, -o json and -o yaml at 100000; --limit says
otherwise, up to 100000.

Examples:
  lbctl flows
  lbctl flows web --real 10.0.0.13
  lbctl flows web -o json | jq '.flows | length'";

/// The flows noted now.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flows {
    /// Only those of this VIP
    #[arg(value_parser = value::name)]
    vip: Option<String>,
    /// Only those noted on this real
    #[arg(long, value_name = "IP", value_parser = value::address)]
    real: Option<IpAddr>,
    /// How many at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(FlowsQuery::MOST)))]
    limit: Option<u32>,
}

impl Flows {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let usual = if session.output.is_table() { FlowsQuery::USUAL } else { FlowsQuery::MOST };
        let limit = Some(self.limit.unwrap_or(usual));
        let flows = session.client.flows(&FlowsQuery { vip: self.vip, real: self.real, limit })?;
        Ok(session.output.show(&flows, text)?)
    }
}

/// The flows, how full the tables are, and whether that is all.
pub fn text(answer: &types::Flows) -> String {
    let types::Flows { flows, pinned, fresh, datagrams, more } = answer;
    let mut text = if flows.is_empty() { "no flow is noted".to_owned() } else { list(flows) };
    let full = |TableStatus { used, size }: &TableStatus| format!("{used} of {size}");
    let [pinned, fresh, datagrams] = [pinned, fresh, datagrams].map(full);
    text.push_str(&format!("\n\nTables: pinned {pinned}, fresh {fresh}, datagrams {datagrams}\n"));
    if *more {
        text.push_str(&format!(
            "There are more than these {}: name a VIP or --real, or raise --limit.\n",
            flows.len()
        ));
    }
    text
}

fn list(flows: &[types::Flow]) -> String {
    let columns = [
        ("VIP", Left),
        ("PROTO", Left),
        ("SOURCE", Left),
        ("DESTINATION", Left),
        ("REAL", Left),
        ("TABLE", Left),
        ("SLOT", Right),
        ("AGE", Right),
        ("IDLE", Right),
    ];
    grid(
        columns,
        flows.iter().map(|flow| {
            [
                flow.vip.clone(),
                flow.protocol.clone(),
                flow.source.clone(),
                flow.destination.clone(),
                flow.real.to_string(),
                flow.table.clone(),
                flow.slot.to_string(),
                span(flow.age_seconds),
                span(flow.idle_seconds),
            ]
        }),
    )
}
