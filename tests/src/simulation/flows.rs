//! Flows: how long they live, and when they send.

use super::{IDLE, random::Random};

/// A distribution as its quantiles, all equally likely, so that its mean is known exactly.
#[derive(Clone, Debug)]
pub struct Quantiles {
    values: Vec<f64>,
    sums: Vec<f64>,
}

impl Quantiles {
    const COUNT: u32 = 1 << 16;

    /// The log-logistic distribution (like a log-normal one, with a heavier tail) with this median, cut off
    /// at both ends.
    #[must_use]
    pub fn log_logistic(median: f64, shape: f64, range: [f64; 2]) -> Self {
        let value = |index: u32| {
            let part = (f64::from(index) + 0.5) / f64::from(Self::COUNT);
            (median * (part / (1.0 - part)).powf(1.0 / shape)).clamp(range[0], range[1])
        };
        let values: Vec<f64> = (0..Self::COUNT).map(value).collect();
        let add = |sum: &mut f64, value: &f64| {
            *sum += value;
            Some(*sum)
        };
        let sums = values.iter().scan(0.0, add).collect();
        Self { values, sums }
    }

    /// One of the values.
    pub fn draw(&self, random: &mut Random) -> f64 {
        self.values[random.below(Self::COUNT) as usize]
    }

    /// One of the values, the likelier the larger it is: how long those live who are alive now.
    pub fn draw_by_size(&self, random: &mut Random) -> f64 {
        let place = random.unit() * self.sum();
        let index = self.sums.partition_point(|sum| *sum < place);
        self.values[index.min(self.values.len() - 1)]
    }

    /// The mean of the values.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum() / f64::from(Self::COUNT)
    }

    fn sum(&self) -> f64 {
        self.sums.last().copied().unwrap_or_default()
    }
}

/// A flow as the client knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client {
    /// The second of its last packet.
    pub ends: u32,
    /// The mean time between its packets, in seconds.
    pub gap: u16,
    /// From its SYN to the segment after, in milliseconds.
    pub round_trip: u16,
    /// Whether its last packet is a FIN or a RST; otherwise it just falls silent.
    pub closes: bool,
}

impl Client {
    /// Whether a packet of now says that it was the last.
    #[must_use]
    pub fn closes_at(&self, now: u32) -> bool {
        self.closes && self.ends <= now
    }
}

/// Where flows come from.
///
/// Half of them last less than 20 s, a tenth less than a second, 2 % more than an hour, and 2 in 1000 the
/// whole day. A flow sends every four minutes (median; 5 s to 9 min), so that each waits less than the
/// idle timeout; sleepers, one in a thousand, wait half an hour and more. Of twenty flows, one falls silent
/// without a FIN.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    lifetimes: Quantiles,
    gaps: Quantiles,
    round_trips: Quantiles,
    sleepers: bool,
}

/// The longest life, in seconds.
const DAY: f64 = 86_400.0;
/// The longest mean gap of who is no sleeper, in seconds; single ones are up to half longer.
const GAP: f64 = 540.0;
/// The shortest mean gap of a sleeper, in seconds.
const SLEEP: u32 = 2 * IDLE + 200;
const _: () = assert!(GAP * 1.5 < IDLE as f64 && SLEEP / 2 > IDLE);

impl Generator {
    /// A source of flows.
    #[must_use]
    pub fn new(random: Random, sleepers: bool) -> Self {
        Self {
            random,
            lifetimes: Quantiles::log_logistic(20.0, 0.75, [0.1, DAY]),
            gaps: Quantiles::log_logistic(240.0, 2.5, [5.0, GAP]),
            round_trips: Quantiles::log_logistic(50.0, 3.0, [1.0, 3000.0]),
            sleepers,
        }
    }

    /// How many begin a second, if so many are alive.
    #[must_use]
    pub fn rate(&self, flows: u32) -> f64 {
        f64::from(flows) / self.lifetimes.mean()
    }

    /// A flow that begins now.
    pub fn new_flow(&mut self, now: u32) -> Client {
        let lives = self.lifetimes.draw(&mut self.random);
        let begins = f64::from(now) + self.random.unit();
        self.client(begins + lives)
    }

    /// A flow that was alive before the beginning.
    pub fn old_flow(&mut self) -> Client {
        let lives = self.lifetimes.draw_by_size(&mut self.random);
        let left = lives * self.random.unit();
        self.client(left)
    }

