//! Rings: which real server owns which slot. Pure, so that the daemon, the command line and every
//! balancer of a group compute the same.
//!
//! [`ring`] gives each candidate its slots as if all were well; [`deal`] hands the slots of those
//! that are down, or part of the slots of those that start slowly, to the others. A ring thus changes with the pool, never with its health.

use std::{collections::BTreeMap, hint::select_unpredictable, iter, net::IpAddr};

use lb_common::{Seed, limits};
use siphasher::{sip::SipHasher24, sip128};

mod rendezvous;

pub use rendezvous::{Dealer, WHOLE, deal};

/// A member of a pool that may own slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Its real address, unique in the pool.
    pub address: IpAddr,
    /// Its part of the slots relative to the others'; with 0 it owns none.
    pub weight: u16,
}

/// The order in which a candidate wishes for slots: `offset`, then always `skip` further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Permutation {
    offset: u32,
    skip: u32,
    weight: u16,
}

const NOBODY: u16 = u16::MAX;
const _: () = assert!(limits::POOL < NOBODY as u32);

/// The owner of each of `len` slots, as an index into `candidates`; empty if nobody has a weight.
/// `len` is prime, so that every permutation reaches every slot.
///
/// This is Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
/// Balancer", NSDI 2016, section 3.4) with weights. The result depends on the set of candidates
/// and the seed alone, not on their order.
#[must_use]
pub fn ring(candidates: &[Candidate], seed: &Seed, len: u32) -> Vec<u16> {
    debug_assert!(candidates.len() <= limits::POOL as usize);
    debug_assert!(is_prime(len), "{len} slots");
    let order = order(candidates, seed);
    let permutations: Vec<_> = order
        .iter()
        .filter_map(|index| candidates.get(usize::from(*index)))
        .map(|candidate| permutation(candidate, seed, len))
        .collect();
    let mut ring = populate(&permutations, len);
    for owner in &mut ring {
        *owner = order[usize::from(*owner)];
    }
    ring
}

fn is_prime(len: u32) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= len);
    len > 1 && divisors.all(|divisor| !len.is_multiple_of(divisor))
}

/// Indices of the candidates in the order of their turns.
fn order(candidates: &[Candidate], seed: &Seed) -> Vec<u16> {
    let mut order: Vec<_> = (0..NOBODY).take(candidates.len()).collect();
    order.sort_by_cached_key(|index| {
        let address = candidates[usize::from(*index)].address;
        (hash(Use::Order, address, seed), address)
    });
    order
}

fn permutation(candidate: &Candidate, seed: &Seed, len: u32) -> Permutation {
    let len = u64::from(len);
    let hasher = sip128::SipHasher24::new_with_keys(seed.0[0], seed.0[1]);
    let hash = hasher.hash(&bytes(Use::Permutation, candidate.address));
    Permutation {
        offset: (hash.h1 % len) as u32,
        skip: (hash.h2 % (len - 1)) as u32 + 1,
        weight: candidate.weight,
    }
}

/// Deals the slots turn by turn: who has a turn takes the first free slot that it wishes for.
fn populate(permutations: &[Permutation], len: u32) -> Vec<u16> {
    let mut next: Vec<u32> = permutations.iter().map(|permutation| permutation.offset).collect();
    let turns = turns(permutations, len);
    let mut ring = vec![NOBODY; turns.len()];
    let mut taken = Taken::new(turns.len());
    // Of n slots the last f cost about n ln f looks, nearly half of all: there it is quicker to ask of each
    // free slot how far it is.
    let (walked, rest) = turns.split_at(turns.len() - turns.len().min(few(len)));
    for index in walked {
        let skip = permutations[usize::from(*index)].skip;
        let mut wish = next[usize::from(*index)];
        while taken.has(wish) {
            wish = step(wish, skip, len);
        }
        next[usize::from(*index)] = wish;
        taken.take(wish);
        ring[wish as usize] = *index;
    }
    let mut free: Vec<u32> = (0..turns.len() as u32).filter(|slot| !taken.has(*slot)).collect();
    let modulo = Modulo::new(len);
    for index in rest {
        let skip = permutations[usize::from(*index)].skip;
        let wish = &mut next[usize::from(*index)];
        let per_slot = inverse(skip, len);
        let steps = |slot: u32| modulo.of(u64::from(slot + len - *wish) * u64::from(per_slot));
        let nearest = (0..free.len()).min_by_key(|free_slot| steps(free[*free_slot]));
        if let Some(nearest) = nearest {
            *wish = free.swap_remove(nearest);
            ring[*wish as usize] = *index;
        }
    }
    ring
}

/// The slot that is `skip` further; beyond the last comes the first. Without a branch, which
/// would be guessed wrong most of the time.
fn step(slot: u32, skip: u32, len: u32) -> u32 {
    let back = len - skip;
    let (forwards, backwards) = (slot + skip, slot.wrapping_sub(back));
    select_unpredictable(slot < back, forwards, backwards)
}

