use std::time::Duration;

use super::*;
use crate::{
    config,
    health::{self, Checked, Reach},
    model::Mac,
};

const SECOND: Duration = Duration::from_secs(1);

/// The VIP "web" with these lines of options, and these reals in these states.
fn model(options: &str, reals: &[(&str, &str)]) -> Model {
    let head = "[node]\ninterfaces = [\"eth0\"]\n[[vip]]\nname = \"web\"\naddress = \"192.0.2.10\"\n\
                ports = [\"tcp/80\"]\n";
    let real = |(address, state): &(&str, &str)| {
        format!("[[vip.real]]\naddress = \"{address}\"\nstate = \"{state}\"\n")
    };
    let reals: String = reals.iter().map(real).collect();
    config::parse(&format!("{head}{options}\n{reals}")).expect("a configuration")
}

fn ledger() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(dir.path()).expect("no file is no error");
    (dir, ledger)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).expect("a time")
}

fn role(ledger: &Ledger, model: &Model, real: &str, now: Timestamp) -> Role {
    let vip = &model.vips[0];
    let configured = vip.reals.iter().find(|known| known.address == address(real)).cloned();
    let left =
        || ledger.left("web").map(|(real, _)| real).find(|left| left.address == address(real));
    ledger.role(vip, &configured.or_else(left).expect("a real"), true, now)
}

/// Says of each real that it is up or down.
fn know(ledger: &mut Ledger, model: &Model, up: &[bool], now: Timestamp) {
    let vip = &model.vips[0];
    for (real, up) in vip.reals.iter().zip(up) {
        let reach = if *up { Reach::Static(Mac([2; 6])) } else { Reach::Unresolved };
        ledger.know(vip, real, health::judge(real, &reach, Checked::Nothing), now);
    }
}

#[test]
fn a_drain_lasts_until_its_deadline_and_what_follows_is_the_vips_to_say() {
    for (option, after) in [("rehash", Role::Out), ("reset", Role::Reset)] {
        let (_dir, mut ledger) = ledger();
        let options = format!("drain_timeout = \"10s\"\non_deadline = \"{option}\"");
        ledger.follow(&model(&options, &[("10.0.0.11", "active")]), at(0));
        let drained = model(&options, &[("10.0.0.11", "drain")]);
        ledger.follow(&drained, at(5));
        assert_eq!(role(&ledger, &drained, "10.0.0.11", at(14)), Role::Draining);
        assert_eq!(ledger.deadline(&drained, at(14)), Some(at(15)));
        assert_eq!(role(&ledger, &drained, "10.0.0.11", at(15)), after);
        assert_eq!(ledger.deadline(&drained, at(15)), None);
        let vip = &drained.vips[0];
        assert_eq!(ledger.role(vip, &vip.reals[0], false, at(15)), after, "it need not be reached");
        // A configuration that says the same again changes nothing, not even the deadline.
        ledger.follow(&drained, at(16));
        assert_eq!(role(&ledger, &drained, "10.0.0.11", at(16)), after);
    }
}

#[test]
fn a_drain_may_have_a_deadline_of_its_own_and_ends_when_the_real_is_enabled() {
    let (_dir, mut ledger) = ledger();
    let drained = model("", &[("10.0.0.11", "drain")]);
    ledger.follow(&drained, at(0));
    ledger.set_deadline("web", address("10.0.0.11"), 3 * SECOND, at(2));
    assert_eq!(ledger.deadline(&drained, at(2)), Some(at(5)));
    let enabled = model("", &[("10.0.0.11", "active")]);
    ledger.follow(&enabled, at(3));
    assert_eq!(role(&ledger, &enabled, "10.0.0.11", at(10)), Role::ACTIVE);
    assert_eq!(ledger.deadline(&enabled, at(3)), None);
}

