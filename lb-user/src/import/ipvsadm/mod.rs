//! What `ipvsadm-save` prints, and scripts of calls of `ipvsadm`.
//!
//! text → words → rules → the table that the rules make → a draft.

mod draft;
mod table;
mod words;

use std::path::Path;

use self::{
    table::Table,
    words::{Word, rule, words},
};
use super::{Draft, Note, Unreadable, source::Source};

const NUMBERS: &str = "print the rules with `ipvsadm-save -n`";

/// Reads a table of virtual services.
///
/// # Errors
///
/// The first line that is no rule, or a rule that cannot be applied.
pub(super) fn read(text: &str, file: &Path) -> Result<Draft, Unreadable> {
    let source = Source(file);
    if text.starts_with("IP Virtual Server version") {
        let reason = format!("this is what `ipvsadm -L` prints for people; {NUMBERS}");
        return Err(source.unreadable((1, 1), reason));
    }
    let (mut table, mut foreign) = (Table::default(), Vec::new());
    for line in lines(text) {
        match command(&line) {
            Some(of) => {
                if let Some(rule) = rule(of, line.text, source)? {
                    table.apply(rule, source)?;
                }
            }
            None => foreign.push(line),
        }
    }
    if table.is_untouched() {
        return Err(nothing(foreign.first(), source));
    }
    let mut draft = draft::draft(&table, source);
    draft.notes.extend(foreign.iter().map(|line| other(line, source)));
    draft.notes.sort_by_key(|note| note.line);
    Ok(draft)
}

/// A line, or several of which all but the last end with a backslash.
struct Line<'t> {
    text: &'t str,
    words: Vec<Word<'t>>,
}

/// The lines that have words.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut numbered = text.lines().zip(1..);
    std::iter::from_fn(move || {
        let mut whole: Option<Line<'_>> = None;
        for (text, number) in numbered.by_ref() {
            let mut found = words(text, number);
            let goes_on = found.pop_if(|word| word.text == "\\").is_some();
            match &mut whole {
                Some(whole) => whole.words.extend(found),
                None => whole = Some(Line { text, words: found }),
            }
            if !goes_on {
                break;
            }
        }
        whole
    })
    .filter(|line| !line.words.is_empty())
}

/// The words behind `ipvsadm`, if the line is a call of it or a rule.
fn command<'l, 't>(line: &'l Line<'t>) -> Option<&'l [Word<'t>]> {
    let first = line.words.first()?;
    if first.text.starts_with('-') {
        return Some(&line.words);
    }
    let words = if first.text == "sudo" { &line.words[1..] } else { &line.words };
    let program = words.first()?.text;
    let is_it = program.rsplit('/').next() == Some("ipvsadm");
    is_it.then(|| &words[1..])
}

/// Why there is no rule in it at all.
fn nothing(foreign: Option<&Line<'_>>, source: Source<'_>) -> Unreadable {
    let Some(line) = foreign else {
        return source.unreadable((1, 1), format!("no virtual service in it; {NUMBERS}"));
    };
    let place = line.words.first().map_or((1, 1), |word| word.place);
    let reason = "not a rule of ipvsadm, such as -A -t 192.0.2.10:80 -s wrr";
    source.unreadable(place, format!("{reason}; {NUMBERS}"))
}

/// A line of a script that is no call of `ipvsadm`.
fn other(line: &Line<'_>, source: Source<'_>) -> Note {
    let number = line.words.first().map_or(1, |word| word.place.0);
    source.note(number, line.text, "not a rule of ipvsadm: not read")
}

#[cfg(test)]
mod tests;
