//! `lbctl check`: a plugin for Nagios, Icinga and whatever else runs such.

mod line;
mod range;
mod verdict;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io::Write,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use clap::{Args, CommandFactory as _};
use lb_user::api::types::Status;

use crate::{Arguments, Session, value};
use line::Report;
use range::Range;
use verdict::{Severity, Thresholds};

const EXAMPLES: &str = "\
Without thresholds a VIP that is degraded is a WARNING, and one that is down is CRITICAL. With
-w or -c, how many reals are up is compared with these instead, for each VIP by itself: only
reals that are active and have a weight count. A VIP that is down stays CRITICAL, one whose
address somebody else answers for stays a WARNING. One that is disabled is a WARNING, as is an
interface that is down or has lost XDP; without XDP on any it is CRITICAL.

Thresholds are ranges of what is well, in reals or in percent of them:
  2:      fewer than 2 alert         50%:    fewer than half alert
  10      more than 10 alert         ~:5     more than 5 alert
  1:5     outside of 1 to 5          @1:5    within 1 to 5

Exit codes, which are those of plugins, not those of other commands of lbctl:
  0  OK
  1  WARNING
  2  CRITICAL
  3  UNKNOWN: lbd cannot be reached, or not in time; no such VIP; wrong words here

That lbd cannot be reached is UNKNOWN, as it says nothing of the VIPs: what lbd has loaded
goes on forwarding when it is dead.

Performance data: for each VIP the reals that are up, with thresholds and the number of those
wanted as the maximum, and those that drain; of the node the frames forwarded and dropped, as
counters.

Examples:
  lbctl check
  lbctl check --vip web --vip dns -w 3: -c 2:
  lbctl check -w 80%: -c 50%: -t 5s";

/// The longest time that an answer is waited for in any case.
const LONGEST: Duration = Duration::from_secs(10);

/// One line and an exit code for Nagios, Icinga and their like
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    /// Only this VIP; may be given many times
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    vip: Vec<String>,
    /// Warn if the reals of a VIP that are up are outside of this
    #[arg(long, short, value_name = "RANGE", allow_hyphen_values = true)]
    warning: Option<Range>,
    /// Alarm if they are outside of this
    #[arg(long, short, value_name = "RANGE", allow_hyphen_values = true)]
    critical: Option<Range>,
    /// How long to wait for lbd, 10s at most: 5 and 5s are the same
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    timeout: Duration,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let time = seconds.or_else(|| humantime::parse_duration(text).ok());
    let time = time.filter(|time| !time.is_zero() && *time <= LONGEST);
    time.ok_or_else(|| format!("\"{text}\" is not a time up to 10s; write 5 or 5s"))
}

impl Check {
    /// Prints the line; gives the exit code.
    pub fn run(self, session: &mut Session<'_>) -> u8 {
        let report = if session.output.is_table() {
            self.report(session)
        } else {
            Report::unknown("check has one format, that of plugins: leave out --output".to_owned())
        };
        // Where even this cannot be written, nobody knows anything.
        let shown = session.output.show(&report.line(), Clone::clone);
        shown.map_or(Severity::Unknown, |()| report.severity()).code()
    }

    fn report(&self, session: &Session<'_>) -> Report {
        let (sender, answer) = mpsc::channel();
        let client = Arc::clone(&session.client);
        // A thread that is still waiting ends with the program.
        thread::spawn(move || {
            drop(sender.send(client.status().map_err(|error| error.to_string())))
        });
        match answer.recv_timeout(self.timeout) {
            Ok(Ok(status)) => self.judge(&status),
            Ok(Err(reason)) => Report::unknown(reason),
            Err(_) => Report::unknown(format!(
                "lbd did not answer within {}: look at `systemctl status lbd`",
                humantime::format_duration(self.timeout)
            )),
        }
    }

    fn judge(&self, status: &Status) -> Report {
        let thresholds = Thresholds { warning: self.warning, critical: self.critical };
        Report::of(status, &self.vip, thresholds)
    }
}

/// Whether these words, which are wrong, are meant for this command: whoever runs it reads plugins'
/// exit codes.
pub fn is_meant(words: &[OsString]) -> bool {
    let command = Arguments::command().ignore_errors(true);
    let matches = command.try_get_matches_from(words);
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("check"))
}

/// Says so where plugins are heard; gives the exit code.
pub fn refuse(usage: &clap::Error, stdout: &mut dyn Write) -> u8 {
    let text = usage.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    let report = Report::unknown(first.trim_start_matches("error: ").to_owned());
    // The exit code says it in any case.
    let _ = writeln!(stdout, "{}", report.line());
    report.severity().code()
}
