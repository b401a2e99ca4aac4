//! What holds for the datapath's code whatever the frame: checked by the fuzzer, on the golden table,
//! and on every case that the fuzzer has found.

use std::{
    cell::{Cell, RefCell},
    fs,
    path::{Path, PathBuf},
};

use lb_common::{Outcome, PortWord, RealWord, layout::Rule};
use lb_ebpf::{
    process,
    tables::{Count, Tables as _},
};
use lb_user::{dataplane::Memory, model::Mac};

use crate::{
    packet::{ACK, Link, RST, SYN, checksum},
    world::{Arrived, BALANCER},
};

/// Counts what one frame made the datapath count.
#[derive(Default)]
struct Tally {
    outcomes: RefCell<Vec<Outcome>>,
    steered: RefCell<Vec<(u32, u64)>>,
    begins: Cell<bool>,
}

impl Count for Tally {
    fn outcome(&self, outcome: Outcome) {
        self.outcomes.borrow_mut().push(outcome);
    }

    fn steered(&self, place: u32, bytes: u64, begins: bool) {
        self.steered.borrow_mut().push((place, bytes));
        self.begins.set(begins);
    }
}

/// Checks a frame that arrives in one buffer; returns how it ended.
pub fn check(memory: &Memory, frame: &[u8]) -> Outcome {
    check_arrived(memory, Arrived::new(frame))
}

/// Checks a frame in all the ways in which it may arrive.
pub fn check_all(memory: &Memory, frame: &[u8]) {
    check(memory, frame);
    for room in [0, 4] {
        check_arrived(memory, Arrived::new(frame).with_room(room));
    }
    check_arrived(memory, Arrived::new(frame).without_interfaces());
    // The length decides where it is cut, so that the fuzzer may choose.
    for first in [frame.len() / 2, frame.len() % 128] {
        check_arrived(memory, Arrived::new(frame).in_buffers(first));
    }
}

/// Checks that a flow stays with its real, however often its frame comes, and also when what began as a
/// SYN goes on. Nothing is noted of anybody before or after.
pub fn check_flow(memory: &Memory, frame: &[u8]) {
    let place =
        |frame: &[u8]| memory.process(&mut Arrived::new(frame)).map(|forward| forward.place);
    memory.forget();
    let first = memory.process(&mut Arrived::new(frame));
    let follows = first.is_ok_and(|forward| forward.rule == Rule::Fragment);
    assert!(!follows, "no fragment follows one that did not come");
    let first = first.map(|forward| forward.place);
    for _ in 0..2 {
        assert_eq!(place(frame), first, "the same again");
    }
    if let Some(segment) = goes_on(frame).filter(|_| first.is_ok()) {
        for _ in 0..3 {
            assert_eq!(place(&segment), first, "what goes on");
        }
    }
    memory.forget();
}

/// The SYN of a plain frame as a segment of its connection.
fn goes_on(frame: &[u8]) -> Option<Vec<u8>> {
    let flags = 13
        + match frame.get(12..15)? {
            [0x08, 0x00, 0x45] if frame.get(23)? == &6 => 34,
            [0x86, 0xdd, _] if frame.get(20)? == &6 => 54,
            _ => return None,
        };
    let mut frame = frame.to_vec();
    let flags = frame.get_mut(flags).filter(|flags| **flags & (SYN | ACK) == SYN)?;
    *flags = ACK;
    Some(frame)
}

/// Runs a frame through the datapath's code and panics if something is broken: a frame that is not
/// forwarded is untouched (but for a ping and a segment that become their answers), one that is differs
/// in its Ethernet addresses and tags only, and each is counted once, as what it was. Returns how it
/// ended.
pub fn check_arrived(memory: &Memory, mut arrived: Arrived) -> Outcome {
    let (before, buffer) = (arrived.bytes(), arrived.first_buffer());
    let tally = Tally::default();
    let verdict = process(&mut arrived, memory, &tally);
    let after = arrived.bytes();
    let outcome = verdict.err().unwrap_or(Outcome::Forwarded);
    // What is forwarded is counted at its real only.
    let counted = if verdict.is_ok() { Vec::new() } else { vec![outcome] };
    assert_eq!(*tally.outcomes.borrow(), counted, "one outcome is counted, the one returned");
    let steered = tally.steered.borrow();
    let Ok(forward) = verdict else {
        match outcome {
            Outcome::EchoAnswered => check_answer(&before, &after),
            Outcome::Reset => assert_eq!(after, reset_of(&before), "the reset of a segment"),
            _ => assert_eq!(after, before, "a frame that is not forwarded is untouched"),
        }
        assert!(steered.is_empty(), "nobody was steered to");
        return outcome;
    };
    assert_eq!(*steered, [(forward.place, forward.length)], "its real has counted it");
    let lengths = buffer as u64..=before.len() as u64;
    assert!(lengths.contains(&forward.length), "it has counted what came");
    assert_eq!(tally.begins.get(), forward.begins, "a flow is counted as it is reported");
    assert!(memory.address(forward.place).is_some(), "it goes to a real");
    assert_eq!(arrived.redirected(), (forward.port != 1).then_some(forward.port), "its port");
    assert_eq!(before[..6], BALANCER.0, "only what is sent to the balancer is forwarded");
    let real = memory.real(forward.place);
    assert_eq!(forward.port, real.port(), "it leaves by the port of its real");
    assert_ne!(before[6..12], real.mac(), "nothing goes back to where it came from");
    assert_eq!(after, sent_on(&before, real, memory.port(real.port())), "only the link changes");
    outcome
}

