//! Slots that move while flows go on, and what is noted of them meanwhile.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use aya::{
    maps::{HashMap, Map, MapData},
    programs::Xdp,
};
use lb_common::{Entry, Flow, FlowKey, Outcome, RealWord, Tick, layout::Rule, limits};
use lb_ebpf::tables::{Notes, Tables as _};
use lb_user::{
    dataplane::{Dataplane as _, Kernel, Memory},
    plan::{Op, State},
};
use tests::{
    golden::{Family, Kind, table, to_balancer},
    packet::{ACK, FIN, RST, SYN},
    world::{
        self, ALL_MOVED, CLIENT, MOVED, NEW, NEXT, NOTES, OLD, Party, client, clock, engines,
        noted, on_host, owners, reached, traced,
    },
};

const UDP: u8 = 17;

/// Both engines, which must agree.
struct Both {
    memory: Memory,
    kernel: Kernel,
    state: State,
}

impl Both {
    fn new() -> Self {
        let (memory, kernel, state) = engines();
        Self { memory, kernel, state }
    }

    fn write(&mut self, ops: &[Op]) {
        let Ok(()) = self.memory.apply(ops);
        self.kernel.apply(ops).expect("the maps are written");
    }

    /// Gives the slots of [`MOVED`] other owners, opened at this moment.
    fn turn(&mut self, current: u8, previous: Option<u8>, opened: Tick) {
        self.write(&owners(&self.state, MOVED.vip, Some(current), previous, opened));
    }

    /// A real of [`MOVED`] is gone.
    fn lose(&mut self, last: u8) {
        let ops = reached(&mut self.state, MOVED.vip, last, RealWord::NONE);
        self.write(&ops);
    }

    /// Place, slot and rule.
    fn steer(&mut self, frame: &[u8]) -> (u32, u32, Rule) {
        self.memory.set_now(clock());
        let host = on_host(&self.memory, &self.state, frame);
        let loaded = world::in_kernel(&mut self.kernel, &self.state, frame);
        assert_eq!(host, loaded, "the engines differ");
        host.verdict.expect("it is forwarded")
    }

    /// To whom a frame goes, and why.
    fn sends(&mut self, frame: &[u8]) -> (u8, Rule) {
        let (place, _, rule) = self.steer(frame);
        let (block, real) = self.state.occupant(place).expect("a pool");
        (block.members[&real.expect("a real")].word.mac()[5], rule)
    }
}

/// A segment of the client's connection with this port.
fn segment(family: Family, port: u16, flags: u8) -> Vec<u8> {
    family.to(MOVED.vip).tcp(port, 80).flags(flags).build()
}

fn datagram(family: Family, port: u16) -> Vec<u8> {
    family.to(MOVED.vip).udp(port, 53).build()
}

/// More than a tick, so that what is noted before and after is told apart.
fn pass_time() {
    sleep(Duration::from_millis(5));
}

#[test]
fn a_noted_flow_stays_with_its_real_when_its_slot_moves_on() {
    let mut both = Both::new();
    for family in Family::ALL {
        both.turn(NEW, Some(OLD), clock());
        both.sends(&segment(family, 1, SYN));
        both.sends(&segment(family, 1, ACK));
        both.sends(&segment(family, 2, SYN));
        both.sends(&datagram(family, 1));
        both.write(&owners_only(&both.state, NEXT));
        assert_eq!(both.sends(&segment(family, 1, ACK)), (NEW, Rule::Pinned), "{family:?}");
        assert_eq!(both.sends(&segment(family, 2, ACK)), (NEW, Rule::Fresh), "{family:?}");
        assert_eq!(both.sends(&datagram(family, 1)), (OLD, Rule::Pinned), "{family:?}");
        assert_eq!(both.sends(&segment(family, 3, ACK)), (OLD, Rule::Previous), "{family:?}");
        assert_eq!(both.sends(&segment(family, 3, SYN)), (NEXT, Rule::Current), "{family:?}");
    }
}

/// The slots of [`MOVED`] get another current owner, and stay as open as they are.
fn owners_only(state: &State, current: u8) -> Vec<Op> {
    let mut ops = owners(state, MOVED.vip, Some(current), Some(OLD), Tick(0));
    ops.retain(|op| matches!(op, Op::Slots(_)));
    ops
}

