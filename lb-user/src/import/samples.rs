//! Files as other balancers have them, in `KIND/samples`, and what becomes of each: `NAME.toml`, or the
//! reason for which it is refused in `NAME.refused`. `UPDATE_SAMPLES=1` writes these anew.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::Index};

use super::{Imported, Kind, Options, Unreadable, import};
use crate::config;

/// The kinds that are read from one file.
const KINDS: [Kind; 3] = [Kind::Ipvsadm, Kind::Alteon, Kind::Vc5];

/// No file of a few kilobytes takes so long, on the slowest machine.
const LONG: Duration = Duration::from_secs(20);

fn read(kind: Kind, text: &str, file: &Path) -> Result<Imported, Unreadable> {
    let none = |_: &Path| Err(io::ErrorKind::NotFound.into());
    import(kind, text, file, &Options::default(), &none)
}

fn samples(kind: Kind) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/import/{kind}/samples"));
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let ours =
        |file: &PathBuf| !file.extension().is_some_and(|end| end == "toml" || end == "refused");
    let mut files: Vec<_> = files.filter(ours).collect();
    files.sort();
    files
}

fn name(file: &Path) -> PathBuf {
    file.file_name().unwrap().into()
}

/// What a file becomes, and the end of the name of the file in which that stands.
fn outcome(kind: Kind, file: &Path) -> (String, &'static str) {
    let text = fs::read_to_string(file).unwrap();
    match read(kind, &text, &name(file)) {
        Ok(imported) => (imported.toml, "toml"),
        Err(refused) => (format!("{refused}\n"), "refused"),
    }
}

#[test]
fn every_sample_becomes_what_is_noted_beside_it() {
    let mut different = Vec::new();
    for kind in KINDS {
        let files = samples(kind);
        assert!(files.len() >= 10, "{kind}: {} samples", files.len());
        for file in files {
            let (found, end) = outcome(kind, &file);
            let noted = file.with_extension(end);
            if env::var_os("UPDATE_SAMPLES").is_some() {
                fs::write(&noted, found).unwrap();
            } else if fs::read_to_string(&noted).unwrap_or_default() != found {
                different.push(format!("{}:\n{found}", noted.display()));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn every_sample_passes_the_check_and_tells_each_omission_where_it_stands() {
    for kind in KINDS {
        for file in samples(kind) {
            let text = fs::read_to_string(&file).unwrap();
            let Ok(imported) = read(kind, &text, &name(&file)) else { continue };
            assert_eq!(config::parse(&imported.toml).map(|_| ()), Ok(()), "{}", file.display());
            for note in &imported.omissions {
                assert!((1..=text.lines().count()).contains(&note.line), "{note}");
                assert!(imported.toml.contains(&format!("# {note}\n")), "{note}");
            }
        }
    }
}

/// A part of a text taken out, doubled, or replaced by something else.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index, Index),
    Double(Index, Index),
    Put(Index, String),
    Swap(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let words = "[ \t\n/\"'{}\\[\\]:,#$*-]{0,3}[0-9a-z.]{0,6}[ \n:]{0,2}|\\PC{1,4}";
    let telling = proptest::sample::select(vec![
        "4294967296",
        "0",
        "-1",
        "65536",
        "::",
        "999.0.0.1",
        "[::1]:0",
        "dis",
        "\u{0}",
        "\r\n",
        "256",
        "-p",
        "&a *a",
    ]);
    prop_oneof![
        (at(), at()).prop_map(|(a, b)| Change::Cut(a, b)),
        (at(), at()).prop_map(|(a, b)| Change::Double(a, b)),
        (at(), words).prop_map(|(a, text)| Change::Put(a, text)),
        (at(), telling).prop_map(|(a, text)| Change::Put(a, text.to_owned())),
        (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

/// Applies a change to the characters, or for a swap to the lines.
fn changed(text: &str, change: &Change) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let place = |index: &Index| index.index(chars.len() + 1);
    // Most changes are as long as a word or a line.
    let range = |a: &Index, b: &Index| {
        let start = place(a);
        start..(start + b.index(40)).min(chars.len())
    };
    match change {
        Change::Cut(a, b) => drop(chars.drain(range(a, b))),
        Change::Double(a, b) => {
            let part = chars[range(a, b)].to_vec();
            let at = place(a);
            chars.splice(at..at, part);
        }
        Change::Put(a, word) => {
            let at = place(a);
            chars.splice(at..at, word.chars());
        }
        Change::Swap(a, b) => {
            let mut lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                lines.swap(a, b);
            }
            return lines.join("\n");
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_sample_with_mistakes_is_refused_or_passes_the_check(
        kind in proptest::sample::select(KINDS.to_vec()),
        sample in any::<Index>(),
        changes in proptest::collection::vec(change(), 1..6),
    ) {
        let files = samples(kind);
        let small = |file: &&PathBuf| fs::metadata(file).unwrap().len() < 4096;
        let files: Vec<_> = files.iter().filter(small).collect();
        let text = fs::read_to_string(files[sample.index(files.len())]).unwrap();
        let text = changes.iter().fold(text, |text, change| changed(&text, change));
        let begun = Instant::now();
        let result = read(kind, &text, Path::new("sample"));
        prop_assert!(begun.elapsed() < LONG, "{text}");
        match result {
            Ok(imported) => {
                let checked = config::parse(&imported.toml).map(|_| ());
                prop_assert_eq!(checked, Ok(()), "{}\n{}", text, imported.toml);
            }
            Err(refused) => {
                let lines = text.lines().count().max(1) + 1;
                prop_assert!((1..=lines).contains(&refused.line), "{}\n{}", refused, text);
                prop_assert!(!refused.to_string().contains('\n'), "{refused}");
            }
        }
    }
}
