//! That a SYN is answered with a SYN-ACK. The kernel, which knows nothing of it, resets what the server has
//! half opened; its program never hears of it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use etherparse::{TcpHeader, TcpOptionElement, TcpSlice};
use socket2::Protocol;
use tokio::net::TcpSocket;

use super::{
    Failure, Target,
    raw::Socket,
    socket::{self, Clock, SENDING, WAITING},
};

/// As long a segment as any network carries (RFC 9293, section 3.7.1); none will be sent.
const SEGMENT: u16 = 1220;

pub(super) async fn probe(target: &Target, port: u16, clock: &Clock) -> Result<String, Failure> {
    let socket =
        Socket::open(target.connect, Protocol::TCP).map_err(|error| socket::local(&error))?;
    let own = clock.io(SENDING, async { socket.connect(target.connect) }).await?;
    let reserved = reserve(own).map_err(|error| socket::local(&error))?;
    let from = reserved.local_addr().map_err(|error| socket::local(&error))?;
    let sequence = random().map_err(|error| socket::local(&error))?;
    let question = Question { from, to: SocketAddr::new(target.connect, port), sequence };
    let packet = question.packet().map_err(|error| socket::local(&error))?;
    clock.io(SENDING, socket.send(&packet)).await?;
    let accepted = clock.io(WAITING, socket.receive(|packet| question.answer(packet))).await?;
    match accepted {
        true => Ok("SYN-ACK".to_owned()),
        false => Err(Failure::Refused),
    }
}

/// A port that nobody else gets as long as the socket lives.
fn reserve(own: IpAddr) -> io::Result<TcpSocket> {
    let socket = match own {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.bind(SocketAddr::new(own, 0))?;
    Ok(socket)
}

fn random() -> io::Result<u32> {
    getrandom::u32().map_err(io::Error::other)
}

/// A SYN, and what answers it.
struct Question {
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
}

impl Question {
    fn packet(&self) -> io::Result<Vec<u8>> {
        let mut header = TcpHeader::new(self.from.port(), self.to.port(), self.sequence, u16::MAX);
        header.syn = true;
        let options = [TcpOptionElement::MaximumSegmentSize(SEGMENT)];
        header.set_options(&options).map_err(io::Error::other)?;
        header.checksum = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[])
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &[])
            }
            _ => return Err(io::Error::other("addresses of two families")),
        }
        .map_err(io::Error::other)?;
        Ok(header.to_bytes().to_vec())
    }

    /// Whether it has been accepted or refused, if this is an answer to it.
    fn answer(&self, packet: &[u8]) -> Option<bool> {
        let header = TcpSlice::from_slice(packet).ok()?;
        let ours = header.source_port() == self.to.port()
            && header.destination_port() == self.from.port()
            && header.ack()
            && header.acknowledgment_number() == self.sequence.wrapping_add(1);
        match (ours, header.syn(), header.rst()) {
            (true, true, false) => Some(true),
            (true, _, true) => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            from: "192.0.2.1:1000".parse().unwrap(),
            to: "192.0.2.2:80".parse().unwrap(),
            sequence: u32::MAX,
        }
    }

    fn answer(change: impl Fn(&mut TcpHeader)) -> Option<bool> {
        let mut header = TcpHeader::new(80, 1000, 7, 100);
        header.ack = true;
        change(&mut header);
        question().answer(&header.to_bytes())
    }

    #[test]
    fn only_what_acknowledges_the_syn_answers_it() {
        assert_eq!(answer(|header| header.syn = true), Some(true));
        assert_eq!(answer(|header| header.rst = true), Some(false));
        assert_eq!(answer(|_| {}), None);
        let late = |header: &mut TcpHeader| (header.syn, header.acknowledgment_number) = (true, 1);
        assert_eq!(answer(late), None);
        let other = |header: &mut TcpHeader| (header.syn, header.destination_port) = (true, 1001);
        assert_eq!(answer(other), None);
        let other = |header: &mut TcpHeader| (header.syn, header.source_port) = (true, 81);
        assert_eq!(answer(other), None);
        assert_eq!(question().answer(&[0; 19]), None);
    }

    #[test]
    fn the_question_is_a_syn_with_a_checksum() {
        let packet = question().packet().unwrap();
        let header = TcpSlice::from_slice(&packet).unwrap();
        assert!(header.syn() && !header.ack());
        let expected = header.calc_checksum_ipv4([192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
        assert_eq!(header.checksum(), expected);
    }
}