/// How many slots are so few that asking each is quicker than to walk until one of them is met: about twice the
/// square root of `len`.
fn few(len: u32) -> usize {
    2 << (len.ilog2() / 2)
}

/// Which slots are taken, a bit each: so few bytes stay near the processor.
struct Taken(Vec<u64>);

impl Taken {
    fn new(slots: usize) -> Self {
        Self(vec![0; slots.div_ceil(64)])
    }

    fn has(&self, slot: u32) -> bool {
        self.0[slot as usize / 64] >> (slot % 64) & 1 != 0
    }

    fn take(&mut self, slot: u32) {
        self.0[slot as usize / 64] |= 1 << (slot % 64);
    }
}

/// The remainder by a length, by two multiplications in place of a division (Lemire, Kaser and Kurz, "Faster
/// remainder by direct computation", Software: Practice and Experience 2019): exact as long as the number
/// and the square of the length have less than 64 bits together.
struct Modulo {
    len: u64,
    reciprocal: u64,
}

impl Modulo {
    fn new(len: u32) -> Self {
        Self { len: len.into(), reciprocal: u64::MAX / u64::from(len) + 1 }
    }

    fn of(&self, number: u64) -> u64 {
        let quotient = (u128::from(number) * u128::from(self.reciprocal)) >> 64;
        number - quotient as u64 * self.len
    }
}

/// What `number` is to be multiplied with to be 1 modulo a prime (Euclid's algorithm).
fn inverse(number: u32, prime: u32) -> u32 {
    let (mut rest, mut next) = (i64::from(prime), i64::from(number));
    let (mut factor, mut next_factor) = (0i64, 1i64);
    while next != 0 {
        let quotient = rest / next;
        (rest, next) = (next, rest - quotient * next);
        (factor, next_factor) = (next_factor, factor - quotient * next_factor);
    }
    factor.rem_euclid(prime.into()) as u32
}

/// Whose turn it is, `len` times.
///
/// A candidate's turns stand in the middles of equal parts of the time, as many parts as it is to
/// own slots; with equal weights everyone takes a turn in each round, as in the paper.
fn turns(permutations: &[Permutation], len: u32) -> Vec<u16> {
    let shares = shares(permutations, len);
    let mut classes = BTreeMap::<u16, Vec<(u16, u32)>>::new();
    for (index, (permutation, share)) in (0..NOBODY).zip(iter::zip(permutations, shares)) {
        classes.entry(permutation.weight).or_default().push((index, share));
    }
    let mut turns: Vec<u64> = Vec::with_capacity(len as usize);
    for (weight, members) in classes {
        let most = members.iter().map(|(_, share)| *share).max().unwrap_or_default();
        for turn in 0..most {
            // 28 fractional bits, 46 in all, leave room for the index: one word is quick to sort.
            let middle = ((2 * u64::from(turn) + 1) << 27) / u64::from(weight);
            let due = members.iter().filter(|(_, share)| turn < *share);
            turns.extend(due.map(|(index, _)| middle << 16 | u64::from(*index)));
        }
    }
    // Those of one weight stand in order already.
    if !turns.is_sorted() {
        turns.sort_unstable();
    }
    turns.into_iter().map(|turn| turn as u16).collect()
}

/// How many slots each is to own: its exact part rounded down, and the slots that are left to the
/// largest remainders.
fn shares(permutations: &[Permutation], len: u32) -> Vec<u32> {
    let sum: u64 = permutations.iter().map(|permutation| u64::from(permutation.weight)).sum();
    if sum == 0 {
        return vec![0; permutations.len()];
    }
    let exact =
        permutations.iter().map(|permutation| u64::from(len) * u64::from(permutation.weight));
    let (mut shares, remainders): (Vec<_>, Vec<_>) =
        exact.map(|part| ((part / sum) as u32, part % sum)).unzip();
    let left = len - shares.iter().sum::<u32>();
    let mut largest: Vec<_> = (0..shares.len()).collect();
    largest.sort_by_key(|index| std::cmp::Reverse(remainders[*index]));
    for index in largest.into_iter().take(left as usize) {
        shares[index] += 1;
    }
    shares
}

/// What an address is hashed for: one hash must not tell of another.
#[derive(Clone, Copy)]
enum Use {
    Order = 1,
    Permutation = 2,
    Rendezvous = 3,
    Start = 4,
}

fn hash(what: Use, address: IpAddr, seed: &Seed) -> u64 {
    SipHasher24::new_with_keys(seed.0[0], seed.0[1]).hash(&bytes(what, address))
}

/// `Hash` of an address may differ between machines and compilers; these bytes do not.
fn bytes(what: Use, address: IpAddr) -> [u8; 17] {
    let mut bytes = [what as u8; 17];
    bytes[1..].copy_from_slice(&match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    });
    bytes
}

#[cfg(test)]
mod tests;
