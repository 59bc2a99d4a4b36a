//! Where the points of small calls wait: a lane for each writer, in it an inbox for each shard.
//!
//! Bringing one point to its tag, of many, is a cache miss or three. In an inbox they wait until so many have come together that
//! some hit the same buffer, and the misses of the others overlap. And a lane is nearly always locked by the same thread, so
//! neither its lock nor its inboxes travel from core to core, as those of a shard do that two threads write to. Its lock is a
//! `SpinMutex`: to unlock an ordinary one costs as much as all else that a point costs here.
//!
//! What a sync finds in an inbox it logs from there, tag by tag if it is worth the while: in their buffers the points are in some
//! hundred places, here they are in one. They stay, *logged*, in front of those that come, until the inbox is full, or until the
//! logger has time for them: while somebody waits for the disk anyway.
//!
//! ```text
//!   inbox of a shard    ▒7 ▒3 ▒7 ▒9 ▒3 ▪7 ▪9        ▒ in frames, ▪ not yet
//! ```
//!
//! Points of one tag must not overtake each other, so all that wait are in one lane, that of the tag's *owner*. Tags with the same
//! bits of their hash share an entry in the table of owners. Every call goes to the lane that is named there, whichever thread
//! makes it: a small one leaves its points, a large one first moves those that wait to their buffer, and its own behind them. An entry is
//! changed only under the lock of the lane that it names, after that lane has moved the points concerned to their buffers. So a
//! thread that holds a lane's lock, and finds that lane in the entry, can rely on it. A lane to which other threads often come hands over the entry.

use super::buffers::Padded;
use super::group::{are_several, group_by_tag};
use super::limits::Limits;
use super::marks::next_mark;
use super::short::ShortTails;
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::point::{Point, TagId};
use crate::sync::{AtomicU8, AtomicU64, IS_CHECKED, Ordering, Rank, SpinGuard, SpinMutex, thread};

/// Lanes. With more writers some share one.
const LANES: usize = 8;
/// Entries of the table of owners, for each shard. Of 100,000 tags in 64 shards one in three shares its entry.
const OWNERS_PER_SHARD: usize = if IS_CHECKED { 4 } else { 4096 };
const NOBODY: u8 = 0;
/// A shard of many tags has an inbox for this many points of each: only then some of them hit the same buffer.
const POINTS_PER_TAG: usize = 2;
/// But for no more than this many times as many as others have.
const GROWTH_MAX: usize = 16;

/// Points for the buffers of one shard, in the order in which they were accepted.
#[derive(Default)]
pub(super) struct Inbox {
    points: Vec<Point>,
    /// This many of the first ones are in frames.
    logged: usize,
    /// Their positions are not before this one; meaningful while there are some.
    first_lsn: Lsn,
    /// All of them are below this one; likewise.
    end_lsn: Lsn,
    /// Those in frames stand tag by tag.
    is_grouped: bool,
    /// Tags of the shard, when it was last seen.
    tags: usize,
    /// Points that it holds then.
    points_max: usize,
}

impl Inbox {
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Those in frames, with where their positions begin and end.
    pub(super) fn logged(&self) -> (&[Point], Lsn, Lsn) {
        (&self.points[..self.logged], self.first_lsn, self.end_lsn)
    }

    /// Whether these stand tag by tag.
    pub(super) fn is_grouped(&self) -> bool {
        self.is_grouped
    }

    pub(super) fn unlogged(&self) -> &[Point] {
        &self.points[self.logged..]
    }

    /// Whether those in no frame are `long` or more for each tag of the shard on average, which is worth a frame of its own for each.
    /// So it is as long as the tags are not known.
    pub(super) fn averages(&self, long: usize) -> bool {
        self.unlogged().len() >= long * self.tags
    }

    /// Sorts those in no frame tag by tag, if there are several of each.
    pub(super) fn group(&mut self, room: &mut Vec<Point>) {
        let is_worth_it = are_several(self.unlogged().len(), self.tags);
        if is_worth_it {
            group_by_tag(self.unlogged(), room);
            self.points.truncate(self.logged);
            self.points.append(room);
        }
        self.is_grouped = is_worth_it && self.logged == 0;
    }

    /// The shard has this many tags: how many points its inbox holds, `inbox_points` at least.
    pub(super) fn note_tags(&mut self, tags: usize, inbox_points: usize) {
        self.tags = tags;
        self.points_max = inbox_points.max((POINTS_PER_TAG * tags).min(GROWTH_MAX * inbox_points));
    }

