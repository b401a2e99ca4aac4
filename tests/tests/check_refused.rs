//! Checks that cannot be are refused with place and reason, by `lbd --check` and by whoever loads the file, and nothing
//! has changed then.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use tests::{
    Certificates, Lab, LabOptions, Output, Rack, bin,
    checked::{FAST, at_vips, check, lab, start},
    daemon::lbd,
    wait,
};

/// The line of the file in which a VIP's words stand: after `[node]` with four keys, an empty line, and the VIP's name,
/// address and ports.
const LINE: usize = 11;

/// `lbd --check` of a file with these words for a VIP.
fn checked(lab: &Lab, words: &str) -> Result<(i32, String)> {
    let file = lab.dir().join("refused.toml");
    let vips = Rack::vips(2).replace("\"udp/53\"]\n", &format!("\"udp/53\"]\n{words}\n"));
    fs::write(&file, lab.config(&vips))?;
    let output = lbd(lab, &["--check", "--config", file.to_str().context("a path")?])?;
    Ok((output.code, output.stderr))
}

/// Words of the file, and what is said of them.
const WRONG: &[(&str, &[&str])] = &[
    (r#"check = { type = "smtp" }"#, &["unknown type \"smtp\"", "grpc", "exec"]),
    (r#"check = { type = "tcp", path = "/healthz" }"#, &["a tcp check has no path"]),
    (r#"check = { type = "icmp", port = 80 }"#, &["icmp check has no port"]),
    (r#"check = { type = "tcp", interval = "1s", timeout = "2s" }"#, &["timeout", "interval"]),
    (r#"check = { type = "tcp", interval = "1s", fast_interval = "2s" }"#, &["fast_interval"]),
    (r#"check = { type = "tcp", rise = 0 }"#, &["rise"]),
    (r#"check = { type = "tcp", via = "router" }"#, &["\"router\"", "vip", "rip"]),
    (r#"check = { type = "tcp", initial = "maybe" }"#, &["\"maybe\"", "down", "up"]),
    (r#"check = { type = "http", path = "healthz" }"#, &["path", "/healthz"]),
    (r#"check = { type = "http", status = "200-99" }"#, &["status", "200-299"]),
    (r#"check = { type = "http", version = "3" }"#, &["\"3\"", "1.1", "2"]),
    (r#"check = { type = "dns" }"#, &["name"]),
    (r#"check = { type = "dns", name = "a b" }"#, &["a b", "domain name"]),
    (r#"check = { type = "dns", name = "a.example", record = "B" }"#, &["record", "AAAA"]),
    (r#"check = { type = "udp" }"#, &["send"]),
    (r#"check = { type = "udp", send = "hex:0g" }"#, &["hex"]),
    (r#"check = { type = "grpc", sni = "a.example" }"#, &["sni", "tls = true"]),
    (r#"check = { type = "exec" }"#, &["command"]),
    (r#"check = { type = "exec", command = ["check"] }"#, &["absolute path"]),
    (r#"check = { type = "exec", command = ["/nonexistent"] }"#, &["/nonexistent", "No such file"]),
    (r#"check = { type = "exec", command = ["/etc/passwd"] }"#, &["/etc/passwd", "execut"]),
    (
        r#"check = { type = "https", ca = "/nonexistent.pem" }"#,
        &["/nonexistent.pem", "No such file"],
    ),
    (r#"check = { type = "https", ca = "/etc/passwd" }"#, &["/etc/passwd", "certificate"]),
    ("min_up_high = 3", &["min_up_high", "min_up"]),
    ("min_up = 3\nmin_up_high = 2", &["min_up_high 2", "min_up 3"]),
    ("min_up = 3\nmin_up_high = \"50%\"", &["min_up_high", "compare"]),
    ("min_up = 1\npanic_threshold = \"30%\"", &["panic_threshold", "min_up"]),
    ("panic_threshold = \"130%\"", &["panic_threshold", "130%"]),
    ("state = \"paused\"", &["\"paused\"", "enabled", "disabled"]),
];

#[test]
fn what_cannot_be_checked_is_refused_with_place_and_reason() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    assert_eq!(checked(&lab, &check("type = \"tcp\""))?.0, 0);
    let faults: Vec<String> = WRONG
        .iter()
        .map(|(words, parts)| Ok(fault(words, parts, checked(&lab, words)?)))
        .collect::<Result<Vec<_>>>()?
        .concat();
    assert!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

/// What is wrong with a refusal.
fn fault(words: &str, parts: &[&str], (code, said): (i32, String)) -> Vec<String> {
    let mut places =
        (LINE..LINE + words.lines().count()).map(|line| format!("refused.toml:{line}:"));
    let is_placed = places.any(|place| said.contains(&place));
    let silent: Vec<_> = parts.iter().filter(|part| !said.contains(**part)).collect();
    let is_right = code == 2 && is_placed && silent.is_empty();
    if is_right { vec![] } else { vec![format!("{words}: {code}: {said} lacks {silent:?}")] }
}

#[test]
fn a_program_that_may_not_be_run_is_refused() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let program = lab.dir().join("check");
    fs::write(&program, "#!/bin/sh\n")?;
    let words = format!("check = {{ type = \"exec\", command = [{program:?}] }}");
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644))?;
    let (code, said) = checked(&lab, &words)?;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("/check") && said.contains("execut"), "{said}");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    assert_eq!(checked(&lab, &words)?, (0, String::new()));
    Ok(())
}

#[test]
fn without_certificates_to_trust_a_check_that_verifies_is_refused() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let nothing = lab.dir().join("nothing");
    fs::create_dir(&nothing)?;
    let file = lab.dir().join("refused.toml");
    for (keys, code) in [("", 2), (", verify = false", 0)] {
        let check = format!("check = {{ type = \"https\", port = 443{keys} }}\n");
        let words = format!("\"udp/53\"]\n{check}");
        fs::write(&file, lab.config(&Rack::vips(1).replace("\"udp/53\"]\n", &words)))?;
        let mut command = lab.balancer().command(bin::path("lbd")?);
        command.arg("--check").arg("--config").arg(&file);
        // Where the system's store is looked for.
        command.env("SSL_CERT_FILE", nothing.join("store.pem")).env("SSL_CERT_DIR", &nothing);
        let output = Output::of(&mut command)?;
        assert_eq!(output.code, code, "{output:?}");
        assert!(code == 0 || output.stderr.contains("ca-certificates"), "{output:?}");
    }
    Ok(())
}

#[test]
fn an_authority_of_ones_own_is_taken() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let authority = Certificates::new(lab.dir())?.authority();
    let words = format!("check = {{ type = \"https\", port = 443, ca = {authority:?} }}");
    let (code, said) = checked(&lab, &words)?;
    assert_eq!(code, 0, "{said}");
    Ok(())
}

#[test]
fn prefixes_for_probes_that_are_not_free_are_refused_at_the_start() -> Result<()> {
    let lab = lab(1)?;
    // The network of the reals is within it.
    let prefixes = "probe_prefixes = [\"10.0.0.0/8\"]\n\n";
    let config = lab.config(&(prefixes.to_owned() + &Rack::both(1, &check("type = \"tcp\""))));
    let file = lab.dir().join("refused.toml");
    fs::write(&file, config)?;
    let output = lbd(&lab, &["--config", file.to_str().context("a path")?])?;
    assert_ne!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("probe_prefixes"), "{output:?}");
    assert!(output.stderr.contains("10.0.0."), "{output:?}");
    Ok(())
}

#[test]
fn a_bad_check_leaves_the_good_one_in_force() -> Result<()> {
    let lab = lab(1)?;
    let _page = lab.real(1).nginx_at(&at_vips(80))?;
    let mut rack = start(lab, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &["connected"])])?;
    let file = rack.daemon.config_file();
    let good = fs::read_to_string(&file)?;
    let output = rack.daemon.lbctl(&["vip", "set", "web", "--check", "dns:a b"])?;
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("domain name"), "{output:?}");
    assert_eq!(fs::read_to_string(&file)?, good);

    let bad = good.replace(FAST, "interval = \"1s\", timeout = \"1m\"");
    fs::write(&file, bad)?;
    rack.daemon.process().signal(Signal::SIGHUP)?;
    wait::until("the refusal", wait::PATIENCE, || {
        Ok(rack.daemon.log()?.contains("the old configuration goes on").then_some(()))
    })?;
    rack.become_all(&[(1, "up", &["connected"])])
}
