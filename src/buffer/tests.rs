//! Whatever is accepted, appended, sealed and released in whatever order: the buffers hold what a list of it does, and their
//! counts are those of what they hold.

use super::{Buffers, Scope, Sealed, Tails};
use crate::codec::mixed::{Batch, Mixed, Share};
use crate::codec::run::{Encoder, Run};
use crate::config::Config;
use crate::error::Error;
use crate::lsn::{Append, Lsn};
use crate::point::{Entry, Point, TagId};
use crate::sync::Arc;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// With one shard 7038 has the entry of tag 1 in the table of owners, with two 4264 has.
const TAGS: [u32; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1000, 4264, 7038, 1 << 16, u32::MAX];

#[derive(Clone, Debug)]
enum Op {
    /// Runs of points, by tag; by a thread that has not been here before, or by this one; after this many runs no more are let in.
    Accept { runs: Vec<(u32, usize)>, delay: i64, from_elsewhere: bool, admitted: usize },
    /// The log has room for this many bytes, and after some I/O again; then it has none. Or it fails instead.
    Append { which: Tails, rooms: Vec<usize>, fails: bool },
    /// The logger brings what is logged in the lanes into the buffers of this many shards.
    TakeIn { shards: usize },
    /// Begins a flush, in place of one that has not come to its end.
    Seal { scope: Scope },
    /// Ends it.
    Release,
}

fn op() -> impl Strategy<Value = Op> {
    let run = || (select(&TAGS[..]), prop_oneof![8 => 1..3_usize, 3 => 3..12_usize, 1 => 12..60_usize]);
    let calls = prop_oneof![6 => vec(run(), 1..4), 2 => vec(run(), 4..30), 1 => vec(run(), 300..600)];
    let admitted = prop_oneof![9 => Just(usize::MAX), 1 => 0..3_usize];
    // None, at the time of the one before, and far back.
    let delay = prop_oneof![6 => Just(0), 2 => Just(10), 1 => Just(200)];
    let accept = (calls, delay, prop::bool::weighted(0.2), admitted).prop_map(
        |(runs, delay, from_elsewhere, admitted)| Op::Accept { runs, delay, from_elsewhere, admitted },
    );
    let rooms = prop_oneof![2 => Just(vec![usize::MAX]), 1 => vec(0..400_usize, 0..8)];
    let which = select(&[Tails::All, Tails::Full, Tails::Due][..]);
    let append =
        (which, rooms, any::<bool>()).prop_map(|(which, rooms, fails)| Op::Append { which, rooms, fails });
    let scope =
        prop_oneof![Just(Scope::All), Just(Scope::Sealed), (0..300_u64).prop_map(|at| Scope::Below(Lsn(at)))];
    let seal = scope.prop_map(|scope| Op::Seal { scope });
    let take_in = select(&[0, 1, 3, usize::MAX][..]).prop_map(|shards| Op::TakeIn { shards });
    prop_oneof![5 => accept, 4 => append, 1 => take_in, 1 => seal, 1 => Just(Op::Release)]
}

fn config() -> impl Strategy<Value = Config> {
    let shards = select(&[1, 2, 16, 256][..]);
    // An inbox of 16 takes calls with at most two points of a tag.
    let inbox_points = select(&[0, 16, 64][..]);
    // A frame of several tags is at most a fourth of a segment: from a few points on.
    let segment_bytes = prop_oneof![300..1_500_u64, 1_500..20_000_u64];
    (1..=20_usize, 1..=40_usize, shards, inbox_points, segment_bytes).prop_map(
        |(batch_points, block_points, shards, inbox_points, segment_bytes)| Config {
            batch_points,
            block_points,
            shards,
            inbox_points,
            segment_bytes,
            ..Config::default()
        },
    )
}

/// What is known of a tag.
#[derive(Default)]
struct Known {
    /// Points that have been made for it; not all of them are let in.
    made: usize,
    accepted: Vec<Entry>,
    /// Of those in frames.
    lsns: Vec<Lsn>,
    /// This many are in blocks.
    released: usize,
    /// This many were there when the last whole background step began.
    stepped: usize,
}

