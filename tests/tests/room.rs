//! Tables that are too small for the configuration: a restart makes larger ones, and nobody notices.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use lb_common::LAYOUT;
use tests::{Daemon, Rack, address};

/// VIPs beside that of the rack, each of which takes the longest ring and the smallest pool. Of 17 there is
/// one too many for the least arena.
fn more(vips: usize) -> String {
    let vip = |number: usize| {
        let real = |last: u8, weight: u16| {
            format!(
                "{{ address = \"10.0.0.{last}\", mac = \"02:00:00:00:00:{last:02x}\", weight = {weight} }}"
            )
        };
        format!(
            "[[vip]]\nname = \"more{number}\"\naddress = \"192.0.3.{number}\"\nports = [\"any\"]\n\
             announce = \"none\"\nreal = [{}, {}]\n",
            real(200, 256),
            real(201, 1)
        )
    };
    (1..=vips).map(vip).collect()
}
