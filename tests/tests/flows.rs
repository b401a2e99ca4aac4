//! What can be seen of flows after a change, and what becomes of them when a real comes into service or gets
//! another network card.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tests::{Rack, Talk, address, wait};

/// Nothing is forgotten during a test.
const WORDS: &str = "idle_timeout = \"10m\"\nudp_idle_timeout = \"10m\"\ndrain_timeout = \"1h\"\n";

fn json(rack: &Rack, words: &[&str]) -> Result<Value> {
    rack.lbctl(&[&["-o", "json"], words].concat())?.json()
}

/// What a trace says of a flow: the real, and the rule that chose it.
fn traced(rack: &Rack, from: SocketAddr, to: SocketAddr, syn: &[&str]) -> Result<(String, String)> {
    let (from, to) = (from.to_string(), to.to_string());
    let trace = json(rack, &[&["trace", "--src", &from, "--dst", &to], syn].concat())?;
    let text =
        |key: &str| anyhow::Ok(trace[key].as_str().with_context(|| trace.to_string())?.to_owned());
    Ok((text("real")?, text("by")?))
}

fn flows(rack: &Rack, words: &[&str]) -> Result<Vec<Value>> {
    let listed = json(rack, &[&["flows"], words].concat())?;
    Ok(listed["flows"].as_array().context("flows")?.clone())
}

/// A SYN whose answer gets lost; where it came from.
fn beginning(rack: &Rack, vip: &str, to: SocketAddr) -> Result<SocketAddr> {
    let client = rack.lab.client().netns();
    let patience = Duration::from_millis(100);
    client.run(|| {
        drop(std::net::TcpStream::connect_timeout(&to, patience));
        Ok(())
    })?;
    let listed = flows(rack, &[vip])?;
    let found = listed.iter().find(|flow| flow["table"] == "fresh").context("a flow")?;
    Ok(found["source"].as_str().context("its source")?.parse()?)
}

#[test]
fn flows_are_listed_with_the_real_that_has_them_and_a_trace_says_by_which_rule() -> Result<()> {
    let (rack, _servers) = Rack::echoing(2, WORDS)?;
    assert!(rack.lbctl(&["flows"])?.stdout.contains("no flow is noted"));
    let vips = [
        ("web", Rack::web(), [1, 2].map(address::real)),
        ("web6", Rack::web6(), [1, 2].map(address::real6)),
    ];
    for (vip, to, reals) in vips {
        let [leaving, other] = reals.map(|real| real.to_string());
        let told = |real: &String, by: &str| (real.clone(), by.to_owned());
        let old = Talk::open_on(&rack.lab, to, 1)?;
        assert_eq!(traced(&rack, old.source(), to, &[])?, told(&leaving, "current"));
        rack.lbctl(&["real", "drain", vip, &leaving])?;

        // Older than the change: nobody has noted it.
        assert_eq!(traced(&rack, old.source(), to, &[])?, told(&leaving, "previous"));
        assert_eq!(traced(&rack, old.source(), to, &["--syn"])?, told(&other, "current"));
        assert_eq!(flows(&rack, &[vip])?, Vec::<Value>::new());

        let new = until_noted(&rack, vip, to)?;
        assert_eq!(traced(&rack, new.source(), to, &[])?, told(&other, "pinned"));
        let listed = flows(&rack, &[vip, "--real", &other])?;
        let source = new.source().to_string();
        let flow = listed.iter().find(|flow| flow["source"] == *source).context("the flow")?;
        assert_eq!((&flow["vip"], &flow["protocol"]), (&vip.into(), &"tcp".into()));
        assert_eq!(flow["destination"], to.to_string());
        assert_eq!((&flow["real"], &flow["table"]), (&(*other).into(), &"pinned".into()));
        assert_eq!(flows(&rack, &[vip, "--real", &leaving])?, Vec::<Value>::new());
        let table = rack.lbctl(&["flows", vip])?.stdout;
        let line = table.lines().find(|line| line.contains(&source)).context("its line")?;
        assert!(line.contains("pinned") && line.contains(&other), "{table}");

        // Of which only the beginning was seen: the client never hears of the real.
        let lan = if to.is_ipv4() { "198.51.100.0/24" } else { "2001:db8:1::/64" };
        let answers = rack.lab.real(2).netns();
        answers.ip(&format!("route add blackhole {lan}"))?;
        let fresh =
            wait::until("a fresh flow", wait::PATIENCE, || Ok(beginning(&rack, vip, to).ok()))?;
        for _ in 0..2 {
            assert_eq!(
                traced(&rack, fresh, to, &[])?,
                told(&other, "fresh"),
                "traces change nothing"
            );
        }
        answers.ip(&format!("route del blackhole {lan}"))?;
        new.goes_on()?;
        old.goes_on()?;
    }
    // One VIP's flows are not another's.
    assert!(flows(&rack, &["web6"])?.iter().all(|flow| flow["vip"] == "web6"));
    assert_eq!(flows(&rack, &["--limit", "1"])?.len(), 1);
    let unknown = rack.daemon.lbctl(&["flows", "wbe"])?;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stderr.contains("wbe"), "{unknown:?}");
    Ok(())
}

