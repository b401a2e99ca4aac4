//! Rings in little memory. A slot is a word, but a ring at rest has no previous owners, and most pools are
//! small: a byte says it all. Ten thousand rings of 4093 slots are then 41 MB in place of 164.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use lb_common::{Member, Slot};

/// The slots of a ring, shared between the states in which they are the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Slots(Arc<Ring>);

struct Ring {
    packed: Packed,
    /// Counted when that is asked for first.
    held: OnceLock<Held>,
}

impl PartialEq for Ring {
    fn eq(&self, other: &Self) -> bool {
        self.packed == other.packed
    }
}

impl Eq for Ring {}

#[derive(PartialEq, Eq)]
enum Packed {
    /// All are stable.
    Stable(Numbers),
    Any(Box<[Slot]>),
}

/// How many slots of a ring each member has.
#[derive(Debug, Default)]
pub struct Held {
    owned: Counts,
    previous: Counts,
}

/// By the number of a member, 0 for none.
#[derive(Debug, Default)]
struct Counts(Vec<u32>);

impl Counts {
    fn add(&mut self, member: Option<Member>) {
        let number = usize::from(member.map_or(0, Member::number));
        if self.0.len() <= number {
            self.0.resize(number + 1, 0);
        }
        self.0[number] += 1;
    }

    fn of(&self, number: u16) -> u32 {
        self.0.get(usize::from(number)).copied().unwrap_or_default()
    }
}

impl Held {
    /// The number of slots of which this member is the current owner.
    #[must_use]
    pub fn owned(&self, member: Member) -> u32 {
        self.owned.of(member.number())
    }

    /// The number of slots that name it as the previous owner.
    #[must_use]
    pub fn previous(&self, member: Member) -> u32 {
        self.previous.of(member.number())
    }

    /// The number of slots that name anybody so.
    #[must_use]
    pub fn tracked(&self) -> u32 {
        self.previous.0.iter().skip(1).sum()
    }
}

/// Small numbers in a row.
#[derive(Clone, PartialEq, Eq)]
pub struct Numbers(Width);

#[derive(Clone, PartialEq, Eq)]
enum Width {
    Narrow(Box<[u8]>),
    Wide(Box<[u16]>),
}

