//! The newest events, in memory and in a file of the state directory, and who listens to what
//! comes.
//!
//! Nothing here may stop the daemon from forwarding: where the file cannot be read or written, that
//! is told and events live in memory. A killed daemon loses none; a machine without power may lose
//! the last seconds, as nothing waits for the disk.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{Event, Filter, Happening};
use crate::config::store;

/// How many events are kept.
pub const KEPT: usize = 1000;

/// How many lines the file has at most; then the oldest are left out.
const LINES: usize = 2 * KEPT;

/// How many events may wait for a listener; one that is slower misses the oldest.
pub const WAITING: usize = 8192;

/// The events.
#[derive(Debug)]
pub struct Journal {
    file: PathBuf,
    /// The file, open at its end; none while it must be written anew first.
    end: Option<File>,
    /// How many lines it has.
    lines: usize,
    /// Why it cannot be written, once that was told.
    broken: bool,
    kept: VecDeque<Arc<Event>>,
    next: u64,
    listeners: broadcast::Sender<Arc<Event>>,
}

impl Journal {
    /// Goes on with what the file says; there may be none. Where it cannot be read events begin
    /// anew.
    #[must_use]
    pub fn open(state_dir: &Path) -> Self {
        let file = state_dir.join("events.jsonl");
        let Found { mut kept, torn, lines } = read(&file);
        if torn > 0 {
            log::warn!("{}: {torn} lines are no events and are left out", file.display());
        }
        // What was lost had numbers, and somebody may have seen them.
        let last = kept.iter().map(|event| event.number).max().unwrap_or_default();
        let next = last + torn + 1;
        kept.drain(..kept.len().saturating_sub(KEPT));
        let (listeners, _) = broadcast::channel(WAITING);
        let end = if torn == 0 { append(&file).ok() } else { None };
        Self { file, end, lines, broken: false, kept, next, listeners }
    }

    /// Notes what has happened, logs it, and tells those who listen.
    pub fn record(&mut self, now: Timestamp, what: Happening) -> Arc<Event> {
        let event = self.note(now, what);
        self.write(std::slice::from_ref(&event));
        event
    }

    /// The same of many things that have happened together: one write for all of them.
    pub fn record_all(&mut self, now: Timestamp, what: Vec<Happening>) {
        let events: Vec<_> = what.into_iter().map(|what| self.note(now, what)).collect();
        if !events.is_empty() {
            self.write(&events);
        }
    }

    fn note(&mut self, now: Timestamp, what: Happening) -> Arc<Event> {
        log::log!(what.level(), "{what}");
        let event = Arc::new(Event { number: self.next, time: now, what });
        self.next += 1;
        self.kept.push_back(Arc::clone(&event));
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        // Nobody needs to listen.
        drop(self.listeners.send(Arc::clone(&event)));
        event
    }

    /// What comes from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.listeners.subscribe()
    }

    /// The newest events of those that the filter admits, the oldest of them first: so many, or all.
    #[must_use]
    pub fn last(&self, count: Option<usize>, filter: &Filter) -> Vec<Arc<Event>> {
        let mut filter = filter.clone();
        let wanted = self.kept.iter().filter(|event| filter.admits(&event.what));
        let mut wanted: Vec<Arc<Event>> = wanted.cloned().collect();
        let count = count.unwrap_or(usize::MAX).min(wanted.len());
        wanted.split_off(wanted.len() - count)
    }

    /// Whether something has happened to a VIP of this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.kept.iter().any(|event| event.what.vip() == Some(name))
    }

    /// Writes events to the file; a file that was full or could not be written is written anew.
    fn write(&mut self, events: &[Arc<Event>]) {
        let result = match &mut self.end {
            Some(end) if self.lines + events.len() <= LINES => {
                add(end, events).inspect(|()| self.lines += events.len())
            }
            _ => self.rewrite(),
        };
        match result {
            Ok(()) if self.broken => {
                log::info!("{}: events are written again", self.file.display());
                self.broken = false;
            }
            Ok(()) => {}
            Err(error) => {
                // A line may stand there in part.
                self.end = None;
                if !self.broken {
                    log::error!("{}: {error}: events are kept in memory only", self.file.display());
                }
                self.broken = true;
            }
        }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = String::new();
        for event in &self.kept {
            text.push_str(&line(event)?);
        }
        if !self.file.exists() {
            File::create(&self.file)?;
        }
        store::replace(&self.file, &text).map_err(|error| error.source)?;
        self.end = Some(append(&self.file)?);
        self.lines = self.kept.len();
        Ok(())
    }
}

/// What a file has told.
#[derive(Default)]
struct Found {
    kept: VecDeque<Arc<Event>>,
    /// Lines that are no events, such as the last one of a machine that lost its power.
    torn: u64,
    lines: usize,
}

