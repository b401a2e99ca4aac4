//! The script that sets a real server up: variables for one setup, and functions that are the same
//! for all.

use std::fmt::Display;

use super::{
    Setup, Vip,
    files::{self, Way},
};
use crate::model::{Ports, Protocol};

#[cfg(test)]
mod tests;

/// The functions, in the order in which they stand in the script; the last of these runs it. A
/// script that arrives in part only does nothing.
const PARTS: [&str; 10] = [
    include_str!("script/core.sh"),
    include_str!("script/record.sh"),
    include_str!("script/steps.sh"),
    include_str!("script/undo.sh"),
    include_str!("script/apply.sh"),
    include_str!("script/check.sh"),
    include_str!("script/service.sh"),
    include_str!("script/firewall.sh"),
    include_str!("script/persist.sh"),
    include_str!("script/main.sh"),
];

/// The script for a setup. `way` is in which it makes it survive a reboot when no other is named;
/// else it looks.
#[must_use]
pub fn text(setup: &Setup, way: Option<Way>) -> String {
    header(setup, way) + &files::embedded(setup) + &PARTS.join("\n")
}

/// A comment for people, and the variables.
fn header(setup: &Setup, way: Option<Way>) -> String {
    let mut text = format!(
        "#!/bin/sh\n\
         # Makes this machine a real server for a balancer that works by Direct Server Return, of the VIPs\n\
         # {}.\n\
         # `sh lb-backend.sh --help` says more.\n\
         # shellcheck disable=SC2317 # Functions are also called by names that variables hold.\n\n",
        list(setup.vips.iter().map(title), ", ")
    );
    let vips = setup.vips.iter().map(|vip| vip.address);
    for (name, value) in [
        ("VERSION", env!("CARGO_PKG_VERSION").to_owned()),
        ("VIPS", list(vips, " ")),
        ("SERVICES", list(setup.vips.iter().flat_map(services), " ")),
        ("INTERFACES", list(&setup.interfaces, " ")),
        ("BALANCERS", list(&setup.balancers, " ")),
        ("WAY", way.map(|way| way.to_string()).unwrap_or_default()),
    ] {
        text += &format!("LB_{name}={}\n", quote(&value));
    }
    text + "\n"
}

fn list(words: impl IntoIterator<Item = impl Display>, between: &str) -> String {
    words.into_iter().map(|word| word.to_string()).collect::<Vec<_>>().join(between)
}

/// `192.0.2.10 (web)`: with no more of the name than cannot end a comment.
fn title(vip: &Vip) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._,-".contains(&byte);
    match vip.name.as_ref().filter(|name| name.bytes().all(plain)) {
        Some(name) => format!("{} ({name})", vip.address),
        None => vip.address.to_string(),
    }
}

/// `tcp:192.0.2.10:80`, `udp:[2001:db8::10]:*`, `any:192.0.2.10:*`.
fn services(vip: &Vip) -> impl Iterator<Item = String> {
    let address =
        if vip.address.is_ipv4() { vip.address.to_string() } else { format!("[{}]", vip.address) };
    vip.ports.iter().map(move |ports| match ports {
        Ports::Any => format!("any:{address}:*"),
        Ports::All(protocol) => service(*protocol, &address, "*"),
        Ports::One(protocol, port) => service(*protocol, &address, port),
    })
}

fn service(protocol: Protocol, address: &str, port: impl Display) -> String {
    format!("{protocol}:{address}:{port}")
}

/// Text of which a shell takes nothing for anything but itself.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
