//! `lbctl`: asks the daemon and shows its answers. A file per noun holds the arguments and what
//! becomes of them; this one only routes.

mod backend;
mod capture;
mod check;
mod completions;
mod detach;
mod doctor;
mod drain;
mod events;
mod export;
mod failure;
mod flows;
mod help;
mod import;
mod log;
mod output;
mod plan;
mod real;
mod status;
mod top;
mod trace;
mod value;
mod vip;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use lb_user::api::{
    VERSION,
    client::{self, Client},
};

use completions::PackageFiles;
use failure::Failure;
use output::{Format, Notes, Output};

const EXAMPLES: &str = "\
Exit codes:
  0  done
  1  the daemon refused, or the thing asked about is not so
  2  usage or invalid input
  3  the daemon cannot be reached
Those of `lbctl check` are a monitoring plugin's: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.

Examples:
  lbctl vip add web --address 192.0.2.10 --port tcp/80 --real 10.0.0.11 --real 10.0.0.12
  lbctl status
  lbctl top
  lbctl events web --follow
  lbctl real drain web 10.0.0.12 --wait
  lbctl plan -f new.toml
  lbctl trace --src 198.51.100.7:40000 --dst 192.0.2.10:80 -o json";

/// Above the options that every command has.
const GLOBAL: &str = "Global options";

/// Controls the load balancer daemon lbd.
#[derive(Debug, Parser)]
#[command(name = "lbctl", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Arguments {
    /// The daemon's control socket
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_name = "PATH",
        env = "LBCTL_SOCKET",
        default_value = client::SOCKET
    )]
    socket: PathBuf,

    /// How to show the answer: for people, or as the daemon sent it
    #[arg(
        long,
        short,
        global = true,
        help_heading = GLOBAL,
        value_name = "table|json|yaml",
        hide_possible_values = true,
        default_value = "table"
    )]
    output: Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Virtual addresses with their ports and pools
    #[command(subcommand, after_help = "Example:\n  lbctl vip show web")]
    Vip(vip::Vip),
    /// The real servers in a VIP's pool
    #[command(subcommand, after_help = "Example:\n  lbctl real list web")]
    Real(real::Real),
    /// The node, its VIPs and reals, health with the reason, counters
    #[command(after_help = status::EXAMPLES)]
    Status,
    /// How it goes, as it goes: VIPs, reals, rates, events
    Top(top::Top),
    /// One line and an exit code for Nagios, Icinga and their like
    Check(check::Check),
    /// What has happened: health, changes, announcements
    Events(events::Events),
    /// The flows noted now
    Flows(flows::Flows),
    /// Which real a packet would get, and why
    Trace(trace::Trace),
    /// Packets as the datapath saw and sent them, which tcpdump never sees
    Capture(capture::Capture),
    /// Examines VIPs, reals and this machine, and says what is wrong
    Doctor(doctor::Doctor),
    /// What a configuration would change
    Plan(plan::Plan),
    /// Replaces the configuration, and shows what changed
    Apply(plan::Apply),
    /// Prints the running configuration
    #[command(after_help = export::EXAMPLES)]
    Export,
    /// Real servers set up and looked at
    #[command(
        subcommand,
        after_help = "Example:\n  lbctl backend check --all --all-reals --user root"
    )]
    Backend(backend::Backend),
    /// Prints the configuration of another balancer in our words
    Import(import::Import),
    /// What lbd logs, shown and changed while it runs
    Log(log::Log),
    /// Stops forwarding: detaches XDP, removes pins, announced addresses and what checks made
    #[command(after_help = detach::EXAMPLES)]
    Detach,
    /// Explains a command or a topic: config, drain, dsr, exit-codes, health, troubleshooting
    Help(help::Help),
    /// Prints what makes a shell complete these commands
    Completions(completions::Completions),
}

/// What a command works with.
struct Session<'a> {
    client: Arc<Client>,
    output: Output<'a>,
    notes: Notes<'a>,
    /// The link that the daemon leaves to its configuration.
    left: PathBuf,
}

fn main() -> ExitCode {
    let terminal = io::stderr().is_terminal();
    let mut stderr = io::stderr();
    let notes = Notes::new(&mut stderr, terminal);
    ExitCode::from(run(std::env::args_os(), &mut io::stdout(), notes))
}

/// Does what the arguments say; gives the exit code.
fn run<'a>(
    arguments: impl IntoIterator<Item = OsString>,
    stdout: &'a mut dyn Write,
    mut notes: Notes<'a>,
) -> u8 {
    let words: Vec<OsString> = arguments.into_iter().collect();
    if words.get(1).is_some_and(|word| word == PackageFiles::WORD) {
        return package_files(&words[1..], &mut notes);
    }
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => match Client::new(&arguments.socket) {
            Ok(client) => {
                let output = Output::new(arguments.output, stdout);
                let left = client::config_link(&arguments.socket);
                execute(arguments.command, Session { client: client.into(), output, notes, left })
            }
            Err(error) => Failure::from(error).report(&mut notes),
        },
        Err(usage) if usage.use_stderr() => {
            render(&usage, notes.stream());
            if check::is_meant(&words) { check::refuse(&usage, stdout) } else { failure::INVALID }
        }
        Err(help) => {
            render(&help, stdout);
            0
        }
    }
}

/// For whoever makes a package.
fn package_files(words: &[OsString], notes: &mut Notes<'_>) -> u8 {
    match PackageFiles::try_parse_from(words) {
        Ok(files) => files.run().map_or_else(|failure| failure.report(notes), |()| 0),
        Err(usage) => {
            render(&usage, notes.stream());
            failure::INVALID
        }
    }
}

fn execute(command: Command, mut session: Session<'_>) -> u8 {
    let result = match command {
        Command::Vip(command) => command.run(&mut session),
        Command::Real(command) => command.run(&mut session),
        Command::Status => status::run(&mut session),
        Command::Top(command) => command.run(&mut session),
        Command::Check(command) => return command.run(&mut session),
        Command::Events(command) => command.run(&mut session),
        Command::Flows(command) => command.run(&mut session),
        Command::Trace(command) => command.run(&mut session),
        Command::Capture(command) => command.run(&mut session),
        Command::Doctor(command) => command.run(&mut session),
        Command::Plan(command) => command.run(&mut session),
        Command::Apply(command) => command.run(&mut session),
        Command::Export => export::run(&mut session),
        Command::Backend(command) => command.run(&mut session),
        Command::Import(command) => command.run(&mut session),
        Command::Log(command) => command.run(&mut session),
        Command::Detach => detach::run(&mut session),
        Command::Help(command) => command.run(&mut session),
        Command::Completions(command) => command.run(&mut session),
    };
    warn_of_other_version(&mut session);
    result.map_or_else(|failure| failure.report(&mut session.notes), |()| 0)
}

/// What two versions say to each other may be understood in part only.
fn warn_of_other_version(session: &mut Session<'_>) {
    if let Some(other) = session.client.daemon_version().filter(|other| *other != VERSION) {
        session.notes.line(&format!(
            "lbctl: warning: lbctl {VERSION} talks to lbd {other}: install both of one version, \
             then restart lbd (`systemctl restart lbd`; forwarding goes on)"
        ));
    }
}

/// Where even this cannot be written, the exit code has to say it.
fn render(answer: &clap::Error, stream: &mut dyn Write) {
    let _ = write!(stream, "{}", answer.render()).and_then(|()| stream.flush());
}
