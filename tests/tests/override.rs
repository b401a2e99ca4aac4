//! What the operator says goes before what checks say, and what becomes of a VIP of which few reals are left.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::{
    Lab, Nginx, Rack, Talk, address,
    checked::{at_vips, check, lab, start},
    wait,
};

/// A page at the VIPs on each real.
fn pages(lab: &Lab) -> Result<Vec<Option<Nginx>>> {
    lab.reals().iter().map(|real| real.nginx_at(&at_vips(80)).map(Some)).collect()
}

/// Waits until both VIPs are so.
fn both(rack: &Rack, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    for vip in ["web", "web6"] {
        wait::until(&format!("{vip}: {what}"), wait::PATIENCE, || {
            Ok(is_so(&rack.vip_status(vip)?).then_some(()))
        })?;
    }
    Ok(())
}

/// The shares of the reals of a VIP, in percent.
fn shares(vip: &Value) -> Vec<u32> {
    let reals = vip["reals"].as_array().into_iter().flatten();
    reals.map(|real| (real["share"].as_f64().unwrap_or_default() * 100.0).round() as u32).collect()
}

fn is_announced(vip: &Value) -> bool {
    vip["announced"] == true
}

/// Whether the VIPs are addresses of the balancer, hence found by the router.
fn assigned(rack: &Rack) -> Result<[bool; 2]> {
    let addresses = rack.lab.balancer().ip("address show dev eth0")?;
    Ok(["192.0.2.10/32", "2001:db8:2::10/128"].map(|vip| addresses.contains(vip)))
}

#[test]
fn a_real_that_is_forced_up_is_used_whatever_its_checks_say() -> Result<()> {
    let rack = start(lab(2)?, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "down", &["refused"]), (2, "down", &["refused"])])?;
    let force = |words: &[&str]| {
        [("web", address::real(2)), ("web6", address::real6(2))].iter().try_for_each(
            |(vip, real)| {
                let real = real.to_string();
                rack.lbctl(&[&["real", "force-up", vip, &real], words].concat()).map(drop)
            },
        )
    };
    force(&[])?;
    rack.become_all(&[(1, "down", &[]), (2, "up", &["forced up", "refused"])])?;
    both(&rack, "used", |vip| shares(vip) == [0, 100])?;
    force(&["--release"])?;
    rack.become_all(&[(2, "down", &["refused"])])?;
    both(&rack, "out", |vip| shares(vip) == [0, 0])
}

#[test]
fn being_forced_up_lasts_across_a_restart_until_the_real_is_enabled() -> Result<()> {
    let mut rack = start(lab(1)?, &check("type = \"tcp\""))?;
    rack.lbctl(&["real", "force-up", "web", "10.0.0.11"])?;
    let forced = |rack: &Rack| {
        let is_so = |real: &Value| real["health"] == "up" && real["forced_up"] == true;
        rack.real_becomes("forced up", ("web", address::real(1)), is_so).map(drop)
    };
    forced(&rack)?;
    rack.daemon.kill9()?;
    rack.daemon.restart()?;
    forced(&rack)?;
    rack.lbctl(&["real", "enable", "web", "10.0.0.11"])?;
    let is_so = |real: &Value| real["health"] == "down" && real["forced_up"] == false;
    rack.real_becomes("down", ("web", address::real(1)), is_so).map(drop)
}

#[test]
fn a_real_that_cannot_be_reached_is_not_used_even_if_it_is_forced_up() -> Result<()> {
    let lab = lab(1)?;
    let config =
        lab.config(&Rack::vips(2).replace("10.0.0.12\"\n", "10.0.0.12\"\nforce_up = true\n"));
    let daemon = lab.daemon(&config)?;
    let rack = Rack { daemon, nginx: vec![], echoes: vec![], lab };
    let is_so = |real: &Value| {
        let reason = real["reason"].as_str().unwrap_or_default();
        real["health"] == "down" && reason.contains("no answer to ARP")
    };
    rack.real_becomes("down", ("web", address::real(2)), is_so)?;
    assert_eq!(shares(&rack.vip_status("web")?), [100, 0]);
    Ok(())
}

/// Whether the client gets no connection.
fn is_refused(rack: &Rack, to: SocketAddr) -> Result<bool> {
    let connect = || Ok(TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_err());
    rack.lab.client().netns().run(connect)
}

#[test]
fn a_disabled_vip_takes_nothing_new_and_what_is_open_goes_on() -> Result<()> {
    let (mut rack, _servers) = Rack::echoing(2, "")?;
    let vips = [("web", Rack::web()), ("web6", Rack::web6())];
    let talks: Vec<_> =
        vips.iter().map(|(_, to)| Talk::open(rack.lab.client(), *to)).collect::<Result<_>>()?;
    for (name, _) in vips {
        rack.lbctl(&["vip", "disable", name])?;
    }
    for restarted in [false, true] {
        if restarted {
            rack.daemon.restart()?;
        }
        both(&rack, "disabled", |vip| {
            let reason = vip["reason"].as_str().unwrap_or_default();
            vip["state"] == "down"
                && reason.contains("disabled by the operator")
                && is_announced(vip)
        })?;
        // What is open needs the address whenever the router asks for it.
        assert_eq!(assigned(&rack)?, [true; 2]);
        rack.lab.router().ip("neigh flush all")?;
        for ((_, to), talk) in vips.iter().zip(&talks) {
            talk.goes_on()?;
            assert!(is_refused(&rack, *to)?, "{to}");
        }
    }
    for (name, _) in vips {
        rack.lbctl(&["vip", "enable", name])?;
    }
    both(&rack, "up", |vip| vip["state"] == "up" && is_announced(vip))?;
    assert_eq!(assigned(&rack)?, [true; 2]);
    for ((_, to), talk) in vips.iter().zip(talks) {
        talk.goes_on()?;
        Talk::open(rack.lab.client(), *to)?.close()?;
        talk.close()?;
    }
    Ok(())
}

