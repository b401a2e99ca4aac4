//! What broke, event by event.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::load::{Broken, How, Kind};

/// How many flows broke in which way.
type Tally = BTreeMap<(Kind, How), usize>;

/// What one event did.
#[derive(Clone, Debug)]
pub struct Row {
    /// What happened.
    pub event: &'static str,
    /// How many connections were open when it did.
    pub connections: usize,
    /// How many flows of datagrams.
    pub datagrams: usize,
    /// What broke although its real lived.
    broken: Tally,
    /// What broke with a real that died.
    lost: Tally,
    /// How long it took.
    pub took: Duration,
    /// How many frames of a flood were sent.
    pub flooded: u64,
}

impl Row {
    pub(super) fn new(event: &'static str, connections: usize, datagrams: usize) -> Self {
        let (broken, lost, took) = <_>::default();
        Self { event, connections, datagrams, broken, lost, took, flooded: 0 }
    }

    /// Sorts what broke: with a real that died, or although none did. A flow that nobody has ever
    /// answered may have been one of the dead.
    pub(super) fn add(&mut self, broken: &[Broken], dead: &BTreeSet<String>) {
        for Broken { kind, real, how } in broken {
            let lost = real.as_ref().map_or(!dead.is_empty(), |real| dead.contains(&**real));
            let tally = if lost { &mut self.lost } else { &mut self.broken };
            *tally.entry((*kind, *how)).or_default() += 1;
        }
    }

    /// How many flows of all kinds broke although their real lived.
    #[must_use]
    pub fn broken(&self) -> usize {
        self.broken.values().sum()
    }

    /// How many connections broke although their real lived.
    #[must_use]
    pub fn broken_connections(&self) -> usize {
        connections(&self.broken)
    }

    /// How many connections broke with their real.
    #[must_use]
    pub fn lost_connections(&self) -> usize {
        connections(&self.lost)
    }

    /// How many connections were not told in time that their real had died.
    #[must_use]
    pub fn hung(&self) -> usize {
        sum(&self.lost, |kind, how| is_connection(kind) && how == How::Silent)
    }

    /// Whether nothing happened but what must.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken() == 0 && self.hung() == 0
    }
}

fn is_connection(kind: Kind) -> bool {
    matches!(kind, Kind::Tcp | Kind::Short)
}

fn connections(tally: &Tally) -> usize {
    sum(tally, |kind, _| is_connection(kind))
}

fn sum(tally: &Tally, counts: impl Fn(Kind, How) -> bool) -> usize {
    tally.iter().filter(|((kind, how), _)| counts(*kind, *how)).map(|(_, count)| count).sum()
}

/// A table of what happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One row for each event.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether nothing happened but what must.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(Row::is_good)
    }

    /// How many connections broke although their real lived.
    #[must_use]
    pub fn broken_connections(&self) -> usize {
        self.rows.iter().map(Row::broken_connections).sum()
    }

    /// The table's head, to be printed before its rows.
    #[must_use]
    pub fn head() -> String {
        let columns = ["TCP", "broken", "lost", "UDP", "broken", "lost", "queries", "seconds"];
        let columns = columns.map(|column| format!("{column:>8}"));
        format!("{:<34}{}", "event", columns.concat())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::head())?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |tally, wanted| sum(tally, |kind, _| kind == wanted);
        let numbers = [
            self.connections,
            self.broken_connections(),
            self.lost_connections(),
            self.datagrams,
            of(&self.broken, Kind::Udp),
            of(&self.lost, Kind::Udp),
            of(&self.broken, Kind::Query) + of(&self.lost, Kind::Query),
        ];
        write!(f, "{:<34}", self.event)?;
        numbers.iter().try_for_each(|number| write!(f, "{number:>8}"))?;
        write!(f, "{:>8.1}", self.took.as_secs_f64())?;
        for (what, tally) in [("broken", &self.broken), ("lost", &self.lost)] {
            for ((kind, how), count) in tally {
                write!(f, "  {what}: {count} {kind:?} {how}")?;
            }
        }
        if self.flooded > 0 {
            let rate = self.flooded as f64 / self.took.as_secs_f64() / 1e3;
            write!(f, "  {} frames, {rate:.0} thousand a second", self.flooded)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(real: Option<&str>, how: How) -> Broken {
        Broken { kind: Kind::Tcp, real: real.map(Into::into), how }
    }

    #[test]
    fn what_goes_with_its_real_is_lost_and_all_else_is_broken() {
        let all = [
            broken(Some("real1"), How::Reset),
            broken(Some("real2"), How::Reset),
            broken(None, How::Closed),
        ];
        let mut row = Row::new("it dies", 10, 0);
        row.add(&all, &["real1".to_owned()].into());
        assert_eq!((row.broken_connections(), row.lost_connections()), (1, 2));
        assert!(!row.is_good());
        let mut row = Row::new("nobody dies", 10, 0);
        row.add(&all, &BTreeSet::new());
        assert_eq!((row.broken_connections(), row.lost_connections()), (3, 0));
    }

    #[test]
    fn a_lost_connection_that_hangs_is_not_good() {
        let mut row = Row::new("it dies", 10, 0);
        let dead = ["real1".to_owned()].into();
        row.add(&[broken(Some("real1"), How::Reset)], &dead);
        assert!(row.is_good());
        row.add(&[broken(Some("real1"), How::Silent)], &dead);
        assert!(!row.is_good());
    }
}
