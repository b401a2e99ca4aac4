//! Requests to the kernel, each bounded in time, and the subscription to what it tells unasked.

use std::{collections::BTreeMap, future::Future, io, net::IpAddr, time::Duration};

use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
        },
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
    },
    proto::{NetlinkCodec, NetlinkFramed},
    sys::{AsyncSocket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};

use super::{
    Error, Link,
    wire::{self, Entry, Key, Local},
};

/// For the kernel to answer: it takes microseconds, so this only keeps a lost answer from
/// stopping everything.
const PATIENCE: Duration = Duration::from_secs(2);

/// For bursts such as thousands of neighbours that turn stale together; what does not fit is lost,
/// noticed, and asked for again.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// By which interface.
    pub interface: u32,
    /// By which gateway; `None` if the address is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// What the kernel tells unasked. It has a socket of its own: where messages may be lost, answers
/// to requests may be lost too.
pub(super) type Subscription = NetlinkFramed<RouteNetlinkMessage, TokioSocket, NetlinkCodec>;

pub(super) fn subscribe() -> Result<Subscription, Error> {
    let subscribe = || {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        // Takes CAP_NET_ADMIN; without it the default has to do.
        let force = nix::sys::socket::sockopt::RcvBufForce;
        if let Err(error) =
            nix::sys::socket::setsockopt(socket.socket_ref(), force, &RECEIVE_BUFFER)
        {
            log::debug!("netlink receive buffer stays at its default: {error}");
        }
        use MulticastGroup::{Ipv4Ifaddr, Ipv6Ifaddr, Link, Neigh};
        let groups = [Link, Neigh, Ipv4Ifaddr, Ipv6Ifaddr];
        let groups = groups.into_iter().fold(0, |bits, group| bits | 1 << (group as u32 - 1));
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(NetlinkFramed::new(socket))
    };
    subscribe().map_err(Error::Socket)
}

/// Asks the kernel, and waits for its answers.
#[derive(Clone, Debug)]
pub(super) struct Kernel(Handle);

impl Kernel {
    pub(super) fn connect() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Socket)?;
        // Ends by itself when the last handle is gone.
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    pub(super) async fn links(&self) -> Result<BTreeMap<u32, Link>, Error> {
        let messages = collect("list of interfaces", self.0.link().get().execute()).await?;
        Ok(messages.iter().filter_map(wire::link).collect())
    }

    pub(super) async fn locals<C: FromIterator<Local>>(&self) -> Result<C, Error> {
        let messages = collect("list of addresses", self.0.address().get().execute()).await?;
        Ok(messages.iter().filter_map(wire::local).collect())
    }

    pub(super) async fn neighbours(&self) -> Result<Vec<(Key, Entry)>, Error> {
        let messages = collect("list of neighbours", self.0.neighbours().get().execute()).await?;
        Ok(messages.iter().filter_map(wire::neighbour).collect())
    }

    pub(super) async fn neighbour(&self, key: Key) -> Result<Option<Entry>, Error> {
        const REQUEST: &str = "look at a neighbour";
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(message(key)));
        request.header.flags = NLM_F_REQUEST;
        let mut handle = self.0.clone();
        let mut answers = handle.request(request).map_err(|error| refused(REQUEST, error))?;
        let answer = in_time(REQUEST, answers.next()).await?;
        match answer.map(|answer| answer.payload) {
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message))) => {
                Ok(wire::neighbour(&message).map(|(_, entry)| entry))
            }
            Some(NetlinkPayload::Error(error)) => match error.to_io() {
                error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
                source => Err(Error::Refused { request: REQUEST, source }),
            },
            other => Err(garbled(REQUEST, &other)),
        }
    }

    /// Makes the kernel resolve or confirm an address. Not for entries that someone else set.
    pub(super) async fn use_neighbour(&self, key: Key) -> Result<(), Error> {
        let add = self.0.neighbours().add(key.interface, key.address);
        let add = add.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
        request("use a neighbour", add.execute()).await
    }

    pub(super) async fn delete_neighbour(&self, key: Key) -> Result<(), Error> {
        request("delete a neighbour", self.0.neighbours().del(message(key)).execute()).await
    }

    pub(super) async fn route(&self, address: IpAddr) -> Result<Route, Error> {
        const REQUEST: &str = "find a route";
        let length = if address.is_ipv4() { 32 } else { 128 };
        let query = RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, length);
        let query = query.map_err(|error| garbled(REQUEST, &error))?.build();
        let answer = collect(REQUEST, self.0.route().get(query).execute()).await;
        let answer = answer.map_err(|error| match error {
            Error::Refused { source, .. } => Error::NoRoute { address, reason: source.to_string() },
            other => other,
        })?;
        let answer = answer.first().ok_or_else(|| garbled(REQUEST, &"no answer"))?;
        route(answer, address)
    }
}

fn message(Key { interface, address }: Key) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family =
        if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = interface;
    message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::from(address))];
    message
}

fn route(message: &RouteMessage, address: IpAddr) -> Result<Route, Error> {
    let no_route = |reason: &str| Error::NoRoute { address, reason: reason.to_owned() };
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err(no_route("it is an address of this machine")),
        RouteType::Broadcast | RouteType::Multicast => {
            return Err(no_route("it is a group address"));
        }
        _ => return Err(no_route("the routing table forbids it")),
    }
    let (mut interface, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address))
            | RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Gateway(RouteAddress::Inet6(address))
            | RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            _ => {}
        }
    }
    let interface = interface.ok_or_else(|| no_route("it names no interface"))?;
    Ok(Route { interface, gateway })
}

async fn collect<T>(
    request: &'static str,
    answers: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, Error> {
    in_time(request, answers.try_collect()).await?.map_err(|error| refused(request, error))
}

async fn request(
    request: &'static str,
    answer: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), Error> {
    in_time(request, answer).await?.map_err(|error| refused(request, error))
}

async fn in_time<T>(request: &'static str, answer: impl Future<Output = T>) -> Result<T, Error> {
    let late = |_| Error::Refused { request, source: io::ErrorKind::TimedOut.into() };
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)
}

fn refused(request: &'static str, error: rtnetlink::Error) -> Error {
    match error {
        rtnetlink::Error::NetlinkError(error) => Error::Refused { request, source: error.to_io() },
        other => garbled(request, &other),
    }
}

fn garbled(request: &'static str, reason: &dyn std::fmt::Debug) -> Error {
    Error::Garbled { request, reason: format!("{reason:?}") }
}