/// With so few reals up VIPs are down; the numbers are of three.
fn withdrawn_and_announced_again(words: &str, low: usize, high: usize) -> Result<()> {
    let lab = lab(3)?;
    let mut pages = pages(&lab)?;
    let rack = start(lab, &(check("type = \"tcp\"") + words))?;
    both(&rack, "up", |vip| vip["state"] == "up" && is_announced(vip))?;
    let up = |rack: &Rack, wanted: usize| {
        both(rack, &format!("{wanted} up"), |vip| {
            let reals = vip["reals"].as_array().into_iter().flatten();
            reals.filter(|real| real["health"] == "up").count() == wanted
        })
    };
    for left in (low - 1..3).rev() {
        pages[left] = None;
        up(&rack, left)?;
        both(&rack, "announced as long as it may be", |vip| is_announced(vip) == (left >= low))?;
    }
    let reason = rack.vip_status("web")?["reason"].clone();
    assert!(reason.as_str().context("a reason")?.contains("min_up"), "{reason}");
    assert_eq!(assigned(&rack)?, [false; 2]);
    for back in low..=3 {
        pages[back - 1] = Some(rack.lab.real(back).nginx_at(&at_vips(80))?);
        up(&rack, back)?;
        both(&rack, "announced again with enough", |vip| is_announced(vip) == (back >= high))?;
    }
    both(&rack, "up", |vip| vip["state"] == "up")?;
    assert_eq!(assigned(&rack)?, [true; 2]);
    for vip in at_vips(80) {
        assert_eq!(rack.answers_at(vip, 60)?.len(), 3);
    }
    Ok(())
}

#[test]
fn a_vip_with_too_few_reals_is_withdrawn_until_there_are_enough() -> Result<()> {
    withdrawn_and_announced_again("min_up = 2\nmin_up_high = 3\n", 2, 3)
}

#[test]
fn watermarks_may_be_shares_of_the_pool() -> Result<()> {
    withdrawn_and_announced_again("min_up = \"60%\"\nmin_up_high = \"100%\"\n", 2, 3)
}

#[test]
fn one_watermark_is_both() -> Result<()> {
    withdrawn_and_announced_again("min_up = 2\n", 2, 2)
}

#[test]
fn below_the_panic_threshold_all_are_used() -> Result<()> {
    let lab = lab(3)?;
    let mut pages = pages(&lab)?;
    let rack = start(lab, &(check("type = \"tcp\"") + "panic_threshold = \"50%\"\n"))?;
    rack.become_all(&[(1, "up", &[]), (2, "up", &[]), (3, "up", &[])])?;
    pages[0] = None;
    rack.become_all(&[(1, "down", &["refused"])])?;
    both(&rack, "two used", |vip| shares(vip)[0] == 0)?;
    pages[1] = None;
    rack.become_all(&[(1, "down", &["refused"]), (2, "down", &["refused"]), (3, "up", &[])])?;
    both(&rack, "all used", |vip| {
        let reason = vip["reason"].as_str().unwrap_or_default();
        shares(vip).iter().all(|share| (30..37).contains(share))
            && reason.contains("panic_threshold")
            && vip["state"] == "degraded"
    })?;
    pages[1] = Some(rack.lab.real(2).nginx_at(&at_vips(80))?);
    rack.become_all(&[(2, "up", &[])])?;
    both(&rack, "two used", |vip| shares(vip)[0] == 0)
}

#[test]
fn a_sorry_server_takes_over_when_the_last_check_fails() -> Result<()> {
    let lab = lab(2)?;
    let mut pages = pages(&lab)?;
    // The second real is not in the pool.
    let words = Rack::both(1, &check("type = \"tcp\""));
    let sorry = words.replacen("[[vip.real]]", "sorry = \"10.0.0.12\"\n\n[[vip.real]]", 1).replace(
        "\n[[vip.real]]\naddress = \"2001",
        "sorry = \"2001:db8:a::12\"\n\n[[vip.real]]\naddress = \"2001",
    );
    let daemon = lab.daemon(&lab.config(&sorry))?;
    let rack = Rack { daemon, nginx: vec![], echoes: vec![], lab };
    let answered_by = |real: &str| {
        for vip in at_vips(80) {
            wait::until(&format!("{real} at {vip}"), wait::PATIENCE, || {
                Ok(rack
                    .answers_at(vip, 1)
                    .is_ok_and(|answers| answers.contains_key(real))
                    .then_some(()))
            })?;
        }
        anyhow::Ok(())
    };
    rack.become_all(&[(1, "up", &[])])?;
    answered_by("real1")?;
    pages[0] = None;
    rack.become_all(&[(1, "down", &["refused"])])?;
    answered_by("real2")
}
