//! The buffer of one tag.

use crate::error::Result;
use crate::lsn::{Append, Lsn};
use crate::plant::{self, Bug};
use crate::point::{Entry, TagId};
use crate::sync::Arc;
use std::ops::RangeBounds;

/// How a tail gets into the log: one tag batch, one frame.
pub(crate) type AppendBatch<'a> = dyn FnMut(TagId, &[Entry]) -> Result<Append> + 'a;

/// How far a pass over tails has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Drained {
    /// Everything that was wanted is in the log.
    All,
    /// The log must do I/O before it can take a frame of so many bytes; nothing is lost, and the pass can be repeated.
    NeedsRoom { frame_bytes: u64 },
}

/// Points of one tag that will change no more, in the order in which they were accepted.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) tag: TagId,
    pub(crate) entries: Vec<Entry>,
    /// Of its first point.
    pub(crate) first_lsn: Lsn,
    /// Behind its last point.
    pub(crate) end_lsn: Lsn,
}

/// One tag's points that are in no block yet.
#[derive(Default)]
pub(crate) struct TagBuffer {
    sealed: Vec<Arc<Sealed>>,
    entries: Vec<Entry>,
    /// How many of `entries` are in frames.
    appended: usize,
    /// Of `entries[0]`; meaningful while `appended > 0`.
    first_lsn: Lsn,
    /// Behind `entries[appended - 1]`; likewise.
    end_lsn: Lsn,
    /// How many points of the tail are counted as full batches in the stream's backlog.
    counted: usize,
    /// The background step has come across the present tail before.
    tail_is_old: bool,
    /// The tag is on its shard's list of tags with a tail.
    pub(super) listed: bool,
    /// The tag is on its shard's list of tags with a full batch.
    pub(super) listed_full: bool,
}

impl TagBuffer {
    /// Accepts points. Returns how many more points are in full batches now.
    pub(crate) fn accept(&mut self, entries: impl Iterator<Item = Entry>, batch_points: usize) -> usize {
        self.entries.extend(entries);
        let uncounted = self.tail_points() - self.counted;
        // Nearly always; a division costs as much as all the rest.
        if uncounted < batch_points {
            return 0;
        }
        let more = uncounted - uncounted % batch_points;
        self.counted += more;
        more
    }

    /// Counts the full batches of the tail anew, which has become shorter; by how many points they are fewer.
    pub(crate) fn recount(&mut self, batch_points: usize) -> usize {
        let tail = self.tail_points();
        let full = tail - tail % batch_points;
        std::mem::replace(&mut self.counted, full) - full
    }

    /// Takes in points that are in the log already: recovery.
    pub(crate) fn replay(&mut self, entries: impl Iterator<Item = Entry>, first_lsn: Lsn, end_lsn: Lsn) {
        assert_eq!(self.tail_points(), 0, "nothing is accepted before recovery ends");
        self.entries.extend(entries);
        self.mark_appended(self.tail_points(), first_lsn, end_lsn);
    }

    fn mark_appended(&mut self, count: usize, first_lsn: Lsn, end_lsn: Lsn) {
        if self.appended == 0 {
            self.first_lsn = first_lsn;
        }
        self.appended += count;
        self.end_lsn = end_lsn;
    }

    /// Points that are not in a frame yet.
    pub(crate) fn tail_points(&self) -> usize {
        self.entries.len() - self.appended
    }

    /// Points that are in a frame and neither sealed nor in a block.
    pub(crate) fn appended_points(&self) -> usize {
        self.appended
    }

    /// Points in memory.
    pub(crate) fn points(&self) -> usize {
        self.entries.len() + self.sealed.iter().map(|sealed| sealed.entries.len()).sum::<usize>()
    }

    /// Appends the tail as frames of `batch_points`, the remainder too if `partial`. When the log has no room, and after
    /// an error, what was not appended is still the tail.
    pub(crate) fn append_tail(
        &mut self,
        tag: TagId,
        batch_points: usize,
        partial: bool,
        append: &mut AppendBatch,
    ) -> Result<Drained> {
        while self.tail_points() >= if partial { 1 } else { batch_points } {
            let tail = &self.entries[self.appended..];
            let batch = &tail[..tail.len().min(batch_points)];
            let count = batch.len();
            let outcome = append(tag, batch);
            if plant::on(Bug::W18) && !matches!(outcome, Ok(Append::Appended { .. })) {
                self.entries.truncate(self.appended);
            }
            match outcome? {
                Append::Appended { first_lsn, end_lsn } => self.mark_appended(count, first_lsn, end_lsn),
                Append::NoRoom { frame_bytes } => return Ok(Drained::NeedsRoom { frame_bytes }),
            }
            self.tail_is_old = false;
        }
        Ok(Drained::All)
    }

    /// Whether the background step should append the tail: it is at least half a batch, or an earlier step saw it.
    pub(crate) fn tail_is_due(&mut self, batch_points: usize) -> bool {
        if self.tail_points() == 0 {
            return false;
        }
        std::mem::replace(&mut self.tail_is_old, true) || 2 * self.tail_points() >= batch_points
    }

    /// Makes the appended part immutable. `false` when there is none.
    pub(crate) fn seal(&mut self, tag: TagId) -> bool {
        if self.appended == 0 {
            return false;
        }
        let tail = self.entries.split_off(self.appended);
        let entries = std::mem::replace(&mut self.entries, tail);
        self.sealed.push(Arc::new(Sealed { tag, entries, first_lsn: self.first_lsn, end_lsn: self.end_lsn }));
        self.appended = 0;
        true
    }

    /// The sealed part, oldest first.
    pub(crate) fn sealed(&self) -> &[Arc<Sealed>] {
        &self.sealed
    }

    /// Drops sealed points that a published version names. `false` if they are gone already.
    pub(crate) fn release(&mut self, flushed: &Arc<Sealed>) -> bool {
        let before = self.sealed.len();
        self.sealed.retain(|sealed| !Arc::ptr_eq(sealed, flushed));
        self.sealed.len() < before
    }

    /// The position of the oldest point at or behind `from` that is in a frame and in no block.
    pub(crate) fn first_unflushed(&self, from: Lsn) -> Option<Lsn> {
        let sealed = self.sealed.iter().map(|sealed| sealed.first_lsn).find(|first| *first >= from);
        sealed.or((self.appended > 0).then_some(self.first_lsn))
    }

    /// Adds the points in `range` in the order of their acceptance.
    pub(crate) fn collect(&self, range: &impl RangeBounds<i64>, out: &mut Vec<Entry>) {
        let sealed = self.sealed.iter().flat_map(|sealed| sealed.entries.iter());
        out.extend(sealed.chain(&self.entries).filter(|entry| range.contains(&entry.ts_us)));
    }
}
