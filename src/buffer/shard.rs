//! The tag table of one stream: buffers by tag, in shards with a lock each.

use super::tag::AppendBatch;
use super::{Drained, Recent, Sealed, TagBuffer};
use crate::codec::run::{Encoder, Run};
use crate::config::Config;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::point::{Entry, TagId};
use crate::sync::{Arc, AtomicU64, Guard, Mutex, Ordering, Rank};
use rustc_hash::FxHashMap;
use std::ops::RangeBounds;

/// Which tails a call wants appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tails {
    /// All: `sync`, `flush`, `close`.
    All,
    /// Full batches: the logger, when it has been woken; a writer that found the log too far behind.
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
    /// Likewise every tag whose tail has a full batch.
    with_full: Vec<TagId>,
}

impl Shard {
    pub(crate) fn buffer(&mut self, tag: TagId) -> &mut TagBuffer {
        self.tags.entry(tag).or_default()
    }

    pub(crate) fn has(&self, tag: TagId) -> bool {
        self.tags.contains_key(&tag)
    }

    /// Gives a tag an empty buffer, whatever it had: for the planted bug C6.
    pub(crate) fn make(&mut self, tag: TagId) {
        self.tags.insert(tag, TagBuffer::default());
    }

    /// Accepts points of one tag.
    fn accept(&mut self, tag: TagId, entries: impl Iterator<Item = Entry>, batch_points: usize) -> usize {
        let buffer = self.tags.entry(tag).or_default();
        let more = buffer.accept(entries, batch_points);
        if !std::mem::replace(&mut buffer.listed, true) {
            self.with_tail.push(tag);
        }
        if more > 0 && !std::mem::replace(&mut buffer.listed_full, true) {
            self.with_full.push(tag);
        }
        more
    }

