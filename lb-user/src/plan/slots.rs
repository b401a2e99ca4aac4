//! What becomes of a ring's slots when their owners change, so that no flow loses a real that can still
//! serve it.
//!
//! A slot that goes from one owner to another is *opened*: its old owner stays beside the new one as the
//! previous, for the flows that nobody has noted. It stays open until the sweeper finds that nothing needs
//! it any more; to close it here would forget the flows that were noted since.

use lb_common::{Member, Slot};

/// Which members of a pool can serve the flows that they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    by_number: Vec<bool>,
    anyone: Option<Member>,
}

impl Serving {
    /// Whether this one can.
    #[must_use]
    pub fn has(&self, member: Member) -> bool {
        self.by_number.get(usize::from(member.number())).copied().unwrap_or(false)
    }
}

impl FromIterator<Member> for Serving {
    fn from_iter<I: IntoIterator<Item = Member>>(members: I) -> Self {
        let mut serving = Self::default();
        for member in members {
            let number = usize::from(member.number());
            if serving.by_number.len() <= number {
                serving.by_number.resize(number + 1, false);
            }
            serving.by_number[number] = true;
            serving.anyone = serving.anyone.into_iter().chain([member]).min();
        }
        serving
    }
}

/// The slots once `desired` are their owners, who can all serve. Where there were no slots, new ones are
/// stable.
#[must_use]
pub fn next_slots(
    old: &[Slot],
    desired: impl IntoIterator<Item = Option<Member>>,
    serving: &Serving,
) -> Vec<Slot> {
    let old = old.iter().copied().chain(std::iter::repeat(Slot::EMPTY));
    desired.into_iter().zip(old).map(|(desired, old)| next(old, desired, serving)).collect()
}

/// Whether a slot gets a previous owner: flows noted before are of another time.
#[must_use]
pub fn opens(old: Slot, new: Slot) -> bool {
    new.is_tracked() && !old.is_tracked()
}

