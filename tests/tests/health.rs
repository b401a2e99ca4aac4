//! The course of health: from the start to a restart, and who is told.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::{
    Lab, Manner, Nginx, Rack, Webhook, address,
    checked::{at_vips, check, lab, start, start_with},
    process::put_program,
    wait,
};

/// A page at the VIPs on each real.
fn pages(lab: &Lab) -> Result<Vec<Option<Nginx>>> {
    lab.reals().iter().map(|real| real.nginx_at(&at_vips(80)).map(Some)).collect()
}

/// What the status says of health, for both VIPs.
fn healths(rack: &Rack) -> Result<Vec<Value>> {
    let mut said = Vec::new();
    for vip in ["web", "web6"] {
        let vip = rack.vip_status(vip)?;
        for real in vip["reals"].as_array().context("reals")? {
            let keys = ["address", "health", "since", "share"];
            said.push(keys.iter().map(|key| real[key].clone()).collect());
        }
    }
    Ok(said)
}

/// What `lbctl events` prints, parsed.
fn events(rack: &Rack, words: &[&str]) -> Result<Vec<Value>> {
    let output = rack.lbctl(&[&["-o", "json", "events"][..], words].concat())?.stdout;
    output.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Of the events of health of this real, what it became.
fn became(events: &[Value], real: &str) -> Vec<String> {
    let of_health = |event: &&Value| event["event"] == "health" && event["real"] == *real;
    let to = |event: &Value| event["to"].as_str().unwrap_or_default().to_owned();
    events.iter().filter(of_health).map(to).collect()
}

#[test]
fn until_its_checks_have_spoken_a_real_counts_as_it_is_configured() -> Result<()> {
    // Nobody serves, and it takes an hour to say so.
    let slow = "interval = \"1h\", fast_interval = \"1h\", timeout = \"1s\"";
    for (initial, health, share) in [("up", "up", 0.5), ("down", "down", 0.0)] {
        let check = format!("check = {{ type = \"tcp\", initial = \"{initial}\", {slow} }}\n");
        let rack = start(lab(2)?, &check)?;
        rack.become_all(&[(1, health, &[]), (2, health, &[])])?;
        for real in healths(&rack)? {
            assert!((real[3].as_f64().context("a share")? - share).abs() < 0.01, "{real}");
        }
    }
    Ok(())
}

#[test]
fn all_checks_of_a_real_must_pass() -> Result<()> {
    let lab = lab(2)?;
    let _pages = pages(&lab)?;
    let healthy = || Manner::http("200 OK", "ok");
    let _one = lab.real(1).faulty_tcp(&at_vips(8080), healthy())?;
    let keys = tests::checked::FAST;
    let words = format!(
        "check = [\n  {{ type = \"tcp\", {keys} }},\n  {{ type = \"http\", port = 8080, {keys} }},\n]\n"
    );
    let rack = start(lab, &words)?;
    rack.become_all(&[(1, "up", &[]), (2, "down", &["refused"])])?;
    let two = rack.lab.real(2).faulty_tcp(&at_vips(8080), healthy())?;
    rack.become_all(&[(1, "up", &[]), (2, "up", &[])])?;
    two.set(Manner::http("500 Internal Server Error", ""));
    rack.become_all(&[(1, "up", &[]), (2, "down", &["http 500"])])?;
    let status = rack.real_status("web", address::real(2))?.context("a real")?;
    let checks: Vec<_> = status["checks"].as_array().context("checks")?.iter().collect();
    assert_eq!((&checks[0]["type"], &checks[0]["passed"]), (&"tcp".into(), &true.into()));
    assert_eq!((&checks[1]["type"], &checks[1]["passed"]), (&"http".into(), &false.into()));
    Ok(())
}

/// Passes and fails long before a check could say so again.
const STEADY: &str =
    "check = { type = \"tcp\", interval = \"2s\", fast_interval = \"100ms\", timeout = \"2s\" }\n";

#[test]
fn a_restart_keeps_health_without_flapping() -> Result<()> {
    let lab = lab(3)?;
    let mut pages = pages(&lab)?;
    pages[2] = None;
    let mut rack = start(lab, STEADY)?;
    rack.become_all(&[(1, "up", &[]), (2, "up", &[]), (3, "down", &["refused"])])?;
    let before = healths(&rack)?;
    let happened = events(&rack, &[])?.len();
    for kill in [false, true] {
        if kill {
            rack.daemon.kill9()?;
        }
        rack.daemon.restart()?;
        assert_eq!(healths(&rack)?, before, "at once");
        rack.become_all(&[
            (1, "up", &["connected"]),
            (2, "up", &["connected"]),
            (3, "down", &["refused"]),
        ])?;
        assert_eq!(healths(&rack)?, before, "after the first checks");
    }
    let all = events(&rack, &[])?;
    let since = &all[happened.min(all.len())..];
    assert!(since.iter().all(|event| event["event"] != "health"), "{since:#?}");
    Ok(())
}

#[test]
fn a_real_that_dies_while_no_daemon_runs_is_down_soon_after_the_start() -> Result<()> {
    let lab = lab(2)?;
    let mut pages = pages(&lab)?;
    let mut rack = start(lab, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &[]), (2, "up", &[])])?;
    rack.daemon.kill9()?;
    pages[1] = None;
    rack.daemon.restart()?;
    rack.become_all(&[(1, "up", &["connected"]), (2, "down", &["refused"])])
}