/// A frame's addresses, its tags, and what they stand before: an EtherType and its packet.
struct Parts<'a> {
    addresses: &'a [u8],
    /// EtherType and control field of each, up to two.
    tags: Vec<(u16, u16)>,
    packet: &'a [u8],
}

fn parts(frame: &[u8]) -> Parts<'_> {
    let (addresses, mut packet) = frame.split_at(12);
    let mut tags = Vec::new();
    while let [a, b, c, d, rest @ ..] = packet
        && matches!([a, b], [0x81, 0x00] | [0x88, 0xa8])
        && tags.len() < 2
    {
        tags.push((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
        packet = rest;
    }
    Parts { addresses, tags, packet }
}

/// The frame as it must leave to a real by a port: other addresses, other tags with the priorities
/// of those before, and nothing else.
#[must_use]
pub fn sent_on(frame: &[u8], real: RealWord, port: PortWord) -> Vec<u8> {
    const PRIORITY: u16 = 0xf000;
    let Parts { tags, packet, .. } = parts(frame);
    let priority = |tag: Option<&(u16, u16)>| tag.map_or(0, |(_, control)| control & PRIORITY);
    let outer_kind: u16 = if port.is_service_tag() { 0x88a8 } else { 0x8100 };
    let tags = [
        (outer_kind, port.outer_vlan(), priority(tags.first())),
        (0x8100, real.vlan(), priority(tags.last())),
    ];
    let [mac @ .., _, _] = port.mac_bits().to_le_bytes();
    let mut sent = [real.mac(), mac].concat();
    for (kind, vlan, priority) in tags.into_iter().filter(|(_, vlan, _)| *vlan != 0) {
        sent.extend(kind.to_be_bytes());
        sent.extend((vlan | priority).to_be_bytes());
    }
    sent.extend(packet);
    sent
}

/// Panics unless a ping went back to where it came from, with nothing changed that an answer keeps,
/// and with checksums as right or as wrong as they were.
pub fn check_answer(ping: &[u8], answer: &[u8]) {
    let (before, after) = (parts(ping), parts(answer));
    let [to @ .., _, _, _, _, _, _] = before.addresses else { panic!("addresses") };
    assert_eq!(after.addresses, [&before.addresses[6..], to].concat(), "back to the router");
    assert_eq!(after.tags, before.tags, "by the same VLAN");
    let (request, answer) = (&before.packet[2..], &after.packet[2..]);
    let mut expected = before.packet.to_vec();
    if before.packet[..2] == [0x08, 0x00] {
        turn_ipv4(&mut expected[2..], answer);
        check_sums("IP header", &request[..20], &answer[..20]);
        let total = usize::from(u16::from_be_bytes([request[2], request[3]]));
        check_sums("ICMP", &request[20..total], &answer[20..total]);
    } else {
        turn_ipv6(&mut expected[2..], answer);
        let end = 40 + usize::from(u16::from_be_bytes([request[4], request[5]]));
        check_sums("ICMPv6", &pseudo(&request[..end]), &pseudo(&answer[..end]));
    }
    assert_eq!(after.packet, expected, "everything else");
}

/// What the checksum of an ICMPv6 message covers (RFC 8200, section 8.1).
fn pseudo(packet: &[u8]) -> Vec<u8> {
    let (ip, message) = packet.split_at(40);
    let length = (message.len() as u32).to_be_bytes();
    [&ip[8..40], &length, &[0, 0, 0, 58], message].concat()
}

/// The reset that goes back for a segment (RFC 9293, section 3.10.7.1).
///
/// # Panics
///
/// Where a host would not answer so: to what is a reset itself, acknowledges nothing, or is no whole
/// segment behind a header without options.
#[must_use]
pub fn reset_of(segment: &[u8]) -> Vec<u8> {
    let Parts { addresses, tags, packet } = parts(segment);
    let [destination, source] =
        [0, 6].map(|at| Mac(addresses[at..at + 6].try_into().expect("a MAC address")));
    let link = tags.iter().fold(Link::new(destination, source), |link, tag| link.tag(tag.0, tag.1));
    let (ether_type, ip) = packet.split_at(2);
    let at = if ether_type == [0x08, 0x00] { 20 } else { 40 };
    let number = |at| u32::from_be_bytes(ip[at..at + 4].try_into().expect("a word"));
    let (ports, acknowledged, flags) = (number(at), number(at + 8), ip[at + 13]);
    assert!(flags & ACK != 0 && flags & RST == 0, "only what acknowledges, and no reset, is reset");
    let reset = if at == 20 {
        assert_eq!((ip[0], ip[9]), (0x45, 6), "TCP behind a header without options");
        assert_eq!(number(4) & 0x3fff, 0, "no fragment");
        link.ipv4(number(16).into(), number(12).into())
            .dont_fragment()
            .tcp(ports as u16, (ports >> 16) as u16)
    } else {
        assert_eq!(ip[6], 6, "TCP without extension headers");
        let address = |at| u128::from_be_bytes(ip[at..at + 16].try_into().expect("an address"));
        link.ipv6(address(24).into(), address(8).into()).tcp(ports as u16, (ports >> 16) as u16)
    };
    reset.flags(RST).numbers(acknowledged, 0).window(0).build()
}

/// Makes an answer of a request, but for the checksums, which are taken from the answer.
fn turn_ipv4(packet: &mut [u8], answer: &[u8]) {
    packet[8] = 64;
    packet[10..12].copy_from_slice(&answer[10..12]);
    let (source, destination) = packet[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    packet[20] = 0;
    packet[22..24].copy_from_slice(&answer[22..24]);
}

fn turn_ipv6(packet: &mut [u8], answer: &[u8]) {
    packet[7] = 64;
    let (source, destination) = packet[8..40].split_at_mut(16);
    source.swap_with_slice(destination);
    packet[40] = 129;
    packet[42..44].copy_from_slice(&answer[42..44]);
}

/// A right checksum stays right, a wrong one as wrong as it was. (One's complement has two zeros, one
/// of which a right sum never has.)
fn check_sums(what: &str, before: &[u8], after: &[u8]) {
    let (before, after) = (checksum(&[before]), checksum(&[after]));
    if before == 0 {
        assert_eq!(after, 0, "{what}: checksum");
    } else {
        assert_eq!(after % 0xffff, before % 0xffff, "{what}: checksum");
    }
}

/// The cases that the fuzzer has found, with their files.
#[must_use]
pub fn regressions() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    let files = fs::read_dir(dir).expect("the directory of regressions").flatten();
    let files = files.map(|file| file.path());
    let mut cases: Vec<_> = files
        .filter(|file| file.file_name().is_some_and(|name| name != "README.md"))
        .map(|file| {
            let frame = fs::read(&file).expect("a case");
            (file, frame)
        })
        .collect();
    cases.sort();
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden::table, world::host};

    #[test]
    fn every_frame_of_the_golden_table_keeps_the_invariants() {
        let (memory, _) = host();
        for row in table() {
            assert_eq!(check(&memory, &row.frame), row.outcome, "{}", row.claim);
        }
    }

    #[test]
    fn every_flow_of_the_golden_table_stays_with_its_real() {
        let (memory, _) = host();
        for row in table() {
            check_flow(&memory, &row.frame);
        }
    }

    #[test]
    fn every_frame_of_the_golden_table_keeps_them_however_it_arrives() {
        let (memory, _) = host();
        for row in table() {
            check_all(&memory, &row.frame);
        }
    }

    #[test]
    fn every_frame_of_the_golden_table_keeps_them_cut_off_anywhere() {
        let (memory, _) = host();
        let whole = table().into_iter().filter(|row| row.outcome != Outcome::Truncated);
        for row in whole.filter(|row| row.frame.len() < 200) {
            for length in 0..row.frame.len() {
                check(&memory, &row.frame[..length]);
            }
        }
    }

    #[test]
    fn what_the_fuzzer_has_found_stays_fixed() {
        let (memory, _) = host();
        for (file, frame) in regressions() {
            println!("{}", file.display());
            check_all(&memory, &frame);
            check_flow(&memory, &frame);
        }
    }

    #[test]
    fn a_frame_too_short_for_any_header_is_truncated() {
        let (memory, _) = host();
        for length in 0..14 {
            assert_eq!(check(&memory, &vec![0; length]), Outcome::Truncated);
        }
    }
}
