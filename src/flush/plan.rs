//! The decisions of a flush, without its I/O.

use crate::lsn::Lsn;
use crate::point::{Entry, last_write_wins};

/// The checkpoint after a flush: every point below it is in a block.
///
/// `appended` is the log's end from before the buffers were looked at, so that a point appended since cannot be below
/// the checkpoint; `first_unflushed` is the oldest point that the flush leaves in memory.
pub(crate) fn checkpoint(appended: Lsn, first_unflushed: Option<Lsn>) -> Lsn {
    first_unflushed.map_or(appended, |first| first.min(appended))
}

/// The contents of the blocks that hold these entries: sorted, each time once, at most `block_points` in each.
pub(crate) fn cut(mut entries: Vec<Entry>, block_points: usize) -> Vec<Vec<Entry>> {
    last_write_wins(&mut entries);
    if entries.len() <= block_points {
        return vec![entries];
    }
    entries.chunks(block_points).map(<[Entry]>::to_vec).collect()
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
        let entry = |ts_us| Entry { ts_us, value: 0.0, quality: 0 };
        let lens = |count, most| {
            cut((0..count).rev().map(entry).collect(), most).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lens(7, 3), [3, 3, 1]);
        assert_eq!(lens(3, 3), [3]);
        assert_eq!(lens(1, 3), [1]);
    }
}
