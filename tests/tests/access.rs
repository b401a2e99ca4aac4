//! Who may ask the daemon for what, who has done what, and what strangers at the door cannot do.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tests::{Lab, LabOptions, Output, Rack, daemon::lbd, wait};

/// Users and groups that every Debian has, with their numbers.
const DAEMON: (&str, &str) = ("daemon", "1");
const WWW_DATA: (&str, &str) = ("www-data", "33");
const NOBODY: (&str, &str) = ("nobody", "65534");

/// A rack with more words in the configuration, whose socket and `lbctl` other users can reach.
struct Open {
    rack: Rack,
    lbctl: PathBuf,
}

impl Open {
    fn new(words: &str) -> Result<Self> {
        let (lab, nginx, echoes) = Rack::servers(2)?;
        fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755))?;
        // The program may stand where only root can read.
        let lbctl = lab.dir().join("lbctl");
        fs::copy(tests::bin::path("lbctl")?, &lbctl)?;
        let config = lab.config(&format!("{words}\n{}", Rack::vips(2)));
        let daemon = lab.daemon(&config)?;
        let rack = Rack { daemon, nginx, echoes, lab };
        rack.usable(2)?;
        Ok(Self { rack, lbctl })
    }

    /// Runs `lbctl` as a user, in a group of the same number and these others.
    fn run_in(&self, (_, id): (&str, &str), groups: &str, words: &[&str]) -> Result<Output> {
        let groups = match groups {
            "" => "--clear-groups".to_owned(),
            groups => format!("--groups={groups}"),
        };
        let mut command = self.rack.lab.balancer().command("setpriv");
        command.args([&format!("--reuid={id}"), &format!("--regid={id}"), &groups]);
        command.arg("--inh-caps=-all").arg(&self.lbctl).arg("--socket");
        Output::of(command.arg(self.rack.lab.socket()).args(words))
    }

    fn run(&self, user: (&str, &str), words: &[&str]) -> Result<Output> {
        self.run_in(user, "", words)
    }

    fn refused(&self, user: (&str, &str), words: &[&str], parts: &[&str]) -> Result<()> {
        let output = self.run(user, words)?;
        assert_eq!(output.code, 1, "{words:?}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        says(&output.stderr, parts);
        Ok(())
    }

    /// The lines of the audit, without what comes before.
    fn audit(&self) -> Result<Vec<String>> {
        let log = self.rack.daemon.log()?;
        let lines = log.lines().filter_map(|line| line.split_once("audit: "));
        Ok(lines.map(|(_, line)| line.to_owned()).collect())
    }

    /// Changes the file and has it read again.
    fn reload(&self, from: &str, to: &str) -> Result<()> {
        let file = self.rack.daemon.config_file();
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to))?;
        Ok(())
    }

    fn mode(&self) -> Result<u32> {
        Ok(fs::metadata(self.rack.lab.socket())?.mode() & 0o7777)
    }
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

const REAL: &str = "10.0.0.11";

#[test]
fn without_a_table_only_root_and_the_group_reach_the_socket() -> Result<()> {
    let open = Open::new("")?;
    assert!([0o600, 0o660].contains(&open.mode()?), "{:o}", open.mode()?);
    let output = open.run(NOBODY, &["status"])?;
    assert_eq!(output.code, 3, "{output:?}");
    says(&output.stderr, &["no permission for", "be root or in group `lb`"]);
    open.rack.lbctl(&["real", "set", "web", REAL, "--weight", "5"])?;
    let audit = open.audit()?;
    let line = audit.last().context("a line")?;
    assert!(line.starts_with("root (uid 0, pid "), "{line}");
    assert!(line.ends_with(") real set web 10.0.0.11: weight 1 -> 5"), "{line}");
    Ok(())
}

