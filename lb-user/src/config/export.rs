//! A model as the text of a configuration file, with every default written out.

use std::fmt::{self, Write};

use toml_edit::Value;

use crate::model::{Check, CheckKind, HashSeed, Model, Node, Real, Vip};

/// The configuration that reads as `model`, in the order of the documentation. The hash seed is in
/// it only if the model has one: a seed that the daemon made for itself is not.
#[must_use]
pub fn to_toml(model: &Model) -> String {
    let mut text = String::new();
    write_model(&mut text, model).expect("writing to a string cannot fail");
    text
}

fn write_model(out: &mut String, model: &Model) -> fmt::Result {
    write_node(out, &model.node)?;
    for vip in &model.vips {
        write_vip(out, vip)?;
    }
    Ok(())
}

fn write_node(out: &mut String, node: &Node) -> fmt::Result {
    out.write_str("[node]\n")?;
    let interfaces: Vec<_> = node.interfaces.iter().map(quoted).collect();
    writeln!(out, "interfaces = [{}]", interfaces.join(", "))?;
    writeln!(out, "xdp = {}", quoted(node.xdp))?;
    writeln!(out, "socket = {}", quoted(node.socket.display()))?;
    writeln!(out, "state_dir = {}", quoted(node.state_dir.display()))?;
    writeln!(out, "pin_dir = {}", quoted(node.pin_dir.display()))?;
    if let Some(HashSeed(seed)) = node.hash_seed {
        writeln!(out, "hash_seed = \"{:016x}{:016x}\"", seed.0[0], seed.0[1])?;
    }
    if let Some(listen) = node.listen {
        writeln!(out, "listen = {}", quoted(listen))?;
    }
    writeln!(out, "pinned_flows = {}", node.tables.pinned)?;
    writeln!(out, "fresh_flows = {}", node.tables.fresh)?;
    writeln!(out, "datagram_flows = {}", node.tables.datagrams)
}

fn write_vip(out: &mut String, vip: &Vip) -> fmt::Result {
    let ports: Vec<_> = vip.ports.iter().map(quoted).collect();
    out.write_str("\n[[vip]]\n")?;
    writeln!(out, "name = {}", quoted(&vip.name))?;
    writeln!(out, "address = {}", quoted(vip.address))?;
    writeln!(out, "ports = [{}]", ports.join(", "))?;
    writeln!(out, "announce = {}", quoted(vip.announce))?;
    writeln!(out, "hash = {}", quoted(vip.hash))?;
    writeln!(out, "idle_timeout = {}", duration(vip.idle_timeout))?;
    writeln!(out, "drain_timeout = {}", duration(vip.drain_timeout))?;
    writeln!(out, "on_deadline = {}", quoted(vip.on_deadline))?;
    writeln!(out, "udp_idle_timeout = {}", duration(vip.udp_idle_timeout))?;
    writeln!(out, "udp = {}", quoted(vip.udp))?;
    if let Some(slow_start) = vip.slow_start {
        writeln!(out, "slow_start = {}", duration(slow_start))?;
    }
    if let Some(sorry) = vip.sorry {
        writeln!(out, "sorry = {}", quoted(sorry))?;
    }
    for check in &vip.checks {
        write_check(out, check)?;
    }
    vip.reals.iter().try_for_each(|real| write_real(out, real))
}

fn write_check(out: &mut String, check: &Check) -> fmt::Result {
    match &check.kind {
        CheckKind::Tcp { port } => write!(out, "check = {{ type = \"tcp\", port = {port}")?,
        CheckKind::Http(check) => {
            write!(
                out,
                "check = {{ type = \"http\", port = {}, path = {}",
                check.port,
                quoted(&check.path)
            )?;
        }
        _ => write!(out, "check = {{ type = {}", quoted(check.kind.word()))?,
    }
    let [interval, timeout] = [check.interval, check.timeout].map(duration);
    let (via, rise, fall) = (quoted(check.via), check.rise, check.fall);
    writeln!(
        out,
        ", via = {via}, interval = {interval}, timeout = {timeout}, rise = {rise}, fall = {fall} }}"
    )
}

fn write_real(out: &mut String, real: &Real) -> fmt::Result {
    out.write_str("\n[[vip.real]]\n")?;
    writeln!(out, "address = {}", quoted(real.address))?;
    writeln!(out, "weight = {}", real.weight)?;
    writeln!(out, "state = {}", quoted(real.state))?;
    real.mac.map_or(Ok(()), |mac| writeln!(out, "mac = {}", quoted(mac)))
}

fn quoted(word: impl fmt::Display) -> String {
    Value::from(word.to_string()).to_string()
}

fn duration(duration: std::time::Duration) -> String {
    quoted(humantime::format_duration(duration))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{parse, samples};

    proptest! {
        #[test]
        fn what_is_exported_reads_as_the_same_model(model in samples::dual()) {
            let text = to_toml(&model);
            prop_assert_eq!(parse(&text).map_err(|errors| format!("{errors}\n{text}")), Ok(model));
        }
    }

    #[test]
    fn every_default_is_written_out_in_the_documented_order() {
        let typed = r#"
            node.interfaces = ["eth0"]
            vip = [{ name = "web", address = "192.0.2.10", ports = ["tcp/80"], check = { type = "http" },
                     real = [{ address = "10.0.0.11" }] }]
        "#;
        let expected = r#"[node]
interfaces = ["eth0"]
xdp = "auto"
socket = "/run/lb/lbd.sock"
state_dir = "/var/lib/lb"
pin_dir = "/sys/fs/bpf/lb"
pinned_flows = 262144
fresh_flows = 131072
datagram_flows = 131072

[[vip]]
name = "web"
address = "192.0.2.10"
ports = ["tcp/80"]
announce = "arp"
hash = "flow"
idle_timeout = "15m"
drain_timeout = "1h"
on_deadline = "rehash"
udp_idle_timeout = "30s"
udp = "flow"
check = { type = "http", port = 80, path = "/", via = "vip", interval = "2s", timeout = "1s", rise = 2, fall = 3 }

[[vip.real]]
address = "10.0.0.11"
weight = 1
state = "active"
"#;
        assert_eq!(to_toml(&parse(typed).unwrap()), expected);
    }
}
