//! Clients that send datagrams.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    Order, QUERY_PORT, Shared,
    book::{How, Id},
};

/// After so long a datagram counts as lost and is sent again.
const AGAIN: Duration = Duration::from_secs(1);

/// A flow of datagrams, until it breaks or is asked to end.
pub(super) async fn flow(shared: Arc<Shared>, Order { id, leave, .. }: Order) {
    let outcome = tokio::select! {
        () = leave.notified() => Ok(()),
        how = live(&shared, id) => Err(how),
    };
    shared.book().end(id, outcome);
}

/// Sends for ever; returns how it broke.
async fn live(shared: &Shared, id: Id) -> How {
    let Ok(socket) = connected(shared.place(id, QUERY_PORT)).await else { return How::Closed };
    for number in 0.. {
        let epoch = shared.epoch();
        let real = match exchange(shared, &socket, id, number).await {
            Ok(real) => real,
            Err(how) => return how,
        };
        {
            let mut book = shared.book();
            if let Err(how) = book.belongs(id, &real) {
                return how;
            }
            book.answered(id, epoch);
        }
        time::sleep(shared.pause(id, number)).await;
    }
    How::Silent
}

/// So many queries a second, to each VIP in turn.
pub(super) async fn stream(shared: Arc<Shared>) {
    let mut ticks = time::interval(Duration::from_secs(1) / shared.options.queries);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0.. {
        ticks.tick().await;
        tokio::spawn(query(Arc::clone(&shared), number));
    }
}

async fn query(shared: Arc<Shared>, number: u64) {
    let answer = match connected(shared.place(number, QUERY_PORT)).await {
        // High numbers are nobody's.
        Ok(socket) => exchange(&shared, &socket, u64::MAX, number).await,
        Err(_) => Err(How::Closed),
    };
    shared.book().query(answer.as_deref().map_err(|how| *how));
}

/// Sends a message, again and again, until it is answered; returns the name of who did.
async fn exchange(shared: &Shared, socket: &UdpSocket, id: Id, number: u64) -> Result<String, How> {
    let message = [id.to_be_bytes(), number.to_be_bytes()].concat();
    let deadline = Instant::now() + shared.options.patience;
    while Instant::now() < deadline {
        // An error is a late ICMP message: not this datagram's.
        let _ = socket.send(&message).await;
        if let Ok(answer) = time::timeout(AGAIN, answer_to(socket, &message)).await {
            return answer;
        }
    }
    Err(How::Silent)
}

/// Waits for the answer to this message, past those to earlier ones, which came late.
async fn answer_to(socket: &UdpSocket, message: &[u8]) -> Result<String, How> {
    let mut answer = [0; 128];
    loop {
        let Ok(length) = socket.recv(&mut answer).await else { continue };
        let space = answer[..length].iter().position(|byte| *byte == b' ').ok_or(How::Wrong)?;
        let (name, echo) = (&answer[..space], &answer[space + 1..length]);
        if echo.len() != message.len() || echo[..8] != message[..8] {
            return Err(How::Wrong);
        }
        if echo == message {
            return String::from_utf8(name.to_owned()).map_err(|_| How::Wrong);
        }
    }
}

async fn connected(place: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if place.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(place).await?;
    Ok(socket)
}
