//! The daemon's log: on standard error, as a person or the journal reads it, and with a filter that can be
//! changed while it runs.

use std::{
    env,
    fmt::Write as _,
    io::{self, Write as _},
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use env_logger::{Logger, Target, fmt::Formatter};
use jiff::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::sys::stat::fstat;

/// What is logged where nothing else is said.
const DEFAULT: &str = "info";

/// The longest filter that is taken, in bytes.
const LONGEST: usize = 1024;

/// What is logged now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtering {
    /// The filter, as in `RUST_LOG`.
    pub filter: String,
    /// If it is for a time: until when, and the filter that comes back then.
    pub until: Option<(Timestamp, String)>,
}

/// What is logged for a time.
struct Limited {
    filter: String,
    /// For people.
    until: Timestamp,
    /// The same, by a clock that nobody sets.
    end: Instant,
}

/// The log of this process.
static LOG: OnceLock<Switched> = OnceLock::new();

/// What writes, behind a filter that can be changed.
struct Switched {
    writer: Logger,
    state: RwLock<State>,
}

struct State {
    filter: Arc<env_filter::Filter>,
    /// What is logged when no time limits it.
    usual: String,
    /// What is logged instead.
    limited: Option<Limited>,
}

/// Starts the log, by `RUST_LOG`. To be called once.
pub fn start() {
    let usual = env::var(env_logger::DEFAULT_FILTER_ENV).unwrap_or_else(|_| DEFAULT.to_owned());
    let mut builder = env_logger::Builder::new();
    if let Ok(style) = env::var(env_logger::DEFAULT_WRITE_STYLE_ENV) {
        builder.parse_write_style(&style);
    }
    // The filter stands before it.
    builder.filter_level(LevelFilter::Trace).target(Target::Stderr);
    if stderr_is_journal() {
        builder.format(for_journal);
    }
    let state = State { filter: build(&usual), usual, limited: None };
    let log = LOG.get_or_init(|| Switched { writer: builder.build(), state: RwLock::new(state) });
    log::set_max_level(log.filter().filter());
    if let Err(error) = log::set_logger(log) {
        eprintln!("the log was started before: {error}");
    }
}

/// Logs who has done what: a line that no filter hides.
pub fn audit(line: &str) {
    let log = LOG.get().map_or_else(|| log::logger(), |log| &log.writer);
    log.log(
        &Record::builder()
            .level(Level::Info)
            .target(module_path!())
            .args(format_args!("audit: {line}"))
            .build(),
    );
}

fn build(filter: &str) -> Arc<env_filter::Filter> {
    Arc::new(env_filter::Builder::new().parse(filter).build())
}

impl Switched {
    fn filter(&self) -> Arc<env_filter::Filter> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).filter)
    }
}

impl Log for Switched {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter().matches(record) {
            self.writer.log(record);
        }
    }

    fn flush(&self) {
        self.writer.flush();
    }
}

/// What is logged now; `None` where this process has no such log.
#[must_use]
pub fn now() -> Option<Filtering> {
    let state = LOG.get()?.state.read().unwrap_or_else(PoisonError::into_inner);
    Some(match &state.limited {
        None => Filtering { filter: state.usual.clone(), until: None },
        Some(Limited { filter, until, .. }) => {
            Filtering { filter: filter.clone(), until: Some((*until, state.usual.clone())) }
        }
    })
}

/// Changes what is logged, for good (until the process ends) or for a time, after which [`expire`] is to be
/// called.
///
/// # Errors
///
/// What is wrong with the filter, and what would be right.
pub fn set(filter: &str, time: Option<Duration>) -> Result<(), String> {
    check(filter)?;
    let log = LOG.get().ok_or("this process has no log that could be changed")?;
    let mut state = log.state.write().unwrap_or_else(PoisonError::into_inner);
    match time {
        None => {
            state.usual = filter.to_owned();
            state.limited = None;
        }
        Some(time) => {
            let (filter, until) = (filter.to_owned(), Timestamp::now() + time);
            state.limited = Some(Limited { filter, until, end: Instant::now() + time });
        }
    }
    take(&mut state, filter);
    Ok(())
}

/// Returns to what was logged before, if the time of what is logged now is over.
pub fn expire() {
    let Some(log) = LOG.get() else { return };
    let mut state = log.state.write().unwrap_or_else(PoisonError::into_inner);
    if state.limited.as_ref().is_some_and(|limited| limited.end <= Instant::now()) {
        state.limited = None;
        let usual = state.usual.clone();
        take(&mut state, &usual);
    }
}

fn take(state: &mut State, filter: &str) {
    state.filter = build(filter);
    log::set_max_level(state.filter.filter());
}

/// Levels and `TARGET=LEVEL`, separated by commas. A word that is no level would silence everything but a module
/// of that name, so it is refused.
///
/// # Errors
///
/// Which word is wrong, and what would be right.
pub fn check(filter: &str) -> Result<(), String> {
    let wrong = |part: &str| {
        format!(
            "\"{}\" is no filter of the log; write off, error, warn, info, debug or trace, or TARGET=LEVEL such as lb_user::health=debug, several joined by commas",
            part.escape_debug()
        )
    };
    if filter.is_empty() || filter.len() > LONGEST {
        return Err(wrong(&filter.chars().take(40).collect::<String>()));
    }
    let target = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-'))
    };
    let good = |part: &str| match part.split_once('=') {
        None => part.parse::<LevelFilter>().is_ok(),
        Some((name, level)) => target(name) && level.parse::<LevelFilter>().is_ok(),
    };
    match filter.split(',').find(|part| !good(part)) {
        Some(part) => Err(wrong(part)),
        None => Ok(()),
    }
}

/// Whether standard error is the journal's socket (systemd.exec(5), `$JOURNAL_STREAM`), not something that a shell
/// has put there since.
fn stderr_is_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").unwrap_or_default();
    let numbers = stream.split_once(':').and_then(|(device, inode)| {
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    fstat(io::stderr()).is_ok_and(|stderr| numbers == Some((stderr.st_dev, stderr.st_ino)))
}

/// For the journal, which has the time by itself: each line begins with its priority (sd-daemon(3)).
fn for_journal(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    out.write_all(
        journal_lines(record.level(), record.target(), &record.args().to_string()).as_bytes(),
    )
}

fn journal_lines(level: Level, target: &str, message: &str) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    message.lines().fold(String::new(), |mut text, line| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "<{priority}>{target}: {line}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_in_the_journal_has_its_priority() {
        let told = journal_lines(Level::Error, "lb_user::daemon", "first\nsecond");
        assert_eq!(told, "<3>lb_user::daemon: first\n<3>lb_user::daemon: second\n");
        assert_eq!(journal_lines(Level::Info, "a", "b"), "<6>a: b\n");
    }

    #[test]
    fn a_filter_is_levels_and_targets_with_levels() {
        for filter in ["debug", "info,lb_user::health=debug", "off", "WARN", "aya=trace,warn"] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
        for filter in
            ["", "debugg", "lb_user", "info,", "a=b", "=debug", "info/x", "a b=info", "a\n=info"]
        {
            assert!(check(filter).unwrap_err().contains("lb_user::health=debug"), "{filter}");
        }
        assert!(check(&format!("{}info", "info,".repeat(500))).is_err());
    }
}