impl Known {
    fn in_memory(&self) -> &[Entry] {
        &self.accepted[self.released..]
    }

    fn first_lsn(&self) -> Option<Lsn> {
        self.lsns.get(self.released).copied()
    }

    /// Whether points from this one on may be said to begin at `lsn`: behind the one before, and not behind where they do.
    fn may_begin(&self, at: usize, lsn: Lsn, exact: bool) -> bool {
        let least = if exact { self.lsns[at] } else { self.end_before(at) };
        (least..=self.lsns[at]).contains(&lsn)
    }

    /// Where the points before this one end.
    fn end_before(&self, at: usize) -> Lsn {
        at.checked_sub(1).map_or(Lsn(0), |before| self.lsns[before].advance(1))
    }
}

type Bits = (i64, u64, u8);

fn bits(entry: &Entry) -> Bits {
    (entry.ts_us, entry.value.to_bits(), entry.quality)
}

fn all_bits<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Bits> {
    entries.into_iter().map(bits).collect()
}

fn tag_id(tag: u32) -> TagId {
    TagId::new(tag).expect("none of them is 0")
}

struct Model {
    config: Config,
    buffers: Buffers,
    tags: BTreeMap<TagId, Known>,
    points: usize,
    next_lsn: Lsn,
    flushing: Vec<Arc<Sealed>>,
    /// Nothing that waits in a lane is in a frame.
    logged_taken_in: bool,
}

impl Model {
    fn new(config: &Config) -> Model {
        Model {
            config: config.clone(),
            buffers: Buffers::new(config),
            tags: TAGS.map(|tag| (tag_id(tag), Known::default())).into(),
            points: 0,
            next_lsn: Lsn(0),
            flushing: Vec::new(),
            logged_taken_in: true,
        }
    }

    /// Points that can be told apart: each is later than the one before, but for a delay of all of them.
    fn make(&mut self, tag: u32, count: usize, delay: i64) -> Vec<Point> {
        let known = self.tags.get_mut(&tag_id(tag)).unwrap();
        let point = |_| {
            known.made += 1;
            self.points += 1;
            let (ts_us, value) = (10 * known.made as i64 - delay, self.points as f64 / 8.0);
            Point { tag, ts_us, value, quality: (self.points / 16) as u8 }
        };
        (0..count).map(point).collect()
    }

