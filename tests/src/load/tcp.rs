//! A connection's client.

use std::{future::Future, io, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
    sync::Notify,
    time,
};

use super::{
    Order, Shared, TCP_PORT,
    book::{How, Id, Kind},
};

/// After so many messages a short connection is closed.
const SHORT: u64 = 5;
/// After so long without a word from the real the client asks whether it is still there: it would
/// hear nothing of the end of a real that has acknowledged a message and not answered it.
const ASKS_AFTER: Duration = Duration::from_secs(2);
/// A line with a real's name is not longer.
const LONGEST_NAME: u64 = 64;

/// One connection, and another after it for as long as they are short and do not break.
pub(super) async fn connections(shared: Arc<Shared>, order: Order) {
    let Order { kind, mut id, mut leave } = order;
    loop {
        let outcome = Client { shared: &shared, id, kind, leave: &leave }.live().await;
        let mut book = shared.book();
        book.end(id, outcome);
        if kind != Kind::Short || outcome.is_err() {
            return;
        }
        (id, leave) = book.open(kind);
    }
}

struct Client<'a> {
    shared: &'a Shared,
    id: Id,
    kind: Kind,
    leave: &'a Notify,
}

impl Client<'_> {
    async fn live(&self) -> Result<(), How> {
        let mut stream = self.open().await?;
        for message in 0.. {
            self.exchange(&mut stream, message).await?;
            if self.kind == Kind::Short && message + 1 == SHORT {
                break;
            }
            tokio::select! {
                () = self.leave.notified() => break,
                () = time::sleep(self.shared.pause(self.id, message)) => {}
            }
        }
        self.close(stream).await
    }

    async fn open(&self) -> Result<BufStream<TcpStream>, How> {
        let _turn = self.shared.opening.acquire().await;
        let connect = TcpStream::connect(self.shared.place(self.id, TCP_PORT));
        let stream = self.within(connect).await?;
        // Without this a message would wait for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(how)?;
        let asks = TcpKeepalive::new().with_time(ASKS_AFTER).with_interval(ASKS_AFTER);
        SockRef::from(&stream).set_tcp_keepalive(&asks).map_err(how)?;
        Ok(BufStream::with_capacity(64, 64, stream))
    }

    /// Sends a message and expects it back; before the first, the name of the real. The client
    /// speaks without waiting for that: else nobody would ever tell it that its real is gone.
    async fn exchange(&self, stream: &mut BufStream<TcpStream>, number: u64) -> Result<(), How> {
        let epoch = self.shared.epoch();
        let message = [self.id.to_be_bytes(), number.to_be_bytes()].concat();
        let mut answer = vec![0; message.len()];
        let mut name = String::new();
        self.within(async {
            stream.write_all(&message).await?;
            stream.flush().await?;
            if number == 0 {
                (&mut *stream).take(LONGEST_NAME).read_line(&mut name).await?;
            }
            stream.read_exact(&mut answer).await
        })
        .await?;
        if answer != message {
            return Err(How::Wrong);
        }
        let mut book = self.shared.book();
        if number == 0 {
            book.belongs(self.id, name.trim_end())?;
        }
        book.answered(self.id, epoch);
        Ok(())
    }

    /// Closes, and waits until the real has, too.
    async fn close(&self, mut stream: BufStream<TcpStream>) -> Result<(), How> {
        let rest = self.within(async {
            stream.shutdown().await?;
            stream.read(&mut [0]).await
        });
        if rest.await? == 0 { Ok(()) } else { Err(How::Wrong) }
    }

    async fn within<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, How> {
        let patience: Duration = self.shared.options.patience;
        time::timeout(patience, work).await.map_err(|_| How::Silent)?.map_err(how)
    }
}

fn how(error: io::Error) -> How {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => How::Reset,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionRefused => How::Closed,
        // The kernel's own patience, and messages of unreachability.
        _ => How::Silent,
    }
}
