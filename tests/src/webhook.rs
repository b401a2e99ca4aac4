//! An HTTP server that takes what is posted to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::Value;

use crate::{
    background::{self, Background},
    netns::Netns,
};

/// A server at `/hook`, stopped on drop.
#[derive(Debug)]
pub struct Webhook {
    shared: Arc<Shared>,
    _serves: Background,
}

#[derive(Debug, Default)]
struct Shared {
    refuse: AtomicUsize,
    got: Mutex<Vec<Value>>,
}

impl Webhook {
    /// Starts at this place, and answers so many posts with 503 before it takes the first.
    pub fn start(netns: &Netns, place: SocketAddr, refuse: usize) -> Result<Self> {
        let shared = Arc::new(Shared { refuse: refuse.into(), ..Shared::default() });
        let listeners = background::listen(netns, &[place])?;
        let theirs = Arc::clone(&shared);
        let serves = Background::start(|| {
            for listener in listeners {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let router =
                    Router::new().route("/hook", post(take)).with_state(Arc::clone(&theirs));
                tokio::spawn(async move { axum::serve(listener, router).await });
            }
            Ok(())
        })?;
        Ok(Self { shared, _serves: serves })
    }

    /// What it took so far.
    #[must_use]
    pub fn got(&self) -> Vec<Value> {
        self.shared.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(shared): State<Arc<Shared>>, Json(event): Json<Value>) -> StatusCode {
    let one_less = |left: usize| left.checked_sub(1);
    if shared.refuse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    shared.got.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    StatusCode::NO_CONTENT
}