impl Numbers {
    /// These numbers.
    #[must_use]
    pub fn of(numbers: &[u16]) -> Self {
        match numbers.iter().all(|number| *number <= u16::from(u8::MAX)) {
            true => Self(Width::Narrow(numbers.iter().map(|number| *number as u8).collect())),
            false => Self(Width::Wide(numbers.into())),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Width::Narrow(numbers) => numbers.len(),
            Width::Wide(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u16> {
        match &self.0 {
            Width::Narrow(numbers) => numbers.iter().copied().map(u16::from).collect(),
            Width::Wide(numbers) => numbers.to_vec(),
        }
    }

    /// The same, each replaced by what stands at its place in a table of small numbers; nothing where these
    /// are not small enough.
    fn replaced(&self, table: &[u16]) -> Option<Self> {
        let Width::Narrow(numbers) = &self.0 else { return None };
        let mut small = [0; 1 << u8::BITS];
        for (small, number) in small.iter_mut().zip(table) {
            *small = u8::try_from(*number).ok()?;
        }
        Some(Self(Width::Narrow(
            numbers.iter().map(|number| small[usize::from(*number)]).collect(),
        )))
    }

    /// Goes through them, with their indices.
    pub fn each(&self, mut visit: impl FnMut(usize, u16)) {
        match &self.0 {
            Width::Narrow(numbers) => {
                (0..).zip(numbers).for_each(|(index, number)| visit(index, (*number).into()));
            }
            Width::Wide(numbers) => {
                (0..).zip(numbers).for_each(|(index, number)| visit(index, *number));
            }
        }
    }

    fn get(&self, index: usize) -> Option<u16> {
        match &self.0 {
            Width::Narrow(numbers) => numbers.get(index).copied().map(u16::from),
            Width::Wide(numbers) => numbers.get(index).copied(),
        }
    }
}

impl Slots {
    /// A ring of which nobody holds anything: these members own the slots; 0 is nobody.
    #[must_use]
    pub fn stable(owners: &[u16]) -> Self {
        Self::packed(Packed::Stable(Numbers::of(owners)))
    }

    /// The same, owned by the members that stand in a table at the places of these numbers; nothing where it has
    /// one that does not fit into a byte.
    pub(super) fn stable_of(numbers: &Numbers, members: &[u16]) -> Option<Self> {
        Some(Self::packed(Packed::Stable(numbers.replaced(members)?)))
    }

    fn packed(packed: Packed) -> Self {
        Self(Arc::new(Ring { packed, held: OnceLock::new() }))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0.packed {
            Packed::Stable(numbers) => numbers.len(),
            Packed::Any(slots) => slots.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slot with this index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Slot> {
        match &self.0.packed {
            Packed::Stable(numbers) => numbers.get(index).map(stable),
            Packed::Any(slots) => slots.get(index).copied(),
        }
    }

    /// All of them in their order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// All of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(self.len());
        self.each(0..self.len(), |_, slot| slots.push(slot));
        slots
    }

    /// Goes through a part of them, with their indices. As what they are packed in is asked for once, this is
    /// what long ways through rings are to be gone by.
    pub fn each(&self, part: Range<usize>, mut visit: impl FnMut(usize, Slot)) {
        let indices = part.clone();
        match &self.0.packed {
            Packed::Stable(Numbers(Width::Narrow(numbers))) => {
                let numbers = numbers.get(part).unwrap_or_default();
                indices
                    .zip(numbers)
                    .for_each(|(index, number)| visit(index, stable((*number).into())));
            }
            Packed::Stable(Numbers(Width::Wide(numbers))) => {
                let numbers = numbers.get(part).unwrap_or_default();
                indices.zip(numbers).for_each(|(index, number)| visit(index, stable(*number)));
            }
            Packed::Any(slots) => {
                let slots = slots.get(part).unwrap_or_default();
                indices.zip(slots).for_each(|(index, slot)| visit(index, *slot));
            }
        }
    }

    /// Goes through them beside numbers, up to the end of the shorter.
    pub fn beside(&self, numbers: &Numbers, mut visit: impl FnMut(usize, Slot, u16)) {
        match (&self.0.packed, &numbers.0) {
            // Nearly all are so.
            (Packed::Stable(Numbers(Width::Narrow(slots))), Width::Narrow(numbers)) => {
                for (index, (slot, number)) in slots.iter().zip(numbers).enumerate() {
                    visit(index, stable((*slot).into()), (*number).into());
                }
            }
            _ => {
                let numbers_at = |index| numbers.get(index).unwrap_or_default();
                let both = self.len().min(numbers.len());
                self.each(0..both, |index, slot| visit(index, slot, numbers_at(index)));
            }
        }
    }

    /// A copy to be changed.
    pub(super) fn edit(&self) -> Edit<'_> {
        Edit { slots: self, copy: Copy::None }
    }

    /// How many each member has, counted once for all who share them.
    #[must_use]
    pub fn held(&self) -> &Held {
        self.0.held.get_or_init(|| {
            let mut held = Held::default();
            match &self.0.packed {
                Packed::Stable(numbers) => {
                    numbers.each(|_, number| held.owned.add(Member::new(number)));
                }
                Packed::Any(slots) => {
                    for slot in slots {
                        held.owned.add(slot.current());
                        held.previous.add(slot.previous());
                    }
                }
            }
            held
        })
    }

    /// How many have a previous owner.
    #[must_use]
    pub fn tracked(&self) -> u32 {
        match &self.0.packed {
            Packed::Stable(_) => 0,
            Packed::Any(_) => self.held().tracked(),
        }
    }

    /// Whether both are the same in memory.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Slots that are being changed, copied once the first of them is.
pub(super) struct Edit<'a> {
    slots: &'a Slots,
    copy: Copy,
}

enum Copy {
    None,
    /// All are stable, and their numbers small.
    Narrow(Box<[u8]>),
    Any(Vec<Slot>),
}

impl Edit<'_> {
    /// Changes one.
    pub(super) fn set(&mut self, index: usize, slot: Slot) {
        if matches!(self.copy, Copy::None) {
            self.copy = match &self.slots.0.packed {
                Packed::Stable(Numbers(Width::Narrow(numbers))) => Copy::Narrow(numbers.clone()),
                _ => Copy::Any(self.slots.to_vec()),
            };
        }
        match (&mut self.copy, u8::try_from(slot.0)) {
            (Copy::Narrow(numbers), Ok(number)) => numbers[index] = number,
            (Copy::Narrow(numbers), Err(_)) => {
                let mut slots: Vec<Slot> =
                    numbers.iter().map(|number| stable((*number).into())).collect();
                slots[index] = slot;
                self.copy = Copy::Any(slots);
            }
            (Copy::Any(slots), _) => slots[index] = slot,
            (Copy::None, _) => unreachable!("it was copied"),
        }
    }

    /// What has become of them.
    pub(super) fn finish(self) -> Slots {
        match self.copy {
            Copy::None => self.slots.clone(),
            Copy::Narrow(numbers) => Slots::packed(Packed::Stable(Numbers(Width::Narrow(numbers)))),
            Copy::Any(slots) => slots.into(),
        }
    }
}

fn stable(number: u16) -> Slot {
    Slot::new(Member::new(number), None)
}

impl Default for Slots {
    fn default() -> Self {
        Self::stable(&[])
    }
}

impl From<Vec<Slot>> for Slots {
    fn from(slots: Vec<Slot>) -> Self {
        if slots.iter().any(|slot| slot.is_tracked()) {
            return Self::packed(Packed::Any(slots.into()));
        }
        let number = |slot: &Slot| slot.current().map_or(0, Member::number);
        Self::stable(&slots.iter().map(number).collect::<Vec<_>>())
    }
}

impl FromIterator<Slot> for Slots {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        slots.into_iter().collect::<Vec<_>>().into()
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::of(&[])
    }
}

/// Slots that are to be written: parts of a ring, each of neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The ring's first slot in the arena.
    pub ring: u32,
    /// What the whole ring becomes.
    pub slots: Slots,
    /// What of it is to be written.
    pub parts: Vec<Range<u32>>,
}