    /// Recovery: what is in the log already.
    fn replay(&mut self, tag: u32, count: usize, shares_frame: bool) {
        let entries: Vec<_> = self.make(tag, count, 0).iter().map(Point::entry).collect();
        let (tag, first) = (tag_id(tag), self.next_lsn);
        self.next_lsn = first.advance(count as u64);
        if shares_frame {
            self.buffers.replay_few(tag, &entries, first);
        } else {
            let mut bytes = Vec::new();
            Encoder::default().encode(&mut bytes, &entries);
            self.buffers.replay(tag, &Run::split(&bytes).unwrap().0, first, self.next_lsn);
        }
        let known = self.tags.get_mut(&tag).unwrap();
        known.accepted.extend(&entries);
        known.lsns.extend((0..count as u64).map(|n| first.advance(n)));
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Accept { runs, delay, from_elsewhere, admitted } => {
                let points: Vec<_> =
                    runs.iter().flat_map(|(tag, count)| self.make(*tag, *count, *delay)).collect();
                if *from_elsewhere {
                    thread::scope(|scope| scope.spawn(|| self.accept(&points, *admitted)).join().unwrap());
                } else {
                    self.accept(&points, *admitted);
                }
            }
            Op::Append { which, rooms, fails } => self.append(*which, rooms, *fails),
            Op::TakeIn { shards } => {
                let left = Cell::new(*shards);
                self.buffers.take_in_logged(|| left.replace(left.get().saturating_sub(1)) > 0);
            }
            Op::Seal { scope } => self.seal(*scope),
            Op::Release => {
                let flushed = std::mem::take(&mut self.flushing);
                self.buffers.release(&flushed);
                for sealed in &flushed {
                    self.tags.get_mut(&sealed.tag).unwrap().released += sealed.runs.points();
                }
                self.check();
                // They are gone once.
                self.buffers.release(&flushed);
            }
        }
    }

    fn accept(&mut self, points: &[Point], admitted: usize) {
        let Model { buffers, tags, .. } = self;
        let left = Cell::new(admitted);
        let admit = || match left.get().checked_sub(1) {
            Some(less) => {
                left.set(less);
                Ok(())
            }
            None => Err(Error::Closed),
        };
        // As if tag 2 was another stream's.
        let is_own = |run: &&[Point]| run[0].tag != 2;
        let runs: Vec<_> = points.chunk_by(|a, b| a.tag == b.tag).filter(is_own).collect();
        let before = (buffers.backlog(), buffers.bytes());
        let told = Cell::new(before);
        let grown = || {
            let now = (buffers.backlog(), buffers.bytes());
            let then = told.replace(now);
            assert!(now.0 > then.0 || now.1 > then.1);
        };
        let taken = Cell::new(0);
        let taking = runs.iter().copied().inspect(|_| taken.set(taken.get() + 1));
        let outcome = match runs[..] {
            [[point]] => {
                taken.set(1);
                buffers.accept_one(point, admit, grown)
            }
            _ => buffers.accept(taking, admit, grown),
        };
        // The last one that was taken is that which was not admitted.
        let accepted = &runs[..taken.get() - usize::from(outcome.is_err())];
        for point in accepted.iter().copied().flatten() {
            tags.get_mut(&point.tag_id()).unwrap().accepted.push(point.entry());
        }
        assert_eq!(outcome.is_ok(), accepted.len() == runs.len());
        let now = (buffers.backlog(), buffers.bytes());
        // Where memory has become less nobody need hear of it.
        let is_told = now.0 == told.get().0 && now.1 <= told.get().1;
        assert!(is_told || (outcome.is_err() && (now.0 > before.0 || now.1 > before.1)));
    }

    fn append(&mut self, which: Tails, rooms: &[usize], fails: bool) {
        let there: Vec<_> = self.tags.values().map(|known| known.accepted.len()).collect();
        let rooms = RefCell::new(rooms.iter().copied());
        let room = Cell::new(rooms.borrow_mut().next().unwrap_or(0));
        self.logged_taken_in = self.is_exact();
        let Model { buffers, tags, next_lsn, config, .. } = self;
        let mut append = |batch: &Batch| {
            let frame_bytes = batch.payload.len() as u64;
            let Some(less) = room.get().checked_sub(frame_bytes as usize) else {
                return if fails { Err(Error::Closed) } else { Ok(Append::NoRoom { frame_bytes }) };
            };
            room.set(less);
            let first_lsn = *next_lsn;
            note_frame(tags, config, batch, first_lsn);
            *next_lsn = first_lsn.advance(batch.count.into());
            Ok(Append::Appended { first_lsn, end_lsn: *next_lsn })
        };
        let make_room = |wanted: u64| {
            assert!(!fails, "an error is no lack of room");
            let more = rooms.borrow_mut().next().ok_or(Error::Closed)?;
            room.set(more.max(wanted as usize));
            Ok(())
        };
        match buffers.append(which, &mut append, make_room) {
            Ok(()) => assert_eq!(buffers.backlog(), 0, "full batches are in the log"),
            Err(Error::Closed) => return,
            Err(other) => panic!("{other:?}"),
        }
        for (known, there) in tags.values_mut().zip(there) {
            let left = known.accepted.len() - known.lsns.len();
            match which {
                Tails::Full => {}
                Tails::All => assert_eq!(left, 0),
                Tails::Due => {
                    assert!(2 * left < config.batch_points, "{left} points are half a batch");
                    assert!(known.lsns.len() >= known.stepped, "what two steps have seen is in the log");
                    known.stepped = there;
                }
            }
        }
    }

    fn seal(&mut self, scope: Scope) {
        let grown =
            |tag| self.buffers.recent(tag, &.., || ()).0.sealed.iter().map(|it| it.runs.points()).sum();
        let grown: BTreeMap<TagId, usize> = self.tags.keys().map(|tag| (*tag, grown(*tag))).collect();
        let sealed = self.buffers.seal(scope);
        let exact = self.is_exact();
        self.logged_taken_in = true;
        assert!(sealed.is_sorted_by_key(|sealed| (sealed.tag, sealed.first_lsn)));
        for (tag, known) in &self.tags {
            let own: Vec<_> = sealed.iter().filter(|sealed| sealed.tag == *tag).collect();
            let mut at = known.released;
            for sealed in &own {
                let mut found = Vec::new();
                sealed.runs.for_each(&.., |entry| found.push(bits(&entry)));
                let expected = &known.accepted[at..at + found.len()];
                assert_eq!(found, all_bits(expected));
                assert_eq!(sealed.runs.points(), found.len());
                assert!(known.may_begin(at, sealed.first_lsn, exact));
                at += found.len();
                let end = known.lsns[at - 1].advance(1);
                let next = if exact { end } else { known.lsns.get(at).copied().unwrap_or(self.next_lsn) };
                assert!((end..=next).contains(&sealed.end_lsn));
                let rises = |entries: &[Entry]| entries.is_sorted_by(|a, b| a.ts_us < b.ts_us);
                assert!(!sealed.runs.in_order() || rises(expected));
                assert!(sealed.runs.in_order() || !rises(&known.accepted));
            }
            let appended = known.lsns.len() - known.released;
            let expected = match scope {
                Scope::All => appended,
                Scope::Below(lsn) if known.first_lsn().is_some_and(|first| first < lsn) => appended,
                // It may be taken to begin before it does.
                Scope::Below(lsn) if appended > 0 && known.may_begin(known.released, lsn, exact) => {
                    at - known.released
                }
                Scope::Below(_) => 0,
                // What is logged in a lane may make a buffer full.
                Scope::Sealed => grown[tag].max(if exact { 0 } else { at - known.released }),
            };
            assert_eq!(at - known.released, expected, "points of tag {tag}");
        }
        self.flushing = sealed;
    }

    fn check(&self) {
        let buffers = &self.buffers;
        let (mut points, mut backlog, mut sealed_buffers, mut bytes) = (0, 0, 0, 0);
        let mut with_points = Vec::new();
        for (tag, known) in &self.tags {
            let expected = known.in_memory();
            let found = |range: std::ops::Range<i64>| {
                let (recent, older) = buffers.recent(*tag, &range, || 5);
                let mut found = Vec::new();
                recent.for_each(&range, |entry| found.push(bits(&entry)));
                assert!(older == 5 && recent.points() >= found.len());
                (recent, found)
            };
            let (recent, all) = found(i64::MIN..i64::MAX);
            assert_eq!(all, all_bits(expected), "tag {tag}");
            assert_eq!(recent.points(), expected.len());
            if let Some(middle) = expected.get(expected.len() / 2) {
                let range = middle.ts_us - 5..middle.ts_us + 85;
                let in_range = expected.iter().filter(|entry| range.contains(&entry.ts_us));
                assert_eq!(found(range.clone()).1, all_bits(in_range), "tag {tag} in {range:?}");
                with_points.push(*tag);
            }
            assert_eq!(buffers.latest_ts(*tag), expected.iter().map(|entry| entry.ts_us).max());
            points += expected.len();
            backlog += recent.unsealed[1].points();
            sealed_buffers += recent.sealed.len();
            let sealed = || recent.sealed.iter().map(|sealed| &sealed.runs);
            let in_runs = sealed().chain([&recent.unsealed[0]]);
            let logged =
                known.lsns.len() - known.released - in_runs.clone().map(|it| it.points()).sum::<usize>();
            bytes += in_runs.map(|runs| runs.bytes()).sum::<usize>() + logged * size_of::<Entry>();
        }
        let mut tags = buffers.tags();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags, with_points);
        assert_eq!(buffers.points(), points as u64);
        assert_eq!((buffers.backlog(), buffers.sealed()), (backlog as u64, sealed_buffers as u64));
        assert_eq!(buffers.bytes(), bytes as u64);
        assert!(buffers.knows_its_lanes());
        if self.logged_taken_in {
            self.check_first_unflushed(&[]);
            self.check_first_unflushed(&self.flushing);
        }
    }

    fn check_first_unflushed(&self, flushing: &[Arc<Sealed>]) {
        let left = |(tag, known): (&TagId, &Known)| {
            let flushing = flushing.iter().filter(|sealed| sealed.tag == *tag);
            let at = known.released + flushing.map(|sealed| sealed.runs.points()).sum::<usize>();
            let exact = known.lsns.get(at).copied()?;
            Some((exact, if self.is_exact() { exact } else { known.end_before(at) }))
        };
        let (latest, earliest): (Vec<_>, Vec<_>) = self.tags.iter().filter_map(left).unzip();
        let found = self.buffers.first_unflushed(flushing);
        assert!(found <= latest.into_iter().min() && found >= earliest.into_iter().min());
    }

    /// Whether positions are known to the point: those of what is logged in a lane lie between two.
    fn is_exact(&self) -> bool {
        self.config.inbox_points == 0
    }
}

