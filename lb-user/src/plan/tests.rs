//! Sequences of plans, each write of which keeps packets on their way.

use proptest::{collection::vec, prelude::*};

use lb_common::Slot;

use super::*;
use crate::model::HashMode;

const SEED: Seed = Seed([1, 2]);

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn word(last: u8) -> RealWord {
    RealWord::new([2, 0, 0, 0, 1, last], 1)
}

fn real(last: u8, weight: u16, role: Role) -> DesiredReal {
    DesiredReal { address: address(last), weight, word: word(last), role }
}

fn vip(number: u8, reals: Vec<DesiredReal>) -> DesiredVip {
    DesiredVip {
        name: format!("vip{number}"),
        address: IpAddr::from([192, 0, 2, number]),
        ports: vec![Ports::One(Protocol::Tcp, 80)],
        hash: HashMode::Flow,
        ring_len: 251,
        local: false,
        grace: 100,
        per_packet: false,
        reals,
        sorry: None,
        leaving: vec![],
    }
}

fn at(now: u32, vips: Vec<DesiredVip>) -> Desired {
    Desired { seed: SEED, now: Tick(now), vips }
}

/// Plans in full, and finds that what is passed over as planned before would not have changed.
fn planned(state: &State, desired: &Desired) -> Plan {
    let mut read = state.clone();
    read.blocks.iter_mut().for_each(|block| block.planned = None);
    let full = plan(&read, desired).expect("a plan");
    assert_eq!(plan(state, desired).expect("a plan").ops, full.ops);
    full
}

/// The state after these pools of one VIP, one after the other.
fn after(pools: impl IntoIterator<Item = Vec<DesiredReal>>) -> State {
    pools
        .into_iter()
        .fold(State::default(), |state, reals| planned(&state, &at(1, vec![vip(1, reals)])).state)
}

/// The tables as they are between two writes.
#[derive(Default)]
struct Tables {
    addresses: BTreeMap<u32, IpAddr>,
    words: BTreeMap<u32, RealWord>,
    slots: BTreeMap<u32, Slot>,
    opened: BTreeMap<u32, Tick>,
    entries: Vec<Entry>,
}

impl Tables {
    fn write(&mut self, op: &Op, now: Tick) {
        match op {
            Op::Address { place, address: Some(address) } => {
                self.addresses.insert(*place, *address);
            }
            Op::Address { place, address: None } => drop(self.addresses.remove(place)),
            Op::Real { place, word } => drop(self.words.insert(*place, *word)),
            Op::Open { first, count, at } => {
                self.opened.extend((*first..first + count).map(|index| (index, *at)));
            }
            Op::Slots(changed) => changed.each(|index, slot| {
                let old = self.slots.insert(index, slot).unwrap_or_default();
                let opened = self.opened.get(&index) == Some(&now);
                assert!(opened || !opens(old, slot), "{index} was not opened");
            }),
            Op::Services(entries) => self.entries.clone_from(entries),
            Op::ClearCounters { .. } | Op::MoveCounters { .. } => {}
        }
    }

    /// Every member that a slot names which packets reach is somebody that can be reached.
    fn check(&self) {
        for entry in self.entries.iter().filter(|entry| entry.ring_len > 0) {
            for index in entry.ring..entry.ring + entry.ring_len {
                let slot = self.slots[&index];
                for (member, current) in [(slot.current(), true), (slot.previous(), false)] {
                    let Some(member) = member else { continue };
                    let place = member.place(entry.pool);
                    assert!(member.number() < entry.places as u16);
                    let address = self.addresses.get(&place).expect("somebody");
                    let IpAddr::V4(v4) = address else { panic!("{address}") };
                    let told = self.words.get(&place).copied().unwrap_or_default();
                    let reset = told == RealWord::RESET && !current;
                    assert!(reset || told == word(v4.octets()[3]), "{address}: {told:?}");
                }
            }
        }
    }

