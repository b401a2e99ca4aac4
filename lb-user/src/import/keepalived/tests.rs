//! Samples with what they must become. `UPDATE_SAMPLES=1` writes that anew.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::super::{Imported, Kind, Note, Options, Unreadable, import};
use crate::config;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/keepalived/samples")
}

fn sample_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(samples()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "conf")).collect();
    files.sort();
    files
}

/// Files of the samples, by their names there.
fn included(pattern: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let whole = samples().join(pattern);
    if !pattern.to_string_lossy().contains('*') {
        return Ok(vec![(pattern.to_owned(), fs::read_to_string(whole)?)]);
    }
    let found = glob::glob(&whole.to_string_lossy()).map_err(io::Error::other)?;
    let named = |path: PathBuf| {
        let name = path.strip_prefix(samples()).unwrap_or(&path).to_owned();
        fs::read_to_string(&path).map(|text| (name, text))
    };
    found.filter_map(Result::ok).filter(|path| path.is_file()).map(named).collect()
}

fn imported(text: &str) -> Result<Imported, Unreadable> {
    import(Kind::Keepalived, text, Path::new("k.conf"), &Options::default(), &included)
}

/// What stands in the file, or what has become of it where that is to be written.
fn expect(file: &Path, found: &str, differing: &mut String) {
    if std::env::var_os("UPDATE_SAMPLES").is_some() {
        fs::write(file, found).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if expected != found {
        writeln!(differing, "{}: now\n{found}", file.display()).unwrap();
    }
}

#[test]
fn every_sample_becomes_what_stands_beside_it() {
    let mut differing = String::new();
    for file in sample_files() {
        let name = Path::new(file.file_name().unwrap());
        let text = fs::read_to_string(&file).unwrap();
        let imported =
            import(Kind::Keepalived, &text, name, &Options::default(), &included).unwrap();
        let notes: Vec<_> = imported.omissions.iter().map(Note::to_string).collect();
        expect(&file.with_extension("toml"), &imported.toml, &mut differing);
        let notes = notes.iter().map(|note| format!("{note}\n")).collect::<String>();
        expect(&file.with_extension("omissions"), &notes, &mut differing);
        for note in notes.lines() {
            assert!(imported.toml.contains(&format!("# {note}\n")), "{note}");
        }
    }
    assert!(differing.is_empty(), "{differing}");
    assert!(sample_files().len() >= 10);
}

#[test]
fn two_hundred_virtual_servers_are_two_hundred_vips() {
    let mut text =
        String::from("vrrp_instance V { interface eth3\n virtual_ipaddress {\n 192.0.2.7\n }\n}\n");
    for index in 0..200 {
        let at = format!("198.51.{}.{}", 100 + index / 100, 1 + index % 100);
        writeln!(
            text,
            "virtual_server {at} 80 {{\n delay_loop 5\n lb_algo wrr\n lb_kind DR\n protocol TCP"
        )
        .unwrap();
        for real in 1..=20 {
            writeln!(
                text,
                " real_server 10.{index}.0.{real} 80 {{\n  weight {}\n  TCP_CHECK {{\n  }}\n }}",
                1 + real % 2
            )
            .unwrap();
        }
        writeln!(text, "}}").unwrap();
    }
    let imported = imported(&text).unwrap();
    assert_eq!((imported.vips, imported.reals, imported.omissions.len()), (200, 4000, 1));
    let model = config::parse(&imported.toml).unwrap();
    assert_eq!(model.node.interfaces, ["eth3"]);
    assert_eq!(model.vips[199].reals[18].weight, 2);
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    for (text, expected) in [
        (
            "virtual_server 192.0.2.1 80 {\n",
            "k.conf:1:1: the block of virtual_server is never closed: a } is missing",
        ),
        ("a\n  }", "k.conf:2:3: a } without a { before it: remove it, or open the block"),
        (
            "virtual_server 192.0.2.300 80 {\n}",
            "k.conf:1:16: \"192.0.2.300\" is not an address; write one such as 192.0.2.10 or 2001:db8::10",
        ),
        (
            "virtual_server 192.0.2.1 http {\n}",
            "k.conf:1:26: \"http\" is not a port; write a number from 1 to 65535",
        ),
        (
            "virtual_server {\n}",
            "k.conf:1:1: virtual_server without an address; write virtual_server 192.0.2.10 80",
        ),
        (
            "virtual_server group G {\n}",
            "k.conf:1:22: there is no virtual_server_group \"G\"; write one",
        ),
        (
            "\nvirtual_server 192.0.2.1 80 {\n lb_kind DR\n protocol ICMP\n}",
            "k.conf:4:11: \"ICMP\" is not a protocol; write TCP or UDP",
        ),
        (
            "virtual_server 192.0.2.1 80 {\n lb_kind DR\n real_server web1 80 {\n }\n}",
            "k.conf:3:14: \"web1\" is not an address",
        ),
        (
            "virtual_server_group G {\n 192.0.2.9-3 80\n}\nvirtual_server group G {\n}",
            "k.conf:2:2: \"192.0.2.9-3\" is not a range of 1 to 4096 addresses",
        ),
        (
            "virtual_server_group G {\n 2001:db8::/64 80\n}\nvirtual_server group G {\n}",
            "k.conf:2:2: \"2001:db8::/64\" is not a range",
        ),
        ("a \"b", "k.conf:1:3: a quote that is never closed: add the closing one"),
        (
            "$A=${A} x\nb ${A}",
            "k.conf:2:1: parameters stand for each other without an end; give one a value",
        ),
        (
            "~SEQ(A) x",
            "k.conf:1:1: neither ~SEQ(NAME, FIRST, STEP, LAST) nor ~LST(NAME, VALUE, ...)",
        ),
        ("include loop/a.conf", "loop/a.conf:1:1: loop/a.conf includes itself; remove this"),
        (
            "@lb1 a {\nb\n}",
            "(lines for one machine alone were passed over: say with --config-id for which one this is)",
        ),
    ] {
        let message = imported(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn lines_for_one_machine_are_taken_if_it_is_the_one() {
    let text = "@lb1 $N=1\n@lb2 $N=2\nvirtual_server 192.0.2.$N 80 {\n}\nvirtual_server 192.0.2.${N} 80 {\nlb_kind DR\n@^lb2 ops\n}";
    let text = text.replace("192.0.2.$N 80", "192.0.2.${N} 81");
    for (machine, address, udp) in [("lb1", "192.0.2.1", true), ("lb2", "192.0.2.2", false)] {
        let options = Options { machine: Some(machine.to_owned()), ..Options::default() };
        let file = Path::new("k.conf");
        let imported = import(Kind::Keepalived, &text, file, &options, &included).unwrap();
        assert!(imported.toml.contains(&format!("address = \"{address}\"")), "{}", imported.toml);
        assert_eq!(imported.toml.contains("udp = \"packet\""), udp, "{}", imported.toml);
    }
}

#[test]
fn sequences_without_an_end_and_huge_groups_are_refused_and_do_not_hang() {
    let nested = "~SEQ(A,65535) ~SEQ(B,65535) ~SEQ(C,65535) x ${A}";
    let doubling: String = (0..40).map(|n| format!("$A{}=${{A{n}}}${{A{n}}}\n", n + 1)).collect();
    let mut group = String::from("virtual_server_group G {\n");
    (0..100).for_each(|n| writeln!(group, "10.{n}.0.0-10.{n}.15.255 80").unwrap());
    group.push_str("}\nvirtual_server group G {\nlb_kind DR\nreal_server 192.0.2.1 80 {\n}\n}");
    for text in [nested.to_owned(), format!("$A0=xxxxxxxx\n{doubling}a ${{A40}}"), group] {
        assert!(imported(&text).is_err(), "{text}");
    }
}

/// A text with some of its bytes gone, doubled, or put in from another place.
fn mutated() -> impl Strategy<Value = String> {
    let texts: Vec<String> =
        sample_files().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let change = (any::<Index>(), any::<Index>(), 0..40usize, 0..4u8);
    (proptest::sample::select(texts), vec(change, 1..12)).prop_map(|(text, changes)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, from, length, kind) in changes {
            if chars.is_empty() {
                break;
            }
            let (at, from) = (at.index(chars.len()), from.index(chars.len()));
            let piece: Vec<char> = chars[from..(from + length).min(chars.len())].to_vec();
            match kind {
                0 => drop(chars.drain(at..(at + length).min(chars.len()))),
                1 => drop(chars.splice(at..at, piece)),
                2 => chars[at] = piece.first().copied().unwrap_or('{'),
                _ => chars.insert(at, ['{', '}', '"', '$', '\u{0}', '9'][length % 6]),
            }
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn whatever_is_read_is_accepted_or_refused_with_a_place(text in mutated()) {
        match imported(&text) {
            Ok(imported) => {
                let checked = config::parse(&imported.toml);
                prop_assert!(checked.is_ok(), "{:?}\n{}", checked, imported.toml);
            }
            Err(wrong) => prop_assert!(wrong.line >= 1 && wrong.column >= 1 && !wrong.message.is_empty()),
        }
    }

    #[test]
    fn any_text_is_accepted_or_refused(text in "([a-z $@~{}\"\\\\!#\n]|virtual_server |192.0.2.1 |lb_kind DR\n|real_server ){0,60}") {
        if let Ok(imported) = imported(&text) {
            prop_assert!(config::parse(&imported.toml).is_ok());
        }
    }
}