#[test]
fn a_drained_real_is_checked_and_the_drain_stays_the_operators() -> Result<()> {
    let lab = lab(2)?;
    let mut pages = pages(&lab)?;
    let rack = start(lab, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &[]), (2, "up", &[])])?;
    for (vip, real) in [("web", "10.0.0.12"), ("web6", "2001:db8:a::12")] {
        rack.lbctl(&["real", "drain", vip, real])?;
    }
    rack.become_all(&[(2, "up", &["drained by the operator", "connected"])])?;
    pages[1] = None;
    rack.become_all(&[(2, "down", &["drained by the operator", "refused"])])?;
    pages[1] = Some(rack.lab.real(2).nginx_at(&at_vips(80))?);
    rack.become_all(&[(2, "up", &["drained by the operator", "connected"])])?;
    for (vip, real) in [("web", address::real(2)), ("web6", address::real6(2))] {
        let status = rack.real_status(vip, real)?.context("a real")?;
        assert_eq!((&status["state"], &status["share"]), (&"drain".into(), &0.0.into()));
        rack.lbctl(&["real", "enable", vip, &real.to_string()])?;
        rack.real_becomes("used", (vip, real), |real| real["share"].as_f64() > Some(0.4))?;
    }
    Ok(())
}

#[test]
fn a_check_that_is_removed_or_changed_counts_at_once() -> Result<()> {
    let rack = start(lab(1)?, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "down", &["refused"])])?;
    let set = |check: &str| {
        ["web", "web6"]
            .iter()
            .try_for_each(|vip| rack.lbctl(&["vip", "set", vip, "--check", check]).map(drop))
    };
    set("none")?;
    rack.become_all(&[(1, "unknown", &["no check"])])?;
    set("icmp")?;
    rack.become_all(&[(1, "up", &["ping answered"])])?;
    set("tcp:80")?;
    rack.become_all(&[(1, "down", &["refused"])])
}