    /// The next `points` are in a frame.
    fn note_logged(&mut self, points: usize, first_lsn: Lsn) {
        assert!(points <= self.unlogged().len(), "the lane has been locked all the time");
        if self.logged == 0 {
            self.first_lsn = first_lsn;
        }
        self.end_lsn = first_lsn.advance(points as u64);
        self.logged += points;
    }

    /// Those in frames are in their buffers.
    pub(super) fn drop_logged(&mut self) {
        self.points.drain(..self.logged);
        self.logged = 0;
    }

    /// All points are in their buffers.
    pub(super) fn clear(&mut self) {
        self.points.clear();
        self.logged = 0;
    }
}

/// The points of small calls of one writer, by shard.
pub(super) struct Lane {
    number: usize,
    inboxes: Box<[Inbox]>,
    /// A bit for each inbox, set if it has points that are in no frame: with few a sync need not look at all of them.
    unlogged: Box<[u64]>,
    /// To sort one in.
    room: Vec<Point>,
    /// To log them from here.
    short: ShortTails,
    /// Calls with points from others since an entry was handed over.
    of_others: usize,
}

impl Lane {
    /// What waits for a shard, and room to sort it in.
    pub(super) fn inbox(&mut self, shard: usize) -> (&mut Inbox, &mut Vec<Point>) {
        (&mut self.inboxes[shard], &mut self.room)
    }

    /// What a pass gathers points in. It is to be put back: the memory is worth keeping.
    pub(super) fn take_short(&mut self) -> ShortTails {
        let points_max = self.short.points_max();
        std::mem::replace(&mut self.short, ShortTails::new(points_max))
    }

    pub(super) fn put_back(&mut self, short: ShortTails) {
        self.short = short;
    }

    /// Which of the lanes it is.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The first shard at or behind `from` for which points wait that are in no frame.
    pub(super) fn next_unlogged(&self, from: usize) -> Option<usize> {
        next_mark(|at| self.unlogged.get(at).copied(), from)
    }

    /// The next `points` in a shard's inbox are in a frame.
    pub(super) fn note_logged(&mut self, shard: usize, points: usize, first_lsn: Lsn) {
        self.inboxes[shard].note_logged(points, first_lsn);
        self.unmark_if_logged(shard);
    }

    /// Clears the bit of a shard's inbox in which nothing is left for the log.
    pub(super) fn unmark_if_logged(&mut self, shard: usize) {
        if self.inboxes[shard].unlogged().is_empty() {
            self.unlogged[shard / 64] &= !(1 << (shard % 64));
        }
    }

    /// For how many more points the inbox of a shard has room.
    pub(super) fn room(&self, shard: usize) -> usize {
        let Inbox { points, points_max, .. } = &self.inboxes[shard];
        points_max.saturating_sub(points.len())
    }

    /// Adds points of a tag of this shard.
    pub(super) fn push(&mut self, shard: usize, points: &[Point]) {
        self.unlogged[shard / 64] |= 1 << (shard % 64);
        let inbox = &mut self.inboxes[shard].points;
        match points {
            [point] => inbox.push(*point),
            _ => inbox.extend_from_slice(points),
        }
    }

    /// The points of a tag, which are later than those in its buffer.
    pub(super) fn of_tag(&self, shard: usize, tag: TagId) -> impl Iterator<Item = &Point> {
        self.inboxes[shard].points.iter().filter(move |point| point.tag == tag.get())
    }

    /// All that wait, by shard.
    pub(super) fn all(&self) -> impl Iterator<Item = &Point> {
        self.inboxes.iter().flat_map(|inbox| &inbox.points)
    }
}

/// The lanes of one stream.
pub(super) struct Lanes {
    lanes: Box<[Padded<SpinMutex<Lane>>]>,
    /// The number of a lane and one, or `NOBODY`.
    owners: Box<[AtomicU8]>,
    /// How often others come until a lane hands over the entry of the last one. At least 2: one of them has then brought its
    /// points, so two writers cannot take a tag from each other for ever.
    patience: usize,
    /// A bit for each lane that has been named in an entry.
    used: AtomicU64,
}

impl Lanes {
    pub(super) fn new(shards: usize, limits: &Limits) -> Lanes {
        let inbox = |_| Inbox { points_max: limits.inbox_points, ..Inbox::default() };
        let lane = |number| {
            let short = ShortTails::new(limits.mixed_points);
            let inboxes = (0..shards).map(inbox).collect();
            let unlogged = vec![0; shards.div_ceil(64)].into();
            let lane = Lane { number, inboxes, unlogged, room: Vec::new(), short, of_others: 0 };
            Padded(SpinMutex::new(Rank::Lane, lane))
        };
        Lanes {
            lanes: (0..LANES).map(lane).collect(),
            owners: (0..shards * OWNERS_PER_SHARD).map(|_| AtomicU8::new(NOBODY)).collect(),
            patience: limits.few.max(2),
            used: AtomicU64::new(0),
        }
    }

