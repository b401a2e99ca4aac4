use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

use super::*;
use crate::event::{Happening, journal::WAITING};

/// Long enough for whatever a test waits for.
const LONG: Duration = Duration::from_secs(3600);

fn journal() -> (TempDir, Journal) {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path());
    (directory, journal)
}

fn record(journal: &mut Journal) -> u64 {
    let what = Happening::Config { vip: None, change: "changed".into() };
    journal.record(Timestamp::UNIX_EPOCH, what).number
}

fn posting(url: &str) -> model::Hooks {
    model::Hooks { webhook: Some(url.to_owned()), ..model::Hooks::default() }
}

/// A hook that fails so many times, and tells when it was called and with which event.
struct Stub {
    failures: Arc<AtomicUsize>,
    calls: mpsc::UnboundedSender<(Instant, u64)>,
    /// Where it hangs.
    gate: Arc<tokio::sync::Semaphore>,
    patience: Arc<Mutex<Vec<String>>>,
}

impl Way for Stub {
    fn name(&self, hooks: &model::Hooks) -> Option<String> {
        hooks.webhook.clone()
    }

    async fn call(&mut self, hooks: &model::Hooks, event: &str) -> Result<(), String> {
        let event: Event = serde_json::from_str(event).unwrap();
        self.calls.send((Instant::now(), event.number)).unwrap();
        self.patience.lock().unwrap().extend(hooks.webhook.clone());
        drop(self.gate.acquire().await.unwrap());
        let fails = |left: usize| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails) {
            Ok(_) => Err("it fails".into()),
            Err(_) => Ok(()),
        }
    }
}
