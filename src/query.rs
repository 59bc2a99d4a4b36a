//! A query: the points of one tag in a range of time, from blocks and from memory.

use crate::buffer::Buffers;
use crate::error::Result;
use crate::point::{Point, TagId, last_write_wins};
use crate::store::Store;
use std::ops::RangeBounds;

/// The points of `tag` in `range`, in order of time.
///
/// Memory is looked at before the version: a flush publishes its blocks before it drops the buffers, so a point on its
/// way from one to the other is seen in at least one of them. Seen in both it is the same point twice, and the key
/// rule makes one of it.
pub(crate) fn run(
    buffers: &Buffers,
    store: &Store,
    tag: TagId,
    range: &impl RangeBounds<i64>,
) -> Result<Vec<Point>> {
    let recent = buffers.collect(tag, range);
    let blocks = store.blocks(tag, range);
    let in_blocks: usize = blocks.iter().map(|block| block.count as usize).sum();
    let mut entries = Vec::with_capacity(in_blocks + recent.len());
    let mut scratch = Vec::new();
    for block in blocks {
        // All or nothing: an error in one block is an error of the query, not a shorter answer.
        store.read(&block, range, &mut scratch, &mut entries)?;
    }
    // Everything in memory was accepted after everything in blocks; or is the same point.
    entries.extend(recent);
    last_write_wins(&mut entries);
    Ok(entries.iter().map(|entry| entry.point(tag)).collect())
}
