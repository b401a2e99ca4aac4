//! What a configuration says of the balancer itself.

use super::{super::Draft, service::Reader, tree::Node};

const ANNOUNCED: &str =
    "vc5 announces VIPs by BGP only: announce = \"none\" leaves that to a BGP speaker beside lbd.";

/// What a key at the top says that is not carried over.
fn reason(key: &str) -> Option<&'static str> {
    Some(match key {
        "bgp" | "rhi" | "prefixes" => {
            "left out: run a BGP speaker beside lbd that announces the VIPs"
        }
        "vlans" | "vlans6" => {
            "left out: name the interfaces of these networks in [node] interfaces"
        }
        "multicast" => {
            "left out: balancers tell each other nothing; those with the same pools and the same hash_seed choose the same reals"
        }
        "webserver" | "webroot" => "left out: status and metrics are at listen in [node]",
        "logging" => "left out: logs go to stderr, events to what [hooks] names",
        "learn" | "defcon" | "host_id" | "address" | "listen" | "untagged" => {
            "left out: it has no counterpart"
        }
        "native" => {
            "left out: xdp = \"native\" in [node] insists on it, by default it is used where the driver can"
        }
        _ => return None,
    })
}

pub(super) fn notes(reader: &Reader<'_>, draft: &mut Draft) {
    if draft.vips.iter().any(|vip| vip.vip.announce == crate::model::Announce::None) {
        draft.remarks.push(ANNOUNCED.to_owned());
    }
    for (key, value) in reader.root.entries() {
        let name = key.text().unwrap_or_default();
        match name {
            "services" | "servers" | "reals" | "policy" | "scheduler" | "vips" => {}
            "interfaces" => draft.interfaces.extend(names(value)),
            _ if says_nothing(value) => {}
            _ => {
                let reason = reason(name).unwrap_or("left out: an unknown key");
                draft.notes.push(reader.origin(key).note(reason));
            }
        }
    }
}

fn names(value: &Node) -> impl Iterator<Item = String> {
    value.items().iter().filter_map(|item| item.text().map(str::to_owned))
}

/// Nothing, or no.
fn says_nothing(value: &Node) -> bool {
    match &value.value {
        super::tree::Value::Null => true,
        super::tree::Value::Text(text) => matches!(text.as_str(), "" | "false" | "no" | "off"),
        super::tree::Value::List(items) => items.is_empty(),
        super::tree::Value::Map(entries) => entries.is_empty(),
    }
}
