//! Slots of candidates that are down, dealt to those that are up.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit
//! rates", IEEE/ACM Transactions on Networking 1998; weights by the logarithmic method of
//! Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005): a slot goes to the
//! candidate with the smallest `-ln(u) / weight`, where `u` is a hash of both, in (0, 1). Whoever
//! fails next moves only what it holds itself, and the order of failures leaves no trace.

use std::{cmp::Reverse, collections::BTreeMap};

use lb_common::Seed;

use super::{Candidate, Use, hash};

/// The holder of each slot while only some candidates are usable: its owner if that one is, else
/// one of the usable by weight, `None` if there are none. `usable` stands beside `candidates`.
#[must_use]
pub fn deal(
    ring: &[u16],
    candidates: &[Candidate],
    usable: &[bool],
    seed: &Seed,
) -> Vec<Option<u16>> {
    let up = |index: u16| usable.get(usize::from(index)).copied().unwrap_or(false);
    if ring.iter().all(|owner| up(*owner)) {
        return ring.iter().copied().map(Some).collect();
    }
    let classes = classes(candidates, up, seed);
    let slots = (0u64..).zip(ring);
    slots
        .map(|(slot, owner)| if up(*owner) { Some(*owner) } else { best(&classes, slot) })
        .collect()
}

/// The usable candidates of one weight. Among them the largest hash decides, so that a slot costs
/// one logarithm a weight and not one a candidate.
struct Class {
    weight: u16,
    members: Vec<Member>,
}

struct Member {
    key: u64,
    index: u16,
}

/// Heaviest first, members by their keys: the order settles ties, so it must not be the input's.
fn classes(candidates: &[Candidate], up: impl Fn(u16) -> bool, seed: &Seed) -> Vec<Class> {
    let mut classes = BTreeMap::<_, Vec<_>>::new();
    for (index, candidate) in (0u16..).zip(candidates) {
        if up(index) && candidate.weight > 0 {
            let key = hash(Use::Rendezvous, candidate.address, seed);
            classes.entry(Reverse(candidate.weight)).or_default().push(Member { key, index });
        }
    }
    let sorted = |(Reverse(weight), mut members): (_, Vec<Member>)| {
        members.sort_by_key(|member| (member.key, candidates[usize::from(member.index)].address));
        Class { weight, members }
    };
    classes.into_iter().map(sorted).collect()
}

fn best(classes: &[Class], slot: u64) -> Option<u16> {
    if let [class] = classes {
        return class.best(slot).map(|(_, index)| index);
    }
    let mut best: Option<(f64, u16)> = None;
    for class in classes {
        let Some((hash, index)) = class.best(slot) else {
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
    fn best(&self, slot: u64) -> Option<(u64, u16)> {
        let slot = spread(slot);
        let hashed = self.members.iter().map(|member| (mix(member.key ^ slot), member.index));
        hashed.reduce(|best, next| if next.0 > best.0 { next } else { best })
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
