//! The tag table of one stream: buffers by tag, in shards with a lock each.

use super::lane::{Inbox, Lane, Lanes};
use super::marks::Marks;
use super::short::{self, Appended, ShortTails};
use super::table::TagTable;
use super::tag::{AppendBatch, RunMaker};
use super::{Drained, Recent, Sealed, TagBuffer};
use crate::codec::run::Run;
use crate::config::Config;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::point::{Entry, Point, TagId};
use crate::sync::{Arc, AtomicU64, Guard, Mutex, Ordering, Rank};
use rustc_hash::FxHashMap;
use std::ops::RangeBounds;
use std::slice;

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
    tags: TagTable,
    /// Every tag with a tail or a run for the log, once, by its place in the table, in the order in which they got it. A tag
    /// that has nothing left stays on it until the list is next gone through.
    unlogged: Vec<u32>,
    /// Likewise every tag that has a run for the log.
    waiting: Vec<u32>,
    maker: RunMaker,
    /// Buffers that have been sealed and are not in the count of all shards yet.
    newly_sealed: u64,
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
    fn take_in(&mut self, inbox: &mut Inbox, which: Inbound, room: &mut Vec<Point>, limits: &Limits) {
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

    fn push(&mut self, tag: TagId, points: &[Point], limits: &Limits) {
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
    fn append_waiting(&mut self, limits: &Limits, append: &mut AppendBatch) -> Result<Drained> {
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

    /// Likewise, and makes runs of long tails for it, and hands out the short ones.
    fn append_tails(
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
    fn note_appended(&mut self, which: Tails, limits: &Limits, appended: &mut Appended) {
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

    fn seal(&mut self, scope: Scope, out: &mut Vec<Arc<Sealed>>) {
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

#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) batch_points: usize,
    pub(super) block_points: usize,
    pub(super) inbox_points: usize,
    /// Points of one tag that a call may put into an inbox.
    pub(super) few: usize,
    /// Points of short tails in one frame.
    pub(super) mixed_points: usize,
    /// Points in frames that the tails of a shard shall keep at most.
    logged_points: usize,
}

impl Limits {
    /// Points in frames that a tail keeps, in a shard with so many tags.
    fn logged_max(&self, tags: usize) -> usize {
        (self.logged_points / tags.max(1)).clamp(LOGGED_MIN, LOGGED_MAX).min(self.batch_points)
    }
}

/// A part of an append.
enum Pass {
    Tails(Tails),
    Lanes,
}

/// What is taken out of an inbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inbound {
    /// What is in frames.
    Logged,
    All,
}

/// A call with at most such a part of an inbox goes there; what is more has its own cache misses to itself.
const INBOX_SHARE: usize = 8;
/// A long call lets go of its lane after so many runs: who reads or syncs may be waiting for it.
const RUNS_HELD: usize = 512;
/// So many logged points of a tail, at most and at least, are made a run: the more at a time, the less each costs. As they
/// are each takes 24 bytes, and a run takes some 57 and two a point, so with many tags it is sooner.
const LOGGED_MAX: usize = 50;
const LOGGED_MIN: usize = 12;
/// Such a part of the memory for points is for those that tails keep: some 2 MB, as a processor's cache has.
const LOGGED_SHARE: u64 = 32;

/// Such a part of the inboxes is much.
const MUCH: usize = 4;

/// Points of a tag in an inbox, on average, from which on they are brought together.
const GROUPED_MIN: usize = 3;
/// Places that the sort can tell apart.
const BINS: usize = 64;

/// Whether there are so many points of so many tags that it is worth the while to bring those of one tag together.
pub(super) fn are_several(points: usize, tags: usize) -> bool {
    tags > 1 && points >= GROUPED_MIN * tags
}

/// Brings points of one tag together, in the order in which they are, so that their buffer is looked up once for all of them:
/// nearly always, as two tags may share a bin.
pub(super) fn group_by_tag(points: &[Point], grouped: &mut Vec<Point>) {
    // The lower bits of the hash are the same in all tags of a shard.
    let bin = |point: &Point| (point.tag_id().hash() >> 20) as usize % BINS;
    let mut ends = [0; BINS];
    points.iter().for_each(|point| ends[bin(point)] += 1);
    let mut before = 0;
    for end in &mut ends {
        before += std::mem::replace(end, before);
    }
    grouped.resize(points.len(), Point::new(0, 0, 0.0));
    for point in points {
        let end = &mut ends[bin(point)];
        grouped[*end] = *point;
        *end += 1;
    }
}

/// On cache lines of its own: writers of one shard do not slow those of its neighbour.
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

/// The tag buffers of one stream.
pub(crate) struct Buffers {
    shards: Box<[Padded<Mutex<Shard>>]>,
    /// Points that are in no buffer yet; none wait if the inboxes have no room.
    lanes: Option<Lanes>,
    /// Shards that have points which are in no frame.
    unlogged: Marks,
    /// Those that have runs which are in none.
    waiting: Marks,
    limits: Limits,
    /// Sealed buffers in all shards.
    sealed: AtomicU64,
    /// Bytes of runs that are in frames and in no block, in all shards.
    bytes: AtomicU64,
    /// Points in frames that wait in the lanes.
    logged_in_lanes: AtomicU64,
    /// Points that are encoded and not in the log yet. Changed under the lock of a shard, so that what is taken off
    /// has been added.
    backlog: Padded<AtomicU64>,
}

impl Buffers {
    pub(crate) fn new(config: &Config) -> Buffers {
        let shards = config.stream_shards();
        let logged_bytes = config.stream_buffer_bytes() / LOGGED_SHARE;
        let limits = Limits {
            batch_points: config.batch_points,
            block_points: config.block_points,
            inbox_points: config.inbox_points,
            few: config.inbox_points.div_ceil(INBOX_SHARE),
            mixed_points: config.mixed_points(),
            logged_points: logged_bytes as usize / size_of::<Entry>() / shards,
        };
        Buffers {
            shards: (0..shards).map(|_| Padded(Mutex::new(Rank::Shard, Shard::default()))).collect(),
            lanes: (config.inbox_points > 0).then(|| Lanes::new(shards, &limits)),
            unlogged: Marks::new(shards),
            waiting: Marks::new(shards),
            limits,
            sealed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            logged_in_lanes: AtomicU64::new(0),
            backlog: Padded(AtomicU64::new(0)),
        }
    }

    pub(super) fn index(&self, tag: TagId) -> usize {
        // The stream was chosen by the upper bits of the hash, the shard is by the lower ones.
        tag.hash() as usize & (self.shards.len() - 1)
    }

    /// Waits for every writer that is in a lane or a shard now: whoever comes later sees what was done before this call. A pass does
    /// not do that, since it leaves out the shards that nobody has marked yet.
    pub(crate) fn wait_for_writers(&self) {
        self.lanes.iter().for_each(Lanes::wait_for_writers);
        self.shards.iter().for_each(|shard| drop(shard.0.lock()));
    }

    /// The shard of a tag, locked.
    pub(crate) fn lock(&self, tag: TagId) -> Guard<'_, Shard> {
        self.lock_at(self.index(tag))
    }

    pub(crate) fn lock_at(&self, index: usize) -> Guard<'_, Shard> {
        self.shards[index].0.lock()
    }

    /// Accepts a point. As [`accept`](Buffers::accept), which has more to look at: nearly every single point belongs into an inbox of the
    /// thread's own lane, and there is room.
    #[inline]
    pub(crate) fn accept_one(
        &self,
        point: &Point,
        admit: impl Fn() -> Result<()>,
        grown: impl Fn(),
    ) -> Result<()> {
        let (tag, shard) = (point.tag_id(), self.index(point.tag_id()));
        if let Some(mut lane) = self.lanes.as_ref().and_then(|lanes| lanes.own_for(tag))
            && lane.room(shard) > self.limits.few
        {
            admit()?;
            lane.push(shard, slice::from_ref(point));
            return Ok(());
        }
        self.accept([slice::from_ref(point)], admit, grown)
    }

    /// Accepts runs, each of points of one tag: of each run all or none. `admit` is asked under the locks that
    /// [`wait_for_writers`](Buffers::wait_for_writers) takes. `grown` is called when the backlog or the memory in use has
    /// become more, on the way and at the end, under none.
    pub(crate) fn accept<'a>(
        &self,
        runs: impl IntoIterator<Item = &'a [Point]>,
        admit: impl Fn() -> Result<()>,
        grown: impl Fn(),
    ) -> Result<()> {
        let mut runs = runs.into_iter();
        let mut next = runs.next();
        while let Some(points) = next {
            let has_grown;
            (next, has_grown) = match &self.lanes {
                Some(lanes) => self.accept_in_lane(lanes, points, &mut runs, &admit)?,
                None => {
                    let shard = self.index(points[0].tag_id());
                    let mut guard = self.lock_at(shard);
                    admit()?;
                    (runs.next(), self.push_in(shard, &mut guard, points))
                }
            };
            if has_grown {
                grown();
            }
        }
        Ok(())
    }

    /// Accepts a run, and if it has few points those behind it that belong to the same lane, too, as many as shall share its lock. Returns
    /// the first one that is left, and whether the backlog, or what is in frames, has become more.
    fn accept_in_lane<'a>(
        &self,
        lanes: &Lanes,
        mut points: &'a [Point],
        runs: &mut impl Iterator<Item = &'a [Point]>,
        admit: &impl Fn() -> Result<()>,
    ) -> Result<(Option<&'a [Point]>, bool)> {
        let (tag, few) = (points[0].tag_id(), self.limits.few);
        let shard = self.index(tag);
        let mut has_grown = false;
        let let_go = |lane: &mut Lane| has_grown |= self.take_in(lane, shard, Inbound::All);
        let own = Lanes::own();
        let mut guard = lanes.lane_for((tag, shard), own, let_go);
        admit()?;
        if points.len() > few {
            // What came before them. What comes meanwhile waits for the lane: a sync that logs it there must not find these behind it.
            has_grown |= self.take_in(&mut guard, shard, Inbound::All);
            let _lane = (!plant::on(Bug::T6)).then_some(guard);
            has_grown |= self.push_in(shard, &mut self.lock_at(shard), points);
            return Ok((runs.next(), has_grown));
        }
        let lane = &mut *guard;
        let mut next = None;
        for _ in 0..RUNS_HELD {
            let shard = self.index(points[0].tag_id());
            lane.push(shard, points);
            if lane.room(shard) < few {
                has_grown |= self.make_room(lane, shard);
            }
            next = runs.next();
            let follows = |run: &&[Point]| run.len() <= few && lanes.is_found(own, lane, run[0].tag_id());
            let Some(run) = next.filter(follows) else { break };
            points = run;
        }
        Ok((next, has_grown))
    }

    /// Accepts points of one tag, behind all of it that wait in a lane. Returns whether the backlog has become more.
    fn push_in(&self, index: usize, shard: &mut Shard, points: &[Point]) -> bool {
        shard.push(points[0].tag_id(), points, &self.limits);
        self.count(index, shard)
    }

    /// Brings what waits in a lane for a shard into the buffers there. Returns whether the backlog, or what is in frames, has become more.
    fn take_in(&self, lane: &mut Lane, index: usize, which: Inbound) -> bool {
        let (inbox, room) = lane.inbox(index);
        if inbox.len() == 0 {
            return false;
        }
        let logged = inbox.logged().0.len();
        let mut shard = self.lock_at(index);
        shard.take_in(inbox, which, room, &self.limits);
        inbox.note_tags(shard.tags.len(), self.limits.inbox_points);
        self.logged_in_lanes.fetch_sub(logged as u64, Ordering::Relaxed);
        self.count(index, &mut shard)
    }

    /// Likewise, of an inbox that is full. If half of it is logged that is enough: the rest may still be logged from there.
    // Not in the loop that asks for it, point by point: that shall stay small.
    #[inline(never)]
    fn make_room(&self, lane: &mut Lane, index: usize) -> bool {
        let (inbox, _) = lane.inbox(index);
        let half = 2 * inbox.logged().0.len() >= inbox.len();
        self.take_in(lane, index, if half { Inbound::Logged } else { Inbound::All })
    }

    /// Brings what is logged in the lanes into the buffers, shard by shard, as long as this `goes_on`.
    pub(crate) fn take_in_logged(&self, goes_on: impl Fn() -> bool) {
        let shards = 0..self.shards.len();
        let places = self
            .lanes
            .iter()
            .flat_map(Lanes::used)
            .flat_map(|lane| shards.clone().map(move |shard| (lane, shard)));
        for (lane, shard) in places.take_while(|_| goes_on()) {
            let mut lane = lane.lock();
            if !lane.inbox(shard).0.logged().0.is_empty() {
                self.take_in(&mut lane, shard, Inbound::Logged);
            }
        }
    }

    /// Whether the lanes are so full of what is logged that it is worth to wake somebody who brings it into the buffers.
    pub(crate) fn has_much_logged(&self) -> bool {
        let inbox_points = self.limits.inbox_points * self.shards.len();
        inbox_points > 0 && self.logged_in_lanes.load(Ordering::Relaxed) >= inbox_points.div_ceil(MUCH) as u64
    }

    #[cfg(test)]
    pub(super) fn counts_what_is_logged(&self) -> bool {
        let mut logged = 0;
        for mut lane in self.lanes.iter().flat_map(Lanes::each_used) {
            logged +=
                (0..self.shards.len()).map(|shard| lane.inbox(shard).0.logged().0.len() as u64).sum::<u64>();
        }
        logged == self.logged_in_lanes.load(Ordering::Relaxed)
    }

    /// Appends what waits in the lanes, from there. Where a buffer of a shard has something for the log, which comes first,
    /// what waits for that shard goes to the buffers instead, so that a pass has to follow.
    fn append_lanes(&self, append: &mut AppendBatch) -> Result<Drained> {
        for mut lane in self.lanes.iter().flat_map(Lanes::each_used).skip(plant::on(Bug::T3).into()) {
            let mut short = lane.take_short();
            let drained = self.append_lane(&mut lane, append, &mut short);
            if matches!(drained, Ok(Drained::All)) || plant::on(Bug::B13) {
                lane.note_all_logged();
            }
            // Whatever has come of it, as in `append_some`.
            let mut points = 0;
            for (share, first_lsn) in short.take_appended() {
                let (inbox, _) = lane.inbox(self.index(share.tag));
                inbox.note_logged(share.count as usize, first_lsn);
                points += u64::from(share.count);
            }
            lane.put_back(short);
            self.bytes.fetch_add(points * size_of::<Entry>() as u64, Ordering::Relaxed);
            self.logged_in_lanes.fetch_add(points, Ordering::Relaxed);
            let drained = drained?;
            if drained != Drained::All {
                return Ok(drained);
            }
        }
        Ok(Drained::All)
    }

    fn append_lane(
        &self,
        lane: &mut Lane,
        append: &mut AppendBatch,
        short: &mut ShortTails,
    ) -> Result<Drained> {
        let mut next = 0;
        while let Some(shard) = lane.next_unlogged(next) {
            next = shard + 1;
            let (inbox, _) = lane.inbox(shard);
            // While the lane is locked none of its tags' points come to the shard, so this stays true.
            let others_first = self.unlogged.has(shard) && !plant::on(Bug::B12);
            if others_first || inbox.has_long(self.limits.batch_points.div_ceil(2)) {
                self.take_in(lane, shard, Inbound::All);
            }
            let (inbox, room) = lane.inbox(shard);
            inbox.group(room);
            for points in inbox.unlogged().chunk_by(|a, b| a.tag == b.tag) {
                for points in points.chunks(short.points_max()) {
                    let drained = short.add(points[0].tag_id(), points, append)?;
                    if drained != Drained::All {
                        return Ok(drained);
                    }
                }
            }
        }
        short.append(append)
    }

    /// Brings the counts and the marks of all shards up to date with a locked one. Returns whether the backlog, or the memory for what is in frames, has become more.
    fn count(&self, index: usize, shard: &mut Shard) -> bool {
        self.unlogged.put(index, !shard.unlogged.is_empty());
        self.waiting.put(index, !shard.waiting.is_empty());
        let (points, bytes) = shard.maker.take_counts();
        if bytes != 0 {
            // Less, if many points have become a run.
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        if points != 0 {
            self.backlog.0.fetch_add(points as u64, Ordering::AcqRel);
        }
        let sealed = std::mem::take(&mut shard.newly_sealed);
        if plant::on(Bug::C5) {
            let before = self.sealed.load(Ordering::Relaxed);
            self.sealed.store(before + sealed, Ordering::Relaxed);
        } else if sealed > 0 {
            self.sealed.fetch_add(sealed, Ordering::Relaxed);
        }
        points > 0 || bytes > 0
    }

    /// Points that are encoded and not in the log yet.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog.0.load(Ordering::Acquire)
    }

    /// Appends what this call wants, and seals the buffers that have grown to a block. `make_room` is called, with no lock held,
    /// when the log has none for a frame of so many bytes.
    ///
    /// # Errors
    /// Those of the two functions; what has not been appended then is where it was.
    pub(crate) fn append(
        &self,
        which: Tails,
        append: &mut AppendBatch,
        make_room: impl Fn(u64) -> Result<()>,
    ) -> Result<()> {
        // Whole batches first: a pass over short tails locks several shards at a time, and should have little to do there. A sync
        // goes through the tails before the lanes, so that what waits in these can be logged there.
        let passes = match which {
            Tails::Full => &[Pass::Tails(Tails::Full)][..],
            Tails::Due => &[Pass::Tails(Tails::Full), Pass::Lanes, Pass::Tails(Tails::Due)],
            Tails::All => {
                &[Pass::Tails(Tails::Full), Pass::Tails(Tails::All), Pass::Lanes, Pass::Tails(Tails::All)]
            }
        };
        for pass in passes {
            let mut from = 0;
            while let Drained::NeedsRoom { frame_bytes } = match pass {
                Pass::Tails(which) => self.append_tails(*which, &mut from, append)?,
                Pass::Lanes => self.append_lanes(append)?,
            } {
                make_room(frame_bytes)?;
            }
        }
        Ok(())
    }

    /// Appends what the shards from `from` on have for the log. Says in `from` how far it has come.
    fn append_tails(&self, which: Tails, from: &mut usize, append: &mut AppendBatch) -> Result<Drained> {
        match which {
            Tails::Full => self.append_waiting(from, append),
            Tails::All | Tails::Due => self.append_all(which, from, append),
        }
    }

    fn append_waiting(&self, from: &mut usize, append: &mut AppendBatch) -> Result<Drained> {
        while let Some(index) = self.waiting.next(*from) {
            *from = index;
            let mut shard = self.lock_at(index);
            let drained = shard.append_waiting(&self.limits, append);
            self.count(index, &mut shard);
            let drained = drained?;
            if drained != Drained::All {
                return Ok(drained);
            }
            *from += 1;
        }
        Ok(Drained::All)
    }

    fn append_all(&self, which: Tails, from: &mut usize, append: &mut AppendBatch) -> Result<Drained> {
        let mut short = ShortTails::new(self.limits.mixed_points);
        while self.unlogged.next(*from).is_some() {
            let drained = self.append_some(which, from, append, &mut short)?;
            if drained != Drained::All {
                return Ok(drained);
            }
        }
        Ok(Drained::All)
    }

    /// The next shards, as many as it takes for a frame of short tails.
    fn append_some(
        &self,
        which: Tails,
        from: &mut usize,
        append: &mut AppendBatch,
        short: &mut ShortTails,
    ) -> Result<Drained> {
        let (mut held, mut outcome, mut next) = (Vec::new(), Ok(Drained::All), *from);
        while matches!(outcome, Ok(Drained::All)) && held.len() < short::SHARDS_MAX && !short.is_enough() {
            let Some(index) = self.unlogged.next(next) else { break };
            let mut shard = self.shards[index].0.lock_next(index);
            outcome = shard.append_tails(which, &self.limits, append, short);
            held.push((index, shard));
            next = index + 1;
            if short.is_empty() {
                break;
            }
        }
        if plant::on(Bug::C12) {
            held = self.lock_again(held);
        }
        if matches!(outcome, Ok(Drained::All)) {
            outcome = short.append(append);
        }
        if matches!(outcome, Ok(Drained::All)) {
            *from = if plant::on(Bug::B9) && held.len() == short::SHARDS_MAX { usize::MAX } else { next };
        }
        // Whatever has come of it: what has been appended has its position before anybody else looks.
        let mut appended = short.take_appended();
        for (index, mut shard) in held {
            shard.note_appended(which, &self.limits, &mut appended);
            self.count(index, &mut shard);
        }
        outcome
    }

    /// Locks shards that are locked already: for the planted bug C12.
    fn lock_again<'a>(&'a self, held: Vec<(usize, Guard<'a, Shard>)>) -> Vec<(usize, Guard<'a, Shard>)> {
        let indices: Vec<_> = held.into_iter().map(|(index, _)| index).collect();
        indices.into_iter().map(|index| (index, self.shards[index].0.lock_next(index))).collect()
    }

    /// Takes in a run that is in the log already: recovery.
    pub(crate) fn replay(&self, tag: TagId, run: &Run, first_lsn: Lsn, end_lsn: Lsn) {
        self.replay_in(tag, |buffer, maker, _| buffer.replay(run, first_lsn, end_lsn, maker));
    }

    /// Likewise a few points that share a frame with those of other tags.
    pub(crate) fn replay_few(&self, tag: TagId, entries: &[Entry], first_lsn: Lsn) {
        self.replay_in(tag, |buffer, maker, tags| {
            buffer.replay_few(entries, first_lsn, self.limits.logged_max(tags), maker);
        });
    }

    /// `replay` is told how many tags the shard has so far.
    fn replay_in(&self, tag: TagId, replay: impl FnOnce(&mut TagBuffer, &mut RunMaker, usize)) {
        let mut shard = self.lock(tag);
        let Shard { tags, maker, .. } = &mut *shard;
        let known = tags.len();
        replay(tags.get_or_make(tag).1, maker, known);
        self.count(self.index(tag), &mut shard);
    }

    /// Sealed buffers that wait for a flush.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Bytes of points in memory that are in frames. What waits for the log is bounded by the backlog's limit.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Seals what a flush of this scope takes, and returns it: by tag, and of one tag the oldest first.
    pub(crate) fn seal(&self, scope: Scope) -> Vec<Arc<Sealed>> {
        if !plant::on(Bug::B11) {
            // It keeps segments busy, too.
            self.take_in_logged(|| true);
        }
        let mut sealed = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            let mut shard = shard.0.lock();
            shard.seal(scope, &mut sealed);
            self.count(index, &mut shard);
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
            for buffer in shard.0.lock().tags.iter() {
                let from = flushed_to.get(&buffer.tag()).copied().unwrap_or_default();
                oldest = [oldest, buffer.first_unflushed(from)].into_iter().flatten().min();
            }
        }
        oldest
    }

    /// Drops sealed points that a published version names.
    pub(crate) fn release(&self, flushed: &[Arc<Sealed>]) {
        for sealed in flushed {
            let released =
                self.lock(sealed.tag).tags.get_mut(sealed.tag).is_some_and(|it| it.release(sealed));
            if released {
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
        // Until the shard is locked: nothing may go from there to here in between.
        let lane = self.lanes.as_ref().and_then(|lanes| lanes.find(tag));
        let shard = self.lock(tag);
        let mut recent = shard.tags.get(tag).map(|buffer| buffer.recent(range)).unwrap_or_default();
        if let Some(lane) = lane {
            let in_range = |point: &&Point| range.contains(&point.ts_us);
            recent.tail.extend(lane.of_tag(self.index(tag), tag).filter(in_range).map(Point::entry));
        }
        let _shard = (!plant::on(Bug::R3)).then_some(shard);
        (recent, older())
    }

    /// The latest time of the points of a tag in memory.
    pub(crate) fn latest_ts(&self, tag: TagId) -> Option<i64> {
        let lane = self.lanes.as_ref().and_then(|lanes| lanes.find(tag));
        let in_lane =
            lane.as_ref().and_then(|lane| lane.of_tag(self.index(tag), tag).map(|point| point.ts_us).max());
        in_lane.max(self.lock(tag).tags.get(tag).and_then(TagBuffer::latest_ts))
    }

    /// Tags with points in memory, in no order, some of them twice.
    pub(crate) fn tags(&self) -> Vec<TagId> {
        let mut tags = Vec::new();
        // The way that points go: what has left a lane meanwhile is in its shard.
        for lane in self.lanes.iter().flat_map(Lanes::each_used) {
            tags.extend(lane.all().map(Point::tag_id));
        }
        for shard in &self.shards {
            let shard = shard.0.lock();
            tags.extend(shard.tags.iter().filter(|buffer| buffer.points() > 0).map(TagBuffer::tag));
        }
        tags
    }

    /// Points in memory; some of those that are on their way from a lane to their shard meanwhile count twice.
    pub(crate) fn points(&self) -> u64 {
        let in_lanes: usize =
            self.lanes.iter().flat_map(Lanes::each_used).map(|lane| lane.all().count()).sum();
        let points =
            |shard: &Padded<Mutex<Shard>>| shard.0.lock().tags.iter().map(TagBuffer::points).sum::<usize>();
        (in_lanes + self.shards.iter().map(points).sum::<usize>()) as u64
    }
}
