//! The buffer of one tag.

use super::limits::Limits;
use super::runs::Runs;
use crate::codec::mixed::Batch;
use crate::codec::run::{Encoder, Run};
use crate::error::Result;
use crate::lsn::{Append, Lsn};
use crate::plant::{self, Bug};
use crate::point::{Entry, Measured, Point, TagId};
use crate::sync::Arc;
use std::ops::RangeBounds;

/// How points get into the log: a batch in a frame.
pub(crate) type AppendBatch<'a> = dyn FnMut(&Batch) -> Result<Append> + 'a;

/// How far a pass over tails has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Drained {
    /// Everything that was wanted is in the log.
    All,
    /// The log must do I/O before it can take a frame of this many bytes; nothing is lost, and the pass can be repeated.
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
#[repr(align(64))]
pub(crate) struct TagBuffer {
    tag: TagId,
    /// What is in no run yet: first what is in frames already, with other tags' points, then the tag batch as far as it
    /// has come. Neither is a whole batch.
    tail: Vec<Entry>,
    /// This many of the tail's points are in frames.
    logged: usize,
    /// The background step has come across the present tail before.
    tail_is_old: bool,
    /// The tag is on its shard's list of tags that have something for the log.
    pub(super) listed: bool,
    /// The tag is on its shard's list of tags that have a run for the log.
    pub(super) listed_waiting: bool,
    encoded: Box<Encoded>,
}

/// A tag's points in runs.
#[derive(Default)]
struct Encoded {
    sealed: Vec<Arc<Sealed>>,
    /// What is in frames and not sealed yet, but for the logged points of the tail, which come behind it.
    open: Runs,
    /// What is in no frame yet.
    waiting: Runs,
    /// Position of the first point of `open` and the logged tail; meaningful while there is one.
    first_lsn: Lsn,
    /// Behind the last one; likewise.
    end_lsn: Lsn,
}

/// Encodes points into runs, and keeps the account of what the buffers of a shard have become more or less by.
#[derive(Default)]
pub(crate) struct RunMaker {
    encoder: Encoder,
    /// Points in runs that wait for the log.
    waiting_points: i64,
    /// Bytes of points that are in frames.
    appended_bytes: i64,
}

impl RunMaker {
    /// By how many points and bytes it has become more since this was last asked.
    pub(super) fn take_counts(&mut self) -> (i64, i64) {
        (std::mem::take(&mut self.waiting_points), std::mem::take(&mut self.appended_bytes))
    }

    fn make(&mut self, runs: &mut Runs, points: &[impl Measured]) {
        runs.encode(&mut self.encoder, points);
        self.waiting_points += points.len() as i64;
    }

    /// Makes a run of points that are in frames.
    fn make_logged(&mut self, runs: &mut Runs, points: &[Entry]) {
        let before = runs.bytes();
        runs.encode(&mut self.encoder, points);
        self.appended_bytes += (runs.bytes() - before) as i64 - size_of_val(points) as i64;
    }
}

/// What a query copies under the lock of a shard, to decode it without.
#[derive(Default)]
pub(crate) struct Recent {
    pub(crate) sealed: Vec<Arc<Sealed>>,
    /// Those in frames, then those in none.
    pub(crate) unsealed: [Runs; 2],
    pub(crate) tail: Vec<Entry>,
}

impl TagBuffer {
    pub(super) fn new(tag: TagId) -> TagBuffer {
        TagBuffer {
            tag,
            tail: Vec::new(),
            logged: 0,
            tail_is_old: false,
            listed: false,
            listed_waiting: false,
            encoded: Box::default(),
        }
    }

    /// Whose it is.
    pub(super) fn tag(&self) -> TagId {
        self.tag
    }

    /// Accepts points, and encodes what has become a whole batch: here and now, while it is in the cache of who wrote it.
    /// Returns whether any has. If not, no more was touched than the buffer and the end of its tail.
    pub(crate) fn accept(&mut self, mut points: &[Point], batch_points: usize, maker: &mut RunMaker) -> bool {
        if !self.tail.is_empty() || points.len() < batch_points {
            let missing = batch_points - self.tail_points();
            let (now, later) = points.split_at(points.len().min(missing));
            self.tail.extend(now.iter().map(Point::entry));
            points = later;
            if self.tail_points() < batch_points {
                return false;
            }
            self.encode_tail(maker);
        }
        let mut batches = points.chunks_exact(batch_points);
        for batch in &mut batches {
            maker.make(&mut self.encoded.waiting, batch);
        }
        self.tail.extend(batches.remainder().iter().map(Point::entry));
        true
    }

    /// Makes a run of the tail, for the log to take, behind one of what the log has of it.
    pub(super) fn encode_tail(&mut self, maker: &mut RunMaker) {
        self.encode_logged(maker);
        maker.make(&mut self.encoded.waiting, &self.tail);
        self.tail.clear();
        self.tail_is_old = false;
    }

