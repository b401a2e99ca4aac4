//! Waiting for what announces itself by no event.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long the lab waits for anything of its own before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks every few milliseconds until there is an answer; `what` was awaited in vain is the error.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {patience:?} in vain for {what}");
        }
        thread::sleep(Duration::from_millis(3));
    }
}