/// A new connection in a slot that has moved.
fn until_noted(rack: &Rack, vip: &str, to: SocketAddr) -> Result<Talk> {
    for _ in 0..100 {
        let talk = Talk::open(rack.lab.client(), to)?;
        talk.goes_on()?;
        let source = talk.source().to_string();
        if flows(rack, &[vip])?.iter().any(|flow| flow["source"] == *source) {
            return Ok(talk);
        }
    }
    bail!("none of 100 connections was noted")
}

/// How long a real takes to come into service.
const START: Duration = Duration::from_secs(5);

/// Four standard deviations of the share in a ring of 1021 slots, and a step that is due.
const ROUGHLY: f64 = 0.1;

/// The steps of a start: the part must never be ahead of the time, nor go back.
struct Climb {
    began: Instant,
    last: f64,
    steps: usize,
}

impl Climb {
    /// Looks at the real; whether it has its whole part. Slots are chosen by a hash, so the share is
    /// about what is told.
    fn look(&mut self, status: &Value) -> Result<bool> {
        let share = status["share"].as_f64().context("share")?;
        let told = status["slow_start"]["part"].as_f64();
        let passed = self.began.elapsed().as_secs_f64() / START.as_secs_f64();
        let (part, allowed) = (told.unwrap_or(1.0), ((passed * 10.0).floor() + 1.0) / 10.0);
        assert!(part <= allowed, "{part} of its part after {passed} of the time");
        assert!(share >= self.last, "{share} after {}", self.last);
        assert!((share - part / 2.0).abs() < ROUGHLY, "{part} of a half is told, {share} is so");
        self.steps += usize::from(share > self.last);
        self.last = share;
        Ok(told.is_none())
    }
}

#[test]
fn a_real_that_comes_into_service_gets_its_part_in_steps_across_a_restart() -> Result<()> {
    let words = format!("{WORDS}slow_start = \"5s\"\n");
    let (mut rack, _servers) = Rack::echoing(2, &words)?;
    let real = address::real(2);
    let first = rack.real_status("web", real)?.context("the real")?;
    assert_eq!(first["slow_start"], Value::Null, "nobody else could serve before it");
    for neighbour in [false, true] {
        let out = |real: &Value| real["share"] == 0.0;
        let port = "link set real2";
        if neighbour {
            rack.lab.switch().ip(&format!("{port} nomaster"))?;
            rack.lab.balancer().ip(&format!("neigh change {real} dev eth0 nud probe"))?;
        } else {
            rack.lbctl(&["real", "disable", "web", &real.to_string()])?;
        }
        rack.real_becomes("out of service", ("web", real), out)?;
        let mut climb = Climb { began: Instant::now(), last: 0.0, steps: 0 };
        if neighbour {
            rack.lab.switch().ip(&format!("{port} master br0"))?;
        } else {
            rack.lbctl(&["real", "enable", "web", &real.to_string()])?;
        }
        let back = |real: &Value| real["share"].as_f64() > Some(0.0);
        rack.real_becomes("back in service", ("web", real), back)?;
        let mut restarts = !neighbour;
        wait::until("its whole part", wait::PATIENCE, || {
            let status = rack.real_status("web", real)?.context("the real")?;
            let whole = climb.look(&status)?;
            if restarts && climb.last > 0.2 {
                restarts = false;
                rack.daemon.kill9()?;
                rack.daemon.restart()?;
            }
            Ok(whole.then_some(()))
        })?;
        // Of ten; a look that comes late may miss some, and the restart does.
        let least = if neighbour { 8 } else { 5 };
        assert!(climb.steps >= least, "{} steps", climb.steps);
        assert!(!restarts, "the restart was in the middle of it");
    }
    Ok(())
}