#[test]
fn each_role_may_do_what_it_says_and_no_more() -> Result<()> {
    let table = "[access]\nread = [\"group:daemon\"]\noperate = [\"user:www-data\"]\nadmin = [\"group:mail\"]\n";
    let open = Open::new(table)?;
    assert_eq!(open.mode()?, 0o666);

    open.refused(NOBODY, &["status"], &["nobody (uid 65534", "no role", "group:daemon"])?;

    for words in [&["status"][..], &["events"], &["flows"], &["real", "list", "web"]] {
        open.run(DAEMON, words)?.success()?;
    }
    let plan =
        ["plan", "-f", &*open.rack.daemon.config_file().display().to_string()].map(str::to_owned);
    let plan: Vec<&str> = plan.iter().map(String::as_str).collect();
    open.run(DAEMON, &plan)?.success()?;
    let weight = ["real", "set", "web", REAL, "--weight", "2"];
    let needs = [
        "daemon (uid 1",
        "the role read",
        "needs the role operate",
        "root, user:www-data and group:mail",
    ];
    open.refused(DAEMON, &weight, &needs)?;
    open.refused(DAEMON, &["export"], &["needs the role admin", "root and group:mail have it"])?;

    open.run(WWW_DATA, &weight)?.success()?;
    for word in ["drain", "disable", "enable"] {
        open.run(WWW_DATA, &["real", word, "web", REAL])?.success()?;
    }
    open.run(WWW_DATA, &["vip", "disable", "web"])?.success()?;
    open.run(WWW_DATA, &["vip", "enable", "web"])?.success()?;
    let admin = ["the role operate", "needs the role admin"];
    for words in [
        &["vip", "set", "web", "--hash", "source"][..],
        &["vip", "del", "web"],
        &["real", "add", "web", "10.0.0.77"],
        &["real", "del", "web", REAL],
        &["real", "set", "web", REAL, "--mac", "02:00:00:00:00:77"],
        &["detach"],
    ] {
        open.refused(WWW_DATA, words, &admin)?;
    }

    // By a supplementary group, which the process has and no list of users knows.
    open.run_in(NOBODY, "8", &["vip", "set", "web", "--hash", "source"])?.success()?;
    assert_eq!(open.rack.answers(5)?.len(), 1);
    Ok(())
}

/// Requests that cannot be, and the lines that the log has of them: of those that would change something.
const BAD: [(&str, &str); 7] = [
    (
        "PATCH /v1/vips/web HTTP/1.1\r\nContent-Length: 1\r\n\r\n{",
        " PATCH /v1/vips/web: refused: the request's body: ",
    ),
    ("DELETE /v1/vips/%ff HTTP/1.1\r\n\r\n", " DELETE /v1/vips/%ff: refused: "),
    ("POST /v1/vips HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", " POST /v1/vips: refused: "),
    (
        "DELETE /v1/vips/web/reals/here HTTP/1.1\r\n\r\n",
        " DELETE /v1/vips/web/reals/here: refused: \"here\" is not an address",
    ),
    (
        "PUT /v1/log HTTP/1.1\r\nContent-Length: 17\r\n\r\n{\"filter\":\"loud\"}",
        " PUT /v1/log: refused: ",
    ),
    ("GET /v1/vips/%ff HTTP/1.1\r\n\r\n", ""),
    ("BREW /v1/vips HTTP/1.1\r\n\r\n", " BREW /v1/vips: refused: "),
];

