//! The unit that is packaged: what systemd says of it, and that lbd can do all it must under what it allows.

use std::fs;

use anyhow::{Context as _, Result};
use tests::{Lab, Output, Rack, Unit, bin, debian, wait};

/// How exposed the service may be, of 100; `systemd-analyze security` says a tenth of it.
const EXPOSURE: &str = "30";

#[test]
fn systemd_finds_the_unit_no_more_exposed_than_is_documented() -> Result<()> {
    let mut analyze = debian::program("usr/bin/systemd-analyze")?;
    analyze.args(["--no-pager", "security", "--offline=true", "--threshold", EXPOSURE]);
    let said = Output::of(analyze.arg(Unit::packaged()?.path()))?;
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let shown = format!("{}.{}", &EXPOSURE[..1], &EXPOSURE[1..]);
    let security = include_str!("../../docs/security.md");
    assert!(security.contains(&format!("exposure {shown}")), "docs/security.md states {shown}");
    Ok(())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let text =
        Unit::packaged()?.text().replace("/usr/sbin/lbd", &bin::path("lbd")?.to_string_lossy());
    let unit = dir.path().join("lbd.service");
    fs::write(&unit, text)?;
    let mut analyze = debian::program("usr/bin/systemd-analyze")?;
    let said = Output::of(analyze.args(["--no-pager", "verify", "--man=no"]).arg(unit))?;
    let about: Vec<_> = said.stderr.lines().filter(|line| line.contains("lbd")).collect();
    assert_eq!((said.code, about), (0, vec![]), "{}", said.stderr);
    Ok(())
}

/// The balancer's configuration with a check of each family of what a check does.
fn configured(lab: &Lab) -> String {
    let checks = r#"check = [{ type = "tcp", port = 80 }, { type = "icmp" }, { type = "syn", port = 80 },
             { type = "http", port = 80 }, { type = "exec", command = ["/usr/bin/id", "-u"] }]
"#;
    lab.config(&Rack::vips(2).replacen("\n\n[[vip.real]]", &format!("\n{checks}\n[[vip.real]]"), 1))
}

#[test]
fn lbd_does_all_it_must_with_the_capabilities_and_the_system_calls_of_the_unit() -> Result<()> {
    let (lab, _nginx, _echoes) = Rack::servers(2)?;
    let file = lab.dir().join("lb.toml");
    fs::write(&file, configured(&lab))?;
    let (lbd, file) = (bin::path("lbd")?, file.to_string_lossy().into_owned());
    let program = [&*lbd.to_string_lossy(), "--config", &file];
    let unit = Unit::packaged()?;
    let start = || unit.start(lab.balancer(), lab.dir(), &program);
    let mut service = start()?;
    let up = |count: usize| {
        wait::until("reals that are up", wait::PATIENCE, || {
            let status = lab.lbctl(&["-o", "json", "status"])?.success()?.json()?;
            let reals = status["vips"][0]["reals"].as_array().context("reals")?;
            Ok((reals.iter().filter(|real| real["health"] == "up").count() == count).then_some(()))
        })
    };
    up(2)?;
    lab.client().who_answers(Rack::web())?;
    lab.lbctl(&[
        "vip",
        "add",
        "more",
        "--address",
        "192.0.2.11",
        "--port",
        "tcp/80",
        "--real",
        "10.0.0.11",
    ])?
    .success()?;
    assert!(fs::read_to_string(&file)?.contains("192.0.2.11"));
    lab.lbctl(&["doctor"])?;
    // The owner lives: it says so again and again.
    service.says("WATCHDOG=1")?;
    service.says("WATCHDOG=1")?;
    let status = fs::read_to_string(format!("/proc/{}/status", service.id()))?;
    let bounding =
        status.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("CapBnd")?;
    let count = u64::from_str_radix(bounding.trim(), 16)?.count_ones() as usize;
    assert_eq!(count, unit.words("CapabilityBoundingSet").len());
    assert!(status.contains("Seccomp:\t2"), "{status}");
    // What one has pinned the next takes over, and stopping does not stop forwarding.
    service.stop()?;
    lab.client().who_answers(Rack::web())?;
    let mut service = start()?;
    up(2)?;
    lab.client().who_answers(Rack::web())?;
    let log = service.log()?;
    assert!(!log.contains("ermission denied") && !log.contains("not permitted"), "{log}");
    lab.lbctl(&["detach"])?.success()?;
    service.ended()
}
