//! Questions to real servers below this machine's own IP stack, and everything that is heard meanwhile.
//!
//! A VIP is an address of this machine, so no ordinary socket could be asked for it at a real, and what a
//! real sends from it never reaches one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use socket2::SockFilter;
use tokio::time::{sleep, timeout};

use super::{
    packet::{self, Answer, Heard, Knock},
    snapshot::{InterfaceFacts, Snapshot},
};
use crate::{
    announce::{Conflict, LONGEST, Protocol, Socket},
    model::Mac,
};

/// How long answers are waited for; a server in the same network needs a fraction.
const PATIENCE: Duration = Duration::from_millis(900);

/// A frame may be lost: what is not answered is sent again, so often and at this distance.
const TRIES: usize = 3;
const BETWEEN: Duration = Duration::from_millis(250);

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// What is sent in one round.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// Packets to reals; their identifiers differ.
    pub(super) knocks: Vec<Knock>,
    /// Frames that ask who has an address, and the interface by which each leaves.
    pub(super) questions: Vec<(u32, Protocol, Vec<u8>)>,
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Echo {
    /// How each knock was answered, by its identifier.
    pub(super) answers: BTreeMap<u16, Answer>,
    /// Who says to have a VIP.
    pub(super) claims: BTreeSet<Conflict>,
    /// Who has sent this machine what comes from a VIP and goes somewhere else.
    pub(super) returned: BTreeSet<Conflict>,
    /// Interfaces that could not be used, and why.
    pub(super) deaf: BTreeMap<u32, String>,
}

