//! What a snapshot looks like in both formats.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use lb_common::{Counters, Outcome};

use super::*;
use crate::health::checker::Durations;

fn counters(packets: u64) -> Counters {
    Counters { packets, bytes: packets * 60, flows: packets / 3, reserved: 0 }
}

fn real(number: u8) -> Real {
    Real {
        address: IpAddr::from([10, 0, 0, number]),
        interface: Some("eth0".to_owned()),
        state: "drain",
        health: "up",
        forced: false,
        weight: 1,
        share: 0.5,
        steered: counters(30),
        previous: 7,
        noted: 2,
        since: Some(Timestamp::UNIX_EPOCH),
        drain: Some((Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)),
        checks: vec![Some(Check { kind: "http", passed: true, took: Duration::from_micros(1500) })],
    }
}

fn snapshot(vips: usize, reals: u8) -> Arc<Snapshot> {
    let vip = |number: usize| Vip {
        name: format!("vip{number}"),
        address: IpAddr::from([192, 0, 2, 10]),
        ports: "tcp/80 udp/53".to_owned(),
        state: "degraded",
        enabled: true,
        announced: Some(true),
        stolen: false,
        active: 1,
        usable: 1,
        slots: 4093,
        tracked: 7,
        steered: counters(90),
        sorry: Some((IpAddr::from([10, 0, 0, 99]), counters(12))),
        checks: vec![("http", Duration::from_secs(1))],
        reals: (1..=reals).map(real).collect(),
    };
    let mut tally = Tally::new(Timestamp::UNIX_EPOCH);
    tally.reload(false, Timestamp::UNIX_EPOCH);
    tally.announced("eth0", 3);
    Arc::new(Snapshot {
        vips: (0..vips).map(vip).collect(),
        outcomes: Outcome::ALL.iter().map(|outcome| (*outcome, 5)).collect(),
        interfaces: vec![Interface { name: "eth0".to_owned(), up: true, xdp: "native" }],
        programs: vec![Program {
            interface: "eth0".to_owned(),
            runs: 10,
            time: Duration::from_millis(2),
        }],
        tables: vec![Fill { table: "pinned_flows", used: 2, size: 1 << 18 }],
        full: false,
        neighbours: vec![("resolved", 2)],
        announced: vec![("eth0".to_owned(), 1)],
        checks: Durations::default(),
        tally,
        config: Config { hash: (1 << 48) - 1, vips: vips as u64 },
        took: Duration::from_millis(1),
    })
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line} in:\n{text}");
}

#[test]
fn the_classic_format_has_the_full_name_everywhere() {
    let text = render(snapshot(1, 1), Format::Classic).unwrap();
    for line in [
        "# TYPE lb_real_packets_total counter",
        "lb_real_packets_total{vip=\"vip0\",real=\"10.0.0.1\"} 30",
        "lb_vip_state{vip=\"vip0\",state=\"degraded\"} 1",
        "lb_vip_state{vip=\"vip0\",state=\"up\"} 0",
        "lb_vip_sorry_packets_total{vip=\"vip0\"} 12",
        "lb_vip_sorry_bytes_total{vip=\"vip0\"} 720",
        "lb_vip_sorry_flows_total{vip=\"vip0\"} 4",
        "lb_real_check_duration_seconds{vip=\"vip0\",real=\"10.0.0.1\",check=\"1\",type=\"http\"} 0.0015",
        "lb_outcomes_total{outcome=\"no_real\",action=\"drop\"} 5",
        "lb_config_hash 281474976710655",
        "lb_config_last_reload_successful 0",
        "lb_program_run_seconds_total{interface=\"eth0\"} 0.002",
        "lb_announcements_total{interface=\"eth0\"} 3",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        has(&text, line);
    }
    assert!(!text.contains("# EOF"));
}

#[test]
fn a_check_without_a_result_does_not_give_its_number_to_the_next() {
    let mut snapshot = Arc::into_inner(snapshot(1, 1)).unwrap();
    snapshot.vips[0].reals[0].checks.insert(0, None);
    let text = render(Arc::new(snapshot), Format::Classic).unwrap();
    let labels = "vip=\"vip0\",real=\"10.0.0.1\",check";
    has(&text, &format!("lb_real_check_passed{{{labels}=\"2\",type=\"http\"}} 1"));
    assert!(!text.contains(&format!("{labels}=\"1\"")), "{text}");
}

