//! The whole command against a daemon with one canned answer.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use jiff::Timestamp;
use lb_user::api::types::Status;
use tempfile::TempDir;

use super::*;

/// Answers requests, and remembers them.
pub struct Daemon {
    directory: TempDir,
    thread: JoinHandle<String>,
}

/// What a run of the command left behind.
pub struct Ran {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
}

impl Daemon {
    /// A daemon that answers with this status and body.
    pub fn answering(status: u16, body: &str) -> Self {
        Self::saying(answer(status, body))
    }

    /// A daemon that answers with these bodies, one after the other.
    fn answering_in_turn(answers: &[(u16, String)]) -> Self {
        Self::saying_in_turn(answers.iter().map(|(status, body)| answer(*status, body)).collect())
    }

    /// A daemon that refuses.
    pub fn refusing(status: u16, detail: &str) -> Self {
        let problem = serde_json::json!({
            "type": "about:blank", "title": "No", "status": status, "detail": detail,
        });
        Self::answering(status, &problem.to_string())
    }

    /// Something that says this to whoever asks.
    fn saying(answer: String) -> Self {
        Self::saying_in_turn(vec![answer])
    }

    fn saying_in_turn(answers: Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("lbd.sock")).unwrap();
        let thread = thread::spawn(move || {
            let serve = |answer: &String| {
                let (mut stream, _) = listener.accept().unwrap();
                let request = request(&mut stream);
                stream.write_all(answer.as_bytes()).unwrap();
                request
            };
            answers.iter().map(serve).collect::<Vec<_>>().join("\n")
        });
        Self { directory, thread }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("lbd.sock")
    }

    /// Runs the command with these words, and gives what the daemon was asked too.
    pub fn ask(self, words: &str) -> (String, Ran) {
        let ran = lbctl(&self.socket(), words);
        (self.thread.join().unwrap(), ran)
    }
}

/// An answer after which the connection is closed.
fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Reads a request; gives its method, target and body.
fn request(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let first = head.lines().next().unwrap();
    let first = first.trim_end_matches(" HTTP/1.1").replace("/v1/", "");
    format!("{first} {}", String::from_utf8(body).unwrap()).trim_end().to_owned()
}

