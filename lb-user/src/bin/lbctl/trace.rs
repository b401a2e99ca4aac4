//! `lbctl trace`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use lb_user::{
    api::types::{self, TraceQuery},
    model::Protocol,
};

use crate::{Session, failure::Failure, value};

const EXAMPLES: &str = "\
Asks the loaded program itself, which counts nothing; --down and --config ask what would be.

Examples:
  lbctl trace --src 198.51.100.7:40000 --dst 192.0.2.10:80
  lbctl trace --src '[2001:db8:1::7]:40000' --dst '[2001:db8:2::10]:80'
  lbctl trace --src 198.51.100.7:40000 --dst 192.0.2.10:80 --syn --down 10.0.0.11
  lbctl trace --src 198.51.100.7:40000 --dst 192.0.2.10:53 --proto udp --config new.toml";

/// Which real a packet would get, and why.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Trace {
    /// Where the packet comes from
    #[arg(long, value_name = "IP:PORT", value_parser = value::endpoint)]
    src: SocketAddr,
    /// Where it goes: a VIP and a port
    #[arg(long, value_name = "IP:PORT", value_parser = value::endpoint)]
    dst: SocketAddr,
    /// Its protocol; tcp when absent
    #[arg(long, value_name = "tcp|udp")]
    proto: Option<Protocol>,
    /// It begins a TCP connection
    #[arg(long)]
    syn: bool,
    /// What if this real were down (repeatable)
    #[arg(long, value_name = "IP", value_parser = value::address)]
    down: Vec<IpAddr>,
    /// What if this file were the configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Trace {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let query = self.query()?;
        let trace = session.client.trace(&query)?;
        Ok(session.output.show(&trace, |trace| sentences(&query, trace))?)
    }

    fn query(self) -> Result<TraceQuery, Failure> {
        let down = self.down.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
        let config = match self.config {
            None => None,
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some(text),
                Err(source) => return Err(Failure::File { option: "--config", path, source }),
            },
        };
        Ok(TraceQuery {
            src: self.src.to_string(),
            dst: self.dst.to_string(),
            proto: self.proto.map(|proto| proto.to_string()),
            syn: self.syn,
            down: Some(down).filter(|down| !down.is_empty()),
            config,
        })
    }
}

/// What becomes of the packet, why, and how far the answer can be trusted.
fn sentences(query: &TraceQuery, trace: &types::Trace) -> String {
    let proto = query.proto.as_deref().unwrap_or("tcp");
    let fate = match trace.verdict.as_str() {
        "forward" => format!("goes to {}.", target(trace)),
        "pass" => "is passed to this machine's own network stack.".to_owned(),
        "drop" => "is dropped.".to_owned(),
        other => format!("ends as \"{other}\"."),
    };
    let mut text = format!("{proto} {} -> {} {fate}\n", query.src, query.dst);
    if trace.verdict != "forward" {
        text.push_str(&format!("{}\n", trace.explanation));
    }
    if trace.predicted {
        text.push_str("This is a prediction: the loaded program was not asked.\n");
    }
    text
}

fn target(trace: &types::Trace) -> String {
    let mut text = trace.real.map_or_else(|| "an unknown real".to_owned(), |real| real.to_string());
    match (&trace.mac, &trace.interface) {
        (Some(mac), Some(interface)) => text.push_str(&format!(" ({mac} on {interface})")),
        (Some(word), None) | (None, Some(word)) => text.push_str(&format!(" ({word})")),
        (None, None) => {}
    }
    if let Some(vip) = &trace.vip {
        text.push_str(&format!(", VIP {vip}"));
    }
    if let Some(slot) = trace.slot {
        text.push_str(&format!(", slot {slot}"));
    }
    if let Some(by) = &trace.by {
        text.push_str(&format!(": {}", rule(by)));
    }
    text
}

/// The rule that chose the real, in words.
fn rule(by: &str) -> &str {
    match by {
        "current" => "it owns the slot",
        "previous" => "it owned the slot before the last change, and the flow may be older",
        "pinned" => "the flow is noted as established there",
        "fresh" => "the flow is noted as begun there",
        "fragment" => "the datagram's first fragment went there",
        "sorry" => "no real is up, and it is the sorry server",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> TraceQuery {
        TraceQuery {
            src: "198.51.100.7:40000".into(),
            dst: "192.0.2.10:80".into(),
            proto: None,
            syn: false,
            down: None,
            config: None,
        }
    }

    fn forwarded(by: &str) -> types::Trace {
        types::Trace {
            verdict: "forward".into(),
            outcome: "forwarded".into(),
            explanation: "Steered to a real server.".into(),
            vip: Some("web".into()),
            slot: Some(17),
            real: Some([10, 0, 0, 11].into()),
            mac: Some("02:00:00:00:00:0b".into()),
            interface: Some("eth0".into()),
            by: Some(by.into()),
            predicted: false,
        }
    }

    #[test]
    fn a_forwarded_packet_is_told_with_its_real_and_the_rule() {
        assert_eq!(
            sentences(&query(), &forwarded("current")),
            "tcp 198.51.100.7:40000 -> 192.0.2.10:80 goes to 10.0.0.11 (02:00:00:00:00:0b on eth0), \
             VIP web, slot 17: it owns the slot.\n"
        );
    }

    #[test]
    fn a_prediction_says_that_it_is_one() {
        let trace = types::Trace { predicted: true, mac: None, ..forwarded("tomorrow's rule") };
        let text = sentences(&TraceQuery { proto: Some("udp".into()), ..query() }, &trace);
        assert!(text.starts_with("udp "), "{text}");
        assert!(text.contains("10.0.0.11 (eth0), VIP web, slot 17: tomorrow's rule.\n"), "{text}");
        assert!(
            text.ends_with("This is a prediction: the loaded program was not asked.\n"),
            "{text}"
        );
    }

    #[test]
    fn a_packet_that_is_not_forwarded_is_told_with_its_end() {
        let ended = |verdict: &str, explanation: &str| types::Trace {
            verdict: verdict.into(),
            explanation: explanation.into(),
            ..forwarded("current")
        };
        assert_eq!(
            sentences(&query(), &ended("pass", "The destination address is not a VIP.")),
            "tcp 198.51.100.7:40000 -> 192.0.2.10:80 is passed to this machine's own network stack.\n\
             The destination address is not a VIP.\n"
        );
        assert_eq!(
            sentences(&query(), &ended("drop", "No real server of the VIP is usable.")),
            "tcp 198.51.100.7:40000 -> 192.0.2.10:80 is dropped.\nNo real server of the VIP is usable.\n"
        );
    }
}