impl Changed {
    /// Neighbours, from this one of the arena on.
    #[must_use]
    pub fn neighbours(first: u32, slots: impl Into<Slots>) -> Self {
        let slots = slots.into();
        let all = 0..slots.len() as u32;
        Self { ring: first, slots, parts: vec![all] }
    }

    /// Goes through them, with their indices in the arena.
    pub fn each(&self, mut visit: impl FnMut(u32, Slot)) {
        for part in &self.parts {
            let part = part.start as usize..part.end as usize;
            self.slots.each(part, |index, slot| visit(self.ring + index as u32, slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn slots() -> impl Strategy<Value = Vec<Slot>> {
        let number = || prop_oneof![0u16..4, 0u16..1000];
        let slot = (number(), number(), any::<bool>()).prop_map(|(current, previous, moved)| {
            Slot::new(Member::new(current), Member::new(previous).filter(|_| moved))
        });
        prop_oneof![vec(slot, 0..20), vec(number().prop_map(stable), 0..20)]
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_was_given(slots in slots(), from in 0usize..20, to in 0usize..20) {
            let packed = Slots::from(slots.clone());
            prop_assert_eq!(packed.len(), slots.len());
            prop_assert_eq!(packed.to_vec(), slots.clone());
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), slots.clone());
            prop_assert_eq!(packed.get(from), slots.get(from).copied());
            let tracked = slots.iter().filter(|slot| slot.is_tracked()).count();
            prop_assert_eq!(packed.tracked() as usize, tracked);
            for member in slots.iter().flat_map(|slot| [slot.current(), slot.previous()]).flatten() {
                let owned = slots.iter().filter(|slot| slot.current() == Some(member));
                let previous = slots.iter().filter(|slot| slot.previous() == Some(member));
                prop_assert_eq!(packed.held().owned(member) as usize, owned.count());
                prop_assert_eq!(packed.held().previous(member) as usize, previous.count());
            }
            let mut part = Vec::new();
            packed.each(from..to, |index, slot| part.push((index, slot)));
            let expected = slots.get(from..to).unwrap_or_default().iter().copied();
            prop_assert_eq!(part, (from..).zip(expected).collect::<Vec<_>>());
        }

        #[test]
        fn what_is_changed_is_packed_as_if_it_had_been_given_so(
            mut before in slots(),
            changes in vec((any::<prop::sample::Index>(), slots()), 0..6),
        ) {
            let packed = Slots::from(before.clone());
            let mut edit = packed.edit();
            for (index, slots) in changes {
                if let (false, Some(slot)) = (before.is_empty(), slots.first()) {
                    let index = index.index(before.len());
                    before[index] = *slot;
                    edit.set(index, *slot);
                }
            }
            prop_assert_eq!(edit.finish(), Slots::from(before));
        }

        #[test]
        fn slots_stand_beside_numbers(slots in slots(), numbers in vec(0u16..300, 0..20)) {
            let mut pairs = Vec::new();
            let beside = |index, slot, number| pairs.push((index, slot, number));
            Slots::from(slots.clone()).beside(&Numbers::of(&numbers), beside);
            let expected = slots.iter().zip(&numbers).enumerate();
            let expected: Vec<_> = expected.map(|(index, (slot, number))| (index, *slot, *number)).collect();
            prop_assert_eq!(pairs, expected);
        }

        #[test]
        fn equal_slots_are_packed_alike(one in slots(), other in slots()) {
            let same = Slots::from(one.clone()) == Slots::from(other.clone());
            prop_assert_eq!(same, one == other);
        }

        #[test]
        fn numbers_stay_what_they_are(numbers in vec(prop_oneof![0u16..256, any::<u16>()], 0..20)) {
            prop_assert_eq!(Numbers::of(&numbers).to_vec(), numbers);
        }
    }
}
