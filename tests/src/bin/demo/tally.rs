//! Who served how many requests, and what failed.

use std::{collections::BTreeMap, fmt, ops::AddAssign};

use anyhow::Result;

/// So many failures tell enough; each one costs a timeout.
const ENOUGH: usize = 3;

/// The answers to some requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    by_real: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Tally {
    /// Makes requests, numbered from 0, each answered with the name of a real.
    pub fn of(requests: usize, ask: impl Fn(usize) -> Result<String>) -> Self {
        let mut tally = Self::default();
        for number in 0..requests {
            match ask(number) {
                Ok(real) => *tally.by_real.entry(real).or_default() += 1,
                Err(error) => tally.failures.push(format!("{error:#}")),
            }
            if tally.failures.len() == ENOUGH {
                break;
            }
        }
        tally
    }

    /// How many were served.
    pub fn served(&self) -> usize {
        self.by_real.values().sum()
    }

    /// How many were made.
    pub fn made(&self) -> usize {
        self.served() + self.failures.len()
    }

    /// How many reals served any.
    pub fn reals(&self) -> usize {
        self.by_real.len()
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        for (real, served) in &other.by_real {
            *self.by_real.entry(real.clone()).or_default() += served;
        }
        self.failures.extend_from_slice(&other.failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (real, served) in &self.by_real {
            write!(f, "{real} {served}, ")?;
        }
        write!(f, "failed {}", self.failures.len())?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n{failure}"))
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn who_served_is_counted_by_real() {
        let tally = Tally::of(5, |number| Ok(format!("real{}", number % 2)));
        assert_eq!((tally.made(), tally.served(), tally.reals()), (5, 5, 2));
        assert_eq!(tally.to_string(), "real0 3, real1 2, failed 0");
    }

    #[test]
    fn nobody_waits_for_more_than_a_few_failures() {
        let tally = Tally::of(60, |number| if number == 0 { Ok("a".into()) } else { bail!("no") });
        assert_eq!((tally.made(), tally.served()), (4, 1));
        assert_eq!(tally.to_string(), "a 1, failed 3\nno\nno\nno");
    }
}
