//! ARP for IPv4 over Ethernet: RFC 826, with the uses of it in RFC 5227.

use std::net::Ipv4Addr;

use super::Conflict;
use crate::model::Mac;

const ETHERNET: usize = 14;

/// A frame: Ethernet header and ARP packet. Padding may follow on the wire.
const FRAME: usize = ETHERNET + 28;

pub(super) const ETHERTYPE: u16 = 0x0806;

/// Hardware type Ethernet, protocol type IPv4, lengths of their addresses.
const PREAMBLE: [u8; 6] = [0, 1, 8, 0, 6, 4];

const BROADCAST: [u8; 6] = [0xff; 6];
const NO_MAC: Mac = Mac([0; 6]);

/// The frame that asks who has the address.
pub(super) fn question(own: Mac, address: Ipv4Addr) -> Vec<u8> {
    Packet::probe(own, address).broadcast().into()
}

/// The frames that tell everyone who has the address.
pub(super) fn announcements(own: Mac, address: Ipv4Addr) -> Vec<Vec<u8>> {
    // The request is the announcement of RFC 5227, section 3; some devices heed replies only.
    [Operation::Request, Operation::Reply]
        .map(|operation| Packet::announcement(operation, own, address).broadcast().into())
        .into()
}

/// What the sender of a frame from the wire claims.
pub(super) fn claim(frame: &[u8]) -> Option<Conflict> {
    Packet::parse(frame)?.claim()
}

/// What the sender of a frame from the wire says to have.
pub(super) fn assertion(frame: &[u8]) -> Option<Conflict> {
    let Packet { sender, sender_mac, .. } = Packet::parse(frame)?;
    (!sender.is_unspecified()).then_some(Conflict { address: sender.into(), mac: sender_mac })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Request = 1,
    Reply = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    operation: Operation,
    sender_mac: Mac,
    sender: Ipv4Addr,
    target_mac: Mac,
    target: Ipv4Addr,
}

impl Packet {
    /// A question that changes no cache, as it names no sender.
    fn probe(own: Mac, address: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: own,
            sender: Ipv4Addr::UNSPECIFIED,
            target_mac: NO_MAC,
            target: address,
        }
    }

    fn announcement(operation: Operation, own: Mac, address: Ipv4Addr) -> Self {
        let target_mac = match operation {
            Operation::Request => NO_MAC,
            Operation::Reply => own,
        };
        Self { operation, sender_mac: own, sender: address, target_mac, target: address }
    }

    /// What the sender claims: the address that it has, or the one that it is probing for.
    fn claim(&self) -> Option<Conflict> {
        let address = match (self.operation, self.sender) {
            (Operation::Request, Ipv4Addr::UNSPECIFIED) => self.target,
            (Operation::Reply, Ipv4Addr::UNSPECIFIED) => return None,
            (_, sender) => sender,
        };
        Some(Conflict { address: address.into(), mac: self.sender_mac })
    }

    /// The frame that tells it to everyone.
    fn broadcast(&self) -> [u8; FRAME] {
        let parts: [&[u8]; 9] = [
            &BROADCAST,
            &self.sender_mac.0,
            &ETHERTYPE.to_be_bytes(),
            &PREAMBLE,
            &(self.operation as u16).to_be_bytes(),
            &self.sender_mac.0,
            &self.sender.octets(),
            &self.target_mac.0,
            &self.target.octets(),
        ];
        let mut frame = [0; FRAME];
        for (to, from) in frame.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        frame
    }

    /// The packet in a frame from the wire, where anything may stand.
    fn parse(frame: &[u8]) -> Option<Self> {
        let (header, rest) = frame.split_first_chunk::<ETHERNET>()?;
        let (preamble, rest) = rest.split_first_chunk::<6>()?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        if header[12..] != ETHERTYPE.to_be_bytes() || *preamble != PREAMBLE {
            return None;
        }
        let operation = match u16::from_be_bytes(*operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let (target, _padding) = rest.split_first_chunk::<4>()?;
        Some(Self {
            operation,
            sender_mac: Mac(*sender_mac),
            sender: Ipv4Addr::from(*sender),
            target_mac: Mac(*target_mac),
            target: Ipv4Addr::from(*target),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    #[test]
    fn a_probe_looks_as_rfc_5227_wants_it() {
        #[rustfmt::skip]
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6,
            0, 1, 8, 0, 6, 4, 0, 1,
            2, 0, 0, 0, 0, 1, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 192, 0, 2, 10,
        ];
        assert_eq!(Packet::probe(OWN, VIP).broadcast(), expected);
    }

    #[test]
    fn an_announcement_names_the_address_as_sender_and_target() {
        let request = Packet::announcement(Operation::Request, OWN, VIP).broadcast();
        let reply = Packet::announcement(Operation::Reply, OWN, VIP).broadcast();
        assert_eq!(
            request[20..],
            [0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 10, 0, 0, 0, 0, 0, 0, 192, 0, 2, 10]
        );
        assert_eq!(
            reply[20..],
            [0, 2, 2, 0, 0, 0, 0, 1, 192, 0, 2, 10, 2, 0, 0, 0, 0, 1, 192, 0, 2, 10]
        );
    }

    #[test]
    fn a_sender_claims_its_address_and_a_probe_the_one_that_it_asks_for() {
        let claims = Some(Conflict { address: VIP.into(), mac: OWN });
        assert_eq!(Packet::probe(OWN, VIP).claim(), claims);
        assert_eq!(Packet::announcement(Operation::Request, OWN, VIP).claim(), claims);
        assert_eq!(Packet::announcement(Operation::Reply, OWN, VIP).claim(), claims);
        let question = Packet { sender: Ipv4Addr::new(192, 0, 2, 1), ..Packet::probe(OWN, VIP) };
        assert_ne!(question.claim(), claims);
        let senseless = Packet { operation: Operation::Reply, ..Packet::probe(OWN, VIP) };
        assert_eq!(senseless.claim(), None);
    }

    #[test]
    fn a_probe_asserts_nothing_and_everything_else_what_it_claims() {
        let asserts = Some(Conflict { address: VIP.into(), mac: OWN });
        assert_eq!(assertion(&Packet::probe(OWN, VIP).broadcast()), None);
        for operation in [Operation::Request, Operation::Reply] {
            let frame = Packet::announcement(operation, OWN, VIP).broadcast();
            assert_eq!(assertion(&frame), asserts);
        }
    }

    #[test]
    fn every_truncation_is_refused_and_padding_is_not() {
        let packet = Packet::probe(OWN, VIP);
        let mut frame = packet.broadcast().to_vec();
        for length in 0..FRAME {
            assert_eq!(Packet::parse(&frame[..length]), None);
        }
        frame.extend([0; 18]);
        assert_eq!(Packet::parse(&frame), Some(packet));
    }

    proptest! {
        #[test]
        fn any_bytes_are_either_refused_or_read_as_they_stand(mut frame: [u8; FRAME], fitting: bool) {
            if fitting {
                frame[..6].fill(0xff);
                frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
                frame[14..20].copy_from_slice(&PREAMBLE);
                frame[20] = 0;
                frame[21] = 1 + (frame[21] & 1);
                let sender = <[u8; 6]>::try_from(&frame[22..28]).unwrap();
                frame[6..12].copy_from_slice(&sender);
                prop_assert_eq!(Packet::parse(&frame).map(|packet| packet.broadcast()), Some(frame));
            } else {
                let _ = Packet::parse(&frame);
            }
        }
    }
}