/// What a frame carries are the next points of its tags.
fn note_frame(tags: &mut BTreeMap<TagId, Known>, config: &Config, batch: &Batch, first_lsn: Lsn) {
    let (shares, run) = if batch.tags == 1 {
        let (run, rest) = Run::split(batch.payload).unwrap();
        assert!(rest.is_empty());
        (vec![Share { tag: batch.tag, count: batch.count }], run)
    } else {
        let mixed = Mixed::parse(batch.payload).unwrap();
        assert!(batch.count as usize <= config.mixed_points());
        let is_short = |share: &Share| 2 * (share.count as usize) < config.batch_points;
        assert!(config.inbox_points > 0 || mixed.shares.iter().all(is_short));
        assert_eq!((mixed.shares.len() as u32, mixed.shares[0].tag), (batch.tags, batch.tag));
        (mixed.shares, mixed.run)
    };
    let mut found = Vec::new();
    run.for_each(|entry| found.push(bits(&entry)));
    let (mut found, mut lsn) = (&found[..], first_lsn);
    for Share { tag, count } in shares {
        assert!(count as usize <= config.batch_points.max(config.inbox_points));
        let own;
        (own, found) = found.split_at(count as usize);
        let known = tags.get_mut(&tag).unwrap();
        assert_eq!(own, all_bits(&known.accepted[known.lsns.len()..][..own.len()]));
        for _ in own {
            known.lsns.push(lsn);
            lsn = lsn.advance(1);
        }
    }
    assert_eq!((found.len(), lsn), (0, first_lsn.advance(batch.count.into())));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::default() })]

    #[test]
    fn buffers_hold_what_was_accepted_until_it_is_in_blocks_and_their_counts_are_right(
        config in config(),
        replayed in vec((select(&TAGS[..]), 1..15_usize, any::<bool>()), 0..6),
        ops in vec(op(), 1..40),
    ) {
        let mut model = Model::new(&config);
        for (tag, count, shares_frame) in replayed {
            model.replay(tag, count, shares_frame);
        }
        model.check();
        for op in ops {
            model.run(&op);
            model.check();
        }
        // Everything goes the whole way.
        for op in [
            Op::Append { which: Tails::All, rooms: vec![usize::MAX], fails: false },
            Op::Seal { scope: Scope::All },
            Op::Release,
        ] {
            model.run(&op);
            model.check();
        }
        prop_assert_eq!((model.buffers.points(), model.buffers.bytes(), model.buffers.sealed()), (0, 0, 0));
    }
}

