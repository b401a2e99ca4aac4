//! `lbctl events`.

use clap::Args;
use lb_user::{
    api::types::{EventLine, EventsQuery},
    event::journal::KEPT,
};

use crate::{Session, failure::Failure, value};

const EXAMPLES: &str = "\
lbd keeps the last 1000 events, also when it is restarted. Those of a VIP are what happened
to it, its address and its reals. Times are in UTC. With -o json each event is one line,
with -o yaml a document of its own; `number` counts all events, across restarts.

--follow goes on until lbd stops (exit code 3) or somebody interrupts it. A follower that is
too slow is told how many events it has missed ({\"missed\":N} in JSON).

Examples:
  lbctl events
  lbctl events web --last 20
  lbctl events --follow
  lbctl events -f -n 0 -o json | jq --unbuffered 'select(.event == \"health\" and .to == \"down\")'";

/// How many events a follower is shown first, as other programs do that follow something.
const BEFORE: u32 = 10;

/// What has happened: health, changes, announcements.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Events {
    /// Only what is about this VIP
    #[arg(value_parser = value::name)]
    vip: Option<String>,
    /// Only the newest N; 10 with --follow, else all
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(..=KEPT as i64))]
    last: Option<u32>,
    /// Go on with what happens from now on
    #[arg(long, short)]
    follow: bool,
}

impl Events {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { vip, last, follow } = self;
        let last = last.or(follow.then_some(BEFORE));
        for line in session.client.events(&EventsQuery { vip, last, follow })? {
            session.output.item(&line?, text)?;
        }
        Ok(())
    }
}

fn text(line: &EventLine) -> String {
    match line {
        EventLine::Event(event) => format!("{:.3}  {}", event.time, event.what),
        EventLine::Missed { missed } => {
            format!("{missed} events came too fast and are missing here")
        }
    }
}