/// What is answered to root.
fn asked(open: &Open, head: &str) -> Result<String> {
    let mut stream = UnixStream::connect(open.rack.lab.socket())?;
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    let head = head.replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", 1);
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    // A connection that is closed while something is unread is reset behind the answer.
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn who_has_changed_what_and_who_was_refused_is_in_the_log() -> Result<()> {
    let open = Open::new("[access]\nread = [\"user:daemon\"]\noperate = [\"user:www-data\"]\n")?;
    open.run(WWW_DATA, &["real", "drain", "web", REAL])?.success()?;
    open.run(DAEMON, &["real", "enable", "web", REAL])?;
    open.run(NOBODY, &["status"])?;
    open.run(WWW_DATA, &["real", "set", "web", "10.0.0.99", "--weight", "3"])?;
    open.rack.lbctl(&["vip", "add", "dns", "--address", "192.0.2.30", "--port", "udp/53"])?;
    open.rack.lbctl(&["vip", "set", "dns", "--hash", "source"])?;
    open.rack.lbctl(&["vip", "del", "dns"])?;
    // What the file does not tell of.
    open.rack.lbctl(&["real", "drain", "web", REAL, "--timeout", "2h"])?;
    // What is refused before it is a change.
    let file = open.rack.lab.dir().join("bad.toml");
    fs::write(&file, "[node]\ninterfaces = []\n")?;
    open.rack.daemon.lbctl(&["apply", "-f", file.to_str().context("a path")?])?;
    for (what, _) in BAD {
        let answer = asked(&open, what)?;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        says(&answer, &["content-type: application/problem+json", "\"status\":4"]);
    }
    let audit = open.audit()?;
    let expected = [
        ("www-data (uid 33, pid ", " real set web 10.0.0.11: state active -> drain"),
        (
            "daemon (uid 1, pid ",
            " PATCH /v1/vips/web/reals/10.0.0.11: refused: needs the role operate, has the role read",
        ),
        ("nobody (uid 65534, pid ", " GET /v1/status: refused: needs the role read, has no role"),
        (
            "www-data (uid 33, pid ",
            " real set web 10.0.0.99: refused: no real 10.0.0.99 in vip \"web\"",
        ),
        ("root (uid 0, pid ", " vip add dns: none -> 192.0.2.30 udp/53 with 0 reals"),
        ("root (uid 0, pid ", " vip set dns: hash flow -> source"),
        ("root (uid 0, pid ", " vip del dns: 192.0.2.30 udp/53 with 0 reals -> none"),
        (
            "root (uid 0, pid ",
            " real set web 10.0.0.11 --timeout 2h: real 10.0.0.11 of vip \"web\" drains",
        ),
        ("root (uid 0, pid ", " POST /v1/apply: refused: the configuration: node: interfaces"),
    ];
    let bad = BAD
        .iter()
        .filter(|(_, line)| !line.is_empty())
        .map(|(_, line)| ("root (uid 0, pid ", *line));
    let expected: Vec<_> = expected.into_iter().chain(bad).collect();
    assert_eq!(audit.len(), expected.len(), "{audit:#?}");
    for (line, (who, what)) in audit.iter().zip(expected) {
        assert!(line.starts_with(who) && line.contains(what), "{line:?} is not {who:?} {what:?}");
    }
    Ok(())
}

#[test]
fn who_loses_the_role_loses_what_it_follows() -> Result<()> {
    let open = Open::new("[access]\nread = [\"user:daemon\"]\n")?;
    let mut streams = connected_as(1, &open.rack.lab.socket(), 1)?;
    let follower = &mut streams[0];
    follower.set_read_timeout(Some(wait::PATIENCE))?;
    follower.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut first = [0; 1];
    follower.read_exact(&mut first)?;
    open.reload("user:daemon", "user:www-data")?;
    let daemon = nix::unistd::Pid::from_raw(pid_of(&open.rack)? as i32);
    nix::sys::signal::kill(daemon, Signal::SIGHUP)?;
    let mut rest = Vec::new();
    follower.read_to_end(&mut rest)?;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "this is no good end");
    Ok(())
}

#[test]
fn a_stranger_who_asks_again_and_again_fills_no_log() -> Result<()> {
    let open = Open::new("[access]\nread = [\"user:daemon\"]\n")?;
    for _ in 0..30 {
        let mut stranger = connected_as(65534, &open.rack.lab.socket(), 1)?.remove(0);
        stranger.set_read_timeout(Some(wait::PATIENCE))?;
        // Only the first is answered.
        let _ = stranger.write_all(&b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2));
        let mut answer = String::new();
        let _ = stranger.read_to_string(&mut answer);
        assert!(answer.matches("HTTP/1.1 403").count() <= 1, "{answer}");
    }
    let told = open.audit()?.iter().filter(|line| line.starts_with("nobody ")).count();
    assert_eq!(told, 10);
    Ok(())
}

#[test]
fn a_reload_changes_who_may_ask_and_a_bad_one_changes_nothing() -> Result<()> {
    let open = Open::new("[access]\nread = [\"user:daemon\"]\n")?;
    let weight = ["real", "set", "web", REAL, "--weight", "4"];
    open.refused(DAEMON, &weight, &["needs the role operate"])?;

    // A connection that is open already is asked again, too.
    open.reload("read = [\"user:daemon\"]", "operate = [\"user:daemon\"]")?;
    let daemon_process = |signal| -> Result<()> {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(open_pid(&open)? as i32), signal)?;
        Ok(())
    };
    daemon_process(Signal::SIGHUP)?;
    wait::until("the new right", wait::PATIENCE, || {
        Ok((open.run(DAEMON, &weight)?.code == 0).then_some(()))
    })?;

    open.reload("user:daemon", "user:nosuchuser")?;
    daemon_process(Signal::SIGHUP)?;
    let refused = wait::until("a refusal", wait::PATIENCE, || {
        let log = open.rack.daemon.log()?;
        Ok(log.lines().find(|line| line.contains("nosuchuser")).map(str::to_owned))
    })?;
    says(&refused, &["lb.toml:8:12: ", "access: this machine has no user \"nosuchuser\""]);
    open.reload("user:nosuchuser", "user:daemon")?;
    open.run(DAEMON, &["status"])?.success()?;

    open.reload("[access]\noperate = [\"user:daemon\"]", "")?;
    daemon_process(Signal::SIGHUP)?;
    wait::until("the door to close", wait::PATIENCE, || Ok((open.mode()? != 0o666).then_some(())))?;
    assert_eq!(open.run(DAEMON, &["status"])?.code, 3);
    Ok(())
}