#[test]
fn transitions_are_told_in_order_across_restarts() -> Result<()> {
    let lab = lab(2)?;
    let mut pages = pages(&lab)?;
    let mut rack = start(lab, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &[]), (2, "up", &[])])?;
    for restart in [false, true] {
        pages[1] = None;
        rack.become_all(&[(2, "down", &[])])?;
        if restart {
            rack.daemon.restart()?;
        }
        pages[1] = Some(rack.lab.real(2).nginx_at(&at_vips(80))?);
        rack.become_all(&[(2, "up", &[])])?;
    }
    let all = events(&rack, &[])?;
    let numbers: Vec<_> = all.iter().map(|event| event["number"].as_u64()).collect();
    assert!(numbers.is_sorted() && numbers[0].is_some(), "{numbers:?}");
    for real in ["10.0.0.12", "2001:db8:a::12"] {
        assert!(
            became(&all, real).ends_with(&["up", "down", "up", "down", "up"].map(Into::into)),
            "{all:#?}"
        );
    }
    let mut reasons =
        all.iter().filter(|event| event["real"] == "10.0.0.12" && event["to"] == "down");
    let reason = reasons.next_back().context("it was down")?["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("refused"), "{reason}");

    let of_one = events(&rack, &["web6"])?;
    assert!(became(&of_one, "10.0.0.12").is_empty());
    let of_vip = |to: &str| {
        of_one.iter().any(|event| {
            (&event["event"], &event["vip"], &event["to"])
                == (&"vip".into(), &"web6".into(), &to.into())
        })
    };
    assert!(of_vip("up") && of_vip("degraded"), "{of_one:#?}");
    assert_eq!(events(&rack, &["--last", "1"])?, all[all.len() - 1..]);
    Ok(())
}

#[test]
fn hooks_are_called_with_each_transition() -> Result<()> {
    let lab = lab(1)?;
    let mut pages = pages(&lab)?;
    // The program runs as a user who may write nowhere else.
    let told = lab.dir().join("told");
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755))?;
    fs::write(&told, "")?;
    fs::set_permissions(&told, fs::Permissions::from_mode(0o666))?;
    let program = lab.dir().join("notify");
    put_program(&program, "#!/bin/sh\nexec cat >>\"$1\"\n")?;
    // The first posts are refused, to be tried again.
    let place: SocketAddr = "127.0.0.1:9000".parse()?;
    let hook = Webhook::start(lab.balancer(), place, 2)?;
    let hooks =
        format!("[hooks]\nexec = [{program:?}, {told:?}]\nwebhook = \"http://{place}/hook\"\n\n");
    let rack = start_with(lab, &hooks, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &[])])?;
    pages[0] = None;
    rack.become_all(&[(1, "down", &[])])?;
    let are_told = |got: &[Value]| {
        ["10.0.0.11", "2001:db8:a::11"].iter().all(|real| {
            let became = became(got, real);
            became.iter().any(|to| to == "up") && became.iter().any(|to| to == "down")
        })
    };
    wait::until("posts", wait::PATIENCE, || Ok(are_told(&hook.got()).then_some(())))?;
    wait::until("calls", wait::PATIENCE, || {
        let text = fs::read_to_string(&told)?;
        let calls = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        // Somebody may be writing.
        let calls: Vec<Value> = calls.map_while(Result::ok).collect();
        Ok(are_told(&calls).then_some(()))
    })
}

#[test]
fn hooks_that_hang_or_fail_hold_nothing_up() -> Result<()> {
    let lab = lab(1)?;
    let mut pages = pages(&lab)?;
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755))?;
    let program = lab.dir().join("hangs");
    put_program(&program, "#!/bin/sh\nsleep 3600\n")?;
    // Nobody listens there.
    let hooks = format!("[hooks]\nexec = [{program:?}]\nwebhook = \"http://127.0.0.1:9/\"\n\n");
    let mut rack = start_with(lab, &hooks, &check("type = \"tcp\""))?;
    for _ in 0..3 {
        rack.become_all(&[(1, "up", &[])])?;
        pages[0] = None;
        rack.become_all(&[(1, "down", &[])])?;
        pages[0] = Some(rack.lab.real(1).nginx_at(&at_vips(80))?);
    }
    rack.daemon.terminate()
}