    /// Makes a run of those points of the tail that are in frames.
    fn encode_logged(&mut self, maker: &mut RunMaker) {
        if self.logged == 0 {
            return;
        }
        assert_eq!(self.waiting_points(), 0, "what waits is appended before the tail");
        maker.make_logged(&mut self.encoded.open, &self.tail[..self.logged]);
        self.tail.drain(..self.logged);
        self.logged = 0;
    }

    /// Points in runs that are in no frame yet.
    pub(crate) fn waiting_points(&self) -> usize {
        self.encoded.waiting.points()
    }

    /// Takes in a run that is in the log already: recovery.
    pub(crate) fn replay(&mut self, run: &Run, first_lsn: Lsn, end_lsn: Lsn, maker: &mut RunMaker) {
        assert_eq!(self.tail_points(), 0, "nothing is accepted before recovery ends");
        self.encode_logged(maker);
        let before = self.encoded.open.bytes();
        self.mark_appended(first_lsn, end_lsn, 0);
        self.encoded.open.push(run);
        maker.appended_bytes += (self.encoded.open.bytes() - before) as i64;
    }

    /// Likewise a few points out of a frame of several tags.
    pub(crate) fn replay_few(
        &mut self,
        entries: &[Entry],
        first_lsn: Lsn,
        logged_max: usize,
        maker: &mut RunMaker,
    ) {
        assert_eq!(self.tail_points(), 0, "nothing is accepted before recovery ends");
        self.tail.extend_from_slice(entries);
        self.mark_logged(first_lsn, logged_max, maker);
    }

    /// Accepts points that are in frames already, and counted as such: those of an inbox that a sync has logged from there. Their
    /// positions are not before `first_lsn`, and all before `end_lsn`.
    pub(super) fn accept_logged(
        &mut self,
        points: &[Point],
        (first_lsn, end_lsn): (Lsn, Lsn),
        logged_max: usize,
        maker: &mut RunMaker,
    ) {
        assert_eq!((self.waiting_points(), self.tail_points()), (0, 0), "it was logged before they were");
        self.tail.extend(points.iter().map(Point::entry));
        // The inbox may have come to the tag with points of others that were logged before what is here.
        let first_lsn = if plant::on(Bug::B10) { first_lsn } else { first_lsn.max(self.encoded.end_lsn) };
        self.note_logged((first_lsn, end_lsn), points.len(), logged_max, maker);
    }

    /// The tail is in a frame. It stays where it is, until it and what comes make a run of their own: of `logged_max` points.
    pub(super) fn mark_logged(&mut self, first_lsn: Lsn, logged_max: usize, maker: &mut RunMaker) {
        let points = self.tail_points();
        maker.appended_bytes += (points * size_of::<Entry>()) as i64;
        self.note_logged((first_lsn, first_lsn.advance(points as u64)), points, logged_max, maker);
    }

    fn note_logged(
        &mut self,
        (first_lsn, end_lsn): (Lsn, Lsn),
        points: usize,
        logged_max: usize,
        maker: &mut RunMaker,
    ) {
        self.mark_appended(first_lsn, end_lsn, 0);
        self.logged += points;
        self.tail_is_old = false;
        if self.logged >= logged_max {
            self.encode_logged(maker);
        }
    }

    /// Notes the positions of points that are about to join `open` or the logged tail: to be called before they do. `done` is how many
    /// runs before them have been appended and are still in `waiting`.
    fn mark_appended(&mut self, first_lsn: Lsn, end_lsn: Lsn, done: usize) {
        if self.appended_points() + done == 0 {
            self.encoded.first_lsn = first_lsn;
        }
        self.encoded.end_lsn = end_lsn;
    }

    /// How many points are in neither a run nor a frame yet.
    pub(crate) fn tail_points(&self) -> usize {
        self.tail.len() - self.logged
    }

    /// Those points.
    pub(super) fn tail(&self) -> &[Entry] {
        &self.tail[self.logged..]
    }

    /// Points that are in a frame and neither sealed nor in a block.
    pub(crate) fn appended_points(&self) -> usize {
        self.encoded.open.points() + self.logged
    }

    /// Points in memory.
    pub(crate) fn points(&self) -> usize {
        let sealed: usize = self.encoded.sealed.iter().map(|sealed| sealed.runs.points()).sum();
        sealed + self.encoded.open.points() + self.encoded.waiting.points() + self.tail.len()
    }

    /// Appends what waits for the log, run by run. When the log has no room, and after an error, the rest still waits.
    pub(crate) fn append_waiting(
        &mut self,
        maker: &mut RunMaker,
        append: &mut AppendBatch,
    ) -> Result<Drained> {
        let (mut outcome, mut done) = (Ok(Drained::All), 0);
        while done < self.encoded.waiting.len() {
            match append(&Batch::of_run(self.tag, &self.encoded.waiting.get(done))) {
                Ok(Append::Appended { first_lsn, end_lsn }) => {
                    self.mark_appended(first_lsn, end_lsn, done);
                    done += 1;
                    continue;
                }
                Ok(Append::NoRoom { frame_bytes }) => outcome = Ok(Drained::NeedsRoom { frame_bytes }),
                Err(error) => outcome = Err(error),
            }
            break;
        }
        let Encoded { open, waiting, .. } = &mut *self.encoded;
        let before = (open.points(), open.bytes());
        open.take_first(waiting, done);
        maker.waiting_points -= (open.points() - before.0) as i64;
        maker.appended_bytes += (open.bytes() - before.1) as i64;
        if plant::on(Bug::W18) {
            maker.waiting_points -= waiting.points() as i64;
            *waiting = Runs::default();
        }
        outcome
    }