/// The process of a rack's daemon, by who listens at its socket.
fn open_pid(open: &Open) -> Result<u32> {
    let stream = UnixStream::connect(open.rack.lab.socket())?;
    let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)?;
    Ok(u32::try_from(peer.pid())?)
}

#[test]
fn names_that_this_machine_does_not_know_are_refused_with_their_place() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let file = lab.dir().join("refused.toml");
    let table =
        "[access]\nread = [\"group:nosuchgroup\", \"deploy\"]\nadmin = [\"user:nosuchuser\"]\n";
    let path = file.to_str().context("a path")?;
    for (words, parts) in [
        (table, vec!["refused.toml:8:30: access: \"deploy\" is neither a user nor a group"]),
        (
            &*table.replace(", \"deploy\"", ""),
            vec![
                "refused.toml:8:9: access: this machine has no group \"nosuchgroup\"",
                "groupadd --system nosuchgroup",
                "refused.toml:9:10: access: this machine has no user \"nosuchuser\"",
            ],
        ),
        ("[access]\nwrite = []\n", vec!["refused.toml:8:1: access: unknown key \"write\""]),
    ] {
        fs::write(&file, lab.config(&format!("{words}{}", Rack::vips(1))))?;
        let output = lbd(&lab, &["--check", "--config", path])?;
        assert_eq!(output.code, 2, "{output:?}");
        says(&output.stderr, &parts);
    }
    // What stands in the file itself is no better at a start.
    let output = lbd(&lab, &["--config", path])?;
    assert_eq!(output.code, 2, "{output:?}");
    assert!(!lab.pin_dir().exists() && !lab.socket().exists());
    Ok(())
}

/// The directory of users may come later than the balancer, and a program or a file may have been removed.
#[test]
fn a_start_goes_on_without_what_the_machine_lacks_and_a_reload_does_not() -> Result<()> {
    let (lab, nginx, echoes) = Rack::servers(2)?;
    let table = "[access]\nread = [\"group:nosuchgroup\"]\noperate = [\"user:daemon\"]\n";
    let often = "interval = \"200ms\", timeout = \"200ms\", initial = \"up\"";
    let checks = format!(
        "check = [{{ type = \"exec\", command = [\"/nonexistent\"], {often} }}, \
         {{ type = \"https\", port = 80, ca = \"/dev/zero\", {often} }}]\n"
    );
    let vips = Rack::vips(2).replacen("\n\n[[vip.real]]", &format!("\n{checks}\n[[vip.real]]"), 1);
    let rack =
        Rack { daemon: lab.daemon(&lab.config(&format!("{table}{vips}")))?, nginx, echoes, lab };
    rack.usable(2)?;
    assert_eq!(rack.answers(20)?.len(), 2);
    let log = rack.daemon.log()?;
    let lacking = [
        "lb.toml:8:9: access: this machine has no group \"nosuchgroup\"",
        "/nonexistent: No such file or directory",
        "ca /dev/zero: is not a plain file",
    ];
    for part in lacking {
        let line = log.lines().find(|line| line.contains(part)).context(part)?;
        says(line, &[" WARN ", ": goes on without"]);
    }
    wait::until("checks that are not made", wait::PATIENCE, || {
        let real = rack.real_status("web", REAL.parse()?)?.context("a real")?.to_string();
        let told = ["/nonexistent cannot be run", "is not a plain file"];
        Ok(told.iter().all(|part| real.contains(part)).then_some(()))
    })?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid_of(&rack)? as i32), Signal::SIGHUP)?;
    wait::until("the refusal", wait::PATIENCE, || {
        Ok(rack.daemon.log()?.contains("the old configuration goes on").then_some(()))
    })?;
    // What is not looked at again is no reason to refuse a change of something else.
    rack.lbctl(&["real", "set", "web", REAL, "--weight", "2"])?;
    Ok(())
}

const LISTEN: &str = "127.0.0.1:9101";

