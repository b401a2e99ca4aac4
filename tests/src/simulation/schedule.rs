//! What happens to the pool.

use super::{Options, random::Random};

/// Something that happens to a real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is to take no new flows.
    Drain,
    /// It is restarted, or fails: its flows die.
    Down,
    /// It is back.
    Up,
    /// It has another weight.
    Weight(u16),
    /// It joins the pool.
    Add,
}

/// A change, its second and the real's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub second: u32,
    /// To whom.
    pub real: u16,
    /// What.
    pub change: Change,
}

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;

/// In how many steps a deploy goes through the pool: two hours in all.
const STEPS: u32 = 20;
/// How long a real is drained, restarts, and is watched before the next ones.
const DRAIN: u32 = 5 * MINUTE;
const RESTART: u32 = 30;
const STEP: u32 = 6 * MINUTE;

/// All events, in order: every six hours a rolling deploy of all reals, a twentieth at a time; a real that
/// fails for one to ten minutes every ten minutes; a new weight every hour, and a new real every six.
#[must_use]
pub fn events(options: &Options) -> Vec<Event> {
    let mut random = Random(options.seed ^ 0x5c4e_d01e);
    let end = options.hours * HOUR;
    let mut events = Vec::new();
    for start in (HOUR..end).step_by(6 * HOUR as usize) {
        deploy(&mut events, options.reals, start);
    }
    let anyone = |random: &mut Random| random.below(u32::from(options.reals)) as u16;
    for _ in 0..end / (10 * MINUTE) {
        let (second, real) = (random.below(end), anyone(&mut random));
        let back = second + MINUTE + random.below(9 * MINUTE);
        events.push(Event { second, real, change: Change::Down });
        events.push(Event { second: back, real, change: Change::Up });
    }
    for second in (HOUR / 2..end).step_by(HOUR as usize) {
        let (real, weight) = (anyone(&mut random), 50 + random.below(101) as u16);
        events.push(Event { second, real, change: Change::Weight(weight) });
    }
    for (real, second) in (options.reals..).zip((4 * HOUR..end).step_by(6 * HOUR as usize)) {
        events.push(Event { second, real, change: Change::Add });
    }
    events.retain(|event| event.second < end);
    events.sort_by_key(|event| event.second);
    events
}

fn deploy(events: &mut Vec<Event>, reals: u16, start: u32) {
    for real in 0..reals {
        let second = start + u32::from(real) * STEPS / u32::from(reals) * STEP;
        let mut push = |second, change| events.push(Event { second, real, change });
        push(second, Change::Drain);
        push(second + DRAIN, Change::Down);
        push(second + DRAIN + RESTART, Change::Up);
    }
}

/// When floods come: from a third of the time on, for two hours or a quarter of the time. On a day that is the
/// second hour of a deploy, and the hour after it.
#[must_use]
pub fn flood(hours: u32) -> std::ops::Range<u32> {
    let start = hours * HOUR / 3;
    start..start + (hours * HOUR / 4).min(2 * HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Options =
        Options { flows: 1, reals: 100, hours: 24, seed: 1, sleepers: false, progress: false };

    #[test]
    fn each_real_is_deployed_four_times_a_day() {
        let events = events(&DAY);
        for real in 0..DAY.reals {
            let drains =
                events.iter().filter(|event| event.real == real && event.change == Change::Drain);
            assert_eq!(drains.count(), 4);
        }
        assert_eq!(events.iter().filter(|event| event.change == Change::Add).count(), 4);
    }

    #[test]
    fn a_seed_gives_one_day_and_another_seed_another() {
        assert_eq!(events(&DAY), events(&DAY));
        assert_ne!(events(&DAY), events(&Options { seed: 2, ..DAY }));
    }

    #[test]
    fn the_flood_of_a_day_comes_within_a_deploy_and_ends_after_it() {
        assert_eq!(flood(24), 8 * HOUR..10 * HOUR);
    }
}