#[test]
fn a_real_that_left_drains_until_it_is_released() {
    let (_dir, mut ledger) = ledger();
    let both = model("", &[("10.0.0.11", "active"), ("10.0.0.12", "active")]);
    ledger.follow(&both, at(0));
    let one = model("", &[("10.0.0.11", "active")]);
    ledger.depart("web", &both.vips[0].reals[1], Some(60 * SECOND), at(1));
    ledger.follow(&one, at(1));
    assert_eq!(ledger.left("web").count(), 1);
    assert_eq!(role(&ledger, &one, "10.0.0.12", at(60)), Role::Draining);
    assert_eq!(role(&ledger, &one, "10.0.0.12", at(61)), Role::Out);
    ledger.release("web", address("10.0.0.11"));
    assert!(ledger.course("web", address("10.0.0.11")).is_some(), "it has not left");
    ledger.release("web", address("10.0.0.12"));
    assert_eq!(ledger.left("web").count(), 0);
}

#[test]
fn a_real_that_is_removed_at_once_keeps_nothing_even_if_it_was_draining() {
    let (_dir, mut ledger) = ledger();
    let options = "on_deadline = \"reset\"";
    let drained = model(options, &[("10.0.0.11", "drain")]);
    ledger.follow(&drained, at(0));
    let none = model(options, &[]);
    let real = &drained.vips[0].reals[0];
    ledger.depart("web", real, Some(60 * SECOND), at(1));
    ledger.follow(&none, at(1));
    assert_eq!(role(&ledger, &none, "10.0.0.11", at(2)), Role::Draining);
    ledger.depart("web", real, None, at(3));
    assert_eq!(role(&ledger, &none, "10.0.0.11", at(3)), Role::Out);
}

#[test]
fn a_real_that_comes_back_while_it_drains_is_as_if_it_had_never_left() {
    let (_dir, mut ledger) = ledger();
    let one = model("", &[("10.0.0.11", "active")]);
    ledger.follow(&one, at(0));
    ledger.depart("web", &one.vips[0].reals[0], Some(SECOND), at(1));
    ledger.follow(&model("", &[]), at(1));
    ledger.follow(&one, at(2));
    assert_eq!(ledger.left("web").count(), 0);
    assert_eq!(role(&ledger, &one, "10.0.0.11", at(9)), Role::ACTIVE);
}

#[test]
fn a_real_that_comes_up_beside_others_takes_its_part_in_steps() {
    let (_dir, mut ledger) = ledger();
    let model = model("slow_start = \"30s\"", &[("10.0.0.11", "active"), ("10.0.0.12", "active")]);
    ledger.follow(&model, at(0));
    know(&mut ledger, &model, &[true, true], at(0));
    assert_eq!(role(&ledger, &model, "10.0.0.12", at(0)), Role::ACTIVE, "the VIP is new itself");
    know(&mut ledger, &model, &[true, false], at(10));
    know(&mut ledger, &model, &[true, true], at(20));
    let part = |seconds| role(&ledger, &model, "10.0.0.12", at(seconds)).part();
    assert_eq!([part(20), part(22), part(23), part(35), part(46)], [25, 25, 51, 153, 230]);
    assert_eq!(part(47), WHOLE);
    assert_eq!(ledger.deadline(&model, at(20)), Some(at(23)));
    assert_eq!(role(&ledger, &model, "10.0.0.11", at(20)), Role::ACTIVE);
}

#[test]
fn a_real_that_is_added_later_starts_slowly_and_one_that_is_alone_does_not() {
    let (_dir, mut ledger) = ledger();
    let options = "slow_start = \"30s\"";
    let one = model(options, &[("10.0.0.11", "active")]);
    ledger.follow(&one, at(0));
    know(&mut ledger, &one, &[true], at(0));
    know(&mut ledger, &one, &[false], at(1));
    know(&mut ledger, &one, &[true], at(2));
    assert_eq!(role(&ledger, &one, "10.0.0.11", at(2)), Role::ACTIVE, "nobody else would serve");
    let two = model(options, &[("10.0.0.11", "active"), ("10.0.0.12", "active")]);
    ledger.follow(&two, at(3));
    know(&mut ledger, &two, &[true, true], at(4));
    assert_eq!(role(&ledger, &two, "10.0.0.12", at(4)).part(), 25);
}

