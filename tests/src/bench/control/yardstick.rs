//! A computation that is the same on every machine and in every version: what times are compared with.

use std::{hint::black_box, time::Instant};

use super::super::figure::{Samples, Section, Unit};

const NUMBERS: usize = 1_000_000;

/// How long it took, in milliseconds.
#[derive(Default)]
pub(super) struct Yardstick(Vec<f64>);

impl Yardstick {
    /// Does it once more.
    pub(super) fn measure(&mut self) {
        let start = Instant::now();
        black_box(work(black_box(0x9e37_79b9_7f4a_7c15)));
        self.0.push(start.elapsed().as_secs_f64() * 1e3);
    }

    /// The middle of all.
    pub(super) fn median(&self) -> f64 {
        Samples::new(self.0.clone()).median()
    }

    pub(super) fn add(&self, section: &mut Section) {
        section.add(
            "yardstick: a million numbers sorted",
            "1 thread",
            Unit::Millis,
            self.0.clone(),
        );
    }
}

/// Xorshift (Marsaglia, 2003), a sort, and FNV-1a over words.
fn work(seed: u64) -> u64 {
    let mut word = seed;
    let next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    };
    let mut numbers: Vec<u64> = std::iter::repeat_with(next).take(NUMBERS).collect();
    numbers.sort_unstable();
    let add = |hash: u64, number: &u64| (hash ^ number).wrapping_mul(0x100_0000_01b3);
    numbers.iter().fold(0xcbf2_9ce4_8422_2325, add)
}