#[test]
fn openmetrics_has_the_family_without_its_suffix_and_an_end() {
    let text = render(snapshot(1, 1), Format::OpenMetrics).unwrap();
    for line in [
        "# TYPE lb_real_packets counter",
        "lb_real_packets_total{vip=\"vip0\",real=\"10.0.0.1\"} 30.0",
        "# TYPE lb_real_bytes counter",
        "# UNIT lb_real_bytes bytes",
        "# TYPE lb_build info",
        "# UNIT lb_program_run_seconds seconds",
        "lb_program_run_seconds_total{interface=\"eth0\"} 0.002",
        "# TYPE process_threads gauge",
    ] {
        has(&text, line);
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn both_formats_have_the_same_samples_each_once() {
    let names = |format| -> BTreeSet<String> {
        let text = render(snapshot(3, 2), format).unwrap();
        let samples: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .collect();
        let once: BTreeSet<String> = samples.iter().cloned().collect();
        assert_eq!(once.len(), samples.len());
        once
    };
    assert_eq!(names(Format::Classic), names(Format::OpenMetrics));
}

/// As the operations have it, for those who size their monitoring.
#[test]
fn a_real_has_seventeen_series_and_two_for_its_drain_and_for_each_check() {
    let samples = |vips, reals| {
        let text = render(snapshot(vips, reals), Format::Classic).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    assert_eq!(samples(1, 2) - samples(1, 1), 17 + 2 + 2);
    // With a sorry server, and a check.
    assert_eq!(samples(2, 0) - samples(1, 0), 15 + 3 + 1);
}

#[test]
fn changes_are_counted_by_what_became_of_them_and_a_file_that_was_written_is_good() {
    let mut tally = Tally::new(Timestamp::UNIX_EPOCH);
    tally.reload(false, Timestamp::UNIX_EPOCH);
    tally.change(Came::Refused, Timestamp::UNIX_EPOCH);
    tally.change(Came::Failed, Timestamp::UNIX_EPOCH);
    let text = |tally: &Tally| {
        let mut snapshot = Arc::into_inner(snapshot(0, 0)).unwrap();
        snapshot.tally = tally.clone();
        render(Arc::new(snapshot), Format::Classic).unwrap()
    };
    let before = text(&tally);
    has(&before, "lb_config_changes_total{result=\"refused\"} 1");
    has(&before, "lb_config_changes_total{result=\"failed\"} 1");
    has(&before, "lb_config_last_reload_successful 0");
    tally.replaced();
    has(&text(&tally), "lb_config_last_reload_successful 1");
}

#[test]
fn every_family_is_explained_and_named_by_convention() {
    let snapshot = snapshot(1, 1);
    for family in families::all(&snapshot) {
        let (name, help) = (family.name(), family.help());
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        assert!(name.starts_with("lb_") || name.starts_with("process_"), "{name}");
        let counts = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
        assert_eq!(counts, name.ends_with("_total"), "{name}");
    }
}

#[test]
fn how_long_checks_took_is_a_histogram_in_both_formats() {
    let checks = Durations::default();
    let passed = crate::probe::Answer { summary: String::new(), took: Duration::ZERO };
    checks.note("tcp", &Ok(passed), Duration::from_millis(2));
    let refused = Err(crate::probe::Failure::Refused);
    checks.note("tcp", &refused, Duration::from_millis(700));
    let mut snapshot = Arc::try_unwrap(snapshot(0, 0)).unwrap();
    snapshot.checks = checks;
    let snapshot = Arc::new(snapshot);
    for (format, least) in [(Format::Classic, "1"), (Format::OpenMetrics, "1.0")] {
        let text = render(snapshot.clone(), format).unwrap();
        let bucket = |end: &str, result: &str, count: u64| {
            let labels = [format!("le=\"{end}\""), format!("result=\"{result}\"")];
            let found = text.lines().find(|line| {
                line.starts_with("lb_check_duration_seconds_bucket")
                    && labels.iter().all(|label| line.contains(label.as_str()))
            });
            let found = found.unwrap_or_else(|| panic!("no {labels:?} in:\n{text}"));
            assert!(found.ends_with(&format!(" {count}")), "{found}");
        };
        bucket("0.001", "passed", 0);
        bucket("0.0025", "passed", 1);
        bucket("+Inf", "passed", 1);
        bucket("0.5", "refused", 0);
        bucket(least, "refused", 1);
        bucket("+Inf", "refused", 1);
    }
}

/// Says what the text of a large configuration costs: `cargo test --release -p lb-user --lib metrics::tests::cost --
/// --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost() {
    let snapshot = snapshot(1000, 10);
    for format in [Format::Classic, Format::OpenMetrics] {
        let began = std::time::Instant::now();
        let text = render(snapshot.clone(), format).unwrap();
        let (lines, bytes) = (text.lines().count(), text.len());
        println!("{format:?}: {lines} lines, {bytes} bytes in {:?}", began.elapsed());
    }
}