fn read(file: &Path) -> Found {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                log::error!("{}: {error}: events begin anew", file.display());
            }
            return Found::default();
        }
    };
    let mut found = Found::default();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        found.lines += 1;
        match serde_json::from_slice(line) {
            Ok(event) if line.ends_with(b"\n") => found.kept.push_back(Arc::new(event)),
            _ => found.torn += 1,
        }
    }
    found
}

fn append(file: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(file)
}

fn add(end: &mut File, events: &[Arc<Event>]) -> io::Result<()> {
    let lines = events.iter().map(|event| line(event)).collect::<io::Result<String>>()?;
    end.write_all(lines.as_bytes())
}

fn line(event: &Event) -> io::Result<String> {
    Ok(serde_json::to_string(event)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::samples::all;

    fn happen(number: usize) -> Happening {
        Happening::Config { vip: None, change: format!("change {number}") }
    }

    fn numbers(journal: &Journal, count: impl Into<Option<usize>>) -> Vec<u64> {
        journal.last(count.into(), &Filter::all()).iter().map(|event| event.number).collect()
    }

    fn record(journal: &mut Journal, count: usize) {
        for number in 0..count {
            journal.record(Timestamp::UNIX_EPOCH, happen(number));
        }
    }

    fn file(directory: &Path) -> PathBuf {
        directory.join("events.jsonl")
    }

    #[test]
    fn events_are_the_same_after_a_restart_and_their_numbers_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path());
        for what in all() {
            journal.record(Timestamp::now(), what);
        }
        let before = journal.last(None, &Filter::all());
        let mut journal = Journal::open(directory.path());
        assert_eq!(journal.last(None, &Filter::all()), before);
        let next = journal.record(Timestamp::now(), happen(0));
        assert_eq!(next.number, before.len() as u64 + 1);
        let journal = Journal::open(directory.path());
        assert_eq!(numbers(&journal, 2), [next.number - 1, next.number]);
    }

    #[test]
    fn the_newest_thousand_are_kept_and_the_file_stays_small() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path());
        let (total, most) = (3 * LINES + 7, LINES);
        for _ in 0..total {
            record(&mut journal, 1);
            assert!(journal.lines <= most);
        }
        let text = fs::read_to_string(file(directory.path())).unwrap();
        assert_eq!(text.lines().count(), journal.lines);
        assert!((KEPT..=most).contains(&journal.lines), "{}", journal.lines);
        let newest: Vec<u64> = (0..KEPT as u64).map(|n| (total - KEPT) as u64 + 1 + n).collect();
        assert_eq!(numbers(&journal, None), newest);
        assert_eq!(numbers(&Journal::open(directory.path()), None), newest);
        assert_eq!(numbers(&journal, 2), newest[KEPT - 2..]);
        assert!(numbers(&journal, 0).is_empty());
    }

    #[test]
    fn a_line_torn_by_a_crash_is_left_out_and_its_number_is_not_given_again() {
        for torn in ["{\"number\":3,\"ti", "{\"number\":3", "\0\0\0\0", "no event\n"] {
            let directory = tempfile::tempdir().unwrap();
            let mut journal = Journal::open(directory.path());
            record(&mut journal, 2);
            drop(journal);
            let mut end = append(&file(directory.path())).unwrap();
            end.write_all(torn.as_bytes()).unwrap();

            let mut journal = Journal::open(directory.path());
            assert_eq!(numbers(&journal, 9), [1, 2], "{torn:?}");
            record(&mut journal, 2);
            let journal = Journal::open(directory.path());
            assert_eq!(numbers(&journal, 9), [1, 2, 4, 5], "{torn:?}");
            assert_eq!(read(&file(directory.path())).torn, 0, "{torn:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_nothing_but_itself() {
        let directory = tempfile::tempdir().unwrap();
        let place = file(directory.path());
        fs::create_dir(&place).unwrap();
        let mut journal = Journal::open(directory.path());
        record(&mut journal, 3);
        assert_eq!(numbers(&journal, 9), [1, 2, 3]);
        assert!(journal.broken);

        fs::remove_dir(&place).unwrap();
        record(&mut journal, 1);
        assert!(!journal.broken);
        assert_eq!(numbers(&Journal::open(directory.path()), 9), [1, 2, 3, 4]);
    }

    #[test]
    fn whoever_listens_hears_what_comes_and_a_slow_one_how_much_it_missed() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path());
        record(&mut journal, 1);
        let mut listener = journal.subscribe();
        record(&mut journal, 1);
        assert_eq!(listener.try_recv().unwrap().number, 2);
        record(&mut journal, WAITING + 5);
        assert_eq!(listener.try_recv(), Err(broadcast::error::TryRecvError::Lagged(5)));
        assert_eq!(listener.try_recv().unwrap().number, 8);
    }
}
