//! Edits of checks, in whichever way they are written.

use super::*;

const VIP: &str = "node.interfaces = [\"eth0\"]\n[[vip]]\nname = \"web\"\naddress = \"192.0.2.10\"\n\
                   ports = [\"tcp/80\", \"udp/80\"]\n";

fn set(text: &str, checks: &[&str]) -> Result<Edited, EditError> {
    set_vip(text, "web", &options(|options| options.check = Some(words(checks))))
}

/// What is changed of these lines of a VIP.
fn of(lines: &str, checks: &[&str]) -> String {
    let text = format!("{VIP}{lines}");
    changed(&text, set(&text, checks))
}

#[test]
fn words_for_every_kind_become_its_keys() {
    for (word, fields) in [
        ("tcp", "type = \"tcp\""),
        ("syn:81", "type = \"syn\", port = 81"),
        ("http:/up", "type = \"http\", path = \"/up\""),
        ("http:8080", "type = \"http\", port = 8080"),
        ("icmp", "type = \"icmp\""),
        ("dns:example.com", "type = \"dns\", name = \"example.com\""),
        ("grpc", "type = \"grpc\""),
        ("grpc:50051/a.B", "type = \"grpc\", port = 50051, service = \"a.B\""),
        ("grpc:/a.B", "type = \"grpc\", service = \"a.B\""),
        ("exec:/bin/sh", "type = \"exec\", command = [\"/bin/sh\"]"),
    ] {
        assert_eq!(of("", &[word]), format!("+check = {{ {fields} }}\n"), "{word}");
    }
}

#[test]
fn a_second_check_makes_a_list_of_the_first_in_its_own_way() {
    assert_eq!(
        of("check = { type = \"tcp\", rise = 5 } # how\n", &["tcp:81", "icmp"]),
        "-check = { type = \"tcp\", rise = 5 } # how\n\
         +check = [{ type = \"tcp\", rise = 5, port = 81 }, { type = \"icmp\" }] # how\n"
    );
    assert_eq!(
        of("[vip.check] # how\ntype = \"tcp\" # kind\n\n# The pool.\n", &["tcp", "icmp"]),
        "-[vip.check] # how\n-type = \"tcp\" # kind\n+[[vip.check]] # how\n+type = \"tcp\" # kind\n\
         +[[vip.check]]\n+type = \"icmp\"\n"
    );
    assert_eq!(
        of(
            "check.type = \"exec\"\ncheck.env.A = \"1\" # one\ncheck.command = [ \"/bin/sh\" ]\n",
            &["exec:/bin/sh", "icmp"]
        ),
        "-check.type = \"exec\"\n-check.env.A = \"1\" # one\n-check.command = [ \"/bin/sh\" ]\n\
         +check = [{ type = \"exec\", env = { A = \"1\" }, command = [\"/bin/sh\"] }, { type = \"icmp\" }]\n"
    );
}

#[test]
fn checks_in_a_list_keep_their_lines_and_comments() {
    let list = "check = [ # all of them\n  # first\n  { type = \"tcp\", rise = 5 }, # one\n\n  { type = \"icmp\" }, # two\n]\n";
    assert_eq!(
        of(list, &["tcp:81", "icmp"]),
        "-  { type = \"tcp\", rise = 5 }, # one\n+  { type = \"tcp\", rise = 5, port = 81 }, # one\n"
    );
    assert_eq!(of(list, &["tcp", "icmp", "syn"]), "+  { type = \"syn\" },\n");
    assert_eq!(of(list, &["icmp"]), "-  # first\n-  { type = \"tcp\", rise = 5 }, # one\n");
    assert_eq!(of(list, &["tcp"]), "-  { type = \"icmp\" }, # two\n");
    assert_eq!(of(list, &["none"]).lines().filter(|line| line.starts_with('-')).count(), 6);
}

#[test]
fn checks_in_sections_keep_their_lines_and_comments() {
    let sections = "\n# First.\n[[vip.check]] # one\ntype = \"tcp\"\n\n# Second.\n[[vip.check]]\ntype = \"exec\" # kind\n\
                    command = [\"/bin/sh\"]\n[vip.check.env]\nA = \"1\"\n\n[[vip.real]]\naddress = \"10.0.0.1\"\n";
    assert_eq!(
        of(sections, &["exec:/bin/ls"]),
        "-# First.\n-[[vip.check]] # one\n-type = \"tcp\"\n-\n".to_owned()
            + "-# Second.\n-[[vip.check]]\n-type = \"exec\" # kind\n-command = [\"/bin/sh\"]\n"
            + "+# Second.\n+[[vip.check]]\n+type = \"exec\" # kind\n+command = [\"/bin/ls\"]\n"
    );
    assert_eq!(
        of(sections, &["tcp", "icmp"]),
        "-type = \"exec\" # kind\n-command = [\"/bin/sh\"]\n-[vip.check.env]\n-A = \"1\"\n+type = \"icmp\" # kind\n"
    );
    assert_eq!(
        of(sections, &["tcp", "exec:/bin/sh", "icmp"]),
        "+[[vip.check]]\n+type = \"icmp\"\n+\n"
    );
    let none = format!("{VIP}\n[[vip.real]]\naddress = \"10.0.0.1\"\n");
    assert_eq!(set(&format!("{VIP}{sections}"), &["none"]).unwrap().text, none);
}

