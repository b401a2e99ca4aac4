//! What is called with every event: a program, a URL, or both. Each gets the events as JSON, one
//! after the other in their order, so that the last word it hears is the last word.
//!
//! A hook may hang or fail as it likes: nobody waits for it. What it is too slow for is left out,
//! the oldest first.

mod program;
mod webhook;

#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    task::JoinHandle,
    time::{sleep, timeout},
};

use self::{program::Program, webhook::Webhook};
use super::{Event, Journal};
use crate::{model, probe::exec::Runner};

/// How long a hook may take for one event.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before an event that has failed is tried again; then it is given up.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// The running hooks. Dropped, they end with what they are at; see [`Hooks::finish`].
#[derive(Debug)]
pub struct Hooks {
    config: watch::Sender<model::Hooks>,
    tasks: Vec<JoinHandle<()>>,
}

impl Hooks {
    /// Calls these hooks with what is recorded from now on. Programs need a runner.
    #[must_use]
    pub fn start(hooks: &model::Hooks, runner: Option<Runner>, journal: &Journal) -> Self {
        let (config, _) = watch::channel(hooks.clone());
        let program = Line::new(Program { runner }, &config, journal.subscribe());
        let webhook = Line::new(Webhook::new(PATIENCE), &config, journal.subscribe());
        Self { tasks: vec![tokio::spawn(program.run()), tokio::spawn(webhook.run())], config }
    }

    /// Calls these hooks from now on, also with the events that still wait: whoever corrects a URL
    /// misses nothing.
    pub fn set(&self, hooks: &model::Hooks) {
        self.config.send_if_modified(|before| {
            let changed = before != hooks;
            if changed {
                before.clone_from(hooks);
            }
            changed
        });
    }

    /// Ends the hooks once what waits was tried, or when this time is over.
    pub async fn finish(self, bound: Duration) {
        let Self { config, tasks } = self;
        drop(config);
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        if timeout(bound, join_all(tasks)).await.is_err() {
            log::warn!("hooks were not called with the last events: they are too slow");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

/// A way to call a hook.
trait Way {
    /// Whom it would call, for people; nobody if it is not configured.
    fn name(&self, hooks: &model::Hooks) -> Option<String>;

    /// Calls it with an event, once, for [`PATIENCE`] at most.
    fn call(
        &mut self,
        hooks: &model::Hooks,
        event: &str,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// The events that wait for one hook, and how it does.
struct Line<W> {
    way: W,
    config: watch::Receiver<model::Hooks>,
    events: broadcast::Receiver<Arc<Event>>,
    /// How many events it has not got since it went well last.
    lost: u64,
}

impl<W: Way> Line<W> {
    fn new(
        way: W,
        config: &watch::Sender<model::Hooks>,
        events: broadcast::Receiver<Arc<Event>>,
    ) -> Self {
        Self { way, config: config.subscribe(), events, lost: 0 }
    }

    async fn run(mut self) {
        while let Some(event) = self.next().await {
            let text = serde_json::to_string(&*event).unwrap_or_default();
            self.deliver(event.number, &text).await;
        }
    }

    /// The next event; none once it is over.
    async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            let received = tokio::select! {
                biased;
                received = self.events.recv() => received,
                () = over(&mut self.config) => return None,
            };
            match received {
                Ok(event) => return Some(event),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(missed)) => self.lose(missed, "it is too slow"),
            }
        }
    }

    /// Calls the hook with an event until it has got it, or it is given up.
    async fn deliver(&mut self, number: u64, text: &str) {
        let mut pauses = PAUSES.iter();
        loop {
            let hooks = self.config.borrow_and_update().clone();
            if self.way.name(&hooks).is_none() {
                return;
            }
            let Err(error) = self.way.call(&hooks, text).await else {
                return self.recover(&hooks);
            };
            log::debug!("event {number}: {error}");
            match pauses.next() {
                Some(pause) if self.wait(*pause).await => {}
                _ => return self.lose(1, &error),
            }
        }
    }

    /// Waits before the next try; says whether there is to be one.
    async fn wait(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = over(&mut self.config) => false,
            () = sleep(pause) => true,
        }
    }

    /// Says that events are lost, once.
    fn lose(&mut self, count: u64, why: &str) {
        if let Some(name) = self.way.name(&self.config.borrow())
            && self.lost == 0
        {
            log::warn!("{name} does not get all events: {why}; `lbctl events` shows them");
        }
        self.lost += count;
    }

    fn recover(&mut self, hooks: &model::Hooks) {
        let lost = std::mem::take(&mut self.lost);
        if let Some(name) = self.way.name(hooks)
            && lost > 0
        {
            log::info!("{name} gets events again; {lost} were lost");
        }
    }
}

/// Comes when nobody can change the hooks any more.
async fn over(config: &mut watch::Receiver<model::Hooks>) {
    while config.changed().await.is_ok() {}
}