/// Runs the command with these words.
pub fn lbctl(socket: &Path, words: &str) -> Ran {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = run(arguments(socket, words), &mut stdout, Notes::new(&mut stderr, false));
    Ran {
        code,
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn arguments(socket: &Path, words: &str) -> Vec<OsString> {
    let mut arguments = vec!["lbctl".into(), "--socket".into(), socket.into()];
    arguments.extend(words.split_whitespace().map(OsString::from));
    arguments
}

const DONE: &str = r#"{"message":"VIP \"web\" did it"}"#;

#[test]
fn every_change_asks_for_exactly_what_the_command_says() {
    for (words, expected) in [
        (
            "vip add web --address 192.0.2.10 --port tcp/80",
            r#"POST vips {"name":"web","address":"192.0.2.10","ports":["tcp/80"],"reals":[]}"#,
        ),
        (
            "vip add web --address 2001:DB8::10 --port any --real 2001:db8::b,weight=2 --sorry none --udp packet",
            r#"POST vips {"name":"web","address":"2001:db8::10","ports":["any"],"reals":[{"address":"2001:db8::b","weight":2}],"udp":"packet","sorry":"none"}"#,
        ),
        (
            "vip set web --port tcp/80 --port udp/* --check http:/ --hash source --announce none",
            r#"PATCH vips/web {"ports":["tcp/80","udp/*"],"announce":"none","hash":"source","check":"http:/"}"#,
        ),
        (
            "vip set web --check http:/ --check icmp --min-up 2 --min-up-high 3 --panic-threshold none",
            r#"PATCH vips/web {"min_up":"2","min_up_high":"3","panic_threshold":"none","check":["http:/","icmp"]}"#,
        ),
        ("vip set web --check none", r#"PATCH vips/web {"check":"none"}"#),
        ("vip set web --min-up 50%", r#"PATCH vips/web {"min_up":"50%"}"#),
        ("vip enable web", r#"PATCH vips/web {"state":"enabled"}"#),
        ("vip disable web", r#"PATCH vips/web {"state":"disabled"}"#),
        (
            "real force-up web 2001:db8::d",
            r#"PATCH vips/web/reals/2001%3Adb8%3A%3Ad {"force_up":true}"#,
        ),
        (
            "real force-up web 10.0.0.13 --release",
            r#"PATCH vips/web/reals/10.0.0.13 {"force_up":false}"#,
        ),
        (
            "vip set web --idle-timeout 1m --drain-timeout 2h --udp-idle-timeout 3s --address 192.0.2.11",
            r#"PATCH vips/web {"address":"192.0.2.11","idle_timeout":"1m","drain_timeout":"2h","udp_idle_timeout":"3s"}"#,
        ),
        (
            "vip set web --on-deadline reset --slow-start 30s --udp flow",
            r#"PATCH vips/web {"on_deadline":"reset","udp":"flow","slow_start":"30s"}"#,
        ),
        ("vip set web --slow-start none", r#"PATCH vips/web {"slow_start":"none"}"#),
        ("vip del web", "DELETE vips/web"),
        ("real add web 10.0.0.13", r#"POST vips/web/reals {"address":"10.0.0.13"}"#),
        (
            "real add web 10.0.0.13 --weight 0 --mac 02:00:00:00:00:0D",
            r#"POST vips/web/reals {"address":"10.0.0.13","weight":0,"mac":"02:00:00:00:00:0d"}"#,
        ),
        (
            "real add web 2001:db8:0::11 --weight 2",
            r#"POST vips/web/reals {"address":"2001:db8::11","weight":2}"#,
        ),
        (
            "real set web 2001:db8::11 --weight 3",
            r#"PATCH vips/web/reals/2001%3Adb8%3A%3A11 {"weight":3}"#,
        ),
        ("vip set web --address 2001:db8::10", r#"PATCH vips/web {"address":"2001:db8::10"}"#),
        ("real set web 10.0.0.13 --weight 256", r#"PATCH vips/web/reals/10.0.0.13 {"weight":256}"#),
        ("real set web 10.0.0.13 --mac none", r#"PATCH vips/web/reals/10.0.0.13 {"mac":"none"}"#),
        (
            "real enable web 10.0.0.13",
            r#"PATCH vips/web/reals/10.0.0.13 {"state":"active","force_up":false}"#,
        ),
        ("real disable web 10.0.0.13", r#"PATCH vips/web/reals/10.0.0.13 {"state":"disabled"}"#),
        ("real drain web 10.0.0.13", r#"PATCH vips/web/reals/10.0.0.13 {"state":"drain"}"#),
        (
            "real drain web 10.0.0.13 --timeout 10m",
            r#"PATCH vips/web/reals/10.0.0.13 {"state":"drain","timeout":"10m"}"#,
        ),
        ("real del web 10.0.0.13", "DELETE vips/web/reals/10.0.0.13"),
        ("real del web 2001:db8::d --now", "DELETE vips/web/reals/2001%3Adb8%3A%3Ad?now=true"),
        ("detach", "POST detach"),
    ] {
        let (asked, ran) = Daemon::answering(200, DONE).ask(words);
        assert_eq!(asked, expected, "{words}");
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, "VIP \"web\" did it\n"),
            "{words}: {}",
            ran.stderr
        );
    }
}

const TRACE: &str = r#"{"verdict":"drop","outcome":"no_real","explanation":"No real.","vip":null,
    "slot":null,"real":null,"mac":null,"interface":null,"by":null,"predicted":false}"#;

#[test]
fn a_trace_asks_in_the_query_and_with_a_configuration_in_the_body() {
    let words = "trace --src 198.51.100.7:40000 --dst [2001:db8::10]:80";
    let (asked, ran) = Daemon::answering(200, TRACE).ask(words);
    assert_eq!(
        asked,
        "GET trace?src=198.51.100.7%3A40000&dst=%5B2001%3Adb8%3A%3A10%5D%3A80&syn=false"
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    let words = "trace --src 1.2.3.4:1 --dst 192.0.2.10:80 --syn --proto tcp --down 10.0.0.1 --down 10.0.0.2";
    let (asked, _) = Daemon::answering(200, TRACE).ask(words);
    assert_eq!(
        asked,
        "GET trace?src=1.2.3.4%3A1&dst=192.0.2.10%3A80&proto=tcp&syn=true&down=10.0.0.1%2C10.0.0.2"
    );

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[node]\n").unwrap();
    let words =
        format!("trace --src 1.2.3.4:1 --dst 192.0.2.10:80 --config {}", file.path().display());
    let (asked, _) = Daemon::answering(200, TRACE).ask(&words);
    assert_eq!(
        asked,
        r#"POST trace {"src":"1.2.3.4:1","dst":"192.0.2.10:80","proto":null,"syn":false,"down":null,"config":"[node]\n"}"#
    );
}

#[test]
fn a_refusal_is_one_line_with_the_exit_code_of_its_kind() {
    for (status, code) in [(400, 2), (404, 1), (409, 1), (500, 1), (503, 1)] {
        let (_, ran) = Daemon::refusing(status, "vip \"web\": no\nsuch  VIP").ask("vip show web");
        assert_eq!(ran.code, code, "HTTP {status}");
        assert_eq!(ran.stderr, "lbctl: vip \"web\": no such VIP\n");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_daemon_that_is_not_there_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    let ran = lbctl(&socket, "status");
    assert_eq!(ran.code, 3);
    assert_eq!(
        ran.stderr,
        format!(
            "lbctl: cannot reach lbd at {} (No such file or directory (os error 2)): \
             is lbd running? look at `systemctl status lbd`, or pass --socket\n",
            socket.display()
        )
    );
    drop(UnixListener::bind(&socket).unwrap());
    let ran = lbctl(&socket, "status");
    assert_eq!(ran.code, 3);
    assert!(
        ran.stderr.contains("(Connection refused (os error 111)): is lbd running?"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_daemon_that_goes_away_while_it_is_asked_is_unreachable() {
    for (answer, reason) in [
        ("", "(connection closed before message completed): is lbd running?"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "is lbd running?"),
        ("SSH-2.0-OpenSSH_10.0\r\n\r\n", "(invalid HTTP version parsed): is lbd running?"),
    ] {
        let (_, ran) = Daemon::saying(answer.to_owned()).ask("status");
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{answer}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{answer}: {}", ran.stderr);
    }
}

#[test]
fn an_answer_that_is_not_the_daemons_is_not_taken_for_one() {
    let page = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno";
    let moved = "HTTP/1.1 302 Found\r\nlocation: /v2\r\ncontent-length: 0\r\n\r\n";
    for (answer, reason) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "missing field `node`"),
        (page, "HTTP 404 Not Found without a problem document"),
        (moved, "HTTP 302 Found without a problem document"),
    ] {
        let (_, ran) = Daemon::saying(answer.to_owned()).ask("status");
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{answer}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{answer}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1);
    }
}

#[test]
fn wrong_words_are_a_usage_error_and_ask_nobody() {
    for (words, part) in [
        ("", "Usage: lbctl"),
        ("vip", "Usage: lbctl vip"),
        ("vip add web --address 192.0.2.10", "--port <PORT>"),
        ("vip add web --port tcp/80", "--address <IP>"),
        ("vip add web --address 192.0.2.10:80 --port tcp/80", "\"192.0.2.10:80\" has a port"),
        ("vip add web --address 192.0.2.10 --port 80", "\"80\" is not a port"),
        ("vip add web --address 192.0.2.10 --port tcp/0", "port 0 cannot be served"),
        ("vip add a/b --address 192.0.2.10 --port any", "\"a/b\" is not a name"),
        ("vip add web --address 192.0.2.10 --port any --real 10.0.0.11:8080", "has a port"),
        ("vip set web", "required arguments were not provided"),
        ("vip set web --hash both", "unknown hash mode \"both\"; one of: flow, source"),
        ("vip set web --announce bgp", "unknown announce mode \"bgp\""),
        ("vip set web --udp no", "unknown udp mode \"no\""),
        ("vip set web --on-deadline no", "unknown on_deadline \"no\"; one of: rehash, reset"),
        ("vip set web --min-up 0", "\"0\" is not a number of reals; write one from 1 on"),
        ("vip set web --panic-threshold 3", "\"3\" is not a share of the reals; write 1% to 100%"),
        ("vip enable", "<NAME>"),
        ("real force-up web", "<IP>"),
        ("vip set web --sorry nobody", "\"nobody\" is not an IP address"),
        ("real add web", "<IP>"),
        ("real add web 10.0.0.300", "\"10.0.0.300\" is not an IP address"),
        (
            "real add web 10.0.0.1 --weight 257",
            "\"257\" is not a weight; write a number from 0 to 256",
        ),
        ("real add web 10.0.0.1 --mac none", "\"none\" is not a MAC address"),
        ("real set web 10.0.0.1", "required arguments were not provided"),
        ("trace --src 1.2.3.4:1", "--dst <IP:PORT>"),
        ("trace --src 1.2.3.4 --dst 192.0.2.10:80", "\"1.2.3.4\" is not an address with a port"),
        ("trace --src 1.2.3.4:1 --dst 192.0.2.10:80 --proto icmp", "unknown protocol \"icmp\""),
        (
            "trace --src 1.2.3.4:1 --dst 192.0.2.10:80 --config /nonexistent",
            "\"/nonexistent\" cannot be read",
        ),
        ("status -o toml", "invalid value 'toml'"),
        ("top -o json", "has no --output: use `lbctl status`"),
        ("top a/b", "\"a/b\" is not a name"),
        ("top --interval 0s", "\"0s\" is not an interval; write one from 200ms to 1h"),
        ("top --interval 1", "\"1\" is not an interval"),
        ("real drain web", "<IP>"),
        ("flows a/b", "\"a/b\" is not a name"),
        ("flows --real web", "\"web\" is not an IP address"),
        ("flows --limit 0", "0 is not in 1..=100000"),
        ("events a/b", "\"a/b\" is not a name"),
        ("events --last 1001", "1001 is not in"),
        ("events --last -1", "unexpected argument '-1'"),
        ("plan", "--file <FILE>"),
        ("plan -f /nonexistent", "lbctl: --file \"/nonexistent\" cannot be read"),
        ("apply -f /nonexistent", "name a readable TOML file"),
        ("apply -f /dev/null --max-moved 5", "\"5\" is not a part of the whole; write 0% to 100%"),
        ("frobnicate", "unrecognized subcommand 'frobnicate'"),
    ] {
        let ran = lbctl(Path::new("/nonexistent/lbd.sock"), words);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{words}: {}", ran.stderr);
    }
}

#[test]
fn help_and_version_ask_nobody() {
    let ran = lbctl(Path::new("/nonexistent/lbd.sock"), "help vip add");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("  lbctl vip add"), "{}", ran.stdout);
    let ran = lbctl(Path::new("/nonexistent/lbd.sock"), "help nonsense");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("the topics are: config, drain"), "{}", ran.stderr);
    let ran = lbctl(Path::new("/nonexistent/lbd.sock"), "completions bash");
    assert!(ran.code == 0 && ran.stdout.contains("_lbctl"), "{}", ran.stderr);
    let ran = lbctl(Path::new("/nonexistent/lbd.sock"), "--version");
    assert_eq!((ran.code, ran.stdout), (0, format!("lbctl {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn global_options_may_stand_before_and_after_the_command() {
    let expected = "{\n  \"message\": \"VIP \\\"web\\\" did it\"\n}\n";
    for words in [
        "-o json vip del web",
        "vip -o json del web",
        "vip del web -o json",
        "vip del web --output=json",
    ] {
        assert_eq!(Daemon::answering(200, DONE).ask(words).1.stdout, expected, "{words}");
    }
    let daemon = Daemon::answering(200, DONE);
    let words = format!("lbctl vip del web --socket {}", daemon.socket().display());
    let mut stdout = Vec::new();
    let mut stderr = io::sink();
    let notes = Notes::new(&mut stderr, false);
    assert_eq!(run(words.split(' ').map(OsString::from), &mut stdout, notes), 0);
}

#[test]
fn json_is_the_daemons_answer_and_yaml_says_the_same() {
    let status: serde_json::Value = serde_json::from_str(STATUS).unwrap();
    let (asked, ran) = Daemon::answering(200, STATUS).ask("status -o json");
    assert_eq!(asked, "GET status");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap(), status);
    let (_, ran) = Daemon::answering(200, STATUS).ask("status -o yaml");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("daemon: running\n"), "{}", ran.stdout);
    let (_, ran) = Daemon::answering(200, DONE).ask("detach -o yaml");
    assert_eq!(ran.stdout, "message: VIP \"web\" did it\n");
}

#[test]
fn an_export_is_the_text_itself_and_in_json_a_field() {
    let toml = "[node]\ninterfaces = [\"eth0\"]\n";
    let (asked, ran) = Daemon::answering(200, toml).ask("export");
    assert_eq!((asked.as_str(), ran.stdout.as_str()), ("GET export", toml));
    let (_, ran) = Daemon::answering(200, toml).ask("export -o json");
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(value, serde_json::json!({ "toml": toml }));
}

/// A stream nobody reads any more.
struct Failing(ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_error_and_a_full_disk_is_one() {
    for (kind, code, line) in [
        (ErrorKind::BrokenPipe, 0, ""),
        (
            ErrorKind::StorageFull,
            1,
            "lbctl: cannot write the answer: no storage space; what was asked for is done\n",
        ),
    ] {
        let daemon = Daemon::answering(200, STATUS);
        let mut stderr = Vec::new();
        let notes = Notes::new(&mut stderr, false);
        let ran = run(arguments(&daemon.socket(), "status"), &mut Failing(kind), notes);
        assert_eq!((ran, String::from_utf8(stderr).unwrap().as_str()), (code, line));
    }
}

/// A node with a VIP that has lost a real and a VIP without a pool.
const STATUS: &str = r#"{
    "node": {"version": "0.1.0", "seed_id": "5f3a9c01", "daemon": "running", "interfaces": [
        {"name": "eth0", "xdp": "native", "state": "up", "mac": "02:00:00:00:00:01"},
        {"name": "eth1", "xdp": "generic", "state": "down", "mac": null}]},
    "vips": [
        {"name": "web", "address": "192.0.2.10", "ports": ["tcp/80", "tcp/443"], "state": "degraded",
         "reason": "1 of 2 reals is down", "announce": "arp", "hash": "flow", "announced": true,
         "idle_timeout": "15m", "drain_timeout": "1h", "on_deadline": "rehash", "udp_idle_timeout": "30s",
         "udp": "flow", "slow_start": "2m",
         "ring": 1021, "tracked_slots": 12, "packets": 1234567, "bytes": 987654321, "flows": 12345,
         "sorry": "10.0.0.99", "wanted": "enabled", "checks": ["http:80/healthz via vip every 2s"],
         "reals": [
            {"address": "10.0.0.11", "mac": "02:00:00:00:00:0b", "interface": "eth0", "state": "active",
             "health": "up", "reason": "http 200 in 0.8 ms", "since": "2026-01-01T00:00:00Z",
             "forced_up": false, "weight": 1, "share": 1.0, "packets": 1234000, "bytes": 987000000, "flows": 12000},
            {"address": "10.0.0.12", "mac": null, "interface": null, "state": "active",
             "health": "down", "reason": "neighbour unresolved", "since": "2026-01-01T00:59:48Z",
             "forced_up": false, "weight": 10, "share": 0.0, "packets": 567, "bytes": 654321, "flows": 345}]},
        {"name": "dns", "address": "2001:db8::53", "ports": ["udp/53"], "state": "down",
         "reason": "", "announce": "none", "hash": "source", "announced": false,
         "idle_timeout": "15m", "drain_timeout": "1h", "on_deadline": "reset", "udp_idle_timeout": "30s",
         "udp": "packet", "slow_start": null,
         "ring": 1021, "tracked_slots": 0, "packets": 0, "bytes": 0, "flows": 0,
         "sorry": null, "wanted": "enabled", "checks": [], "reals": []}],
    "outcomes": {"forwarded": 1234567, "truncated": 3, "not_vip": 0, "of_tomorrow": 5}
}"#;

pub fn fixed() -> (Status, Timestamp) {
    (serde_json::from_str(STATUS).unwrap(), "2026-01-01T01:00:00Z".parse().unwrap())
}

#[test]
fn the_status_fits_a_terminal_and_says_why() {
    let (status, now) = fixed();
    let expected = "\
lbd 0.1.0 running, seed 5f3a9c01
XDP on eth0 (native), eth1 (generic, down)

VIP web  192.0.2.10  tcp/80 tcp/443  degraded: 1 of 2 reals is down
  REAL       STATE   HEALTH  FOR  WEIGHT   SHARE  FLOWS  REASON
  10.0.0.11  active  up       1h       1  100.0%  12.0k  http 200 in 0.8 ms
  10.0.0.12  active  down    12s      10    0.0%    345  neighbour unresolved

VIP dns  2001:db8::53  udp/53  down
  no reals: add one with `lbctl real add`

OUTCOME       FRAMES  MEANING
forwarded    1234567  Steered to a real server.
truncated          3  The frame ends within a header.
of_tomorrow        5  -
";
    assert_eq!(status::text(&status, now), expected);
}

#[test]
fn a_node_without_vips_says_how_to_add_one() {
    let (mut status, now) = fixed();
    status.vips.clear();
    status.outcomes.clear();
    status.node.interfaces.clear();
    assert_eq!(
        status::text(&status, now),
        "lbd 0.1.0 running, seed 5f3a9c01\nXDP on no interface\n\nno VIPs: add one with `lbctl vip add`\n"
    );
}

#[test]
fn a_vip_is_shown_with_the_way_to_its_reals() {
    let (status, now) = fixed();
    let expected = "\
name      web
address   192.0.2.10
ports     tcp/80 tcp/443
state     degraded: 1 of 2 reals is down
announce  arp (announced)
hash      flow
timeouts  idle 15m, drain 1h (then rehash), udp idle 30s
udp       flow
checks    http:80/healthz via vip every 2s
starts    slowly, within 2m
sorry     10.0.0.99
ring      1021 slots, 12 with a previous owner
traffic   12.3k flows, 1.2M packets, 987M bytes

REAL       STATE   HEALTH  FOR  WEIGHT   SHARE  FLOWS  REASON
10.0.0.11  active  up       1h       1  100.0%  12.0k  http 200 in 0.8 ms
10.0.0.12  active  down    12s      10    0.0%    345  neighbour unresolved

REAL       MAC                INTERFACE  FLOWS  PACKETS  BYTES
10.0.0.11  02:00:00:00:00:0b  eth0       12.0k     1.2M   987M
10.0.0.12  -                  -            345      567   654k
";
    assert_eq!(vip::show(&status.vips[0], now), expected);
}

#[test]
fn vips_are_listed_with_the_reals_that_serve() {
    let (status, _) = fixed();
    let expected = "\
NAME  ADDRESS       PORTS           REALS  FLOWS  PACKETS  BYTES  STATE
web   192.0.2.10    tcp/80 tcp/443    1/2  12.3k     1.2M   987M  degraded: 1 of 2 reals is down
dns   2001:db8::53  udp/53            0/0      0        0      0  down";
    assert_eq!(vip::list(&status.vips), expected);
}

#[test]
fn the_reals_of_all_vips_are_listed_with_their_vip() {
    let (status, now) = fixed();
    let expected = "\
VIP  REAL       STATE   HEALTH  FOR  WEIGHT   SHARE  REASON
web  10.0.0.11  active  up       1h       1  100.0%  http 200 in 0.8 ms
web  10.0.0.12  active  down    12s      10    0.0%  neighbour unresolved";
    assert_eq!(real::everyone(&real::members(&status.vips), now), expected);

    let vips = serde_json::to_string(&status.vips).unwrap();
    let (asked, ran) = Daemon::answering(200, &vips).ask("real list -o json");
    assert_eq!(asked, "GET vips");
    let list: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (list[1]["vip"].as_str(), list[1]["address"].as_str()),
        (Some("web"), Some("10.0.0.12"))
    );
}

#[test]
fn the_reals_of_one_vip_are_listed_as_the_daemon_sent_them() {
    let (status, _) = fixed();
    let pool = serde_json::to_string(&status.vips[0].reals).unwrap();
    let (asked, ran) = Daemon::answering(200, &pool).ask("real list web -o json");
    assert_eq!(asked, "GET vips/web/reals");
    let list: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(list, serde_json::from_str::<serde_json::Value>(&pool).unwrap());
}

#[test]
fn a_daemon_of_another_version_is_warned_of_in_one_line() {
    let say = |version: &str, status: u16, body: &str| {
        let length = body.len();
        Daemon::saying(format!(
            "HTTP/1.1 {status} X\r\nlb-version: {version}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    };
    let warning = format!(
        "lbctl: warning: lbctl {VERSION} talks to lbd 99.1.2: install both of one version, \
         then restart lbd (`systemctl restart lbd`; forwarding goes on)\n"
    );
    let (_, ran) = say("99.1.2", 200, DONE).ask("vip del web -o json");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, warning.as_str()));
    assert!(ran.stdout.starts_with('{'), "{}", ran.stdout);

    let (_, ran) = say("99.1.2", 404, r#"{"type":"","title":"No","status":404,"detail":"no VIP"}"#)
        .ask("vip show web");
    assert_eq!((ran.code, ran.stderr), (1, format!("{warning}lbctl: no VIP\n")));

    let (_, ran) = say(VERSION, 200, DONE).ask("vip del web");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

/// A real as the daemon shows it, with these words in it.
fn real_13(state: &str, drain: &str) -> (u16, String) {
    let text = format!(
        r#"{{"address": "10.0.0.13", "mac": null, "interface": null, "state": "{state}", "health": "up",
        "reason": "", "since": "2026-01-01T00:00:00Z", "weight": 1, "share": 0.0, "packets": 0,
        "bytes": 0, "flows": 0 {drain}}}"#
    );
    (200, text)
}

fn draining(slots: u32, flows: u32) -> (u16, String) {
    let drain = format!(
        r#", "drain": {{"slots": {slots}, "flows": {flows}, "deadline": "2999-01-01T00:00:00Z",
        "seconds_left": 3500, "removes": false}}"#
    );
    real_13("drain", &drain)
}

#[test]
fn waiting_for_a_drain_shows_what_is_left_and_ends_when_nothing_is() {
    let answers = [(200, DONE.to_owned()), draining(120, 37), draining(3, 0), draining(0, 0)];
    let (asked, ran) =
        Daemon::answering_in_turn(&answers).ask("real drain web 10.0.0.13 --timeout 1h --wait");
    let patch = r#"PATCH vips/web/reals/10.0.0.13 {"state":"drain","timeout":"1h"}"#;
    let poll = "GET vips/web/reals/10.0.0.13";
    assert_eq!(asked, [patch, poll, poll, poll].join("\n"));
    assert_eq!(ran.stderr, "web 10.0.0.13: 120 slots, 37 flows, 58m left\n");
    let done = "real 10.0.0.13 of vip \"web\" is drained: no flow is left on it\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (0, done));
}

#[test]
fn a_real_that_is_gone_or_enabled_meanwhile_ends_the_waiting() {
    let wait = |last: (u16, String)| {
        let answers = [(200, DONE.to_owned()), draining(1, 1), last];
        Daemon::answering_in_turn(&answers).ask("real drain web 10.0.0.13 --wait").1
    };
    let gone = r#"{"type":"","title":"No","status":404,"detail":"no real"}"#.to_owned();
    let ran = wait((404, gone));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("is drained, and removed"), "{}", ran.stdout);

    let ran = wait(real_13("active", ""));
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("is active again: somebody enabled it"), "{}", ran.stderr);
}

#[test]
fn a_drain_that_is_refused_is_not_waited_for() {
    let (asked, ran) =
        Daemon::refusing(404, "no vip \"web\"").ask("real drain web 10.0.0.13 --wait");
    assert_eq!((asked.lines().count(), ran.code), (1, 1));
}

#[test]
fn reals_that_drain_or_start_slowly_say_how_far_they_are() {
    let (mut status, now) = fixed();
    let reals = &mut status.vips[0].reals;
    let drain = r#"{"slots": 120, "flows": 37, "deadline": "2026-01-01T02:00:00Z",
        "seconds_left": 3600, "removes": true}"#;
    reals[0].drain = Some(serde_json::from_str(drain).unwrap());
    reals[1].slow_start =
        Some(serde_json::from_str(r#"{"part": 0.4, "seconds_left": 12}"#).unwrap());
    let expected = "\
REAL       STATE   HEALTH  FOR  WEIGHT   SHARE  FLOWS  REASON
10.0.0.11  active  up       1h       1  100.0%  12.0k  http 200 in 0.8 ms; 120 slots, 37 flows, 1h left until it is removed
10.0.0.12  active  down    12s      10    0.0%    345  neighbour unresolved; starts slowly: 40.0% of its part, 12s left";
    assert_eq!(real::pool(reals, now), expected);
}

const FLOWS: &str = r#"{"flows": [
    {"vip": "web", "protocol": "tcp", "source": "198.51.100.7:40000", "destination": "192.0.2.10:80",
     "real": "10.0.0.13", "table": "pinned", "slot": 17, "age_seconds": 130, "idle_seconds": 4},
    {"vip": "dns", "protocol": "udp", "source": "[2001:db8:1::7]:5353", "destination": "[2001:db8::53]:53",
     "real": "2001:db8::b", "table": "datagram", "slot": 1020, "age_seconds": 0, "idle_seconds": 0}],
    "pinned": {"used": 1, "size": 262144}, "fresh": {"used": 0, "size": 131072},
    "datagrams": {"used": 5, "size": 131072}, "more": true}"#;

#[test]
fn flows_are_listed_with_their_real_and_it_is_said_when_there_are_more() {
    let (asked, ran) = Daemon::answering(200, FLOWS).ask("flows");
    assert_eq!((asked.as_str(), ran.code), ("GET flows?limit=1000", 0));
    let expected = "\
VIP  PROTO  SOURCE                DESTINATION        REAL         TABLE     SLOT  AGE  IDLE
web  tcp    198.51.100.7:40000    192.0.2.10:80      10.0.0.13    pinned      17   2m    4s
dns  udp    [2001:db8:1::7]:5353  [2001:db8::53]:53  2001:db8::b  datagram  1020   0s    0s

Tables: pinned 1 of 262144, fresh 0 of 131072, datagrams 5 of 131072
There are more than these 2: name a VIP or --real, or raise --limit.
";
    assert_eq!(ran.stdout, expected);
}

#[test]
fn flows_are_asked_for_by_vip_real_and_number() {
    let nothing = r#"{"flows": [], "pinned": {"used": 0, "size": 1024}, "fresh": {"used": 0, "size": 1024},
        "datagrams": {"used": 0, "size": 1024}, "more": false}"#;
    let words = "flows web --real 2001:db8::b --limit 7";
    let (asked, ran) = Daemon::answering(200, nothing).ask(words);
    assert_eq!(asked, "GET flows?vip=web&real=2001%3Adb8%3A%3Ab&limit=7");
    assert_eq!(
        ran.stdout,
        "no flow is noted\n\nTables: pinned 0 of 1024, fresh 0 of 1024, datagrams 0 of 1024\n"
    );
    let (asked, ran) = Daemon::answering(200, nothing).ask("flows -o json");
    assert_eq!(asked, "GET flows?limit=100000");
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(value, serde_json::from_str::<serde_json::Value>(nothing).unwrap());
}

const PLAN: &str = r#"{"node": ["listen none -> 127.0.0.1:9101"], "vips": [
    {"name": "web", "change": "changed", "moved": 0.25, "lost": 0.0001, "flows": 120,
     "details": ["idle_timeout 15m -> 5m", "udp flow -> packet"], "reals": [
        {"address": "10.0.0.11", "change": "changed", "details": [], "share_before": 1.0, "share_after": 0.75},
        {"address": "10.0.0.13", "change": "added", "details": ["weight 1"], "share_before": 0.0, "share_after": 0.25}]},
    {"name": "dns", "change": "removed", "moved": 1.0, "lost": 1.0, "flows": 0, "details": [], "reals": []}],
    "moved": 0.625, "lost": 0.50005, "flows": 120}"#;

const PLAN_TEXT: &str = "\
[node] listen none -> 127.0.0.1:9101, once lbd is restarted
VIP  CHANGE    MOVED    LOST  FLOWS  DETAILS
web  changed   25.0%   <0.1%    120  idle_timeout 15m -> 5m, udp flow -> packet
dns  removed  100.0%  100.0%      0  -

VIP  REAL       CHANGE   BEFORE  AFTER  DETAILS
web  10.0.0.11  changed  100.0%  75.0%  -
web  10.0.0.13  added      0.0%  25.0%  weight 1

In all 62.5% of the hash space moves, 50.0% loses its open flows; 120 noted flows move.
";

const NO_CHANGE: &str = r#"{"node": [], "vips": [], "moved": 0.0, "lost": 0.0, "flows": 0}"#;

/// A file with this text, and the words with its name in them.
fn with_file(text: &str, words: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let words = words.replace("FILE", file.path().to_str().unwrap());
    (file, words)
}

#[test]
fn a_plan_is_shown_vip_by_vip_and_changes_nothing() {
    let (_file, words) = with_file("[node]\n", "plan -f FILE");
    let (asked, ran) = Daemon::answering(200, PLAN).ask(&words);
    assert_eq!(asked, r#"POST plan {"config":"[node]\n"}"#);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, PLAN_TEXT));

    let (_, ran) = Daemon::answering(200, NO_CHANGE).ask(&words);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "no change\n"));

    let (_, ran) = Daemon::answering(200, PLAN).ask(&format!("{words} -o json"));
    let [shown, sent]: [serde_json::Value; 2] =
        [&ran.stdout, PLAN].map(|text| serde_json::from_str(text).unwrap());
    assert_eq!(shown, sent);
}

#[test]
fn an_applied_configuration_is_told_with_what_it_changed() {
    let done = format!(r#"{{"message": "the configuration was replaced", "plan": {PLAN}}}"#);
    let (_file, words) = with_file("[node]\n", "apply -f FILE --max-moved 5%");
    let (asked, ran) = Daemon::answering(200, &done).ask(&words);
    assert_eq!(asked, r#"POST apply {"config":"[node]\n","max_moved":0.05}"#);
    assert_eq!(ran.stdout, format!("{PLAN_TEXT}\nthe configuration was replaced\n"));

    let (_, ran) = Daemon::refusing(409, "62.5% of the hash space would move").ask(&words);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr, "lbctl: 62.5% of the hash space would move\n");
}

#[test]
fn a_bad_file_is_refused_with_its_name_and_every_place() {
    let problem = r#"{"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "bad",
        "places": [{"line": 2, "column": 14, "message": "interfaces is empty"},
                   {"line": 3, "column": 1, "message": "unknown key"}]}"#;
    for command in ["plan", "apply"] {
        let (file, words) = with_file("[node]\n", &format!("{command} -f FILE"));
        let (_, ran) = Daemon::answering(400, problem).ask(&words);
        let name = file.path().display();
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        let expected = format!("{name}:2:14: interfaces is empty\n{name}:3:1: unknown key\n");
        assert_eq!(ran.stderr, expected);
    }
}

const EVENTS: &str = r#"{"number":7,"time":"2026-11-21T13:52:03.000123Z","event":"health","vip":"web","real":"10.0.0.11","from":"up","to":"down","reason":"connection refused"}
{"missed":2}
{"number":10,"time":"2026-11-21T13:52:04Z","event":"announce","address":"2001:db8::10","interface":"eth0","announced":true}
"#;

#[test]
fn events_are_asked_for_as_the_words_say() {
    for (words, expected) in [
        ("events", "GET events?follow=false"),
        ("events web --last 20", "GET events?vip=web&last=20&follow=false"),
        ("events --follow", "GET events?last=10&follow=true"),
        ("events web -f -n 0", "GET events?vip=web&last=0&follow=true"),
    ] {
        let (asked, ran) = Daemon::answering(200, "").ask(words);
        assert_eq!(asked, expected);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn events_are_lines_and_documents_of_yaml() {
    let (_, ran) = Daemon::answering(200, EVENTS).ask("events");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            0,
            "2026-11-21T13:52:03.000Z  vip web real 10.0.0.11: down, was up: connection refused\n\
             2 events came too fast and are missing here\n\
             2026-11-21T13:52:04.000Z  2001:db8::10: announced on eth0\n"
        ),
        "{}",
        ran.stderr
    );
    let (_, ran) = Daemon::answering(200, EVENTS).ask("events -o json");
    assert_eq!(ran.stdout, EVENTS);
    let (_, ran) = Daemon::answering(200, EVENTS).ask("events -o yaml");
    let documents: Vec<&str> = ran.stdout.split("---\n").collect();
    assert_eq!((documents.len(), documents[0], documents[2]), (4, "", "missed: 2\n"));
    assert!(documents[1].starts_with("number: 7\n"), "{}", documents[1]);
}

#[test]
fn following_ends_with_the_daemon_and_says_so() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{EVENTS}\r\n", EVENTS.len());
    // Stopped in good order, and killed.
    for end in ["0\r\n\r\n", ""] {
        let (_, ran) = Daemon::saying(format!("{head}{chunk}{end}")).ask("events -f -o json");
        assert_eq!((ran.code, ran.stdout.as_str()), (3, EVENTS), "{}", ran.stderr);
        assert!(ran.stderr.contains("is gone, it has stopped or was killed"));
        assert_eq!(ran.stderr.lines().count(), 1);
    }
    // What was is told in full or is a failure.
    let (_, ran) = Daemon::saying(format!("{head}{chunk}")).ask("events");
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

#[test]
fn whoever_has_read_enough_events_ends_the_command_quietly() {
    let daemon = Daemon::answering(200, EVENTS);
    let (mut stdout, mut stderr) = (Failing(ErrorKind::BrokenPipe), Vec::new());
    let words = arguments(&daemon.socket(), "events --follow");
    assert_eq!(run(words, &mut stdout, Notes::new(&mut stderr, false)), 0);
    assert!(stderr.is_empty());
}

#[test]
fn an_examination_is_a_line_for_each_finding_and_its_exit_code_says_whether_all_is_well() {
    let finding = |code: &str, note: bool, vip: Option<&str>| {
        serde_json::json!({
            "code": code, "note": note, "vip": vip, "real": vip.map(|_| "10.0.0.12"),
            "interface": null, "message": "it is so", "fix": "do that",
        })
    };
    let answer = |findings: &[serde_json::Value]| {
        let answer = serde_json::json!({
            "findings": findings, "checked": 2, "vips": 1, "interfaces": 1,
        });
        Daemon::answering(200, &answer.to_string())
    };
    let (asked, ran) = answer(&[]).ask("doctor web");
    assert_eq!(asked, "GET doctor?vip=web");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "all is well: examined 1 VIP, 2 reals, 1 interface and this machine\n");

    let missing = finding("vip_missing", false, Some("web"));
    let (asked, ran) = answer(&[missing.clone(), finding("clock", true, None)]).ask("doctor");
    assert_eq!(asked, "GET doctor");
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["VIP", "PLACE", "FINDING"]);
    assert_eq!(lines[1], "web  10.0.0.12  vip_missing: it is so; fix: do that");
    assert_eq!(lines[2], "-    -          clock (a note): it is so; fix: do that");

    let (_, ran) = answer(&[finding("clock", true, None)]).ask("doctor");
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.starts_with("all is well: ") && ran.stdout.contains("clock (a note)"));

    let (_, ran) = answer(&[missing]).ask("doctor -o json");
    assert_eq!(ran.code, 1);
    let shown: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown["findings"][0]["code"], "vip_missing");
}

