//! The loaded object against the datapath's code on the host, on random frames: XDP action, bytes,
//! outcome, slot and place of each, and all counters at the end.

use lb_common::Outcome;
use tests::{
    invariant::{check, regressions},
    packet::{ACK, FIN, Ipv4, Link, PSH, RST, SYN},
    world::{
        self, ALL_TCP, BALANCER, BY_SOURCE, CLIENT, EMPTY, EVERYTHING, MIXED, NO_VIP, ROUTER,
        STRANGER, UNWRITTEN, WEB,
    },
};

use self::random::Random;

const FRAMES: u64 = 100_000;
/// Another one is taken from the environment: `DIFFERENTIAL_SEED=17 cargo xtask test -- random_frames`.
const SEED: u64 = 0x6c62_2d78_6470;
/// What a test run takes: from an Ethernet header on, up to what fits in a page beside head and tail.
const LENGTHS: std::ops::RangeInclusive<usize> = 14..=3400;
/// Reached by a generator that makes of everything something.
const OF_EACH: u64 = 50;
/// Fewer than the loaded object answers in a burst, test run and trace taken together.
const PINGS: usize = lb_common::limits::ECHOES as usize / 3;

#[test]
fn both_engines_agree_on_random_frames() {
    let seed =
        std::env::var("DIFFERENTIAL_SEED").map_or(SEED, |seed| seed.parse().expect("a seed"));
    let (memory, mut kernel, state) = world::engines(&world::wider_world());
    let golden = tests::golden::table().into_iter().map(|row| row.frame).collect::<Vec<_>>();
    let found = regressions().into_iter().map(|(_, frame)| frame);
    let found = found.filter(|frame| LENGTHS.contains(&frame.len()));
    let random = (0..FRAMES).map(|number| frame(&mut Random::new(seed, number), &golden));
    let mut pings = 0;
    for (number, frame) in found.chain(random).enumerate() {
        pings += usize::from(may_be_ping(&frame));
        if pings > PINGS && may_be_ping(&frame) {
            continue;
        }
        let hex = || frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let which = || format!("DIFFERENTIAL_SEED={seed}, frame {number}: {}", hex());
        let mut host = frame.clone();
        let verdict = memory.process(&mut host);
        let outcome = verdict.err().unwrap_or(Outcome::Forwarded);
        let (action, loaded) = kernel.process(&frame).expect("a test run");
        assert_eq!(action, world::xdp_action(outcome), "{outcome:?}: action; {}", which());
        assert_eq!(loaded, host, "{outcome:?}: bytes; {}", which());
        let traced = kernel.trace(&frame).expect("a trace");
        assert_eq!(traced.outcome, outcome.index(), "{outcome:?}: outcome; {}", which());
        if let Ok(forward) = verdict {
            let traced = (traced.place, traced.slot, traced.rule);
            assert_eq!(traced, (forward.place, forward.slot, forward.rule as u32), "{}", which());
        }
    }
    let host = world::host_counters(&memory, &state);
    assert_eq!(host, world::kernel_counters(&kernel, &state), "counters; seed {seed}");
    for (outcome, count) in Outcome::ALL.iter().zip(&host.0) {
        println!("{:>12} {count}", outcome.label());
        // Limited by a rate, which the host does not have.
        if *outcome == Outcome::EchoLimited {
            continue;
        }
        assert!(
            *count >= OF_EACH,
            "the generator hardly makes frames that are {}",
            outcome.label()
        );
    }
}

/// ICMP in a header without options, and the type of a request.
fn may_be_ping(frame: &[u8]) -> bool {
    frame.get(23) == Some(&1) && frame.get(34) == Some(&8)
}

/// Frames shorter than a test run takes, too.
#[test]
fn random_frames_keep_the_invariants_on_the_host() {
    let (memory, _) = world::host(&world::wider_world());
    let golden = tests::golden::table().into_iter().map(|row| row.frame).collect::<Vec<_>>();
    for number in 0..FRAMES / 4 {
        let random = &mut Random::new(SEED, number);
        let mut frame = frame(random, &golden);
        frame.truncate(random.below(80));
        check(&memory, &frame);
    }
}

