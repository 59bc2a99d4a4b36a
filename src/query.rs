//! A query: the points of one tag in a range of time, from blocks and from memory; at once, or as they are asked for.

use crate::buffer::Buffers;
use crate::error::Result;
use crate::exec::{self, Exec};
use crate::plant::{self, Bug};
use crate::point::{Entry, Point, TagId, in_order, last_write_wins};
use crate::store::Store;
use crate::store::block::{BlockRef, RUN_POINTS};
use crate::sync::Arc;
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

/// Blocks that are read at a stretch. A query of more is spread over the pool: fewer are read sooner than they are
/// handed over.
const STRETCH: usize = 4;
/// Stretches that are given to the pool at a time.
const ROUND: usize = 8;

/// The points of `tag` in `range`, in order of time.
///
/// Memory and version are looked at in one moment, under the lock of the tag's shard. A flush publishes its blocks before
/// it drops the buffers, so a point on its way from one to the other is seen in at least one of them; seen in both it
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
    let mut answer = Answer::for_points(expected(&blocks, &range) + recent.points());
    if blocks.len() <= STRETCH {
        read(store, &blocks, &range, Cache::Use, &mut answer.points)?;
    } else {
        read_spread(exec, store, &blocks, range, &mut answer)?;
    }
    // Everything in memory was accepted after everything in blocks; or is the same point.
    recent.for_each(&range, |entry| answer.points.push(entry.point(tag)));
    Ok(answer.in_order())
}

/// Reads many blocks, a stretch of them at a time on each thread of the pool, and puts what they hold behind the answer.
///
/// In rounds: while one is read, what the round before has read is gathered, which is still in a processor's cache; and the
/// next round reads into the same memory.
fn read_spread(
    exec: &dyn Exec,
    store: &Arc<Store>,
    blocks: &[BlockRef],
    range: (Bound<i64>, Bound<i64>),
    answer: &mut Answer,
) -> Result<()> {
    let (mut parts, mut rooms) = (Vec::new(), Vec::new());
    for round in blocks.chunks(ROUND * STRETCH) {
        let gather = Piece::Gather(std::mem::take(answer), std::mem::take(&mut parts));
        let stretches = round.chunks(STRETCH).map(<[BlockRef]>::to_vec);
        let reads = stretches.map(|blocks| Piece::Read(blocks, rooms.pop().unwrap_or_default()));
        let store = store.clone();
        let done = exec::map(exec, [gather].into_iter().chain(reads).collect(), move |piece| match piece {
            Piece::Gather(mut answer, mut parts) => {
                answer.gather(&mut parts);
                Ok(Piece::Gather(answer, parts))
            }
            Piece::Read(blocks, mut points) => {
                read(&store, &blocks, &range, Cache::Bypass, &mut points)?;
                Ok(Piece::Read(blocks, points))
            }
        });
        // In the order of the blocks, whoever was faster.
        for piece in done {
            match piece? {
                Piece::Gather(gathered, emptied) => (*answer, rooms) = (gathered, emptied),
                Piece::Read(_, points) => parts.push(points),
            }
        }
    }
    answer.gather(&mut parts);
    Ok(())
}

/// What a thread of the pool does for a long query.
enum Piece {
    /// Reads blocks into this memory.
    Read(Vec<BlockRef>, Vec<Point>),
    /// Puts what has been read behind the answer.
    Gather(Answer, Vec<Vec<Point>>),
}

/// What a query has found so far.
#[derive(Default)]
struct Answer {
    points: Vec<Point>,
    /// This many of the first points have been looked at.
    seen: usize,
    /// One of them is not later than the one before.
    unordered: bool,
}

impl Answer {
    fn for_points(expected: usize) -> Answer {
        Answer { points: Vec::with_capacity(expected), ..Answer::default() }
    }

    /// Takes over what has been read, part by part.
    fn gather(&mut self, parts: &mut [Vec<Point>]) {
        for part in parts {
            self.points.append(part);
            self.look();
        }
    }

    /// Looks at what has come last, while it is in the processor's cache.
    fn look(&mut self) {
        self.unordered = self.unordered || !in_order(&self.points[self.seen.saturating_sub(1)..]);
        self.seen = self.points.len();
    }

    /// The points in order of time; of those with one time, the last.
    fn in_order(mut self) -> Vec<Point> {
        self.look();
        if self.unordered {
            last_write_wins(&mut self.points);
        }
        self.points
    }
}

