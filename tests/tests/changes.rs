//! Changes of a pool in use: what is open stays where it is.

use anyhow::Result;
use tests::{
    LoadOptions,
    changes::{Event, Events, Memory, Report, Stage, StageOptions},
    wait,
};

fn options(connections: usize, memory: Memory) -> StageOptions {
    StageOptions { load: LoadOptions::connections(connections), memory, flaps: 2, flood: 100_000 }
}

fn play(stage: &mut Stage, events: &[Event]) -> Result<Report> {
    let rows = events.iter().map(|event| stage.play(event).inspect(|row| println!("{row}")));
    Ok(Report { rows: rows.collect::<Result<_>>()? })
}

#[test]
fn without_a_change_nothing_breaks() -> Result<()> {
    let mut stage = Stage::set(options(400, Memory::Seconds(3)))?;
    let report = play(&mut stage, &[Events::NOTHING, Events::NOTHING])?;
    assert!(report.is_good(), "{report}");
    Ok(())
}

#[test]
fn a_balancer_without_memory_breaks_connections_and_the_load_notices() -> Result<()> {
    let mut stage = Stage::set(options(400, Memory::None))?;
    let report = play(&mut stage, &[Events::ADD])?;
    assert!(report.rows[0].broken_connections() > 0, "{report}");
    Ok(())
}

#[test]
fn no_change_breaks_what_is_open_on_a_real_that_lives() -> Result<()> {
    let mut stage = Stage::set(options(400, Memory::Seconds(3)))?;
    let report = play(&mut stage, &Events::ALL)?;
    assert!(report.is_good(), "{report}");
    stage.end()
}

#[test]
fn a_drain_under_a_stream_of_queries_ends_and_no_query_comes_any_more() -> Result<()> {
    let load = LoadOptions { queries: 200, ..LoadOptions::connections(0) };
    let mut stage = Stage::set(StageOptions { load, ..options(0, Memory::Seconds(2)) })?;
    let answered = |stage: &Stage| stage.load().queries().values().sum::<u64>();
    let by_first = |stage: &Stage| stage.load().queries().get("real1").copied();
    let some_more = |stage: &Stage| {
        let before = answered(stage);
        wait::until("answers", wait::PATIENCE, || {
            Ok((answered(stage) >= before + 100).then_some(()))
        })
    };
    some_more(&stage)?;
    assert!(by_first(&stage) > Some(0));
    stage.drain(1)?;
    stage.wait_for_drain(1)?;
    let before = by_first(&stage);
    some_more(&stage)?;
    assert_eq!(by_first(&stage), before);
    assert_eq!(stage.load().take_broken(), []);
    Ok(())
}
