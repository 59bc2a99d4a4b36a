//! A query: the points of one tag in a range of time, from blocks and from memory.

use crate::buffer::Buffers;
use crate::error::Result;
use crate::exec::{self, Exec};
use crate::plant::{self, Bug};
use crate::point::{Point, TagId, last_write_wins};
use crate::store::Store;
use crate::store::block::BlockRef;
use crate::sync::Arc;
use std::ops::{Bound, RangeBounds};

/// Blocks that are read at a stretch. A query of more is spread over the pool: fewer are read sooner than they are
/// handed over.
const STRETCH: usize = 4;

/// The points of `tag` in `range`, in order of time.
///
/// Memory and version are looked at in one moment, under the lock of the tag's shard. A flush publishes its blocks before
/// it drops the buffers, so a point on its way from one to the other is seen in at least one of them (C3); seen in both it
/// is the same point twice, and the key rule makes one of it. In two moments the blocks could hold points that were
/// accepted after memory was looked at, and what memory had held would be taken for newer than those.
pub(crate) fn run(
    exec: &dyn Exec,
    buffers: &Buffers,
    store: &Arc<Store>,
    tag: TagId,
    range: (Bound<i64>, Bound<i64>),
) -> Result<Vec<Point>> {
    let (recent, blocks) = buffers.recent(tag, &range, || store.blocks(tag, &range));
    let blocks = if plant::on(Bug::Q1) { blocks.last().copied().into_iter().collect() } else { blocks };
    let in_blocks: usize = blocks.iter().map(|block| block.count as usize).sum();
    let mut points = Vec::with_capacity(in_blocks + recent.points());
    if blocks.len() <= STRETCH {
        read(store, &blocks, &range, &mut points)?;
    } else {
        let shared = store.clone();
        let stretches = blocks.chunks(STRETCH).map(<[BlockRef]>::to_vec).collect();
        let parts = exec::map(exec, stretches, move |blocks: Vec<BlockRef>| {
            let mut points = Vec::with_capacity(blocks.iter().map(|block| block.count as usize).sum());
            read(&shared, &blocks, &range, &mut points).map(|()| points)
        });
        // In the order of the blocks, whoever was faster.
        for part in parts {
            points.extend(part?);
        }
    }
    // Everything in memory was accepted after everything in blocks; or is the same point.
    recent.for_each(&range, |entry| points.push(entry.point(tag)));
    last_write_wins(&mut points);
    Ok(points)
}

/// The latest time of any point of a tag.
pub(crate) fn latest_ts(buffers: &Buffers, store: &Store, tag: TagId) -> Option<i64> {
    // Memory first, as in a query: what a flush takes from there is in a block by then.
    let in_memory = buffers.latest_ts(tag);
    if plant::on(Bug::Q4) {
        return in_memory;
    }
    let in_blocks = store.version(|version| {
        let blocks = version.tags.get(&tag).map(|tag| tag.blocks.iter());
        blocks.into_iter().flatten().map(|block| block.last_ts).max()
    });
    in_memory.max(in_blocks)
}

/// All or nothing: an error in one block is an error of the query, not a shorter answer.
fn read(
    store: &Store,
    blocks: &[BlockRef],
    range: &impl RangeBounds<i64>,
    points: &mut Vec<Point>,
) -> Result<()> {
    let mut scratch = Vec::new();
    blocks.iter().try_for_each(|block| {
        let read = store.read(block, range, &mut scratch, |entry| points.push(entry.point(block.tag)));
        if plant::on(Bug::Q2) { Ok(()) } else { read }
    })
}
