//! The kernel's view of the network around this machine: who answers at which MAC address, the
//! interfaces and the addresses on them. Subscribed over netlink, never polled.
//!
//! The kernel resolves, not the daemon; the daemon only sees to it that the kernel keeps doing so
//! for the addresses it is told to [`Watcher::track`].

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::model::{Mac, Tag};

mod kernel;
mod links;
#[cfg(test)]
pub(crate) mod netns;
mod offload;
mod tracker;
mod watch_task;
mod wire;

use kernel::Kernel;
pub use kernel::Route;
pub use offload::hides_tags;
use tracker::Wanted;

/// Something that the kernel told, and that differs from what it told before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// How a tracked address stands; told once as soon as it is known, then at every change.
    Neighbour {
        /// Where it is tracked.
        interface: u32,
        /// Which address.
        address: IpAddr,
        /// Whether it has a MAC address.
        state: Resolution,
    },
    /// An interface is there or has changed.
    Link {
        /// Its index.
        index: u32,
        /// What it is now.
        link: Link,
    },
    /// An interface is gone.
    LinkGone {
        /// The index that it had.
        index: u32,
        /// The name that it had.
        name: String,
    },
    /// An address of this machine came to an interface or went from it.
    LocalAddress {
        /// Which interface.
        interface: u32,
        /// Which address.
        address: IpAddr,
        /// Whether it is there.
        present: bool,
    },
    /// All interfaces and addresses that there are have been told.
    Listed,
}

/// An interface's properties that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its MAC address if it is an Ethernet.
    pub mac: Option<Mac>,
    /// Whether it is up and has a carrier.
    pub up: bool,
    /// Of which interface it is a VLAN, if it is one.
    pub vlan: Option<Vlan>,
}

/// What makes an interface a VLAN of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The other's index; 0 if it is in another network namespace.
    pub parent: u32,
    /// The tag of its frames there.
    pub tag: Tag,
}

/// Whether an address has a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It has; it was confirmed, or is about to be.
    Resolved(Mac),
    /// Nobody answered. Stays until somebody does, however often the question is put again.
    Failed,
    /// Nothing is known yet, or no longer.
    Pending,
}

/// What can go wrong between the daemon and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket to the kernel.
    #[error("no netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused a request.
    #[error("{request}: {source}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The answer was not one, or none came.
    #[error("{request}: {reason}")]
    Garbled {
        /// What was asked.
        request: &'static str,
        /// What came instead.
        reason: String,
    },
    /// No machine can be reached under this address.
    #[error("no route to {address}: {reason}")]
    NoRoute {
        /// Which address.
        address: IpAddr,
        /// Why not.
        reason: String,
    },
}

/// A watch on the network namespace that the caller was in. Ends when it is dropped.
#[derive(Debug)]
pub struct Watcher {
    wanted: watch::Sender<Wanted>,
    kernel: Kernel,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Subscribes, and tells of everything that is there, then of every change, by `events`.
    /// If these are not taken in time none are lost for good: the kernel is asked for all again.
    ///
    /// # Errors
    /// If there is no netlink socket to be had.
    pub fn start(events: mpsc::Sender<Event>) -> Result<Self, Error> {
        let subscription = kernel::subscribe()?;
        let kernel = Kernel::connect()?;
        let (wanted, changes) = watch::channel(Wanted::new());
        let task = watch_task::Task::new(kernel.clone(), changes, events);
        let task = tokio::spawn(task.run(subscription));
        Ok(Self { wanted, kernel, task })
    }

    /// Keeps exactly these addresses resolved, by interface, in place of those before.
    pub fn track(&self, addresses: BTreeMap<u32, BTreeSet<IpAddr>>) {
        self.wanted.send_if_modified(|wanted: &mut Wanted| {
            let differs = *wanted != addresses;
            *wanted = addresses;
            differs
        });
    }

    /// How this machine reaches an address.
    ///
    /// # Errors
    /// If it does not, or cannot say.
    pub async fn route(&self, address: IpAddr) -> Result<Route, Error> {
        self.kernel.route(address).await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
