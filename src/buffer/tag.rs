//! The buffer of one tag.

use super::runs::Runs;
use crate::codec::run::{Encoder, Run};
use crate::error::Result;
use crate::lsn::{Append, Lsn};
use crate::plant::{self, Bug};
use crate::point::{Entry, TagId};
use crate::sync::Arc;
use std::ops::RangeBounds;

/// How a tail gets into the log: one tag batch, one run, one frame.
pub(crate) type AppendBatch<'a> = dyn FnMut(TagId, &Run) -> Result<Append> + 'a;

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
    pub(crate) runs: Runs,
    /// Of its first point.
    pub(crate) first_lsn: Lsn,
    /// Behind its last point.
    pub(crate) end_lsn: Lsn,
}

/// One tag's points that are in no block yet. What a write touches stands together, in one cache line: with a hundred
/// thousand tags it has to come from memory each time.
#[derive(Default)]
pub(crate) struct TagBuffer {
    /// The tag batch: what is not in a frame yet.
    tail: Vec<Entry>,
    /// How many points of the tail are counted as full batches in the stream's backlog.
    counted: usize,
    /// The background step has come across the present tail before.
    tail_is_old: bool,
    /// The tag is on its shard's list of tags with a tail.
    pub(super) listed: bool,
    /// The tag is on its shard's list of tags with a full batch.
    pub(super) listed_full: bool,
    logged: Box<Logged>,
}

/// A tag's points that are in frames.
#[derive(Default)]
struct Logged {
    sealed: Vec<Arc<Sealed>>,
    /// What is not sealed yet, as it is in frames.
    open: Runs,
    /// Position of the first point of `open`; meaningful while there is one.
    first_lsn: Lsn,
    /// Behind the last one; likewise.
    end_lsn: Lsn,
}

/// What a query copies under the lock of a shard, to decode it without.
#[derive(Default)]
pub(crate) struct Recent {
    pub(crate) sealed: Vec<Arc<Sealed>>,
    pub(crate) appended: Runs,
    pub(crate) tail: Vec<Entry>,
}

