//! The task that listens to the kernel and pushes it.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{FutureExt, StreamExt};
use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Error, Event, Link,
    kernel::{self, Kernel, Subscription},
    links::Links,
    tracker::{Tracker, Wanted},
    wire::{self, Hold, Key},
};

/// Pushes in a row, and the pause after them: about 2500 a second, a few percent of a processor,
/// and no more questions than that on the wire.
const BATCH: usize = 64;
const PAUSE: Duration = Duration::from_millis(25);

/// Before what failed is tried again.
const BACKOFF: Duration = Duration::from_secs(1);

pub(super) struct Task {
    kernel: Kernel,
    wanted: watch::Receiver<Wanted>,
    events: mpsc::Sender<Event>,
    links: Links,
    tracker: Tracker,
    /// Not before this is there another batch of pushes.
    rested: Instant,
}

/// Nobody listens any more.
struct Closed;

enum Step {
    Message(Option<NetlinkMessage<RouteNetlinkMessage>>),
    Wanted,
    Push,
}

impl Task {
    pub(super) fn new(
        kernel: Kernel,
        wanted: watch::Receiver<Wanted>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (links, tracker) = (Links::default(), Tracker::default());
        Self { kernel, wanted, events, links, tracker, rested: Instant::now() }
    }

    /// Until nobody listens.
    pub(super) async fn run(mut self, subscription: Subscription) {
        let mut subscription = Some(subscription);
        loop {
            let current = match subscription.take().map_or_else(kernel::subscribe, Ok) {
                Ok(current) => current,
                Err(error) => {
                    log::warn!("cannot listen to the kernel: {error}");
                    sleep(BACKOFF).await;
                    continue;
                }
            };
            if let Err(Closed) = self.listen(current).await {
                return;
            }
            log::warn!("the kernel closed a netlink subscription, opening another");
            sleep(BACKOFF).await;
        }
    }

    async fn listen(&mut self, mut subscription: Subscription) -> Result<(), Closed> {
        self.resync().await?;
        loop {
            match self.step(&mut subscription).await? {
                Step::Message(None) => return Ok(()),
                Step::Message(Some(message)) => match message.payload {
                    NetlinkPayload::InnerMessage(message) => self.note(&message).await?,
                    NetlinkPayload::Overrun(_) => {
                        log::info!(
                            "messages from the kernel were lost, asking for everything again"
                        );
                        drain(&mut subscription);
                        self.resync().await?;
                    }
                    _ => {}
                },
                Step::Wanted => self.want().await?,
                Step::Push => self.push().await?,
            }
        }
    }

