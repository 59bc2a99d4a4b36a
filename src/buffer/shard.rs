//! The tag table: buffers by tag, in shards with a lock each.

use super::tag::AppendBatch;
use super::{Sealed, TagBuffer};
use crate::error::Result;
use crate::lsn::Lsn;
use crate::point::{Entry, TagId};
use crate::sync::{Arc, AtomicU64, Guard, Mutex, Ordering, Rank};
use rustc_hash::FxHashMap;
use std::ops::RangeBounds;

/// Which tails a call wants appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tails {
    /// All: `sync`, `flush`, `close`.
    All,
    /// Full batches: what writers left when the log had no room.
    Full,
    /// Those at least half full, or old: the background step.
    Due,
}

/// Which tags a flush takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All that have points in frames: `flush`, `close`.
    All,
    /// Those with a point below this position: what keeps the oldest segment busy.
    Below(Lsn),
    /// Those with a sealed buffer: the background step.
    Sealed,
}

/// One independently locked part of the tag table.
#[derive(Default)]
pub(crate) struct Shard {
    tags: FxHashMap<TagId, TagBuffer>,
    /// Every tag with a tail, once, in the order in which they got it. A list, because the order of a hash map must
    /// not decide the order of frames. A tag whose tail has gone stays on it until the list is next gone through.
    with_tail: Vec<TagId>,
}

impl Shard {
    pub(crate) fn buffer(&mut self, tag: TagId) -> &mut TagBuffer {
        self.tags.entry(tag).or_default()
    }

    /// Accepts one point.
    pub(crate) fn push(&mut self, tag: TagId, entry: Entry) -> &mut TagBuffer {
        let buffer = self.tags.entry(tag).or_default();
        if !std::mem::replace(&mut buffer.listed, true) {
            self.with_tail.push(tag);
        }
        buffer.push(entry);
        buffer
    }

    fn append_tails(&mut self, which: Tails, batch_points: usize, append: &mut AppendBatch) -> Result<bool> {
        let mut outcome = Ok(true);
        let tags = &mut self.tags;
        self.with_tail.retain(|tag| {
            let buffer = tags.get_mut(tag).expect("a listed tag has a buffer");
            let wanted = match which {
                Tails::All => true,
                Tails::Full => buffer.tail_points() >= batch_points,
                Tails::Due => buffer.tail_is_due(batch_points),
            };
            if wanted && matches!(outcome, Ok(true)) {
                outcome = buffer.append_tail(*tag, batch_points, which != Tails::Full, append);
            }
            buffer.listed = buffer.tail_points() > 0;
            buffer.listed
        });
        outcome
    }

    fn seal(&mut self, scope: Scope, out: &mut Vec<Arc<Sealed>>) -> u64 {
        let mut newly = 0;
        for (tag, buffer) in &mut self.tags {
            let wanted = match scope {
                Scope::All => true,
                Scope::Below(lsn) => buffer.first_unflushed(Lsn(0)).is_some_and(|first| first < lsn),
                Scope::Sealed => !buffer.sealed().is_empty(),
            };
            if wanted {
                if scope != Scope::Sealed {
                    newly += u64::from(buffer.seal(*tag));
                }
                // All of a tag's sealed buffers, oldest first: its blocks must not get ahead of each other.
                out.extend_from_slice(buffer.sealed());
            }
        }
        newly
    }
}

/// All tag buffers.
pub(crate) struct Buffers {
    shards: Box<[Mutex<Shard>]>,
    batch_points: usize,
    /// Sealed buffers in all shards.
    sealed: AtomicU64,
}

impl Buffers {
    pub(crate) fn new(shards: usize, batch_points: usize) -> Buffers {
        let shard = |_| Mutex::new(Rank::Shard, Shard::default());
        let shards = (0..shards.next_power_of_two()).map(shard).collect();
        Buffers { shards, batch_points, sealed: AtomicU64::new(0) }
    }

    /// The shard of a tag, locked.
    pub(crate) fn lock(&self, tag: TagId) -> Guard<'_, Shard> {
        // Fibonacci hashing: tags are often numbered in a row, or in steps.
        let mixed = u64::from(tag.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.shards[mixed as usize & (self.shards.len() - 1)].lock()
    }

    /// Appends tails to the log, tag by tag. `false` when the log ran out of free segments on the way; calling again
    /// goes on with what is left.
    pub(crate) fn append_tails(&self, which: Tails, append: &mut AppendBatch) -> Result<bool> {
        for shard in &self.shards {
            if !shard.lock().append_tails(which, self.batch_points, append)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds to the number of sealed buffers.
    pub(crate) fn count_sealed(&self, newly: u64) {
        self.sealed.fetch_add(newly, Ordering::Relaxed);
    }

    /// Sealed buffers that wait for a flush.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Seals what a flush of this scope takes, and returns it: by tag, and of one tag the oldest first.
    pub(crate) fn seal(&self, scope: Scope) -> Vec<Arc<Sealed>> {
        let mut sealed = Vec::new();
        for shard in &self.shards {
            self.count_sealed(shard.lock().seal(scope, &mut sealed));
        }
        sealed.sort_by_key(|sealed| (sealed.tag, sealed.first_lsn));
        sealed
    }

    /// The oldest position that is in a frame and will be in no block once `flushing`, sorted by tag, has been
    /// flushed.
    pub(crate) fn first_unflushed(&self, flushing: &[Arc<Sealed>]) -> Option<Lsn> {
        let flushed_to: FxHashMap<TagId, Lsn> =
            flushing.iter().map(|sealed| (sealed.tag, sealed.end_lsn)).collect();
        let mut oldest = None;
        for shard in &self.shards {
            for (tag, buffer) in &shard.lock().tags {
                let from = flushed_to.get(tag).copied().unwrap_or_default();
                oldest = [oldest, buffer.first_unflushed(from)].into_iter().flatten().min();
            }
        }
        oldest
    }

    /// Drops sealed points that a published version names.
    pub(crate) fn release(&self, flushed: &[Arc<Sealed>]) {
        for sealed in flushed {
            if self.lock(sealed.tag).buffer(sealed.tag).release(sealed) {
                self.sealed.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// The points of a tag in `range`, in the order of their acceptance.
    pub(crate) fn collect(&self, tag: TagId, range: &impl RangeBounds<i64>) -> Vec<Entry> {
        let mut entries = Vec::new();
        if let Some(buffer) = self.lock(tag).tags.get(&tag) {
            buffer.collect(range, &mut entries);
        }
        entries
    }

    /// Tags with points in memory, in no order.
    pub(crate) fn tags(&self) -> Vec<TagId> {
        let mut tags = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            tags.extend(shard.tags.iter().filter(|(_, buffer)| buffer.points() > 0).map(|(tag, _)| *tag));
        }
        tags
    }

    /// Points in memory.
    pub(crate) fn points(&self) -> u64 {
        let points = |shard: &Mutex<Shard>| {
            shard.lock().tags.values().map(|buffer| buffer.points() as u64).sum::<u64>()
        };
        self.shards.iter().map(points).sum()
    }
}
