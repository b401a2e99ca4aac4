use std::path::Path;

use super::*;
use crate::import::DraftVip;

fn reads(text: &str) -> Draft {
    read(text, Path::new("rules")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(text: &str) -> String {
    read(text, Path::new("rules")).map(|_| ()).unwrap_err().to_string()
}

/// Its ports, its hash, and its reals with their weights.
fn shown(vip: &DraftVip) -> String {
    let reals = vip.reals.iter().map(|real| format!("{}={}", real.address, real.weight));
    let reals: Vec<_> = reals.collect();
    format!("{} {} {} {}", vip.vip.address, vip.vip.ports[0], vip.vip.hash, reals.join(" "))
}

#[test]
fn a_service_and_its_servers_are_a_vip_of_which_nothing_is_lost() {
    let draft = reads("-A -t 192.0.2.10:80 -s wrr\n-a -t 192.0.2.10:80 -r 10.0.0.11 -g -w 3\n");
    assert_eq!(shown(&draft.vips[0]), "192.0.2.10 tcp/80 flow 10.0.0.11=3");
    assert!(draft.notes.is_empty() && draft.vips[0].notes.is_empty());
    assert!(draft.vips[0].reals[0].notes.is_empty());
}

#[test]
fn clients_stay_with_their_real_where_the_scheduler_looks_at_their_address_alone() {
    for (words, hash, notes) in [
        ("-s rr", "flow", 0),
        ("-s sh", "source", 0),
        ("-s sh -b sh-port", "flow", 0),
        ("-s mh -b mh-fallback", "source", 0),
        ("-s mh -b mh-fallback,mh-port", "flow", 0),
        ("-s rr -p 300", "source", 1),
        ("-s wlc -p", "source", 2),
        ("", "flow", 1),
    ] {
        let draft = reads(&format!("-A -u 192.0.2.10:53 {words}\n"));
        let vip = &draft.vips[0];
        assert_eq!(
            (vip.vip.hash.to_string(), vip.notes.len()),
            (hash.to_owned(), notes),
            "{words}"
        );
    }
}

#[test]
fn round_robin_takes_no_notice_of_weights() {
    let rules = |name| {
        format!("-A -t 192.0.2.10:80 -s {name}\n-a -t 192.0.2.10:80 -r 10.0.0.11:80 -g -w 7\n")
    };
    assert_eq!(reads(&rules("rr")).vips[0].reals[0].weight, 1);
    assert_eq!(reads(&rules("wrr")).vips[0].reals[0].weight, 7);
}

#[test]
fn what_later_lines_change_is_changed() {
    let text = "-A -t 192.0.2.10:80 -s rr\n\
        -a -t 192.0.2.10:80 -r 10.0.0.11:80 -g\n-a -t 192.0.2.10:80 -r 10.0.0.12:80 -g\n\
        -d -t 192.0.2.10:80 -r 10.0.0.11:80\n-e -t 192.0.2.10:80 -r 10.0.0.12 -g -w 9\n\
        -E -t 192.0.2.10:80 -s sh\n-A -t 192.0.2.11:80 -s rr\n-D -t 192.0.2.11:80\n";
    let draft = reads(text);
    let vips: Vec<_> = draft.vips.iter().map(shown).collect();
    assert_eq!(vips, ["192.0.2.10 tcp/80 source 10.0.0.12=9"]);
    assert!(reads(&format!("{text}-C\n")).vips.is_empty());
}

#[test]
fn rules_that_cannot_be_applied_are_refused_at_their_place() {
    for (text, expected) in [
        ("", "rules:1:1: no virtual service in it"),
        ("virtual_server 192.0.2.10 80 {\n", "rules:1:1: not a rule of ipvsadm"),
        (
            "-A -t 192.0.2.10:80\n-A -t 192.0.2.10:80\n",
            "rules:2:1: line 1 adds this service already",
        ),
        ("-A -s rr", "rules:1:1: no service named"),
        ("-A -t 192.0.2.10:99999", "rules:1:7: the port in"),
        ("-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80", "rules:2:1: no real server named"),
        (
            "-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 10.0.0.1 -w many",
            "rules:2:36: \"many\" is not a number",
        ),
        ("-A -f 0", "rules:1:7: a firewall mark is from 1"),
        ("--set 900 120", "rules:1:1: --set has three timeouts"),
    ] {
        let found = refused(text);
        assert!(found.starts_with(expected), "{found}\n{text}");
    }
}
