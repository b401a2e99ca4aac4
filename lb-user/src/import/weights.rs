//! Weights that fit into ours, in the same relation to each other.

use lb_common::limits;

use super::DraftReal;

/// Makes the weights of a pool fit; where their relation cannot be kept exactly a note says so. Tells whether
/// there was anything to do.
pub(super) fn fit(reals: &mut [DraftReal]) -> bool {
    let most = u32::from(limits::WEIGHT_MAX);
    let largest = reals.iter().map(|real| real.weight).max().unwrap_or(0);
    if largest <= most {
        return false;
    }
    let divisor = reals.iter().map(|real| real.weight).fold(0, common_divisor);
    for real in reals {
        let weight = real.weight;
        if largest / divisor <= most {
            real.weight = weight / divisor;
            continue;
        }
        real.weight = scaled(weight, largest, most);
        if u64::from(real.weight) * u64::from(largest) != u64::from(weight) * u64::from(most) {
            let reason = format!(
                "here with a difference: weights go up to {most}, so {weight} of {largest} has become {} of {most}",
                real.weight
            );
            real.notes.push(real.origin.note(reason));
        }
    }
    true
}

/// To the nearest, but a real with a weight keeps one.
fn scaled(weight: u32, largest: u32, most: u32) -> u32 {
    let nearest =
        (u64::from(weight) * u64::from(most) * 2 + u64::from(largest)) / (u64::from(largest) * 2);
    u32::try_from(nearest).unwrap_or(most).max(u32::from(weight > 0))
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Origin;

    fn fitted(weights: &[u32]) -> (Vec<u32>, usize) {
        let real = |weight: &u32| {
            let origin = Origin { file: "f".into(), line: 1, words: String::new() };
            DraftReal { weight: *weight, ..DraftReal::new(origin, [10, 0, 0, 1].into()) }
        };
        let mut reals: Vec<_> = weights.iter().map(real).collect();
        fit(&mut reals);
        let notes = reals.iter().map(|real| real.notes.len()).sum();
        (reals.into_iter().map(|real| real.weight).collect(), notes)
    }

    #[test]
    fn weights_beyond_the_limit_keep_their_relation_where_they_can() {
        for (weights, expected, notes) in [
            (&[][..], &[][..], 0),
            (&[0, 256, 100], &[0, 256, 100], 0),
            (&[500, 1000, 0], &[1, 2, 0], 0),
            (&[65_535, 1, 0], &[256, 1, 0], 1),
            (&[1000, 999, 500], &[256, 256, 128], 1),
            (&[u32::MAX, 1 << 31], &[256, 128], 1),
        ] {
            assert_eq!(fitted(weights), (expected.to_vec(), notes), "{weights:?}");
        }
    }
}
