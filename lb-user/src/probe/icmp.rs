//! That a ping is answered. On raw sockets: those for pings (`net.ipv4.ping_group_range`) are mostly forbidden.

use std::{io, net::IpAddr};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Header, Icmpv6Slice, Icmpv6Type,
};
use socket2::Protocol;

use super::{
    Failure, Target,
    raw::Socket,
    socket::{self, Clock, SENDING, WAITING},
};

pub(super) async fn probe(target: &Target, clock: &Clock) -> Result<String, Failure> {
    let to = target.connect;
    let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = Socket::open(to, protocol).map_err(|error| socket::local(&error))?;
    let ping = Ping::new().map_err(|error| socket::local(&error))?;
    clock.io(SENDING, async { socket.connect(to) }).await?;
    clock.io(SENDING, socket.send(&ping.packet(to))).await?;
    clock.io(WAITING, socket.receive(|packet| ping.answer(to, packet))).await?;
    Ok("ping answered".to_owned())
}

/// A ping like no other: each socket hears the answers to all.
struct Ping {
    echo: IcmpEchoHeader,
    payload: [u8; 16],
}

impl Ping {
    fn new() -> io::Result<Self> {
        let mut payload = [0; 16];
        getrandom::fill(&mut payload).map_err(io::Error::other)?;
        let id = u16::from_be_bytes([payload[0], payload[1]]);
        Ok(Self { echo: IcmpEchoHeader { id, seq: 1 }, payload })
    }

    fn packet(&self, to: IpAddr) -> Vec<u8> {
        let mut packet = match to {
            IpAddr::V4(_) => {
                let kind = Icmpv4Type::EchoRequest(self.echo);
                Icmpv4Header::with_checksum(kind, &self.payload).to_bytes().to_vec()
            }
            // The kernel fills in the checksum, which is over the addresses too.
            IpAddr::V6(_) => {
                Icmpv6Header::new(Icmpv6Type::EchoRequest(self.echo)).to_bytes().to_vec()
            }
        };
        packet.extend(self.payload);
        packet
    }

    /// Something if this is the answer to it.
    fn answer(&self, from: IpAddr, packet: &[u8]) -> Option<()> {
        let (echo, payload) = match from {
            IpAddr::V4(_) => {
                let packet = Icmpv4Slice::from_slice(packet).ok()?;
                let Icmpv4Type::EchoReply(echo) = packet.icmp_type() else { return None };
                (echo, packet.payload())
            }
            IpAddr::V6(_) => {
                let packet = Icmpv6Slice::from_slice(packet).ok()?;
                let Icmpv6Type::EchoReply(echo) = packet.icmp_type() else { return None };
                (echo, packet.payload())
            }
        };
        (echo == self.echo && payload == self.payload).then_some(())
    }
}