    fn client(&mut self, ends: f64) -> Client {
        let sleeps = self.sleepers && self.random.below(1000) == 0;
        let gap = if sleeps {
            f64::from(SLEEP + self.random.below(SLEEP))
        } else {
            self.gaps.draw(&mut self.random)
        };
        let round_trip = self.round_trips.draw(&mut self.random);
        let closes = self.random.below(20) > 0;
        Client { ends: ends as u32, gap: gap as u16, round_trip: round_trip as u16, closes }
    }

    /// When the flow sends next, after `now`.
    pub fn next_packet(&mut self, client: &Client, now: u32) -> u32 {
        let gap = u32::from(client.gap);
        (now + 1 + gap / 2 + self.random.below(gap)).min(client.ends.max(now))
    }
}

/// Who sends in which second, for the next hours.
#[derive(Clone, Debug)]
pub struct Wheel {
    buckets: Vec<Vec<u32>>,
}

impl Wheel {
    const SPAN: u32 = 1 << 13;

    /// A wheel on which nobody is.
    #[must_use]
    pub fn new() -> Self {
        const { assert!(Self::SPAN > 3 * SLEEP + 1) };
        Self { buckets: vec![Vec::new(); Self::SPAN as usize] }
    }

    /// This flow sends then.
    pub fn put(&mut self, second: u32, flow: u32) {
        self.buckets[(second % Self::SPAN) as usize].push(flow);
    }

    /// Who sends now.
    pub fn take(&mut self, now: u32) -> Vec<u32> {
        std::mem::take(&mut self.buckets[(now % Self::SPAN) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetimes() -> Vec<u32> {
        let mut generator = Generator::new(Random(7), true);
        (0..100_000).map(|_| generator.new_flow(0).ends).collect()
    }

    #[test]
    fn most_flows_last_seconds_to_minutes_and_some_hours() {
        let lives = lifetimes();
        let share = |from: u32, to: u32| {
            let count = lives.iter().filter(|life| (from..to).contains(life)).count();
            count as f64 / lives.len() as f64
        };
        assert!((0.45..0.55).contains(&share(0, 20)), "{}", share(0, 20));
        assert!(share(0, 600) > 0.9);
        assert!((0.015..0.025).contains(&share(3600, u32::MAX)), "{}", share(3600, u32::MAX));
    }

    #[test]
    fn as_many_begin_as_end() {
        let mut generator = Generator::new(Random(7), false);
        let begin = generator.rate(100_000) as u32;
        let old = (0..100_000).filter(|_| generator.old_flow().ends < 10).count();
        let seconds = (0..10).flat_map(|second| std::iter::repeat_n(second, begin as usize));
        let new = seconds.filter(|second| generator.new_flow(*second).ends < 10).count();
        let part = (old + new) as f64 / f64::from(10 * begin);
        assert!((part - 1.0).abs() < 0.05, "{part}");
    }

    #[test]
    fn nobody_but_sleepers_is_silent_for_the_idle_timeout() {
        for sleepers in [false, true] {
            let mut generator = Generator::new(Random(7), sleepers);
            let mut silent = 0;
            for _ in 0..100_000 {
                let client = Client { ends: u32::MAX, ..generator.new_flow(0) };
                silent += u32::from(generator.next_packet(&client, 0) > IDLE);
            }
            assert_eq!(silent > 0, sleepers);
            assert!(silent < 200, "{silent}");
        }
    }

    #[test]
    fn a_flow_sends_nothing_after_its_end() {
        let mut generator = Generator::new(Random(7), true);
        for _ in 0..1000 {
            let client = generator.new_flow(100);
            let next = generator.next_packet(&client, 100);
            assert!(next <= client.ends.max(100) && next <= 100 + Wheel::SPAN, "{client:?}");
        }
    }

    #[test]
    fn whoever_is_put_on_the_wheel_comes_up_in_its_second() {
        let mut wheel = Wheel::new();
        wheel.put(5 + Wheel::SPAN, 1);
        assert!(wheel.take(4).is_empty());
        assert_eq!(wheel.take(5 + Wheel::SPAN), [1]);
        assert!(wheel.take(5 + Wheel::SPAN).is_empty());
    }
}
