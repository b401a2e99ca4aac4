//! The lines of a configuration as keepalived reads them: comments gone, includes, parameters, sequences
//! and lines for one machine alone resolved. Every line keeps its place in the file it came from.

mod expand;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use expand::{Sequence, braces, substituted};

use crate::import::{Files, Note, Origin, Unreadable};

/// How deep files may include each other, and parameters stand for lines with parameters.
const DEPTH: usize = 16;

/// How many files may be read.
const FILES: usize = 1000;

/// How many lines there may be in all.
const LINES: usize = 500_000;

/// How many bytes there may be in all.
const BYTES: usize = 32 << 20;

/// A line without its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: Rc<Path>,
    /// From 1.
    pub(super) number: usize,
    pub(super) text: String,
}

impl Line {
    pub(super) fn wrong(&self, column: usize, message: impl Into<String>) -> Unreadable {
        let (file, line) = (self.file.to_path_buf(), self.number);
        Unreadable { file, line, column, message: message.into() }
    }

    fn note(&self, reason: impl Into<String>) -> Note {
        let (file, line) = (self.file.to_path_buf(), self.number);
        Origin { file, line, words: self.text.clone() }.note(reason)
    }

    fn with(&self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self.clone() }
    }
}

/// What was read.
#[derive(Default)]
pub(super) struct Source {
    pub(super) lines: Vec<Line>,
    /// What could not be resolved.
    pub(super) notes: Vec<Note>,
    /// Whether lines for one machine alone were passed over since nobody said which it is.
    pub(super) passed_over: bool,
}

/// Reads a file with all that it includes.
pub(super) fn read(
    text: &str,
    file: &Path,
    machine: Option<&str>,
    files: Files<'_>,
) -> Result<Source, Unreadable> {
    let source = Source::default();
    let mut reader = Reader {
        machine,
        files,
        source,
        parameters: BTreeMap::new(),
        open: vec![],
        read: 0,
        bytes: 0,
    };
    reader.file(text, file)?;
    Ok(reader.source)
}

struct Reader<'a> {
    machine: Option<&'a str>,
    files: Files<'a>,
    source: Source,
    parameters: BTreeMap<String, String>,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    read: usize,
    bytes: usize,
}

