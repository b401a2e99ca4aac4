use std::ops::RangeInclusive;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::model::{CheckKind, CheckVia};

fn check(rise: u32, fall: u32, [interval, fast_interval, timeout]: [u64; 3]) -> Check {
    Check {
        kind: CheckKind::Icmp,
        via: CheckVia::Vip,
        interval: Duration::from_millis(interval),
        fast_interval: Duration::from_millis(fast_interval),
        timeout: Duration::from_millis(timeout),
        rise,
        fall,
        initial: Initial::Down,
    }
}

/// Any that the configuration allows.
fn any_check() -> impl Strategy<Value = Check> {
    let times = (1u64..5000).prop_flat_map(|interval| (Just(interval), 1..=interval, 1..=interval));
    (1u32..6, 1u32..6, times).prop_map(|(rise, fall, (interval, fast, timeout))| {
        check(rise, fall, [interval, fast, timeout])
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    prop_oneof![
        Just(Record::new(Initial::Down)),
        Just(Record::new(Initial::Up)),
        any::<bool>().prop_map(Record::believed),
    ]
}

/// Whether the last so many results were all of one kind.
fn in_a_row(results: &[bool], passed: bool, length: u32) -> bool {
    let last = results.iter().rev().take(length as usize);
    last.clone().count() == length as usize && last.clone().all(|result| *result == passed)
}

/// Probes one after the other, from zero on, each with its jitter and its length in shares of the
/// timeout; a probe fails if it begins when the server has failed. Until the server is down: when
/// that is.
fn down_at(record: &mut Record, check: &Check, fails: Duration, course: &[(f64, f64)]) -> Duration {
    let zero = Instant::now();
    let mut began = zero;
    for (jitter, length) in course.iter().cycle() {
        let ended = began + check.timeout.mul_f64(*length);
        record.note(check, began < zero + fails);
        if !record.up() && began >= zero + fails {
            return ended - zero;
        }
        began = record.next(check, began, ended, *jitter);
    }
    unreachable!("the course is a circle")
}

proptest! {
    #[test]
    fn a_standing_changes_only_by_as_many_results_in_a_row_as_are_asked_for(
        check in any_check(), mut record in any_record(), results in vec(any::<bool>(), 0..64),
    ) {
        for end in 1..=results.len() {
            let (before, passed) = (record.up(), results[end - 1]);
            let speaks = record.note(&check, passed);
            let enough = in_a_row(&results[..end], passed, threshold(&check, passed));
            prop_assert_eq!(record.up(), if enough { passed } else { before });
            prop_assert!(enough || !speaks);
            prop_assert!(record.up() == before || speaks);
        }
    }

    #[test]
    fn a_server_that_fails_is_down_within_the_promised_time(
        check in any_check(),
        mut record in any_record(),
        fails in 0u64..20_000,
        course in vec((0.0..=1.0, 0.0..=1.0), 1..32),
    ) {
        let fails = Duration::from_millis(fails);
        let down = down_at(&mut record, &check, fails, &course);
        prop_assert!(down <= fails + check.fall * check.interval + check.timeout, "{down:?}");
    }

    #[test]
    fn the_next_probe_begins_when_the_last_is_over_and_never_late(
        check in any_check(),
        mut record in any_record(),
        results in vec(any::<bool>(), 0..16),
        jitter in -1.0..=2.0,
        length in 0.0..=2.0,
    ) {
        for passed in results {
            record.note(&check, passed);
        }
        let began = Instant::now();
        let ended = began + check.timeout.mul_f64(length);
        let next = record.next(&check, began, ended, jitter);
        prop_assert!(next >= ended);
        prop_assert!(next <= ended.max(began + check.interval));
    }

    #[test]
    fn a_closer_look_is_taken_before_every_failure_that_speaks(
        check in any_check(), mut record in any_record(), results in vec(any::<bool>(), 0..32),
    ) {
        for passed in results {
            let at_stake = record.at_stake(&check);
            let speaks = record.note(&check, passed);
            prop_assert!(passed || speaks == at_stake);
        }
    }
}

const TIMES: [u64; 3] = [2000, 500, 1000];

fn pace(record: &Record, check: &Check) -> RangeInclusive<Duration> {
    let began = Instant::now();
    record.next(check, began, began, 1.0) - began..=record.next(check, began, began, 0.0) - began
}

#[test]
fn nothing_is_known_until_results_have_spoken() {
    let check = check(2, 3, TIMES);
    for initial in [Initial::Down, Initial::Up] {
        for (passed, count) in [(true, 2), (false, 3)] {
            let mut record = Record::new(initial);
            for _ in 1..count {
                assert!(!record.note(&check, passed));
                assert_eq!((record.known(), record.up()), (None, initial == Initial::Up));
            }
            assert!(record.note(&check, passed));
            assert_eq!(record.known(), Some(passed));
        }
    }
}

#[test]
fn probes_are_fast_until_results_have_confirmed_the_standing_and_when_one_differs() {
    let check = check(2, 3, TIMES);
    let fast = Duration::from_millis(450)..=Duration::from_millis(495);
    let slow = Duration::from_millis(1800)..=Duration::from_millis(1980);
    let mut record = Record::believed(true);
    assert_eq!(pace(&record, &check), fast);
    for (passed, expected) in [
        (true, &fast),
        (true, &slow),
        (true, &slow),
        (false, &fast),
        (true, &fast),
        (true, &slow),
        (false, &fast),
        (false, &fast),
        (false, &slow),
        (false, &slow),
        (true, &fast),
        (false, &fast),
    ] {
        record.note(&check, passed);
        assert_eq!(&pace(&record, &check), expected, "after {record:?}");
    }
}