    async fn step(&mut self, subscription: &mut Subscription) -> Result<Step, Closed> {
        let due = self.tracker.next().map(|due| due.max(self.rested));
        let push = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What the kernel says comes first: a push must not rest on old news.
            biased;
            () = self.events.closed() => Err(Closed),
            message = subscription.next() => Ok(Step::Message(message.map(|(message, _)| message))),
            changed = self.wanted.changed() => changed.map(|()| Step::Wanted).map_err(|_| Closed),
            () = push => Ok(Step::Push),
        }
    }

    async fn note(&mut self, message: &RouteNetlinkMessage) -> Result<(), Closed> {
        use RouteNetlinkMessage::{
            DelAddress, DelLink, DelNeighbour, NewAddress, NewLink, NewNeighbour,
        };
        let links = &mut self.links;
        let event = match message {
            NewNeighbour(message) => wire::neighbour(message)
                .and_then(|(key, entry)| self.tracker.observe(key, Some(entry), Instant::now())),
            DelNeighbour(message) => wire::neighbour(message)
                .and_then(|(key, _)| self.tracker.observe(key, None, Instant::now())),
            NewLink(message) => {
                wire::link(message).and_then(|(index, link)| links.set(index, link))
            }
            DelLink(message) => wire::link(message).and_then(|(index, _)| links.remove(index)),
            NewAddress(message) => wire::local(message).and_then(|local| links.add_local(local)),
            DelAddress(message) => wire::local(message).and_then(|local| links.remove_local(local)),
            _ => None,
        };
        self.tell(event).await
    }

    async fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), Closed> {
        for event in events {
            if let Event::Link { index, link: Link { up: true, .. } } = &event {
                self.tracker.push_interface(*index, Instant::now());
            }
            self.events.send(event).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Asks the kernel for everything, until it answers.
    async fn resync(&mut self) -> Result<(), Closed> {
        loop {
            match self.all().await {
                Ok(events) => return self.tell(events).await,
                Err(error) => log::warn!("{error}"),
            }
            tokio::select! {
                () = self.events.closed() => return Err(Closed),
                () = sleep(BACKOFF) => {}
            }
        }
    }

    async fn all(&mut self) -> Result<Vec<Event>, Error> {
        let links = self.kernel.links().await?;
        let locals = self.kernel.locals::<BTreeSet<_>>().await?;
        let mut events = self.links.replace(links);
        events.extend(self.links.replace_locals(&locals));
        events.push(Event::Listed);
        events.extend(self.neighbours().await?);
        Ok(events)
    }

    /// How all tracked neighbours stand. Who is missing is looked up one by one: the kernel's list
    /// may skip some while its table grows.
    async fn neighbours(&mut self) -> Result<Vec<Event>, Error> {
        let entries = self.kernel.neighbours().await?;
        let now = Instant::now();
        let tracked = entries.into_iter().filter(|(key, _)| self.tracker.tracks(*key));
        let tracked: Vec<_> = tracked.collect();
        let seen: BTreeSet<_> = tracked.iter().map(|(key, _)| *key).collect();
        self.tracker.push_unseen(&seen, now);
        let observe = |(key, entry)| self.tracker.observe(key, Some(entry), now);
        Ok(tracked.into_iter().filter_map(observe).collect())
    }

    async fn want(&mut self) -> Result<(), Closed> {
        let wanted = self.wanted.borrow_and_update().clone();
        if !self.tracker.want(&wanted, Instant::now()) {
            return Ok(());
        }
        match self.neighbours().await {
            Ok(events) => self.tell(events).await,
            // All new ones are due, so each is looked up.
            Err(error) => {
                log::warn!("{error}");
                Ok(())
            }
        }
    }

    async fn push(&mut self) -> Result<(), Closed> {
        for key in self.tracker.take_due(Instant::now(), BATCH) {
            if !self.links.is_up(key.interface) {
                // Due again when the interface comes up.
                self.tracker.settle(key);
                continue;
            }
            match self.push_one(key).await {
                Ok(event) => self.tell(event).await?,
                Err(error) => {
                    log::debug!("{} on interface {}: {error}", key.address, key.interface)
                }
            }
        }
        self.rested = Instant::now() + PAUSE;
        Ok(())
    }

    /// Looks before it acts, as an operator's entry must stay as it is, whatever was missed.
    async fn push_one(&mut self, key: Key) -> Result<Option<Event>, Error> {
        let entry = self.kernel.neighbour(key).await?;
        let event = self.tracker.observe(key, entry, Instant::now());
        match entry.map(|entry| entry.hold) {
            Some(Hold::Foreign | Hold::Fresh) => {}
            Some(Hold::Stale) => {
                self.kernel.use_neighbour(key).await?;
                self.tracker.settle(key);
            }
            Some(Hold::Asking) => {
                self.kernel.delete_neighbour(key).await?;
                self.kernel.use_neighbour(key).await?;
            }
            Some(Hold::GivenUp) | None => self.kernel.use_neighbour(key).await?,
        }
        Ok(event)
    }
}

/// Takes all that is left of before an overrun. The kernel reports an overrun once, and goes on
/// dropping messages without a word until the socket is empty (`netlink_overrun`,
/// `netlink_rcv_wake`): a list asked for before that could miss a change for good.
fn drain(subscription: &mut Subscription) {
    // Without tokio's budget, at the end of which a full socket looks like an empty one.
    while tokio::task::unconstrained(subscription.next()).now_or_never().flatten().is_some() {}
}
