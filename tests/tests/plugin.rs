//! `lbctl check` as a monitoring system runs it: a line and an exit code.

use anyhow::{Context as _, Result};
use tests::{
    Nginx, Output, Rack,
    checked::{at_vips, check, lab, start},
};

/// Runs it; the answer must be one line on the standard output and nothing else.
fn run(rack: &Rack, words: &[&str]) -> Result<Output> {
    let output = rack.daemon.lbctl(&[&["check"], words].concat())?;
    assert_eq!((output.stdout.lines().count(), output.stderr.as_str()), (1, ""), "{output:?}");
    Ok(output)
}

fn says(rack: &Rack, words: &[&str], code: i32, start: &str) -> Result<Output> {
    let output = run(rack, words)?;
    assert_eq!(output.code, code, "{words:?}: {output:?}");
    assert!(output.stdout.starts_with(start), "{words:?}: {output:?}");
    Ok(output)
}

/// The value of a label in the performance data.
fn value(output: &Output, label: &str) -> Result<String> {
    let (_, data) = output.stdout.split_once(" | ").context("no data")?;
    let word = data.split_whitespace().find_map(|word| word.strip_prefix(&format!("'{label}'=")));
    Ok(word.with_context(|| format!("no {label} in {data}"))?.to_owned())
}

#[test]
fn a_plugin_tells_of_reals_that_fail_of_vips_that_do_and_of_a_daemon_that_is_gone() -> Result<()> {
    let lab = lab(3)?;
    let mut pages: Vec<Nginx> =
        lab.reals().iter().map(|real| real.nginx_at(&at_vips(80))).collect::<Result<_>>()?;
    let mut rack = start(lab, &check("type = \"tcp\""))?;
    rack.become_all(&[(1, "up", &[]), (2, "up", &[]), (3, "up", &[])])?;
    rack.answers(5)?;
    let output = says(&rack, &[], 0, "LB OK - 2 of 2 VIPs and 6 of 6 reals up | ")?;
    assert_eq!(value(&output, "web_reals_up")?, "3;;;0;3");
    let forwarded = value(&output, "forwarded")?;
    let frames = forwarded.strip_suffix("c;;;0").context("a counter")?.parse::<u64>()?;
    assert!(frames >= 5, "{output:?}");

    drop(pages.pop());
    rack.become_all(&[(1, "up", &[]), (2, "up", &[]), (3, "down", &[])])?;
    let reason = "LB WARNING - web degraded: 2 of 3 active reals are usable; ";
    says(&rack, &["--vip", "web"], 1, reason)?;
    // Who says how many are enough is not woken by fewer than all.
    let output = says(&rack, &["-w", "2:", "-c", "1:"], 0, "LB OK - 0 of 2 VIPs and 4 of 6")?;
    assert_eq!(value(&output, "web6_reals_up")?, "2;2:;1:;0;3");
    says(&rack, &["-w", "90%:", "-c", "50%:"], 1, "LB WARNING - web: 2 of 3 reals up (-w 90%:)")?;
    says(&rack, &["--vip", "web6", "-c", "3:"], 2, "LB CRITICAL - web6: 2 of 3 reals up (-c 3:)")?;

    rack.lbctl(&["real", "drain", "web", "10.0.0.13"])?;
    let output =
        says(&rack, &["--vip", "web"], 0, "LB OK - 1 of 1 VIPs and 2 of 2 reals up, 1 drai")?;
    assert_eq!(value(&output, "web_reals_draining")?, "1;;;0");

    pages.clear();
    rack.become_all(&[(1, "down", &[]), (2, "down", &[])])?;
    says(
        &rack,
        &["-c", "0:"],
        2,
        "LB CRITICAL - web down: none of 2 active reals is usable; web6",
    )?;
    says(&rack, &["--vip", "wbe"], 3, "LB UNKNOWN - there is no VIP wbe")?;

    rack.lbctl(&["vip", "disable", "web"])?;
    says(&rack, &["--vip", "web"], 1, "LB WARNING - web is disabled by the operator; ")?;

    rack.daemon.kill9()?;
    let output = run(&rack, &[])?;
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stdout.starts_with("LB UNKNOWN - cannot reach lbd at "), "{output:?}");
    Ok(())
}

#[test]
fn words_that_are_wrong_end_as_a_plugin_does() -> Result<()> {
    let rack = Rack::new(1)?;
    let output = rack.daemon.lbctl(&["check", "--warn", "1"])?;
    assert_eq!((output.code, output.stdout.lines().count()), (3, 1), "{output:?}");
    assert!(output.stdout.starts_with("LB UNKNOWN - unexpected argument '--warn'"), "{output:?}");
    Ok(())
}
