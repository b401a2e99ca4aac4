//! Frames that clients, routers and reals might send, and what becomes of them when something breaks.

use tests::{
    golden::{Family, Ip, arriving},
    packet::{ACK, FIN, Ipv4, Ipv6, Link, PSH, RST, SYN},
    world::{
        ALL_MOVED, ALL_TCP, BALANCER, BY_SOURCE, EMPTY, EVERYTHING, MIXED, NO_VIP, PORTS, Party,
        ROUTER, STRANGER, UNWRITTEN, WAYS, WEB, client,
    },
};

use crate::{LENGTHS, random::Random};

const VIPS: [Party; 8] = [WEB, ALL_TCP, EVERYTHING, EMPTY, UNWRITTEN, BY_SOURCE, MIXED, NO_VIP];
const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// Most of what the datapath reads: two tags, the longest IPv4 header or some of IPv6, and TCP.
const HEADERS: usize = 14 + 8 + 60 + 20;

/// A frame of the golden table or a new valid one, and then changed a few times, or not.
pub fn frame(random: &mut Random, golden: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = if random.one_in(4) { random.of(golden).clone() } else { valid(random) };
    for _ in 0..*random.of(&[0, 0, 1, 1, 1, 2, 3, 5]) {
        mutate(random, &mut frame);
    }
    if frame.len() < *LENGTHS.start() {
        frame.resize(*LENGTHS.start(), 0);
    }
    frame.truncate(*LENGTHS.end());
    frame
}

/// A frame that somebody might send.
fn valid(random: &mut Random) -> Vec<u8> {
    let family = *random.of(&Family::ALL);
    let (source, vip) = (client(random.number()), vip(random));
    let link = link(random, vip);
    let ip = family.ip(link, source, vip).hops(random.byte()).tos(random.byte());
    let ip = match ip {
        Ip::V4(ip) => Ip::V4(with_options(random, ip)),
        Ip::V6(ip) => Ip::V6(with_extensions(random, ip)),
    };
    match random.below(14) {
        0..6 => segment(random, ip),
        6..9 => datagram(random, ip),
        9 | 10 => error(random, ip, family, source, vip),
        11 => message(random, ip, family),
        _ => {
            let payload = payload(random);
            ip.raw(protocol(random), &payload)
        }
    }
}

fn vip(random: &mut Random) -> Party {
    match random.below(6) {
        0 | 1 => random.of(&WAYS).vip,
        2 | 3 => random.of(&ALL_MOVED).vip,
        _ => *random.of(&VIPS),
    }
}

/// From the router mostly, with up to three tags.
fn link(random: &mut Random, vip: Party) -> Link {
    let count = *random.of(&[0, 0, 0, 0, 1, 1, 2, 2, 3]);
    let tags: Vec<_> = (0..count).map(|_| (*random.of(&TAGS), random.word())).collect();
    let bounced = WAYS.iter().find(|way| way.vip == vip).filter(|_| random.one_in(8));
    let Some(way) = bounced else {
        return arriving(&tags);
    };
    let link = Link::new(way.mac, BALANCER);
    tags.into_iter().fold(link, |link, (kind, control)| link.tag(kind, control))
}

fn with_options(random: &mut Random, ip: Ipv4) -> Ipv4 {
    let mut ip = ip.id(random.number());
    if random.one_in(4) {
        let length = random.below(41);
        ip = ip.options(&random.bytes(length));
    }
    match random.below(12) {
        0 => ip.fragment(random.word() & 0x1fff, random.one_in(2)),
        1 => ip.fragment(random.number() & 8, true),
        2..5 => ip.dont_fragment(),
        _ => ip,
    }
}

fn with_extensions(random: &mut Random, ip: Ipv6) -> Ipv6 {
    let mut ip = ip.flow_label(random.word().into());
    for _ in 0..*random.of(&[0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6]) {
        let length = *random.of(&[0, 1, 6, 7, 14, 30]);
        let content = random.bytes(length);
        ip = match random.below(8) {
            0 | 1 => ip.hop_by_hop(&content),
            2 => ip.routing(&content),
            3 | 4 => ip.destination_options(&content),
            5 => ip.fragment(0, false, random.number().into()),
            6 => ip.fragment(random.number() & 8, true, random.number().into()),
            _ => ip.fragment(random.word(), random.one_in(2), random.number().into()),
        };
    }
    ip
}

fn segment(random: &mut Random, ip: Ip) -> Vec<u8> {
    let flags = [SYN, SYN, ACK, SYN | ACK, FIN | ACK, PSH | ACK, RST, 0, 0xff];
    let length = *random.of(&[0, 0, 4, 12, 40]);
    let options = random.bytes(length);
    let tcp = ip.tcp(random.number(), port(random)).flags(*random.of(&flags)).options(&options);
    tcp.payload(&payload(random)).build()
}

fn datagram(random: &mut Random, ip: Ip) -> Vec<u8> {
    ip.udp(random.number(), port(random)).payload(&payload(random)).build()
}

/// About a packet of the VIP's mostly, of which more or less is quoted.
fn error(random: &mut Random, ip: Ip, family: Family, client: Party, of: Party) -> Vec<u8> {
    let sender = if random.one_in(4) { vip(random) } else { of };
    let quoted = match family.ip(arriving(&[]), sender, client) {
        Ip::V4(ip) if random.one_in(2) => Ip::V4(with_options(random, ip)),
        Ip::V6(ip) if random.one_in(3) => Ip::V6(with_extensions(random, ip)),
        Ip::V6(ip) if random.one_in(3) => Ip::V6(ip.fragment(0, true, random.word().into())),
        ip => ip,
    };
    let frame = if random.one_in(4) {
        quoted.raw(protocol(random), &payload(random))
    } else {
        quoted.tcp(port(random), random.number()).payload(&payload(random)).build()
    };
    let packet = &frame[14..];
    let any = [random.byte(), 5, 0];
    let kinds = if random.one_in(6) { &any } else { family.errors() };
    let kind = *random.of(kinds);
    let length = random.below(120).min(packet.len());
    ip.icmp(kind, random.byte()).payload(&packet[..length]).build()
}

