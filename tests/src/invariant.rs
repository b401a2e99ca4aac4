//! What holds for the datapath's code whatever the frame: checked by the fuzzer, on the golden table,
//! and on every case that the fuzzer has found.

use std::{
    cell::{Cell, RefCell},
    fs,
    path::{Path, PathBuf},
};

use lb_common::Outcome;
use lb_ebpf::{process, tables::Count};
use lb_user::dataplane::Memory;

use crate::world::BALANCER;

/// Counts what one frame made the datapath count.
#[derive(Default)]
struct Tally {
    outcomes: RefCell<Vec<Outcome>>,
    steered: RefCell<Vec<(u32, u64)>>,
    begins: Cell<bool>,
}

impl Count for Tally {
    fn outcome(&self, outcome: Outcome) {
        self.outcomes.borrow_mut().push(outcome);
    }

    fn steered(&self, place: u32, bytes: u64, begins: bool) {
        self.steered.borrow_mut().push((place, bytes));
        self.begins.set(begins);
    }
}

/// Runs a frame through the datapath's code and panics if something is broken: a frame that is not
/// forwarded is untouched (but for a ping, which becomes its answer), one that is differs in its
/// Ethernet addresses only, and each is counted once, as what it was. Returns how it ended.
pub fn check(memory: &Memory, frame: &[u8]) -> Outcome {
    // Of exactly this size, so that a sanitizer sees every byte read beyond it.
    let mut after = frame.to_vec();
    let tally = Tally::default();
    let verdict = process(&mut after, memory, &tally);
    let outcome = verdict.err().unwrap_or(Outcome::Forwarded);
    assert_eq!(*tally.outcomes.borrow(), [outcome], "one outcome is counted, the one returned");
    let steered = tally.steered.borrow();
    let Ok(forward) = verdict else {
        if outcome == Outcome::EchoAnswered {
            check_answer(frame, &after);
        } else {
            assert_eq!(*after, *frame, "a frame that is not forwarded is untouched");
        }
        assert!(steered.is_empty(), "nobody was steered to");
        return outcome;
    };
    assert_eq!(*steered, [(forward.place, frame.len() as u64)], "its real has counted it");
    assert_eq!(tally.begins.get(), forward.begins, "a flow is counted as it is reported");
    assert!(memory.address(forward.place).is_some(), "it goes to a real");
    assert_eq!(frame[..6], BALANCER.0, "only what is sent to the balancer is forwarded");
    assert_ne!(after[..6], BALANCER.0, "it goes to another machine");
    assert_eq!(after[6..12], BALANCER.0, "it comes from the balancer");
    assert_eq!(after[12..], frame[12..], "nothing behind the addresses is written");
    outcome
}

/// Panics unless a ping went back to where it came from, with nothing changed that an answer keeps.
pub fn check_answer(ping: &[u8], answer: &[u8]) {
    assert_eq!(answer.len(), ping.len(), "length");
    assert_eq!(answer[..6], ping[6..12], "to the router");
    assert_eq!(answer[6..12], ping[..6], "from the balancer");
    assert_eq!(answer[12..22], ping[12..22], "the IP header up to the TTL");
    assert_eq!((answer[22], answer[23]), (64, 1), "TTL and protocol");
    assert_eq!(answer[26..30], ping[30..34], "from the VIP");
    assert_eq!(answer[30..34], ping[26..30], "to the client");
    assert_eq!((answer[34], answer[35]), (0, 0), "an echo reply");
    assert_eq!(answer[38..], ping[38..], "identifier, sequence and data");
}

/// The cases that the fuzzer has found, with their files.
#[must_use]
pub fn regressions() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    let files = fs::read_dir(dir).expect("the directory of regressions").flatten();
    let files = files.map(|file| file.path());
    let mut cases: Vec<_> = files
        .filter(|file| file.file_name().is_some_and(|name| name != "README.md"))
        .map(|file| {
            let frame = fs::read(&file).expect("a case");
            (file, frame)
        })
        .collect();
    cases.sort();
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        golden::table,
        world::{host, wider_world},
    };

    #[test]
    fn every_frame_of_the_golden_table_keeps_the_invariants() {
        let (memory, _) = host(&wider_world());
        for row in table() {
            assert_eq!(check(&memory, &row.frame), row.outcome, "{}", row.claim);
        }
    }

    #[test]
    fn what_the_fuzzer_has_found_stays_fixed() {
        let (memory, _) = host(&wider_world());
        for (file, frame) in regressions() {
            println!("{}", file.display());
            check(&memory, &frame);
        }
    }

    #[test]
    fn a_frame_too_short_for_any_header_is_truncated() {
        let (memory, _) = host(&wider_world());
        for length in 0..14 {
            assert_eq!(check(&memory, &vec![0; length]), Outcome::Truncated);
        }
    }
}