#[test]
fn what_a_client_has_closed_stays_and_makes_way_for_what_it_opens_next() {
    let mut both = Both::new();
    for (family, (port, end)) in Family::ALL.into_iter().zip([(1, FIN | ACK), (2, RST)]) {
        both.turn(NEW, Some(OLD), clock());
        both.sends(&segment(family, port, SYN));
        both.sends(&segment(family, port, ACK));
        both.write(&owners_only(&both.state, NEXT));
        assert_eq!(both.sends(&segment(family, port, SYN)), (NEW, Rule::Pinned), "{family:?}");
        assert_eq!(both.sends(&segment(family, port, end)), (NEW, Rule::Pinned), "{family:?}");
        assert_eq!(both.sends(&segment(family, port, ACK)), (NEW, Rule::Pinned), "{family:?}");
        assert_eq!(both.sends(&segment(family, port, SYN)), (NEXT, Rule::Current), "{family:?}");
        assert_eq!(both.sends(&segment(family, port, ACK)), (NEXT, Rule::Pinned), "{family:?}");
    }
}

#[test]
fn what_finds_no_room_begins_with_the_previous_owner_and_stays_there() {
    let mut both = Both::new();
    let set_full = |both: &mut Both, full| {
        both.memory.set_full(full);
        both.kernel.set_full(full);
    };
    for family in Family::ALL {
        both.turn(NEW, Some(OLD), clock());
        both.sends(&segment(family, 1, SYN));
        set_full(&mut both, true);
        assert_eq!(both.sends(&segment(family, 1, ACK)), (NEW, Rule::Fresh), "{family:?}");
        assert_eq!(both.sends(&segment(family, 2, SYN)), (OLD, Rule::Previous), "{family:?}");
        // One that was closed begins again where it was.
        both.sends(&segment(family, 1, FIN));
        both.write(&owners_only(&both.state, NEXT));
        assert_eq!(both.sends(&segment(family, 1, SYN)), (NEW, Rule::Pinned), "{family:?}");
        set_full(&mut both, false);
        assert_eq!(both.sends(&segment(family, 1, SYN)), (NEW, Rule::Pinned), "it is open");
        both.write(&owners_only(&both.state, NEW));
        assert_eq!(both.sends(&segment(family, 2, ACK)), (OLD, Rule::Previous), "{family:?}");
        assert_eq!(both.sends(&segment(family, 3, SYN)), (NEW, Rule::Current), "{family:?}");
    }
    set_full(&mut both, true);
    both.lose(OLD);
    assert_eq!(both.sends(&segment(Family::V4, 4, SYN)), (NEW, Rule::Current), "nobody else");
}

#[test]
fn a_flow_whose_real_is_gone_belongs_to_somebody_else_from_then_on() {
    let mut both = Both::new();
    for family in Family::ALL {
        both.sends(&segment(family, 1, SYN));
        both.sends(&segment(family, 1, ACK));
        both.sends(&segment(family, 2, SYN));
    }
    both.write(&owners_only(&both.state, NEXT));
    both.lose(NEW);
    for family in Family::ALL {
        // It goes on, so that it counts as older than the move.
        assert_eq!(both.sends(&segment(family, 1, ACK)), (OLD, Rule::Previous), "{family:?}");
        assert_eq!(both.sends(&segment(family, 1, ACK)), (OLD, Rule::Pinned), "{family:?}");
        assert_eq!(both.sends(&segment(family, 2, SYN)), (NEXT, Rule::Current), "{family:?}");
        assert_eq!(both.sends(&segment(family, 2, SYN)), (NEXT, Rule::Fresh), "{family:?}");
        both.sends(&datagram(family, 1));
    }
    both.lose(OLD);
    for family in Family::ALL {
        assert_eq!(both.sends(&segment(family, 1, ACK)), (NEXT, Rule::Current), "{family:?}");
        assert_eq!(both.sends(&segment(family, 1, ACK)), (NEXT, Rule::Pinned), "{family:?}");
        assert_eq!(both.sends(&datagram(family, 1)), (NEXT, Rule::Current), "{family:?}");
        assert_eq!(both.sends(&datagram(family, 1)), (NEXT, Rule::Pinned), "{family:?}");
    }
}