/// A frame of the golden table or a new valid one, and then changed a few times, or not.
fn frame(random: &mut Random, golden: &[Vec<u8>]) -> Vec<u8> {
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

/// A frame that a client might send.
fn valid(random: &mut Random) -> Vec<u8> {
    let vips = [WEB, ALL_TCP, EVERYTHING, EMPTY, UNWRITTEN, BY_SOURCE, MIXED, NO_VIP];
    let client = std::net::Ipv4Addr::from(u32::from(CLIENT) ^ random.below(1 << 16) as u32);
    let mut ip: Ipv4 = Link::new(ROUTER, BALANCER).ipv4(client, *random.of(&vips));
    ip = ip.ttl(random.byte()).tos(random.byte()).id(random.word());
    if random.one_in(4) {
        let length = random.below(41);
        ip = ip.options(&random.bytes(length));
    }
    match random.below(12) {
        0 => ip = ip.fragment(random.word() & 0x1fff, random.one_in(2)),
        1..4 => ip = ip.dont_fragment(),
        _ => {}
    }
    let length = *random.of(&[0, 0, 1, 5, 100, 1400]);
    let payload = random.bytes(length);
    let (source, port) = (random.word(), port(random));
    match random.below(12) {
        0..6 => {
            let flags = [SYN, SYN, ACK, SYN | ACK, FIN | ACK, PSH | ACK, RST, 0, 0xff];
            let length = *random.of(&[0, 0, 4, 12, 40]);
            let options = random.bytes(length);
            let tcp = ip.tcp(source, port).flags(*random.of(&flags)).options(&options);
            tcp.payload(&payload).build()
        }
        6..10 => ip.udp(source, port).payload(&payload).build(),
        10 if random.one_in(2) => {
            let quoted = Link::new(ROUTER, BALANCER).ipv4(*random.of(&vips), client);
            let quoted = quoted.tcp(port, source).payload(&payload).packet();
            let kind = *random.of(&[3, 3, 11, 12, 5]);
            ip.icmp(kind, random.byte())
                .payload(&quoted[..random.below(64).min(quoted.len())])
                .build()
        }
        10 => ip.icmp(random.byte(), random.byte()).payload(&payload).build(),
        _ => ip.raw(random.byte(), &payload),
    }
}

fn port(random: &mut Random) -> u16 {
    let any = random.word();
    *random.of(&[80, 80, 53, 53, 443, 0, 81, any])
}

/// Breaks something, preferably something that the datapath reads.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    const HEADERS: usize = 14 + 60 + 20;
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
        6 => {
            let any = random.bytes(6).try_into().expect("6 bytes");
            let macs = [BALANCER.0, BALANCER.0, ROUTER.0, STRANGER.0, [0xff; 6], [0; 6], any];
            put(frame, *random.of(&[0, 0, 6]), random.of(&macs).as_slice());
        }
        7 => {
            let any = random.word();
            let types = [0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x0008, any];
            put(frame, 12, &random.of(&types).to_be_bytes());
        }
        8 if length >= 12 => {
            let outer = *random.of(&[0x81, 0x88]);
            let tag = [outer, if outer == 0x81 { 0 } else { 0xa8 }, random.byte(), random.byte()];
            frame.splice(12..12, tag);
        }
        9 => put(frame, 14, &[0x40 | random.byte() & 0xf]),
        10 => {
            // About the truth, and as the network sees it.
            let about = (length as u16).wrapping_add(random.word() % 64).wrapping_sub(14 + 48);
            let any = random.word();
            put(frame, 16, &random.of(&[about, about, about, 0, 20, 0xffff, any]).to_be_bytes());
        }
        11 => {
            let any = random.word();
            let fields = [0, 0x4000, 0x8000, 0x2000, 0x2001, 1, 0x1fff, any];
            put(frame, 20, &random.of(&fields).to_be_bytes());
        }
        12 => {
            let any = random.byte();
            put(frame, 23, &[*random.of(&[0, 1, 6, 17, 47, 132, 255, any])]);
        }
        13 => {
            let vips = [WEB, ALL_TCP, EVERYTHING, EMPTY, UNWRITTEN, BY_SOURCE, MIXED, NO_VIP];
            put(frame, 30, &random.of(&vips).octets());
        }
        14 => put(frame, 36, &port(random).to_be_bytes()),
        _ => put(frame, 47, &[random.byte()]),
    }
}

/// Writes what fits.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

mod random {
    //! Numbers that are the same on every machine (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).

    pub struct Random(u64);

    impl Random {
        /// The numbers for one frame.
        pub fn new(seed: u64, frame: u64) -> Self {
            let mut random = Self(seed ^ frame.wrapping_mul(0xd6e8_feb8_6659_fd93));
            Self(random.next())
        }

        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        }

        /// Below `limit`, which is not 0.
        pub fn below(&mut self, limit: usize) -> usize {
            (self.next() % limit as u64) as usize
        }

        pub fn one_in(&mut self, many: usize) -> bool {
            self.below(many) == 0
        }

        pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
            &choices[self.below(choices.len())]
        }

        pub fn byte(&mut self) -> u8 {
            self.next() as u8
        }

        pub fn word(&mut self) -> u16 {
            self.next() as u16
        }

        pub fn bytes(&mut self, length: usize) -> Vec<u8> {
            let mut bytes: Vec<u8> =
                (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
            bytes.truncate(length);
            bytes
        }
    }
}
