use std::{
    fs, io,
    path::Path,
    process::{self, Stdio},
};

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::{backend::fleet, output::Notes};

/// Stands for `ssh`: hosts called `down` are not there, and everybody else is this machine.
const FAKE: &str = r#"#!/bin/sh
echo "$@" >>"$(dirname "$0")/calls"
while [ "$1" != -- ]; do shift; done
case $2 in
down*) echo "ssh: connect to host $2 port 22: No route to host" >&2; exit 255 ;;
breaks*) sh -c "$3"; echo "Connection to $2 closed by remote host." >&2; exit 255 ;;
esac
sh -c "$3"
exit $?
"#;

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    ssh: Ssh,
}

/// The options on the command line, and a directory with the `ssh` that they are for.
fn fake(words: &str) -> (Ssh, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("ssh");
    put_program(&program, FAKE);
    let words = ["lbctl"].into_iter().chain(words.split_whitespace());
    let Words { ssh } = Words::try_parse_from(words).unwrap();
    (Ssh { program, ..ssh }, directory)
}

/// Another process writes it: what this one has open for writing while a thread of it forks cannot be run
/// at that moment (ETXTBSY).
fn put_program(path: &Path, text: &str) {
    let mut install = process::Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    io::Write::write_all(&mut install.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
}

fn job(host: &str, script: &str) -> Job {
    let arguments = vec!["apply".to_owned(), "--check".to_owned()];
    Job { host: host.parse().unwrap(), script: script.to_owned(), arguments }
}

/// What became of the jobs, and all that was told meanwhile.
fn run(ssh: &Ssh, jobs: &[Job]) -> (Vec<Ran>, String) {
    let mut told = Vec::new();
    let ran = fleet::run(ssh, jobs, &mut Notes::new(&mut told, false)).unwrap();
    (ran, String::from_utf8(told).unwrap())
}

fn endings(ran: &[Ran]) -> Vec<Ending> {
    ran.iter().map(|ran| ran.ending).collect()
}

#[test]
fn a_script_that_fails_is_told_from_a_host_that_is_not_reached_and_from_one_that_is_lost() {
    let (ssh, _directory) = fake("");
    let jobs = [
        job("fine", "echo $1 $2; exit 0"),
        job("wrong", "echo no >&2; exit 1"),
        job("down", "exit 0"),
        job("breaks", "echo begun"),
        job("cannot", "exit 2"),
    ];
    let (ran, told) = run(&ssh, &jobs);
    let expected = [
        Ending::Exited(0),
        Ending::Exited(1),
        Ending::Unreachable,
        Ending::Lost,
        Ending::Exited(2),
    ];
    assert_eq!(endings(&ran), expected, "{told}");
    assert_eq!(ran[0].said, ["apply --check"]);
    assert_eq!(ran[2].complaints, ["ssh: connect to host down port 22: No route to host"]);
    for line in ["fine| apply --check\n", "wrong| no\n", "breaks| begun\n"] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn no_more_hosts_are_asked_at_once_than_were_allowed_and_those_at_once() {
    // Each host waits, for ever if need be, until another one is there.
    let meet = |directory: &Path| {
        format!(
            "cd {}; mkdir -p at met; : >at/$$; ls at | wc -l; \
             until test $(ls at met | grep -c '^[0-9]') -ge 2; do sleep 0.01; done; mv at/$$ met",
            directory.display()
        )
    };
    let (ssh, directory) = fake("--jobs 2");
    let script = meet(directory.path());
    let jobs: Vec<_> = (0..6).map(|number| job(&format!("host{number}"), &script)).collect();
    let (ran, told) = run(&ssh, &jobs);
    assert_eq!(endings(&ran), [Ending::Exited(0); 6], "{told}");
    assert!(ran.iter().all(|ran| ["1", "2"].contains(&ran.said[0].trim())), "{told}");
}

#[test]
fn lines_of_many_hosts_stand_whole_and_each_behind_its_host() {
    let (ssh, _directory) = fake("--jobs 16");
    let script = "i=0; while [ $i -lt 50 ]; do printf 'be'; printf 'gin-end\\n'; i=$((i+1)); done";
    let jobs: Vec<_> = (0..10).map(|number| job(&format!("host{number}"), script)).collect();
    let (_, told) = run(&ssh, &jobs);
    assert_eq!(told.lines().count(), 500);
    for line in told.lines() {
        let (host, rest) = line.split_once("| ").unwrap();
        assert!(host.starts_with("host") && rest == "begin-end", "{line}");
    }
}

#[test]
fn what_a_host_says_cannot_steer_the_terminal() {
    for (said, shown) in [
        ("plain ünd wide 漢", "plain ünd wide 漢"),
        ("\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}", "red"),
        ("one\rhost2| two\r\n", r"one\rhost2| two"),
        ("a\tb", "a    b"),
        ("\u{202e}backwards\u{9b}", r"\u{202e}backwards\u{9b}"),
    ] {
        assert_eq!(harmless(said), shown);
    }
}

#[test]
fn a_line_without_an_end_comes_in_pieces_and_bytes_that_are_no_text_do_no_harm() {
    let (ssh, _directory) = fake("");
    let script = "head -c 10000 /dev/zero | tr '\\0' x; echo; printf '\\377\\n'";
    let (ran, _) = run(&ssh, &[job("host", script)]);
    assert_eq!(ran[0].said.iter().map(String::len).max(), Some(4096));
    assert_eq!(ran[0].said.concat(), "x".repeat(10_000) + "\u{fffd}");
}

#[test]
fn a_host_that_takes_too_long_is_given_up() {
    let (ssh, directory) = fake("--timeout 50ms");
    let script = format!("while test -d {}; do sleep 0.05; done", directory.path().display());
    let (ran, _) = run(&ssh, &[job("host", &script)]);
    assert_eq!(endings(&ran), [Ending::TimedOut]);
}

#[test]
fn without_ssh_it_is_said_what_is_missing() {
    let (ssh, directory) = fake("");
    let ssh = Ssh { program: directory.path().join("none"), ..ssh };
    let (ran, _) = run(&ssh, &[job("host", "")]);
    assert!(ran[0].complaints[0].contains("install OpenSSH's client"), "{ran:?}");
}

#[test]
fn ssh_never_asks_and_the_operators_options_stand_before_ours() {
    let (ssh, directory) = fake("--user admin --ssh-option ConnectTimeout=3");
    run(&ssh, &[job("root@[2001:db8::1]:2222", ""), job("real1", "")]);
    let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
    let ours = "-o ConnectTimeout=3 -o BatchMode=yes -o ConnectTimeout=10";
    assert_eq!(calls.matches(ours).count(), 2, "{calls}");
    assert!(calls.contains("-l root -p 2222 -- 2001:db8::1 sh -c"), "{calls}");
    assert!(calls.contains("-l admin -- real1 sh -c"), "{calls}");
}

#[test]
fn options_that_are_none_are_refused() {
    for words in ["--jobs 0", "--user -x", "--ssh-option -v", "--ssh-option X", "--timeout soon"] {
        assert!(Words::try_parse_from(format!("lbctl {words}").split(' ')).is_err(), "{words}");
    }
}

/// Has a shell carry out the remote command, with so much of the script on its input.
fn carried_out(shell: &[&str], command: &str, script: &str) -> process::Output {
    let mut child = process::Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_remote_command_means_the_same_to_every_shell_and_leaves_nothing() {
    let script = "echo $0 $# $1; echo \"$3\"; printf '%s\\n' 'a\\nb'; pwd; echo no >&2; exit 7\n";
    let arguments = ["apply", "--check", "it's; $HOME"].map(str::to_owned);
    let command = remote(false, script.len(), &arguments);
    for shell in [&["sh"][..], &["bash"], &["dash"], &["busybox", "sh"]] {
        let there = process::Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).output();
        if there.is_err() {
            continue;
        }
        let output = carried_out(shell, &command, script);
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[..3], ["lb-backend.sh 3 apply", "it's; $HOME", "a\\nb"], "{shell:?}");
        assert_eq!((lines[4], output.status.code()), ("no", Some(7)), "{shell:?}");
        assert!(!Path::new(lines[3]).exists(), "{}", lines[3]);
    }
}

#[test]
fn a_script_that_did_not_arrive_whole_is_not_run() {
    let script = "echo harm; exit 0 # and more\n";
    let command = remote(false, script.len(), &[]);
    let output = carried_out(&["sh"], &command, &script[..12]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
    assert!(String::from_utf8_lossy(&output.stderr).contains("did not arrive whole"));
}

#[test]
fn the_remote_command_is_one_word_for_csh_and_fish_too() {
    let bad = |c: char| "'!\n".contains(c);
    assert!(!REMOTE.contains(bad));
    // fish takes `\\` and `\'` in a word as one character.
    assert!(REMOTE.match_indices('\\').all(|(at, _)| REMOTE[at + 1..].starts_with('n')));
    assert!(remote(true, 1, &[]).contains("{ sudo -n sh lb-backend.sh"));
}

#[test]
fn a_script_comes_to_its_end_when_nobody_listens_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let (go, done) = (directory.path().join("go"), directory.path().join("done"));
    let script = format!(
        "echo begun; until test -e {}; do sleep 0.01; done; echo one; echo two; seq 10000; : >{}\n",
        go.display(),
        done.display()
    );
    let command = remote(false, script.len(), &[]);
    let mut shell = process::Command::new("sh");
    shell.args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    let mut begun = [0; 6];
    io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut begun).unwrap();
    fs::write(go, "").unwrap();
    child.wait().unwrap();
    assert!(done.exists());
}
