//! What was measured, and what is made of it.

use std::fmt;

/// What one thing cost in each round.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// What was measured, in the order of the rounds.
    ///
    /// # Panics
    ///
    /// Where nothing was measured, or what was is no number.
    #[must_use]
    pub fn new(mut rounds: Vec<f64>) -> Self {
        assert!(!rounds.is_empty(), "nothing was measured");
        assert!(rounds.iter().all(|value| value.is_finite()), "no numbers: {rounds:?}");
        rounds.sort_unstable_by(f64::total_cmp);
        Self(rounds)
    }

    /// The middle one; of an even number, the mean of both in the middle.
    #[must_use]
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 {
            self.0[middle]
        } else {
            f64::midpoint(self.0[middle - 1], self.0[middle])
        }
    }

    /// The smallest.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0[0]
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// How many rounds there were.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.0.len()
    }
}

/// What a figure is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds a packet.
    NanosPerPacket,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Thousands of packets a second.
    KiloPackets,
    /// Requests a second.
    Requests,
    /// Mebibytes.
    Mebibytes,
    /// Instructions, or other things that are counted.
    Count,
}

impl Unit {
    /// The word for it in tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NanosPerPacket => "ns/packet",
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::KiloPackets => "kpps",
            Self::Requests => "requests/s",
            Self::Mebibytes => "MiB",
            Self::Count => "",
        }
    }
}

/// One place of a section's table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was done: `TCP/IPv4, 1 flow`.
    pub row: String,
    /// Who did it, or what of it is told: `lb`, `F1`.
    pub column: &'static str,
    /// What the samples are in.
    pub unit: Unit,
    /// What was measured.
    pub samples: Samples,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Costs.
    Less,
    /// Gains.
    More,
}

/// One number that stands for something promised: a ratio of figures of one run, or a figure itself.
#[derive(Clone, Debug)]
pub struct Measure {
    /// What it is; stays the same from version to version.
    pub name: String,
    /// How much it is.
    pub value: f64,
    /// What it is in; nothing for a ratio.
    pub unit: Option<Unit>,
    /// Which way is better.
    pub better: Better,
    /// How much it shall be at most, or at least.
    pub target: Option<f64>,
    /// A ratio to something else that was measured in the same run, which depends on the machine as little as
    /// may be: what is compared with the baseline.
    pub guarded: Option<f64>,
}

impl Measure {
    /// A ratio within one run, which is guarded as it is.
    #[must_use]
    pub fn ratio(name: impl Into<String>, value: f64, better: Better) -> Self {
        Self { name: name.into(), value, unit: None, better, target: None, guarded: Some(value) }
    }

    /// A figure of this machine, which is guarded as a ratio to `yardstick`, a figure of the same unit.
    #[must_use]
    pub fn figure(
        name: impl Into<String>,
        value: f64,
        unit: Unit,
        better: Better,
        yardstick: Option<f64>,
    ) -> Self {
        let guarded = yardstick.map(|yardstick| value / yardstick);
        Self { name: name.into(), value, unit: Some(unit), better, target: None, guarded }
    }

    /// The same with a target.
    #[must_use]
    pub fn target(self, target: f64) -> Self {
        Self { target: Some(target), ..self }
    }

    /// Whether the target is met; `None` where there is none.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        self.target.map(|target| match self.better {
            Better::Less => self.value <= target,
            Better::More => self.value >= target,
        })
    }
}

/// One part of the benchmark.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// What was measured, in the order of the table's rows and columns.
    pub figures: Vec<Figure>,
    /// What is promised.
    pub measures: Vec<Measure>,
    /// What a reader needs to know to read the table.
    pub notes: Vec<String>,
}

impl Section {
    /// One without figures.
    #[must_use]
    pub const fn new(title: &'static str) -> Self {
        Self { title, figures: Vec::new(), measures: Vec::new(), notes: Vec::new() }
    }

    /// Adds a figure.
    pub fn add(
        &mut self,
        row: impl Into<String>,
        column: &'static str,
        unit: Unit,
        rounds: Vec<f64>,
    ) {
        self.figures.push(Figure { row: row.into(), column, unit, samples: Samples::new(rounds) });
    }

    /// The median of a figure.
    #[must_use]
    pub fn median(&self, row: &str, column: &str) -> Option<f64> {
        let mut figures = self.figures.iter();
        let figure = figures.find(|figure| figure.row == row && figure.column == column)?;
        Some(figure.samples.median())
    }
}

impl fmt::Display for Samples {
    /// `11.3 (11.1 to 12.0)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, min, max) = (number(self.median()), number(self.min()), number(self.max()));
        if self.rounds() == 1 {
            write!(f, "{median}")
        } else {
            write!(f, "{median} ({min} to {max})")
        }
    }
}

/// As many digits as mean something.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(Samples::new(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Samples::new(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        let samples = Samples::new(vec![30.0, 1.25, 20.0]);
        assert_eq!(samples.to_string(), "20.0 (1.25 to 30.0)");
    }

    #[test]
    fn a_target_is_met_from_its_side() {
        let less = Measure::ratio("cost", 1.5, Better::Less);
        assert_eq!(less.is_met(), None);
        assert_eq!(less.clone().target(1.5).is_met(), Some(true));
        assert_eq!(less.target(1.4).is_met(), Some(false));
        let more = Measure::ratio("gain", 0.9, Better::More);
        assert_eq!(more.clone().target(0.9).is_met(), Some(true));
        assert_eq!(more.target(0.95).is_met(), Some(false));
    }
}