/// A rack whose daemon listens in the balancer.
fn listening() -> Result<Rack> {
    let (lab, nginx, echoes) = Rack::servers(1)?;
    let config =
        lab.config(&Rack::vips(1)).replace("[node]\n", &format!("[node]\nlisten = \"{LISTEN}\"\n"));
    lab.balancer().ip("link set dev lo up")?;
    let rack = Rack { daemon: lab.daemon(&config)?, nginx, echoes, lab };
    rack.usable(1)?;
    Ok(rack)
}

fn connect(rack: &Rack) -> Result<TcpStream> {
    let address: SocketAddr = LISTEN.parse()?;
    let stream = rack.lab.in_balancer(|| Ok(TcpStream::connect(address)?))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// What is answered to this, and until the connection is closed.
fn exchange(rack: &Rack, text: &[u8]) -> Result<String> {
    let mut stream = connect(rack)?;
    stream.write_all(text)?;
    let mut answer = Vec::new();
    // A connection that is closed while something is unread is reset behind the answer.
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn the_listener_answers_get_and_refuses_everything_else() -> Result<()> {
    let rack = listening()?;
    let ask = |method: &str, path: &str| {
        exchange(&rack, format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").as_bytes())
    };
    assert!(ask("GET", "/v1/status")?.starts_with("HTTP/1.1 200 "));
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        for path in ["/v1/status", "/v1/vips", "/v1/detach", "/"] {
            let answer = ask(method, path)?;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            says(&answer.to_lowercase(), &["allow: get, head", "application/problem+json"]);
        }
    }
    for path in ["/v1/vips", "/v1/export", "/v1/log", "/v1/detach"] {
        assert!(ask("GET", path)?.starts_with("HTTP/1.1 404 "), "{path}");
    }
    assert_eq!(rack.answers(3)?.len(), 1);
    Ok(())
}

#[test]
fn a_header_that_is_too_large_is_refused() -> Result<()> {
    let rack = listening()?;
    let header = |length| {
        format!(
            "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {}\r\n\r\n",
            "a".repeat(length)
        )
    };
    assert!(exchange(&rack, header(8 << 10).as_bytes())?.starts_with("HTTP/1.1 200 "));
    let answer = exchange(&rack, header(64 << 10).as_bytes())?;
    assert!(!answer.contains(" 200 "), "{answer}");
    says(&answer, &["HTTP/1.1 431 "]);
    assert!(exchange(&rack, header(1).as_bytes())?.starts_with("HTTP/1.1 200 "));
    Ok(())
}

#[test]
fn hundreds_of_half_open_requests_disturb_nobody() -> Result<()> {
    let rack = listening()?;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(&rack)?;
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: ")?;
        slow.push(stream);
    }
    for _ in 0..10 {
        rack.lbctl(&["status"])?;
    }
    let open = fs::read_dir(format!("/proc/{}/fd", pid_of(&rack)?))?.count();
    assert!(open < 200, "{open} files are open");
    // They are given up, one lot after the other, and who only asks gets an answer.
    let answer = exchange(&rack, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(rack.answers(3)?.len(), 1);
    Ok(())
}

fn pid_of(rack: &Rack) -> Result<u32> {
    let stream = UnixStream::connect(rack.lab.socket())?;
    let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)?;
    Ok(u32::try_from(peer.pid())?)
}

#[test]
fn strangers_that_hold_connections_disturb_nobody() -> Result<()> {
    let open = Open::new("[access]\nread = [\"user:daemon\"]\n")?;
    let held = connected_as(65534, &open.rack.lab.socket(), 400)?;
    open.run(DAEMON, &["status"])?.success()?;
    open.rack.lbctl(&["real", "set", "web", REAL, "--weight", "2"])?;
    drop(held);
    Ok(())
}

/// Connections of a user to a socket, made in a thread that is this user, as far as the kernel is asked.
fn connected_as(uid: libc::uid_t, socket: &Path, count: usize) -> Result<Vec<UnixStream>> {
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            // SAFETY: takes numbers only. Not the library's function, which would change all threads.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) };
            ensure!(changed == 0, "cannot become user {uid}");
            (0..count).map(|_| Ok(UnixStream::connect(socket)?)).collect()
        });
        connecting.join().map_err(|_| anyhow::anyhow!("a panic"))?
    })
}