#[test]
fn a_check_keeps_its_pace_and_what_words_cannot_say_of_its_kind() {
    let http = "check = { type = \"http\", host = \"shop\", path = \"/a\", port = 81, rise = 5, via = \"rip\" }\n";
    assert_eq!(
        of(http, &["http:/b"]).lines().last().unwrap(),
        "+check = { type = \"http\", host = \"shop\", path = \"/b\", rise = 5, via = \"rip\" }"
    );
    assert_eq!(
        of(http, &["icmp"]).lines().last().unwrap(),
        "+check = { type = \"icmp\", rise = 5, via = \"rip\" }"
    );
}

#[test]
fn a_vip_is_added_with_several_checks() {
    let mut new = new_vip();
    new.options.check = Some(words(&["tcp", "icmp"]));
    let text = add_vip(VIP, &new).unwrap().text;
    assert!(text.contains("\ncheck = [{ type = \"tcp\" }, { type = \"icmp\" }]\n"), "{text}");
    new.options.check = Some(words(&["none"]));
    assert!(!add_vip(VIP, &new).unwrap().text.contains("check"));
    new.options.check = Some(words(&["none", "tcp"]));
    assert!(matches!(add_vip(VIP, &new), Err(EditError::Check(word)) if word == "none"));
}

#[test]
fn a_program_that_has_gone_stops_no_other_change() {
    let text = format!("{VIP}check = {{ type = \"exec\", command = [\"/nonexistent\"] }}\n");
    let sorry = options(|options| options.sorry = some("10.0.0.9"));
    assert_eq!(changed(&text, set_vip(&text, "web", &sorry)), "+sorry = \"10.0.0.9\"\n");
    let other = set(&text, &["exec:/nonexistent/too"]).unwrap_err().to_string();
    assert!(other.starts_with("vip \"web\", check: /nonexistent/too: No such file"), "{other}");
}

#[test]
fn a_vip_and_its_reals_are_overridden_and_released() {
    let state = |text: &str, state| set_vip(text, "web", &options(|o| o.state = some(state)));
    let text = format!("{VIP}[[vip.real]]\naddress = \"10.0.0.1\"\n");
    assert_eq!(changed(&text, state(&text, "disabled")), "+state = \"disabled\"\n");
    assert!(!state(&text, "disabled").unwrap().model.vips[0].enabled);
    let force = |text: &str, force_up| {
        let patch = RealPatch { force_up: Some(force_up), ..RealPatch::default() };
        set_real(text, "web", ip("10.0.0.1"), &patch)
    };
    assert_eq!(changed(&text, force(&text, false)), "");
    let forced = force(&text, true).unwrap();
    assert!(forced.model.vips[0].reals[0].force_up);
    assert_eq!(changed(&text, force(&text, true)), "+force_up = true\n");
    assert_eq!(force(&forced.text, false).unwrap().text, text);
}

#[test]
fn how_many_reals_must_be_up_is_set_and_removed() {
    let set = |text: &str, low: Option<&str>, high: Option<&str>, panic: Option<&str>| {
        let patch = options(|options| {
            options.min_up = low.map(str::to_owned);
            options.min_up_high = high.map(str::to_owned);
            options.panic_threshold = panic.map(str::to_owned);
        });
        set_vip(text, "web", &patch)
    };
    let both = set(VIP, Some("2"), Some("3"), None);
    assert_eq!(changed(VIP, both.clone()), "+min_up = 2\n+min_up_high = 3\n");
    let both = both.unwrap().text;
    assert_eq!(set(&both, Some("none"), None, None).unwrap().text, VIP);
    assert_eq!(changed(&both, set(&both, None, Some("none"), None)), "-min_up_high = 3\n");
    assert_eq!(
        changed(&both, set(&both, Some("50%"), Some("none"), None)),
        "-min_up = 2\n-min_up_high = 3\n+min_up = \"50%\"\n"
    );
    let panic = set(&both, Some("none"), None, Some("30%")).unwrap().text;
    assert_eq!(panic, format!("{VIP}panic_threshold = \"30%\"\n"));
    let refused = set(&panic, Some("2"), None, None).unwrap_err().to_string();
    assert!(refused.contains("remove one of them"), "{refused}");
}

#[test]
fn json_may_say_checks_and_numbers_in_more_than_one_way() {
    let patch = |json: &str| serde_json::from_str::<VipPatch>(json).unwrap().options;
    for (json, expected) in [
        (r#"{"check":"tcp"}"#, Some(words(&["tcp"]))),
        (r#"{"check":["tcp","icmp"]}"#, Some(words(&["tcp", "icmp"]))),
        (r#"{"check":[]}"#, Some(Vec::new())),
        (r#"{"check":null}"#, None),
        ("{}", None),
    ] {
        assert_eq!(patch(json).check, expected, "{json}");
    }
    for (json, expected) in [
        (r#"{"min_up":2}"#, some("2")),
        (r#"{"min_up":"50%"}"#, some("50%")),
        (r#"{"min_up":null}"#, None),
    ] {
        assert_eq!(patch(json).min_up, expected, "{json}");
    }
    assert!(serde_json::from_str::<VipPatch>(r#"{"check":3}"#).is_err());
    assert!(serde_json::from_str::<VipPatch>(r#"{"min_up":-1}"#).is_err());
}
