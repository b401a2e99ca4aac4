use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection, prelude::*, sample::Index};

use super::*;

const SEED: Seed = Seed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

fn pool(weights: &[u16]) -> Vec<Candidate> {
    let address = |index: u32| IpAddr::from((0x0a00_0001 + index).to_be_bytes());
    (0u32..)
        .zip(weights)
        .map(|(index, weight)| Candidate { address: address(index), weight: *weight })
        .collect()
}

fn counts(owners: impl IntoIterator<Item = u16>, candidates: usize) -> Vec<u32> {
    let mut counts = vec![0; candidates];
    for owner in owners {
        counts[usize::from(owner)] += 1;
    }
    counts
}

fn addresses(ring: &[Option<u16>], candidates: &[Candidate]) -> Vec<Option<IpAddr>> {
    ring.iter().map(|owner| owner.map(|index| candidates[usize::from(index)].address)).collect()
}

/// The parts of candidates of which these are down.
fn all_but(down: &[usize], candidates: usize) -> Vec<u16> {
    (0..candidates).map(|index| if down.contains(&index) { 0 } else { WHOLE }).collect()
}

prop_compose! {
    fn pools()(drawn in collection::btree_map(any::<(u32, bool)>(), 1u16..=256, 1..40)) -> Vec<Candidate> {
        let candidate = |((word, v6), weight): ((u32, bool), u16)| {
            let v4 = std::net::Ipv4Addr::from(word);
            let address = if v6 { IpAddr::V6(v4.to_ipv6_compatible()) } else { IpAddr::V4(v4) };
            Candidate { address, weight }
        };
        let unique: BTreeMap<_, _> = drawn.into_iter().map(candidate).map(|c| (c.address, c)).collect();
        unique.into_values().collect()
    }
}

/// Pools in which some are whole, some down, and some start slowly.
fn pools_with_parts() -> impl Strategy<Value = (Vec<Candidate>, Vec<u16>)> {
    let part = || prop_oneof![Just(0), Just(WHOLE), 1..WHOLE];
    pools().prop_flat_map(move |pool| {
        let parts = collection::vec(part(), pool.len());
        (Just(pool), parts)
    })
}

fn seeds() -> impl Strategy<Value = Seed> {
    any::<[u64; 2]>().prop_map(Seed)
}

fn lengths() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![2u32, 7, 251, 1021, 4093])
}

#[test]
fn the_worked_example_of_the_paper_comes_out() {
    let wish = |offset, skip| Permutation { offset, skip, weight: 1 };
    let ring = populate(&[wish(3, 4), wish(0, 2), wish(3, 1)], 7);
    assert_eq!(ring, [1, 0, 1, 0, 2, 2, 0]);
}

#[test]
fn the_worked_example_comes_out_with_any_common_weight() {
    let wish = |offset, skip| Permutation { offset, skip, weight: 77 };
    let ring = populate(&[wish(3, 4), wish(0, 2), wish(3, 1)], 7);
    assert_eq!(ring, [1, 0, 1, 0, 2, 2, 0]);
}

#[test]
fn nobody_owns_no_slots() {
    assert!(ring(&[], &SEED, 251).is_empty());
    assert!(ring(&pool(&[0, 0]), &SEED, 251).is_empty());
    assert!(deal(&[], &[], &[], &SEED).is_empty());
}

/// Every balancer of a group, of whatever version, must compute this ring.
#[test]
fn the_ring_is_the_one_that_other_balancers_compute() {
    assert_eq!(ring(&pool(&[1, 2, 3]), &SEED, 13), RING);
    assert_eq!(deal(&RING, &pool(&[1, 2, 3]), &[WHOLE, WHOLE, 0], &SEED), DEALT.map(Some));
}
const RING: [u16; 13] = [0, 1, 1, 0, 2, 2, 2, 2, 1, 2, 1, 2, 2];
const DEALT: [u16; 13] = [0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 1];

