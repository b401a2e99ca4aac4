//! The sums of which checksums are made (RFC 1071).

/// What a checksum's sum grows by where an address changes: in one's complement, of words as they lie in
/// memory, as the kernel wants it.
#[inline(always)]
#[must_use]
pub const fn difference(from: [u64; 2], to: [u64; 2]) -> u32 {
    let sum = halves(to[0]) + halves(to[1]) + halves(!from[0]) + halves(!from[1]);
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    let folded = (folded & 0xffff_ffff) + (folded >> 32);
    folded as u32
}

#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}
