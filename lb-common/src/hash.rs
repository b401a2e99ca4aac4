//! The hash of flows and of service keys.
//!
//! Multiply-xorshift rounds, as in the finalizers of MurmurHash3 and SplitMix64 (Steele, Lea and
//! Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): three multiplications a
//! flow, and none of 128 bits, which BPF lacks. The seed enters before the first round and between
//! the rounds, so that who does not know it cannot aim at a real server.

use crate::{layout::Seed, limits};

const M1: u64 = 0xbf58_476d_1ce4_e5b9;
const M2: u64 = 0x94d0_49bb_1331_11eb;
const M3: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of an IPv4 flow, of which the upper 32 bits are to be used. Addresses and ports in wire
/// order.
#[inline(always)]
#[must_use]
pub const fn flow(seed: &Seed, source: u32, destination: u32, ports: u32, protocol: u8) -> u64 {
    let addresses = (source as u64) << 32 | destination as u64;
    let rest = (ports as u64) << 8 | protocol as u64;
    finish(absorb(absorb(seed.0[0], addresses, M1), rest ^ seed.0[1], M2))
}

/// The hash of an IPv6 flow, likewise: a multiplication more. Of the destination, which is a VIP and
/// so nothing that a client can choose freely, the two words are folded into one.
#[inline(always)]
#[must_use]
pub const fn flow6(
    seed: &Seed,
    source: [u64; 2],
    destination: [u64; 2],
    ports: u32,
    protocol: u8,
) -> u64 {
    let destination = destination[0].rotate_left(32) ^ destination[1];
    let rest = (ports as u64) << 8 | protocol as u64;
    let addresses = absorb(absorb(seed.0[0], source[0], M1), source[1], M2);
    finish(absorb(addresses ^ destination, rest ^ seed.0[1], M1))
}

/// The 63 upper bits of an IPv6 service key.
#[inline(always)]
#[must_use]
pub const fn key6(address: [u64; 2], protocol: u8, port: u16) -> u64 {
    let address = absorb(absorb(0, address[0], M1), address[1], M2);
    finish(absorb(address, (protocol as u64) << 16 | port as u64, M1))
}

/// The slot, below `len`, for a flow's hash: the upper half scaled by multiplication and shift
/// (Lemire, "Fast random integer generation in an interval", 2019), without a division.
#[inline(always)]
#[must_use]
pub const fn slot(hash: u64, len: u32) -> u32 {
    (((hash >> 32) * len as u64) >> 32) as u32
}

/// The byte, below [`limits::NOTED`], for a flow's hash: of its lower half, which [`slot`] does not use, so that flows of
/// one slot have bytes all over.
#[inline(always)]
#[must_use]
pub const fn noted(hash: u64) -> u32 {
    hash as u32 >> (u32::BITS - limits::NOTED.ilog2())
}

/// What tells seeds apart and gives none of them away: never 0.
#[must_use]
pub const fn mark(seed: &Seed) -> u64 {
    flow6(seed, [0; 2], [0; 2], 0, 0) | 1
}

/// The hash of a service ([`Address::mixed`](crate::Address::mixed)) in a table that was laid out under this
/// word, of which both halves are to be used: one multiplication, and its upper half over the lower, which the
/// upper half of what is hashed would not reach. (Who lays out a table tries seeds until none collide, so
/// this need not be any better.)
#[inline(always)]
#[must_use]
pub const fn service(mixed: u64, table: u64) -> u64 {
    let hash = (mixed ^ table).wrapping_mul(M3);
    hash ^ (hash >> 32)
}

/// An IPv6 address and what else says which service, in one word: equal for two services if they are made for it.
#[inline(always)]
#[must_use]
pub const fn mixed6(address: [u64; 2], service: u64) -> u64 {
    (address[0] ^ service).wrapping_mul(M2) ^ address[1]
}

#[inline(always)]
const fn absorb(state: u64, word: u64, multiplier: u64) -> u64 {
    let mixed = state ^ word;
    (mixed ^ (mixed >> 32)).wrapping_mul(multiplier)
}

