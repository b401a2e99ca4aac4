//! The script on a real server: one `ssh` of the system, which takes it along on its input.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anstream::adapter::strip_str;
use clap::Args;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
};

use super::host::Host;

/// The code by which `ssh` says that it has failed itself.
const SSH_FAILED: i32 = 255;
/// A line that is longer comes in pieces.
const LINE_MAX: u64 = 4096;
/// More lines of a host are told, but not kept.
const LINES_MAX: usize = 10_000;

/// What becomes of the script over there. It must mean the same to every login shell, csh and fish
/// among them: one word in quotation marks, without line breaks, `!` and quotation marks in it.
///
/// - The script is run only if all of it has arrived.
/// - What has begun comes to its end, with its rollback, if the connection breaks: hangups are
///   ignored, and somebody reads the output who does not mind that nobody hears it.
const REMOTE: &str = "umask 077; d=$(mktemp -d /tmp/lb-backend.XXXXXXXX) || exit 2; \
    trap \"rm -rf $d\" 0; trap \"exit 1\" 2 15; trap \"\" 1; cd $d || exit 2; \
    cat >lb-backend.sh; size=$1; shift; test $(wc -c <lb-backend.sh) -eq $size || \
    { echo \"lb-backend: the script did not arrive whole: try again\" >&2; exit 2; }; \
    { SUDO sh lb-backend.sh \"$@\" </dev/null 2>&1; echo $? >code; } | \
    { trap \"\" 13; while IFS= read -r line; do printf \"%s\\n\" \"$line\"; done 2>/dev/null; }; \
    code=$(cat code) || code=1; exit ${code:-1}";

/// How hosts are reached.
#[derive(Clone, Debug, Args)]
pub struct Ssh {
    /// Who to be on hosts that are given without a user
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<String>,
    /// Run the script by `sudo -n`
    #[arg(long)]
    sudo: bool,
    /// An option for ssh, as in StrictHostKeyChecking=accept-new; may be repeated
    #[arg(long = "ssh-option", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<String>,
    /// How many hosts at once
    #[arg(long, value_name = "N", default_value = "8",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// How long one host may take
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// What is run: another program in tests.
    #[arg(skip = PathBuf::from("ssh"))]
    program: PathBuf,
}

fn user(text: &str) -> Result<String, String> {
    format!("{text}@host").parse::<Host>().ok().and_then(|host| host.user).ok_or_else(|| {
        format!("\"{text}\" is no user that ssh could take; write a name, as in root")
    })
}

fn option(text: &str) -> Result<String, String> {
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric());
    let found = text.split_once(['=', ' ']).filter(|(key, value)| is_key(key) && !value.is_empty());
    found.map(|_| text.to_owned()).ok_or_else(|| {
        format!(
            "\"{text}\" is no option of ssh; write KEY=VALUE, as in ConnectTimeout=3 (man ssh_config)"
        )
    })
}

/// A script for a host.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where it is run.
    pub host: Host,
    /// The script.
    pub script: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// How a job came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The script's exit code.
    Exited(i32),
    /// The host was never reached.
    Unreachable,
    /// The connection broke after the script had said something.
    Lost,
    /// It took too long.
    TimedOut,
    /// The operator has ended it.
    Interrupted,
    /// It was not even begun.
    NotBegun,
}

/// What a job left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub ending: Ending,
    /// The lines of the script.
    pub said: Vec<String>,
    /// The lines of `ssh` itself, and of the shell over there.
    pub complaints: Vec<String>,
}

impl Ran {
    /// A job of which nothing was heard.
    pub fn silent(ending: Ending) -> Self {
        Self { ending, said: Vec::new(), complaints: Vec::new() }
    }
}

