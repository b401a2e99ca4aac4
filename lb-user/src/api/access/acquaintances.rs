//! What users are called, and how often one was refused lately: names may be another machine's to say, and whoever
//! asks again and again fills no log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::unistd::{Uid, User};
use tokio::{
    sync::OnceCell,
    task::spawn_blocking,
    time::{Instant, sleep},
};

/// For how long somebody is remembered.
const PERIOD: Duration = Duration::from_secs(60);

/// How many refusals of one user are told within that; the rest is counted.
pub(super) const TOLD: u64 = 10;

/// How many users are told apart.
const USERS: usize = 1024;

/// Users, by their numbers; those beyond [`USERS`] are one together.
#[derive(Clone, Debug, Default)]
pub(super) struct Acquaintances(Arc<Mutex<HashMap<Option<u32>, Acquaintance>>>);

#[derive(Debug)]
struct Acquaintance {
    since: Instant,
    name: Arc<OnceCell<String>>,
    refused: u64,
}

impl Acquaintances {
    /// The user's name, or `#1000`.
    pub(super) async fn name(&self, uid: u32) -> String {
        let name = self.with(uid, |key, user| key.map(|_| Arc::clone(&user.name)));
        match name {
            Some(name) => name.get_or_init(|| lookup(uid)).await.clone(),
            None => number(uid),
        }
    }

    /// Notes that this user is refused once more; says whether that is to be told. What is left out is counted,
    /// and that is told in the end.
    pub(super) fn refused(&self, uid: u32, tell: impl FnOnce(u64) + Send + 'static) -> bool {
        let (key, refused) = self.with(uid, |key, user| {
            user.refused += 1;
            (key, user.refused)
        });
        if refused == TOLD + 1 {
            let users = self.clone();
            tokio::spawn(async move {
                sleep(PERIOD).await;
                let user = users.lock().remove(&key);
                tell(user.map_or(0, |user| user.refused.saturating_sub(TOLD)));
            });
        }
        refused <= TOLD
    }

    /// Whoever is remembered, or is so from now on. Of whom refusals are left out, that is told first.
    fn with<T>(&self, uid: u32, act: impl FnOnce(Option<u32>, &mut Acquaintance) -> T) -> T {
        let mut users = self.lock();
        users.retain(|_, user| user.since.elapsed() < PERIOD || user.refused > TOLD);
        let key = Some(uid).filter(|uid| users.len() < USERS || users.contains_key(&Some(*uid)));
        act(key, users.entry(key).or_insert_with(Acquaintance::new))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<u32>, Acquaintance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acquaintance {
    fn new() -> Self {
        Self { since: Instant::now(), name: Arc::default(), refused: 0 }
    }
}

async fn lookup(uid: u32) -> String {
    let found = spawn_blocking(move || User::from_uid(Uid::from_raw(uid)).ok().flatten());
    found.await.ok().flatten().map_or_else(|| number(uid), |user| user.name)
}

fn number(uid: u32) -> String {
    format!("#{uid}")
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_many_refusals_some_are_told_and_the_rest_is_counted() {
        let users = Acquaintances::default();
        let (sender, mut told) = mpsc::unbounded_channel();
        for _ in 0..2 {
            let lines = (0..100).filter(|_| {
                let sender = sender.clone();
                users.refused(1000, move |left| sender.send(left).unwrap())
            });
            assert_eq!(lines.count() as u64, TOLD);
            assert!(users.refused(1001, |_| ()), "another user is told of");
            assert_eq!(told.recv().await, Some(100 - TOLD));
            assert!(users.lock().is_empty() || !users.lock().contains_key(&Some(1000)));
        }
    }

    #[tokio::test]
    async fn who_has_very_many_numbers_fills_no_memory() {
        let users = Acquaintances::default();
        let told = (0..10_000).filter(|uid| users.refused(*uid, |_| ())).count();
        assert_eq!(users.lock().len(), USERS + 1);
        assert_eq!(told as u64, USERS as u64 + TOLD);
        assert_eq!(users.name(9999).await, "#9999");
        assert_eq!(users.name(0).await, "root");
    }
}
