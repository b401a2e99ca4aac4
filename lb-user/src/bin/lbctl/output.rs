//! How answers are shown.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::Timestamp;
use lb_user::api::types::Done;
use serde::Serialize;

/// A shape of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// As the daemon sent it
    Json,
    /// The same as YAML
    Yaml,
}

/// Where answers go, and in which shape.
pub struct Output<'a> {
    format: Format,
    stream: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    /// Shows answers in this format.
    pub fn new(format: Format, stream: &'a mut dyn Write) -> Self {
        Self { format, stream }
    }

    /// Whether answers are for people.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Shows one answer; `table` is asked only where the format wants it.
    pub fn show<T: Serialize>(
        &mut self,
        answer: &T,
        table: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        let mut text = match self.format {
            Format::Table => table(answer),
            Format::Json => serde_json::to_string_pretty(answer)?,
            Format::Yaml => serde_saphyr::to_string(answer).map_err(io::Error::other)?,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.stream.write_all(text.as_bytes())?;
        self.stream.flush()
    }

    /// Shows one of many answers: a line, or a document of its own.
    pub fn item<T: Serialize>(
        &mut self,
        item: &T,
        line: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        let text = match self.format {
            Format::Table => line(item) + "\n",
            Format::Json => serde_json::to_string(item)? + "\n",
            Format::Yaml => {
                format!(
                    "---\n{}\n",
                    serde_saphyr::to_string(item).map_err(io::Error::other)?.trim_end()
                )
            }
        };
        self.stream.write_all(text.as_bytes())?;
        self.stream.flush()
    }

    /// Shows what has one shape only.
    pub fn text(&mut self, text: &[u8]) -> io::Result<()> {
        self.stream.write_all(text)?;
        self.stream.flush()
    }

    /// Shows what a change did.
    pub fn done(&mut self, done: &Done) -> io::Result<()> {
        self.show(done, |done| done.message.clone())
    }
}

/// Where nobody watches a terminal, progress is told no more often than that.
const PROGRESS: Duration = Duration::from_secs(1);

/// Where everything goes that is no answer: errors, warnings, progress. Where even this cannot be
/// written, the exit code has to say it.
pub struct Notes<'a> {
    stream: &'a mut dyn Write,
    terminal: bool,
    shown: Option<(String, Instant)>,
}

impl<'a> Notes<'a> {
    /// Notes on a terminal, or in a file.
    pub fn new(stream: &'a mut dyn Write, terminal: bool) -> Self {
        Self { stream, terminal, shown: None }
    }

    /// Where they go.
    pub fn stream(&mut self) -> &mut dyn Write {
        self.stream
    }

    /// One line.
    pub fn line(&mut self, line: &str) {
        drop(writeln!(self.stream, "{line}"));
    }

    /// How far something is: on a terminal in the same line again and again, else a line when
    /// `what` has changed. `time` changes all the time.
    pub fn progress(&mut self, what: &str, time: &str, now: Instant) {
        if self.terminal {
            drop(write!(self.stream, "\r\x1b[K{what}{time}"));
            drop(self.stream.flush());
        } else {
            let fresh = |(before, at): &(String, Instant)| before != what && now - *at >= PROGRESS;
            if !self.shown.as_ref().is_none_or(fresh) {
                return;
            }
            self.line(&format!("{what}{time}"));
        }
        self.shown = Some((what.to_owned(), now));
    }

    /// Says on a terminal what an answer is waited for that may take a while, until there is one.
    pub fn waiting<T>(&mut self, what: &str, answer: impl FnOnce() -> T) -> T {
        if self.terminal {
            self.progress(what, " …", Instant::now());
        }
        let answer = answer();
        self.end_progress();
        answer
    }

    /// Frees the line for what comes next.
    pub fn end_progress(&mut self) {
        if self.shown.take().is_some() && self.terminal {
            drop(write!(self.stream, "\r\x1b[K"));
            drop(self.stream.flush());
        }
    }
}

/// A column of a grid: its heading, and the side its cells lean to.
pub type Column = (&'static str, CellAlignment);

/// Text in aligned columns, without borders and never wrapped, so that it can be read by line.
pub fn grid<const N: usize>(
    columns: [Column; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.map(|(heading, _)| heading));
    table.add_rows(rows);
    for (column, (_, alignment)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        column.set_cell_alignment(alignment);
    }
    table.trim_fmt()
}

/// `text` with each line moved to the right.
pub fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// A count for people: exact below ten thousand, else cut off after three or four digits.
pub fn count(count: u64) -> String {
    const UNITS: [(u64, char); 6] = [
        (1_000_000_000_000_000_000, 'E'),
        (1_000_000_000_000_000, 'P'),
        (1_000_000_000_000, 'T'),
        (1_000_000_000, 'G'),
        (1_000_000, 'M'),
        (1_000, 'k'),
    ];
    match UNITS.iter().find(|(unit, _)| count >= 10_000 && count >= *unit) {
        None => count.to_string(),
        Some((unit, letter)) if count / unit >= 100 => format!("{}{letter}", count / unit),
        Some((unit, letter)) => format!("{}.{}{letter}", count / unit, count % unit / (unit / 10)),
    }
}

/// A part of a whole in percent.
pub fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

/// How long ago that was, in the largest unit that is not zero.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    span(now.as_second().saturating_sub(since.as_second()).try_into().unwrap_or(0))
}

/// A time in the largest unit that is not zero.
pub fn span(seconds: u64) -> String {
    match seconds {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3_600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_while_they_are_small_and_short_when_they_are_not() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (99_999, "99.9k"),
            (999_999, "999k"),
            (1_000_000, "1.0M"),
            (123_456_789, "123M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit_and_the_future_is_now() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (7_200, "2h"),
            (200_000, "2d"),
        ] {
            let (since, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
            assert_eq!(age(since, now), text);
        }
    }

    fn shown(terminal: bool) -> String {
        let mut stream = Vec::new();
        let mut notes = Notes::new(&mut stream, terminal);
        let start = Instant::now();
        for (millis, what, time) in [
            (0, "2 flows", ", 9s left"),
            (200, "1 flows", ", 9s left"),
            (1000, "1 flows", ", 8s left"),
            (2200, "1 flows", ", 7s left"),
        ] {
            notes.progress(what, time, start + Duration::from_millis(millis));
        }
        notes.end_progress();
        String::from_utf8(stream).unwrap()
    }

    #[test]
    fn progress_is_one_line_of_a_terminal_and_in_a_file_a_line_for_each_change() {
        assert_eq!(shown(false), "2 flows, 9s left\n1 flows, 8s left\n");
        let terminal = shown(true);
        assert!(terminal.starts_with("\r\x1b[K2 flows, 9s left\r\x1b[K1 flows, 9s left"));
        assert!(terminal.ends_with("1 flows, 7s left\r\x1b[K"), "{terminal:?}");
    }

    #[test]
    fn what_is_waited_for_is_seen_on_a_terminal_only_until_it_is_there() {
        for (terminal, shown) in [(true, "\r\x1b[Kexamining …\r\x1b[K"), (false, "")] {
            let mut stream = Vec::new();
            assert_eq!(Notes::new(&mut stream, terminal).waiting("examining", || 7), 7);
            assert_eq!(String::from_utf8(stream).unwrap(), shown);
        }
    }

    #[test]
    fn shares_have_one_decimal() {
        assert_eq!([percent(0.0), percent(1.0 / 3.0), percent(1.0)], ["0.0%", "33.3%", "100.0%"]);
    }
}
