//! One independently locked part of the tag table.

use super::group::{are_several, group_by_tag};
use super::lane::Inbox;
use super::limits::Limits;
use super::short::{Appended, ShortTails};
use super::table::TagTable;
use super::tag::{AppendBatch, Drained, RunMaker, Sealed, TagBuffer};
use crate::error::Result;
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::point::{Point, TagId};
use crate::sync::Arc;

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

/// What is taken out of an inbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inbound {
    /// What is in frames.
    Logged,
    All,
}

/// One independently locked part of the tag table.
#[derive(Default)]
pub(crate) struct Shard {
    pub(super) tags: TagTable,
    /// Every tag with a tail or a run for the log, once, by its place in the table, in the order in which they got it. A tag
    /// that has nothing left stays on it until the list is next gone through.
    pub(super) unlogged: Vec<u32>,
    /// Likewise every tag that has a run for the log.
    pub(super) waiting: Vec<u32>,
    pub(super) maker: RunMaker,
    /// Buffers that have been sealed and are not in the count of all shards yet.
    pub(super) newly_sealed: u64,
}

impl Shard {
    /// Whether the tag has a buffer already: for the planted bug C6.
    pub(crate) fn has(&self, tag: TagId) -> bool {
        self.tags.get(tag).is_some()
    }

    /// Gives a tag an empty buffer, whatever it had: for the planted bug C6.
    pub(crate) fn make(&mut self, tag: TagId) {
        *self.tags.get_or_make(tag).1 = TagBuffer::new(tag);
    }

    /// Brings the points of an inbox into the buffers of their tags: those that are logged, or all.
    pub(super) fn take_in(
        &mut self,
        inbox: &mut Inbox,
        which: Inbound,
        room: &mut Vec<Point>,
        limits: &Limits,
    ) {
        let (logged, first_lsn, end_lsn) = inbox.logged();
        if !logged.is_empty() {
            let logged_max = limits.logged_max(self.tags.len());
            let mut full = Vec::new();
            let grouped = if inbox.is_grouped() { logged } else { self.by_tag(logged, room) };
            for points in grouped.chunk_by(|a, b| a.tag == b.tag) {
                let (place, buffer) = self.tags.get_or_make(points[0].tag_id());
                // A run of them is no longer than one of a batch.
                for points in points.chunks(limits.batch_points) {
                    buffer.accept_logged(points, (first_lsn, end_lsn), logged_max, &mut self.maker);
                }
                if buffer.is_full(limits) {
                    full.push(place);
                }
            }
            // Not before all are there: any of them may be anywhere before `end_lsn`.
            for place in full {
                self.newly_sealed += u64::from(self.tags.at(place).seal_if_full(limits, &mut self.maker));
            }
        }
        if which == Inbound::Logged {
            inbox.drop_logged();
            return;
        }
        for points in self.by_tag(inbox.unlogged(), room).chunk_by(|a, b| a.tag == b.tag) {
            self.push(points[0].tag_id(), points, limits);
        }
        inbox.clear();
    }

    /// Points tag by tag, if several of a tag are there: worth what it costs to find them. Else as they stand.
    fn by_tag<'a>(&self, points: &'a [Point], room: &'a mut Vec<Point>) -> &'a [Point] {
        if are_several(points.len(), self.tags.len()) {
            group_by_tag(points, room);
            room
        } else {
            points
        }
    }

    pub(super) fn push(&mut self, tag: TagId, points: &[Point], limits: &Limits) {
        let (place, buffer) = self.tags.get_or_make(tag);
        let has_run = buffer.accept(points, limits.batch_points, &mut self.maker);
        if !std::mem::replace(&mut buffer.listed, true) {
            self.unlogged.push(place);
        }
        if has_run && !std::mem::replace(&mut buffer.listed_waiting, true) {
            self.waiting.push(place);
        }
    }