/// A file to import, which the command finds under its path.
fn original(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Runs an import, for which no daemon is asked.
fn import_of(kind: &str, file: &Path, options: &str) -> Ran {
    let words = format!("import {kind} {} {options}", file.display());
    lbctl(Path::new("/nonexistent/lbd.sock"), &words)
}

const KEEPALIVED: &str = "virtual_server 192.0.2.10 80 {
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 10.0.0.11 80 {
    }
}
";

#[test]
fn an_import_without_omissions_prints_a_whole_configuration() {
    let file = original(KEEPALIVED);
    let ran = import_of("keepalived", file.path(), "--interface bond0 --interface eth7");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "lbctl: imported 1 VIP with 1 real\n"));
    assert!(ran.stdout.contains("\ninterfaces = [\"bond0\", \"eth7\"]\n"), "{}", ran.stdout);
    assert!(lb_user::config::parse(&ran.stdout).is_ok(), "{}", ran.stdout);
}

#[test]
fn an_import_tells_of_omissions_twice_and_its_exit_code_is_one() {
    let file = original(&KEEPALIVED.replace("lb_algo rr", "lb_algo rr\n    ha_suspend"));
    let ran = import_of("keepalived", file.path(), "");
    let note = format!("{}:3: ha_suspend: not carried over: ", file.path().display());
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains(&format!("\n# {note}")), "{}", ran.stdout);
    let head =
        "lbctl: imported 1 VIP with 1 real; 1 thing could not be carried over, or not as it was:\n";
    assert!(ran.stderr.starts_with(&format!("{head}{note}")), "{}", ran.stderr);
    let ran = import_of("keepalived", file.path(), "-o json");
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, 1);
    assert_eq!(answer["omissions"][0]["line"], 3);
    assert_eq!(answer["omissions"][0]["words"], "ha_suspend");
    assert!(answer["toml"].as_str().unwrap().contains("[[vip]]"));
    assert!(answer["remarks"].is_array());
}