#[test]
fn a_deadline_that_has_passed_is_heeded_again_once_it_is_moved() {
    let (_dir, mut ledger) = ledger();
    let drained = model("drain_timeout = \"10s\"", &[("10.0.0.11", "drain")]);
    ledger.follow(&drained, at(0));
    assert_eq!(ledger.deadline(&drained, at(10)), None);
    ledger.set_deadline("web", address("10.0.0.11"), 5 * SECOND, at(20));
    assert_eq!(ledger.deadline(&drained, at(20)), Some(at(25)));
    let stranger = Real::plain(address("10.0.0.12"));
    ledger.depart("web", &stranger, Some(SECOND), at(21));
    assert_eq!(ledger.deadline(&drained, at(21)), Some(at(22)));
    ledger.release("web", stranger.address);
    assert_eq!(ledger.deadline(&drained, at(21)), Some(at(25)));
}

#[test]
fn what_does_not_change_is_not_written_again() {
    let (dir, mut ledger) = ledger();
    let model = model("", &[("10.0.0.11", "active")]);
    ledger.follow(&model, at(0));
    know(&mut ledger, &model, &[true], at(0));
    ledger.save().expect("it is written");
    fs::remove_file(dir.path().join("ledger.json")).expect("it is there");
    know(&mut ledger, &model, &[true], at(1));
    ledger.save().expect("there is nothing to write");
    assert!(!dir.path().join("ledger.json").exists());
    know(&mut ledger, &model, &[false], at(2));
    ledger.save().expect("it is written");
    assert!(dir.path().join("ledger.json").exists());
}

#[test]
fn what_serves_nobody_keeps_no_flows() {
    let (_dir, mut ledger) = ledger();
    let reals = [("10.0.0.11", "disabled"), ("10.0.0.12", "active"), ("10.0.0.13", "drain")];
    let model = model("", &reals);
    ledger.follow(&model, at(0));
    assert_eq!(role(&ledger, &model, "10.0.0.11", at(0)), Role::Out);
    let vip = &model.vips[0];
    assert!(vip.reals.iter().all(|real| ledger.role(vip, real, false, at(0)) == Role::Out));
    let light = Real { weight: 0, ..vip.reals[1].clone() };
    assert_eq!(ledger.role(vip, &light, true, at(0)), Role::Draining);
}

#[test]
fn all_of_it_survives_in_the_file() {
    let (dir, mut ledger) = ledger();
    let options = "slow_start = \"30s\"\ndrain_timeout = \"10s\"";
    let reals = [("10.0.0.11", "active"), ("10.0.0.12", "active"), ("10.0.0.13", "drain")];
    let model = model(options, &reals);
    ledger.follow(&model, at(0));
    know(&mut ledger, &model, &[true, true, true], at(0));
    know(&mut ledger, &model, &[true, false, true], at(1));
    know(&mut ledger, &model, &[true, true, true], at(2));
    let gone = Real { mac: Some(Mac([2, 0, 0, 0, 0, 9])), ..Real::plain(address("10.0.0.14")) };
    ledger.depart("web", &gone, Some(SECOND), at(2));
    ledger.save().expect("it is written");
    let again = Ledger::open(dir.path()).expect("it is read");
    assert_eq!(again.pages, ledger.pages);
    assert_eq!(role(&again, &model, "10.0.0.12", at(2)).part(), 25);
    assert_eq!(again.left("web").next().expect("the one that left").0.mac, gone.mac);
}

#[test]
fn a_file_that_is_not_ours_is_refused() {
    let (dir, _) = ledger();
    for text in ["drains", "{\"version\": 99, \"vips\": {}}"] {
        fs::write(dir.path().join("ledger.json"), text).expect("it is written");
        assert!(Ledger::open(dir.path()).is_err(), "{text}");
    }
}

#[tokio::test]
async fn what_is_saved_aside_is_never_older_than_what_was_saved_since() {
    let (dir, mut ledger) = ledger();
    let model = model("", &[("10.0.0.11", "active")]);
    ledger.follow(&model, at(0));
    for second in 0..50 {
        know(&mut ledger, &model, &[second % 2 == 0], at(second));
        ledger.save_aside();
    }
    know(&mut ledger, &model, &[true], at(99));
    ledger.save().expect("the file is written");
    let last = Ledger::open(dir.path()).expect("the file is read");
    assert_eq!(
        last.course("web", address("10.0.0.11")),
        ledger.course("web", address("10.0.0.11"))
    );
    know(&mut ledger, &model, &[false], at(100));
    ledger.save_aside();
    while Ledger::open(dir.path()).expect("the file is read").pages != ledger.pages {
        tokio::task::yield_now().await;
    }
}
