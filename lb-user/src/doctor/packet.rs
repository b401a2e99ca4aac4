//! The packets by which a real server is tried, and what its answers are recognised by.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpHeaders, LaxNetSlice, LaxSlicedPacket, LinkSlice, PacketBuilder,
    PacketBuilderStep, TcpSlice, TransportSlice,
};

use crate::model::Mac;

/// A packet that a real is tried by: the first of a TCP connection, or a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knock {
    /// The index of the interface by which it leaves.
    pub(super) interface: u32,
    /// That interface's MAC address.
    pub(super) own: Mac,
    /// The real's.
    pub(super) machine: Mac,
    /// Whose answer shall be found elsewhere.
    pub(super) source: IpAddr,
    /// What it is sent to.
    pub(super) target: IpAddr,
    /// The TCP port; a ping without one.
    pub(super) port: Option<u16>,
    /// By which its answer is known: the source port, or the ping's identifier.
    pub(super) id: u16,
}

/// How a real answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// Not at all.
    Silent,
    /// It is there and refuses the connection.
    Refused,
    /// It takes the connection, or answers the ping.
    Open,
}

/// A packet from the wire, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Who has sent the frame.
    pub(super) machine: Mac,
    /// For whom the frame is.
    pub(super) to: Mac,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// What it answers to a knock with an identifier, if it is an answer.
    pub(super) answer: Option<(u16, Answer)>,
}

const HOPS: u8 = 64;
const WINDOW: u16 = 1024;
/// The number of the first byte of a connection; any would do, as each knock has a port of its own.
const BEGIN: u32 = 0x6c62_6400;

impl Knock {
    /// The frame that knocks.
    pub(super) fn frame(&self) -> Vec<u8> {
        match (self.port, self.target) {
            (Some(port), _) => {
                let packet = self.packet().tcp(self.id, port, BEGIN, WINDOW).syn();
                written(packet.size(0), |to| packet.write(to, &[]))
            }
            (None, IpAddr::V4(_)) => {
                let packet = self.packet().icmpv4_echo_request(self.id, 0);
                written(packet.size(0), |to| packet.write(to, &[]))
            }
            (None, IpAddr::V6(_)) => {
                let packet = self.packet().icmpv6_echo_request(self.id, 0);
                written(packet.size(0), |to| packet.write(to, &[]))
            }
        }
    }

    /// The frame that ends what was begun, wherever the real's answer has gone; none after a ping.
    pub(super) fn farewell(&self) -> Option<Vec<u8>> {
        let packet = self.packet().tcp(self.id, self.port?, BEGIN + 1, 0).rst();
        Some(written(packet.size(0), |to| packet.write(to, &[])))
    }

    fn packet(&self) -> PacketBuilderStep<IpHeaders> {
        let link = PacketBuilder::ethernet2(self.own.0, self.machine.0);
        match (self.source, self.target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                link.ipv4(source.octets(), target.octets(), HOPS)
            }
            (source, target) => link.ipv6(octets(source), octets(target), HOPS),
        }
    }

    /// How it is answered by this, if it is.
    pub(super) fn answered_by(&self, heard: &Heard) -> Option<Answer> {
        let (id, answer) = heard.answer?;
        let fits = id == self.id && heard.source == self.target && heard.destination == self.source;
        fits.then_some(answer)
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Headers alone always fit into a packet; if not, nothing is sent and nothing answers.
fn written<E>(size: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(size);
    match write(&mut frame) {
        Ok(()) => frame,
        Err(_) => Vec::new(),
    }
}

/// Reads a frame from the wire, where anything may stand.
pub(super) fn read(frame: &[u8]) -> Option<Heard> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let Some(LinkSlice::Ethernet2(link)) = &packet.link else {
        return None;
    };
    let (source, destination) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into())
        }
        _ => return None,
    };
    let answer = packet.transport.as_ref().and_then(answer);
    Some(Heard {
        machine: Mac(link.source()),
        to: Mac(link.destination()),
        source,
        destination,
        answer,
    })
}

fn answer(transport: &TransportSlice<'_>) -> Option<(u16, Answer)> {
    match transport {
        TransportSlice::Tcp(tcp) => reply(tcp).map(|answer| (tcp.destination_port(), answer)),
        TransportSlice::Icmpv4(message) => match message.icmp_type() {
            Icmpv4Type::EchoReply(echo) => Some((echo.id, Answer::Open)),
            _ => None,
        },
        TransportSlice::Icmpv6(message) => match message.icmp_type() {
            Icmpv6Type::EchoReply(echo) => Some((echo.id, Answer::Open)),
            _ => None,
        },
        _ => None,
    }
}

fn reply(tcp: &TcpSlice<'_>) -> Option<Answer> {
    match (tcp.rst(), tcp.syn() && tcp.ack()) {
        (true, _) => Some(Answer::Refused),
        (false, true) => Some(Answer::Open),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const REAL: Mac = Mac([2, 0, 0, 0, 0, 11]);

    fn knock(source: &str, target: &str, port: Option<u16>) -> Knock {
        let (source, target) = (source.parse().unwrap(), target.parse().unwrap());
        Knock { interface: 2, own: OWN, machine: REAL, source, target, port, id: 40_000 }
    }

    /// Knocks of both families, by TCP and by ping.
    fn knocks() -> Vec<Knock> {
        let places = [("10.0.0.2", "192.0.2.10"), ("2001:db8:a::2", "2001:db8:2::10")];
        let knock = |(source, target)| [Some(80), None].map(|port| knock(source, target, port));
        places.into_iter().flat_map(knock).collect()
    }

    /// What a real makes of a TCP knock.
    fn answer_to(knock: &Knock, refuse: bool) -> Vec<u8> {
        let back =
            Knock { own: REAL, machine: OWN, source: knock.target, target: knock.source, ..*knock };
        let packet = back.packet().tcp(knock.port.unwrap(), knock.id, 7, 0).ack(BEGIN + 1);
        let packet = if refuse { packet.rst() } else { packet.syn() };
        written(0, |to| packet.write(to, &[]))
    }

    #[test]
    fn a_knock_is_a_whole_packet_from_its_source_to_its_target() {
        for knock in knocks() {
            let frame = knock.frame();
            let heard = read(&frame).unwrap();
            assert_eq!((heard.machine, heard.to), (OWN, REAL));
            assert_eq!((heard.source, heard.destination), (knock.source, knock.target));
            assert_eq!(heard.answer, None, "a question is no answer");
            assert_eq!(knock.farewell().is_some(), knock.port.is_some());
        }
    }

    #[test]
    fn answers_are_told_apart_and_belong_to_one_knock() {
        for knock in knocks().into_iter().filter(|knock| knock.port.is_some()) {
            for (refuse, expected) in [(true, Answer::Refused), (false, Answer::Open)] {
                let heard = read(&answer_to(&knock, refuse)).unwrap();
                assert_eq!(knock.answered_by(&heard), Some(expected));
                let others = [
                    Knock { id: 40_001, ..knock },
                    Knock { target: knock.source, ..knock },
                    Knock { source: knock.target, ..knock },
                ];
                assert!(others.iter().all(|other| other.answered_by(&heard).is_none()));
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_something_else_is_no_answer() {
        for knock in knocks() {
            let frame = knock.frame();
            for length in 0..frame.len() {
                let heard = read(&frame[..length]);
                assert!(heard.is_none_or(|heard| heard.answer.is_none()));
            }
        }
        assert_eq!(read(&crate::announce::question(OWN, "192.0.2.10".parse().unwrap())), None);
    }
}
