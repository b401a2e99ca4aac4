//! With servers that are scripted and time that passes when nothing else is to be done.

mod bench;
mod changes;
mod measure;
mod random;

use std::{collections::BTreeSet, time::Duration};

use bench::*;
use tokio::{
    sync::mpsc,
    time::{Instant, advance},
};

use super::*;
use crate::model::{CheckVia, Initial};

#[tokio::test(start_paused = true)]
async fn a_new_real_is_probed_at_once_and_up_after_as_many_passes_as_are_asked_for() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check())]);
    assert_eq!(bench.next().await, (1, pending(false)));
    assert_eq!(bench.next().await, (1, up("icmp from 10.0.0.1 via VIP 192.0.2.10")));
    assert_eq!(bench.asked(detour(1)).len(), 2);
    assert!(bench.asked(detour(1))[1] <= FAST);
    assert!(bench.asked(own(1)).is_empty());
    bench.quiet(20).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_down_within_the_promised_time() {
    for fails in [Way::Silent, Way::Refuses, Way::Slow] {
        for moment in [0, 300, 999, 1500, 1999] {
            let mut bench = Bench::new();
            bench.set([assignment(1, check())]);
            bench.settle(1).await;
            advance(Duration::from_millis(moment)).await;
            bench.script(detour(1), fails);
            let failed = Instant::now();
            let (_, standing) = bench.next().await;
            assert!(!standing.up());
            assert!(failed.elapsed() <= check().fall * check().interval + check().timeout);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_failure_cannot_be_blamed_for_changes_nothing() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check())]);
    bench.settle(1).await;
    bench.script(detour(1), Way::NotHere);
    bench.quiet(60).await;
    bench.script(detour(1), Way::Refuses);
    assert!(!bench.next().await.1.up());
    bench.script(detour(1), Way::NotHere);
    bench.quiet(60).await;
}