impl Reader<'_> {
    fn file(&mut self, text: &str, file: &Path) -> Result<(), Unreadable> {
        self.open.push(file.to_owned());
        let name: Rc<Path> = file.into();
        let mut lines = text.lines().enumerate();
        while let Some((index, text)) = lines.next() {
            let mut whole = without_comment(text).to_owned();
            // A definition of several lines keeps them apart; any other line goes on.
            let separator = if is_definition(&whole) { '\n' } else { ' ' };
            while let Some(cut) = whole.trim_end().strip_suffix('\\').map(str::len) {
                whole.truncate(cut);
                let Some((_, more)) = lines.next() else { break };
                whole.push(separator);
                whole.push_str(without_comment(more));
            }
            self.line(Line { file: Rc::clone(&name), number: index + 1, text: whole }, 0)?;
        }
        self.open.pop();
        Ok(())
    }

    fn line(&mut self, line: Line, depth: usize) -> Result<(), Unreadable> {
        self.bounded(&line, depth)?;
        let text = line.text.trim_start();
        if let Some(pattern) = included(text) {
            return self.include(&line, pattern);
        }
        if text.starts_with('@') {
            return self.conditional(&line, depth);
        }
        if let Some((name, value)) = definition(text) {
            self.parameters.insert(name.to_owned(), value.to_owned());
            return Ok(());
        }
        if text.starts_with("~SEQ") || text.starts_with("~LST") {
            return self.sequence(&line, depth);
        }
        match substituted(text, &self.parameters) {
            Err(reason) => Err(line.wrong(1, reason)),
            Ok(None) => {
                self.source.lines.push(line);
                Ok(())
            }
            Ok(Some(text)) => {
                text.split('\n').try_for_each(|text| self.line(line.with(text), depth + 1))
            }
        }
    }

    fn bounded(&mut self, line: &Line, depth: usize) -> Result<(), Unreadable> {
        self.bytes += line.text.len() + 1;
        if depth > DEPTH {
            return Err(
                line.wrong(1, "parameters stand for each other without an end; give one a value")
            );
        }
        if self.source.lines.len() >= LINES || self.bytes > BYTES {
            return Err(line.wrong(1, "more lines than can be read; import it in parts"));
        }
        Ok(())
    }

    fn conditional(&mut self, line: &Line, depth: usize) -> Result<(), Unreadable> {
        let text = line.text.trim_start().trim_start_matches('@');
        let (condition, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let Some(machine) = self.machine else {
            self.source.passed_over = true;
            let reason = "not carried over: it holds for some machines only; say with --config-id for which one this is";
            self.source.notes.push(line.note(reason));
            return Ok(());
        };
        let holds = match condition.strip_prefix('^') {
            Some(other) => other != machine,
            None => condition == machine,
        };
        if holds { self.line(line.with(rest), depth + 1) } else { Ok(()) }
    }

    fn sequence(&mut self, line: &Line, depth: usize) -> Result<(), Unreadable> {
        let (sequence, rest) = Sequence::read(line.text.trim_start(), &self.parameters)
            .map_err(|reason| line.wrong(1, reason))?;
        for values in sequence.values {
            for (name, value) in sequence.names.iter().zip(values) {
                self.parameters.insert(name.clone(), value);
            }
            self.line(line.with(rest), depth + 1)?;
        }
        sequence.names.iter().for_each(|name| drop(self.parameters.remove(name)));
        Ok(())
    }

    fn include(&mut self, line: &Line, pattern: &str) -> Result<(), Unreadable> {
        if self.open.len() > DEPTH {
            return Err(line.wrong(1, "files include each other too deeply; put them into one"));
        }
        let directory = line.file.parent().unwrap_or(Path::new("")).to_owned();
        for pattern in braces(pattern) {
            match (self.files)(&directory.join(&pattern)) {
                Ok(found) => found.into_iter().try_for_each(|it| self.included(line, it))?,
                Err(error) => self.missing(line, &pattern, &error),
            }
        }
        Ok(())
    }

    fn included(&mut self, line: &Line, (path, text): (PathBuf, String)) -> Result<(), Unreadable> {
        self.read += 1;
        if self.open.contains(&path) {
            return Err(line.wrong(1, format!("{} includes itself; remove this", path.display())));
        }
        if self.read > FILES {
            return Err(line.wrong(1, format!("more than {FILES} files; import them in parts")));
        }
        self.file(&text, &path)
    }

    fn missing(&mut self, line: &Line, pattern: &str, error: &io::Error) {
        let reason = format!(
            "{pattern} cannot be read ({error}): what it says is missing here; import it where the file is"
        );
        self.source.notes.push(line.note(reason));
    }
}

/// What stands before a `#` or `!` that is not quoted.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', _) => escaped = true,
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            ('#' | '!', None) => return &line[..at],
            _ => {}
        }
    }
    line
}

/// The file that a line includes.
fn included(text: &str) -> Option<&str> {
    let (word, rest) = text.split_once(char::is_whitespace)?;
    let kind = word.strip_prefix("include")?;
    let file = rest.trim().trim_matches(['"', '\'']);
    (matches!(kind, "" | "r" | "m" | "w" | "b" | "a") && !file.is_empty()).then_some(file)
}

/// `$NAME=VALUE`.
fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let right = letters && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
    right.then_some((name, value.trim()))
}

/// Behind `@machine` too.
fn is_definition(line: &str) -> bool {
    let text = line.trim_start();
    let bare = text.strip_prefix('@').and_then(|rest| rest.split_once(char::is_whitespace));
    definition(bare.map_or(text, |(_, rest)| rest.trim_start())).is_some()
}
