//! The tag table of one stream: buffers by tag, in shards with a lock each, and lanes in front of them.

use super::lane::{Lane, Lanes};
use super::limits::Limits;
use super::marks::Marks;
use super::shard::{Inbound, Scope, Shard};
use super::tag::{RunMaker, TagBuffer};
use super::{Recent, Sealed};
use crate::codec::run::Run;
use crate::config::Config;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::point::{Entry, Point, TagId};
use crate::sync::{Arc, AtomicU64, Guard, IS_CHECKED, Mutex, Ordering, Rank};
use rustc_hash::FxHashMap;
use std::ops::RangeBounds;
use std::slice;

/// A long call lets go of its lane after this many runs: who reads or syncs may be waiting for it.
const RUNS_HELD: usize = if IS_CHECKED { 2 } else { 512 };
/// Logged points in the lanes are much from this fraction, a fourth, of one inbox for each shard on.
const MUCH_LOGGED_SHARE: usize = 4;

/// On cache lines of its own: writers of one shard do not slow those of its neighbour.
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

/// The tag buffers of one stream.
pub(crate) struct Buffers {
    pub(super) shards: Box<[Padded<Mutex<Shard>>]>,
    /// Points that are in no buffer yet; none wait if the inboxes have no room.
    pub(super) lanes: Option<Lanes>,
    /// Shards that have points which are in no frame.
    pub(super) unlogged: Marks,
    /// Those that have runs which are in none.
    pub(super) waiting: Marks,
    pub(super) limits: Limits,
    /// Sealed buffers in all shards.
    sealed: AtomicU64,
    /// Bytes of what is in frames and in no block, in all shards and lanes.
    pub(super) bytes: AtomicU64,
    /// Points in frames that wait in the lanes.
    pub(super) logged_in_lanes: AtomicU64,
    /// Points that are encoded and not in the log yet. Changed under the lock of a shard, so that what is taken off
    /// has been added.
    backlog: Padded<AtomicU64>,
}

impl Buffers {
    pub(crate) fn new(config: &Config) -> Buffers {
        let shards = config.stream_shards();
        let limits = Limits::new(config, shards);
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

    /// Accepts the run `points` and, if it is short, the short runs behind it that belong into the same lane, up to `RUNS_HELD` under one
    /// lock. Returns the next run, which is not accepted yet, and whether the backlog, or the memory for what is in frames, has grown.
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
    pub(super) fn take_in(&self, lane: &mut Lane, index: usize, which: Inbound) -> bool {
        let (inbox, room) = lane.inbox(index);
        if inbox.len() == 0 {
            return false;
        }
        let logged = inbox.logged().0.len();
        let mut shard = self.lock_at(index);
        shard.take_in(inbox, which, room, &self.limits);
        inbox.note_tags(shard.tags.len(), self.limits.inbox_points);
        self.logged_in_lanes.fetch_sub(logged as u64, Ordering::Relaxed);
        lane.unmark_if_logged(index);
        self.count(index, &mut shard)
    }

    /// Makes room in an inbox that is full. If at least half of it is logged only that goes to the buffers, and the rest can still be
    /// logged from here; otherwise everything goes.
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
        inbox_points > 0
            && self.logged_in_lanes.load(Ordering::Relaxed) >= inbox_points.div_ceil(MUCH_LOGGED_SHARE) as u64
    }

    /// Whether the count of what is logged in the lanes is right, and which inboxes have something that is not.
    #[cfg(test)]
    pub(super) fn knows_its_lanes(&self) -> bool {
        let (mut logged, mut marks_are_right) = (0, true);
        for mut lane in self.lanes.iter().flat_map(Lanes::each_used) {
            for shard in 0..self.shards.len() {
                let is_marked = lane.next_unlogged(shard) == Some(shard);
                let (inbox, _) = lane.inbox(shard);
                logged += inbox.logged().0.len() as u64;
                marks_are_right &= is_marked != inbox.unlogged().is_empty();
            }
        }
        marks_are_right && logged == self.logged_in_lanes.load(Ordering::Relaxed)
    }

    /// Brings the counts and the marks of all shards up to date with a locked one. Returns whether the backlog, or the memory for what is in frames, has become more.
    pub(super) fn count(&self, index: usize, shard: &mut Shard) -> bool {
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

    /// The oldest position that is in a frame and will still be in no block once `flushing` has been flushed, which has of each tag the
    /// oldest buffer first.
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