    /// Found by the lower bits of the hash, which the shard is found by, too, and some more.
    fn owner(&self, tag: TagId) -> &AtomicU8 {
        &self.owners[tag.hash() as usize & (self.owners.len() - 1)]
    }

    /// Every lane that may hold points that were accepted before this call.
    pub(super) fn used(&self) -> impl Iterator<Item = &SpinMutex<Lane>> {
        self.used_from(0)
    }

    /// Those of them at or behind lane number `from`.
    pub(super) fn used_from(&self, from: usize) -> impl Iterator<Item = &SpinMutex<Lane>> {
        let used = self.used.load(Ordering::Acquire);
        (from..LANES).filter(move |lane| used >> lane & 1 == 1).map(|lane| &self.lanes[lane].0)
    }

    /// The same, each locked when the iterator comes to it.
    pub(super) fn each_used(&self) -> impl Iterator<Item = SpinGuard<'_, Lane>> {
        self.used().map(SpinMutex::lock)
    }

    /// Waits for every writer that is in a lane now, or on its way into one that nobody has used.
    pub(super) fn wait_for_writers(&self) {
        self.lanes.iter().for_each(|lane| drop(lane.0.lock()));
    }

    /// The lane in which points of this tag wait, locked, if there is one.
    pub(super) fn find(&self, tag: TagId) -> Option<SpinGuard<'_, Lane>> {
        let entry = self.owner(tag);
        loop {
            let owner = entry.load(Ordering::Acquire);
            let lane = usize::from(owner.checked_sub(1)?);
            let guard = self.lanes[lane].0.lock();
            if entry.load(Ordering::Acquire) == owner {
                return Some(guard);
            }
        }
    }

    /// The number of this thread's lane.
    pub(super) fn own() -> usize {
        thread::number() % LANES
    }

    /// Whether points of this tag belong into the lane of this number: for good only as long as that is locked.
    #[inline]
    fn is_owner(&self, lane: usize, tag: TagId) -> bool {
        usize::from(self.owner(tag).load(Ordering::Acquire)) == lane + 1
    }

    /// This thread's lane, locked, if points of this tag belong there.
    #[inline]
    pub(super) fn own_for(&self, tag: TagId) -> Option<SpinGuard<'_, Lane>> {
        let own = Lanes::own();
        if !self.is_owner(own, tag) {
            return None;
        }
        let lane = self.lanes[own].0.lock();
        (self.is_owner(own, tag) || plant::on(Bug::T7)).then_some(lane)
    }

    /// Whether the lane, which is locked, is the thread's `own`, and points of this tag belong there.
    #[inline]
    pub(super) fn is_found(&self, own: usize, lane: &Lane, tag: TagId) -> bool {
        lane.number == own && self.is_owner(own, tag)
    }

    /// The lane for points of this tag, locked, if this thread's is `own`. Before a lane hands over an entry, `let_go` brings what it has
    /// for the tag's shard, which is that of all tags of the entry, to where it belongs.
    pub(super) fn lane_for(
        &self,
        (tag, shard): (TagId, usize),
        own: usize,
        mut let_go: impl FnMut(&mut Lane),
    ) -> SpinGuard<'_, Lane> {
        let entry = self.owner(tag);
        loop {
            let owner = entry.load(Ordering::Acquire);
            let wanted = usize::from(owner.checked_sub(1).unwrap_or(own as u8));
            let mut lane = self.lanes[wanted].0.lock();
            if owner == NOBODY {
                self.used.fetch_or(1 << wanted, Ordering::AcqRel);
                let taken =
                    entry.compare_exchange(NOBODY, wanted as u8 + 1, Ordering::AcqRel, Ordering::Acquire);
                if taken.is_ok() {
                    return lane;
                }
            } else if entry.load(Ordering::Acquire) == owner || plant::on(Bug::T2) {
                if wanted == own {
                    return lane;
                }
                lane.of_others += 1;
                if lane.of_others < self.patience {
                    return lane;
                }
                lane.of_others = 0;
                let keeps = plant::on(Bug::T5) && lane.of_tag(shard, tag).next().is_none();
                if !plant::on(Bug::T1) && !keeps {
                    let_go(&mut lane);
                }
                let name = || entry.store(own as u8 + 1, Ordering::Release);
                let named = plant::on(Bug::T4).then(name);
                self.used.fetch_or(1 << own, Ordering::AcqRel);
                // Released: who finds the lane here finds its bit in `used`, too, and so does his sync.
                named.unwrap_or_else(name);
            }
        }
    }
}