/// Pings, neighbour discovery, and anything else.
fn message(random: &mut Random, ip: Ip, family: Family) -> Vec<u8> {
    let any = random.byte();
    let kind = match family {
        Family::V4 => *random.of(&[8, 0, 13, any]),
        Family::V6 => *random.of(&[128, 129, 133, 134, 135, 135, 136, 136, 137, any]),
    };
    let code = *random.of(&[0, 0, any]);
    ip.icmp(kind, code).payload(&payload(random)).build()
}

fn payload(random: &mut Random) -> Vec<u8> {
    let length = *random.of(&[0, 0, 1, 5, 100, 1400]);
    random.bytes(length)
}

fn port(random: &mut Random) -> u16 {
    let any = random.word();
    *random.of(&[80, 80, 53, 53, 443, 0, 81, any])
}

/// With those of IPv6 extension headers.
fn protocol(random: &mut Random) -> u8 {
    let any = random.byte();
    *random.of(&[0, 1, 6, 17, 43, 44, 47, 58, 59, 60, 132, 255, any])
}

/// Breaks something, preferably something that the datapath reads.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    let length = frame.len();
    match random.below(16) {
        0 => frame.truncate(random.below(length + 1)),
        // Where headers end.
        1 => frame.truncate(random.below(HEADERS)),
        2 => {
            let more = *random.of(&[1, 2, 18, 46, 1500, 3000]);
            frame.extend(random.bytes(more));
        }
        3 | 4 => {
            let at = random.below(length.clamp(1, HEADERS));
            let bit = 1 << random.below(8);
            let flipped = frame.get(at).copied().unwrap_or_default() ^ bit;
            put(frame, at, &[flipped]);
        }
        5 => {
            let at = random.below(length.clamp(1, HEADERS));
            let any = random.byte();
            put(frame, at, &[*random.of(&[0, 1, 0x7f, 0x80, 0xff, any])]);
        }
        6 | 7 if length >= 14 => mutate_link(random, frame),
        8.. if length >= 14 => mutate_ip(random, frame),
        _ => {}
    }
}

fn mutate_link(random: &mut Random, frame: &mut Vec<u8>) {
    let any = random.word();
    let types = [0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x0008, any];
    match random.below(4) {
        0 => {
            let any = random.bytes(6).try_into().expect("6 bytes");
            let (real, port) = (random.of(&WAYS).mac.0, random.of(&PORTS).mac.0);
            let macs = [BALANCER.0, ROUTER.0, STRANGER.0, real, port, [0xff; 6], [0; 6], any];
            put(frame, *random.of(&[0, 6, 6]), random.of(&macs).as_slice());
        }
        1 => put(frame, *random.of(&[12, 16, 20]), &random.of(&types).to_be_bytes()),
        2 => {
            let tag = [*random.of(&TAGS), any].map(u16::to_be_bytes).concat();
            frame.splice(12..12, tag);
        }
        // A tag less, where there is one.
        _ => {
            let is_tagged = ip_at(frame) > 14 && frame.len() > 16;
            frame.drain(12..if is_tagged { 16 } else { 12 });
        }
    }
}

/// Where the IP header is, behind any tags.
fn ip_at(frame: &[u8]) -> usize {
    let is_tag = |at: &usize| matches!(frame.get(*at..at + 2), Some([0x81, 0] | [0x88, 0xa8]));
    (12..).step_by(4).take_while(is_tag).count() * 4 + 14
}

fn mutate_ip(random: &mut Random, frame: &mut [u8]) {
    let at = ip_at(frame);
    let is_v6 = frame.get(at).is_some_and(|byte| byte >> 4 == 6);
    let (any, rest) = (random.word(), (frame.len().saturating_sub(at)) as u16);
    match random.below(7) {
        0 => put(frame, at, &[*random.of(&[0x40, 0x40, 0x60, 0x70]) | random.byte() & 0xf]),
        1 => {
            // About the truth, and as the network sees it.
            let about = rest.wrapping_add(any % 64).wrapping_sub(48);
            let length = *random.of(&[about, about, about, 0, 20, 0xffff, any]);
            put(frame, at + if is_v6 { 4 } else { 2 }, &length.to_be_bytes());
        }
        // Of IPv6 what would be a fragment header right behind it.
        2 => {
            let fields = [0, 0x4000, 0x8000, 0x2000, 0x2001, 1, 0x1fff, any];
            let place = if is_v6 { 40 + 2 } else { 6 };
            put(frame, at + place, &random.of(&fields).to_be_bytes());
        }
        3 => put(frame, at + if is_v6 { 6 } else { 9 }, &[protocol(random)]),
        4 if is_v6 => put(frame, at + 24, &vip(random).v6.octets()),
        4 => put(frame, at + 16, &vip(random).v4.octets()),
        // The destination port; or the kind or length of what comes second in a chain of headers.
        5 => put(frame, at + if is_v6 { 42 } else { 22 }, &port(random).to_be_bytes()),
        _ => put(frame, at + if is_v6 { 40 } else { 33 }, &[protocol(random), random.byte()]),
    }
}

/// Writes what fits.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