    /// What the planner believes is so, and nobody is anywhere else.
    fn check_state(&self, state: &State) {
        assert_eq!(self.entries, state.entries);
        let mut places = BTreeMap::new();
        for block in &state.blocks {
            for (index, slot) in (block.ring..).zip(block.slots.iter()) {
                assert_eq!(self.slots[&index], slot);
            }
            for (address, occupant) in block.members.iter() {
                let place = occupant.member.place(block.pool);
                places.insert(place, *address);
                assert_eq!(self.words[&place], occupant.word);
            }
        }
        assert_eq!(self.addresses, places);
        let strangers = self.words.iter().filter(|(place, _)| !places.contains_key(place));
        assert!(strangers.map(|(_, word)| *word).all(|word| word == RealWord::NONE));
    }
}

/// Carries out what is planned for these VIPs, one after the other, and looks at the tables after each write.
fn check_each_write(steps: Vec<Vec<DesiredVip>>) {
    let (mut tables, mut state) = (Tables::default(), State::default());
    for (now, vips) in (1..).zip(steps) {
        let plan = planned(&state, &at(now, vips));
        for op in &plan.ops {
            tables.write(op, Tick(now));
            tables.check();
        }
        tables.check_state(&plan.state);
        state = plan.state;
    }
}

fn any_role() -> impl Strategy<Value = Role> {
    prop_oneof![
        3 => Just(Role::ACTIVE),
        1 => (1u16..256).prop_map(|part| Role::Active { part }),
        1 => Just(Role::Draining),
        1 => Just(Role::Reset),
        1 => Just(Role::Out),
    ]
}

fn any_leaving() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Draining), Just(Role::Reset), Just(Role::Out)]
}

/// A VIP with reals, a sorry server and reals that leave, no two of them alike. Some of them may come with
/// a number that they have, some may be new.
fn any_vip() -> impl Strategy<Value = DesiredVip> {
    let reals = vec((11u8..30, 0u16..4, any_role()), 0..16);
    let leaving = vec((11u8..30, any_leaving()), 0..4);
    (1u8..5, reals, prop::option::of((30u8..32, any_role())), leaving).prop_map(
        |(number, reals, sorry, leaving)| {
            let mut seen = BTreeSet::new();
            let mut vip = vip(number, vec![]);
            let reals = reals.into_iter().map(|(last, weight, role)| real(last, weight, role));
            vip.reals = reals.filter(|real| seen.insert(real.address)).collect();
            vip.sorry = sorry.map(|(last, role)| real(last, 1, role));
            let leaving = leaving.into_iter().map(|(last, role)| real(last, 1, role));
            vip.leaving = leaving.filter(|real| seen.insert(real.address)).collect();
            vip
        },
    )
}

