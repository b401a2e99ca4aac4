//! Checks take the clients' path: a real that does not serve the VIP is down, whatever else it answers. IPv4 and IPv6
//! alike.

use std::{net::TcpStream, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tests::{
    Lab, LabOptions, Nginx, Rack, Real, address,
    checked::{at_own, at_vips, check, everywhere, lab, start, vips},
    wait,
};

/// A page on each real, at the VIPs and at the real's own addresses.
fn pages(lab: &Lab) -> Result<Vec<Nginx>> {
    lab.reals().iter().map(|real| real.nginx_at(&everywhere(real, 80))).collect()
}

fn remove_vips(real: &Real) -> Result<()> {
    vips().iter().try_for_each(|vip| real.remove_vip(*vip))
}

/// All connections to both VIPs end at this real.
fn only(rack: &Rack, real: &str) -> Result<()> {
    for vip in at_vips(80) {
        let answers = rack.answers_at(vip, 20)?;
        ensure!(answers.keys().eq([real]), "{vip}: {answers:?}");
    }
    Ok(())
}

#[test]
fn a_real_that_has_lost_the_vip_is_down_although_it_answers_at_its_own_address() -> Result<()> {
    let lab = lab(2)?;
    let _pages = pages(&lab)?;
    let rack = start(lab, &check("type = \"http\", path = \"/healthz\""))?;
    rack.become_all(&[(1, "up", &["http 200", "VIP"]), (2, "up", &["http 200", "VIP"])])?;
    remove_vips(rack.lab.real(2))?;
    rack.become_all(&[
        (1, "up", &[]),
        (2, "down", &["timeout", "VIP", "answers at its own address", "on its lo?"]),
    ])?;
    only(&rack, "real1")?;
    vips().iter().try_for_each(|vip| rack.lab.real(2).set_up_dsr(*vip))?;
    rack.become_all(&[(2, "up", &["http 200", "VIP"])])
}

#[test]
fn every_kind_notices_that_the_vip_is_gone() -> Result<()> {
    for (kind, port) in [("tcp", 80), ("syn", 80), ("icmp", 0), ("udp", 53), ("dns", 53)] {
        let lab = lab(1)?;
        let real = lab.real(1);
        let _pages = pages(&lab)?;
        let own = vips().into_iter().chain([real.address(), real.address6()]);
        let echo = |address| real.udp_echo(address, port);
        let (_echoes, _names);
        let keys = match kind {
            "udp" => {
                _echoes = own.map(echo).collect::<Result<Vec<_>>>()?;
                ", send = \"ping\""
            }
            "dns" => {
                _names = real.name_server(&own.collect::<Vec<_>>())?;
                ", name = \"www.example.test\""
            }
            _ => "",
        };
        let rack = start(lab, &check(&format!("type = \"{kind}\"{keys}")))?;
        rack.become_all(&[(1, "up", &["VIP"])])?;
        remove_vips(rack.lab.real(1))?;
        let words = &["timeout", "VIP", "answers at its own address", "on its lo"];
        rack.become_all(&[(1, "down", words)]).context(kind)?;
    }
    Ok(())
}

#[test]
fn a_check_of_the_real_itself_does_not_notice_that_the_vip_is_gone() -> Result<()> {
    let lab = lab(2)?;
    let pages = pages(&lab)?;
    let rack = start(lab, &check("type = \"http\", path = \"/healthz\", via = \"rip\""))?;
    rack.become_all(&[(1, "up", &["http 200"]), (2, "up", &["http 200"])])?;
    remove_vips(rack.lab.real(2))?;
    // Clients are let down, by whom is chosen by the flow.
    for vip in at_vips(80) {
        wait::until("a client that is let down", wait::PATIENCE, || {
            let connect =
                || Ok(TcpStream::connect_timeout(&vip, Duration::from_millis(300)).err().map(drop));
            rack.lab.client().netns().run(connect)
        })?;
    }
    let checks = || -> Result<usize> {
        Ok(pages[1].access_log()?.iter().filter(|line| line.contains("/healthz")).count())
    };
    // More checks of both families than it takes to be down.
    let enough = checks()? + 10;
    wait::until("more checks", wait::PATIENCE, || Ok((checks()? >= enough).then_some(())))?;
    rack.become_all(&[(2, "up", &["http 200"])])
}

#[test]
fn a_server_that_listens_at_its_own_address_only_is_down() -> Result<()> {
    let lab = lab(2)?;
    let _pages =
        [lab.real(1).nginx_at(&at_vips(80))?, lab.real(2).nginx_at(&at_own(lab.real(2), 80))?];
    let rack = start(lab, &check("type = \"tcp\""))?;
    let words = &["refused", "VIP", "answers at its own address", "listen on the VIP?"];
    rack.become_all(&[(1, "up", &["connected"]), (2, "down", words)])?;
    only(&rack, "real1")
}

#[test]
fn a_server_that_is_gone_is_told_from_a_vip_that_is_gone() -> Result<()> {
    let lab = lab(2)?;
    let mut pages = pages(&lab)?;
    let rack = start(lab, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &[]), (2, "up", &[])])?;
    pages.pop();
    rack.become_all(&[(2, "down", &["refused", "the server itself", "running?"])])
}