/// Of points that come one at a time and are appended with nothing else to do, this many are sealed at a time.
#[test]
fn a_buffer_is_sealed_when_one_more_batch_might_not_fit_into_its_block() {
    for (batch_points, block_points, sealed_points) in
        [(10, 40, 40), (10, 45, 40), (10, 49, 40), (10, 50, 50), (15, 40, 30), (30, 40, 30), (40, 40, 40)]
    {
        let config = Config { batch_points, block_points, inbox_points: 0, shards: 1, ..Config::default() };
        let mut model = Model::new(&config);
        let whole = Op::Append { which: Tails::Full, rooms: vec![usize::MAX], fails: false };
        for n in 1..=sealed_points {
            assert_eq!(model.buffers.sealed(), 0, "{n} points in blocks of {block_points}");
            let points = model.make(7, 1, 0);
            model.accept(&points, 1);
            model.run(&whole);
        }
        model.check();
        assert_eq!(model.buffers.sealed(), 1, "{sealed_points} points in blocks of {block_points}");
    }
}

#[test]
fn half_a_batch_is_no_block_however_large_a_batch_is() {
    let config = Config { batch_points: 30, block_points: 40, inbox_points: 0, ..Config::default() };
    let mut model = Model::new(&config);
    for (points, sealed) in [(15, 0), (4, 0), (1, 1)] {
        let points = model.make(7, points, 0);
        model.accept(&points, 1);
        model.append(Tails::All, &[usize::MAX], false);
        assert_eq!(model.buffers.sealed(), sealed);
    }
    model.check();
}

