//! The Internet checksum (RFC 1071).

/// The checksum of these parts, each of even length but for the last.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (words, rest) = part.as_chunks::<2>();
        sum += words
            .iter()
            .map(|word| u64::from(u16::from_be_bytes(*word)))
            .sum::<u64>();
        sum += rest.iter().map(|byte| u64::from(*byte) << 8).sum::<u64>();
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        assert_eq!(
            checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]),
            !0xddf2
        );
    }

    #[test]
    fn an_odd_byte_at_the_end_counts_as_the_upper_half_of_a_word() {
        assert_eq!(checksum(&[&[1, 2, 3]]), checksum(&[&[1, 2], &[3, 0]]));
    }

    #[test]
    fn a_checksum_put_into_its_place_makes_the_sum_zero() {
        let data = [0xde, 0xad, 0xbe, 0xef];
        assert_eq!(checksum(&[&data, &checksum(&[&data]).to_be_bytes()]), 0);
    }
}