/// The points of a tag in a range, in order of time, each read from its block when it is asked for: what
/// [`Engine::scan`](crate::Engine::scan) returns.
///
/// Blocks whose times overlap are read together; of a tag whose points arrive in order that is one at a time:
///
/// ```text
///  time  ─────────────────────────────────────►
///  block   ├──1──┤ ├──2──┤     ├──4──┤
///                      ├──3──┤
///  group   ├──1──┤ ├──2 and 3──┤ ├──4──┤ ├ memory ─►
/// ```
///
/// It is what a query at the moment of the call would have found, whatever is written or flushed meanwhile: blocks never change,
/// and what was in memory has been copied.
pub struct Scan {
    store: Arc<Store>,
    tag: TagId,
    range: (Bound<i64>, Bound<i64>),
    /// By their first time, and how many of them were there before each.
    blocks: VecDeque<(usize, BlockRef)>,
    /// What was in memory, in order of time.
    recent: VecDeque<Point>,
    group: std::vec::IntoIter<Point>,
}

impl Scan {
    pub(crate) fn begin(
        buffers: &Buffers,
        store: &Arc<Store>,
        tag: TagId,
        range: (Bound<i64>, Bound<i64>),
    ) -> Scan {
        let (recent, blocks) = buffers.recent(tag, &range, || store.blocks(tag, &range));
        let mut in_memory = Vec::with_capacity(recent.points());
        recent.for_each(&range, |entry| in_memory.push(entry.point(tag)));
        last_write_wins(&mut in_memory);
        let mut blocks: Vec<_> = blocks.into_iter().enumerate().collect();
        blocks.sort_by_key(|(_, block)| block.first_ts);
        Scan {
            store: store.clone(),
            tag,
            range,
            blocks: blocks.into(),
            recent: in_memory.into(),
            group: Vec::new().into_iter(),
        }
    }

    /// Reads the next blocks that share times, and what memory holds up to their end. `None` when there is nothing left.
    fn next_group(&mut self) -> Result<Option<Vec<Point>>> {
        let Some((_, first)) = self.blocks.front() else {
            let rest: Vec<_> = std::mem::take(&mut self.recent).into();
            return Ok((!rest.is_empty()).then_some(rest));
        };
        let mut last_ts = first.last_ts;
        let mut group = Vec::new();
        while let Some(next) = self.blocks.front().filter(|(_, block)| block.first_ts <= last_ts) {
            if !plant::on(Bug::Q5) {
                last_ts = last_ts.max(next.1.last_ts);
            }
            group.extend(self.blocks.pop_front());
        }
        // In the order of their acceptance, and memory behind them: the last write wins.
        group.sort_by_key(|(age, _)| *age);
        let blocks: Vec<_> = group.into_iter().map(|(_, block)| block).collect();
        let mut points = Vec::with_capacity(expected(&blocks, &self.range));
        read(&self.store, &blocks, &self.range, Cache::Bypass, &mut points)?;
        let recent = self.recent.partition_point(|point| point.ts_us <= last_ts);
        points.extend(self.recent.drain(..recent));
        last_write_wins(&mut points);
        Ok(Some(points))
    }
}

impl Iterator for Scan {
    type Item = Result<Point>;

    fn next(&mut self) -> Option<Result<Point>> {
        loop {
            if let Some(point) = self.group.next() {
                return Some(Ok(point));
            }
            match self.next_group().transpose()? {
                Ok(group) => self.group = group.into_iter(),
                Err(error) => {
                    // All or nothing from here on: what comes behind a hole is no answer.
                    self.blocks.clear();
                    self.recent.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl FusedIterator for Scan {}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("tag", &self.tag)
            .field("range", &self.range)
            .field("blocks_left", &self.blocks.len())
            .finish_non_exhaustive()
    }
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

/// How many points to reserve memory for: what the manifest says, but at most eight for each byte of a block, since only a block that has
/// been read and verified is believed. One that is only partly in the range counts as a run, at most.
fn expected(blocks: &[BlockRef], range: &impl RangeBounds<i64>) -> usize {
    const POINTS_PER_BYTE: usize = 8;
    let points = |block: &BlockRef| {
        let is_whole = range.contains(&block.first_ts) && range.contains(&block.last_ts);
        let most = if is_whole { POINTS_PER_BYTE * block.len as usize } else { RUN_POINTS };
        (block.count as usize).min(most)
    };
    blocks.iter().map(points).sum()
}

/// What a query does with the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cache {
    /// The next query may look at the same blocks.
    Use,
    /// A long query would push out what others want.
    Bypass,
}

/// All or nothing: an error in one block is an error of the query, not a shorter answer.
fn read(
    store: &Store,
    blocks: &[BlockRef],
    range: &impl RangeBounds<i64>,
    cache: Cache,
    points: &mut Vec<Point>,
) -> Result<()> {
    let mut scratch = Vec::new();
    blocks.iter().try_for_each(|block| {
        let push = |entry: Entry| points.push(entry.point(block.tag));
        let read = match cache {
            Cache::Use => store.read_cached(block, range, push),
            Cache::Bypass => store.read(block, range, &mut scratch, push),
        };
        if plant::on(Bug::Q2) { Ok(()) } else { read }
    })
}