#[test]
fn what_was_noted_before_the_slot_was_opened_means_nothing() {
    let mut both = Both::new();
    let flows = |both: &mut Both, family| {
        [
            both.sends(&segment(family, 1, ACK)),
            both.sends(&segment(family, 2, SYN)),
            both.sends(&datagram(family, 1)),
        ]
    };
    for family in Family::ALL {
        both.turn(NEW, Some(OLD), clock());
        both.sends(&segment(family, 1, SYN));
        both.sends(&segment(family, 1, ACK));
        both.sends(&segment(family, 2, SYN));
        both.sends(&datagram(family, 1));
        both.turn(NEW, None, clock());
        assert_eq!(flows(&mut both, family), [(NEW, Rule::Current); 3], "{family:?}");
        pass_time();
        both.turn(NEXT, Some(NEW), clock());
        let expected = [(NEW, Rule::Previous), (NEXT, Rule::Current), (NEW, Rule::Previous)];
        assert_eq!(flows(&mut both, family), expected, "{family:?}");
        let expected = [(NEW, Rule::Previous), (NEXT, Rule::Fresh), (NEW, Rule::Pinned)];
        assert_eq!(flows(&mut both, family), expected, "{family:?}");
    }
}

#[test]
fn unknown_datagrams_count_as_old_for_as_long_as_the_vip_says() {
    let mut both = Both::new();
    let grace = both.state.entries.iter().map(|entry| entry.grace).max().expect("an entry");
    let second = Tick::ticks(1_000_000_000);
    for family in Family::ALL {
        for (port, age, expected) in [
            (10, grace - 5 * second, (OLD, Rule::Previous)),
            (11, grace + second, (NEW, Rule::Current)),
        ] {
            both.turn(NEW, Some(OLD), Tick(clock().0.wrapping_sub(age)));
            assert_eq!(both.sends(&datagram(family, port)), expected, "{family:?}");
        }
        assert_eq!(both.sends(&datagram(family, 10)), (OLD, Rule::Pinned), "{family:?}");
    }
}

#[test]
fn a_slot_knows_when_an_unknown_connection_last_sent_to_its_previous_owner() {
    let mut both = Both::new();
    let opened = Tick(clock().0.wrapping_sub(10_000));
    for family in Family::ALL {
        both.turn(NEW, Some(OLD), opened);
        let quote = family.answer(MOVED.vip).tcp(80, 3).packet();
        let error = family.to(MOVED.vip).message(Kind::TooBig).payload(&quote).build();
        let known = [
            error,
            segment(family, 3, SYN),
            segment(family, 3, ACK),
            segment(family, 3, ACK),
            datagram(family, 3),
        ];
        for (number, frame) in known.iter().enumerate() {
            let index = slot(&mut both, family, frame);
            let times = [both.memory.times(index), both.kernel.times(index)];
            let seen = times.map(|times| (times.opened(), times.seen()));
            assert_eq!(seen, [(opened, opened); 2], "{family:?}: frame {number}");
        }
        let (place, slot_of_it, _) =
            traced(&mut both.kernel, &segment(family, 4, ACK)).expect("it is forwarded");
        let (block, _) = both.state.occupant(place).expect("a pool");
        let times = both.kernel.times(block.ring + slot_of_it);
        assert_eq!(times.seen(), opened, "a trace leaves no mark");
        let index = slot(&mut both, family, &segment(family, 4, ACK));
        for times in [both.memory.times(index), both.kernel.times(index)] {
            assert_eq!(times.opened(), opened);
            assert!(times.is_marked(), "{family:?}");
        }
    }
}

#[test]
fn a_mark_becomes_the_moment_at_which_it_is_looked_at_and_is_left_anew() {
    let mut both = Both::new();
    let opened = Tick(clock().0.wrapping_sub(10_000));
    for family in Family::ALL {
        both.turn(NEW, Some(OLD), opened);
        let frame = segment(family, 4, ACK);
        let index = slot(&mut both, family, &frame);
        for _ in 0..2 {
            assert!(both.kernel.times(index).is_marked(), "{family:?}");
            assert_eq!(both.kernel.times(index).silent(clock()), 0, "it cannot be closed");
            let before = clock();
            both.kernel.date_marks([index, index + 1], clock);
            let times = both.kernel.times(index);
            assert_eq!(times.opened(), opened);
            assert!(!times.seen().is_before(before) && !clock().is_before(times.seen()));
            both.kernel.date_marks([index], || Tick(7));
            assert_eq!(both.kernel.times(index), times, "there was no mark");
            both.steer(&frame);
        }
        // Ways that plain packets do not take leave one, too.
        both.kernel.date_marks([index], clock);
        let tagged = family.ip(to_balancer().vlan(5), CLIENT, MOVED.vip);
        both.steer(&tagged.tcp(4, 80).flags(ACK).build());
        assert!(both.kernel.times(index).is_marked(), "{family:?}");
    }
}

