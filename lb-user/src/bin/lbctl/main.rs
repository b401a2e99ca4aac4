//! `lbctl`, the command that drives `lbd`. Each noun has a file with its arguments and what they do; this
//! one only routes.

mod node;
mod output;
mod real;
mod trace;
mod vip;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use lb_user::api::client::{Client, Error};

use crate::output::{Format, Output};

/// Drives lbd, the daemon of a Direct Server Return load balancer.
///
/// Exit codes: 0 done; 1 the daemon refused, or the thing asked about is not so; 2 usage or invalid input;
/// 3 the daemon cannot be reached.
#[derive(Parser)]
#[command(name = "lbctl", version, after_help = "Example:\n  \
    lbctl vip add web --address 192.0.2.10 --port tcp/80 --real 10.0.0.11 --real 10.0.0.12")]
struct Arguments {
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "PATH", env = "LBCTL_SOCKET", default_value = "/run/lb/lbd.sock")]
    socket: PathBuf,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add, list, show, change and remove VIPs.
    #[command(subcommand)]
    Vip(vip::Command),
    /// Add, list, change and remove real servers.
    #[command(subcommand)]
    Real(real::Command),
    /// Show the node, its VIPs and reals, and how packets ended.
    #[command(after_help = "Example:\n  lbctl -o json status")]
    Status,
    /// Ask which real a packet would get, and why. Counts nothing.
    Trace(trace::Arguments),
    /// Print the running configuration, as the file that would bring it about.
    #[command(after_help = "Example:\n  lbctl export > lb.toml && lbd --check --config lb.toml")]
    Export,
    /// Stop forwarding: detach XDP, remove pins and announced addresses, end lbd.
    #[command(after_help = "Example:\n  lbctl detach")]
    Detach,
}

/// Why the command did not do what it was asked to.
pub(crate) enum Failure {
    /// The input is wrong: exit code 2.
    Input(String),
    /// The daemon said no, or nothing.
    Daemon(Error),
    /// Standard output is gone or full.
    Output(io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Daemon(Error::Refused(problem)) if problem.status == 400 => 2,
            Self::Daemon(Error::Unreachable { .. }) => 3,
            Self::Daemon(Error::Refused(_) | Error::Garbled { .. }) | Self::Output(_) => 1,
        }
    }

    /// One line, whatever the parts say.
    fn line(&self) -> String {
        let text = match self {
            Self::Input(text) => text.clone(),
            Self::Daemon(error) => error.to_string(),
            Self::Output(error) => format!("writing the answer: {error}"),
        };
        text.lines().collect::<Vec<_>>().join("; ")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Daemon(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments, &mut io::stdout().lock()) {
        // Whoever read the output has seen enough of it.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lbctl: {}", failure.line());
            ExitCode::from(failure.code())
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn run(arguments: Arguments, stdout: &mut dyn Write) -> Result<(), Failure> {
    let output = &mut Output::new(arguments.output, stdout);
    let connect = || Client::new(&arguments.socket);
    match arguments.command {
        Command::Vip(command) => vip::run(command, connect, output),
        Command::Real(command) => real::run(command, connect, output),
        Command::Status => node::status(&connect()?, output),
        Command::Trace(arguments) => trace::run(arguments, connect, output),
        Command::Export => node::export(&connect()?, output),
        Command::Detach => output.done(&connect()?.detach()?),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::net::UnixListener, thread};

    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["lbctl"].iter().chain(words))
    }

    fn outcome(words: &[&str]) -> (u8, String) {
        let mut stdout = Vec::new();
        match run(parse(words).expect("arguments"), &mut stdout) {
            Ok(()) => (0, String::from_utf8(stdout).expect("text")),
            Err(failure) => (failure.code(), failure.line()),
        }
    }

    /// What lbctl makes of a daemon that answers this.
    fn against(status: &str, body: &str, words: &[&str]) -> (u8, String) {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("lbd.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                // The connection that only tries whether somebody listens sends nothing.
                if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                    stream.write_all(answer.as_bytes()).expect("an answer");
                }
            }
        });
        let socket = socket.to_string_lossy().into_owned();
        outcome(&[&["--socket", &socket], words].concat())
    }

    #[test]
    fn the_exit_code_says_who_is_at_fault() {
        let del = ["vip", "del", "web"];
        let problem = |status: u16, detail: &str| {
            serde_json::json!({"type": "about:blank", "title": "", "status": status, "detail": detail})
                .to_string()
        };
        let done = against("200 OK", r#"{"message":"gone"}"#, &del);
        assert_eq!(done, (0, "gone\n".to_owned()));
        let missing = against("404 Not Found", &problem(404, "no VIP"), &del);
        assert_eq!(missing, (1, "no VIP".to_owned()));
        let invalid = against("400 Bad Request", &problem(400, "wrong\ntwice"), &del);
        assert_eq!(invalid, (2, "wrong; twice".to_owned()));
        assert_eq!(against("200 OK", "hi", &["status"]).0, 1);
        let (code, line) = outcome(&["--socket", "/nonexistent/lbd.sock", "status"]);
        assert_eq!(code, 3);
        assert!(line.contains("/nonexistent/lbd.sock") && line.contains("is lbd running"), "{line}");
    }

    #[test]
    fn wrong_input_is_refused_before_anybody_is_asked() {
        for words in [
            &["vip", "add", "web", "--address", "192.0.2.256", "--port", "tcp/80"][..],
            &["vip", "add", "web", "--address", "192.0.2.10", "--port", "http"],
            &["vip", "add", "web", "--address", "192.0.2.10", "--port", "tcp/80", "--real", "10.0.0.11,weight=257"],
            &["vip", "add", "web", "--address", "192.0.2.10", "--port", "tcp/80", "--real", "10.0.0.11,port=8080"],
            &["vip", "add", "web", "--address", "192.0.2.10", "--port", "tcp/80", "--real", "10.0.0.11,mac=ff:ff:ff:ff:ff:ff"],
            &["vip", "add", "web", "--address", "192.0.2.10"],
            &["vip", "set", "web", "--hash", "flows"],
            &["real", "set", "web", "10.0.0.11", "--weight", "-1"],
            &["real", "set", "web", "10.0.0.11"],
            &["trace", "--src", "198.51.100.7", "--dst", "192.0.2.10:80"],
            &["status", "-o", "xml"],
        ] {
            let error = parse(words).err().unwrap_or_else(|| panic!("{words:?} was taken"));
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        for words in [["-o", "json", "status"], ["status", "-o", "json"]] {
            assert_eq!(parse(&words).expect("arguments").output, Format::Json);
        }
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            let nouns = command.get_subcommands().filter(|command| command.get_name() != "help");
            let nouns: Vec<_> = nouns.collect();
            nouns.iter().for_each(|command| check(command));
            if nouns.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("lbctl"), "{} has no example", command.get_name());
            }
        }
        check(&<Arguments as clap::CommandFactory>::command());
    }
}