fn any_vips() -> impl Strategy<Value = Vec<DesiredVip>> {
    vec(any_vip(), 0..5).prop_map(|mut vips| {
        let mut seen = BTreeSet::new();
        vips.retain(|vip| seen.insert(vip.name.clone()));
        vips
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_every_write_slots_name_only_who_can_be_reached(steps in vec(any_vips(), 1..8)) {
        check_each_write(steps);
    }

    #[test]
    fn planning_again_is_empty(steps in vec(any_vips(), 1..8)) {
        let mut state = State::default();
        for (now, vips) in (1..).zip(steps) {
            let desired = at(now, vips);
            state = planned(&state, &desired).state;
            prop_assert_eq!(planned(&state, &desired).ops, vec![]);
        }
    }

    #[test]
    fn a_daemon_that_takes_over_without_names_goes_on_with_the_same_slots(
        before in any_vips(), after in any_vips(),
    ) {
        let known = planned(&planned(&State::default(), &at(1, before)).state, &at(2, after.clone()));
        let mut read = known.state.clone();
        for block in &mut read.blocks {
            (block.name, block.base) = (None, Arc::default());
        }
        prop_assert_eq!(planned(&read, &at(3, after)).ops, vec![]);
    }

    #[test]
    fn members_keep_their_number_as_long_as_they_are_wanted_or_leaving(steps in vec(any_vip(), 2..8)) {
        let mut state = State::default();
        let mut numbers: BTreeMap<IpAddr, Member> = BTreeMap::new();
        for wanted in steps {
            let wanted = DesiredVip { name: "vip".to_owned(), ..wanted };
            state = planned(&state, &at(1, vec![wanted.clone()])).state;
            let members = &state.blocks[0].members;
            let stays = |address: &IpAddr| {
                wanted.pool().chain(&wanted.leaving).any(|real| real.address == *address)
            };
            numbers.retain(|address, _| stays(address));
            for (address, member) in &numbers {
                prop_assert_eq!(members[address].member, *member);
            }
            numbers.extend(wanted.pool().map(|real| (real.address, members[&real.address].member)));
            prop_assert_eq!(members.len(), numbers.len());
        }
    }
}

/// A real that led nowhere is given up as one whose connections are reset, just when slots need somebody by whom
/// they stay tracked.
#[test]
fn who_resets_does_so_before_slots_name_it() {
    let step = |reals, leaving| vec![DesiredVip { leaving, ..vip(1, reals) }];
    let steps = [
        step(vec![real(18, 1, Role::ACTIVE)], vec![]),
        step(vec![real(22, 0, Role::Out)], vec![real(18, 1, Role::Draining)]),
        step(vec![], vec![real(22, 1, Role::Reset)]),
    ];
    check_each_write(steps.into());
}

#[test]
fn a_real_that_comes_takes_slots_which_are_opened_first() {
    let two = vec![real(11, 1, Role::ACTIVE), real(12, 1, Role::ACTIVE)];
    let state = after([two.clone()]);
    let three = [two, vec![real(13, 1, Role::ACTIVE)]].concat();
    let plan = planned(&state, &at(77, vec![vip(1, three)]));
    let opened = plan.ops.iter().filter_map(|op| match op {
        Op::Open { count, at, .. } => Some((*count, *at)),
        _ => None,
    });
    let opened: Vec<_> = opened.collect();
    assert!(opened.iter().all(|(_, at)| *at == Tick(77)));
    let block = &plan.state.blocks[0];
    assert_eq!(opened.iter().map(|(count, _)| count).sum::<u32>(), block.tracked());
    assert!(block.owned(block.members[&address(13)].member) >= 251 / 3);
}

#[test]
fn neighbouring_slots_are_opened_by_one_write() {
    let state = after([vec![real(11, 1, Role::ACTIVE)]]);
    let both = vec![real(11, 1, Role::Draining), real(12, 1, Role::ACTIVE)];
    let plan = planned(&state, &at(5, vec![vip(1, both)]));
    let opened: Vec<_> = plan.ops.iter().filter(|op| matches!(op, Op::Open { .. })).collect();
    assert_eq!(opened, [&Op::Open { first: 0, count: 251, at: Tick(5) }]);
}

#[test]
fn a_draining_real_owns_nothing_and_holds_what_it_owned() {
    let other = real(12, 1, Role::ACTIVE);
    let before = after([vec![real(11, 1, Role::ACTIVE), other]]);
    let state =
        after([vec![real(11, 1, Role::ACTIVE), other], vec![real(11, 1, Role::Draining), other]]);
    let (block, known) = (&state.blocks[0], &before.blocks[0]);
    let member = block.members[&address(11)].member;
    assert_eq!((block.owned(member), block.holds(member)), (0, known.owned(member)));
    assert_eq!(block.tracked(), known.owned(member));
}

#[test]
fn a_real_that_fails_leaves_nothing_tracked() {
    let other = real(12, 1, Role::ACTIVE);
    let state =
        after([vec![real(11, 1, Role::ACTIVE), other], vec![real(11, 1, Role::Out), other]]);
    assert_eq!(state.blocks[0].tracked(), 0);
    assert_eq!(state.blocks[0].members[&address(11)].word, RealWord::NONE);
}

#[test]
fn a_real_that_leaves_keeps_number_and_word_until_nobody_wants_it() {
    let (first, second) = (real(11, 1, Role::ACTIVE), real(12, 1, Role::ACTIVE));
    let state = after([vec![first, second]]);
    let number = state.blocks[0].members[&address(11)];
    let draining = DesiredReal { role: Role::Draining, ..first };
    let gone = DesiredVip { leaving: vec![draining], ..vip(1, vec![second]) };
    let state = planned(&state, &at(2, vec![gone])).state;
    let block = &state.blocks[0];
    assert_eq!(block.members[&address(11)], number);
    assert!(block.holds(number.member) > 0 && block.owned(number.member) == 0);
    let state = planned(&state, &at(3, vec![vip(1, vec![second])])).state;
    let block = &state.blocks[0];
    assert_eq!(block.members.get(&address(11)), None);
    assert_eq!((block.holds(number.member), block.owned(number.member)), (0, 0));
    assert!(block.tracked() > 0, "flows that were noted meanwhile stay where they are");
}

#[test]
fn a_leaving_real_without_a_number_gets_none() {
    let leaving = vec![real(13, 1, Role::Draining)];
    let wanted = DesiredVip { leaving, ..vip(1, vec![real(11, 1, Role::ACTIVE)]) };
    let state = planned(&State::default(), &at(1, vec![wanted])).state;
    assert_eq!(state.blocks[0].members.len(), 1);
}

#[test]
fn words_tell_what_a_real_does() {
    let told = |role: Role, known: RealWord, now: RealWord| {
        DesiredReal { address: address(11), weight: 1, word: now, role }.word(known)
    };
    let (old, new) = (word(1), word(2));
    for role in [Role::ACTIVE, Role::Active { part: 3 }, Role::Draining] {
        assert_eq!(told(role, old, new), new);
        assert_eq!(told(role, old, RealWord::NONE), old, "the last known one stays");
        assert_eq!(told(role, RealWord::RESET, RealWord::NONE), RealWord::NONE);
    }
    assert_eq!(told(Role::Reset, old, new), RealWord::RESET);
    assert_eq!(told(Role::Out, old, new), RealWord::NONE);
}

#[test]
fn a_slow_start_takes_its_part_of_the_slots_and_more_with_time() {
    let other = real(12, 1, Role::ACTIVE);
    let mut state = after([vec![other]]);
    let mut owned = 0;
    for part in [16, 64, 128, 256] {
        let starting = real(11, 1, Role::Active { part });
        state = planned(&state, &at(2, vec![vip(1, vec![starting, other])])).state;
        let block = &state.blocks[0];
        let now = block.owned(block.members[&address(11)].member);
        assert!(now > owned, "{now} slots with {part} of 256");
        owned = now;
    }
    assert!((125..=126).contains(&owned));
}

#[test]
fn the_sorry_server_keeps_its_flows_when_a_real_comes_back() {
    let sorry = Some(real(99, 1, Role::ACTIVE));
    let at = |state: &State, role| {
        let wanted = DesiredVip { sorry, ..vip(1, vec![real(11, 1, role)]) };
        planned(state, &at(1, vec![wanted])).state
    };
    let state = at(&State::default(), Role::Out);
    let member = state.blocks[0].members[&address(99)].member;
    assert_eq!(state.blocks[0].owned(member), 251);
    let state = at(&state, Role::ACTIVE);
    assert_eq!((state.blocks[0].owned(member), state.blocks[0].holds(member)), (0, 251));
}

#[test]
fn what_a_vip_says_of_datagrams_stands_in_its_entries() {
    let wanted = DesiredVip { per_packet: true, ..vip(1, vec![]) };
    let state = planned(&State::default(), &at(1, vec![wanted])).state;
    let service = state.entries.iter().find(|entry| entry.ring_len > 0).expect("an entry");
    assert!(service.has(Entry::PER_PACKET));
    assert_eq!(service.grace, 100);
}

#[test]
fn what_does_not_change_is_shared_with_the_state_before() {
    let desired = at(1, vec![vip(1, vec![real(11, 1, Role::ACTIVE), real(12, 1, Role::Out)])]);
    let before = planned(&State::default(), &desired).state;
    let after = planned(&before, &desired).state;
    assert!(before.blocks[0].slots.is_shared_with(&after.blocks[0].slots));
    assert!(Arc::ptr_eq(&before.blocks[0].base, &after.blocks[0].base));
}

#[test]
fn rings_that_were_computed_ahead_are_those_that_would_have_been_computed() {
    let reals = "real = [{ address = \"10.0.0.11\" }, { address = \"10.0.0.12\", weight = 3 }]";
    let text = format!(
        "node.interfaces = [\"eth0\"]\n\
         vip = [{{ name = \"web\", address = \"192.0.2.1\", ports = [\"any\"], {reals} }}]"
    );
    let model = crate::config::parse(&text).expect("a configuration");
    let shall = |real: &crate::model::Real| DesiredReal {
        address: real.address,
        weight: real.weight,
        word: word(1),
        role: Role::ACTIVE,
    };
    let vips = model.vips.iter().map(|vip| DesiredVip::new(vip, false, shall)).collect();
    let (desired, ahead) = (at(1, vips), Rings::ahead(&model.vips, &SEED));
    let plans = [(); 2].map(|()| plan_with(&State::default(), &desired, &ahead).expect("a plan"));
    assert_eq!(plans[0].ops, planned(&State::default(), &desired).ops);
    let [one, other] = plans.map(|plan| Arc::clone(&plan.state.blocks[0].base.owners));
    assert!(Arc::ptr_eq(&one, &other), "each was computed again");
}

/// `cargo test --release -p lb-user --lib plan:: -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn how_long_a_plan_takes() {
    let vips = |last_role: Role| {
        let pool = || {
            (11..21).map(|last| real(last, 1, if last == 20 { last_role } else { Role::ACTIVE }))
        };
        let vip = |number: u32| DesiredVip {
            name: format!("vip{number}"),
            address: IpAddr::from((0xc633_6400 + number).to_be_bytes()),
            ring_len: 4093,
            ..vip(1, pool().collect())
        };
        (0..1000).map(vip).collect::<Vec<_>>()
    };
    let timed = |name: &str, state: &State, role: Role| {
        let desired = at(1, vips(role));
        let start = std::time::Instant::now();
        let plan = planned(state, &desired);
        println!("{name}: {:?} for {} writes", start.elapsed(), plan.ops.len());
        plan.state
    };
    let state = timed("1000 VIPs with 10 reals from nothing", &State::default(), Role::ACTIVE);
    let state = timed("nothing changed", &state, Role::ACTIVE);
    let state = timed("one real of each down", &state, Role::Out);
    let state = timed("nothing changed", &state, Role::Out);
    let state = timed("one real of each back", &state, Role::ACTIVE);
    let state = timed("one real of each starts slowly", &state, Role::Active { part: 128 });
    timed("one real of each drains", &state, Role::Draining);

    let members: Vec<_> = (1..=1000).map(Member::new).collect();
    let owners = |first: usize| {
        let members = &members;
        (0..65_537).map(move |slot| members[(slot + first) % members.len()])
    };
    let serving: Serving = members.iter().flatten().copied().collect();
    let old = next_slots(&[], owners(0), &serving);
    for (name, first) in [("65537 slots that stay", 0), ("65537 slots that move", 1)] {
        let start = std::time::Instant::now();
        let slots = next_slots(&old, owners(first), &serving);
        println!("{name}: {:?} ({})", start.elapsed(), slots.len());
    }
}
