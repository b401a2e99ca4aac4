//! The ledger's file. It is written as a whole, and never by something older than what stands there.

use std::{
    fs, io, mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::Pages;
use crate::config::store;

/// Where the ledger is written to, by whom it is asked for first.
#[derive(Clone, Debug)]
pub(super) struct File(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// The number of the newest that stands there; held by whoever writes.
    written: Mutex<u64>,
    /// The last attempt has failed.
    failed: AtomicBool,
    aside: Mutex<Aside>,
}

/// What is written while the daemon goes on.
#[derive(Debug, Default)]
struct Aside {
    /// Somebody does.
    busy: bool,
    /// What follows: what has become old meanwhile is passed over.
    next: Option<Numbered>,
}

/// Pages, and how manieth to be written they are.
#[derive(Debug)]
pub(super) struct Numbered(pub(super) u64, pub(super) Pages);

impl File {
    pub(super) fn new(path: PathBuf) -> Self {
        let (written, failed, aside) = (Mutex::default(), AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Shared { path, written, failed, aside }))
    }

    /// Whether the last attempt to write it has failed, since this was asked last.
    pub(super) fn take_failed(&self) -> bool {
        self.0.failed.swap(false, Ordering::Relaxed)
    }

    /// Writes, and waits for that.
    pub(super) fn write(&self, pages: &Numbered) -> io::Result<()> {
        let done = self.0.write(pages);
        self.0.failed.store(done.is_err(), Ordering::Relaxed);
        done
    }

    /// Writes, without waiting for anything. To be called within a tokio runtime.
    pub(super) fn write_aside(&self, pages: Numbered) {
        let mut aside = lock(&self.0.aside);
        aside.next = Some(pages);
        if !mem::replace(&mut aside.busy, true) {
            let file = self.clone();
            tokio::task::spawn_blocking(move || file.write_all());
        }
    }

    /// Writes what waits, until nothing does.
    fn write_all(&self) {
        while let Some(next) = self.0.next() {
            if let Err(error) = self.write(&next) {
                log::error!("writing {}: {error}", self.0.path.display());
            }
        }
    }
}

impl Shared {
    fn next(&self) -> Option<Numbered> {
        let mut aside = lock(&self.aside);
        let next = aside.next.take();
        aside.busy = next.is_some();
        next
    }

    /// Writes, unless something newer stands there.
    fn write(&self, Numbered(number, pages): &Numbered) -> io::Result<()> {
        let mut written = lock(&self.written);
        if *written > *number {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(pages).map_err(io::Error::from)?;
        if !self.path.exists() {
            fs::write(&self.path, "{}")?;
        }
        store::replace(&self.path, &text).map_err(io::Error::other)?;
        *written = *number;
        Ok(())
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