/// FNV-1a over whole words.
fn digest(owners: impl IntoIterator<Item = u16>) -> u64 {
    let add = |hash: u64, owner: u16| (hash ^ u64::from(owner)).wrapping_mul(0x100_0000_01b3);
    owners.into_iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// The same of rings as they are used, whatever way they are computed: their digests, and those with one down
/// and one that starts slowly.
#[test]
fn large_rings_are_those_that_other_balancers_compute() {
    for (len, weights, expected) in [
        (65_537, vec![1; 10], [0x23a3_e139_df31_befd, 0xf4ae_e57e_a3a1_4195]),
        (65_537, vec![1; 1000], [0x9534_86b4_1cf6_9ff1, 0x2c92_5372_c094_73e1]),
        (
            65_537,
            (1..=256).cycle().take(1000).collect(),
            [0x87c0_c6d8_17e6_96b5, 0x38c4_e3b4_f4ad_5a75],
        ),
        (limits::RING_MAX, vec![1; 4096], [0x82db_7f28_77b6_552f, 0x3e68_8200_f5fa_c5d5]),
        (4093, vec![1; 10], [0xe585_283b_36c2_533a, 0xcc64_394e_c221_7d9f]),
        (4093, (1..=10).collect(), [0xa83d_12c8_8324_7c84, 0xd7d3_97dc_f43d_3623]),
        (1021, vec![7, 0, 200], [0x7390_9ca7_0a15_2b6f, 0x83b6_ecf2_f529_2845]),
    ] {
        let candidates = pool(&weights);
        let ring = ring(&candidates, &SEED, len);
        let mut parts = vec![WHOLE; candidates.len()];
        (parts[0], parts[2]) = (0, 100);
        let dealt = deal(&ring, &candidates, &parts, &SEED);
        let dealt = dealt.into_iter().map(|holder| holder.unwrap_or(NOBODY));
        assert_eq!([digest(ring), digest(dealt)], expected, "{len} {}", candidates.len());
    }
}

proptest! {
    #[test]
    fn a_remainder_is_what_division_says(len in 2..=limits::RING_MAX, number in 0..1u64 << 37) {
        prop_assert_eq!(Modulo::new(len).of(number), number % u64::from(len));
    }

    #[test]
    fn an_inverse_leads_back_to_one(number in 1u32..65_537) {
        let inverse = inverse(number, 65_537);
        prop_assert!(inverse < 65_537);
        prop_assert_eq!(u64::from(number) * u64::from(inverse) % 65_537, 1);
    }
}

#[test]
fn two_to_one_is_two_to_one() {
    assert_eq!(counts(ring(&pool(&[2, 1]), &SEED, 65_537), 2), [43_691, 21_846]);
}

#[test]
fn one_heavy_among_many_light_owns_no_more_than_its_part() {
    let weights: Vec<_> = std::iter::once(256).chain(std::iter::repeat_n(1, 255)).collect();
    let counts = counts(ring(&pool(&weights), &SEED, 16_381), 256);
    assert_eq!(counts[0], 8207);
    assert!(counts[1..].iter().all(|count| [32, 33].contains(count)));
}

#[test]
fn more_candidates_than_slots_share_them_without_a_hang() {
    let ring = ring(&pool(&[3; 20]), &SEED, 7);
    assert_eq!(ring.iter().collect::<BTreeSet<_>>().len(), 7);
}

#[test]
fn a_candidate_without_weight_is_dealt_nothing() {
    let candidates = pool(&[5, 0, 5]);
    let ring = ring(&candidates, &SEED, 251);
    assert_eq!(counts(ring.iter().copied(), 3)[1], 0);
    let dealt = deal(&ring, &candidates, &[0, WHOLE, 0], &SEED);
    assert!(dealt.iter().all(Option::is_none));
}

#[test]
fn adding_a_candidate_moves_little_more_than_it_takes() {
    let before = ring(&pool(&[10; 50]), &SEED, 65_537);
    let after = ring(&pool(&[10; 51]), &SEED, 65_537);
    let moved = iter::zip(&before, &after).filter(|(a, b)| a != b && **b != 50).count();
    assert!(moved < 65_537 / 33, "{moved} slots moved between those that stayed");
}

proptest! {
    #[test]
    fn every_share_is_exact_to_a_slot(candidates in pools(), seed in seeds(), len in lengths()) {
        let sum: u32 = candidates.iter().map(|c| u32::from(c.weight)).sum();
        let counts = counts(ring(&candidates, &seed, len), candidates.len());
        prop_assert_eq!(counts.iter().sum::<u32>(), len);
        for (count, candidate) in iter::zip(counts, &candidates) {
            let exact = f64::from(len) * f64::from(candidate.weight) / f64::from(sum);
            prop_assert!((f64::from(count) - exact).abs() < 1.0, "{count} of {exact}");
        }
    }

    #[test]
    fn the_order_of_configuration_does_not_matter(
        (candidates, shuffled) in pools().prop_flat_map(|pool| (Just(pool.clone()), Just(pool).prop_shuffle())),
        seed in seeds(), len in lengths(), down: Index, part in 0..WHOLE,
    ) {
        let down = candidates[down.index(candidates.len())].address;
        let holders = |candidates: &[Candidate]| {
            let part = |c: &Candidate| if c.address == down { part } else { WHOLE };
            let parts: Vec<_> = candidates.iter().map(part).collect();
            let ring = ring(candidates, &seed, len);
            let owners: Vec<_> = ring.iter().copied().map(Some).collect();
            let dealt = deal(&ring, candidates, &parts, &seed);
            (addresses(&owners, candidates), addresses(&dealt, candidates))
        };
        prop_assert_eq!(holders(&candidates), holders(&shuffled));
    }

    #[test]
    fn a_failure_moves_the_slots_of_that_real_and_no_other(
        candidates in pools(), seed in seeds(), down: Index,
    ) {
        let down = down.index(candidates.len());
        let ring = ring(&candidates, &seed, 1021);
        let dealt = deal(&ring, &candidates, &all_but(&[down], candidates.len()), &seed);
        for (owner, holder) in iter::zip(&ring, dealt) {
            if usize::from(*owner) != down {
                prop_assert_eq!(holder, Some(*owner));
            } else if candidates.len() == 1 {
                prop_assert_eq!(holder, None);
            } else {
                prop_assert!(holder.is_some_and(|holder| usize::from(holder) != down));
            }
        }
    }

    #[test]
    fn recovery_restores_the_ring(candidates in pools(), seed in seeds()) {
        let ring = ring(&candidates, &seed, 1021);
        let dealt = deal(&ring, &candidates, &vec![WHOLE; candidates.len()], &seed);
        prop_assert!(iter::zip(&ring, dealt).all(|(owner, holder)| holder == Some(*owner)));
    }

    #[test]
    fn a_second_failure_moves_only_what_the_second_held(
        candidates in pools(), seed in seeds(), first: Index, second: Index,
    ) {
        let count = candidates.len();
        let (first, second) = (first.index(count), second.index(count));
        let ring = ring(&candidates, &seed, 1021);
        let one = deal(&ring, &candidates, &all_but(&[first], count), &seed);
        let two = deal(&ring, &candidates, &all_but(&[first, second], count), &seed);
        for (before, after) in iter::zip(one, two) {
            if before.map(usize::from) != Some(second) {
                prop_assert_eq!(before, after);
            } else {
                prop_assert_ne!(before, after);
            }
        }
    }

    #[test]
    fn a_growing_part_moves_slots_to_that_candidate_and_no_other(
        (candidates, parts) in pools_with_parts(), seed in seeds(), growing: Index, more in 0..=WHOLE,
    ) {
        let growing = growing.index(candidates.len());
        let ring = ring(&candidates, &seed, 1021);
        let before = deal(&ring, &candidates, &parts, &seed);
        let mut parts = parts;
        parts[growing] = parts[growing].max(more);
        let after = deal(&ring, &candidates, &parts, &seed);
        for (before, after) in iter::zip(before, after) {
            prop_assert!(before == after || after.map(usize::from) == Some(growing));
        }
    }

    #[test]
    fn whoever_is_whole_holds_all_that_is_its_own(
        (candidates, parts) in pools_with_parts(), seed in seeds(),
    ) {
        let ring = ring(&candidates, &seed, 1021);
        let dealt = deal(&ring, &candidates, &parts, &seed);
        for (owner, holder) in iter::zip(&ring, dealt) {
            prop_assert!(parts[usize::from(*owner)] < WHOLE || holder == Some(*owner));
        }
    }

    #[test]
    fn every_slot_has_a_holder_as_long_as_anybody_takes_a_part(
        (candidates, parts) in pools_with_parts(), seed in seeds(),
    ) {
        let ring = ring(&candidates, &seed, 1021);
        let anybody = parts.iter().any(|part| *part > 0);
        for holder in deal(&ring, &candidates, &parts, &seed) {
            prop_assert_eq!(holder.is_some(), anybody);
            prop_assert!(holder.is_none_or(|holder| parts[usize::from(holder)] > 0));
        }
    }

    #[test]
    fn with_nobody_usable_no_slot_has_a_holder(candidates in pools(), seed in seeds()) {
        let ring = ring(&candidates, &seed, 251);
        let dealt = deal(&ring, &candidates, &vec![0; candidates.len()], &seed);
        prop_assert!(dealt.iter().all(Option::is_none));
    }
}

#[test]
fn dealt_slots_are_spread_by_weight() {
    // Two heavy reals down: about 21845 slots for a weight of 30.
    let candidates = pool(&[10, 5, 1, 4, 10, 10, 20]);
    let ring = ring(&candidates, &SEED, 65_537);
    let parts = all_but(&[0, 4], candidates.len());
    let dealt = deal(&ring, &candidates, &parts, &SEED);
    let moved = iter::zip(&ring, dealt).filter(|(owner, _)| parts[usize::from(**owner)] == 0);
    let counts = counts(moved.filter_map(|(_, holder)| holder), candidates.len());
    let total = f64::from(counts.iter().sum::<u32>());
    for (candidate, count) in iter::zip(&candidates, counts).filter(|(_, count)| *count > 0) {
        let part = f64::from(candidate.weight) / 40.0;
        // Six standard deviations of a binomial distribution.
        let margin = 6.0 * (total * part * (1.0 - part)).sqrt();
        assert!((f64::from(count) - total * part).abs() < margin, "{count} for {part} of {total}");
    }
}

#[test]
fn a_part_is_that_part_of_the_share() {
    let candidates = pool(&[10, 10, 20, 5, 10]);
    let ring = ring(&candidates, &SEED, 65_537);
    for part in [1, 16, 64, 128, 250] {
        let mut parts = vec![WHOLE; candidates.len()];
        parts[2] = part;
        let dealt = deal(&ring, &candidates, &parts, &SEED);
        let count = f64::from(counts(dealt.into_iter().flatten(), candidates.len())[2]);
        let (share, fraction) = (65_537.0 * 20.0 / 55.0, f64::from(part) / 256.0);
        // Six standard deviations of a binomial distribution.
        let margin = 6.0 * (share * fraction * (1.0 - fraction)).sqrt();
        assert!((count - share * fraction).abs() < margin, "{count} for {part} of 256 of {share}");
    }
}

#[test]
fn one_that_starts_slowly_takes_no_more_of_what_is_dealt_out_than_of_its_own() {
    let candidates = pool(&[10; 4]);
    let ring = ring(&candidates, &SEED, 65_537);
    let dealt = deal(&ring, &candidates, &[WHOLE, WHOLE, 32, 0], &SEED);
    let count = counts(dealt.into_iter().flatten(), 4)[2];
    // An eighth of its quarter, and 32 of 544 parts of the quarter of the one that is down.
    let expected = 65_537.0 / 4.0 * (1.0 / 8.0 + 32.0 / 544.0);
    assert!((f64::from(count) - expected).abs() < 6.0 * expected.sqrt(), "{count} of {expected}");
}

/// `cargo test --release -p lb-user --lib maglev -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn how_long_a_ring_takes() {
    let timed = |name: &str, work: &dyn Fn() -> usize| {
        let start = std::time::Instant::now();
        let rounds = 10;
        let sum: usize = (0..rounds).map(|_| work()).sum();
        println!("{name}: {:?} ({sum})", start.elapsed() / rounds);
    };
    for (name, len, weights) in [
        ("65537 slots, 1000 equal", 65_537, vec![1; 1000]),
        ("65537 slots, 1000 of 256 weights", 65_537, (1..=256).cycle().take(1000).collect()),
        ("262139 slots, 4096 equal", limits::RING_MAX, vec![1; 4096]),
        ("1021 slots, 10 equal", 1021, vec![1; 10]),
    ] {
        let candidates: Vec<u16> = weights;
        let candidates = pool(&candidates);
        timed(name, &|| ring(&candidates, &SEED, len).len());
        let ring = ring(&candidates, &SEED, len);
        let half: Vec<_> = (0..candidates.len()).map(|index| index as u16 % 2 * WHOLE).collect();
        timed("  one down", &|| {
            deal(&ring, &candidates, &all_but(&[0], candidates.len()), &SEED).len()
        });
        timed("  half down", &|| deal(&ring, &candidates, &half, &SEED).len());
        let starting: Vec<_> =
            (0..candidates.len()).map(|index| index as u16 % WHOLE + 1).collect();
        timed("  all starting", &|| deal(&ring, &candidates, &starting, &SEED).len());
    }
}
