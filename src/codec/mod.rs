//! Points as bytes. Reading never panics: bytes from a disk are decoded into outcomes.
//!
//! | file | subject |
//! |---|---|
//! | `run` | points of one tag in few bytes: what frames, buffers and blocks hold |
//! | `mixed` | points of several tags: what a frame holds if each has only a few |
//! | `bits` | numbers of one width, packed |
//! | this one | little-endian numbers, and the raw columns of the first format version |

mod bits;
pub(crate) mod mixed;
pub(crate) mod run;

use crate::point::Entry;

/// Bytes of one entry in a raw column payload: time 8, value 8, quality 1.
pub(crate) const ENTRY_BYTES: usize = 17;

/// Rounds up to a multiple of `unit`; `None` when that overflows.
pub(crate) fn round_up(value: u64, unit: u64) -> Option<u64> {
    value.checked_next_multiple_of(unit)
}

/// Takes numbers from the front of a slice, each `None` once the slice is too short.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
}

/// The times of the first and the last of `count` entries in a column payload.
pub(crate) fn first_and_last_time(payload: &[u8], count: usize) -> Option<(i64, i64)> {
    let time = |at: usize| Reader(payload.get(8 * at..)?).i64();
    Some((time(0)?, time(count.checked_sub(1)?)?))
}

/// The entries of a column payload; `None` unless it holds exactly `count`.
pub(crate) fn columns(payload: &[u8], count: usize) -> Option<impl Iterator<Item = Entry> + use<'_>> {
    if count.checked_mul(ENTRY_BYTES)? != payload.len() {
        return None;
    }
    let (times, rest) = payload.split_at(count * 8);
    let (values, qualities) = rest.split_at(count * 8);
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("chunks_exact gives 8 bytes"));
    Some(times.chunks_exact(8).zip(values.chunks_exact(8)).zip(qualities).map(
        move |((time, value), quality)| Entry {
            ts_us: word(time) as i64,
            value: f64::from_bits(word(value)),
            quality: *quality,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_columns_are_read_as_they_were_written() {
        let entries = [(i64::MIN, -0.0, 0), (7, f64::NAN, 1), (-8, 1e300, 192), (i64::MAX, 0.5, 255)];
        let mut payload = Vec::new();
        payload.extend(entries.iter().flat_map(|(ts_us, _, _): &(i64, f64, u8)| ts_us.to_le_bytes()));
        payload.extend(entries.iter().flat_map(|(_, value, _)| value.to_le_bytes()));
        payload.extend(entries.iter().map(|(_, _, quality)| *quality));
        let bits = |entry: (i64, f64, u8)| (entry.0, entry.1.to_bits(), entry.2);
        let found: Vec<_> = columns(&payload, 4)
            .unwrap()
            .map(|entry| bits((entry.ts_us, entry.value, entry.quality)))
            .collect();
        assert_eq!(found, entries.map(bits));
        assert_eq!(first_and_last_time(&payload, 4), Some((i64::MIN, i64::MAX)));
        assert_eq!(first_and_last_time(&payload, 2), Some((i64::MIN, 7)));
        assert_eq!(first_and_last_time(&payload, 0), None);
        assert_eq!(first_and_last_time(&payload[..31], 4), None);
        for count in [0, 3, 5, usize::MAX] {
            assert!(columns(&payload, count).is_none(), "{count} entries");
        }
    }
}