/// The same of one slot.
pub(super) fn next(old: Slot, desired: Option<Member>, serving: &Serving) -> Slot {
    let previous = match old.previous() {
        // The oldest stays: flows that began since then are noted.
        Some(previous) if serving.has(previous) => Some(previous),
        // Its flows are dead. The slot stays tracked for those that are noted on others: by any number
        // that can serve, if nobody owns the slot.
        Some(_) => desired.or(serving.anyone),
        None => old.current().filter(|owner| desired != Some(*owner) && serving.has(*owner)),
    };
    Slot::new(desired, previous)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    const MEMBERS: u16 = 5;
    const SLOTS: usize = 4;

    fn member(number: u16) -> Option<Member> {
        Member::new(number)
    }

    /// The slot after `old` (current, previous) when `desired` becomes its owner (0 is nobody) and these
    /// can serve.
    fn after(old: (u16, u16), desired: u16, serving: &[u16]) -> (u16, u16) {
        let old = Slot::new(member(old.0), member(old.1));
        let serving = serving.iter().filter_map(|number| member(*number)).collect();
        let slots = next_slots(&[old], [member(desired)], &serving);
        let [slot] = slots[..] else { panic!("{slots:?}") };
        (slot.0 as u16, (slot.0 >> 16) as u16)
    }

    #[test]
    fn an_owner_that_stays_keeps_its_slot_stable() {
        assert_eq!(after((1, 0), 1, &[1, 2]), (1, 0));
    }

    #[test]
    fn an_owner_that_stays_keeps_a_living_previous_one() {
        assert_eq!(after((1, 2), 1, &[1, 2]), (1, 2));
        assert_eq!(after((1, 1), 1, &[1, 2]), (1, 1));
    }

    #[test]
    fn a_previous_owner_that_is_gone_is_followed_by_the_current_one() {
        assert_eq!(after((1, 2), 1, &[1]), (1, 1));
    }

    #[test]
    fn a_living_owner_that_is_followed_becomes_the_previous() {
        assert_eq!(after((1, 0), 2, &[1, 2]), (2, 1));
    }

    #[test]
    fn an_owner_that_is_gone_leaves_a_stable_slot_stable() {
        assert_eq!(after((1, 0), 2, &[2]), (2, 0));
        assert_eq!(after((0, 0), 2, &[2]), (2, 0));
    }

    #[test]
    fn in_a_tracked_slot_the_oldest_owner_stays_previous() {
        assert_eq!(after((1, 2), 3, &[1, 2, 3]), (3, 2));
        assert_eq!(after((1, 2), 2, &[1, 2, 3]), (2, 2));
        assert_eq!(after((0, 2), 3, &[2, 3]), (3, 2));
    }

    #[test]
    fn a_tracked_slot_whose_oldest_owner_is_gone_stays_tracked() {
        assert_eq!(after((1, 2), 3, &[1, 3]), (3, 3));
        assert_eq!(after((1, 2), 3, &[3]), (3, 3));
    }

    #[test]
    fn a_slot_that_nobody_takes_keeps_who_had_it_as_the_previous() {
        assert_eq!(after((1, 0), 0, &[1]), (0, 1));
        assert_eq!(after((1, 2), 0, &[1, 2]), (0, 2));
        assert_eq!(after((0, 2), 0, &[2]), (0, 2));
    }

    #[test]
    fn a_slot_that_nobody_takes_stays_tracked_while_anybody_serves() {
        assert_eq!(after((1, 2), 0, &[3]), (0, 3));
        assert_eq!(after((1, 2), 0, &[]), (0, 0));
        assert_eq!(after((1, 0), 0, &[3]), (0, 0));
    }

    #[test]
    fn a_new_ring_is_stable() {
        let serving: Serving = [member(1)].into_iter().flatten().collect();
        let slots = next_slots(&[], [member(1), None, member(1)], &serving);
        assert_eq!(slots, [Slot(1), Slot::EMPTY, Slot(1)]);
        assert!(slots.iter().all(|slot| !opens(Slot::EMPTY, *slot)));
    }

    /// What comes next: who can serve, who owns the slots, and what happens then. Some time passes after
    /// each: no slot is closed and opened again within one tick.
    #[derive(Clone, Debug)]
    struct Step {
        serving: Vec<bool>,
        owners: Vec<Index>,
        nobody: bool,
        begin: Vec<(usize, bool)>,
        sweep: bool,
        passes: u32,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let serving = vec(prop::bool::weighted(0.7), usize::from(MEMBERS));
        let begin = vec((0..SLOTS, any::<bool>()), 0..4);
        let owners = vec(any::<Index>(), SLOTS);
        let rare = prop::bool::weighted(0.1);
        let step = (serving, owners, rare, begin, any::<bool>(), 1..3 * GRACE).prop_map(
            |(serving, owners, nobody, begin, sweep, passes)| Step {
                serving,
                owners,
                nobody,
                begin,
                sweep,
                passes,
            },
        );
        vec(step, 1..24)
    }

    /// How many ticks unknown datagrams count as old.
    const GRACE: u32 = 4;

    /// A flow that keeps sending, and who had its last packet.
    #[derive(Clone, Copy, Debug)]
    struct Flow {
        slot: usize,
        tcp: bool,
        real: Member,
    }

    /// The datapath's rule for flows, without its tables' limits: each flow has an entry of its own.
    #[derive(Default)]
    struct Model {
        slots: Vec<Slot>,
        opened: [u32; SLOTS],
        serving: Serving,
        noted: BTreeMap<usize, (u32, Member)>,
        now: u32,
    }

    impl Model {
        fn change(&mut self, step: &Step) {
            let up: Vec<Member> = (1..=MEMBERS)
                .filter(|number| step.serving[usize::from(*number) - 1])
                .filter_map(member)
                .collect();
            self.serving = up.iter().copied().collect();
            let owner = |index: &Index| {
                let anyone = !up.is_empty() && !step.nobody;
                anyone.then(|| up[index.index(up.len())])
            };
            let next = next_slots(&self.slots, step.owners.iter().map(owner), &self.serving);
            for (index, new) in next.iter().enumerate() {
                if opens(self.slots.get(index).copied().unwrap_or_default(), *new) {
                    self.opened[index] = self.now;
                }
            }
            self.slots = next;
        }

        /// Who gets a packet of a flow, by its number.
        fn packet(&mut self, flow: usize, slot: usize, tcp: bool, begins: bool) -> Option<Member> {
            let owners = self.slots[slot];
            if !owners.is_tracked() {
                return owners.current().filter(|owner| self.serving.has(*owner));
            }
            let opened = self.opened[slot];
            let noted = self.noted.get(&flow).filter(|(noted, _)| *noted >= opened);
            if let Some((_, real)) = noted.filter(|(_, real)| self.serving.has(*real)) {
                return Some(*real);
            }
            let old = if tcp { !begins } else { self.now - opened < GRACE };
            let real = if old { owners.previous() } else { owners.current() };
            let real = real.filter(|real| self.serving.has(*real))?;
            if !tcp || begins || noted.is_some() {
                self.noted.insert(flow, (self.now, real));
            }
            Some(real)
        }

        /// Closes the slots whose flows are all with their current owner.
        fn sweep(&mut self, flows: &[Option<Flow>]) {
            for (index, slot) in self.slots.iter_mut().enumerate() {
                let foreign = |flow: &Flow| flow.slot == index && Some(flow.real) != slot.current();
                if !flows.iter().flatten().any(foreign) {
                    *slot = Slot::new(slot.current(), None);
                }
            }
        }
    }

    fn check(steps: &[Step], sweeps: bool) -> Result<(), TestCaseError> {
        let mut model = Model::default();
        let mut flows: Vec<Option<Flow>> = Vec::new();
        for step in steps {
            model.change(step);
            for (number, entry) in flows.iter_mut().enumerate() {
                let Some(flow) = entry else { continue };
                let real = model.packet(number, flow.slot, flow.tcp, false);
                if model.serving.has(flow.real) {
                    prop_assert_eq!(real, Some(flow.real), "{:?} in {:?}", flow, model.slots);
                }
                // A flow that nobody takes is over.
                *entry = real.map(|real| Flow { real, ..*flow });
            }
            for (slot, tcp) in &step.begin {
                let (slot, tcp) = (*slot, *tcp);
                let real = model.packet(flows.len(), slot, tcp, true);
                flows.push(real.map(|real| Flow { slot, tcp, real }));
            }
            if sweeps && step.sweep {
                model.sweep(&flows);
            }
            model.now += step.passes;
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_flow_changes_its_real_only_when_that_is_gone(steps in steps()) {
            check(&steps, false)?;
        }

        #[test]
        fn a_flow_changes_its_real_only_when_that_is_gone_though_slots_are_closed(steps in steps()) {
            check(&steps, true)?;
        }

        #[test]
        fn slots_that_are_as_desired_stay_as_they_are(steps in steps()) {
            let mut model = Model::default();
            for step in &steps {
                model.change(step);
                let before = model.slots.clone();
                model.change(step);
                prop_assert_eq!(&before, &model.slots);
            }
        }

        #[test]
        fn whoever_a_slot_names_can_serve(steps in steps()) {
            let mut model = Model::default();
            for step in &steps {
                model.change(step);
                let named = model.slots.iter().flat_map(|slot| [slot.current(), slot.previous()]);
                prop_assert!(named.flatten().all(|member| model.serving.has(member)));
            }
        }
    }
}
