//! The kernel's routes and neighbours that lead packets to the programs, and the addresses of this machine.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use futures_util::{Stream, TryStreamExt as _};
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
        link::LinkAttribute,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    },
};

use super::{Error, blocks::Network};

/// For the kernel to answer: it takes microseconds, so this only keeps a lost answer from
/// stopping everything.
const PATIENCE: Duration = Duration::from_secs(2);

/// For a list of all routes, of which there may be a million.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// By whom routes and neighbours were made: by this daemon, whichever process it was. A number that is
/// nobody's (/etc/iproute2/rt_protos).
pub(super) const PROTOCOL: RouteProtocol = RouteProtocol::Other(173);

/// A machine that is not there: the programs put the right one's address in its place.
const NOBODY: [u8; 6] = [2, 0x6c, 0x62, 0x64, 0, 0];

/// A route for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) first: IpAddr,
    pub(super) length: u8,
    pub(super) network: Network,
    pub(super) next_hop: IpAddr,
}

/// An address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
    pub(super) length: u8,
    /// Whether others can answer to it, and it is there to stay.
    pub(super) usable: bool,
    /// Whether it is not the first of its kind: in IPv6, a temporary one.
    pub(super) secondary: bool,
}

/// What others have routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Routed {
    pub(super) first: IpAddr,
    pub(super) length: u8,
    pub(super) interface: Option<u32>,
}

/// Asks the kernel, in the network namespace that this was made in.
#[derive(Clone)]
pub(super) struct Kernel(Handle);

impl Kernel {
    pub(super) fn connect() -> Result<Self, Error> {
        // Strictly: then the kernel picks the routes itself, where there may be very many.
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(Error::Socket)?;
        // Ends by itself when the last handle is gone.
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    pub(super) async fn names(&self) -> Result<BTreeMap<u32, String>, Error> {
        let links = collect("list of interfaces", PATIENCE, self.0.link().get().execute()).await?;
        let name = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        };
        let named = links
            .iter()
            .filter_map(|link| Some((link.header.index, link.attributes.iter().find_map(name)?)));
        Ok(named.collect())
    }

    pub(super) async fn locals(&self) -> Result<Vec<Local>, Error> {
        let messages =
            collect("list of addresses", PATIENCE, self.0.address().get().execute()).await?;
        Ok(messages.iter().filter_map(local).collect())
    }

    pub(super) async fn add_route(&self, route: &Route) -> Result<(), Error> {
        let add = self.0.route().add(message(route)).replace();
        request(|| format!("add route {route}"), add.execute()).await
    }

    /// That it is gone is all that is wanted.
    pub(super) async fn remove_route(&self, route: &Route) -> Result<(), Error> {
        let del = self.0.route().del(message(route));
        gone(request(|| format!("remove route {route}"), del.execute()).await)
    }

    pub(super) async fn add_neighbour(&self, interface: u32, address: IpAddr) -> Result<(), Error> {
        let mut add = self.0.neighbours().add(interface, address).link_layer_address(&NOBODY);
        add.message_mut().attributes.push(NeighbourAttribute::Protocol(PROTOCOL));
        request(|| format!("add neighbour {address}"), add.replace().execute()).await
    }

