//! Load: many flows from the client to the VIPs, each of which notices if it breaks.
//!
//! A connection sends a small numbered message from time to time and expects exactly that back. A
//! flow of datagrams does the same, repeats what was lost, and expects all answers from one real. A query
//! is a datagram from a new port.

mod book;
mod serve;
mod tcp;
mod udp;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime,
    sync::{
        Notify, Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};

use self::book::{Book, Id};
pub use self::{
    book::{Broken, How, Kind},
    serve::Servers,
};
use crate::{netns::Netns, wait};

/// Where the connections go.
const TCP_PORT: u16 = 80;
/// Where the datagrams go.
const QUERY_PORT: u16 = 53;
/// How many connections are being opened at a time: as many at once as real clients would not be.
const OPENING: usize = 64;

/// How much of what.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Connections that last, over all VIPs.
    pub connections: usize,
    /// Connections that are closed after a few messages and opened anew.
    pub short: usize,
    /// Flows of datagrams.
    pub datagrams: usize,
    /// Queries a second; none for zero.
    pub queries: u32,
    /// How long a flow pauses between messages.
    pub period: Duration,
    /// How long it waits for an answer, retransmissions included, until it counts as broken.
    pub patience: Duration,
}

impl LoadOptions {
    /// So many connections that last, and a tenth of all else.
    #[must_use]
    pub const fn connections(connections: usize) -> Self {
        let tenth = connections / 10;
        Self {
            connections,
            short: tenth,
            datagrams: tenth,
            queries: 50,
            period: Duration::from_millis(500),
            patience: Duration::from_secs(15),
        }
    }

    fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Tcp => self.connections,
            Kind::Short => self.short,
            Kind::Udp => self.datagrams,
            Kind::Query => 0,
        }
    }
}

/// The kinds of which there is a number.
const LASTING: [Kind; 3] = [Kind::Tcp, Kind::Short, Kind::Udp];

/// The flows, ended on drop.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// A flow to be begun.
#[derive(Debug)]
struct Order {
    kind: Kind,
    id: Id,
    leave: Arc<Notify>,
}

#[derive(Debug)]
struct Shared {
    options: LoadOptions,
    vips: Vec<IpAddr>,
    /// Grows with every call of [`Load::exercise`].
    epoch: AtomicU64,
    book: Mutex<Book>,
    opening: Semaphore,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic in the middle of a line of accounting leaves nothing half done.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Where the flow with this number goes: to each VIP in turn.
    fn place(&self, id: Id, port: u16) -> SocketAddr {
        SocketAddr::new(self.vips[id as usize % self.vips.len()], port)
    }

    /// The pause of a flow before its next message: the period, a quarter more or less, so that
    /// flows opened together do not speak together for long.
    fn pause(&self, id: Id, message: u64) -> Duration {
        let scattered = (id << 20 ^ message).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        self.options.period.mul_f64(0.75 + scattered as f64 / 2048.0)
    }
}

impl Load {
    /// Opens all flows, and waits until each has been answered.
    pub fn start(client: &Netns, vips: &[IpAddr], options: LoadOptions) -> Result<Self> {
        allow_many_sockets()?;
        let shared = Arc::new(Shared {
            options,
            vips: vips.to_owned(),
            epoch: AtomicU64::new(0),
            book: Mutex::default(),
            opening: Semaphore::new(OPENING),
        });
        let (orders, queue) = unbounded_channel();
        let (client, theirs) = (client.clone(), Arc::clone(&shared));
        let thread = thread::spawn(move || client.run(|| run(theirs, queue)));
        let load = Self { shared, orders: Some(orders), thread: Some(thread) };
        load.replenish()?;
        Ok(load)
    }

    /// Waits until every flow that is open now has been answered to something sent after now, or
    /// is broken. Nothing else proves that a change did not break a flow.
    pub fn exercise(&self) -> Result<()> {
        let epoch = self.shared.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let next = self.shared.book().next();
        let LoadOptions { period, patience, .. } = self.shared.options;
        // What was under way, a pause, and then what is to be seen.
        let patience = 3 * patience + 2 * period;
        wait::until("an answer to every flow", patience, || {
            Ok((self.shared.book().behind(next, epoch) == 0).then_some(()))
        })
    }

    /// Opens as many flows as have ended, and waits until they are answered.
    pub fn replenish(&self) -> Result<()> {
        for kind in LASTING {
            let missing = self.shared.options.of(kind).saturating_sub(self.count(kind));
            self.order(kind, missing)?;
        }
        self.exercise()
    }

    /// Closes so many of the oldest connections that last, opens as many new ones, and waits until
    /// these are answered: they are from now.
    pub fn renew(&self, connections: usize) -> Result<()> {
        self.replace(Kind::Tcp, connections, &BTreeSet::new())
    }

    /// Closes all that these reals have, as their clients would in time, and opens as much anew.
    pub fn leave(&self, reals: &BTreeSet<&str>) -> Result<()> {
        LASTING.into_iter().try_for_each(|kind| self.replace(kind, usize::MAX, reals))
    }

    fn replace(&self, kind: Kind, most: usize, reals: &BTreeSet<&str>) -> Result<()> {
        let left = self.shared.book().leave(kind, most, reals);
        // One that closes may be one that opens another by itself.
        self.order(kind, if kind == Kind::Short { 0 } else { left })?;
        self.exercise()
    }

    /// How many flows of a kind are open.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.shared.book().count(kind)
    }

    /// How many lasting connections a real has.
    #[must_use]
    pub fn connections_on(&self, real: &str) -> usize {
        self.shared.book().count_on(Kind::Tcp, real)
    }

    /// How many flows of datagrams a real has.
    #[must_use]
    pub fn datagrams_on(&self, real: &str) -> usize {
        self.shared.book().count_on(Kind::Udp, real)
    }

    /// How many queries each real has answered so far.
    #[must_use]
    pub fn queries(&self) -> BTreeMap<Arc<str>, u64> {
        self.shared.book().queries()
    }

    /// How many messages have been answered so far.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.shared.book().answers()
    }

    /// What broke since this was asked last.
    #[must_use]
    pub fn take_broken(&self) -> Vec<Broken> {
        self.shared.book().take_broken()
    }

    fn order(&self, kind: Kind, count: usize) -> Result<()> {
        let orders = self.orders.as_ref().context("the load has ended")?;
        for _ in 0..count {
            // In the book at once: who waits for all flows waits for those that are ordered, too.
            let (id, leave) = self.shared.book().open(kind);
            orders.send(Order { kind, id, leave }).ok().context("the load's thread is gone")?;
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the load: {error:#}");
        }
    }
}

/// Opens what is ordered until nobody orders any more. What is open then is left to the kernel.
fn run(shared: Arc<Shared>, mut orders: UnboundedReceiver<Order>) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if shared.options.queries > 0 {
            tokio::spawn(udp::stream(Arc::clone(&shared)));
        }
        while let Some(order) = orders.recv().await {
            let shared = Arc::clone(&shared);
            match order.kind {
                Kind::Udp => drop(tokio::spawn(udp::flow(shared, order))),
                _ => drop(tokio::spawn(tcp::connections(shared, order))),
            }
        }
    });
    Ok(())
}

/// As many files as the system lets this process have: every flow is a socket, every connection two.
fn allow_many_sockets() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot open many sockets")
}
