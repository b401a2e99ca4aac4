//! A model as the text of a configuration file, with every default written out.

mod checks;

use std::fmt::{self, Write};

use toml_edit::{InlineTable, Value};

use crate::model::{
    Access, Amount, Check, HashSeed, Hooks, Model, Node, ProbePrefixes, Real, Role, Vip, Watermarks,
};

/// The configuration that reads as `model`, in the order of the documentation. The hash seed is in
/// it only if the model has one: a seed that the daemon made for itself is not.
#[must_use]
pub fn to_toml(model: &Model) -> String {
    let mut text = String::new();
    write_model(&mut text, model).expect("writing to a string cannot fail");
    text
}

/// A check as an inline table, in the order of the documentation.
#[must_use]
pub fn check(check: &Check) -> InlineTable {
    checks::table(check)
}

fn write_model(out: &mut String, model: &Model) -> fmt::Result {
    write_node(out, &model.node)?;
    model.access.as_ref().map_or(Ok(()), |access| write_access(out, access))?;
    write_hooks(out, &model.hooks)?;
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
    writeln!(out, "datagram_flows = {}", node.tables.datagrams)?;
    let ProbePrefixes { v4: (v4, bits4), v6: (v6, bits6) } = node.probe_prefixes;
    writeln!(out, "probe_prefixes = [\"{v4}/{bits4}\", \"{v6}/{bits6}\"]")?;
    writeln!(out, "exec_user = {}", quoted(&node.exec_user))
}

fn write_access(out: &mut String, access: &Access) -> fmt::Result {
    out.write_str("\n[access]\n")?;
    Role::ALL.into_iter().try_for_each(|role| {
        let words: Vec<_> = access.of(role).iter().map(quoted).collect();
        writeln!(out, "{role} = [{}]", words.join(", "))
    })
}

fn write_hooks(out: &mut String, hooks: &Hooks) -> fmt::Result {
    if *hooks == Hooks::default() {
        return Ok(());
    }
    out.write_str("\n[hooks]\n")?;
    if !hooks.exec.is_empty() {
        let words: Vec<_> = hooks.exec.iter().map(quoted).collect();
        writeln!(out, "exec = [{}]", words.join(", "))?;
    }
    hooks.webhook.as_ref().map_or(Ok(()), |url| writeln!(out, "webhook = {}", quoted(url)))
}

fn write_vip(out: &mut String, vip: &Vip) -> fmt::Result {
    let ports: Vec<_> = vip.ports.iter().map(quoted).collect();
    out.write_str("\n[[vip]]\n")?;
    writeln!(out, "name = {}", quoted(&vip.name))?;
    writeln!(out, "address = {}", quoted(vip.address))?;
    writeln!(out, "ports = [{}]", ports.join(", "))?;
    writeln!(out, "state = {}", quoted(vip.state()))?;
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
    if let Some(Watermarks { low, high }) = vip.min_up {
        writeln!(out, "min_up = {}", amount(low))?;
        writeln!(out, "min_up_high = {}", amount(high))?;
    }
    if let Some(threshold) = vip.panic_threshold {
        writeln!(out, "panic_threshold = \"{threshold}%\"")?;
    }
    write_checks(out, &vip.checks)?;
    vip.reals.iter().try_for_each(|real| write_real(out, real))
}

/// One as an inline table, several as a list of such.
fn write_checks(out: &mut String, checks: &[Check]) -> fmt::Result {
    match checks {
        [] => Ok(()),
        [check] => writeln!(out, "check = {}", checks::table(check)),
        _ => {
            out.write_str("check = [\n")?;
            checks.iter().try_for_each(|check| writeln!(out, "  {},", checks::table(check)))?;
            out.write_str("]\n")
        }
    }
}

fn write_real(out: &mut String, real: &Real) -> fmt::Result {
    out.write_str("\n[[vip.real]]\n")?;
    writeln!(out, "address = {}", quoted(real.address))?;
    writeln!(out, "weight = {}", real.weight)?;
    writeln!(out, "state = {}", quoted(real.state))?;
    real.mac.map_or(Ok(()), |mac| writeln!(out, "mac = {}", quoted(mac)))?;
    writeln!(out, "force_up = {}", real.force_up)
}

fn amount(amount: Amount) -> String {
    match amount {
        Amount::Count(count) => count.to_string(),
        Amount::Share(_) => quoted(amount),
    }
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
    use crate::config::{parse, read, samples};

    proptest! {
        #[test]
        fn what_is_exported_reads_as_the_same_model(model in samples::dual()) {
            let text = to_toml(&model);
            let read = read(&text).map(|reading| reading.model);
            prop_assert_eq!(read.map_err(|errors| format!("{errors}\n{text}")), Ok(model));
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
probe_prefixes = ["198.18.0.0/15", "2001:2::/48"]
exec_user = "nobody"

[[vip]]
name = "web"
address = "192.0.2.10"
ports = ["tcp/80"]
state = "enabled"
announce = "arp"
hash = "flow"
idle_timeout = "15m"
drain_timeout = "1h"
on_deadline = "rehash"
udp_idle_timeout = "30s"
udp = "flow"
check = { type = "http", port = 80, method = "GET", path = "/", status = "200-399", version = "1.1", via = "vip", interval = "2s", fast_interval = "500ms", timeout = "1s", rise = 2, fall = 3, initial = "down" }

[[vip.real]]
address = "10.0.0.11"
weight = 1
state = "active"
force_up = false
"#;
        assert_eq!(to_toml(&parse(typed).unwrap()), expected);
    }

    #[test]
    fn several_checks_are_a_list_and_everything_else_has_its_words() {
        let typed = r#"
            node.interfaces = ["eth0"]
            hooks = { exec = ["/bin/sh", "-c"], webhook = "http://example.com/lb" }
            [[vip]]
            name = "web"
            address = "192.0.2.10"
            ports = ["tcp/80"]
            state = "disabled"
            min_up = "50%"
            [[vip.check]]
            type = "udp"
            port = 53
            send = "hex:000a"
            [[vip.check]]
            type = "exec"
            command = ["/bin/sh", "a\nb"]
        "#;
        let model = parse(typed).unwrap();
        let text = to_toml(&model);
        let pace = r#"via = "vip", interval = "2s", fast_interval = "500ms", timeout = "1s", rise = 2, fall = 3, initial = "down""#;
        for part in [
            "\n[hooks]\nexec = [\"/bin/sh\", \"-c\"]\nwebhook = \"http://example.com/lb\"\n\n[[vip]]\n",
            "\nstate = \"disabled\"\n",
            "\nmin_up = \"50%\"\nmin_up_high = \"50%\"\n",
            &format!(
                "\ncheck = [\n  {{ type = \"udp\", port = 53, send = \"hex:000a\", {pace} }},\n"
            ),
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(parse(&text), Ok(model));
    }
}
