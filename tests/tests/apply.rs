//! Whole configurations: what they would change is told before, and they are put in force as a whole or not
//! at all.

use std::{
    fmt::Write as _,
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{Daemon, Lab, LabOptions, Output, Rack, Talk, address, bin, wait};

/// Writes a file for `lbctl`.
fn file(lab: &Lab, name: &str, text: &str) -> Result<String> {
    let path = lab.dir().join(name);
    fs::write(&path, text)?;
    Ok(path.to_str().context("a path")?.to_owned())
}

/// The VIPs of a status without what passes with time.
fn essence(status: &Value) -> Value {
    let mut vips = status["vips"].clone();
    for vip in vips.as_array_mut().into_iter().flatten() {
        for counter in ["packets", "bytes", "flows", "tracked_slots"] {
            vip[counter] = Value::Null;
        }
        for real in vip["reals"].as_array_mut().into_iter().flatten() {
            for counter in ["packets", "bytes", "flows"] {
                real[counter] = Value::Null;
            }
        }
    }
    vips
}

const WORDS: &str = "idle_timeout = \"2s\"\nudp_idle_timeout = \"2s\"\n";

#[test]
fn a_plan_says_what_moves_and_an_apply_does_it_and_keeps_the_files_comments() -> Result<()> {
    let (rack, _servers) = Rack::echoing(3, WORDS)?;
    rack.lbctl(&["real", "del", "web", "10.0.0.13", "--now"])?;
    let running = fs::read_to_string(rack.daemon.config_file())?;
    let same = file(&rack.lab, "same.toml", &running)?;
    for command in ["plan", "apply"] {
        assert!(rack.lbctl(&[command, "-f", &same])?.stdout.contains("no change"));
    }

    let talks: Vec<_> = (0..12)
        .map(|flow| if flow % 2 == 0 { Rack::web() } else { Rack::web6() })
        .map(|to| Talk::open(rack.lab.client(), to))
        .collect::<Result<_>>()?;
    let text = format!("# Of the cellar.\n{}# The end.\n", rack.lab.config(&Rack::both(3, WORDS)));
    let more = file(&rack.lab, "more.toml", &text)?;
    let before = essence(&rack.status()?);
    let planned = rack.lbctl(&["-o", "json", "plan", "-f", &more])?.json()?;
    let [vip] = &planned["vips"].as_array().context("vips")?[..] else {
        panic!("one VIP changes: {planned}");
    };
    assert_eq!((&vip["name"], &vip["change"]), (&"web".into(), &"changed".into()));
    let added = vip["reals"].as_array().context("reals")?.iter();
    let added = added.filter(|real| real["change"] == "added").collect::<Vec<_>>();
    assert_eq!(added.len(), 1, "{planned}");
    assert_eq!(
        (&added[0]["address"], &added[0]["share_before"]),
        (&"10.0.0.13".into(), &0.0.into())
    );
    let third = |value: &Value| value.as_f64().is_some_and(|part| (0.3..0.37).contains(&part));
    assert!(third(&added[0]["share_after"]) && third(&vip["moved"]), "{planned}");
    assert_eq!((&vip["lost"], &planned["lost"]), (&0.0.into(), &0.0.into()), "{planned}");
    let table = rack.lbctl(&["plan", "-f", &more])?.stdout;
    assert!(table.contains("10.0.0.13") && table.contains("added"), "{table}");
    assert_eq!(essence(&rack.status()?), before, "a plan changes nothing");
    assert_eq!(fs::read_to_string(rack.daemon.config_file())?, running);

    let done = rack.lbctl(&["-o", "json", "apply", "-f", &more])?.json()?;
    assert_eq!(done["plan"], planned, "what was planned was done");
    assert_eq!(fs::read_to_string(rack.daemon.config_file())?, text, "comments and all");
    rack.usable_of("web", 3)?;
    talks.iter().try_for_each(Talk::goes_on)?;

    // Some of the flows that are noted now are concerned by the way back.
    let noted = wait::until("noted flows", wait::PATIENCE, || {
        drop(Talk::open(rack.lab.client(), Rack::web())?);
        let back = rack.lbctl(&["-o", "json", "plan", "-f", &same])?.json()?;
        Ok((back["flows"].as_u64() > Some(0)).then_some(back))
    })?;
    assert_eq!(noted["lost"], 0.0, "{noted}");
    rack.lbctl(&["apply", "-f", &same])?;
    talks.iter().try_for_each(Talk::goes_on)?;
    assert_eq!(fs::read_to_string(rack.daemon.config_file())?, running);
    Ok(())
}

fn fails(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, code, "{output:?}");
    for part in parts {
        assert!(output.stderr.contains(part), "{:?} does not say {part:?}", output.stderr);
    }
}

