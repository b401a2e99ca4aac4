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

    /// How many this real served.
    pub fn by(&self, real: &str) -> usize {
        self.by_real.get(real).copied().unwrap_or(0)
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