impl Ssh {
    /// Runs a job to its end; every line is told as it comes.
    pub async fn run(&self, job: Job, tell: impl Fn(String)) -> Ran {
        let child = match self.command(&job).spawn() {
            Ok(child) => child,
            Err(error) => {
                let line = format!("cannot start ssh ({error}): install OpenSSH's client");
                tell(line.clone());
                return Ran { complaints: vec![line], ..Ran::silent(Ending::Unreachable) };
            }
        };
        let limited = tokio::time::timeout(self.timeout, attend(child, job.script, tell));
        limited.await.unwrap_or_else(|_| Ran::silent(Ending::TimedOut))
    }

    /// What is run there, for people.
    pub fn shown(&self, job: &Job) -> String {
        let sudo = if self.sudo { "sudo -n " } else { "" };
        format!("{sudo}sh lb-backend.sh {}", job.arguments.join(" "))
    }

    /// Of an option that is given twice `ssh` takes the first, so the operator's stand first.
    fn command(&self, Job { host, script, arguments }: &Job) -> Command {
        let mut command = Command::new(&self.program);
        let ours = ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5"];
        for option in self.options.iter().map(String::as_str).chain(ours) {
            command.args(["-o", option]);
        }
        // Forwarded ports are no business of ours, and may be taken. A connection that is there is
        // used, but none stays that would hold on to our pipes.
        command.args(["-T", "-o", "ClearAllForwardings=yes", "-o", "ControlPersist=no"]);
        if let Some(user) = host.user.as_ref().or(self.user.as_ref()) {
            command.args(["-l", user]);
        }
        if let Some(port) = host.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["--", &host.name, &remote(self.sudo, script.len(), arguments)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // An interrupt from the terminal is for us: we know which hosts had begun.
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// The command for the login shell over there.
fn remote(sudo: bool, length: usize, arguments: &[String]) -> String {
    let program = REMOTE.replace("SUDO ", if sudo { "sudo -n " } else { "" });
    let words = arguments.iter().map(|argument| format!(" {}", quoted(argument)));
    format!("sh -c '{program}' lb-backend {length}{}", words.collect::<String>())
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:=/@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Gives `ssh` the script, and takes what it says, until it ends.
async fn attend(mut child: Child, script: String, tell: impl Fn(String)) -> Ran {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // It takes nothing if it does not get there, and says so itself.
            let _ = stdin.write_all(script.as_bytes()).await;
        }
    };
    let ((), said, complaints, status) =
        tokio::join!(give, lines(stdout, &tell), lines(stderr, &tell), child.wait());
    let code = status.ok().and_then(|status| status.code()).unwrap_or(SSH_FAILED);
    let ending = match code {
        SSH_FAILED if said.is_empty() => Ending::Unreachable,
        SSH_FAILED => Ending::Lost,
        code => Ending::Exited(code),
    };
    Ran { ending, said, complaints }
}

/// All lines, harmless, in pieces if they are long.
async fn lines(stream: Option<impl AsyncRead + Unpin>, tell: impl Fn(String)) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(stream) = stream else {
        return lines;
    };
    let mut stream = BufReader::new(stream);
    loop {
        let mut bytes = Vec::new();
        match (&mut stream).take(LINE_MAX).read_until(b'\n', &mut bytes).await {
            Ok(0) | Err(_) => return lines,
            Ok(_) => {
                let line = harmless(&String::from_utf8_lossy(&bytes));
                if lines.len() < LINES_MAX {
                    lines.push(line.clone());
                }
                tell(line);
            }
        }
    }
}

/// The text without colours, and with other control characters as words: nobody over there may
/// move our cursor, or write in another's line.
fn harmless(text: &str) -> String {
    let text = strip_str(text.trim_end_matches(['\r', '\n'])).to_string();
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.push_str("    "),
            // The latter turn the direction of writing.
            control if control.is_control() || is_turn(control) => {
                shown.extend(control.escape_default());
            }
            plain => shown.push(plain),
        }
    }
    shown
}

fn is_turn(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
#[path = "ssh/tests.rs"]
mod tests;
