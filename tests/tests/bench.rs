//! The benchmark with less of everything: that it works, not how fast anything is. Its parts that need a lab take the whole
//! machine, and lose frames on a busy one: `cargo xtask test -- --test bench -- --ignored --test-threads 1` runs these.

use std::collections::BTreeSet;

use anyhow::Result;
use tests::bench::{
    Options, Part,
    figure::{Figure, Section, Unit},
};

const QUICK: Options = Options { rounds: 1, quick: true, rows: None };

/// What was measured, of those by whom it was measured.
fn columns(section: &Section, row: &str) -> BTreeSet<&'static str> {
    let is_it = |figure: &&Figure| figure.row == row;
    section.figures.iter().filter(is_it).map(|figure| figure.column).collect()
}

fn rows(section: &Section) -> BTreeSet<String> {
    section.figures.iter().map(|figure| figure.row.clone()).collect()
}

/// What is no difference is more than nothing.
fn all_are_something(section: &Section, unit: Unit) {
    for figure in section.figures.iter().filter(|figure| figure.unit == unit) {
        assert!(figure.samples.min() > 0.0, "{figure:?}");
    }
}

#[test]
fn every_packet_of_the_datapaths_cases_ends_as_it_should_in_ours_and_in_the_floors() -> Result<()> {
    // It is an error there if one packet ends otherwise, or if another rule has chosen the real.
    let section = Part::Datapath.run(&QUICK)?;
    let all = rows(&section);
    assert_eq!(all.len(), 28, "{all:?}");
    for row in all {
        let columns = columns(&section, &row);
        assert!(columns.is_superset(&["wrapper", "F0", "lb"].into()), "{row}: {columns:?}");
    }
    Ok(())
}

#[test]
#[ignore = "takes the whole machine"]
fn live_frames_arrive_whoever_forwards_them() -> Result<()> {
    // It is an error there if more than a hundredth of anybody's frames are lost.
    let section = Part::Live.run(&QUICK)?;
    let all = rows(&section);
    assert_eq!(all.len(), 8, "{all:?}");
    for row in all {
        let expected: &[&str] =
            if row.contains("second") { &["lb", "F0", "kernel"] } else { &["lb", "F0", "F1"] };
        assert_eq!(columns(&section, &row), expected.iter().copied().collect(), "{row}");
    }
    all_are_something(&section, Unit::KiloPackets);
    // Each row beside F0, and beside the kernel's routing or the least that balances.
    assert_eq!(section.measures.len(), 16);
    Ok(())
}

#[test]
#[ignore = "takes the whole machine"]
fn round_trips_are_made_with_and_without_a_balancer() -> Result<()> {
    let section = Part::Latency.run(&QUICK)?;
    let all = rows(&section);
    assert_eq!(all.len(), 8, "{all:?}");
    for row in all {
        assert_eq!(columns(&section, &row), ["direct", "lb", "F0"].into(), "{row}");
        let (median, slow) = (row.replace("p99", "median"), row.replace("median", "p99"));
        for column in columns(&section, &row) {
            assert!(section.median(&median, column) <= section.median(&slow, column), "{row}");
        }
    }
    all_are_something(&section, Unit::Micros);
    Ok(())
}

#[test]
#[ignore = "takes the whole machine"]
fn requests_are_all_answered_through_each_balancer() -> Result<()> {
    // wrk's complaints are errors there.
    let section = Part::Http.run(&QUICK)?;
    let all = rows(&section);
    assert_eq!(all.len(), 8, "{all:?}");
    for row in all {
        // Where there is no balancer, it takes no time.
        let count = if row.ends_with("direct") { 2 } else { 3 };
        assert_eq!(columns(&section, &row).len(), count, "{row}");
    }
    all_are_something(&section, Unit::Requests);
    // lb's program has run: the kernel says how often.
    assert!(section.notes.iter().any(|note| note.contains("BPF_ENABLE_STATS")));
    Ok(())
}
