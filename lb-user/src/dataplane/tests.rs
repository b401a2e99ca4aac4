//! Plans applied to memory and followed by packets: what a sequence of changes leads to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{Entry, Outcome, RealWord, Seed, Slot, Tick};
use lb_ebpf::tables::Tables as _;
use proptest::{collection::vec, prelude::*};

use super::{Dataplane as _, Memory};
use crate::{
    model::{HashMode, Ports, Protocol},
    plan::{Changed, Desired, DesiredReal, DesiredVip, Op, Role, State, plan},
};

const SEED: Seed = Seed([1, 2]);
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn mac(real: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, real]
}

fn real(last: u8, weight: u16, usable: bool) -> DesiredReal {
    let word = if usable { RealWord::new(mac(last), 1) } else { RealWord::NONE };
    let role = if usable { Role::ACTIVE } else { Role::Out };
    DesiredReal { address: IpAddr::from([10, 0, 0, last]), weight, word, role }
}

fn vip(number: u8, ports: Vec<Ports>, reals: Vec<DesiredReal>) -> DesiredVip {
    DesiredVip {
        name: format!("vip{number}"),
        address: IpAddr::from([192, 0, 2, number]),
        ports,
        hash: HashMode::Flow,
        ring_len: 251,
        local: false,
        grace: 0,
        per_packet: false,
        reals,
        sorry: None,
        leaving: vec![],
    }
}

