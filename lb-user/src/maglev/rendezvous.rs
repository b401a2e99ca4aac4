//! Slots of candidates that are down, or that start slowly, dealt to those that are up.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit
//! rates", IEEE/ACM Transactions on Networking 1998; weights by the logarithmic method of
//! Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005): a slot goes to the
//! candidate with the smallest `-ln(u) / weight`, where `u` is a hash of both, in (0, 1). Whoever
//! fails next moves only what it holds itself, and the order of failures leaves no trace.

use std::{cmp::Reverse, collections::BTreeMap, hint::select_unpredictable};

use lb_common::Seed;

use super::{Candidate, Use, hash};

/// The part of a candidate that takes all that is its own.
pub const WHOLE: u16 = 256;

/// The holder of each slot while candidates take only a part of what is theirs, counted in parts of
/// [`WHOLE`]: 0 of one that is down, more from time to time of one that starts slowly. `parts` stands
/// beside `candidates`.
///
/// A slot is its owner's if the owner takes it, else one of the others', by their weight and part; `None`
/// if there is nobody. A growing part moves slots to that candidate and no other.
#[must_use]
pub fn deal(
    ring: &[u16],
    candidates: &[Candidate],
    parts: &[u16],
    seed: &Seed,
) -> Vec<Option<u16>> {
    let dealer = Dealer::new(candidates, parts, seed);
    (0u64..).zip(ring).map(|(slot, owner)| dealer.holder(slot, *owner)).collect()
}

/// Who holds which slot: [`deal`], a slot at a time.
pub struct Dealer {
    parts: Vec<u16>,
    keys: Vec<u64>,
    classes: Vec<Class>,
}

impl Dealer {
    /// For these candidates, beside whom their parts stand.
    #[must_use]
    pub fn new(candidates: &[Candidate], parts: &[u16], seed: &Seed) -> Self {
        let part = |index: u16| parts.get(usize::from(index)).copied().unwrap_or(0);
        let parts: Vec<u16> = (0u16..).zip(candidates).map(|(index, _)| part(index)).collect();
        if parts.iter().all(|part| *part >= WHOLE) {
            // Nothing is asked of them.
            return Self { parts, keys: Vec::new(), classes: Vec::new() };
        }
        let keys = candidates.iter().map(|candidate| hash(Use::Start, candidate.address, seed));
        Self { keys: keys.collect(), classes: classes(candidates, part, seed), parts }
    }

    /// Whether this owner takes all that is its own.
    #[must_use]
    pub fn is_whole(&self, owner: u16) -> bool {
        self.parts[usize::from(owner)] >= WHOLE
    }

    /// Who holds a slot of this owner.
    #[must_use]
    pub fn holder(&self, slot: u64, owner: u16) -> Option<u16> {
        let part = self.parts[usize::from(owner)];
        let drawn = || mix(self.keys[usize::from(owner)] ^ spread(slot)) % u64::from(WHOLE);
        if part >= WHOLE || part > 0 && drawn() < u64::from(part) {
            return Some(owner);
        }
        // With nobody else, one that starts slowly takes all.
        best(&self.classes, slot, owner).or_else(|| (part > 0).then_some(owner))
    }
}

/// The candidates of one weight that are up. Among them the largest hash decides, so that a slot costs
/// one logarithm a weight and not one a candidate.
struct Class {
    weight: u32,
    members: Vec<Member>,
}

struct Member {
    key: u64,
    index: u16,
}

/// By weight times part. Heaviest first, members by their keys: the order settles ties, so it must not
/// be the input's.
fn classes(candidates: &[Candidate], part: impl Fn(u16) -> u16, seed: &Seed) -> Vec<Class> {
    let mut classes = BTreeMap::<_, Vec<_>>::new();
    for (index, candidate) in (0u16..).zip(candidates) {
        let weight = u32::from(candidate.weight) * u32::from(part(index).min(WHOLE));
        if weight > 0 {
            let key = hash(Use::Rendezvous, candidate.address, seed);
            classes.entry(Reverse(weight)).or_default().push(Member { key, index });
        }
    }
    let sorted = |(Reverse(weight), mut members): (_, Vec<Member>)| {
        members.sort_by_key(|member| (member.key, candidates[usize::from(member.index)].address));
        Class { weight, members }
    };
    classes.into_iter().map(sorted).collect()
}

/// Who gets a slot that its owner does not take.
fn best(classes: &[Class], slot: u64, owner: u16) -> Option<u16> {
    if let [class] = classes {
        return class.best(slot, owner).map(|(_, index)| index);
    }
    let mut best: Option<(f64, u16)> = None;
    for class in classes {
        let Some((hash, index)) = class.best(slot, owner) else {
            continue;
        };
        let (unit, weight) = (unit(hash), f64::from(class.weight));
        // 1 - u is never more than -ln(u): most classes are out without a logarithm.
        if best.is_some_and(|(score, _)| 1.0 - unit > score * weight) {
            continue;
        }
        // `libm` in place of the platform's, so that all balancers agree to the last bit.
        let score = -libm::log(unit) / weight;
        if best.is_none_or(|(least, _)| score < least) {
            best = Some((score, index));
        }
    }
    best.map(|(_, index)| index)
}

impl Class {
    fn best(&self, slot: u64, owner: u16) -> Option<(u64, u16)> {
        let slot = spread(slot);
        let (mut best, mut found) = ((0, owner), false);
        for member in &self.members {
            let hash = mix(member.key ^ slot);
            let is_better = (member.index != owner) & ((hash > best.0) | !found);
            found |= is_better;
            // A branch would be guessed wrong for every slot, some times.
            best = select_unpredictable(is_better, (hash, member.index), best);
        }
        found.then_some(best)
    }
}

/// A hash as a number in (0, 1).
fn unit(hash: u64) -> f64 {
    ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Neighbouring slots must not differ in low bits only.
fn spread(slot: u64) -> u64 {
    (slot + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
