//! A machine that answers for a VIP that is announced: it is named, and gets nothing for long.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use lb_user::announce;
use nix::net::if_::if_nametoindex;
use tests::{Rack, wait};
use tokio::runtime;

const IGNORE: [&str; 2] = ["ipv4/conf/all/arp_ignore", "ipv4/conf/eth0/arp_ignore"];

/// Makes the second real answer for the VIPs, or no more: by ARP it does whatever interface has the address,
/// by neighbour discovery for those of the interface itself.
fn steals(rack: &Rack, does: bool) -> Result<()> {
    let netns = rack.lab.real(2).netns();
    netns.sysctl(&IGNORE.map(|name| (name, if does { "0" } else { "1" })))?;
    let word = if does { "add" } else { "del" };
    netns.ip(&format!("addr {word} {}/128 dev eth0 nodad", Rack::vip6())).map(drop)
}

/// Whose MAC address the router believes the VIP has.
fn believed(rack: &Rack, vip: IpAddr) -> Result<Option<String>> {
    let shown = rack.lab.router().ip(&format!("neigh show {vip}"))?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr").skip(1);
    Ok(words.next().map(str::to_owned))
}

/// The thief tells the router that the VIPs are its own, as a careless script does.
fn boast(rack: &Rack) -> Result<()> {
    let real = rack.lab.real(2);
    real.netns().run(|| {
        let index = if_nametoindex("eth0")?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let vips = [Rack::vip(), Rack::vip6()];
        Ok(runtime.block_on(announce::gratuitous(index, real.mac(), &vips))?)
    })
}

#[test]
fn a_real_that_answers_for_an_announced_vip_is_named_and_countered() -> Result<()> {
    let rack = Rack::dual(2)?;
    let vips = [("web", Rack::vip(), Rack::web()), ("web6", Rack::vip6(), Rack::web6())];
    for (_, _, at) in vips {
        rack.answers_at(at, 10)?;
    }
    let balancer = believed(&rack, Rack::vip())?.context("the router knows the VIP")?;
    assert_eq!(believed(&rack, Rack::vip6())?.as_ref(), Some(&balancer));
    steals(&rack, true)?;
    let thief = rack.lab.real(2).mac().to_string();
    for (name, _, _) in vips {
        let reason = wait::until("a thief", wait::PATIENCE, || {
            let status = rack.vip_status(name)?;
            let reason = status["reason"].as_str().unwrap_or_default().to_owned();
            Ok((status["state"] == "degraded").then_some(reason))
        })?;
        for word in ["stolen", thief.as_str(), "real "] {
            assert!(reason.contains(word), "{reason}");
        }
    }
    let events = rack.lbctl(&["-o", "json", "events"])?.stdout;
    let events = events.lines().filter(|line| line.contains("\"thief\""));
    assert_eq!(events.filter(|line| line.contains(&thief)).count(), vips.len());

    boast(&rack)?;
    for (_, vip, _) in vips {
        wait::until("the router's return", wait::PATIENCE, || {
            Ok((believed(&rack, vip)?.as_ref() == Some(&balancer)).then_some(()))
        })?;
    }
    steals(&rack, false)?;
    for (name, _, _) in vips {
        wait::until("peace", 2 * wait::PATIENCE, || {
            Ok((rack.vip_status(name)?["state"] == "up").then_some(()))
        })?;
    }
    Ok(())
}