    /// Whether the tail is worth a frame and a run of its own.
    pub(super) fn tail_is_long(&self, batch_points: usize) -> bool {
        2 * self.tail_points() >= batch_points
    }

    /// Whether the background step should append the tail: it is at least half a batch, or an earlier step saw it.
    pub(crate) fn tail_is_due(&mut self, batch_points: usize) -> bool {
        if self.tail_points() == 0 {
            return false;
        }
        let is_old = std::mem::replace(&mut self.tail_is_old, true) && !plant::on(Bug::W22);
        is_old || self.tail_is_long(batch_points)
    }

    /// Makes the appended part immutable. `false` when there is none.
    pub(crate) fn seal(&mut self, maker: &mut RunMaker) -> bool {
        if !plant::on(Bug::B7) {
            self.encode_logged(maker);
        }
        if self.encoded.open.points() == 0 {
            return false;
        }
        let open = &mut self.encoded.open;
        let runs = if plant::on(Bug::F11) { open.clone() } else { std::mem::take(open) };
        if self.tail.is_empty() {
            // One of many slow tags perhaps: it needs the memory in a while only.
            self.tail = Vec::new();
        }
        self.encoded.sealed.push(Arc::new(Sealed {
            tag: self.tag,
            runs,
            first_lsn: self.encoded.first_lsn,
            end_lsn: self.encoded.end_lsn,
        }));
        true
    }

    /// Whether one more batch might not fit: a block of 4,096 points and one of 4 cost more than one of 4,000.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        let points = self.appended_points();
        points + limits.batch_points > limits.block_points && 2 * points >= limits.block_points
    }

    /// Seals if one more batch might not fit.
    pub(super) fn seal_if_full(&mut self, limits: &Limits, maker: &mut RunMaker) -> bool {
        self.is_full(limits) && self.seal(maker)
    }

    /// The sealed part, oldest first.
    pub(crate) fn sealed(&self) -> &[Arc<Sealed>] {
        &self.encoded.sealed
    }

    /// Drops sealed points that a published version names. `false` if they are gone already.
    pub(crate) fn release(&mut self, flushed: &Arc<Sealed>) -> bool {
        let before = self.encoded.sealed.len();
        self.encoded.sealed.retain(|sealed| !Arc::ptr_eq(sealed, flushed));
        self.encoded.sealed.len() < before
    }

    /// The position of the oldest point at or behind `from` that is in a frame and in no block.
    pub(crate) fn first_unflushed(&self, from: Lsn) -> Option<Lsn> {
        let sealed = self.encoded.sealed.iter().map(|sealed| sealed.first_lsn).find(|first| *first >= from);
        let open = if plant::on(Bug::B3) { self.encoded.open.points() } else { self.appended_points() };
        sealed.or((open > 0).then_some(self.encoded.first_lsn))
    }

    /// The latest time of any of its points.
    pub(crate) fn latest_ts(&self) -> Option<i64> {
        let sealed = self.encoded.sealed.iter().map(|sealed| &sealed.runs);
        let runs = sealed.chain([&self.encoded.open, &self.encoded.waiting]);
        runs.filter_map(Runs::latest_ts).max().max(self.tail.iter().map(|entry| entry.ts_us).max())
    }

    /// What a query of this range has to look at.
    pub(crate) fn recent(&self, range: &impl RangeBounds<i64>) -> Recent {
        Recent {
            sealed: self
                .encoded
                .sealed
                .iter()
                .filter(|sealed| sealed.runs.overlaps(range))
                .cloned()
                .collect(),
            unsealed: [&self.encoded.open, &self.encoded.waiting].map(|runs| {
                // Nearly always there is nothing to copy.
                if runs.overlaps(range) { runs.clone() } else { Runs::default() }
            }),
            tail: self.tail.iter().filter(|entry| range.contains(&entry.ts_us)).copied().collect(),
        }
    }
}

impl Recent {
    /// Points, or some more.
    pub(crate) fn points(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|sealed| sealed.runs.points()).sum();
        sealed + self.unsealed.iter().map(Runs::points).sum::<usize>() + self.tail.len()
    }

    /// Calls `each` with the points in `range`, in the order of their acceptance.
    pub(crate) fn for_each(&self, range: &impl RangeBounds<i64>, mut each: impl FnMut(Entry)) {
        self.sealed.iter().for_each(|sealed| sealed.runs.for_each(range, &mut each));
        self.unsealed.iter().for_each(|runs| runs.for_each(range, &mut each));
        self.tail.iter().for_each(|entry| each(*entry));
    }
}