#[test]
fn an_answer_of_another_real_is_not_taken_for_one() -> Result<()> {
    let lab = lab(2)?;
    let _pages = pages(&lab)?;
    // It sends packets for VIPs back to the router, which has them balanced.
    let real = lab.real(2);
    remove_vips(real)?;
    real.netns().sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    let rack = start(lab, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &["connected"]), (2, "down", &["answers at its own address"])])?;
    only(&rack, "real1")
}

#[test]
fn each_vip_of_a_real_is_checked_by_itself() -> Result<()> {
    let lab = lab(1)?;
    let real = lab.real(1);
    let more = [address::vip(20), address::vip6(20)];
    more.iter().try_for_each(|vip| real.set_up_dsr(*vip))?;
    let _page = real.nginx(&[vips(), more].concat())?;
    let words = Rack::both(1, &check("type = \"tcp\""));
    let others =
        words.replace("\"web", "\"other").replace(".2.10", ".2.20").replace("2::10", "2::20");
    let daemon = lab.daemon(&lab.config(&(words + "\n" + &others)))?;
    let rack = Rack { daemon, nginx: vec![], echoes: vec![], lab };
    let becomes = |vip: &str, health: &str| {
        let real = if vip.ends_with('6') { address::real6(1) } else { address::real(1) };
        rack.real_becomes(health, (vip, real), |status| status["health"] == health).map(drop)
    };
    ["web", "web6", "other", "other6"].iter().try_for_each(|vip| becomes(vip, "up"))?;
    remove_vips(rack.lab.real(1))?;
    ["web", "web6"].iter().try_for_each(|vip| becomes(vip, "down"))?;
    ["other", "other6"].iter().try_for_each(|vip| becomes(vip, "up"))
}

#[test]
fn checks_follow_a_real_that_gets_another_network_card() -> Result<()> {
    let lab = lab(1)?;
    let _pages = pages(&lab)?;
    let rack = start(lab, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &["connected"])])?;
    let mac = "02:00:00:00:00:99";
    let netns = rack.lab.real(1).netns();
    // It tells everybody.
    netns.sysctl(&[("ipv4/conf/eth0/arp_notify", "1"), ("ipv6/conf/eth0/ndisc_notify", "1")])?;
    netns.ip(&format!("link set eth0 address {mac}"))?;
    for (vip, real) in [("web", address::real(1)), ("web6", address::real6(1))] {
        let is_so = |status: &serde_json::Value| {
            status["mac"] == mac && status["health"] == "up" && has_passed(status)
        };
        rack.real_becomes("up with its new card", (vip, real), is_so)?;
    }
    remove_vips(rack.lab.real(1))?;
    rack.become_all(&[(1, "down", &["timeout", "on its lo?"])])
}

/// Whether its newest checks have all passed.
fn has_passed(real: &serde_json::Value) -> bool {
    let checks = real["checks"].as_array();
    checks.is_some_and(|checks| checks.iter().all(|check| check["passed"] == true))
}

#[test]
fn a_real_on_another_interface_is_checked_there() -> Result<()> {
    let lab = Lab::new(LabOptions { second_lan_reals: 1, ..LabOptions::reals(1) })?;
    for (real, vip) in lab.reals().iter().flat_map(|real| vips().map(|vip| (real, vip))) {
        real.set_up_dsr(vip)?;
    }
    let _pages = pages(&lab)?;
    let far = format!("[[vip.real]]\naddress = \"{}\"\n", address::far_real(1));
    let far6 = far.replace("10.0.1.21", &address::beside(address::far_real(1)).to_string());
    let words = check("type = \"http\", path = \"/healthz\"");
    let vips = Rack::vips(1) + &far + "\n" + &Rack::vips6(1) + &far6;
    let vips = vips.replace("\"udp/53\"]\n", &format!("\"udp/53\"]\n{words}"));
    let daemon = lab.daemon(&lab.balancers()[0].config_on(&["eth0", "eth1"], &vips))?;
    let rack = Rack { daemon, nginx: vec![], echoes: vec![], lab };
    let becomes = |health: &str| {
        for (vip, real) in
            [("web", address::far_real(1)), ("web6", address::beside(address::far_real(1)))]
        {
            rack.real_becomes(health, (vip, real), |status| status["health"] == health)?;
        }
        anyhow::Ok(())
    };
    becomes("up")?;
    rack.become_all(&[(1, "up", &["http 200"])])?;
    remove_vips(rack.lab.real(2))?;
    becomes("down")?;
    rack.become_all(&[(1, "up", &["http 200"])])
}
