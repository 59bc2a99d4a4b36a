//! The decisions of a flush, without its I/O.

use crate::lsn::Lsn;
use crate::point::{Entry, in_order, last_write_wins};
use std::ops::Range;

/// The checkpoint after a flush: every point below it is in a block.
///
/// `appended` is the log's end from before the buffers were looked at, so that a point appended since cannot be below
/// the checkpoint; `first_unflushed` is the oldest point that the flush leaves in memory.
pub(crate) fn checkpoint(appended: Lsn, first_unflushed: Option<Lsn>) -> Lsn {
    first_unflushed.map_or(appended, |first| first.min(appended))
}

/// These entries by time, each time once; `None` if that is how they are, as those of most sensors.
pub(crate) fn sorted(entries: &[Entry]) -> Option<Vec<Entry>> {
    if in_order(entries) {
        return None;
    }
    let mut entries = entries.to_vec();
    last_write_wins(&mut entries);
    Some(entries)
}

/// Which of so many entries each block holds: at most `block_points`.
pub(crate) fn cut(count: usize, block_points: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(block_points).map(move |start| start..count.min(start + block_points))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_stops_at_the_oldest_point_that_is_in_no_block() {
        assert_eq!(checkpoint(Lsn(90), None), Lsn(90));
        assert_eq!(checkpoint(Lsn(90), Some(Lsn(40))), Lsn(40));
        assert_eq!(checkpoint(Lsn(90), Some(Lsn(95))), Lsn(90), "appended while the flush was looking");
    }

    #[test]
    fn blocks_are_full_but_for_the_last() {
        let lens = |count, most| cut(count, most).map(|range| range.len()).collect::<Vec<_>>();
        assert_eq!(lens(7, 3), [3, 3, 1]);
        assert_eq!(lens(3, 3), [3]);
        assert_eq!(lens(1, 3), [1]);
        assert_eq!(cut(7, 3).last(), Some(6..7));
    }

    #[test]
    fn entries_are_copied_only_to_be_sorted() {
        let entries = |times: &[i64]| -> Vec<Entry> {
            times.iter().map(|ts_us| Entry { ts_us: *ts_us, value: 0.0, quality: 0 }).collect()
        };
        let times = |times: &[i64]| {
            let sorted = sorted(&entries(times))?;
            Some(sorted.iter().map(|entry| entry.ts_us).collect::<Vec<_>>())
        };
        assert_eq!(times(&[1, 2, 5]), None);
        assert_eq!(times(&[2, 1, 2]), Some(vec![1, 2]));
        assert_eq!(times(&[1, 1]), Some(vec![1]));
    }
}
