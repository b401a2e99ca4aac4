//! A small simulation: what `cargo xtask simulate` counts for a large pool.

use tests::simulation::{Flood, Options, Report, Row, Why, run};

const SMALL: Options =
    Options { flows: 5_000, reals: 10, hours: 4, seed: 1, sleepers: false, progress: false };

fn row<'a>(report: &'a Report, name: &str, flood: Flood) -> &'a Row {
    report.row(name, flood).unwrap_or_else(|| panic!("no {name} in\n{report}"))
}

#[test]
fn no_flow_loses_a_living_real_to_deploys_failures_and_new_weights() {
    let report = run(SMALL);
    let own = row(&report, "this design", Flood::None).tally;
    assert_eq!(own.broken, 0, "{report}");
    // Enough happened to break others, and this ring without tracking.
    assert!(own.flows > 50_000 && own.lost > 100, "{own:?}");
    assert!(row(&report, "Maglev, rebuilt", Flood::None).tally.broken > 1000, "{report}");
    assert!(row(&report, "this ring alone", Flood::None).tally.broken > 1000, "{report}");
    assert!(row(&report, "Maglev, LRU", Flood::Syn).tally.broken > 100, "{report}");
}

#[test]
fn whoever_is_broken_by_a_flood_has_met_a_limit_that_is_known() {
    let report = run(SMALL);
    for flood in [Flood::Syn, Flood::SynAck] {
        let own = row(&report, "this design", flood).tally;
        assert_eq!(own.why[Why::Other as usize], 0, "{report}");
        assert_eq!(own.why.iter().sum::<u64>(), own.broken, "{report}");
        assert!(own.broken * 1000 < own.flows, "{report}");
        // What helped: while there was no room, flows began with the previous owners.
        assert!(own.crowded > 1000 && own.late > 100, "{report}");
    }
    assert_eq!(row(&report, "this design", Flood::None).tally.crowded, 0, "{report}");
}

#[test]
fn a_seed_gives_one_result_and_another_seed_another() {
    let short = Options { flows: 500, hours: 2, ..SMALL };
    let text = |seed| run(Options { seed, ..short }).to_string();
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn who_is_silent_for_too_long_may_be_forgotten_and_nobody_else() {
    let report = run(Options { sleepers: true, flows: 10_000, ..SMALL });
    let own = row(&report, "this design", Flood::None).tally;
    assert_eq!(own.broken, own.why[Why::Idle as usize], "{report}");
    assert!(own.broken > 0 && own.broken * 1000 < own.flows, "{report}");
}
