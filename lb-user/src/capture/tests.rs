use std::{net::IpAddr, time::Duration};

use etherparse::PacketBuilder;
use lb_common::{
    Outcome,
    capture::{Captured, SNAP, Sight},
    layout::Rule,
};

use super::{Lines, Names, Writer, destination};

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

#[test]
fn a_frame_is_for_its_destination() {
    let vip: IpAddr = "192.0.2.10".parse().expect("an address");
    assert_eq!(destination(&tcp(CLIENT, BALANCER, &[])), Some(vip));
    assert_eq!(destination(&[0; 20]), None);
    assert_eq!(destination(&[]), None);
}

#[test]
fn whatever_bytes_come_are_shown_in_a_line() {
    let frame = tcp(CLIENT, BALANCER, &[7; 30]);
    let names = names();
    for length in 0..frame.len() {
        let mut writer = Writer::new(&names).expect("a writer");
        let one = captured(Outcome::Truncated, sight(&frame[..length]), None);
        writer.add(&names, 1, &one, (Duration::ZERO, 0)).expect("added");
        let lines: Vec<_> = Lines::new(&*writer.take()).expect("a capture").collect();
        assert!(matches!(&lines[..], [Ok(line)] if line.frame.ends_with("bytes")), "{lines:?}");
    }
}