#[test]
fn a_background_step_leaves_a_short_tail_that_it_sees_for_the_first_time() {
    let config = Config { batch_points: 10, inbox_points: 0, ..Config::default() };
    let mut model = Model::new(&config);
    // (points that come, points in the log after the step)
    for (come, appended) in [(4, 0), (0, 4), (5, 9), (1, 9), (1, 11), (4, 11), (3, 18), (4, 18)] {
        let points = model.make(7, come, 0);
        model.accept(&points, usize::MAX);
        model.append(Tails::Due, &[usize::MAX], false);
        assert_eq!(model.next_lsn, Lsn(appended));
        model.check();
    }
}

#[test]
fn who_waits_for_writers_waits_for_those_in_lanes_and_in_shards() {
    // With an inbox of 16, a point goes through a lane, and five go to their shard.
    for count in [1, 5] {
        let config = Config { inbox_points: 16, shards: 2, ..Config::default() };
        let mut model = Model::new(&config);
        let points = model.make(7, count, 0);
        let buffers = &model.buffers;
        let (is_in, has_waited) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_in.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                buffers.wait_for_writers();
                has_waited.store(true, Ordering::SeqCst);
            });
            let admit = || {
                is_in.store(true, Ordering::SeqCst);
                // Who does not wait is through by then.
                (0..500).for_each(|_| thread::yield_now());
                assert!(!has_waited.load(Ordering::SeqCst), "a writer of {count} points was still at work");
                Ok(())
            };
            buffers.accept([&points[..]], admit, || ()).unwrap();
        });
    }
}

#[test]
fn a_pass_goes_no_further_than_a_frame_for_which_there_is_no_room() {
    let config = Config { batch_points: 400, inbox_points: 0, shards: 16, ..Config::default() };
    let mut model = Model::new(&config);
    let mut tags = TAGS[2..].to_vec();
    tags.sort_by_key(|tag| model.buffers.index(tag_id(*tag)));
    tags.dedup_by_key(|tag| model.buffers.index(tag_id(*tag)));
    // In shards behind each other: a short tail, one that is a run of some hundred bytes, and another short one.
    for (tag, count) in tags.into_iter().zip([1, 300, 1]) {
        let points = model.make(tag, count, 0);
        model.accept(&points, usize::MAX);
    }
    // The short ones alone would fit.
    model.append(Tails::All, &[100, 1_000], false);
    model.check();
}

#[test]
fn a_call_with_more_runs_than_share_a_lock_is_accepted_whole() {
    let buffers = Buffers::new(&Config::default());
    let points: Vec<_> = (1..=2_000).map(|tag| Point::new(tag, 1, 0.5)).collect();
    buffers.accept(points.chunks(1), || Ok(()), || ()).unwrap();
    assert_eq!(buffers.points(), 2_000);
    for tag in 1..=2_000 {
        assert_eq!(buffers.recent(tag_id(tag), &.., || ()).0.points(), 1, "tag {tag}");
    }
}

