//! The whole command against a daemon with one canned answer.

use std::{io::Read as _, os::unix::net::UnixListener, path::Path};

use lb_user::api::types::Status;

use crate::tests::{Daemon, Ran, fixed, lbctl};

/// A node where all is well, with a VIP of three reals and one of two.
fn well() -> Status {
    let (mut status, _) = fixed();
    status.node.interfaces[1].state = "up".into();
    let [web, dns] = &mut status.vips[..] else { panic!("two VIPs") };
    let mut up = web.reals[0].clone();
    up.share = 0.3;
    let with = |last: u8| {
        let mut real = up.clone();
        real.address = [10, 0, 0, last].into();
        real
    };
    web.reals = vec![with(11), with(12), with(13)];
    dns.reals = vec![with(14), with(15)];
    for vip in [web, dns] {
        vip.state = "up".into();
        vip.reason.clear();
    }
    status
}

/// The same where a real of "web" is down.
fn short() -> Status {
    let mut status = well();
    let web = &mut status.vips[0];
    web.state = "degraded".into();
    web.reason = "2 of 3 active reals are usable".into();
    web.reals[2].health = "down".into();
    web.reals[2].share = 0.0;
    status
}

fn check(status: &Status, words: &str) -> Ran {
    let body = serde_json::to_string(status).unwrap();
    let (asked, ran) = Daemon::answering(200, &body).ask(&format!("check {words}"));
    assert_eq!(asked, "GET status");
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""), "{}", ran.stdout);
    ran
}

fn says(status: &Status, words: &str, code: u8, part: &str) {
    let ran = check(status, words);
    assert_eq!(ran.code, code, "{words}: {}", ran.stdout);
    assert!(ran.stdout.contains(part), "{words}: {}", ran.stdout);
}

#[test]
fn where_all_is_well_a_line_says_so_with_the_data() {
    let ran = check(&well(), "");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            0,
            "LB OK - 2 of 2 VIPs and 5 of 5 reals up | 'web_reals_up'=3;;;0;3 'web_reals_draining'=0;;;0 \
             'dns_reals_up'=2;;;0;2 'dns_reals_draining'=0;;;0 'forwarded'=1234567c;;;0 'dropped'=3c;;;0\n"
        )
    );
}

#[test]
fn without_thresholds_the_state_of_a_vip_decides() {
    says(&short(), "", 1, "LB WARNING - web degraded: 2 of 3 active reals are usable; 1 of 2 VIPs");
    let mut status = short();
    status.vips[1].state = "down".into();
    status.vips[1].reason = "none of 2 active reals is usable".into();
    let both = "LB CRITICAL - dns down: none of 2 active reals is usable; web degraded: 2 of 3";
    says(&status, "", 2, both);
    says(&status, "--vip web", 1, "LB WARNING - web degraded");
    says(&status, "--vip dns --vip web", 2, both);
}

#[test]
fn thresholds_are_of_the_reals_that_are_up_in_number_or_in_percent() {
    for (words, code, part) in [
        ("-w 3: -c 2:", 1, "web: 2 of 3 reals up (-w 3:)"),
        ("-w 2: -c 1:", 0, "LB OK - 1 of 2 VIPs and 4 of 5 reals up"),
        ("--vip web -c 3:", 2, "web: 2 of 3 reals up (-c 3:)"),
        ("--vip web -c @2:2", 2, "(-c @2:2)"),
        ("--vip web -c ~:1", 2, "(-c ~:1)"),
        ("-w 80%: -c 50%:", 1, "web: 2 of 3 reals up (-w 80%:)"),
        ("-c 67%:", 2, "web: 2 of 3 reals up (-c 67%:)"),
        ("-c 66%:", 0, "LB OK"),
    ] {
        says(&short(), words, code, part);
    }
    says(&short(), "-w 80%: -c 2:", 1, "'web_reals_up'=2;2.4:;2:;0;3 'web");
}

#[test]
fn no_threshold_makes_a_vip_well_that_is_down_or_that_somebody_else_answers_for() {
    let mut status = short();
    status.vips[0].reason = "stolen: 02:00:00:00:00:99 answers for 192.0.2.10, too".into();
    says(&status, "-w 1:", 1, "web degraded: stolen: 02:00");
    let panics = "2 of 3 active reals are usable, fewer than panic_threshold: all that can be reached are used";
    status.vips[0].reason = panics.into();
    says(&status, "-w 1:", 1, "fewer than panic_threshold");
    status.vips[0].state = "down".into();
    status.vips[0].reason = "2 of 3 active reals are up, min_up is 3: not announced".into();
    says(&status, "-w 1: -c 1:", 2, "LB CRITICAL - web down: 2 of 3");
    status.vips[0].wanted = "disabled".into();
    says(&status, "", 1, "LB WARNING - web is disabled by the operator");
}

