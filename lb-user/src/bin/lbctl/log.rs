//! `lbctl log`.

use clap::Args;
use lb_user::api::types::{LogChange, LogStatus};

use crate::{Session, failure::Failure};

const EXAMPLES: &str = "\
Without a filter it shows what lbd logs. A filter is a level (off, error, warn, info, debug, trace)
or TARGET=LEVEL, several joined by commas; it counts until lbd ends, or for a time, after which
what was logged before is logged again. What the datapath itself logs is decided when lbd starts
(RUST_LOG=debug in its environment).

Examples:
  lbctl log
  lbctl log debug 60s
  lbctl log info,lb_user::health=debug 10m
  lbctl log info";

/// Shows or changes what lbd logs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Log {
    /// What to log
    filter: Option<String>,
    /// For how long, as in 60s; until lbd ends when absent
    #[arg(requires = "filter")]
    time: Option<String>,
}

impl Log {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { filter, time } = self;
        let status = match filter {
            Some(filter) => session.client.set_log(&LogChange { filter, time })?,
            None => session.client.log()?,
        };
        Ok(session.output.show(&status, text)?)
    }
}

fn text(status: &LogStatus) -> String {
    match (&status.until, &status.then) {
        (Some(until), Some(then)) => {
            format!("lbd logs {} until {until:.0}, then {then}", status.filter)
        }
        _ => format!("lbd logs {}", status.filter),
    }
}
