//! `lbctl trace`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use lb_user::{
    api::{
        client::{Client, Error},
        types::{Trace, TraceQuery},
    },
    model::Protocol,
};

use crate::{Failure, output::Output};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    lbctl trace --src 198.51.100.7:40000 --dst 192.0.2.10:80 --down 10.0.0.11")]
pub(crate) struct Arguments {
    /// The client's address and port.
    #[arg(long, value_name = "IP:PORT")]
    src: SocketAddr,
    /// The VIP's address and port.
    #[arg(long, value_name = "IP:PORT")]
    dst: SocketAddr,
    /// tcp or udp.
    #[arg(long, default_value = "tcp")]
    proto: Protocol,
    /// A segment that begins a connection.
    #[arg(long)]
    syn: bool,
    /// What if this real were down. May be given several times.
    #[arg(long, value_name = "IP")]
    down: Vec<IpAddr>,
    /// What if this were the configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(
    arguments: Arguments,
    connect: impl Fn() -> Result<Client, Error>,
    output: &mut Output,
) -> Result<(), Failure> {
    let config = arguments.config.map(|path| {
        std::fs::read_to_string(&path)
            .map_err(|error| Failure::Input(format!("--config {}: {error}", path.display())))
    });
    let down: Vec<String> = arguments.down.iter().map(ToString::to_string).collect();
    let query = TraceQuery {
        src: arguments.src.to_string(),
        dst: arguments.dst.to_string(),
        proto: Some(arguments.proto.to_string()),
        syn: arguments.syn,
        down: Some(down.join(",")).filter(|down| !down.is_empty()),
        config: config.transpose()?,
    };
    output.print(&connect()?.trace(&query)?, |trace| render(&query, trace))
}

fn render(query: &TraceQuery, trace: &Trace) -> String {
    let packet = format!("{} -> {}", query.src, query.dst);
    let would = if trace.predicted { "would be" } else { "is" };
    match (&trace.vip, trace.real, trace.slot) {
        (Some(vip), Some(real), Some(slot)) => format!(
            "{packet} {would} forwarded to {real} ({}) through {}: VIP \"{vip}\", slot {slot}, by {}",
            trace.mac.as_deref().unwrap_or("MAC address unknown"),
            trace.interface.as_deref().unwrap_or("?"),
            trace.by.as_deref().unwrap_or("?"),
        ),
        _ => {
            let verdict = match trace.verdict.as_str() {
                "pass" => "passed to the local stack",
                "drop" => "dropped",
                other => other,
            };
            format!("{packet} {would} {verdict}: {} ({})", trace.explanation, trace.outcome)
        }
    }
}
