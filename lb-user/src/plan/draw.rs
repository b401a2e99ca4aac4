//! Rings drawn: who shall own the slots of each VIP, and what is to be written for it. What it takes to draw many
//! is shared out among the processors.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    thread,
};

use lb_common::{Member, Seed, Slot, Tick};

use super::{Base, Block, Changed, DesiredVip, Numbers, Op, Serving, Slots, opens, slots::next};
use crate::{
    maglev::{self, Candidate, Dealer},
    model::{Real, Vip},
};

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

/// What a ring is computed of, beside the seed: who may own slots, and how many there are.
type Key = (Vec<Candidate>, u32);

/// Rings that were computed before anybody asks for them, while there was time.
#[derive(Default)]
pub struct Rings(HashMap<Key, Arc<Numbers>>);

impl Rings {
    /// Those of VIPs that have none yet. A processor is left to who goes on meanwhile.
    #[must_use]
    pub fn ahead(vips: &[Vip], seed: &Seed) -> Self {
        let candidate = |real: &Real| Candidate { address: real.address, weight: real.weight };
        let key = |vip: &Vip| (vip.weighted().map(candidate).collect(), vip.ring_len());
        let keys: HashSet<Key> = vips.iter().map(key).collect();
        let keys: Vec<Key> = keys.into_iter().collect();
        let rings = compute(&keys, seed, processors().saturating_sub(1));
        Self(keys.into_iter().zip(rings).collect())
    }
}

/// Computes these rings.
fn compute(keys: &[Key], seed: &Seed, threads: usize) -> Vec<Arc<Numbers>> {
    let slots = keys.iter().map(|(_, len)| *len as usize).sum();
    in_parallel(keys, slots, threads, |(candidates, len)| {
        Arc::new(Numbers::of(&maglev::ring(candidates, seed, *len)))
    })
}

/// Draws these rings, in their order.
pub(super) fn draw(sketches: &[Sketch<'_>], seed: &Seed, now: Tick, ahead: &Rings) -> Vec<Drawn> {
    let bases = bases(sketches, seed, ahead);
    let pairs: Vec<_> = sketches.iter().zip(bases).collect();
    let slots = sketches.iter().map(|sketch| sketch.block.ring_len_of(sketch.vip) as usize).sum();
    in_parallel(&pairs, slots, processors(), |(sketch, base)| sketch.draw(base, seed, now))
}

/// Where the ring of a base comes from.
enum Source {
    /// It is as it was.
    Known,
    /// It was computed ahead.
    Ahead(Arc<Numbers>),
    /// It is the so-manieth of those that are computed now.
    New(usize),
}

/// The bases of these rings: as they were if neither reals nor parts have changed. Equal pools have one ring.
fn bases(sketches: &[Sketch<'_>], seed: &Seed, ahead: &Rings) -> Vec<Arc<Base>> {
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
                return (candidates, parts, Source::Known);
            }
            let key = (candidates.clone(), block.ring_len_of(vip));
            let source = match ahead.0.get(&key) {
                Some(ring) => Source::Ahead(Arc::clone(ring)),
                None => Source::New(*rings.entry(key).or_insert_with_key(|key| {
                    wanted.push(key.clone());
                    wanted.len() - 1
                })),
            };
            (candidates, parts, source)
        })
        .collect();
    let rings = compute(&wanted, seed, processors());
    let known = sketches.iter().map(|sketch| &sketch.block.base);
    let finish = |((candidates, parts, source), known): ((_, Vec<u16>, _), &Arc<Base>)| {
        let owners = match source {
            Source::Known if parts == known.parts => return Arc::clone(known),
            Source::Known => Arc::clone(&known.owners),
            Source::Ahead(ring) => ring,
            Source::New(index) => Arc::clone(&rings[index]),
        };
        Arc::new(Base { candidates, owners, parts })
    };
    drafts.into_iter().zip(known).map(finish).collect()
}

impl Sketch<'_> {
    fn draw(&self, base: &Arc<Base>, seed: &Seed, now: Tick) -> Drawn {
        let Self { vip, block } = *self;
        let drawn = |slots, ops| Drawn { base: Arc::clone(base), slots, ops };
        let ring = block.ring;
        let wanted = Wanted::of(vip, block, base, seed);
        if block.slots.is_empty() {
            let slots = wanted.anew();
            let ops = match slots.is_empty() {
                true => Vec::new(),
                false => vec![Op::Slots(Changed::neighbours(ring, slots.clone()))],
            };
            return drawn(Some(slots), ops);
        }
        let Some((slots, opened, parts)) = wanted.changes(&block.slots, &block.serving(vip)) else {
            return drawn(None, Vec::new());
        };
        let opened = opened.into_iter().map(|run| Op::Open {
            first: ring + run.start,
            count: run.end - run.start,
            at: now,
        });
        let changed = Op::Slots(Changed { ring, slots: slots.clone(), parts });
        drawn(Some(slots), opened.chain([changed]).collect())
    }
}