#[test]
fn a_pass_over_the_lanes_ends_however_fast_their_inboxes_fill_again() {
    // Nothing becomes a run.
    let (inbox_points, batch_points, segment_bytes) = (800, 10_000, 4 << 10);
    let config = Config { inbox_points, batch_points, segment_bytes, shards: 2, ..Config::default() };
    let each = config.mixed_points();
    let buffers = Buffers::new(&config);
    let tags = [0, 1].map(|shard| (1..).map(tag_id).find(|tag| buffers.index(*tag) == shard).unwrap());
    let next_ts = Cell::new(0);
    // More than a frame takes.
    let refill = || {
        for tag in tags {
            let points: Vec<_> =
                (0..=each).map(|_| Point::new(tag.get(), next_ts.replace(next_ts.get() + 1), 0.5)).collect();
            buffers.accept([&points[..]], || Ok(()), || ()).unwrap();
        }
    };
    let (next_lsn, room, waits) = (Cell::new(Lsn(0)), Cell::new(false), Cell::new(0));
    let mut append = |batch: &Batch| {
        if !room.replace(false) {
            return Ok(Append::NoRoom { frame_bytes: batch.payload.len() as u64 });
        }
        let first_lsn = next_lsn.get();
        next_lsn.set(first_lsn.advance(batch.count.into()));
        Ok(Append::Appended { first_lsn, end_lsn: next_lsn.get() })
    };
    let make_room = |_| {
        waits.set(waits.get() + 1);
        assert!(waits.get() < 50, "there is no end to it");
        refill();
        room.set(true);
        Ok(())
    };
    for _ in 0..3 {
        refill();
        let accepted_before = next_ts.get();
        waits.set(0);
        buffers.append(Tails::All, &mut append, make_room).unwrap();
        assert!(next_lsn.get().0 >= accepted_before as u64);
    }
}

/// Of this many tags the inbox of their shard takes two points each, as long as that is not more than 16 times what others take.
#[test]
fn the_inbox_of_a_shard_of_many_tags_holds_two_points_of_each() {
    let few = 2;
    for (tags, holds) in [(1, 16), (8, 16), (20, 40), (100, 200), (128, 256), (1000, 256)] {
        // Each point that comes to its buffer is a batch, and is counted.
        let config = Config { inbox_points: 16, batch_points: 1, shards: 1, ..Config::default() };
        let buffers = Buffers::new(&config);
        let accept = |tag| {
            let before = buffers.backlog();
            buffers.accept([&[Point::new(tag, 0, 0.5)][..]], || Ok(()), || ()).unwrap();
            buffers.backlog() - before
        };
        let mut tag = (1..=tags).cycle();
        let mut next = || accept(tag.next().unwrap());
        // Until the shard has seen them all, and the inbox is empty again.
        for _ in 0..2 * tags {
            next();
        }
        while next() == 0 {}
        let taken = (1..).find(|_| next() > 0).unwrap();
        assert_eq!(taken, holds - few + 1, "{tags} tags");
    }
}

/// A fourth of what the inboxes hold.
#[test]
fn what_is_logged_in_lanes_is_much_until_it_is_brought_to_the_buffers() {
    let mut model = Model::new(&Config { inbox_points: 16, shards: 2, ..Config::default() });
    let log_one = |model: &mut Model| {
        let points = model.make(7, 1, 0);
        model.accept(&points, usize::MAX);
        model.append(Tails::All, &[usize::MAX], false);
        model.check();
        model.buffers.has_much_logged()
    };
    // The first time, what comes to a shard goes on to the buffers.
    assert!(!log_one(&mut model));
    for _ in 0..2 {
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|_| log_one(&mut model)), [false; 7]);
        assert!(log_one(&mut model));
        model.run(&Op::TakeIn { shards: 0 });
        assert!(model.buffers.has_much_logged());
        model.run(&Op::TakeIn { shards: usize::MAX });
        assert!(!model.buffers.has_much_logged());
        model.check();
    }
    assert!(!Buffers::new(&Config { inbox_points: 0, ..Config::default() }).has_much_logged());
}