#[test]
fn what_moves_too_much_or_is_wrong_is_refused_and_changes_nothing() -> Result<()> {
    let (rack, _servers) = Rack::echoing(3, WORDS)?;
    let running = fs::read(rack.daemon.config_file())?;
    let before = essence(&rack.status()?);
    let config = rack.lab.config(&Rack::both(3, WORDS));
    let less = file(&rack.lab, "less.toml", &rack.lab.config(&Rack::both(2, WORDS)))?;
    let bad = file(&rack.lab, "bad.toml", &config.replacen("idle_timeout", "idel_timeout", 1))?;
    let broken = file(&rack.lab, "broken.toml", &config.replacen("[node]", "[node", 1))?;
    let line =
        1 + config.lines().position(|line| line.starts_with("idle_timeout")).context("it")?;
    for (words, code, parts) in [
        (&["apply", "-f", &less, "--max-moved", "1%"][..], 1, &["--max-moved", "1.00 %"][..]),
        (&["apply", "-f", &bad], 2, &[&format!("{bad}:{line}:1: "), "idel_timeout"]),
        (&["plan", "-f", &bad], 2, &[&format!("{bad}:{line}:1: ")]),
        (&["apply", "-f", &broken], 2, &[&format!("{broken}:1:")]),
    ] {
        fails(&rack.daemon.lbctl(words)?, code, parts);
        assert_eq!(fs::read(rack.daemon.config_file())?, running);
        assert_eq!(essence(&rack.status()?), before);
    }
    rack.lbctl(&["apply", "-f", &less, "--max-moved", "40%"])?;
    assert!(!rack.lbctl(&["export"])?.stdout.contains("10.0.0.13"));
    Ok(())
}

#[test]
fn what_changes_of_the_node_waits_for_a_restart_and_is_told() -> Result<()> {
    let (mut rack, _servers) = Rack::echoing(2, WORDS)?;
    let config = rack.lab.config(&Rack::both(1, WORDS));
    let config = config.replace("[node]\n", "[node]\nlisten = \"127.0.0.1:9101\"\n");
    let other = file(&rack.lab, "node.toml", &config)?;
    for command in ["plan", "apply"] {
        let told = rack.lbctl(&[command, "-f", &other])?.stdout;
        assert!(
            told.contains("[node] listen none -> 127.0.0.1:9101, once lbd is restarted"),
            "{told}"
        );
    }
    assert!(rack.daemon.log()?.contains("[node] take effect when lbd is restarted"));
    let takes_part = |rack: &Rack| rack.real_status("web", address::real(2));
    let leaves = takes_part(&rack)?.is_none_or(|real| real["drain"]["removes"] == true);
    assert!(leaves, "the VIPs are as they are to be");
    let answers = |rack: &Rack| {
        let mut curl = rack.lab.balancer().command("curl");
        Output::of(curl.args(["-sS", "http://127.0.0.1:9101/healthz"]))
    };
    assert_ne!(answers(&rack)?.code, 0);
    rack.daemon.restart()?;
    assert_eq!(answers(&rack)?.code, 0);
    Ok(())
}

/// How often the daemon is killed. Each time takes about half a second.
const KILLS: u32 = 20;