#[test]
fn an_address_that_is_in_use_is_named_and_forwarding_goes_on() -> Result<()> {
    let mut rack = listening()?;
    rack.daemon.kill9()?;
    let address: SocketAddr = LISTEN.parse()?;
    let taken = rack.lab.in_balancer(|| Ok(std::net::TcpListener::bind(address)?))?;
    let file = rack.daemon.config_file();
    let start = || lbd(&rack.lab, &["--config", file.to_str().context("a path")?]);
    let output = start()?;
    assert_eq!(output.code, 1, "{output:?}");
    let line = output.stderr.lines().last().context("a line")?;
    says(
        line,
        &["lbd: listen = \"127.0.0.1:9101\": Address already in use", "choose another address"],
    );
    assert_eq!(rack.answers(5)?.len(), 1, "the former program forwards");
    drop(taken);

    fs::remove_file(rack.lab.socket())?;
    fs::write(rack.lab.socket(), "precious")?;
    let output = start()?;
    assert_eq!(output.code, 1, "{output:?}");
    says(
        output.stderr.lines().last().context("a line")?,
        &["exists and is not a socket: remove it"],
    );
    assert_eq!(rack.answers(5)?.len(), 1, "the former program forwards");
    fs::remove_file(rack.lab.socket())?;
    rack.daemon.restart()?;
    assert!(fs::metadata(rack.lab.socket())?.file_type().is_socket());
    Ok(())
}

#[test]
fn what_is_logged_changes_while_it_runs_and_comes_back() -> Result<()> {
    let rack = Rack::new(1)?;
    let before = rack.lbctl(&["-o", "json", "log"])?.json()?["filter"].clone();
    let told = rack.lbctl(&["log", "warn,lb_user::health=debug", "1h"])?.stdout;
    says(
        &told,
        &[
            "lbd logs warn,lb_user::health=debug until ",
            &format!(", then {}", before.as_str().context("a filter")?),
        ],
    );
    let quiet = rack.daemon.log()?.len();
    rack.lbctl(&["real", "set", "web", REAL, "--weight", "2"])?;
    let told = rack.daemon.log()?[quiet..].to_owned();
    assert!(!told.contains("INFO  lb_user::event"), "info is not logged: {told}");
    says(&told, &["audit: root (uid 0", "real set web 10.0.0.11: weight 1 -> 2"]);
    rack.lbctl(&["log", "info"])?;
    let now = rack.lbctl(&["-o", "json", "log"])?.json()?;
    assert_eq!(now, serde_json::json!({"filter": "info"}));
    rack.lbctl(&["log", "error", "1s"])?;
    wait::until("the end of a second", wait::PATIENCE, || {
        let now = rack.lbctl(&["-o", "json", "log"])?.json()?;
        Ok((now == serde_json::json!({"filter": "info"})).then_some(()))
    })?;
    rack.lbctl(&["real", "set", "web", REAL, "--weight", "3"])?;
    says(&rack.daemon.log()?, &["real set web 10.0.0.11: weight 2 -> 3"]);
    for words in [&["log", "debugg"][..], &["log", "debug", "soon"], &["log", "debug", "48h"]] {
        let output = rack.daemon.lbctl(words)?;
        assert_eq!(output.code, 2, "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    }
    Ok(())
}

/// To a file that `$JOURNAL_STREAM` names, as systemd names the journal's socket.
#[test]
fn in_the_journal_lines_have_priorities_and_no_times() -> Result<()> {
    let lab = Lab::new(LabOptions::reals(1))?;
    let config = lab.dir().join("lb.toml");
    fs::write(&config, lab.config(&Rack::vips(1)).replace("eth0", "eth7"))?;
    for (journal, expected) in [(true, true), (false, false)] {
        let log = fs::File::create(lab.dir().join("journal"))?;
        let at = log.metadata()?;
        let stream = format!("{}:{}", at.dev(), if journal { at.ino() } else { at.ino() + 1 });
        let mut command = lab.balancer().command(tests::bin::path("lbd")?);
        command.args(["--detach", "--config"]).arg(&config).env("JOURNAL_STREAM", stream);
        command.env("RUST_LOG", "debug").stderr(log).status()?;
        let text = fs::read_to_string(lab.dir().join("journal"))?;
        let prefixed = text.lines().filter(|line| line.starts_with("<7>lb_user::")).count();
        assert_eq!(prefixed > 0, expected, "{text}");
        assert_eq!(text.contains("DEBUG lb_user"), !expected, "{text}");
    }
    Ok(())
}
