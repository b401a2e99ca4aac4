//! A machine that answers for a VIP that is announced: it is named, and gets nothing for long.

use anyhow::{Context as _, Result};
use lb_user::announce;
use nix::net::if_::if_nametoindex;
use tests::{Rack, wait};
use tokio::runtime;

const IGNORE: [&str; 2] = ["ipv4/conf/all/arp_ignore", "ipv4/conf/eth0/arp_ignore"];

fn ignores(rack: &Rack, value: &str) -> Result<()> {
    rack.lab.real(2).netns().sysctl(&IGNORE.map(|name| (name, value)))
}

/// Whose MAC address the router believes the VIP has.
fn believed(rack: &Rack) -> Result<Option<String>> {
    let shown = rack.lab.router().ip(&format!("neigh show {}", Rack::vip()))?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr").skip(1);
    Ok(words.next().map(str::to_owned))
}

/// The thief tells the router that the VIP is its own, as a careless script does.
fn steal(rack: &Rack) -> Result<()> {
    let real = rack.lab.real(2);
    real.netns().run(|| {
        let index = if_nametoindex("eth0")?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(announce::gratuitous(index, real.mac(), &[Rack::vip()]))?)
    })
}

#[test]
fn a_real_that_answers_for_an_announced_vip_is_named_and_countered() -> Result<()> {
    let rack = Rack::new(2)?;
    rack.answers(10)?;
    let balancer = believed(&rack)?.context("the router knows the VIP")?;
    ignores(&rack, "0")?;
    let reason = wait::until("a thief", wait::PATIENCE, || {
        let status = rack.vip_status("web")?;
        let reason = status["reason"].as_str().unwrap_or_default().to_owned();
        Ok((status["state"] == "degraded").then_some(reason))
    })?;
    let thief = rack.lab.real(2).mac().to_string();
    for word in ["stolen", thief.as_str(), "10.0.0.12", "arp_ignore=1"] {
        assert!(reason.contains(word), "{reason}");
    }
    let events = rack.lbctl(&["-o", "json", "events"])?.stdout;
    let events = events.lines().filter(|line| line.contains("\"thief\""));
    assert_eq!(events.filter(|line| line.contains(&thief)).count(), 1);

    steal(&rack)?;
    wait::until("the router's return", wait::PATIENCE, || {
        Ok((believed(&rack)?.as_ref() == Some(&balancer)).then_some(()))
    })?;

    ignores(&rack, "1")?;
    wait::until("peace", 2 * wait::PATIENCE, || {
        Ok((rack.vip_status("web")?["state"] == "up").then_some(()))
    })?;
    Ok(())
}