#[tokio::test(start_paused = true)]
async fn the_reason_tells_the_vip_from_the_server() {
    let vip_refuses = "connection refused on VIP 192.0.2.10; ";
    let vip_silent = "timeout on VIP 192.0.2.10 while connecting; ";
    let answers = "the real answers at its own address: ";
    for (via, itself, expected) in [
        (
            Way::Refuses,
            Way::Answers,
            [vip_refuses, answers, "does the server listen on the VIP?"].concat(),
        ),
        (Way::Silent, Way::Answers, [vip_silent, answers, "is the VIP on its lo?"].concat()),
        (
            Way::Refuses,
            Way::Refuses,
            [vip_refuses, "the server itself: connection refused on 10.0.0.1: is it running?"]
                .concat(),
        ),
        (
            Way::Silent,
            Way::Silent,
            [
                vip_silent,
                "the server itself: timeout on 10.0.0.1 while connecting: is the machine up?",
            ]
            .concat(),
        ),
    ] {
        for fall in [1, 3] {
            let mut bench = Bench::new();
            bench.set([assignment(1, Check { fall, ..check() })]);
            bench.settle(1).await;
            bench.script(detour(1), via);
            bench.script(own(1), itself);
            assert_eq!(bench.next().await, (1, down(&expected)));
            bench.quiet(30).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_reason_follows_what_is_the_matter() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check())]);
    bench.settle(1).await;
    for (via, itself, expected) in [
        (Way::Silent, Way::Silent, "is the machine up?"),
        (Way::Refuses, Way::Refuses, "is it running?"),
        (Way::Refuses, Way::Answers, "does the server listen on the VIP?"),
    ] {
        bench.script(detour(1), via);
        bench.script(own(1), itself);
        let (_, Standing::Down { reason }) = bench.next().await else { panic!("not down") };
        assert!(reason.ends_with(expected), "{reason}");
        bench.quiet(30).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_of_the_own_address_goes_there_only() {
    let mut bench = Bench::new();
    bench.script(detour(1), Way::Refuses);
    bench.set([assignment(1, Check { via: CheckVia::Rip, ..check() })]);
    bench.next().await;
    assert_eq!(bench.next().await, (1, up("icmp from 10.0.0.1")));
    bench.script(own(1), Way::Refuses);
    assert_eq!(bench.next().await, (1, down("connection refused on 10.0.0.1")));
    assert!(bench.asked(detour(1)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_several_checks_all_must_pass() {
    let mut bench = Bench::new();
    let two = Assignment { checks: vec![check(), own_check()], ..assignment(1, check()) };
    bench.set([two]);
    bench.next().await;
    let both = "icmp from 10.0.0.1 via VIP 192.0.2.10; icmp from 10.0.0.1";
    assert_eq!(bench.next().await, (1, up(both)));
    bench.script(own(1), Way::Refuses);
    let reason = "check 2 of 2 (icmp): connection refused on 10.0.0.1";
    assert_eq!(bench.next().await, (1, down(reason)));
    bench.script(detour(1), Way::Refuses);
    let (_, Standing::Down { reason }) = bench.next().await else { panic!("not down") };
    assert!(reason.starts_with("check 1 of 2 (icmp): connection refused on VIP"), "{reason}");
    bench.script(own(1), Way::Answers);
    bench.quiet_but(30, false).await;
    bench.script(detour(1), Way::Answers);
    assert_eq!(bench.next().await, (1, up(both)));
}

#[tokio::test(start_paused = true)]
async fn a_hint_brings_the_next_probe_forward_but_not_more_often_than_the_fast_interval() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check()), assignment(2, check())]);
    bench.settle(2).await;
    let began = bench.now();
    for _ in 0..200 {
        bench.checker.hint(own(1));
        pass(10).await;
    }
    let asked: Vec<_> = bench.asked(detour(1)).into_iter().filter(|at| *at >= began).collect();
    assert!((4..=5).contains(&asked.len()), "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= FAST));
    assert!(asked[0] - began <= FAST);
    let other: Vec<_> = bench.asked(detour(2)).into_iter().filter(|at| *at >= began).collect();
    assert!(other.len() <= 2, "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_during_a_probe_counts_for_the_next_one() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check())]);
    bench.settle(1).await;
    bench.script(detour(1), Way::SlowAnswer);
    while bench.fake.busy() == 0 {
        pass(1).await;
    }
    let before = bench.asked(detour(1)).len();
    bench.checker.hint(own(1));
    while bench.asked(detour(1)).len() == before {
        pass(1).await;
    }
    let asked = bench.asked(detour(1));
    let apart = asked[asked.len() - 1] - asked[asked.len() - 2];
    assert!(apart < check().interval.mul_f64(0.9), "{apart:?}");
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_probes_at_a_time_than_places_and_whoever_waits_is_counted_as_late() {
    let mut bench = Bench::with(1024, 10);
    for real in 1..=100 {
        bench.script(detour(real), Way::Silent);
    }
    bench.set((1..=100).map(|real| assignment(real, check())));
    pass(5000).await;
    assert_eq!(bench.fake.most(), 10);
    assert!(bench.checker.slip() > Duration::from_secs(1));
    bench.set([assignment(1, check())]);
    pass(5000).await;
    assert!(bench.checker.slip() > Duration::ZERO);
    pass(10_000).await;
    assert!(bench.checker.slip() <= Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn the_first_probes_of_many_are_spread() {
    let mut bench = Bench::with(10_000, 10_000);
    let brief = Check { interval: Duration::from_millis(100), fast_interval: FAST / 10, ..check() };
    bench.set((1..=200).map(|real| assignment(real, brief.clone())));
    pass(200).await;
    let first: BTreeSet<_> = (1..=200).map(|real| bench.asked(detour(real))[0]).collect();
    assert!(first.len() >= 90, "{}", first.len());
    assert!(first.last().unwrap() <= &Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_or_never_ends_holds_up_nobody() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check()), assignment(2, check()), assignment(3, check())]);
    bench.settle(3).await;
    bench.script(detour(1), Way::Panics);
    bench.script(detour(2), Way::Forever);
    let (real, standing) = bench.next().await;
    let reason = "timeout on VIP 192.0.2.10 while waiting for the end of the probe";
    assert_eq!((real, standing), (2, down(reason)));
    bench.quiet(30).await;
    let last = bench.checker.last(&key(1)).unwrap();
    let panicked = Failure::Local("the probe has panicked".to_owned());
    assert_eq!(last[0].result.as_ref().unwrap().result, Err(panicked));
}

#[tokio::test(start_paused = true)]
async fn the_newest_result_of_each_check_is_there_with_its_time() {
    let mut bench = Bench::new();
    bench.set([Assignment { checks: vec![check(), own_check()], ..assignment(1, check()) }]);
    bench.settle(1).await;
    bench.script(own(1), Way::Silent);
    pass(4000).await;
    let last = bench.checker.last(&key(1)).unwrap();
    assert_eq!(last.iter().map(|latest| latest.kind).collect::<Vec<_>>(), ["icmp", "icmp"]);
    let [first, second] = [0, 1].map(|index| last[index].result.clone().unwrap());
    assert!(first.result.is_ok() && first.took < Duration::from_millis(5));
    assert_eq!(second.result, Err(Failure::Timeout("connecting")));
    assert!(second.took >= check().timeout && second.at.elapsed() <= check().interval);
    assert_eq!(bench.checker.last(&key(2)), None);
}

#[tokio::test(start_paused = true)]
async fn findings_that_nobody_takes_hold_up_nothing_and_the_newest_counts() {
    let mut bench = Bench::with(1, 1024);
    bench.set((1..=20).map(|real| assignment(real, check())));
    pass(10_000).await;
    for real in 1..=20 {
        bench.script(detour(real), Way::Refuses);
        assert!(bench.asked(detour(real)).len() > 5);
    }
    pass(20_000).await;
    bench.script(detour(20), Way::Answers);
    pass(20_000).await;
    let found = bench.drain().await;
    // One was in the channel.
    assert_eq!(found.len(), 21);
    let newest: BTreeMap<_, _> = found.into_iter().collect();
    assert!((1..=19).all(|real| matches!(newest[&real], Standing::Down { .. })));
    assert!(matches!(newest[&20], Standing::Up { .. }));
}

#[test]
fn the_thread_finds_out_what_it_is_asked_and_ends_with_its_handle() {
    let (findings, mut found) = mpsc::channel(16);
    let checker = Checker::start(Fake::default(), findings, || ()).unwrap();
    let initial = Initial::Up;
    checker.set(vec![assignment(1, Check { rise: 1, initial, ..check() })]);
    let standings = [(); 2].map(|()| found.blocking_recv().unwrap().standing);
    assert_eq!(standings, [pending(true), up("icmp from 10.0.0.1 via VIP 192.0.2.10")]);
    drop(checker);
    assert_eq!(found.blocking_recv(), None);
}