/// What is noted goes where its note says, what is older where it was, and both engines agree, whatever their
/// hashes have in common.
#[test]
fn a_connection_that_is_noted_is_never_taken_for_an_older_one() {
    let mut both = Both::new();
    both.turn(NEW, Some(OLD), clock());
    for family in Family::ALL {
        for port in 1..1000 {
            assert_eq!(both.sends(&segment(family, port, ACK)), (OLD, Rule::Previous), "{port}");
        }
    }
    assert_eq!(both.kernel.noted_hashes(), 0, "nothing has begun");
    let begins = segment(Family::V4, 1001, SYN);
    assert!(traced(&mut both.kernel, &begins).is_ok());
    assert_eq!(both.kernel.noted_hashes(), 0, "a trace notes nothing");
    for family in Family::ALL {
        both.write(&owners_only(&both.state, NEW));
        for port in 1001..2000 {
            assert_eq!(both.sends(&segment(family, port, SYN)), (NEW, Rule::Current), "{port}");
            assert_eq!(both.sends(&segment(family, port, ACK)), (NEW, Rule::Fresh), "{port}");
        }
        both.write(&owners_only(&both.state, NEXT));
        for port in 1..2000 {
            let expected = match port {
                1000 => continue,
                1..1000 => (OLD, Rule::Previous),
                _ => (NEW, Rule::Pinned),
            };
            assert_eq!(both.sends(&segment(family, port, ACK)), expected, "{family:?} {port}");
        }
    }
    assert!((1900..=2 * 999).contains(&both.kernel.noted_hashes()));
}

#[test]
fn hashes_are_forgotten_once_no_slot_is_tracked_and_not_before() {
    let mut both = Both::new();
    let close = |both: &mut Both, but: Option<Party>| {
        for moved in ALL_MOVED.iter().filter(|moved| Some(moved.vip) != but) {
            both.write(&owners(&both.state, moved.vip, Some(NEW), None, clock()));
        }
    };
    both.turn(NEW, Some(OLD), clock());
    for family in Family::ALL {
        both.sends(&segment(family, 1, SYN));
    }
    close(&mut both, Some(MOVED.vip));
    both.kernel.clear_noted();
    assert!((1..=2).contains(&both.kernel.noted_hashes()), "slots are tracked");
    for family in Family::ALL {
        assert_eq!(both.sends(&segment(family, 1, ACK)), (NEW, Rule::Fresh), "{family:?}");
    }
    close(&mut both, None);
    both.kernel.clear_noted();
    both.memory.clear_noted();
    assert_eq!(both.kernel.noted_hashes(), 0);
    pass_time();
    both.turn(NEXT, Some(NEW), clock());
    for family in Family::ALL {
        assert_eq!(both.sends(&segment(family, 1, ACK)), (NEW, Rule::Previous), "{family:?}");
        assert_eq!(both.sends(&segment(family, 1, SYN)), (NEXT, Rule::Current), "{family:?}");
        assert_eq!(both.sends(&segment(family, 1, ACK)), (NEXT, Rule::Fresh), "{family:?}");
    }
}

