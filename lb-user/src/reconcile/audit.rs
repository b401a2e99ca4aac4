//! What a change has changed, before and after, in a few words for the log.

use std::{collections::HashMap, net::IpAddr};

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

fn real(vip: &Vip, address: IpAddr) -> Option<&Real> {
    vip.reals.iter().find(|real| real.address == address)
}

fn real_line(old: Option<&Vip>, new: Option<&Vip>, address: IpAddr) -> String {
    real_words(old.and_then(|vip| real(vip, address)), new.and_then(|vip| real(vip, address)))
}

fn real_words(old: Option<&Real>, new: Option<&Real>) -> String {
    let words = |real: Option<&Real>| {
        real.map_or_else(
            || "none".to_owned(),
            |real| format!("weight {} {}", real.weight, real.state),
        )
    };
    match (old, new) {
        (Some(old), Some(new)) => real_details(old, new).join(", "),
        (old, new) => format!("{} -> {}", words(old), words(new)),
    }
}

/// All that differs, as far as a line has room for it.
fn everything(old: &Model, new: &Model) -> String {
    let named = |what: &str, lines: Vec<String>| {
        (!lines.is_empty()).then(|| format!("{what}: {}", lines.join(", ")))
    };
    let tables = [
        named("[node]", node_details(&old.node, &new.node)),
        named("[access]", access_details(old.access.as_ref(), new.access.as_ref())),
        named("[hooks]", hook_details(&old.hooks, &new.hooks)),
    ];
    let (olds, news) = (by_name(old), by_name(new));
    let pairs = new.vips.iter().map(|vip| (olds.get(&*vip.name).copied(), Some(vip)));
    let changed = pairs.filter(|(old, new)| old != new);
    let gone = old.vips.iter().filter(|vip| !news.contains_key(&*vip.name));
    let mut changed = changed.chain(gone.map(|vip| (Some(vip), None)));
    let mut parts: Vec<String> = tables.into_iter().flatten().collect();
    let room = NAMED.saturating_sub(parts.len());
    parts.extend(changed.by_ref().take(room).filter_map(|(old, new)| vip_parts(old, new)));
    match changed.count() {
        0 => {}
        more => parts.push(format!("and {more} more")),
    }
    parts.join("; ")
}

fn by_name(model: &Model) -> HashMap<&str, &Vip> {
    model.vips.iter().map(|vip| (&*vip.name, vip)).collect()
}

/// What becomes of a VIP and its reals.
fn vip_parts(old: Option<&Vip>, new: Option<&Vip>) -> Option<String> {
    let name = &old.or(new)?.name;
    let (Some(before), Some(after)) = (old, new) else {
        return Some(format!("vip {name}: {} -> {}", words(old), words(new)));
    };
    let mut details = vip_details(before, after);
    let (olds, news) = (by_address(before), by_address(after));
    let gone = before.reals.iter().filter(|real| !news.contains_key(&real.address));
    for address in after.reals.iter().chain(gone).map(|real| real.address) {
        let line = real_words(olds.get(&address).copied(), news.get(&address).copied());
        if !line.is_empty() {
            details.push(format!("real {address} {line}"));
        }
    }
    Some(format!("vip {name}: {}", details.join(", ")))
}

fn by_address(vip: &Vip) -> HashMap<IpAddr, &Real> {
    vip.reals.iter().map(|real| (real.address, real)).collect()
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
