//! Rings drawn: who shall own the slots of each VIP, and what is to be written for it. What it takes to draw many
//! is shared out among the processors.

use std::{collections::HashMap, ops::Range, sync::Arc, thread};

use lb_common::{Seed, Tick};

use super::{Base, Block, Changed, DesiredVip, Numbers, Op, Serving, Slots, opens, slots::next};
use crate::maglev::{self, Candidate, WHOLE};

/// Below so many slots a thread costs more than it helps.
const MANY: usize = 1 << 18;

/// A VIP whose ring is to be drawn: what it shall be, and its block, which has the slots it had before and its
/// new members.
#[derive(Clone, Copy)]
pub(super) struct Sketch<'a> {
    pub(super) vip: &'a DesiredVip,
    pub(super) block: &'a Block,
}

/// What has come of it.
pub(super) struct Drawn {
    pub(super) base: Arc<Base>,
    /// Nothing where all slots stay as they are.
    pub(super) slots: Option<Slots>,
    /// The writes that lead there.
    pub(super) ops: Vec<Op>,
}

/// Draws these rings, in their order.
pub(super) fn draw(sketches: &[Sketch<'_>], seed: &Seed, now: Tick) -> Vec<Drawn> {
    let bases = bases(sketches, seed);
    let pairs: Vec<_> = sketches.iter().zip(bases).collect();
    let slots = sketches.iter().map(|sketch| sketch.block.ring_len_of(sketch.vip) as usize).sum();
    in_parallel(&pairs, slots, |(sketch, base)| sketch.draw(base, seed, now))
}

/// The bases of these rings: as they were if neither reals nor parts have changed. Equal pools have one ring.
fn bases(sketches: &[Sketch<'_>], seed: &Seed) -> Vec<Arc<Base>> {
    let mut rings = HashMap::new();
    let mut wanted = Vec::new();
    let drafts: Vec<_> = sketches
        .iter()
        .map(|sketch| {
            let Sketch { vip, block } = *sketch;
            let weighted = || vip.reals.iter().filter(|real| real.weight > 0);
            let candidate = |real: &super::DesiredReal| Candidate {
                address: real.address,
                weight: real.weight,
            };
            let candidates: Vec<Candidate> = weighted().map(candidate).collect();
            let parts: Vec<u16> = weighted().map(|real| real.role.part()).collect();
            if candidates == block.base.candidates {
                return (candidates, parts, None);
            }
            let key = (candidates.clone(), block.ring_len_of(vip));
            let ring = *rings.entry(key).or_insert_with_key(|key| {
                wanted.push(key.clone());
                wanted.len() - 1
            });
            (candidates, parts, Some(ring))
        })
        .collect();
    let slots = wanted.iter().map(|(_, len)| *len as usize).sum();
    let rings = in_parallel(&wanted, slots, |(candidates, len)| {
        Arc::new(Numbers::of(&maglev::ring(candidates, seed, *len)))
    });
    let known = sketches.iter().map(|sketch| &sketch.block.base);
    let finish =
        |((candidates, parts, ring), known): ((_, Vec<u16>, Option<usize>), &Arc<Base>)| match ring
        {
            None if parts == known.parts => Arc::clone(known),
            None => Arc::new(Base { candidates, owners: Arc::clone(&known.owners), parts }),
            Some(ring) => Arc::new(Base { candidates, owners: Arc::clone(&rings[ring]), parts }),
        };
    drafts.into_iter().zip(known).map(finish).collect()
}

impl Sketch<'_> {
    fn draw(&self, base: &Arc<Base>, seed: &Seed, now: Tick) -> Drawn {
        let Self { vip, block } = *self;
        let desired = self.owners(base, seed);
        let drawn = |slots, ops| Drawn { base: Arc::clone(base), slots, ops };
        let ring = block.ring;
        if block.slots.is_empty() {
            let slots = Slots::stable(&desired);
            let ops = match desired.is_empty() {
                true => Vec::new(),
                false => vec![Op::Slots(Changed::neighbours(ring, slots.clone()))],
            };
            return drawn(Some(slots), ops);
        }
        let (slots, opened, parts) = changes(&block.slots, &desired, &block.serving(vip));
        if parts.is_empty() {
            return drawn(None, Vec::new());
        }
        let slots = Slots::from(slots);
        let opened = opened.into_iter().map(|run| Op::Open {
            first: ring + run.start,
            count: run.end - run.start,
            at: now,
        });
        let changed = Op::Slots(Changed { ring, slots: slots.clone(), parts });
        drawn(Some(slots), opened.chain([changed]).collect())
    }

    /// The numbers of those who shall own the slots: the reals as they were dealt out, or the sorry server if none
    /// of them takes anything.
    fn owners(&self, base: &Base, seed: &Seed) -> Vec<u16> {
        let Self { vip, block } = *self;
        let number = |real| block.member(real).map_or(0, lb_common::Member::number);
        let weighted = vip.reals.iter().filter(|real| real.weight > 0);
        let members: Vec<u16> = weighted.map(number).collect();
        let sorry = vip.sorry.as_ref().filter(|sorry| sorry.role.takes_new()).map_or(0, number);
        let mut owners = base.owners.to_vec();
        if base.parts.iter().all(|part| *part >= WHOLE) {
            owners.iter_mut().for_each(|owner| *owner = members[usize::from(*owner)]);
        } else {
            let holders = maglev::deal(&owners, &base.candidates, &base.parts, seed);
            let holder =
                |holder: Option<u16>| holder.map_or(sorry, |holder| members[usize::from(holder)]);
            owners = holders.into_iter().map(holder).collect();
        }
        owners.resize(block.ring_len_of(vip) as usize, sorry);
        owners
    }
}

/// The slots as they become, the runs of them that are opened, and the runs that differ from before.
fn changes(
    former: &Slots,
    desired: &[u16],
    serving: &Serving,
) -> (Vec<lb_common::Slot>, Vec<Range<u32>>, Vec<Range<u32>>) {
    let (mut opened, mut changed) = (Vec::new(), Vec::new());
    let mut slots = Vec::with_capacity(desired.len());
    former.each(0..desired.len().min(former.len()), |index, old| {
        let owner = desired[index];
        // Most are stable and stay so.
        let mut slot = old;
        if old.0 != u32::from(owner) {
            slot = next(old, lb_common::Member::new(owner), serving);
            if slot != old {
                lengthen(&mut changed, index as u32);
            }
            if opens(old, slot) {
                lengthen(&mut opened, index as u32);
            }
        }
        slots.push(slot);
    });
    (slots, opened, changed)
}

/// Adds the next index to runs of neighbours.
fn lengthen(runs: &mut Vec<Range<u32>>, index: u32) {
    match runs.last_mut() {
        Some(run) if run.end == index => run.end += 1,
        _ => runs.push(index..index + 1),
    }
}

/// The results in the order of the items, of which each processor takes its part if there are many slots in
/// them.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    slots: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let threads = match slots {
        0..MANY => 1,
        _ => thread::available_parallelism().map_or(1, usize::from),
    };
    if threads == 1 || items.len() < 2 {
        return items.iter().map(work).collect();
    }
    thread::scope(|scope| {
        let work = &work;
        let parts = items.chunks(items.len().div_ceil(threads));
        let parts: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<_>>()))
            .collect();
        let joined = parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect()
    })
}