/// A service that hashes otherwise gives its flows other bytes.
#[test]
fn connections_stay_where_they_are_noted_when_only_their_clients_count_from_then_on() {
    let mut both = Both::new();
    let ports = 1..100;
    both.turn(NEW, Some(OLD), clock());
    for family in Family::ALL {
        for port in ports.clone() {
            both.sends(&segment(family, port, SYN));
            both.sends(&segment(family, port, ACK));
        }
    }
    let mut entries = both.state.entries.clone();
    for op in owners(&both.state, MOVED.vip, Some(NEW), Some(OLD), Tick(0)) {
        let Op::Open { first, .. } = op else { continue };
        let of_it = entries.iter_mut().filter(|entry| entry.ring_len > 0 && entry.ring == first);
        of_it.for_each(|entry| entry.flags |= Entry::SOURCE_HASH);
    }
    both.kernel.apply(&[Op::Services(entries)]).expect("the maps are written");
    assert_eq!(both.kernel.noted_hashes(), limits::NOTED);
    for family in Family::ALL {
        for port in ports.clone() {
            let sent = world::in_kernel(&mut both.kernel, &both.state, &segment(family, port, ACK));
            assert_eq!(
                sent.verdict.map(|(_, _, rule)| rule),
                Ok(Rule::Pinned),
                "{family:?} {port}"
            );
        }
    }
}

/// Steers a frame; the index of its slot in the arena.
fn slot(both: &mut Both, family: Family, frame: &[u8]) -> u32 {
    let (place, slot, _) = both.steer(frame);
    let (block, _) = both.state.occupant(place).expect("a pool");
    assert!(block.ring > 0, "{family:?}");
    block.ring + slot
}

#[test]
fn both_engines_note_the_same() {
    let mut both = Both::new();
    for row in table() {
        both.memory.set_now(clock());
        on_host(&both.memory, &both.state, &row.frame);
        both.kernel.process(&row.frame).expect("a test run");
    }
    for notes in NOTES {
        let flows = noted(&both.kernel, notes);
        assert!(flows.len() >= 2, "{notes:?}: {}", flows.len());
        for (key, flow) in flows {
            let on_host = both.memory.find(notes, &key).map(|flow| (flow.slot, flow.owner));
            assert_eq!(on_host, Some((flow.slot, flow.owner)), "{notes:?}: {key:?}");
        }
    }
}

#[test]
fn a_flow_that_is_alive_says_so_now_and_then() {
    let mut both = Both::new();
    let frames = Family::ALL.map(|family| [segment(family, 5, ACK), datagram(family, 5)]);
    for family in Family::ALL {
        both.sends(&segment(family, 5, SYN));
        both.sends(&segment(family, 5, ACK));
        both.sends(&datagram(family, 5));
    }
    let times = |kernel: &Kernel| {
        let flows = [Notes::Pinned, Notes::Datagrams].map(|notes| noted(kernel, notes)).concat();
        flows.into_iter().map(|(key, flow)| (key, (flow.noted, flow.seen))).collect::<Vec<_>>()
    };
    let first = times(&both.kernel);
    assert_eq!(first.len(), 4);
    let ticks = (u64::from(limits::TOUCH) + 8) << 20;
    sleep(Duration::from_nanos(ticks));
    for family in Family::ALL {
        let answer = || family.answer(MOVED.vip);
        for (quote, owner) in
            [(answer().tcp(80, 5).packet(), NEW), (answer().udp(53, 5).packet(), OLD)]
        {
            let error = family.to(MOVED.vip).message(Kind::TooBig).payload(&quote).build();
            assert_eq!(both.sends(&error), (owner, Rule::Pinned), "{family:?}");
        }
    }
    assert_eq!(times(&both.kernel), first, "what others say of a flow does not count");
    let before = clock();
    for frame in frames.concat() {
        both.sends(&frame);
    }
    for ((key, (noted, _)), (same, (still_noted, seen))) in
        first.into_iter().zip(times(&both.kernel))
    {
        assert_eq!((key, noted), (same, still_noted));
        assert!(!seen.is_before(before));
    }
}

#[test]
fn no_more_connections_are_pinned_than_the_budget_allows() {
    const FLOWS: u16 = 15_000;
    let (_, mut kernel, _) = engines();
    let sent = |number, flags| {
        let ip = Family::V4.ip(to_balancer(), client(number), MOVED.vip);
        ip.tcp(number, 80).flags(flags).build()
    };
    for number in 0..FLOWS {
        kernel.process(&sent(number, SYN)).expect("a test run");
    }
    let begin = Instant::now();
    for number in 0..FLOWS {
        kernel.process(&sent(number, ACK)).expect("a test run");
    }
    let brought = begin.elapsed().as_nanos() as u64 * limits::PROMOTIONS / 1_000_000_000;
    let (pinned, fresh) = (noted(&kernel, Notes::Pinned), noted(&kernel, Notes::Fresh));
    assert_eq!(pinned.len() + fresh.len(), usize::from(FLOWS), "each is noted once");
    assert!(pinned.len() as u64 >= limits::PROMOTIONS.min(FLOWS.into()));
    assert!(pinned.len() as u64 <= limits::PROMOTIONS + brought + 1, "{} {brought}", pinned.len());
    // Those beyond it stay where they were, with their real.
    for (_, flow) in pinned.iter().chain(&fresh) {
        assert!(flow.is_established() && flow.member() == pinned[0].1.member());
    }
}

