//! How long a ring takes to build.

use std::{hint::black_box, net::IpAddr, time::Instant};

use lb_user::maglev::{self, Candidate};

use super::{
    super::figure::{Section, Unit},
    yardstick::Yardstick,
};
use crate::world::SEED;

const SLOTS: u32 = 65_537;

/// The rows, with how many reals there are.
pub(super) const ROWS: [(&str, u32); 3] = [
    ("ring of 65537 slots, 10 reals", 10),
    ("ring of 65537 slots, 100 reals", 100),
    ("ring of 65537 slots, 1000 reals", 1000),
];

/// Builds each in each round, of equal reals, beside the yardstick.
pub(super) fn measure(section: &mut Section, yardstick: &mut Yardstick, rounds: usize) {
    let mut times = ROWS.map(|_| Vec::new());
    for _ in 0..rounds {
        yardstick.measure();
        for ((_, reals), times) in ROWS.iter().zip(&mut times) {
            times.push(build(*reals));
        }
    }
    for ((row, _), times) in ROWS.iter().zip(times) {
        section.add(*row, "1 thread", Unit::Millis, times);
    }
}

/// Milliseconds.
fn build(reals: u32) -> f64 {
    let address = |index: u32| IpAddr::from((0x0a01_0001 + index).to_be_bytes());
    let candidate = |index| Candidate { address: address(index), weight: 1 };
    let candidates: Vec<Candidate> = (0..reals).map(candidate).collect();
    let start = Instant::now();
    black_box(maglev::ring(black_box(&candidates), &SEED, SLOTS));
    start.elapsed().as_secs_f64() * 1e3
}
