use lb_user::backend::report;

use super::*;

fn vip(name: &str, address: &str, reals: &[&str]) -> Vip {
    Vip {
        name: Some(name.into()),
        address: address.parse().unwrap(),
        ports: vec!["tcp/80".parse().unwrap()],
        reals: reals.iter().map(|real| real.parse().unwrap()).collect(),
    }
}

fn setup() -> Setup {
    let vips = vec![
        vip("web,tls", "192.0.2.10", &["10.0.0.11", "10.0.0.12"]),
        vip("web6", "2001:db8:2::10", &["2001:db8:a::12"]),
    ];
    Setup { vips, interfaces: Vec::new(), balancers: Vec::new() }
}

fn finding(code: &str, vip: Option<&str>, real: Option<&str>) -> Finding {
    Finding {
        code: code.into(),
        note: false,
        vip: vip.map(str::to_owned),
        real: real.map(|real| real.parse().unwrap()),
        interface: None,
        message: "it is so".into(),
        fix: "change it".into(),
    }
}

fn doctor(findings: &[Finding]) -> Doctor {
    Doctor { findings: findings.to_vec(), checked: 2, vips: 1, interfaces: 1 }
}

fn pasted(text: &str) -> Account {
    let report = report::read(text).unwrap().remove(0);
    Account { source: "real.txt".into(), address: None, found: Ok(report) }
}

/// VIP, real or machine, side, subject and level of each row.
fn told(sight: &Sight) -> Vec<String> {
    let cells = sight.rows.iter().map(|row| row.cells()[..5].join(" "));
    cells.collect()
}

const REAL1: &str = "\
machine one 10.0.0.11
ok address 192.0.2.10 is on lo
ok sysctl net.ipv4.conf.eth0.arp_ignore is in force as 1
wrong service nothing listens on tcp port 80 of 192.0.2.10
fix nginx: listen 192.0.2.10:80;
fix HAProxy: bind 192.0.2.10:80
result wrong 1 wrong, 0 warning, 2 ok
";
const REAL2: &str = "\
machine two 10.0.0.12 2001:db8:a::12
ok address 192.0.2.10 is on lo
ok address 2001:db8:2::10 is on lo, and never a source
result ok 0 wrong, 0 warning, 2 ok
";

#[test]
fn both_sides_of_a_real_stand_together_and_a_machine_is_known_by_its_addresses() {
    let doctor = doctor(&[
        finding("service_closed", Some("tls"), Some("10.0.0.11")),
        finding("clock", None, None),
        finding("elsewhere", Some("other"), Some("10.0.0.11")),
    ]);
    let sight = Sight::new(&setup(), Some(&doctor), &[pasted(REAL2), pasted(REAL1)]);
    let expected = [
        "- - balancer clock wrong",
        "tls 10.0.0.11 balancer service_closed wrong",
        "web,tls 10.0.0.11 real address ok",
        "- 10.0.0.11 real sysctl ok",
        "web,tls 10.0.0.11 real service wrong",
        "web,tls 10.0.0.12 balancer doctor ok",
        "web,tls 10.0.0.12 real address ok",
        "web6 2001:db8:a::12 balancer doctor ok",
        "web6 2001:db8:a::12 real address ok",
    ];
    assert_eq!(told(&sight), expected);
    assert_eq!((sight.wrong, sight.warnings), (3, 0));
    let text = sight.text();
    assert!(text.contains("fix: nginx: listen 192.0.2.10:80;; or: HAProxy: bind"), "{text}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let fine = "- 10.0.0.11 real all ok 2 things are as they must be";
    assert!(text.lines().any(|line| words(line) == fine), "{text}");
    assert!(text.ends_with("\n3 wrong, 0 warnings, 6 ok\n"), "{text}");
}

#[test]
fn without_a_balancer_only_the_machine_is_heard() {
    let mut setup = setup();
    for vip in &mut setup.vips {
        (vip.name, vip.reals) = (None, Vec::new());
    }
    let sight = Sight::new(&setup, None, &[pasted(REAL2)]);
    let expected = ["192.0.2.10 two real address ok", "2001:db8:2::10 two real address ok"];
    assert_eq!(told(&sight), expected);
}

#[test]
fn reals_that_nobody_asked_and_hosts_that_do_not_answer_are_told() {
    let failed = Account {
        source: "root@10.0.0.12".into(),
        address: "10.0.0.12".parse().ok(),
        found: Err("ssh does not get there: no route".into()),
    };
    let sight = Sight::new(&setup(), None, &[failed]);
    let expected = [
        "web,tls 10.0.0.11 real check warning",
        "- 10.0.0.12 real check wrong",
        "web6 2001:db8:a::12 real check warning",
    ];
    assert_eq!(told(&sight), expected);
    assert_eq!(sight.rows[0].fix.as_deref(), Some("--ssh 10.0.0.11, --all-reals or --pasted FILE"));
}

#[test]
fn an_account_of_another_machine_of_another_script_or_without_its_end_is_doubted() {
    let stranger = REAL1.replace("10.0.0.11", "10.0.0.99");
    let other_script = REAL2.replace("192.0.2.10", "192.0.2.99");
    let cut = REAL1.split_once("result").unwrap().0;
    for (text, doubt) in [
        (&*stranger, "one (real.txt) is in no pool"),
        (&*other_script, "its account says nothing of 192.0.2.10"),
        (cut, "the end of its account is missing in real.txt"),
    ] {
        let sight = Sight::new(&setup(), None, &[pasted(text)]);
        let warned: Vec<_> = sight.rows.iter().filter(|row| row.level == "warning").collect();
        assert!(warned.iter().any(|row| row.text == doubt), "{doubt}: {warned:?}");
    }
}

#[test]
fn an_address_is_found_in_a_sentence_with_a_port_in_brackets_and_with_a_comma() {
    let (v4, v6) = ("192.0.2.10".parse().unwrap(), "2001:db8:2::10".parse().unwrap());
    for text in [
        "192.0.2.10 is on lo",
        "is on 192.0.2.10, too",
        "listen 192.0.2.10:80;",
        "<VirtualHost 192.0.2.10:80>",
        "ip address del 192.0.2.10/32 dev lo",
    ] {
        assert!(mentions(text, v4), "{text}");
    }
    for text in ["port 53 of 2001:db8:2::10", "[2001:db8:2::10]:53", "at 2001:db8:2::10/128."] {
        assert!(mentions(text, v6), "{text}");
    }
    assert!(!mentions("192.0.2.100 and 192.0.2.1", v4) && !mentions("2001:db8:2::1", v6));
}
