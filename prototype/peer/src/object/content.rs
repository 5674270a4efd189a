//! What an object contains: bytes that follow from a seed and their offset, so that none are kept in memory.

/// Fills `bytes` with the content from `offset` on.
pub(super) fn fill(seed: u64, offset: u64, bytes: &mut [u8]) {
    let (mut position, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let word = word(seed, position / 8).to_le_bytes();
        let word = word.get((position % 8) as usize..).unwrap_or_default();
        let length = word.len().min(rest.len());
        let (now, later) = rest.split_at_mut(length);
        now.copy_from_slice(&word[..length]);
        position += length as u64;
        rest = later;
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014), entered at any place.
fn word(seed: u64, place: u64) -> u64 {
    let mut z = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_cut_from_one_whole() {
        let mut whole = [0; 100];
        fill(7, 0, &mut whole);
        for from in 0..100 {
            for to in from..100 {
                let mut part = vec![0; to - from];
                fill(7, from as u64, &mut part);
                assert_eq!(part, whole[from..to], "{from}..{to}");
            }
        }
    }

    #[test]
    fn another_seed_gives_another_content() {
        let (mut one, mut other) = ([0; 64], [0; 64]);
        fill(1, 0, &mut one);
        fill(2, 0, &mut other);
        assert_ne!(one, other);
    }
}