/// Fifty VIPs of three reals, or of two others; nothing in one is in the other by chance.
fn large(lab: &Lab, which: usize) -> String {
    let mut text = String::new();
    for vip in 0..50 {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "[[vip]]\nname = \"v{vip}\"\naddress = \"192.0.2.{}\"\nports = [\"tcp/{}\"]\nannounce = \"none\"\n\
             idle_timeout = \"{}s\"\ndrain_timeout = \"1h\"\n",
            100 + vip,
            80 + which,
            1 + which
        );
        for real in [[11, 12, 13], [13, 14, 15]][which] {
            let _ = writeln!(
                text,
                "[[vip.real]]\naddress = \"10.0.0.{real}\"\nmac = \"02:00:00:00:01:{real:02x}\"\nweight = {}\n",
                1 + which
            );
        }
    }
    lab.config(&text)
}

/// Checks that the status says of every VIP what this configuration says; those who have left may still
/// be there.
fn is_in_force(status: &Value, which: usize) -> Result<()> {
    let wanted: [&[&str]; 2] =
        [&["10.0.0.11", "10.0.0.12", "10.0.0.13"], &["10.0.0.13", "10.0.0.14", "10.0.0.15"]];
    let vips = status["vips"].as_array().context("vips")?;
    ensure!(vips.len() == 50, "{} VIPs", vips.len());
    for vip in vips {
        ensure!(vip["ports"][0] == format!("tcp/{}", 80 + which), "{vip}");
        let reals = vip["reals"].as_array().context("reals")?;
        let stays = |real: &&Value| real["drain"]["removes"] != true;
        let stay: Vec<_> =
            reals.iter().filter(stays).filter_map(|real| real["address"].as_str()).collect();
        ensure!(stay == wanted[which], "{vip}");
        for real in reals {
            let share = real["share"].as_f64().context("share")?;
            let owns = if stays(&real) { 0.3..0.37 } else { 0.0..f64::MIN_POSITIVE };
            ensure!(owns.contains(&share), "{real} of {vip}");
        }
    }
    Ok(())
}

/// A number below another that is not the same in each run.
fn any_below(limit: u32) -> Result<u32> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_micros() % limit)
}

#[test]
fn whenever_the_daemon_is_killed_one_whole_configuration_is_in_force() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let texts = [0, 1].map(|which| large(&lab, which));
    let paths = [file(&lab, "0.toml", &texts[0])?, file(&lab, "1.toml", &texts[1])?];
    let mut daemon = lab.daemon(&texts[0])?;
    let exported = |daemon: &Daemon| anyhow::Ok(daemon.lbctl(&["export"])?.success()?.stdout);
    let mut exports = Vec::new();
    let mut takes = Duration::ZERO;
    for which in [0, 1] {
        let began = Instant::now();
        daemon.lbctl(&["apply", "-f", &paths[which]])?.success()?;
        takes = takes.max(began.elapsed());
        exports.push(exported(&daemon)?);
        is_in_force(&daemon.lbctl(&["-o", "json", "status"])?.json()?, which)?;
    }
    let (mut now, mut done, mut between) = (1, 0, 0);
    for _ in 0..KILLS {
        let next = 1 - now;
        let mut command = lab.balancer().command(bin::path("lbctl")?);
        command.arg("--socket").arg(lab.socket()).args(["apply", "-f", &paths[next]]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut apply = lab.balancer().spawn(command)?;
        // Any moment will do; the first third is spent on planning.
        let moment = takes / 3 + Duration::from_micros(any_below(takes.as_micros() as u32)?.into());
        thread::sleep(moment);
        daemon.kill9()?;
        let answered = apply.wait()?.success();
        daemon.restart()?;
        let found = exported(&daemon)?;
        let force = exports.iter().position(|export| *export == found);
        let force = force.with_context(|| format!("a mixture is in force:\n{found}"))?;
        assert_eq!(fs::read_to_string(daemon.config_file())?, texts[force]);
        is_in_force(&daemon.lbctl(&["-o", "json", "status"])?.json()?, force)?;
        ensure!(!answered || force == next, "what was said to be done was not");
        done += u32::from(force == next);
        between += u32::from(force == next && !answered);
        now = force;
    }
    println!(
        "{KILLS} kills, an apply takes {takes:?}: done {done} times, {between} of them unanswered"
    );
    Ok(())
}
