//! What a change has changed, before and after, in a few words for the log.

use std::net::IpAddr;

use super::planning::{access_details, hook_details, node_details, real_details, vip_details};
use crate::{
    api::request::Change,
    model::{Model, Real, Vip},
};

/// How many objects are named of a configuration that was replaced.
const NAMED: usize = 16;

/// What this change makes of a model.
pub(super) fn differences(change: &Change, old: &Model, new: &Model) -> String {
    match change {
        Change::AddVip(vip) => vip_line(old, new, &vip.name),
        Change::SetVip(name, _) | Change::RemoveVip(name) => vip_line(old, new, name),
        Change::AddReal(vip, real) => match real.address.parse() {
            Ok(address) => real_line(find(old, vip), find(new, vip), address),
            Err(_) => String::new(),
        },
        Change::SetReal(vip, address, _) | Change::RemoveReal(vip, address, _) => {
            real_line(find(old, vip), find(new, vip), *address)
        }
        Change::Apply(_) => everything(old, new),
    }
}

fn find<'m>(model: &'m Model, name: &str) -> Option<&'m Vip> {
    model.vips.iter().find(|vip| vip.name == name)
}

fn vip_line(old: &Model, new: &Model, name: &str) -> String {
    match (find(old, name), find(new, name)) {
        (Some(old), Some(new)) => vip_details(old, new).join(", "),
        (old, new) => format!("{} -> {}", words(old), words(new)),
    }
}

fn words(vip: Option<&Vip>) -> String {
    vip.map_or_else(
        || "none".to_owned(),
        |vip| {
            let ports: Vec<_> = vip.ports.iter().map(ToString::to_string).collect();
            format!("{} {} with {} reals", vip.address, ports.join(" "), vip.reals.len())
        },
    )
}

fn real_line(old: Option<&Vip>, new: Option<&Vip>, address: IpAddr) -> String {
    let real = |vip: Option<&Vip>| {
        vip.and_then(|vip| vip.reals.iter().find(|real| real.address == address).cloned())
    };
    let words = |real: Option<Real>| {
        real.map_or_else(
            || "none".to_owned(),
            |real| format!("weight {} {}", real.weight, real.state),
        )
    };
    match (real(old), real(new)) {
        (Some(old), Some(new)) => real_details(&old, &new).join(", "),
        (old, new) => format!("{} -> {}", words(old), words(new)),
    }
}

/// All that differs, as far as a line has room for it.
fn everything(old: &Model, new: &Model) -> String {
    let named = |what: &str, lines: Vec<String>| {
        (!lines.is_empty()).then(|| format!("{what}: {}", lines.join(", ")))
    };
    let mut parts: Vec<String> = [
        named("[node]", node_details(&old.node, &new.node)),
        named("[access]", access_details(old.access.as_ref(), new.access.as_ref())),
        named("[hooks]", hook_details(&old.hooks, &new.hooks)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let gone = old.vips.iter().filter(|vip| find(new, &vip.name).is_none());
    let changed = new.vips.iter().filter(|vip| find(old, &vip.name) != Some(*vip));
    for vip in changed.chain(gone) {
        parts.push(vip_parts(old, new, &vip.name));
    }
    let more = parts.len().saturating_sub(NAMED);
    parts.truncate(NAMED);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join("; ")
}

/// What becomes of a VIP and its reals.
fn vip_parts(old: &Model, new: &Model, name: &str) -> String {
    let (Some(before), Some(after)) = (find(old, name), find(new, name)) else {
        return format!("vip {name}: {}", vip_line(old, new, name));
    };
    let mut details = vip_details(before, after);
    let kept = before.reals.iter().filter(|real| !has(after, real.address));
    for address in after.reals.iter().chain(kept).map(|real| real.address) {
        let line = real_line(Some(before), Some(after), address);
        if !line.is_empty() {
            details.push(format!("real {address} {line}"));
        }
    }
    format!("vip {name}: {}", details.join(", "))
}

fn has(vip: &Vip, address: IpAddr) -> bool {
    vip.reals.iter().any(|real| real.address == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::request::Candidate,
        config::{change::RealPatch, parse},
    };

    const WEB: &str = r#"
        node.interfaces = ["eth0"]
        [[vip]]
        name = "web"
        address = "192.0.2.10"
        ports = ["tcp/80"]
        real = [{ address = "10.0.0.11" }, { address = "10.0.0.12", weight = 5 }]
    "#;

    fn applied(new: &str) -> String {
        let change = Change::Apply(Candidate::read(new.to_owned()).unwrap());
        differences(&change, &parse(WEB).unwrap(), &parse(new).unwrap())
    }

    #[test]
    fn a_real_is_told_of_before_and_after() {
        let new = WEB.replace("weight = 5", "weight = 7, state = \"drain\"");
        let address = "10.0.0.12".parse().unwrap();
        let change = Change::SetReal("web".into(), address, RealPatch::default());
        let told =
            |change, new: &str| differences(change, &parse(WEB).unwrap(), &parse(new).unwrap());
        assert_eq!(told(&change, &new), "weight 5 -> 7, state active -> drain");
        assert_eq!(told(&change, WEB), "");
        let removed = WEB.replace(", { address = \"10.0.0.12\", weight = 5 }", "");
        let change = Change::RemoveReal("web".into(), address, true);
        assert_eq!(told(&change, &removed), "weight 5 active -> none");
    }

    #[test]
    fn a_replaced_configuration_is_told_of_object_by_object() {
        let new = WEB
            .replace("weight = 5", "weight = 6")
            .replace("{ address = \"10.0.0.11\" }, ", "")
            .replace("[[vip]]", "access.admin = []\nhooks.webhook = \"http://h/\"\n[[vip]]");
        assert_eq!(
            applied(&new),
            "[access]: admin group:lb -> none; [hooks]: webhook none -> set; \
             vip web: real 10.0.0.12 weight 5 -> 6, real 10.0.0.11 weight 1 active -> none"
        );
        assert_eq!(
            applied("node.interfaces = [\"eth0\"]"),
            "vip web: 192.0.2.10 tcp/80 with 2 reals -> none"
        );
        assert_eq!(applied(WEB), "");
    }

    #[test]
    fn of_many_the_rest_is_counted() {
        let vip = |n: usize| {
            format!("[[vip]]\nname = \"v{n}\"\naddress = \"192.0.2.{n}\"\nports = [\"udp/53\"]\n")
        };
        let many: String = (20..60).map(vip).collect();
        let told = applied(&format!("{WEB}\n{many}"));
        assert!(told.ends_with("; and 24 more"), "{told}");
    }
}