/// A TCP segment from a client's port to a VIP.
fn segment(vip: &DesiredVip, port: u16, client: u16) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&OWN);
    frame[12..14].copy_from_slice(&[0x08, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
    frame[26..30].copy_from_slice(&[198, 51, 100, 7]);
    let IpAddr::V4(address) = vip.address else { panic!("{}", vip.address) };
    frame[30..34].copy_from_slice(&address.octets());
    frame[34..36].copy_from_slice(&client.to_be_bytes());
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    frame[47] = 2;
    frame
}

fn any_real() -> impl Strategy<Value = DesiredReal> {
    (11u8..40, 0u16..4, any::<bool>()).prop_map(|(last, weight, usable)| real(last, weight, usable))
}

fn any_vip() -> impl Strategy<Value = DesiredVip> {
    (1u8..6, vec(any_real(), 0..20), any::<bool>(), 0u8..3).prop_map(
        |(number, mut reals, local, kind)| {
            let mut seen = BTreeSet::new();
            reals.retain(|real| seen.insert(real.address));
            let ports = match kind {
                0 => vec![Ports::One(Protocol::Tcp, 80), Ports::One(Protocol::Tcp, 443)],
                1 => vec![Ports::All(Protocol::Tcp)],
                _ => vec![Ports::Any],
            };
            DesiredVip { local, ..vip(number, ports, reals) }
        },
    )
}

fn any_desired() -> impl Strategy<Value = Desired> {
    vec(any_vip(), 0..6).prop_map(|mut vips| {
        let mut seen = BTreeSet::new();
        vips.retain(|vip| seen.insert(vip.name.clone()));
        Desired { seed: SEED, now: Tick(0), vips }
    })
}

/// Every new flow to every VIP, from this client port on, goes to a usable real of it, and to nobody if
/// there is none.
fn check_flows(memory: &Memory, desired: &Desired, first: u16) {
    for vip in &desired.vips {
        let usable: BTreeSet<[u8; 6]> = vip
            .reals
            .iter()
            .filter(|real| real.role.takes_new() && real.weight > 0)
            .map(|real| real.word.mac())
            .collect();
        for client in first..first + 50 {
            let before = segment(vip, 80, client);
            let mut after = before.clone();
            match memory.process(&mut after) {
                Ok(forward) => {
                    assert!(usable.contains(&after[..6]), "{vip:?} {after:02x?}");
                    assert_eq!(
                        memory.address(forward.place).map(|real| match real {
                            IpAddr::V4(real) => real.octets()[3],
                            IpAddr::V6(_) => 0,
                        }),
                        Some(after[5])
                    );
                    assert_eq!(after[6..12], OWN);
                    assert_eq!(after[12..], before[12..]);
                }
                Err(outcome) => {
                    assert!(usable.is_empty());
                    assert_eq!(outcome, Outcome::NoReal);
                    assert_eq!(after, before);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_sequence_of_changes_leads_to_what_is_desired(steps in vec(any_desired(), 1..6)) {
        let mut memory = Memory::new(OWN, SEED);
        let mut state = State::default();
        for (step, desired) in (0u16..).zip(steps) {
            let planned = plan(&state, &desired).expect("a plan");
            let Ok(()) = memory.apply(&planned.ops);
            check_flows(&memory, &desired, step * 50);
            // In full, whatever is known to be planned already.
            let mut read = planned.state.clone();
            read.blocks.iter_mut().for_each(|block| block.planned = None);
            let again = plan(&read, &desired).expect("a plan");
            prop_assert_eq!(again.ops, vec![]);
            state = planned.state;
        }
    }

    #[test]
    fn what_a_vip_has_counted_never_shrinks(steps in vec(vec(any_real(), 1..20), 1..6)) {
        let mut memory = Memory::new(OWN, SEED);
        let mut state = State::default();
        let mut sent = 0;
        for mut reals in steps {
            let mut seen = BTreeSet::new();
            reals.retain(|real| seen.insert(real.address));
            let desired = Desired {
                seed: SEED,
                now: Tick(0),
                vips: vec![vip(1, vec![Ports::Any], reals)],
            };
            let planned = plan(&state, &desired).expect("a plan");
            let Ok(()) = memory.apply(&planned.ops);
            state = planned.state;
            for client in 0..20 {
                sent += u64::from(memory.process(&mut segment(&desired.vips[0], 80, client)).is_ok());
            }
            let block = state.block("vip1").expect("a block");
            let counted: u64 = (block.pool..block.pool + block.places)
                .map(|place| memory.steered(place).packets)
                .sum();
            prop_assert_eq!(counted, sent);
        }
    }
}

#[test]
fn a_real_keeps_its_place_when_others_come_and_go() {
    let at = |reals: Vec<DesiredReal>, state: &State| {
        let vips = vec![vip(1, vec![Ports::Any], reals)];
        plan(state, &Desired { seed: SEED, now: Tick(0), vips }).expect("a plan").state
    };
    let first = at(vec![real(11, 1, true), real(12, 1, true)], &State::default());
    let second = at(vec![real(12, 1, true), real(13, 1, true)], &first);
    let member = |state: &State, last: u8| {
        state.blocks[0]
            .members
            .get(&IpAddr::from([10, 0, 0, last]))
            .map(|real| real.member.number())
    };
    assert_eq!(member(&first, 12), member(&second, 12));
    assert_eq!(member(&second, 11), None);
    assert_ne!(member(&second, 13), member(&first, 11), "a number is free only after its plan");
}

#[test]
fn the_sorry_server_serves_only_while_no_real_can() {
    let sorry = Some(real(99, 1, true));
    for (usable, expected) in [(true, 11), (false, 99)] {
        let wanted = DesiredVip { sorry, ..vip(1, vec![Ports::Any], vec![real(11, 1, usable)]) };
        let desired = Desired { seed: SEED, now: Tick(0), vips: vec![wanted] };
        let mut memory = Memory::new(OWN, SEED);
        let Ok(()) = memory.apply(&plan(&State::default(), &desired).expect("a plan").ops);
        let mut frame = segment(&desired.vips[0], 80, 1);
        assert!(memory.process(&mut frame).is_ok());
        assert_eq!(frame[5], expected);
    }
}

#[test]
fn the_most_specific_service_of_an_address_wins() {
    let pool = |last| vec![real(last, 1, true)];
    let tcp = |port| Ports::One(Protocol::Tcp, port);
    let mut vips = vec![
        vip(1, vec![tcp(80)], pool(11)),
        vip(2, vec![Ports::All(Protocol::Tcp)], pool(12)),
        vip(3, vec![Ports::Any], pool(13)),
    ];
    for vip in &mut vips {
        vip.address = IpAddr::from([192, 0, 2, 1]);
    }
    let desired = Desired { seed: SEED, now: Tick(0), vips };
    let mut memory = Memory::new(OWN, SEED);
    let Ok(()) = memory.apply(&plan(&State::default(), &desired).expect("a plan").ops);
    let owner = |port, protocol| {
        let mut frame = segment(&desired.vips[0], port, 1);
        frame[23] = protocol;
        memory.process(&mut frame).map(|_| frame[5])
    };
    assert_eq!(owner(80, 6), Ok(11));
    assert_eq!(owner(81, 6), Ok(12));
    assert_eq!(owner(80, 17), Ok(13));
    assert_eq!(owner(80, 1), Ok(13));
}

#[test]
fn an_address_that_is_assigned_here_leaves_the_rest_to_the_local_stack() {
    for (local, outcome) in [(true, Outcome::VipLocal), (false, Outcome::NoService)] {
        let wanted = DesiredVip { local, ..vip(1, vec![Ports::One(Protocol::Tcp, 80)], vec![]) };
        let planned = plan(
            &State::default(),
            &Desired { seed: SEED, now: Tick(0), vips: vec![wanted.clone()] },
        );
        let planned = planned.expect("a plan");
        assert!(planned.state.entries.iter().any(|entry| entry.has(Entry::LOCAL) == local));
        let mut memory = Memory::new(OWN, SEED);
        let Ok(()) = memory.apply(&planned.ops);
        assert_eq!(memory.process(&mut segment(&wanted, 81, 1)), Err(outcome));
        assert_eq!(memory.process(&mut segment(&wanted, 80, 1)), Err(Outcome::NoReal));
    }
}

/// A VIP with every kind of service, in memory.
fn everything() -> (Memory, DesiredVip) {
    let wanted =
        vip(1, vec![Ports::One(Protocol::Tcp, 80)], vec![real(11, 1, true), real(12, 1, true)]);
    let desired = Desired { seed: SEED, now: Tick(0), vips: vec![wanted.clone()] };
    let mut memory = Memory::new(OWN, SEED);
    let Ok(()) = memory.apply(&plan(&State::default(), &desired).expect("a plan").ops);
    (memory, wanted)
}

proptest! {
    #[test]
    fn whatever_arrives_ends_somehow_and_loses_nothing_but_its_ethernet_addresses(
        mut frame in vec(any::<u8>(), 0..200),
        mend in 0usize..70,
    ) {
        let (memory, vip) = everything();
        // A valid beginning of some length, so that every stage gets its share of nonsense.
        let valid = segment(&vip, 80, 1);
        let mended = mend.min(frame.len()).min(valid.len());
        frame[..mended].copy_from_slice(&valid[..mended]);
        let before = frame.clone();
        let counted = |memory: &Memory| Outcome::ALL.iter().map(|o| memory.outcome(*o)).sum::<u64>();
        match memory.process(&mut frame) {
            Ok(_) => {
                prop_assert_eq!(&frame[6..12], &OWN);
                prop_assert_eq!(&frame[12..], &before[12..]);
            }
            Err(outcome) => {
                prop_assert_eq!(&frame, &before);
                prop_assert_eq!(memory.outcome(outcome), 1);
            }
        }
        prop_assert_eq!(counted(&memory), 1);
    }
}

#[test]
fn every_truncation_of_a_valid_packet_is_reported_as_truncated() {
    let (memory, vip) = everything();
    let whole = segment(&vip, 80, 1);
    for length in 0..54 {
        let mut frame = whole[..length].to_vec();
        assert_eq!(memory.process(&mut frame), Err(Outcome::Truncated), "{length} bytes");
    }
    let mut frame = whole[..54].to_vec();
    assert!(memory.process(&mut frame).is_ok());
}

#[test]
fn what_follows_the_datagram_in_the_frame_is_padding() {
    let (memory, vip) = everything();
    let mut frame = segment(&vip, 80, 1);
    // The header says that no TCP header follows, although the frame goes on.
    frame[16..18].copy_from_slice(&30u16.to_be_bytes());
    assert_eq!(memory.process(&mut frame), Err(Outcome::Truncated));
}

/// Everything that a real may be told to do while its flows are to live or die with it.
fn any_role() -> impl Strategy<Value = Role> {
    prop_oneof![
        3 => Just(Role::ACTIVE),
        1 => (1u16..256).prop_map(|part| Role::Active { part }),
        2 => Just(Role::Draining),
        1 => Just(Role::Out),
    ]
}

/// A pool, member by member: the last byte of its address, its weight, its role, and whether it has left.
type Pool = Vec<(u8, u16, Role, bool)>;

fn any_pool() -> impl Strategy<Value = Pool> {
    vec((11u8..20, 0u16..4, any_role(), any::<bool>()), 1..9)
}

/// How many ticks unknown datagrams count as old.
const GRACE: u32 = 50;

/// A VIP that changes, and flows that do not end.
struct Traffic {
    memory: Memory,
    /// The same, where each flow of a tracked slot is looked up.
    asking: Memory,
    state: State,
    vip: DesiredVip,
    now: Tick,
    /// Who got the last packet of each, by protocol and port, and the flow's slot.
    flows: BTreeMap<(u8, u16), (u8, u32)>,
    next: u16,
}

impl Traffic {
    fn new() -> Self {
        let mut asking = Memory::new(OWN, SEED);
        asking.set_doubts(true);
        Self {
            memory: Memory::new(OWN, SEED),
            asking,
            state: State::default(),
            vip: DesiredVip { grace: GRACE, ..vip(1, vec![Ports::Any], vec![]) },
            now: Tick(u32::MAX - 200),
            flows: BTreeMap::new(),
            next: 1,
        }
    }

    fn change(&mut self, pool: &Pool) {
        let mut seen = BTreeSet::new();
        (self.vip.reals, self.vip.leaving) = (vec![], vec![]);
        for (last, weight, role, leaves) in pool.iter().filter(|(last, ..)| seen.insert(*last)) {
            let leaves = *leaves;
            let to = if leaves { &mut self.vip.leaving } else { &mut self.vip.reals };
            let role = if leaves && role.takes_new() { Role::Draining } else { *role };
            to.push(DesiredReal { role, ..real(*last, *weight, true) });
        }
        let desired = Desired { seed: SEED, now: self.now, vips: vec![self.vip.clone()] };
        let planned = plan(&self.state, &desired).expect("a plan");
        self.apply(&planned.ops);
        self.state = planned.state;
    }

    fn apply(&mut self, ops: &[Op]) {
        let Ok(()) = self.memory.apply(ops);
        let Ok(()) = self.asking.apply(ops);
    }

    fn pass(&mut self, ticks: u32) {
        self.now = Tick(self.now.0.wrapping_add(ticks));
        self.memory.set_now(self.now);
        self.asking.set_now(self.now);
    }

    fn sent(&self, (protocol, port): (u8, u16), flags: u8) -> Option<(u8, u32)> {
        let mut frame = segment(&self.vip, 80, port);
        (frame[23], frame[47]) = (protocol, flags);
        let mut same = frame.clone();
        let forward = self.memory.process(&mut frame);
        assert_eq!((forward, &frame), (self.asking.process(&mut same), &same));
        let forward = forward.ok()?;
        let index = self.state.blocks[0].ring + forward.slot;
        assert_eq!(self.memory.times(index), self.asking.times(index));
        Some((frame[5], forward.slot))
    }

    fn serves(&self, last: u8) -> bool {
        let mut pool = self.vip.reals.iter().chain(&self.vip.leaving);
        let address = IpAddr::from([10, 0, 0, last]);
        pool.any(|real| real.address == address && real.role.serves())
    }

    /// Each flow sends a packet: to the real that it had, unless that is gone. One that nobody takes is
    /// over.
    fn go_on(&mut self) -> Result<(), TestCaseError> {
        for (flow, before) in std::mem::take(&mut self.flows) {
            let after = self.sent(flow, ACK);
            if self.serves(before.0) {
                prop_assert_eq!(after, Some(before), "{:?}", flow);
            }
            self.flows.extend(after.map(|after| (flow, after)));
        }
        Ok(())
    }

    /// Closes the slots whose older flows are over, or were noted and are all with the current owner. Once all are,
    /// nothing needs to be known of hashes.
    fn sweep(&mut self) {
        let block = &mut self.state.blocks[0];
        let last = |member| {
            let mut members = block.members.iter();
            members
                .find(|(_, real)| Some(real.member) == member)
                .map(|(_, real)| real.word.mac()[5])
        };
        let closed = |(index, slot): (u32, Slot)| {
            let opened = self.memory.times(block.ring + index).opened();
            let owner = last(slot.current());
            let mut flows = self.flows.values().filter(|(_, slot)| *slot == index);
            let done =
                self.now.since(opened) > GRACE && flows.all(|(real, _)| Some(*real) == owner);
            if done { Slot::new(slot.current(), None) } else { slot }
        };
        let slots: Vec<Slot> = (0..).zip(block.slots.iter()).map(closed).collect();
        let ring = block.ring;
        block.slots = slots.clone().into();
        if block.tracked() == 0 {
            self.memory.clear_noted();
        }
        self.apply(&[Op::Slots(Changed::neighbours(ring, slots))]);
    }

    /// Some flows begin.
    fn begin(&mut self) {
        for port in self.next..self.next + 20 {
            for protocol in [TCP, UDP] {
                let owner = self.sent((protocol, port), SYN);
                self.flows.extend(owner.map(|owner| ((protocol, port), owner)));
            }
        }
        self.next += 20;
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 1 << 1;
const ACK: u8 = 1 << 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flow_changes_its_real_only_when_that_is_gone(
        steps in vec((any_pool(), 0..2 * GRACE, any::<bool>()), 1..10),
    ) {
        let mut traffic = Traffic::new();
        for (pool, passes, sweeps) in steps {
            traffic.change(&pool);
            traffic.go_on()?;
            traffic.begin();
            traffic.pass(passes);
            traffic.go_on()?;
            traffic.begin();
            traffic.pass(1);
            if sweeps {
                traffic.sweep();
            }
        }
    }
}
