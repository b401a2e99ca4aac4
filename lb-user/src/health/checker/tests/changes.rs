//! What happens to the standings when what is to be checked changes.

use super::*;

#[tokio::test(start_paused = true)]
async fn whoever_stays_keeps_standing_and_timers_when_others_come_and_go() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check())]);
    bench.settle(1).await;
    let began = bench.now();
    for round in 0..40 {
        bench.set((1..=1 + round % 5).map(|real| assignment(real, check())));
        pass(300).await;
    }
    assert!(bench.drain().await.iter().all(|(real, _)| *real != 1));
    let asked: Vec<_> = bench.asked(detour(1)).into_iter().filter(|at| *at > began).collect();
    assert!(asked.len() > 5);
    for pair in asked.windows(2) {
        let share = (pair[1] - pair[0]).as_secs_f64() / check().interval.as_secs_f64();
        assert!((0.89..=1.0).contains(&share), "{share}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_check_begins_anew_from_what_is_known() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check())]);
    bench.settle(1).await;
    let changed = Check { interval: Duration::from_secs(3), ..check() };
    bench.script(detour(1), Way::Refuses);
    bench.set([assignment(1, changed.clone())]);
    assert_eq!(bench.next().await, (1, pending(true)));
    let before = bench.asked(detour(1)).len();
    assert!(matches!(bench.next().await, (1, Standing::Down { .. })));
    assert_eq!(bench.asked(detour(1)).len() - before, changed.fall as usize - 1);
    bench.set([assignment(1, check())]);
    assert_eq!(bench.next().await, (1, pending(false)));
}

#[tokio::test(start_paused = true)]
async fn a_changed_check_counts_as_it_begins_where_nothing_is_known() {
    let mut bench = Bench::new();
    bench.script(detour(1), Way::NotHere);
    bench.set([assignment(1, check())]);
    assert_eq!(bench.next().await, (1, pending(false)));
    bench.set([assignment(1, Check { initial: Initial::Up, ..check() })]);
    assert_eq!(bench.next().await, (1, pending(true)));
}

#[tokio::test(start_paused = true)]
async fn a_check_more_takes_no_real_out_before_it_has_failed_and_one_less_lets_it_in() {
    let mut bench = Bench::new();
    bench.script(own(1), Way::Refuses);
    bench.set([Assignment { checks: vec![], ..assignment(1, check()) }]);
    assert_eq!(bench.next().await, (1, up("no checks")));
    bench.set([assignment(1, check())]);
    assert_eq!(bench.next().await, (1, pending(true)));
    assert!(bench.next().await.1.up());
    bench.set([Assignment { checks: vec![own_check(), check()], ..assignment(1, check()) }]);
    assert_eq!(bench.next().await, (1, pending(true)));
    assert!(!bench.next().await.1.up());
    bench.set([assignment(1, check())]);
    assert!(matches!(bench.next().await, (1, Standing::Up { .. })));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_gone_is_sent_nothing_any_more_and_nothing_is_said_of_it() {
    let mut bench = Bench::new();
    bench.script(detour(1), Way::Silent);
    bench.set([assignment(1, check()), assignment(2, check())]);
    while bench.fake.busy() == 0 {
        pass(1).await;
    }
    bench.set([assignment(2, check())]);
    pass(10).await;
    assert_eq!(bench.fake.busy(), 0);
    assert_eq!(bench.checker.last(&key(1)), None);
    let asked = bench.asked(detour(1)).len();
    bench.drain().await;
    assert_eq!(bench.asked(detour(1)).len(), asked);
    bench.set([]);
    let asked = bench.asked(detour(2)).len();
    bench.quiet(30).await;
    assert_eq!(bench.asked(detour(2)).len(), asked);
}

#[tokio::test(start_paused = true)]
async fn another_way_to_the_same_real_keeps_its_standing_and_is_tried_soon() {
    let mut bench = Bench::new();
    bench.set([assignment(1, check())]);
    bench.settle(1).await;
    bench.script(detour(1), Way::Silent);
    while bench.fake.busy() == 0 {
        pass(1).await;
    }
    let turned = bench.now();
    let moved = Some(via(1, detour(99)));
    bench.set([Assignment { vip_target: moved, ..assignment(1, check()) }]);
    pass(FAST.as_millis() as u64).await;
    assert_eq!(bench.fake.busy(), 0);
    assert!(bench.asked(detour(99))[0] - turned <= FAST);
    bench.quiet(30).await;
    bench.script(detour(99), Way::Refuses);
    assert!(!bench.next().await.1.up());
}

#[tokio::test(start_paused = true)]
async fn without_a_way_a_check_is_down_for_that_reason_and_must_pass_again_with_one() {
    let mut bench = Bench::new();
    let there = assignment(1, check());
    let reason = "no address for probes on eth1".to_owned();
    let cut = Assignment { vip_target: None, unreachable: Some(reason.clone()), ..there.clone() };
    bench.set([there.clone()]);
    bench.settle(1).await;
    bench.set([cut.clone()]);
    assert_eq!(bench.next().await, (1, down(&reason)));
    // What was found on the former way is not shown as if it held.
    assert_eq!(bench.checker.last(&key(1)).map(|last| last[0].result.clone()), Some(None));
    let asked = bench.asked(detour(1)).len();
    bench.quiet(30).await;
    bench.checker.hint(own(1));
    bench.quiet(30).await;
    assert_eq!(bench.asked(detour(1)).len(), asked);
    bench.set([there]);
    assert_eq!(bench.next().await, (1, pending(false)));
    assert!(bench.next().await.1.up());
    assert_eq!(bench.asked(detour(1)).len(), asked + 2);
    let both = Assignment { checks: vec![own_check(), check()], start: Some(true), ..cut };
    bench.set([Assignment { key: key(2), ..both }]);
    assert_eq!(bench.next().await, (2, down(&format!("check 2 of 2 (icmp): {reason}"))));
}

#[tokio::test(start_paused = true)]
async fn while_the_way_is_not_known_yet_a_check_waits_and_stands_as_it_did() {
    let mut bench = Bench::new();
    let there = Assignment { start: Some(true), ..assignment(1, check()) };
    let open = Assignment { vip_target: None, ..there.clone() };
    bench.set([open.clone()]);
    assert_eq!(bench.next().await, (1, pending(true)));
    bench.quiet(30).await;
    assert!(bench.asked(detour(1)).is_empty());
    bench.set([there]);
    assert!(matches!(bench.next().await, (1, Standing::Up { .. })));
    bench.set([open]);
    bench.quiet(30).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_known_from_before_is_believed_until_results_say_otherwise() {
    for (known, agrees, differs) in
        [(true, Way::Answers, Way::Refuses), (false, Way::Refuses, Way::Answers)]
    {
        let mut bench = Bench::new();
        bench.script(detour(1), differs);
        bench.set([Assignment { start: Some(known), ..assignment(1, check()) }]);
        assert_eq!(bench.next().await, (1, pending(known)));
        while bench.asked(detour(1)).is_empty() {
            pass(1).await;
        }
        bench.script(detour(1), agrees);
        let (_, standing) = bench.next().await;
        assert_eq!(standing.up(), known);
        bench.script(detour(1), differs);
        assert_eq!(bench.next().await.1.up(), !known);
    }
}
