//! `lbctl top`: how it goes, as it goes.

mod cursor;
mod deed;
mod feed;
mod keys;
mod look;
mod meter;
mod model;
mod terminal;
mod view;

#[cfg(test)]
mod tests;

use std::{
    env,
    io::{self, IsTerminal as _},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use jiff::Timestamp;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::{Session, failure::Failure, value};
use feed::{Feed, News};
use keys::Effect;
use look::Look;
use model::Model;
use terminal::Screen;
use view::View;

const EXAMPLES: &str = "\
Shows VIPs, reals, rates, what is discarded and what has happened, on a terminal of 60x15 or
more. It begins with the list of VIPs: Enter opens one, and then `d` drains the selected real
and `e` enables it, each after a question that says what will happen. `?` shows all keys.

PACKETS/S, BITS/S and FLOWS/S (new TCP connections) are from what lbd has counted between its
last two answers: of what goes to the reals, not of their answers, which do not come back
through the balancer. A `-` is not known: something has just come, its counters have begun
anew, or lbd is silent.

When lbd goes away (forwarding goes on), that is shown, and asked again until it is back.
With NO_COLOR set there are no colours. For scripts there are `lbctl status -o json` and
`lbctl events --follow -o json`; for monitoring there is `lbctl check`.

Examples:
  lbctl top
  lbctl top web --interval 5s
  ssh -t lb1 lbctl top";

/// However long nothing comes, the clock goes on.
const TICK: Duration = Duration::from_secs(1);

/// How it goes, as it goes: VIPs, reals, rates, events
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Top {
    /// Open this VIP at once
    #[arg(value_parser = value::name)]
    vip: Option<String>,
    /// From one look at the daemon to the next, 200ms to 1h
    #[arg(long, short, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(200)..=Duration::from_secs(3600);
    let time = humantime::parse_duration(text).ok().filter(|time| bounds.contains(time));
    time.ok_or_else(|| {
        format!("\"{text}\" is not an interval; write one from 200ms to 1h, as in 2s")
    })
}

impl Top {
    pub fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let instead = "`lbctl status`, or `lbctl status -o json` for a program";
        if !session.output.is_table() {
            return Err(Failure::Usage(format!(
                "top is for people and has no --output: use {instead}"
            )));
        }
        if !io::stdout().is_terminal() || env::var("TERM").is_ok_and(|term| term == "dumb") {
            return Err(Failure::Usage(format!(
                "top needs a terminal that it can draw on as its standard output: use {instead}"
            )));
        }
        if let Some(vip) = &self.vip {
            // For what the daemon has to say if there is none.
            session.client.vip(vip)?;
        }
        let status = session.client.status()?;
        let model = Model::new(self.interval, status, Instant::now(), self.vip);
        let ended = watch(model, Arc::clone(&session.client));
        match ended.map_err(Failure::Terminal)? {
            None => Ok(()),
            // The terminal is given back: now as if the signal had never been caught, for the shell.
            Some(signal) => Ok(signal_hook::low_level::emulate_default_handler(signal)
                .map_err(Failure::Terminal)?),
        }
    }
}

/// Until somebody wants it to end; gives the signal that said so, if one did.
fn watch(mut model: Model, client: Arc<crate::Client>) -> io::Result<Option<i32>> {
    let look = Look::of_environment();
    // Before the terminal is taken, so that no signal finds it taken and nobody to give it back.
    let feed = Feed::start(&client, model.interval)?;
    let mut screen = Screen::take()?;
    loop {
        let view = View { model: &model, look, now: Instant::now(), clock: Timestamp::now() };
        screen.terminal().draw(|frame| view.draw(frame))?;
        let Some(first) = feed.next(TICK) else { continue };
        for news in std::iter::once(first).chain(feed.rest()) {
            match news {
                News::Key(key) => match model.press(key) {
                    Effect::None => {}
                    Effect::Quit => return Ok(None),
                    Effect::Suspend => screen.lend(|| {
                        // As the terminal does it, for all of the job. It returns when a shell goes on with it, and
                        // at once where no shell could: the kernel stops no orphaned process group.
                        let _ = signal::kill(Pid::from_raw(0), Signal::SIGTSTP);
                    })?,
                    Effect::Refresh => {
                        screen.repaint()?;
                        feed.refresh();
                    }
                    Effect::Do(deed) => feed.run(deed),
                },
                News::Redraw => {}
                News::Resumed => screen.retake()?,
                News::Signal(signal) => return Ok(Some(signal)),
                News::Silent(error) => return Err(error),
                News::Answer(at, answer) => model.hear(at, *answer),
                News::EventsAnew => model.hear_events_anew(),
                News::NoEvents(reason) => model.no_events = Some(reason),
                News::Event(event) => model.hear_event(event),
                News::Done(done) => model.note = Some(done.unwrap_or_else(|refusal| refusal)),
            }
        }
    }
}
