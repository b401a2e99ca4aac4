//! The demo that stays, and its end.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use tests::{Lab, Persist};

use crate::{
    acts, show,
    stage::{self, Stage, VIP},
    step,
};

/// How to get rid of it.
const DOWN: &str = "cargo xtask demo --down";

/// The demo, and then how to look at what is left running.
pub fn play_and_stay(place: &Persist) -> Result<bool> {
    ensure!(!place.is_up()?, "the lab is up already; remove it with `{DOWN}`");
    let lab = Lab::persist(place, stage::LAB)?;
    let played = Stage::set(lab).map(|mut stage| acts::play(&mut stage));
    if !matches!(&played, Ok(verdict) if verdict.good) {
        let log = fs::read_to_string(place.dir.join("lbd.log")).unwrap_or_default();
        eprintln!("--- lbd ---\n{log}-----------");
        eprintln!("The lab is left as it is; remove it with `{DOWN}`.");
    }
    let verdict = played?;
    println!("\n{verdict}");
    if verdict.good {
        explain(place)?;
    }
    Ok(verdict.good)
}

/// Removes what there is of it, be it nothing.
pub fn remove(place: &Persist) -> Result<bool> {
    let up = place.is_up()?;
    Lab::tear_down(place)?;
    println!("{}", if up { "The lab is removed." } else { "There is no lab to remove." });
    Ok(true)
}

/// Where our programs are.
fn programs() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("LB_BIN_DIR") {
        return Ok(dir.into());
    }
    env::current_exe()?.parent().map(Path::to_owned).context("no directory")
}

fn explain(place: &Persist) -> Result<()> {
    let programs = programs()?;
    let (lbd, lbctl) = (programs.join("lbd"), programs.join("lbctl"));
    let (lbd, dir) = (lbd.display(), place.dir.display());
    let lbctl = format!("{} --socket {dir}/lbd.sock", lbctl.display());
    let inside = |node: &str| format!("ip netns exec {}", place.netns(node));
    let (client, balancer, switch) = (inside("client"), inside("balancer"), inside("switch"));

    step("Everything is left running, and all below wants root. A shell in each namespace:");
    for node in ["client", "router", "switch", "balancer", "real1", "real2", "real3"] {
        show(&format!("{} bash", inside(node)));
    }
    step("Ask for pages:");
    show(&format!("{client} curl http://{VIP}/"));
    step("Watch. The balancer's card shows no packet from the VIP, and none that XDP forwards:");
    show(&format!("{balancer} tcpdump -ni eth0"));
    show(
        "The switch's port shows both ways: each packet going in, and out to a real's MAC address:",
    );
    show(&format!("{switch} tcpdump -eni balancer"));
    show("The real's card shows the request, and the answer going to the router:");
    show(&format!("{} tcpdump -eni eth0", inside("real1")));
    step("Ask the balancer, and change it:");
    show(&format!("{lbctl} status"));
    show(&format!("{lbctl} -o json status"));
    show(&format!("{lbctl} trace --src 198.51.100.7:40000 --dst {VIP}:80"));
    show(&format!("{lbctl} real disable web 10.0.0.12"));
    step("Kill lbd (pages are still served), and start it again:");
    show(&format!("pkill -9 -f '^[^ ]*/lbd --config {dir}/lb.toml$'"));
    show(&format!("{balancer} {lbd} --config {dir}/lb.toml 2>>{dir}/lbd.log &"));
    step("Stop forwarding (till lbd is started again):");
    show(&format!("{lbctl} detach"));
    step("Remove it all:");
    show(DOWN);
    Ok(())
}