#[inline(always)]
const fn finish(state: u64) -> u64 {
    let mixed = (state ^ (state >> 29)).wrapping_mul(M3);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    const SEED: Seed = Seed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

    proptest! {
        #[test]
        fn a_slot_is_always_within_the_ring(hash: u64, len in 1u32..=crate::limits::RING_MAX) {
            prop_assert!(slot(hash, len) < len);
        }

        #[test]
        fn every_part_of_the_flow_and_of_the_seed_counts(
            src: u32, dst: u32, ports: u32, bit in 0u32..32, a: u64, b: u64,
        ) {
            let seed = Seed([a, b]);
            let hash = flow(&seed, src, dst, ports, 6);
            let flip = 1 << bit;
            prop_assert_ne!(hash, flow(&seed, src ^ flip, dst, ports, 6));
            prop_assert_ne!(hash, flow(&seed, src, dst ^ flip, ports, 6));
            prop_assert_ne!(hash, flow(&seed, src, dst, ports ^ flip, 6));
            prop_assert_ne!(hash, flow(&seed, src, dst, ports, 17));
            prop_assert_ne!(hash, flow(&Seed([a ^ u64::from(flip), b]), src, dst, ports, 6));
            prop_assert_ne!(hash, flow(&Seed([a, b ^ u64::from(flip)]), src, dst, ports, 6));
        }

        #[test]
        fn every_part_of_an_ipv6_flow_and_of_the_seed_counts(
            src: [u64; 2], dst: [u64; 2], ports: u32, bit in 0u32..64, word in 0usize..2, a: u64, b: u64,
        ) {
            let seed = Seed([a, b]);
            let hash = flow6(&seed, src, dst, ports, 6);
            let flip = |mut words: [u64; 2]| {
                words[word] ^= 1 << bit;
                words
            };
            prop_assert_ne!(hash, flow6(&seed, flip(src), dst, ports, 6));
            prop_assert_ne!(hash, flow6(&seed, src, flip(dst), ports, 6));
            prop_assert_ne!(hash, flow6(&seed, src, dst, ports ^ 1 << (bit / 2), 6));
            prop_assert_ne!(hash, flow6(&seed, src, dst, ports, 17));
            prop_assert_ne!(hash, flow6(&Seed(flip([a, b])), src, dst, ports, 6));
        }
    }

    /// Clients differ in few bits (a port, the last byte of an address). Each flipped input bit
    /// must turn each of the 32 used output bits about every second time.
    #[test]
    fn each_input_bit_moves_each_used_output_bit_about_half_of_the_time() {
        const ROUNDS: u32 = 2000;
        for bit in 0..96 {
            let mut turned = [0u32; 32];
            for round in 0..ROUNDS {
                let (src, dst, ports) = (0x0a00_0001 + round, 0xc000_020a, 0x5000_8001 + round * 7);
                let (s, d, p) = match bit {
                    0..32 => (src ^ 1 << bit, dst, ports),
                    32..64 => (src, dst ^ 1 << (bit - 32), ports),
                    _ => (src, dst, ports ^ 1 << (bit - 64)),
                };
                let difference = flow(&SEED, src, dst, ports, 6) ^ flow(&SEED, s, d, p, 6);
                for (out, count) in turned.iter_mut().enumerate() {
                    *count += (difference >> (32 + out)) as u32 & 1;
                }
            }
            for (out, count) in turned.iter().enumerate() {
                let share = f64::from(*count) / f64::from(ROUNDS);
                assert!((0.4..0.6).contains(&share), "input {bit}, output {out}: {share}");
            }
        }
    }

    #[test]
    fn flows_of_one_slot_have_bytes_all_over() {
        const FLOWS: usize = 1 << 12;
        let hash = |client: u32| flow(&SEED, client.swap_bytes(), 1, 2, 6);
        let of_one = (0..).map(hash).filter(|hash| slot(*hash, 251) == 7).take(FLOWS);
        let mut bytes: vec::Vec<u32> = of_one.map(noted).collect();
        assert!(bytes.iter().all(|byte| *byte < limits::NOTED));
        bytes.sort_unstable();
        for (part, byte) in bytes.iter().enumerate() {
            let expected = part as f64 / FLOWS as f64 * f64::from(limits::NOTED);
            let off = (f64::from(*byte) - expected).abs() / f64::from(limits::NOTED);
            assert!(off < 0.05, "{part}: {byte} instead of {expected}");
        }
        // Two of them share a byte about twice (4096 * 4095 / 2 / 2^22).
        bytes.dedup();
        assert!(bytes.len() > FLOWS - 16, "{}", bytes.len());
    }

    #[test]
    fn sequential_clients_fill_a_ring_evenly() {
        const LEN: u32 = 251;
        let mut hits = vec![0u32; LEN as usize];
        for client in 0..251_000u32 {
            let source = u32::from_be_bytes([10, 0, 0, 0]).wrapping_add(client).swap_bytes();
            hits[slot(flow(&SEED, source, 1, 2, 6), LEN) as usize] += 1;
        }
        // Poisson with mean 1000: six standard deviations.
        assert!(hits.iter().all(|hits| (810..1190).contains(hits)), "{hits:?}");
    }
}
