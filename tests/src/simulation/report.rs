//! The results as a table.

use std::fmt;

use super::{
    Options, Tally, Why,
    design::{Design, Flood},
};

/// What became of a design.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is called.
    pub name: &'static str,
    /// What came over it.
    pub flood: Flood,
    /// What became of its flows.
    pub tally: Tally,
    /// The most flows that were noted at once, in tables that forget and in such as do not.
    pub noted: [u64; 2],
    /// The largest share of open slots, in percent.
    pub open: Option<f64>,
}

/// What became of all designs.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was simulated.
    pub options: Options,
    /// How many events the pool has seen.
    pub events: usize,
    /// How many packets each design has seen.
    pub packets: u64,
    /// A row for each.
    pub rows: Vec<Row>,
}

impl Report {
    /// The row of a design by the beginning of its name, under this flood.
    #[must_use]
    pub fn row(&self, name: &str, flood: Flood) -> Option<&Row> {
        self.rows.iter().find(|row| row.name.starts_with(name) && row.flood == flood)
    }
}

impl From<&Design> for Row {
    fn from(design: &Design) -> Self {
        Self {
            name: design.name,
            flood: design.flood,
            tally: design.tally,
            noted: design.noted(),
            open: design.open(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Options { flows, reals, hours, seed, .. } = self.options;
        writeln!(
            f,
            "{} flows at a time, {reals} reals, {hours} hours, seed {seed}: {} events, {} packets.\n",
            thousands(u64::from(flows)),
            thousands(self.events as u64),
            thousands(self.packets)
        )?;
        writeln!(
            f,
            "| design | flood | connections | broken | share | died with their real | noted at most | \
             no room | began late | why |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let flood = match self.flood {
            Flood::None => "",
            Flood::Syn => "SYN",
            Flood::SynAck => "SYN and ACK",
        };
        let Tally { flows, broken, lost, .. } = self.tally;
        let [crowded, late] = self.delays();
        let share = 100.0 * broken as f64 / flows.max(1) as f64;
        write!(
            f,
            "| {} | {flood} | {} | {} | {share:.4} % | {} | {} | {crowded} | {late} | {} |",
            self.name,
            thousands(flows),
            thousands(broken),
            thousands(lost),
            self.noted(),
            self.why()
        )
    }
}

impl Row {
    fn noted(&self) -> String {
        let [forgetting, pinned] = self.noted.map(thousands);
        if self.open.is_some() { format!("{pinned} + {forgetting}") } else { forgetting }
    }

    /// For how long there was no room for notes, and which share of all flows began with the previous owner for
    /// that; of this design only.
    fn delays(&self) -> [String; 2] {
        if self.open.is_none() {
            return [String::new(), String::new()];
        }
        let Tally { flows, late, crowded, .. } = self.tally;
        let share = 100.0 * late as f64 / flows.max(1) as f64;
        [format!("{} s", thousands(crowded)), format!("{share:.2} %")]
    }

    /// How many were broken for which reason; of this design only, since others know of one.
    fn why(&self) -> String {
        let Some(open) = self.open else {
            return String::new();
        };
        let counted = Why::ALL.into_iter().zip(self.tally.why).filter(|(_, count)| *count > 0);
        let words = counted.map(|(why, count)| format!("{}: {}", name(why), thousands(count)));
        let open = format!("up to {open:.1} % of slots open");
        words.chain([open]).collect::<Vec<_>>().join("; ")
    }
}

fn name(why: Why) -> &'static str {
    match why {
        Why::Idle => "silent beyond the idle timeout",
        Why::Evicted => "driven out of FRESH before the second packet",
        Why::Budget => "refused by the promotion budget",
        Why::Full => "no room in PINNED",
        Why::Other => "no reason known",
    }
}

/// A number with its digits in groups.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn a_reason_stands_at_its_index() {
        for (index, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index);
        }
    }
}
