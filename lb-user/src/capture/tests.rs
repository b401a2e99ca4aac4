use std::{net::IpAddr, time::Duration};

use etherparse::PacketBuilder;
use lb_common::{
    Outcome,
    capture::{Captured, SNAP, Sight},
    layout::Rule,
};
use proptest::{collection::vec, prelude::*};

use super::{Lines, Names, Only, Writer};
use crate::{
    config,
    model::{Ports, Protocol, Vip},
};

const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BALANCER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const REAL: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

fn sight(frame: &[u8]) -> Sight {
    let mut sight = Sight { length: frame.len() as u32, taken: 0, bytes: [0; SNAP] };
    let taken = frame.len().min(SNAP);
    sight.bytes[..taken].copy_from_slice(&frame[..taken]);
    sight.taken = taken as u32;
    sight
}

fn tcp(source: [u8; 6], destination: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(source, destination)
        .ipv4([198, 51, 100, 7], [192, 0, 2, 10], 64)
        .tcp(40_000, 80, 1, 1000)
        .syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a frame");
    frame
}

fn names() -> Names {
    let real: IpAddr = "10.0.0.11".parse().expect("an address");
    Names {
        places: [(7, ("web".into(), real))].into(),
        ports: [(1, "eth0".to_owned()), (2, "eth1".to_owned())].into(),
    }
}

fn captured(outcome: Outcome, came: Sight, left: Option<Sight>) -> Captured {
    Captured {
        time: 0,
        outcome: outcome.index(),
        slot: 17,
        place: 7,
        rule: Rule::Current as u32,
        port: 2,
        looked_at: 1,
        came,
        left: left.unwrap_or(Sight { length: 0, taken: 0, bytes: [0; SNAP] }),
    }
}

#[test]
fn what_is_written_is_read_again() {
    let names = names();
    let (came, left) = (tcp(CLIENT, BALANCER, &[9; 400]), tcp(BALANCER, REAL, &[9; 400]));
    let mut writer = Writer::new(&names).expect("a writer");
    let mut file = writer.take();
    let forwarded = captured(Outcome::Forwarded, sight(&came), Some(sight(&left)));
    let time = Duration::new(1_700_000_000, 123_456_789);
    writer.add(&names, 1, &forwarded, (time, 0)).expect("added");
    file.extend(writer.take());
    let dropped = captured(Outcome::NoReal, sight(&came), None);
    writer.add(&names, 1, &dropped, (time, 3)).expect("added");
    file.extend(writer.take());

    let lines: Vec<_> = Lines::new(&*file).expect("a capture").collect();
    let [Ok(first), Ok(second), Ok(third)] = &lines[..] else {
        panic!("three frames: {lines:?}");
    };
    assert_eq!((first.time, first.is_outbound, &*first.interface), (time, false, "eth0"));
    assert_eq!(
        first.frame,
        "02:00:00:00:00:01 > 02:00:00:00:00:02, 198.51.100.7:40000 > 192.0.2.10:80 tcp S, 454 bytes"
    );
    assert_eq!(first.comment, "forwarded: vip web, real 10.0.0.11, by current, slot 17");
    assert_eq!((second.is_outbound, &*second.interface), (true, "eth1"));
    assert!(second.frame.starts_with("02:00:00:00:00:02 > 02:00:00:00:00:0b,"), "{second:?}");
    assert!(third.comment.starts_with("no_real: "), "{third:?}");
    assert_eq!((first.missed, third.missed), (0, 3));
}

#[test]
fn a_capture_that_breaks_off_says_so() {
    let names = names();
    let mut writer = Writer::new(&names).expect("a writer");
    let frame = tcp(CLIENT, BALANCER, &[]);
    let one = captured(Outcome::NoReal, sight(&frame), None);
    writer.add(&names, 1, &one, (Duration::ZERO, 0)).expect("added");
    let file = writer.take();
    let mut lines = Lines::new(&file[..file.len() - 5]).expect("a beginning");
    assert!(matches!(lines.next(), Some(Err(_))));
    assert!(Lines::new(&b"HTTP/1.1 200 OK\r\n\r\n and so on"[..]).is_err());
}

/// A VIP at an address that the frames here go to, with these ports.
fn vip(name: &str, ports: Vec<Ports>) -> Vip {
    let text = "node.interfaces = [\"eth0\"]\n[[vip]]\nname = \"web\"\naddress = \"192.0.2.10\"\nports = [\"any\"]\n";
    let vip = config::parse(text).expect("good").vips.remove(0);
    Vip { name: name.to_owned(), ports, ..vip }
}

#[test]
fn a_frame_is_for_the_vip_that_names_its_port_most_closely() {
    const TCP: Protocol = Protocol::Tcp;
    let tcp = tcp(CLIENT, BALANCER, &[]);
    for (own, other, is_own) in [
        (Ports::One(TCP, 80), Ports::Any, true),
        (Ports::Any, Ports::One(TCP, 80), false),
        (Ports::Any, Ports::All(TCP), false),
        (Ports::Any, Ports::All(Protocol::Udp), true),
        (Ports::One(TCP, 443), Ports::One(TCP, 80), false),
        // Nobody's port is everybody's.
        (Ports::One(TCP, 443), Ports::One(TCP, 8080), true),
    ] {
        let vips = [vip("own", vec![own]), vip("other", vec![other])];
        assert_eq!(Only::of(&vips[0], &vips).has(&tcp), is_own, "{own:?} beside {other:?}");
    }
    let alone = [vip("own", vec![Ports::One(TCP, 80)])];
    let only = Only::of(&alone[0], &alone);
    assert!(only.has(&tcp[..34]), "a port that cannot be read");
    assert!(!only.has(&[0; 20]) && !only.has(&[]));
    let elsewhere = Vip { address: [192, 0, 2, 11].into(), ..alone[0].clone() };
    assert!(!Only::of(&elsewhere, &alone).has(&tcp));
}

proptest! {
    #[test]
    fn whatever_bytes_come_are_shown_in_a_line(
        bytes in prop_oneof![vec(any::<u8>(), 0..300), altered()],
    ) {
        let names = names();
        let mut writer = Writer::new(&names).expect("a writer");
        let one = captured(Outcome::Truncated, sight(&bytes), None);
        writer.add(&names, 1, &one, (Duration::ZERO, 0)).expect("added");
        let lines: Vec<_> = Lines::new(&*writer.take()).expect("a capture").collect();
        prop_assert!(matches!(&lines[..], [Ok(line)] if line.frame.ends_with("bytes")), "{:?}", lines);
    }
}

/// A frame, cut off somewhere, with bytes that are not as they should be.
fn altered() -> impl Strategy<Value = Vec<u8>> {
    (vec((0..84_usize, any::<u8>()), 0..6), 0..84_usize).prop_map(|(changes, length)| {
        let mut frame = tcp(CLIENT, BALANCER, &[7; 30]);
        for (at, byte) in changes {
            frame[at] = byte;
        }
        frame.truncate(length);
        frame
    })
}