    /// Appends the runs that wait for the log.
    pub(super) fn append_waiting(&mut self, limits: &Limits, append: &mut AppendBatch) -> Result<Drained> {
        let (tags, maker, sealed) = (&mut self.tags, &mut self.maker, &mut self.newly_sealed);
        let mut outcome = Ok(Drained::All);
        self.waiting.retain(|place| {
            let buffer = tags.at(*place);
            if matches!(outcome, Ok(Drained::All)) && buffer.waiting_points() > 0 {
                outcome = buffer.append_waiting(maker, append);
                *sealed += u64::from(buffer.seal_if_full(limits, maker));
            }
            buffer.listed_waiting = buffer.waiting_points() > 0;
            buffer.listed_waiting
        });
        outcome
    }

    /// Appends the runs that wait, makes runs of long tails and appends these, too, and hands the short tails to `short`.
    pub(super) fn append_tails(
        &mut self,
        which: Tails,
        limits: &Limits,
        append: &mut AppendBatch,
        short: &mut ShortTails,
    ) -> Result<Drained> {
        for place in &self.unlogged {
            let buffer = self.tags.at(*place);
            let wanted = which == Tails::All || buffer.tail_is_due(limits.batch_points);
            if wanted && buffer.tail_is_long(limits.batch_points) {
                buffer.encode_tail(&mut self.maker);
            }
            if buffer.waiting_points() > 0 {
                let drained = buffer.append_waiting(&mut self.maker, append)?;
                self.newly_sealed += u64::from(buffer.seal_if_full(limits, &mut self.maker));
                if drained != Drained::All {
                    return Ok(drained);
                }
            }
            if wanted && buffer.tail_points() > 0 {
                let drained = short.add(buffer.tag(), buffer.tail(), append)?;
                if drained != Drained::All {
                    return Ok(drained);
                }
            }
        }
        Ok(Drained::All)
    }

    /// Ends what [`append_tails`](Shard::append_tails) began: `appended` are the short tails that are in frames now, those of this
    /// shard first and in the order in which it handed them out. What has nothing left for the log leaves the list.
    pub(super) fn note_appended(&mut self, which: Tails, limits: &Limits, appended: &mut Appended) {
        let logged_max = limits.logged_max(self.tags.len());
        let (tags, maker, sealed) = (&mut self.tags, &mut self.maker, &mut self.newly_sealed);
        self.unlogged.retain(|place| {
            let buffer = tags.at(*place);
            if let Some((share, first_lsn)) = appended.next_if(|(share, _)| share.tag == buffer.tag()) {
                assert_eq!(
                    buffer.tail_points(),
                    share.count as usize,
                    "the shard has been locked all the time"
                );
                buffer.mark_logged(first_lsn, logged_max, maker);
                *sealed += u64::from(buffer.seal_if_full(limits, maker));
            }
            let waits = buffer.waiting_points() > 0;
            // The run of a tail for which the log had no room.
            if waits && !std::mem::replace(&mut buffer.listed_waiting, true) {
                self.waiting.push(*place);
            }
            let left = waits || buffer.tail_points() > 0;
            buffer.listed = left && !(plant::on(Bug::B1) && which == Tails::Due);
            buffer.listed
        });
    }

    pub(super) fn seal(&mut self, scope: Scope, out: &mut Vec<Arc<Sealed>>) {
        for buffer in self.tags.iter_mut() {
            let wanted = match scope {
                Scope::All => true,
                Scope::Below(lsn) => buffer.first_unflushed(Lsn(0)).is_some_and(|first| first < lsn),
                Scope::Sealed => !buffer.sealed().is_empty(),
            };
            if wanted {
                if scope != Scope::Sealed {
                    self.newly_sealed += u64::from(buffer.seal(&mut self.maker));
                }
                // All of a tag's sealed buffers, oldest first: its blocks must not get ahead of each other.
                out.extend_from_slice(buffer.sealed());
            }
        }
    }
}
