//! Large texts that many may ask for: each is made once for all who wait for it. For strangers who are slow to read
//! few are kept.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{api::request::Refusal, metrics::Format};

/// How many texts the network listener has at once, those included that are still being read: of 1000 VIPs with 10
/// reals each takes 12 MB.
const MOST: usize = 8;

/// What a text says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Status,
    Metrics(Format),
}

/// The texts of one listener: whoever reaches another one is not held up by its readers.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    waited_for: [Next; 3],
    /// However many ask, one is made after the other: none of them takes the machine from the others.
    turn: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

type Text = Result<Bytes, Refusal>;
type Making = BoxFuture<'static, Text>;

/// The text that somebody waits for and that is not begun, if there is one.
type Next = Arc<Mutex<Option<WeakShared<Making>>>>;

impl Texts {
    /// Those of the network listener, where a connection ends before long, and with it what is kept for it.
    pub(super) fn network() -> Self {
        Self::at_most(MOST)
    }

    /// Those of the control socket: whoever may ask there must not wait for who does not read.
    pub(super) fn control() -> Self {
        Self::at_most(Semaphore::MAX_PERMITS)
    }

    fn at_most(texts: usize) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { waited_for: Default::default(), turn: semaphore(1), room: semaphore(texts) }
    }

    /// A text that is no older than the question. `begin` asks for what it is to say, and gives the work that makes
    /// it, for which there is another thread; neither is done for those who find that others wait already.
    pub(super) async fn get<T, W>(
        &self,
        kind: Kind,
        begin: impl Future<Output = Result<W, Refusal>> + Send + 'static,
    ) -> Text
    where
        T: AsRef<[u8]> + Send + 'static,
        W: FnOnce() -> Result<T, Refusal> + Send + 'static,
    {
        self.next(kind, begin).await
    }

    fn next<T, W>(
        &self,
        kind: Kind,
        begin: impl Future<Output = Result<W, Refusal>> + Send + 'static,
    ) -> Shared<Making>
    where
        T: AsRef<[u8]> + Send + 'static,
        W: FnOnce() -> Result<T, Refusal> + Send + 'static,
    {
        let next = match kind {
            Kind::Status => &self.waited_for[0],
            Kind::Metrics(Format::Classic) => &self.waited_for[1],
            Kind::Metrics(Format::OpenMetrics) => &self.waited_for[2],
        };
        let mut waited_for = next.lock().unwrap_or_else(PoisonError::into_inner);
        // It goes on only as long as somebody waits.
        if let Some(making) = waited_for.as_ref().and_then(WeakShared::upgrade) {
            return making;
        }
        let (turn, room, own) = (self.turn.clone(), self.room.clone(), next.clone());
        let making = async move {
            let turn = turn.acquire_owned().await.map_err(|_| stopping())?;
            let room = room.acquire_owned().await.map_err(|_| stopping())?;
            // Who asks from now on may want what is not so yet.
            drop(own.lock().unwrap_or_else(PoisonError::into_inner).take());
            let work = begin.await?;
            // What is begun takes its turn to the end, whoever waits for it.
            let made = spawn_blocking(move || {
                let text = work();
                drop(turn);
                text
            });
            let text = made.await.map_err(|_| stopping())??;
            Ok(Bytes::from_owner(Kept { text, _room: room }))
        };
        let making = making.boxed().shared();
        *waited_for = making.downgrade();
        making
    }
}

/// A text until the last reader has it.
struct Kept<T> {
    text: T,
    _room: OwnedSemaphorePermit,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        self.text.as_ref()
    }
}

fn stopping() -> Refusal {
    Refusal::failed("lbd is stopping")
}

#[cfg(test)]
mod tests {
    use std::{future::ready, sync::mpsc};

    use tokio::{runtime, sync::oneshot};

    use super::*;

    type Work = Box<dyn FnOnce() -> Result<&'static str, Refusal> + Send>;

    fn work(text: &'static str) -> Result<Work, Refusal> {
        Ok(Box::new(move || Ok(text)))
    }

    fn run(test: impl Future<Output = ()>) {
        runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    }

    #[test]
    fn who_asks_before_a_text_is_begun_shares_it_and_who_asks_later_has_the_next() {
        run(async {
            let texts = Texts::network();
            let turn = texts.turn.clone().acquire_owned().await.unwrap();
            let (answer, asked) = oneshot::channel();
            let begin = async { asked.await.unwrap_or_else(|_| work("nothing")) };
            let mut first = texts.next(Kind::Status, begin);
            assert!(futures_util::poll!(&mut first).is_pending());
            let second = texts.next(Kind::Status, ready(work("of its own")));
            drop(turn);
            // Now it is begun.
            assert!(futures_util::poll!(&mut first).is_pending());
            let third = texts.next(Kind::Status, ready(work("new")));
            answer.send(work("old")).ok().unwrap();
            let (first, second) = (first.await.unwrap(), second.await.unwrap());
            assert_eq!((&first[..], &second[..]), (&b"old"[..], &b"old"[..]));
            assert_eq!(first.as_ptr(), second.as_ptr());
            assert_eq!(third.await.unwrap(), "new");
        });
    }

    #[test]
    fn who_leaves_while_a_text_is_made_leaves_it_its_turn() {
        run(async {
            let texts = Texts::network();
            let (release, released) = mpsc::channel::<()>();
            let held = move || -> Result<&str, Refusal> {
                released.recv().unwrap_err();
                Ok("late")
            };
            let mut making = texts.next(Kind::Status, ready(Ok(held)));
            assert!(futures_util::poll!(&mut making).is_pending());
            drop(making);
            let mut next = texts.next(Kind::Status, ready(work("next")));
            assert!(futures_util::poll!(&mut next).is_pending());
            assert_eq!(texts.turn.available_permits(), 0);
            drop(release);
            assert_eq!(next.await.unwrap(), "next");
        });
    }

    #[test]
    fn who_leaves_before_a_text_is_begun_has_nothing_asked() {
        run(async {
            let texts = Texts::network();
            let turn = texts.turn.clone().acquire_owned().await.unwrap();
            let begin = async { panic!("nobody waits") };
            let mut making = texts.next::<&str, Work>(Kind::Status, begin);
            assert!(futures_util::poll!(&mut making).is_pending());
            drop(making);
            drop(turn);
            assert_eq!(texts.get(Kind::Status, ready(work("next"))).await.unwrap(), "next");
        });
    }

    #[test]
    fn readers_that_are_slow_hold_few_texts() {
        run(async {
            let texts = Texts::network();
            let metrics = Kind::Metrics(Format::Classic);
            let mut kept = Vec::new();
            for _ in 0..MOST {
                kept.push(texts.get(metrics, ready(work("text"))).await.unwrap());
            }
            let mut next = texts.next(metrics, ready(work("text")));
            assert!(futures_util::poll!(&mut next).is_pending());
            kept.pop();
            next.await.unwrap();
        });
    }

    #[test]
    fn nobody_at_the_control_socket_waits_for_readers() {
        run(async {
            let texts = Texts::control();
            let mut kept = Vec::new();
            for _ in 0..=MOST {
                kept.push(texts.get(Kind::Status, ready(work("text"))).await.unwrap());
            }
        });
    }
}