#[test]
fn beginnings_that_would_fill_their_table_before_anybody_looks_go_to_the_previous_owner() {
    const BURST: u64 = (limits::FRESH / limits::FRESH_PART) as u64;
    let (_, mut kernel, state) = engines();
    let begin = Instant::now();
    for number in 1..=2 * BURST as u16 {
        let ip = Family::V4.ip(to_balancer(), client(number), MOVED.vip);
        kernel.process(&ip.tcp(number, 80).flags(SYN).build()).expect("a test run");
    }
    let brought = begin.elapsed().as_nanos() as u64 * BURST / 1_000_000_000;
    let fresh = noted(&kernel, Notes::Fresh).len() as u64;
    assert!((BURST.min(fresh)..=BURST + brought + 1).contains(&fresh), "{fresh} {brought}");
    assert!(fresh >= BURST);
    assert_eq!(kernel.outcome(Outcome::Forwarded).expect("a counter"), 2 * BURST);
    // Who was not noted is where unknown packets go.
    let steered = |last| {
        let places = world::places(&state).filter(|place| {
            let occupant =
                state.occupant(*place).and_then(|(block, real)| block.members.get(&real?));
            occupant.is_some_and(|occupant| occupant.word.mac()[5] == last)
        });
        places.map(|place| kernel.steered(place).expect("a counter").packets).sum::<u64>()
    };
    assert_eq!((steered(NEW), steered(OLD)), (fresh, 2 * BURST - fresh));
}

#[test]
fn a_connection_that_finds_no_place_to_be_pinned_stays_with_its_real() {
    let (_, mut kernel, _) = engines();
    fill_pinned(&mut kernel);
    for family in Family::ALL {
        kernel.process(&segment(family, 6, SYN)).expect("a test run");
        for _ in 0..3 {
            kernel.process(&segment(family, 6, ACK)).expect("a test run");
            let (_, _, rule) = traced(&mut kernel, &segment(family, 6, ACK)).expect("forwarded");
            assert_eq!(rule, Rule::Fresh, "{family:?}");
        }
    }
    let fresh = noted(&kernel, Notes::Fresh);
    assert!(fresh.len() == 2 && fresh.iter().all(|(_, flow)| flow.is_established()));
}

/// Fills the table with flows of nobody.
fn fill_pinned(kernel: &mut Kernel) {
    let size = kernel.notes(Notes::Pinned).size();
    let mut flows = pinned(kernel);
    let key =
        |number| FlowKey { ports: number, service: FlowKey::service(0, UDP), ..FlowKey::default() };
    for number in 0..size {
        flows.insert(key(number), Flow::default(), 0).expect("there is room");
    }
    flows.insert(key(size), Flow::default(), 0).expect_err("it is full");
}

/// The table of the loaded program, to write to.
fn pinned(kernel: &mut Kernel) -> HashMap<MapData, FlowKey, Flow> {
    let object = kernel.objects().next().expect("an object");
    let programs = object.programs_mut().map(|(_, program)| <&mut Xdp>::try_from(program));
    let info = programs.flatten().find_map(|program| program.info().ok()).expect("a program");
    let ids = info.map_ids().expect("its maps").unwrap_or_default();
    let maps = ids.into_iter().map(|id| MapData::from_id(id).expect("a map"));
    let is_pinned = |map: &MapData| {
        map.info().is_ok_and(|info| info.name_as_str().is_some_and(|name| name == "PINNED"))
    };
    let map = maps.into_iter().find(is_pinned).expect("PINNED");
    HashMap::try_from(Map::HashMap(map)).expect("a table of flows")
}
