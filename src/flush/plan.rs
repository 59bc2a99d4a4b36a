//! The decisions of a flush, without its I/O.

use crate::buffer::Runs;
use crate::lsn::Lsn;
use crate::store::block;
use std::ops::Range;

/// The checkpoint after a flush: every point below it is in a block.
///
/// `appended` is the log's end from before the buffers were looked at, so that a point appended since cannot be below
/// the checkpoint; `first_unflushed` is the oldest point that the flush leaves in memory.
pub(crate) fn checkpoint(appended: Lsn, first_unflushed: Option<Lsn>) -> Lsn {
    first_unflushed.map_or(appended, |first| first.min(appended))
}

/// Runs that become one block.
pub(crate) struct Part<'a> {
    pub(crate) points: usize,
    pub(crate) first_ts: i64,
    pub(crate) last_ts: i64,
    pub(crate) bytes: &'a [u8],
}

/// Blocks of at most `block_points`, of runs as they are; `None` if they have to be encoded anew. They are taken over in order
/// of time, as those of most sensors are, and neither so short that their headers would take more than their points, nor
/// longer than a block.
pub(crate) fn take_over(runs: &Runs, block_points: usize) -> Option<Vec<Part<'_>>> {
    let long_enough = runs.points() >= block::RUN_POINTS_LEAST * runs.len();
    if !long_enough || !runs.in_order() || runs.iter().any(|run| run.count > block_points) {
        return None;
    }
    let parts = cut_runs(runs, block_points);
    // Short runs that are few among all may be many in one block. A chunk has room for what such a block has at most.
    let fits =
        |part: &Part<'_>| block::HEADER_BYTES + part.bytes.len() <= block::block_bytes_max(part.points);
    parts.iter().all(fits).then_some(parts)
}

/// Cuts runs into blocks of at most `block_points`.
fn cut_runs(runs: &Runs, block_points: usize) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut begin = 0;
    while begin < runs.len() {
        let (mut end, mut points) = (begin, 0);
        while end < runs.len() && points + runs.get(end).count <= block_points {
            points += runs.get(end).count;
            end += 1;
        }
        let (first_ts, last_ts) = (runs.get(begin).first_ts, runs.get(end - 1).times().last);
        parts.push(Part { points, first_ts, last_ts, bytes: runs.slice(begin..end) });
        begin = end;
    }
    parts
}

/// Which of this many entries each block holds: at most `block_points`.
pub(crate) fn cut(count: usize, block_points: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(block_points).map(move |start| start..count.min(start + block_points))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::run::Encoder;
    use crate::point::Entry;

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

    /// Runs of points at these times.
    fn runs(of: &[&[i64]]) -> Runs {
        let mut runs = Runs::default();
        for times in of {
            let entry = |ts_us: &i64| Entry { ts_us: *ts_us, value: 0.5, quality: 0 };
            runs.encode(&mut Encoder::default(), &times.iter().map(entry).collect::<Vec<_>>());
        }
        runs
    }

    #[test]
    fn only_runs_in_order_that_are_neither_short_nor_long_become_blocks_as_they_are() {
        let taken_over = |runs: &Runs, block_points| take_over(runs, block_points).is_some();
        let times: Vec<i64> = (0..40).collect();
        let (first, second) = times.split_at(20);
        assert!(taken_over(&runs(&[first, second]), 20));
        assert!(!taken_over(&runs(&[first, second]), 19), "longer than a block");
        assert!(!taken_over(&runs(&[second, first]), 20), "not in order");
        assert!(!taken_over(&runs(&[first, first]), 20), "a time twice");
        assert!(!taken_over(&runs(&[&times[..15], &times[15..30]]), 20), "short");
        let reversed: Vec<i64> = times.iter().rev().copied().collect();
        assert!(!taken_over(&runs(&[&reversed]), 40), "not in order inside a run");
        // Forty runs of one point each, and a long one behind them: short in one block, if not on average.
        let times: Vec<i64> = (0..1040).collect();
        let mut mixed: Vec<&[i64]> = times[..40].chunks(1).collect();
        mixed.push(&times[40..]);
        assert!(!taken_over(&runs(&mixed), 1000), "short in the first block");
        assert!(taken_over(&runs(&mixed[37..]), 1000), "three short ones are less than a block may have");
    }

    #[test]
    fn runs_are_cut_between_them() {
        let times: Vec<i64> = (0..100).map(|n| 10 * n).collect();
        let runs = runs(&[&times[..40], &times[40..60], &times[60..100]]);
        let cut = |block_points| {
            let part = |part: Part| (part.points, part.first_ts, part.last_ts);
            cut_runs(&runs, block_points).into_iter().map(part).collect::<Vec<_>>()
        };
        assert_eq!(cut(60), [(60, 0, 590), (40, 600, 990)]);
        assert_eq!(cut(40), [(40, 0, 390), (20, 400, 590), (40, 600, 990)]);
        assert_eq!(cut(1000), [(100, 0, 990)]);
        let bytes: Vec<u8> = cut_runs(&runs, 40).iter().flat_map(|part| part.bytes).copied().collect();
        assert_eq!(bytes, runs.slice(0..3));
    }
}