    pub(super) async fn remove_neighbour(
        &self,
        interface: u32,
        address: IpAddr,
    ) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.family =
            if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = interface;
        message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::from(address))];
        let del = self.0.neighbours().del(message);
        gone(request(|| format!("remove neighbour {address}"), del.execute()).await)
    }

    /// Removes all routes and neighbours that this daemon has ever made.
    pub(super) async fn sweep(&self) -> Result<(), Error> {
        for route in self.routes(PROTOCOL).await? {
            if route.header.protocol == PROTOCOL {
                let del = self.0.route().del(route).execute();
                gone(request(|| "remove a route that was left".to_owned(), del).await)?;
            }
        }
        let all =
            collect("list of neighbours", PATIENCE, self.0.neighbours().get().execute()).await?;
        let ours = NeighbourAttribute::Protocol(PROTOCOL);
        for mut neighbour in
            all.into_iter().filter(|neighbour| neighbour.attributes.contains(&ours))
        {
            let is_name = |attribute: &NeighbourAttribute| {
                matches!(attribute, NeighbourAttribute::Destination(_))
            };
            neighbour.attributes.retain(is_name);
            let del = self.0.neighbours().del(neighbour).execute();
            gone(request(|| "remove a neighbour that was left".to_owned(), del).await)?;
        }
        Ok(())
    }

    /// What others' routes of all tables send somewhere.
    pub(super) async fn routed(&self) -> Result<Vec<Routed>, Error> {
        let routes = self.routes(RouteProtocol::Unspec).await?;
        Ok(routes.iter().filter_map(routed_by).collect())
    }

    /// All routes of all tables. Of this protocol alone, if one is given, where the kernel can tell.
    async fn routes(&self, protocol: RouteProtocol) -> Result<Vec<RouteMessage>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            query.header.protocol = protocol;
            let answers = self.0.route().get(query).execute();
            routes.append(&mut collect("list of routes", LONG_PATIENCE, answers).await?);
        }
        Ok(routes)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, length, network: Network { interface, own }, next_hop } = self;
        write!(f, "{first}/{length} via {next_hop} on interface {interface} from {own}")
    }
}

/// The next hop is taken as it is: it is in no network of this machine's.
fn message(route: &Route) -> RouteMessage {
    let Route { first, length, network: Network { interface, own }, next_hop } = *route;
    match (first, own, next_hop) {
        (IpAddr::V4(first), IpAddr::V4(own), IpAddr::V4(next_hop)) => {
            RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(first, length)
                .output_interface(interface)
                .gateway(next_hop)
                .pref_source(own)
                .protocol(PROTOCOL)
                .onlink()
                .build()
        }
        (first, own, next_hop) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(v6(first), length)
            .output_interface(interface)
            .gateway(v6(next_hop))
            .pref_source(v6(own))
            .protocol(PROTOCOL)
            .onlink()
            .build(),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Those that drop packets use no addresses.
fn routed_by(message: &RouteMessage) -> Option<Routed> {
    use RouteType::{BlackHole, Prohibit, Throw, Unreachable};
    if matches!(message.header.kind, BlackHole | Prohibit | Throw | Unreachable) {
        return None;
    }
    let first = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let interface = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let ours = message.header.protocol == PROTOCOL;
    let length = message.header.destination_prefix_length;
    (!ours).then_some(Routed { first, length, interface })
}

fn local(message: &AddressMessage) -> Option<Local> {
    // On point-to-point links the plain address is the peer's.
    let own = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = || {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    };
    let flags = message.header.flags;
    let unusable = AddressHeaderFlags::Deprecated
        | AddressHeaderFlags::Tentative
        | AddressHeaderFlags::Dadfailed;
    let wide = matches!(message.header.scope, AddressScope::Universe | AddressScope::Site);
    Some(Local {
        interface: message.header.index,
        address: own.or_else(plain)?,
        length: message.header.prefix_len,
        usable: wide && !flags.intersects(unusable),
        secondary: flags.contains(AddressHeaderFlags::Secondary),
    })
}

/// What is there no longer, or on an interface that is not, is gone.
fn gone(removed: Result<(), Error>) -> Result<(), Error> {
    match removed {
        Err(Error::Refused { ref source, .. })
            if matches!(
                source.raw_os_error(),
                Some(libc::ESRCH | libc::ENOENT | libc::ENODEV | libc::ENETDOWN | libc::EINVAL)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn collect<T>(
    request: &'static str,
    patience: Duration,
    answers: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, Error> {
    let refused = |source| Error::Refused { request: request.to_owned(), source };
    match tokio::time::timeout(patience, answers.try_collect()).await {
        Ok(answers) => answers.map_err(|error| refused(reason(error))),
        Err(_) => Err(refused(io::ErrorKind::TimedOut.into())),
    }
}

async fn request(
    what: impl Fn() -> String,
    answer: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), Error> {
    let refused = |source| Error::Refused { request: what(), source };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| refused(reason(error))),
        Err(_) => Err(refused(io::ErrorKind::TimedOut.into())),
    }
}

fn reason(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        other => io::Error::other(other),
    }
}
