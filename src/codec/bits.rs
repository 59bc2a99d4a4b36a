//! Numbers of one width, packed without a gap: number `i` takes bits `i * width ..` of a little-endian stream.

use super::Reader;

/// Bits of a number that needs them.
pub(super) fn width(value: u64) -> u8 {
    (u64::BITS - value.leading_zeros()) as u8
}

/// Bytes of `count` numbers.
pub(super) fn packed_bytes(count: usize, width: u8) -> usize {
    (count * usize::from(width)).div_ceil(8)
}

/// Memory for numbers that are to be packed.
#[derive(Default)]
pub(super) struct Column(Vec<u64>);

impl Column {
    /// Appends numbers, none of which needs more than `width` bits.
    pub(super) fn pack(&mut self, out: &mut Vec<u8>, width: u8, numbers: impl Iterator<Item = u64>) {
        if width == 0 {
            return;
        }
        self.0.clear();
        self.0.extend(numbers);
        let end = out.len() + packed_bytes(self.0.len(), width);
        // Words are filled one after the other. What is narrow is joined first, and that can be done to several at a time.
        match width.into() {
            width @ ..=16 => pack_joined::<4>(out, width, &self.0),
            width @ ..=32 => pack_joined::<2>(out, width, &self.0),
            width => pack_joined::<1>(out, width, &self.0),
        }
        out.truncate(end);
    }
}

/// Appends numbers and some zeros, `N` at a time, for which a word has room.
fn pack_joined<const N: usize>(out: &mut Vec<u8>, width: u32, numbers: &[u64]) {
    let (groups, rest) = numbers.as_chunks::<N>();
    let mut last = [0; N];
    last[..rest.len()].copy_from_slice(rest);
    let width_joined = N as u32 * width;
    let (mut word, mut used) = (0u64, 0u32);
    for group in groups.iter().chain([&last]) {
        let joined = (1..N).fold(group[0], |joined, at| joined | group[at] << (at as u32 * width));
        word |= joined << used;
        used += width_joined;
        if used >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            used -= u64::BITS;
            // What did not fit; nothing, where a shift by all 64 bits would be needed.
            word = joined.checked_shr(width_joined - used).unwrap_or(0);
        }
    }
    out.extend_from_slice(&word.to_le_bytes());
}

/// The least and the most of some numbers; `None` of none.
pub(super) fn ends(numbers: &[i64]) -> Option<(i64, i64)> {
    let first = *numbers.first()?;
    // Two of each, which do not wait for each other.
    let mut ends = [(first, first); 2];
    let (pairs, last) = numbers.as_chunks::<2>();
    let mut take = |at: usize, number: i64| ends[at] = (ends[at].0.min(number), ends[at].1.max(number));
    for [even, odd] in pairs {
        take(0, *even);
        take(1, *odd);
    }
    last.iter().for_each(|last| take(0, *last));
    let [even, odd] = ends;
    Some((even.0.min(odd.0), even.1.max(odd.1)))
}

/// The numbers from `first` on, as many as `out` has room for. All of them must be in `bytes`.
pub(super) fn unpack(bytes: &[u8], width: u8, first: usize, out: &mut [u64]) {
    if width == 0 {
        return out.fill(0);
    }
    let step = usize::from(width);
    let mask = u64::MAX >> (u64::BITS - u32::from(width));
    let mut bit = first * step;
    for number in out {
        let (at, shift) = (bit / 8, (bit % 8) as u32);
        let mut word = word_at(bytes, at) >> shift;
        if shift + u32::from(width) > u64::BITS {
            word |= u64::from(bytes[at + 8]) << (u64::BITS - shift);
        }
        *number = word & mask;
        bit += step;
    }
}

/// Eight bytes at `at`, zeros behind the last.
fn word_at(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = Reader(&bytes[at..]).u64() {
        return word;
    }
    let mut word = [0; 8];
    let rest = &bytes[at..];
    word[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_come_back_from_any_place() {
        for bits in 0..=64u8 {
            let mask = if bits == 0 { 0 } else { u64::MAX >> (64 - bits) };
            let numbers: Vec<u64> = (0..131u64)
                .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32) & mask)
                .collect();
            let mut packed = vec![7];
            Column::default().pack(&mut packed, bits, numbers.iter().copied());
            assert_eq!(packed.len(), 1 + packed_bytes(numbers.len(), bits));
            for first in [0, 1, 63, 130] {
                let mut out = vec![1; numbers.len() - first];
                unpack(&packed[1..], bits, first, &mut out);
                assert_eq!(out, numbers[first..], "{bits} bits from {first}");
            }
        }
    }

    #[test]
    fn a_number_has_the_width_that_it_needs() {
        assert_eq!([0, 1, 2, 255, 256, u64::MAX].map(width), [0, 1, 2, 8, 9, 64]);
    }
}
