//! Thresholds as monitoring plugins write them: a range of what is well, or after `@` of what is not.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
};

/// Thresholds are written so.
const FORMS: &str = "write 2: (fewer than 2 alert), 50%: (fewer than half), 10 (more than 10), \
                     1:5 (outside), ~:5 (more than 5), or @1:5 (within)";

/// A range of numbers of reals, or of percents of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    low: f64,
    high: f64,
    /// Whether being within is what alerts.
    within: bool,
    /// Whether the bounds are percents.
    percent: bool,
}

impl Range {
    /// Whether this many of so many alert.
    pub fn alerts(self, count: usize, all: usize) -> bool {
        let Self { low, high, within, .. } = self.of(all);
        let count = count as f64;
        (low <= count && count <= high) == within
    }

    /// The same range in numbers of reals, where there are so many.
    pub fn of(self, all: usize) -> Self {
        // What has no bound has none in any number.
        let is_part = |bound: f64| self.percent && bound.is_finite();
        let count = |bound: f64| if is_part(bound) { bound * all as f64 / 100.0 } else { bound };
        Self { low: count(self.low), high: count(self.high), percent: false, ..self }
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { low, high, within, percent } = *self;
        let sign = if percent { "%" } else { "" };
        f.write_str(if within { "@" } else { "" })?;
        if low.is_infinite() {
            f.write_str("~:")?;
        } else if low != 0.0 || high.is_infinite() {
            write!(f, "{}{sign}:", rounded(low))?;
        }
        if high.is_finite() { write!(f, "{}{sign}", rounded(high)) } else { Ok(()) }
    }
}

/// Two decimals tell reals and percents apart well enough.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| format!("\"{text}\" is not a threshold; {FORMS}"))
    }
}

fn parse(text: &str) -> Option<Range> {
    let (within, bounds) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
    let (low, high) = bounds.split_once(':').unwrap_or(("0", bounds));
    // `:` alone says nothing, and neither does an empty word.
    if bounds.is_empty() || bounds == ":" {
        return None;
    }
    let percent = bounds.contains('%');
    let number = |text: &str| {
        let digits = text.strip_suffix('%').unwrap_or(text);
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        // Without its sign a number beside a percent would be a mistake; zero is zero.
        let same = text.ends_with('%') == percent || text == "0";
        digits.parse::<f64>().ok().filter(|_| plain && same)
    };
    let low = match low {
        "~" => f64::NEG_INFINITY,
        "" => 0.0,
        low => number(low)?,
    };
    let high = if high.is_empty() { f64::INFINITY } else { number(high)? };
    (low <= high).then_some(Range { low, high, within, percent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alerting(text: &str, all: usize) -> Vec<usize> {
        let range: Range = text.parse().unwrap();
        (0..=all).filter(|count| range.alerts(*count, all)).collect()
    }

    #[test]
    fn a_range_says_what_is_well_and_after_an_at_what_is_not() {
        for (text, expected) in [
            ("2:", &[0, 1][..]),
            ("2", &[3, 4]),
            (":2", &[3, 4]),
            ("0:2", &[3, 4]),
            ("~:2", &[3, 4]),
            ("1:2", &[0, 3, 4]),
            ("@1:2", &[1, 2]),
            ("@~:1", &[0, 1]),
            ("@3", &[0, 1, 2, 3]),
            ("50%:", &[0, 1]),
            ("25%:75%", &[0, 4]),
            ("0:50%", &[3, 4]),
            ("@0:25%", &[0, 1]),
            ("1.5:", &[0, 1]),
        ] {
            assert_eq!(alerting(text, 4), expected, "{text}");
        }
    }

    #[test]
    fn percents_are_of_the_reals_that_there_are() {
        let half: Range = "50%:".parse().unwrap();
        assert_eq!(half.of(3).to_string(), "1.5:");
        assert!(half.alerts(1, 3) && !half.alerts(2, 3));
        assert!(!half.alerts(0, 0), "no reals are all of them");
    }

    #[test]
    fn a_range_is_written_as_it_was_read() {
        for text in ["2:", "2", "~:2", "1:2", "@1:2", "@~:1", "50%:", "25%:75%", "0:", "1.5:"] {
            assert_eq!(text.parse::<Range>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_would_be_one() {
        for text in [
            "", ":", "@", "@:", "two", "5:2", "-1:", "1:2:3", "10:50%", "50%:3", "~", "%:", "1e3:",
            "nan", " 2:", ".:",
        ] {
            let refusal = text.parse::<Range>().unwrap_err();
            assert!(refusal.contains("is not a threshold; write 2:"), "{text}: {refusal}");
        }
    }
}
