//! `lbctl import`.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use lb_user::{
    api::types::Place,
    import::{self, Imported, Kind, Note, Options, Unreadable},
};
use serde::Serialize;

use crate::{Session, failure::Failure};

const EXAMPLES: &str = "\
Kinds:
  keepalived  keepalived.conf, with what it includes
  ipvsadm     what `ipvsadm-save -n` prints
  alteon      what /cfg/dump prints
  vc5         the YAML or JSON of vc5

Needs no daemon and changes nothing. What cannot be carried over stands as a comment where it would
have stood, and on standard error. What programs and certificates the checks need is looked for on
this machine.

Exit codes: 0 all of it is there, 1 something is missing or differs, 2 it cannot be read.

Examples:
  lbctl import keepalived /etc/keepalived/keepalived.conf > /etc/lb/lb.toml
  ipvsadm-save -n | lbctl import ipvsadm - --interface eth0
  lbctl import alteon dump.txt -o json | jq '.omissions'";

/// The file that stands for what comes in.
const STDIN: &str = "-";

/// Prints the configuration of another balancer in our words.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Import {
    /// Whose configuration it is: keepalived, ipvsadm, alteon or vc5
    #[arg(value_parser = str::parse::<Kind>)]
    kind: Kind,
    /// The configuration; - reads it from standard input
    file: PathBuf,
    /// Where XDP is to be attached, whatever the original says; repeat it for several
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// The machine of which lines for one machine alone are taken (`keepalived --config-id`)
    #[arg(long, value_name = "ID")]
    config_id: Option<String>,
}

/// What was made of it, as a value of a structured answer.
#[derive(Serialize)]
struct Answer<'a> {
    toml: &'a str,
    omissions: Vec<Omission<'a>>,
    remarks: &'a [String],
}

/// What is missing, or differs.
#[derive(Serialize)]
struct Omission<'a> {
    file: String,
    line: usize,
    words: &'a str,
    reason: &'a str,
}

impl Import {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let (text, file) = read(&self.file)?;
        let options = Options { interfaces: self.interface, machine: self.config_id };
        let imported = import::import(self.kind, &text, &file, &options, &included);
        let imported = imported.map_err(unreadable)?;
        session.output.show(&answer(&imported), |answer| answer.toml.to_owned())?;
        summary(&imported).iter().for_each(|line| session.notes.line(line));
        if imported.omissions.is_empty() { Ok(()) } else { Err(Failure::Findings) }
    }
}

/// The text, and what the file is called.
fn read(path: &Path) -> Result<(String, PathBuf), Failure> {
    let (bytes, file) = if path == Path::new(STDIN) {
        let mut bytes = Vec::new();
        (io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes), PathBuf::from("<stdin>"))
    } else {
        (fs::read(path), path.to_owned())
    };
    let bytes = bytes.map_err(|source| Failure::Original { path: path.to_owned(), source })?;
    Ok((lenient(&bytes), file))
}

/// Comments of old files may be in any encoding.
fn lenient(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The files that a pattern names, in the order of their names.
fn included(pattern: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    // Two stars are one for the shell and for keepalived, and never all that is below.
    let mut text = pattern.to_string_lossy().into_owned();
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    let read = |path: PathBuf| fs::read(&path).map(|bytes| (path, lenient(&bytes)));
    if !text.contains(['*', '?', '[']) {
        return Ok(vec![read(pattern.to_owned())?]);
    }
    let paths = glob::glob(&text).map_err(io::Error::other)?;
    let paths = paths.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    paths.into_iter().filter(|path| path.is_file()).map(read).collect()
}

fn unreadable(Unreadable { file, line, column, message }: Unreadable) -> Failure {
    let file = file.display().to_string();
    Failure::BadFile { file, places: vec![Place { line, column, message }] }
}

fn answer(imported: &Imported) -> Answer<'_> {
    let omissions = imported.omissions.iter().map(omission).collect();
    Answer { toml: &imported.toml, omissions, remarks: &imported.remarks }
}

fn omission(Note { file, line, words, reason }: &Note) -> Omission<'_> {
    Omission { file: file.display().to_string(), line: *line, words, reason }
}

/// What is there, and what is not.
fn summary(imported: &Imported) -> Vec<String> {
    let some = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    let [vips, reals] = [some(imported.vips, "VIP"), some(imported.reals, "real")];
    let there = format!("lbctl: imported {vips} with {reals}");
    if imported.omissions.is_empty() {
        return vec![there];
    }
    let missing = some(imported.omissions.len(), "thing");
    let head = format!("{there}; {missing} could not be carried over, or not as it was:");
    let notes = imported.omissions.iter().map(Note::to_string);
    std::iter::once(head).chain(notes).collect()
}
