//! One connection that is watched: a client that says something to a real server again and again.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{client::Client, lab::Lab, wait};

/// From one message to the next: often enough for a connection never to be idle.
const PAUSE: Duration = Duration::from_millis(50);
/// How many connections are tried until one is with the real that is wanted.
const TRIES: usize = 200;

/// A connection to the echo of [`Servers`](crate::load::Servers), in use until it is closed, or dropped.
#[derive(Debug)]
pub struct Talk {
    real: String,
    source: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    course: Mutex<Course>,
}

/// How it went so far.
#[derive(Debug, Default)]
struct Course {
    asked: u64,
    answered: u64,
    broken: Option<io::ErrorKind>,
}

impl Shared {
    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Talk {
    /// Opens a connection, and waits until the real has told its name.
    pub fn open(client: &Client, to: SocketAddr) -> Result<Self> {
        let stream = client.connect(to)?;
        stream.set_nodelay(true)?;
        let source = stream.local_addr()?;
        let mut stream = BufReader::new(stream);
        let mut name = String::new();
        stream.read_line(&mut name).with_context(|| format!("no name from {to}"))?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || talk(stream, &theirs)));
        Ok(Self { real: name.trim_end().to_owned(), source, shared, thread })
    }

    /// Opens connections until one is with the real of this number; the others are closed.
    pub fn open_on(lab: &Lab, to: SocketAddr, real: usize) -> Result<Self> {
        let wanted = lab.real(real).name();
        for _ in 0..TRIES {
            let talk = Self::open(lab.client(), to)?;
            if talk.real == wanted {
                return Ok(talk);
            }
        }
        bail!("none of {TRIES} connections to {to} is with {wanted}")
    }

    /// The name of the real that it is with.
    #[must_use]
    pub fn real(&self) -> &str {
        &self.real
    }

    /// The client's end.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Waits until something that is said from now on is answered.
    pub fn goes_on(&self) -> Result<()> {
        let asked = self.shared.course().asked;
        wait::until("an answer", wait::PATIENCE, || {
            let course = self.shared.course();
            match course.broken {
                Some(how) => bail!("the connection with {} broke: {how:?}", self.real),
                None => Ok((course.answered > asked).then_some(())),
            }
        })
    }

    /// Waits until it breaks; how it did.
    pub fn breaks(&self) -> Result<io::ErrorKind> {
        wait::until("the end of a connection", wait::PATIENCE, || Ok(self.shared.course().broken))
    }

    /// Closes it, which must be answered in kind.
    pub fn close(mut self) -> Result<()> {
        self.stop();
        match self.shared.course().broken {
            Some(how) => bail!("the connection with {} broke: {how:?}", self.real),
            None => Ok(()),
        }
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Talks until it is told to stop, and then closes; or until the connection breaks.
fn talk(mut stream: BufReader<TcpStream>, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let asked = {
            let mut course = shared.course();
            course.asked += 1;
            course.asked
        };
        match exchange(&mut stream, asked) {
            Ok(()) => shared.course().answered = asked,
            Err(error) => return shared.course().broken = Some(error.kind()),
        }
        thread::sleep(PAUSE);
    }
    if let Err(error) = close(&mut stream) {
        shared.course().broken = Some(error.kind());
    }
}

fn exchange(stream: &mut BufReader<TcpStream>, number: u64) -> io::Result<()> {
    let mut answer = [0; 8];
    stream.get_mut().write_all(&number.to_be_bytes())?;
    stream.read_exact(&mut answer)?;
    if answer == number.to_be_bytes() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn close(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    stream.get_mut().shutdown(Shutdown::Write)?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