#[test]
fn what_cannot_be_imported_is_told_with_its_line_and_the_exit_code_is_two() {
    let file = original("\n  }\n");
    let ran = import_of("keepalived", file.path(), "");
    let expected = format!("{}:2:3: a }} without a {{ before it", file.path().display());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
    let ran = import_of("keepalived", Path::new("/nonexistent/k.conf"), "");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("\"/nonexistent/k.conf\" cannot be read"), "{}", ran.stderr);
    let ran = import_of("haproxy", file.path(), "");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("one of: keepalived, ipvsadm, alteon, vc5"), "{}", ran.stderr);
}

#[test]
fn an_import_reads_what_is_included_beside_the_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("d")).unwrap();
    std::fs::create_dir(directory.path().join("d/e.conf")).unwrap();
    for (name, last) in [("b.conf", 2), ("a.conf", 1), ("no.txt", 3)] {
        let text = KEEPALIVED.replace("2.10", &format!("2.{last}"));
        std::fs::write(directory.path().join("d").join(name), text).unwrap();
    }
    let file = directory.path().join("k.conf");
    std::fs::write(&file, b"# \xff latin 1\ninclude d/*.conf\ninclude none/*\n").unwrap();
    let ran = import_of("keepalived", &file, "");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let addresses: Vec<_> =
        ran.stdout.lines().filter(|line| line.starts_with("address = \"192")).collect();
    assert_eq!(addresses, ["address = \"192.0.2.1\"", "address = \"192.0.2.2\""]);
}

#[test]
fn every_format_and_every_system_is_printed_without_a_daemon() {
    use lb_user::backend::{Format, system::System};
    let print = |words: &str| {
        let words =
            format!("backend script --vip 192.0.2.10 --vip 2001:db8:2::10 --port tcp/80 {words}");
        lbctl(Path::new("/nonexistent/lbd.sock"), &words)
    };
    for format in Format::WORDS {
        let ran = print(&format!("--format {format}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{format}");
        let addresses = ran.stdout.contains("192.0.2.10") && ran.stdout.contains("2001:db8:2::10");
        assert!(addresses, "{format}: {}", ran.stdout);
    }
    for system in System::WORDS {
        let ran = print(&format!("--os {system}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{system}");
    }
    for vip in ["127.0.0.1", "::1", "224.0.0.1", "fe80::1", "0.0.0.0"] {
        let ran = print(&format!("--vip {vip}"));
        assert!(ran.code == 2 && ran.stderr.contains(&format!("{vip} is ")), "{}", ran.stderr);
    }
    let ran = print("--os windows --format netplan");
    let said = "lbctl: --format netplan: not for --os windows; leave one of them out\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (2, said));
}