impl TagBuffer {
    /// Accepts points. Returns how many more points are in full batches now.
    pub(crate) fn accept(&mut self, entries: impl Iterator<Item = Entry>, batch_points: usize) -> usize {
        self.tail.extend(entries);
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

    /// Takes in points that are in the log already: recovery. Returns the bytes that they take.
    pub(crate) fn replay(&mut self, run: &Run, first_lsn: Lsn, end_lsn: Lsn) -> usize {
        assert_eq!(self.tail_points(), 0, "nothing is accepted before recovery ends");
        let before = self.logged.open.bytes();
        self.mark_appended(first_lsn, end_lsn);
        self.logged.open.push(run);
        self.logged.open.bytes() - before
    }

    /// Before the first of these points is in `open`.
    fn mark_appended(&mut self, first_lsn: Lsn, end_lsn: Lsn) {
        if self.logged.open.points() == 0 {
            self.logged.first_lsn = first_lsn;
        }
        self.logged.end_lsn = end_lsn;
    }

    /// Points that are not in a frame yet.
    pub(crate) fn tail_points(&self) -> usize {
        self.tail.len()
    }

    /// Points that are in a frame and neither sealed nor in a block.
    pub(crate) fn appended_points(&self) -> usize {
        self.logged.open.points()
    }

    /// Bytes of those.
    pub(crate) fn appended_bytes(&self) -> usize {
        self.logged.open.bytes()
    }

    /// Points in memory.
    pub(crate) fn points(&self) -> usize {
        let sealed: usize = self.logged.sealed.iter().map(|sealed| sealed.runs.points()).sum();
        sealed + self.logged.open.points() + self.tail.len()
    }

    /// Appends the tail as frames of `batch_points`, the remainder too if `partial`. When the log has no room, and after
    /// an error, what was not appended is still the tail.
    pub(crate) fn append_tail(
        &mut self,
        tag: TagId,
        batch_points: usize,
        partial: bool,
        encoder: &mut Encoder,
        append: &mut AppendBatch,
    ) -> Result<Drained> {
        let least = if partial { 1 } else { batch_points };
        let mut done = 0;
        let mut outcome = Ok(Drained::All);
        while self.tail.len() - done >= least {
            let batch = &self.tail[done..self.tail.len().min(done + batch_points)];
            let draft = self.logged.open.draft(encoder, batch);
            match append(tag, &self.logged.open.drafted()) {
                Ok(Append::Appended { first_lsn, end_lsn }) => {
                    done += batch.len();
                    self.mark_appended(first_lsn, end_lsn);
                    self.logged.open.keep(draft);
                    self.tail_is_old = false;
                    continue;
                }
                Ok(Append::NoRoom { frame_bytes }) => outcome = Ok(Drained::NeedsRoom { frame_bytes }),
                Err(error) => outcome = Err(error),
            }
            self.logged.open.discard(draft);
            if plant::on(Bug::W18) {
                done = self.tail.len();
            }
            break;
        }
        if done == self.tail.len() && partial {
            // A slow tag, one of many perhaps: it needs its memory in a while only.
            self.tail = Vec::new();
        } else {
            self.tail.drain(..done);
        }
        outcome
    }

    /// Whether the background step should append the tail: it is at least half a batch, or an earlier step saw it.
    pub(crate) fn tail_is_due(&mut self, batch_points: usize) -> bool {
        if self.tail_points() == 0 {
            return false;
        }
        let is_old = std::mem::replace(&mut self.tail_is_old, true) && !plant::on(Bug::W22);
        is_old || 2 * self.tail_points() >= batch_points
    }

    /// Makes the appended part immutable. `false` when there is none.
    pub(crate) fn seal(&mut self, tag: TagId) -> bool {
        if self.logged.open.points() == 0 {
            return false;
        }
        let open = &mut self.logged.open;
        let runs = if plant::on(Bug::F11) { open.clone() } else { std::mem::take(open) };
        self.logged.sealed.push(Arc::new(Sealed {
            tag,
            runs,
            first_lsn: self.logged.first_lsn,
            end_lsn: self.logged.end_lsn,
        }));
        true
    }

    /// The sealed part, oldest first.
    pub(crate) fn sealed(&self) -> &[Arc<Sealed>] {
        &self.logged.sealed
    }

    /// Drops sealed points that a published version names. `false` if they are gone already.
    pub(crate) fn release(&mut self, flushed: &Arc<Sealed>) -> bool {
        let before = self.logged.sealed.len();
        self.logged.sealed.retain(|sealed| !Arc::ptr_eq(sealed, flushed));
        self.logged.sealed.len() < before
    }

    /// The position of the oldest point at or behind `from` that is in a frame and in no block.
    pub(crate) fn first_unflushed(&self, from: Lsn) -> Option<Lsn> {
        let sealed = self.logged.sealed.iter().map(|sealed| sealed.first_lsn).find(|first| *first >= from);
        sealed.or((self.logged.open.points() > 0).then_some(self.logged.first_lsn))
    }

    /// The latest time of any of its points.
    pub(crate) fn latest_ts(&self) -> Option<i64> {
        let sealed = self.logged.sealed.iter().map(|sealed| &sealed.runs);
        let in_frames = sealed.chain([&self.logged.open]).filter_map(Runs::latest_ts).max();
        in_frames.max(self.tail.iter().map(|entry| entry.ts_us).max())
    }

    /// What a query of this range has to look at.
    pub(crate) fn recent(&self, range: &impl RangeBounds<i64>) -> Recent {
        Recent {
            sealed: self.logged.sealed.iter().filter(|sealed| sealed.runs.overlaps(range)).cloned().collect(),
            appended: if self.logged.open.overlaps(range) {
                self.logged.open.clone()
            } else {
                Runs::default()
            },
            tail: self.tail.iter().filter(|entry| range.contains(&entry.ts_us)).copied().collect(),
        }
    }
}

impl Recent {
    /// Points, or some more.
    pub(crate) fn points(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|sealed| sealed.runs.points()).sum();
        sealed + self.appended.points() + self.tail.len()
    }

    /// Calls `each` with the points in `range`, in the order of their acceptance.
    pub(crate) fn for_each(&self, range: &impl RangeBounds<i64>, mut each: impl FnMut(Entry)) {
        self.sealed.iter().for_each(|sealed| sealed.runs.for_each(range, &mut each));
        self.appended.for_each(range, &mut each);
        self.tail.iter().for_each(|entry| each(*entry));
    }
}