/// What all interfaces hear; nobody waits while he holds it.
#[derive(Debug, Default)]
struct Shared(Mutex<Echo>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Echo> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a round, and listens on all interfaces until the answers are in or will not come.
pub(super) async fn exchange(snapshot: &Snapshot, round: &Round) -> Echo {
    let echo = Shared::default();
    let wires = snapshot.interfaces.iter().filter_map(|interface| {
        let opened = Wire::open(snapshot, interface);
        let failed = |error: io::Error| {
            echo.lock().deaf.insert(interface.index, error.to_string());
        };
        opened.map_err(failed).ok()
    });
    let wires: Vec<Wire<'_>> = wires.collect();
    let work = wires.iter().map(|wire| async {
        let speak = speak(wire, round, &echo);
        // Listening ends by an error only, and all of it with the time.
        let both = futures_util::future::try_join(speak, wire.listen(snapshot, round, &echo));
        if let Ok(Err(error)) = timeout(PATIENCE, both).await {
            echo.lock().deaf.insert(wire.interface.index, error.to_string());
        }
        farewell(wire, round).await;
    });
    join_all(work).await;
    echo.0.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what is not answered, several times.
async fn speak(wire: &Wire<'_>, round: &Round, echo: &Shared) -> io::Result<()> {
    let index = wire.interface.index;
    for _ in 0..TRIES {
        for (_, protocol, frame) in round.questions.iter().filter(|(on, ..)| *on == index) {
            wire.send(*protocol, frame).await?;
        }
        for knock in round.knocks.iter().filter(|knock| knock.interface == index) {
            let answered = echo.lock().answers.contains_key(&knock.id);
            if !answered {
                wire.send(Protocol::of(knock.target), &knock.frame()).await?;
            }
        }
        sleep(BETWEEN).await;
    }
    Ok(())
}

/// Leaves no half-open connection at a server.
async fn farewell(wire: &Wire<'_>, round: &Round) {
    let here = round.knocks.iter().filter(|knock| knock.interface == wire.interface.index);
    for (knock, frame) in here.filter_map(|knock| Some((knock, knock.farewell()?))) {
        // The server forgets by itself, only later.
        drop(wire.send(Protocol::of(knock.target), &frame).await);
    }
}

/// The sockets on an interface.
struct Wire<'a> {
    interface: &'a InterfaceFacts,
    arp: Socket,
    nd: Socket,
    packets: [Socket; 2],
}

impl<'a> Wire<'a> {
    fn open(snapshot: &Snapshot, interface: &'a InterfaceFacts) -> io::Result<Self> {
        let index = interface.index;
        let sources = sources(snapshot);
        let packets = [IPV4, IPV6].map(|kind| Socket::open(index, kind, &filter(kind, &sources)));
        let [v4, v6] = packets;
        let (arp, nd) = (Protocol::Arp.open(index)?, Protocol::Nd.open(index)?);
        Ok(Self { interface, arp, nd, packets: [v4?, v6?] })
    }

    /// Any of the sockets sends any frame.
    async fn send(&self, protocol: Protocol, frame: &[u8]) -> io::Result<()> {
        match protocol {
            Protocol::Arp => self.arp.send(frame).await,
            Protocol::Nd => self.nd.send(frame).await,
        }
    }

    async fn listen(&self, snapshot: &Snapshot, round: &Round, echo: &Shared) -> io::Result<()> {
        let by_id: BTreeMap<u16, &Knock> =
            round.knocks.iter().map(|knock| (knock.id, knock)).collect();
        let claims = |protocol: Protocol| {
            move |frame: &[u8]| {
                let claim = protocol.assertion(frame);
                let claim = claim.filter(|claim| {
                    snapshot.is_vip(claim.address) && !snapshot.macs.contains(&claim.mac)
                });
                echo.lock().claims.extend(claim);
            }
        };
        let packets = |frame: &[u8]| {
            if let Some(heard) = packet::read(frame) {
                self.hear(snapshot, &by_id, &heard, &mut echo.lock());
            }
        };
        let [v4, v6] = &self.packets;
        let neighbours = futures_util::future::try_join(
            receive(&self.arp, claims(Protocol::Arp)),
            receive(&self.nd, claims(Protocol::Nd)),
        );
        let packets = try_join_all([receive(v4, packets), receive(v6, packets)]);
        futures_util::future::try_join(neighbours, packets).await.map(drop)
    }

    fn hear(
        &self,
        snapshot: &Snapshot,
        knocks: &BTreeMap<u16, &Knock>,
        heard: &Heard,
        echo: &mut Echo,
    ) {
        let knock = heard.answer.and_then(|(id, _)| knocks.get(&id));
        if let Some((knock, answer)) =
            knock.and_then(|knock| Some((knock, knock.answered_by(heard)?)))
        {
            // From another machine than the one that was asked: that one has passed the knock on, and
            // somebody else has answered. Unless the way back leads through a router.
            let direct = snapshot.interface(knock.interface).is_some_and(|interface| {
                interface.addresses.contains(&knock.source) && !snapshot.is_vip(knock.source)
            });
            if !direct || heard.machine == knock.machine {
                echo.answers.insert(knock.id, answer);
            }
        }
        let to_us = heard.to == self.interface.mac && !snapshot.macs.contains(&heard.machine);
        let elsewhere = !snapshot.addresses.contains(&heard.destination);
        if to_us && elsewhere && snapshot.is_vip(heard.source) {
            let Heard { source, machine, .. } = *heard;
            echo.returned.insert(Conflict { address: source, mac: machine });
        }
    }
}

async fn receive(socket: &Socket, mut heed: impl FnMut(&[u8])) -> io::Result<()> {
    let mut frame = [0; LONGEST];
    loop {
        let length = socket.receive(&mut frame).await?;
        heed(frame.get(..length).unwrap_or_default());
    }
}

/// From where answers may come: VIPs, and reals that are pinged for comparison.
fn sources(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let pinged = snapshot.examined().filter(|vip| vip.port().is_none());
    let pinged = pinged.flat_map(|vip| vip.reals.iter().map(|real| real.address));
    snapshot.vips.iter().map(|vip| vip.address).chain(pinged).collect()
}

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Lets through what comes from these addresses (of IPv6, as far as the last 32 bits say), so that other
/// traffic never fills the socket's queue. Without a limit where they are more than jumps can pass over.
fn filter(kind: u16, sources: &BTreeSet<IpAddr>) -> Vec<SockFilter> {
    let words: BTreeSet<u32> = sources
        .iter()
        .filter_map(|source| match (kind, source) {
            (IPV4, IpAddr::V4(source)) => Some(source.to_bits()),
            (IPV6, IpAddr::V6(source)) => Some(source.to_bits() as u32),
            _ => None,
        })
        .collect();
    let Ok(count) = u8::try_from(words.len()) else {
        return Vec::new();
    };
    let offset = if kind == IPV4 { 14 + 12 } else { 14 + 8 + 12 };
    let load = SockFilter::new(LOAD_WORD, 0, 0, offset);
    let jumps = (0..count)
        .zip(words)
        .map(|(passed, word)| SockFilter::new(JUMP_IF_EQUAL, count - passed, 0, word));
    let ends = [0, u32::MAX].map(|length| SockFilter::new(RETURN, 0, 0, length));
    [load].into_iter().chain(jumps).chain(ends).collect()
}

/// The address as a question to everybody, and to each of these machines alone.
pub(super) fn questions(
    interface: &InterfaceFacts,
    address: IpAddr,
    machines: impl IntoIterator<Item = Mac>,
) -> Vec<(u32, Protocol, Vec<u8>)> {
    let (index, protocol) = (interface.index, Protocol::of(address));
    let everybody = crate::announce::question(interface.mac, address);
    let alone = machines
        .into_iter()
        .map(|machine| crate::announce::question_to(interface.mac, machine, address));
    [everybody].into_iter().chain(alone).map(|frame| (index, protocol, frame)).collect()
}