    /// Appends tails.
    fn append_tails(
        &mut self,
        which: Tails,
        limits: &Limits,
        encoder: &mut Encoder,
        append: &mut AppendBatch,
    ) -> Pass {
        let mut pass = Pass { outcome: Ok(Drained::All), fewer: 0, bytes: 0, sealed: 0 };
        let tags = &mut self.tags;
        let mut visit = |tag: &TagId| {
            let buffer = tags.get_mut(tag).expect("a listed tag has a buffer");
            let wanted = match which {
                Tails::All => true,
                Tails::Full => buffer.tail_points() >= limits.batch_points,
                Tails::Due => buffer.tail_is_due(limits.batch_points),
            };
            if wanted && matches!(pass.outcome, Ok(Drained::All)) {
                let (partial, before) = (which != Tails::Full, buffer.appended_bytes());
                pass.outcome = buffer.append_tail(*tag, limits.batch_points, partial, encoder, append);
                pass.bytes += buffer.appended_bytes() - before;
                pass.fewer += buffer.recount(limits.batch_points);
                // Before one more batch would not fit: a block of 4,096 points and one of 4 cost more than one of 4,000.
                let points = buffer.appended_points();
                if points + limits.batch_points > limits.block_points && 2 * points >= limits.block_points {
                    pass.sealed += u64::from(buffer.seal(*tag));
                }
            }
            if which == Tails::Full {
                buffer.listed_full = buffer.tail_points() >= limits.batch_points;
                buffer.listed_full
            } else {
                buffer.listed = buffer.tail_points() > 0 && !(plant::on(Bug::B1) && which == Tails::Due);
                buffer.listed
            }
        };
        match which {
            Tails::Full => self.with_full.retain(&mut visit),
            Tails::All | Tails::Due => self.with_tail.retain(&mut visit),
        }
        pass
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

/// What a pass over the tails of a shard has done.
struct Pass {
    outcome: Result<Drained>,
    /// So many points fewer are in full batches.
    fewer: usize,
    /// So many bytes more are in memory, encoded.
    bytes: usize,
    /// So many buffers were sealed.
    sealed: u64,
}

/// Which shards a pass has to visit, so that there can be many more shards than a pass would like to lock.
///
/// A shard's bit is set exactly while its list is not empty: it is changed under the shard's lock only. So a pass that
/// finds it clear has missed nothing that was accepted before the pass began, whatever other passes are doing.
struct Marks(Box<[AtomicU64]>);

impl Marks {
    fn new(shards: usize) -> Marks {
        Marks((0..shards.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn set(&self, shard: usize) {
        self.0[shard / 64].fetch_or(1 << (shard % 64), Ordering::AcqRel);
    }

    fn clear(&self, shard: usize) {
        self.0[shard / 64].fetch_and(!(1 << (shard % 64)), Ordering::AcqRel);
    }

    /// The first marked shard at or behind `from`.
    fn next(&self, from: usize) -> Option<usize> {
        let mut at = from / 64;
        let mut bits = self.0.get(at)?.load(Ordering::Acquire) & (u64::MAX << (from % 64));
        while bits == 0 {
            at += 1;
            bits = self.0.get(at)?.load(Ordering::Acquire);
        }
        Some(at * 64 + bits.trailing_zeros() as usize)
    }
}

#[derive(Clone, Copy)]
struct Limits {
    batch_points: usize,
    block_points: usize,
}

/// On cache lines of its own: writers of one shard do not slow those of its neighbour.
#[repr(align(128))]
struct Padded<T>(T);

/// The tag buffers of one stream.
pub(crate) struct Buffers {
    shards: Box<[Padded<Mutex<Shard>>]>,
    /// Shards that have tags with a tail, and with a full batch.
    with_tail: Marks,
    with_full: Marks,
    limits: Limits,
    /// Sealed buffers in all shards.
    sealed: AtomicU64,
    /// Bytes of encoded points in all shards.
    bytes: AtomicU64,
    /// Points in full batches that are not in the log yet. Changed under the lock of a shard, so that what is taken off
    /// has been added.
    backlog: Padded<AtomicU64>,
}

impl Buffers {
    pub(crate) fn new(config: &Config) -> Buffers {
        let shards = config.shards.div_ceil(config.wal_streams).next_power_of_two();
        Buffers {
            shards: (0..shards).map(|_| Padded(Mutex::new(Rank::Shard, Shard::default()))).collect(),
            with_tail: Marks::new(shards),
            with_full: Marks::new(shards),
            limits: Limits { batch_points: config.batch_points, block_points: config.block_points },
            sealed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            backlog: Padded(AtomicU64::new(0)),
        }
    }

    /// The first shard at or behind `from` that a pass of this kind has to visit.
    pub(crate) fn next_with(&self, which: Tails, from: usize) -> Option<usize> {
        self.marks(which).next(from)
    }

    fn marks(&self, which: Tails) -> &Marks {
        match which {
            Tails::Full => &self.with_full,
            Tails::All | Tails::Due => &self.with_tail,
        }
    }

    fn index(&self, tag: TagId) -> usize {
        // The stream was chosen by the upper bits of the hash, the shard is by the lower ones.
        tag.hash() as usize & (self.shards.len() - 1)
    }

    /// Waits for every writer that is in a shard now: whoever comes later sees what was done before this call. A pass does
    /// not do that, since it leaves out the shards that nobody has marked yet.
    pub(crate) fn wait_for_writers(&self) {
        self.shards.iter().for_each(|shard| drop(shard.0.lock()));
    }

    /// The shard of a tag, locked.
    pub(crate) fn lock(&self, tag: TagId) -> Guard<'_, Shard> {
        self.shards[self.index(tag)].0.lock()
    }

    /// Accepts points of one tag in its locked shard. Returns the backlog if that has made it longer.
    pub(crate) fn accept(
        &self,
        shard: &mut Shard,
        tag: TagId,
        entries: impl Iterator<Item = Entry>,
    ) -> Option<u64> {
        let (had_tail, had_full) = (!shard.with_tail.is_empty(), !shard.with_full.is_empty());
        let more = shard.accept(tag, entries, self.limits.batch_points);
        if !had_tail && !shard.with_tail.is_empty() {
            self.with_tail.set(self.index(tag));
        }
        if !had_full && !shard.with_full.is_empty() {
            self.with_full.set(self.index(tag));
        }
        match more {
            0 => None,
            more => Some(self.backlog.0.fetch_add(more as u64, Ordering::AcqRel) + more as u64),
        }
    }

    /// Points in full batches that are not in the log yet.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog.0.load(Ordering::Acquire)
    }

    /// Appends the tails of one shard to the log, tag by tag, and seals the buffers that have grown to a block.
    pub(crate) fn append_tails(
        &self,
        index: usize,
        which: Tails,
        encoder: &mut Encoder,
        append: &mut AppendBatch,
    ) -> Result<Drained> {
        let mut shard = self.shards[index].0.lock();
        let pass = shard.append_tails(which, &self.limits, encoder, append);
        if pass.fewer > 0 {
            self.backlog.0.fetch_sub(pass.fewer as u64, Ordering::AcqRel);
        }
        self.bytes.fetch_add(pass.bytes as u64, Ordering::Relaxed);
        self.count_sealed(pass.sealed);
        let left = if which == Tails::Full { &shard.with_full } else { &shard.with_tail };
        if left.is_empty() {
            self.marks(which).clear(index);
        }
        pass.outcome
    }

    /// Takes in a run that is in the log already: recovery.
    pub(crate) fn replay(&self, tag: TagId, run: &Run, first_lsn: Lsn, end_lsn: Lsn) {
        let bytes = self.lock(tag).buffer(tag).replay(run, first_lsn, end_lsn);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count_sealed(&self, newly: u64) {
        if plant::on(Bug::C5) {
            let sealed = self.sealed.load(Ordering::Relaxed);
            self.sealed.store(sealed + newly, Ordering::Relaxed);
        } else if newly > 0 {
            self.sealed.fetch_add(newly, Ordering::Relaxed);
        }
    }

    /// Sealed buffers that wait for a flush.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Bytes of encoded points in memory. The tail of a tag is not encoded yet, and bounded by other limits.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Seals what a flush of this scope takes, and returns it: by tag, and of one tag the oldest first.
    pub(crate) fn seal(&self, scope: Scope) -> Vec<Arc<Sealed>> {
        let mut sealed = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.0.lock();
            self.count_sealed(shard.seal(scope, &mut sealed));
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
            for (tag, buffer) in &shard.0.lock().tags {
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
                self.bytes.fetch_sub(sealed.runs.bytes() as u64, Ordering::Relaxed);
            }
        }
    }

    /// What a query of this range has to look at, and what `older` finds at the same moment: while the shard is locked no
    /// point of the tag is accepted, appended or dropped.
    pub(crate) fn recent<R>(
        &self,
        tag: TagId,
        range: &impl RangeBounds<i64>,
        older: impl FnOnce() -> R,
    ) -> (Recent, R) {
        let shard = self.lock(tag);
        let recent = shard.tags.get(&tag).map(|buffer| buffer.recent(range)).unwrap_or_default();
        let _shard = (!plant::on(Bug::R3)).then_some(shard);
        (recent, older())
    }

    /// The latest time of the points of a tag in memory.
    pub(crate) fn latest_ts(&self, tag: TagId) -> Option<i64> {
        self.lock(tag).tags.get(&tag)?.latest_ts()
    }

    /// Tags with points in memory, in no order.
    pub(crate) fn tags(&self) -> Vec<TagId> {
        let mut tags = Vec::new();
        for shard in &self.shards {
            let shard = shard.0.lock();
            tags.extend(shard.tags.iter().filter(|(_, buffer)| buffer.points() > 0).map(|(tag, _)| *tag));
        }
        tags
    }

    /// Points in memory.
    pub(crate) fn points(&self) -> u64 {
        let points = |shard: &Padded<Mutex<Shard>>| {
            shard.0.lock().tags.values().map(|buffer| buffer.points() as u64).sum::<u64>()
        };
        self.shards.iter().map(points).sum()
    }
}