/// Who shall own the slots of a ring: the reals as they are dealt out, or the sorry server if none of them takes
/// anything.
struct Wanted<'a> {
    base: &'a Base,
    dealer: Dealer,
    /// The numbers of the candidates.
    members: Vec<u16>,
    /// The same of those who take all that is theirs; of the others, what no number is.
    whole: Vec<u16>,
    /// Who has what nobody takes; 0 is nobody.
    sorry: u16,
    len: usize,
}

/// Stands for one of whose slots each is to be looked at.
const DEALT: u16 = u16::MAX;

impl<'a> Wanted<'a> {
    fn of(vip: &DesiredVip, block: &Block, base: &'a Base, seed: &Seed) -> Self {
        let number = |real| block.member(real).map_or(0, Member::number);
        let weighted = vip.reals.iter().filter(|real| real.weight > 0);
        let members: Vec<u16> = weighted.map(number).collect();
        let dealer = Dealer::new(&base.candidates, &base.parts, seed);
        let sorry = vip.sorry.as_ref().filter(|sorry| sorry.role.takes_new()).map_or(0, number);
        let whole = (0u16..).zip(&members);
        let whole =
            whole.map(|(index, member)| if dealer.is_whole(index) { *member } else { DEALT });
        let len = block.ring_len_of(vip) as usize;
        Self { base, whole: whole.collect(), dealer, members, sorry, len }
    }

    /// Who shall own this slot, of which the base says that it is this candidate's.
    fn owner(&self, slot: usize, candidate: u16) -> u16 {
        match self.whole[usize::from(candidate)] {
            DEALT => {
                let holder = self.dealer.holder(slot as u64, candidate);
                holder.map_or(self.sorry, |holder| self.members[usize::from(holder)])
            }
            whole => whole,
        }
    }

    /// Where there were no slots before.
    fn anew(&self) -> Slots {
        // Nearly always all is well, and each slot its owner's. (One that is dealt out is no byte.)
        if self.base.owners.len() == self.len
            && let Some(slots) = Slots::stable_of(&self.base.owners, &self.whole)
        {
            return slots;
        }
        let mut owners = Vec::with_capacity(self.len);
        self.base.owners.each(|slot, candidate| owners.push(self.owner(slot, candidate)));
        owners.resize(self.len, self.sorry);
        Slots::stable(&owners)
    }

    /// The slots as they become, the runs of them that are opened, and the runs that differ from before; nothing if
    /// none does.
    fn changes(&self, former: &Slots, serving: &Serving) -> Option<Changes> {
        let (mut opened, mut changed) = (Vec::new(), Vec::new());
        let mut slots = former.edit();
        let mut look = |index: usize, old: Slot, owner: u16| {
            // Most are stable and stay so.
            if old.0 == u32::from(owner) {
                return;
            }
            let slot = next(old, Member::new(owner), serving);
            if slot != old {
                lengthen(&mut changed, index as u32);
                slots.set(index, slot);
            }
            if opens(old, slot) {
                lengthen(&mut opened, index as u32);
            }
        };
        let known = self.base.owners.len().min(former.len());
        former.beside(&self.base.owners, |index, old, candidate| {
            look(index, old, self.owner(index, candidate));
        });
        former.each(known..former.len(), |index, old| look(index, old, self.sorry));
        (!changed.is_empty()).then(|| (slots.finish(), opened, changed))
    }
}

/// See [`Wanted::changes`].
type Changes = (Slots, Vec<Range<u32>>, Vec<Range<u32>>);

/// Adds the next index to runs of neighbours.
fn lengthen(runs: &mut Vec<Range<u32>>, index: u32) {
    match runs.last_mut() {
        Some(run) if run.end == index => run.end += 1,
        _ => runs.push(index..index + 1),
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The results in the order of the items, of which each of so many threads takes its part if there are many slots in
/// them.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    slots: usize,
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    if slots < MANY || threads < 2 || items.len() < 2 {
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