/// What a restart must leave as it is: all that is told but what passes with time, and 40 flows' reals.
fn remembered(rack: &Rack) -> Result<(Value, Vec<String>)> {
    let mut status = rack.status()?["vips"].take();
    for vip in status.as_array_mut().into_iter().flatten() {
        // Slots are closed when their time has come.
        vip["tracked_slots"] = Value::Null;
        for real in vip["reals"].as_array_mut().into_iter().flatten() {
            for passing in ["drain", "slow_start"] {
                if let Some(told) = real.get_mut(passing) {
                    told["seconds_left"] = Value::Null;
                }
            }
        }
    }
    let owners = (0..40).map(|flow| {
        let from = SocketAddr::new(address::CLIENT, 20_000 + flow);
        Ok(traced(rack, from, Rack::web(), &[])?.0)
    });
    Ok((status, owners.collect::<Result<_>>()?))
}

#[test]
fn a_restart_forgets_neither_drains_nor_starts_nor_since_when_all_is_as_it_is() -> Result<()> {
    let words = format!("{WORDS}slow_start = \"1h\"\n");
    let (mut rack, _servers) = Rack::echoing(5, &words)?;
    let talks = [Rack::web(), Rack::web6()].map(|to| Talk::open_on(&rack.lab, to, 1));
    for talk in talks {
        talk?.close()?;
    }
    for (vip, real) in [("web", address::real as fn(u8) -> IpAddr), ("web6", address::real6)] {
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| real(number).to_string());
        rack.lbctl(&["real", "drain", vip, &first, "--timeout", "17m"])?;
        rack.lbctl(&["real", "del", vip, &second])?;
        rack.lbctl(&["real", "disable", vip, &third])?;
        rack.lbctl(&["real", "enable", vip, &third])?;
        rack.lbctl(&["real", "disable", vip, &fourth])?;
    }
    let before = remembered(&rack)?;
    let starts = &before.0[0]["reals"][1]["slow_start"];
    assert!(starts["part"].as_f64() < Some(0.11), "{}", before.0);
    for kills in [true, false] {
        if kills {
            rack.daemon.kill9()?;
        }
        rack.daemon.restart()?;
        let after = remembered(&rack)?;
        assert_eq!(after.1, before.1);
        let lines = |told: &Value| serde_json::to_string_pretty(told);
        let (after, before) = (lines(&after.0)?, lines(&before.0)?);
        for (after, before) in after.lines().zip(before.lines()) {
            assert_eq!(after, before);
        }
    }
    Ok(())
}

#[test]
fn what_a_change_began_is_on_the_disk_once_the_change_is_answered() -> Result<()> {
    let words = format!("{WORDS}slow_start = \"1h\"\n");
    let (mut rack, _servers) = Rack::echoing(2, &words)?;
    rack.lbctl(&["real", "disable", "web", "10.0.0.12"])?;
    rack.lbctl(&["real", "enable", "web", "10.0.0.12"])?;
    rack.daemon.kill9()?;
    let ledger = fs::read_to_string(rack.lab.dir().join("state/ledger.json"))?;
    let ledger: Value = serde_json::from_str(&ledger)?;
    let course = &ledger["vips"]["web"]["10.0.0.12"];
    assert_eq!(course["known"]["verdict"]["usable"], true, "{course}");
    assert!(course["started"].is_string(), "{course}");
    Ok(())
}
