use super::*;
use crate::import::DraftVip;

const POOL: &str = "/c/slb/real 1\n\tena\n\trip 10.0.0.11\n/c/slb/real 2\n\tena\n\trip 10.0.0.12\n\
    /c/slb/group 1\n\tmetric roundrobin\n\tadd 1\n\tadd 2\n/c/slb/virt 1\n\tena\n\tvip 192.0.2.10\n";

fn reads(text: &str) -> Draft {
    read(text, Path::new("dump")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn one(service: &str) -> DraftVip {
    reads(&format!("{POOL}/c/slb/virt 1/service {service}\n\tnonat ena\n")).vips.remove(0)
}

fn ports(vip: &DraftVip) -> String {
    vip.vip.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_service_without_translation_is_a_vip_of_which_nothing_is_lost() {
    let vip = one("80 http\n\tgroup 1\n\trport 80");
    assert_eq!((ports(&vip).as_str(), vip.reals.len(), vip.notes.len()), ("tcp/80", 2, 0));
    assert!(vip.vip.enabled);
}

#[test]
fn services_are_known_by_number_by_name_and_by_protocol() {
    for (service, expected) in [
        ("http", "tcp/80"),
        ("443 https", "tcp/443"),
        ("53 dns", "udp/53"),
        ("53 dns\n\tprotocol tcp", "tcp/53"),
        ("53 dns\n\tprotocol both", "tcp/53 udp/53"),
        ("514 basic-slb\n\tprotocol udp", "udp/514"),
        ("69\n\tudp ena", "udp/69"),
        ("ip", "any"),
        ("1 basic-slb", "any"),
    ] {
        assert_eq!(ports(&one(service)), expected, "{service}");
    }
}

#[test]
fn a_service_with_translation_is_left_out_with_its_reals_named() {
    for (service, reason) in [
        ("80 http\n\tgroup 1", "without \"nonat ena\""),
        ("80 http\n\tgroup 1\n\trport 8080\n\tnonat ena", "cannot translate ports"),
    ] {
        let draft = reads(&format!("{POOL}/c/slb/virt 1/service {service}\n"));
        assert!(draft.vips.is_empty(), "{service}");
        let found = &draft.notes[0].reason;
        assert!(found.contains(reason) && found.contains("10.0.0.11, 10.0.0.12"), "{found}");
    }
}

#[test]
fn what_is_said_in_the_path_is_as_said_below_it() {
    let path = "/cfg/slb/real 1/ena/rip 10.0.0.11\n/c/slb/group 1/add 1/metric hash\n\
        /c/slb/virt 1/vip 192.0.2.10/ena\n/c/slb/virt 1/service 80/group 1/nonat ena\n";
    let vip = &reads(path).vips[0];
    assert_eq!((ports(vip).as_str(), vip.reals.len()), ("tcp/80", 1));
}

#[test]
fn what_has_no_virtual_server_is_refused() {
    for text in ["", "global_defs {\n}\n", "/c/slb/real 1\n\trip 10.0.0.11\n"] {
        let refused = read(text, Path::new("dump")).map(|_| ()).unwrap_err();
        assert_eq!((refused.line, refused.column), (1, 1), "{text}");
    }
}
