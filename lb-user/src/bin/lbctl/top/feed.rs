//! All that the view waits for, each in a thread of its own: keys, signals, the daemon's answers,
//! events, and what came of a deed.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use lb_user::api::{
    client::{Client, Error},
    types::{EventLine, EventsQuery, Status},
};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{deed::Deed, model::EVENTS};

/// From one attempt to hear events to the next.
const RETRY: Duration = Duration::from_secs(1);

/// What has come.
pub enum News {
    /// A key.
    Key(KeyEvent),
    /// The terminal has another size.
    Redraw,
    /// This program was stopped and goes on: somebody else has had the terminal.
    Resumed,
    /// Somebody wants this program to end.
    Signal(i32),
    /// The terminal says nothing any more.
    Silent(io::Error),
    /// What the daemon answered at this moment, or why it did not.
    Answer(Instant, Box<Result<Status, String>>),
    /// Its events come from the beginning.
    EventsAnew,
    /// They are not for us, for this reason.
    NoEvents(String),
    /// One of them.
    Event(EventLine),
    /// What came of a deed.
    Done(Result<String, String>),
}

/// Where the news come from.
pub struct Feed {
    client: Arc<Client>,
    sender: Sender<News>,
    news: Receiver<News>,
    refresh: Sender<()>,
}

impl Feed {
    /// Starts to ask the daemon, to hear its events, and to hear keys and signals.
    pub fn start(client: &Arc<Client>, interval: Duration) -> io::Result<Self> {
        let (sender, news) = mpsc::channel();
        let (refresh, wake) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCONT])?;
        spawn(&sender, move |sender| keys(&sender));
        spawn(&sender, move |sender| {
            for signal in signals.forever() {
                let goes_on = signal == SIGCONT;
                let news = if goes_on { News::Resumed } else { News::Signal(signal) };
                if sender.send(news).is_err() {
                    return;
                }
            }
        });
        let asked = Arc::clone(client);
        spawn(&sender, move |sender| ask(&asked, interval, &wake, &sender));
        let heard = Arc::clone(client);
        spawn(&sender, move |sender| hear(&heard, &sender));
        Ok(Self { client: Arc::clone(client), sender, news, refresh })
    }

    /// The next news, or nothing after this time.
    pub fn next(&self, patience: Duration) -> Option<News> {
        self.news.recv_timeout(patience).ok()
    }

    /// What else has come already.
    pub fn rest(&self) -> impl Iterator<Item = News> {
        self.news.try_iter()
    }

    /// Asks the daemon at once.
    pub fn refresh(&self) {
        // Where nobody asks any more, the program is about to end.
        let _ = self.refresh.send(());
    }

    /// Has this done, without waiting for it.
    pub fn run(&self, deed: Deed) {
        let (client, refresh) = (Arc::clone(&self.client), self.refresh.clone());
        spawn(&self.sender, move |sender| {
            let done = deed.run(&client).map(|done| done.message);
            let _ = sender.send(News::Done(done.map_err(|error| error.to_string())));
            let _ = refresh.send(());
        });
    }
}

fn spawn(sender: &Sender<News>, work: impl FnOnce(Sender<News>) + Send + 'static) {
    let sender = sender.clone();
    thread::spawn(move || work(sender));
}

/// Each thread ends when nobody wants its news.
fn keys(sender: &Sender<News>) {
    loop {
        let news = match event::read() {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Release => continue,
            Ok(Event::Key(key)) => News::Key(key),
            Ok(Event::Resize(..)) => News::Redraw,
            Ok(_) => continue,
            Err(error) => {
                let _ = sender.send(News::Silent(error));
                return;
            }
        };
        if sender.send(news).is_err() {
            return;
        }
    }
}

fn ask(client: &Client, interval: Duration, wake: &Receiver<()>, sender: &Sender<News>) {
    let mut due = Instant::now() + interval;
    loop {
        let pause = due.saturating_duration_since(Instant::now());
        match wake.recv_timeout(pause) {
            Err(RecvTimeoutError::Disconnected) => return,
            // However often somebody wanted it.
            Ok(()) => wake.try_iter().for_each(drop),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let asked = Instant::now();
        let answer = client.status().map_err(|error| silence(&error));
        due = next(asked, Instant::now(), interval);
        if sender.send(News::Answer(Instant::now(), Box::new(answer))).is_err() {
            return;
        }
    }
}

/// When to ask again: who takes longer than the interval to answer has as long a rest.
fn next(asked: Instant, answered: Instant, interval: Duration) -> Instant {
    (asked + interval).max(answered + answered.saturating_duration_since(asked))
}

fn silence(error: &Error) -> String {
    match error {
        Error::Problem(_) => format!("lbd refuses, trying again: {error}"),
        _ => format!("lbd cannot be reached, trying again: {error}"),
    }
}

/// The newest events and those that come; from the beginning again when the daemon was away.
fn hear(client: &Client, sender: &Sender<News>) {
    let query = EventsQuery { vip: None, last: Some(EVENTS as u32), follow: true };
    loop {
        match client.events(&query) {
            Ok(events) => {
                let mut news = vec![News::EventsAnew].into_iter();
                for event in events.map_while(Result::ok).map(News::Event) {
                    if news.next().into_iter().chain([event]).any(|news| sender.send(news).is_err())
                    {
                        return;
                    }
                }
            }
            // What is refused now will be refused again.
            Err(error @ Error::Problem(_)) if is_refusal(&error) => {
                let _ = sender.send(News::NoEvents(error.to_string()));
                return;
            }
            Err(_) => {}
        }
        thread::sleep(RETRY);
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Problem(problem) if (400..500).contains(&problem.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_answers_slowly_is_not_asked_all_the_time() {
        let asked = Instant::now();
        let second = Duration::from_secs(1);
        for (millis, due) in [(0, 1000), (400, 1000), (500, 1000), (900, 1800), (3000, 6000)] {
            let answered = asked + Duration::from_millis(millis);
            assert_eq!(next(asked, answered, second) - asked, Duration::from_millis(due));
        }
    }
}