#[test]
fn only_reals_that_are_to_serve_count_and_only_those_are_up_whose_checks_pass() {
    let mut status = short();
    let reals = &mut status.vips[0].reals;
    // As with panic_threshold: used, and not up for that.
    reals[2].share = 0.3;
    says(&status, "-c 3:", 2, "web: 2 of 3 reals up");
    status.vips[0].reals[2].state = "drain".into();
    status.vips[0].state = "up".into();
    let drained = "LB OK - 2 of 2 VIPs and 4 of 4 reals up, 1 draining | 'web_reals_up'=2;;0:;0;2 'web_reals_draining'=1;;;0";
    says(&status, "-c 0:", 0, drained);
    status.vips[0].reals[2].state = "disabled".into();
    says(&status, "-w 100%:", 0, "'web_reals_up'=2;2:;;0;2");
    status.vips[0].reals[1].weight = 0;
    says(&status, "-w 100%:", 0, "'web_reals_up'=1;1:;;0;1");
}

#[test]
fn the_datapath_is_told_of_whichever_vip_is_asked_about() {
    let mut status = well();
    status.node.interfaces[1].xdp = "detached".into();
    says(&status, "--vip web", 1, "LB WARNING - XDP is not attached to eth1; ");
    status.node.interfaces[0].xdp = "missing".into();
    says(&status, "--vip web", 2, "LB CRITICAL - XDP is attached nowhere: nothing is forwarded; ");
    let (mut status, _) = fixed();
    says(&status, "", 2, "LB CRITICAL - dns down; eth1 is down; web degraded");
    status.vips.clear();
    says(&status, "", 1, "there are no VIPs");
}

#[test]
fn what_nobody_can_tell_is_unknown() {
    says(&well(), "--vip wbe", 3, "LB UNKNOWN - there is no VIP wbe | 'forwarded'");
    says(&short(), "--vip wbe --vip web", 1, "web degraded");
    let ran = lbctl(Path::new("/nonexistent/lbd.sock"), "check");
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""));
    assert!(
        ran.stdout.starts_with("LB UNKNOWN - cannot reach lbd at /nonexistent"),
        "{}",
        ran.stdout
    );
    let (_, ran) = Daemon::refusing(403, "no | access").ask("check");
    assert_eq!((ran.code, ran.stdout.as_str()), (3, "LB UNKNOWN - no / access\n"));
    let (_, ran) = Daemon::answering(200, "{}").ask("check");
    assert_eq!((ran.code, ran.stdout.lines().count()), (3, 1), "{}", ran.stdout);
}

#[test]
fn a_daemon_that_says_nothing_is_waited_for_no_longer_than_was_said() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let ran = lbctl(&socket, "check -t 50ms");
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""));
    assert!(
        ran.stdout.starts_with("LB UNKNOWN - lbd did not answer within 50ms: look at"),
        "{}",
        ran.stdout
    );
    let (mut stream, _) = listener.accept().unwrap();
    assert!(stream.read(&mut [0]).unwrap() > 0, "it was asked");
}

#[test]
fn wrong_words_are_unknown_too_and_are_told_where_plugins_are_heard() {
    let nowhere = Path::new("/nonexistent/lbd.sock");
    for (words, part) in [
        (
            "check -w 5:2",
            "LB UNKNOWN - invalid value '5:2' for '--warning <RANGE>': \"5:2\" is not a thresh",
        ),
        ("check -c", "LB UNKNOWN - a value is required for '--critical <RANGE>'"),
        ("check --vip a/b", "\"a/b\" is not a name"),
        ("check --frobnicate", "LB UNKNOWN - unexpected argument '--frobnicate'"),
        ("check -t 11s", "\"11s\" is not a time up to 10s"),
        ("check -t 0", "\"0\" is not a time up to 10s"),
        ("check -o json", "LB UNKNOWN - check has one format"),
        ("check -o toml", "invalid value 'toml'"),
        ("-o table check web", "unexpected argument 'web'"),
    ] {
        let ran = lbctl(nowhere, words);
        assert_eq!((ran.code, ran.stdout.lines().count()), (3, 1), "{words}: {}", ran.stdout);
        assert!(ran.stdout.contains(part), "{words}: {}", ran.stdout);
    }
    let ran = lbctl(nowhere, "--frobnicate status check");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "another command's words");
}
