//! What an exhaustive run does before the power fails: a few operations, each a letter.
//!
//! Everything is as small as it can be while it still has all its seams: a full batch crosses a sector, a segment holds
//! four sectors, a chunk two blocks. Three operations can then fill a segment, free it and use it again.

use super::super::{Step, check_durable, check_opening, findings, stuck};
use crate::choice::{Chooser, Concern, Tape};
use crate::disk::{Persistence, SimDisk, Snapshot, When};
use crate::model::{self, Model, Verdict, Violation};
use crate::record::{Detail, Event, Key, Opening};
use crate::timeline::Timeline;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use tidewall::plant::Bug;
use tidewall::{Config, Durability, Engine, InOrder, Point};

/// One operation of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// One point of tag 1.
    Write,
    /// A full batch of tag 2: a frame, which crosses a sector.
    Batch,
    /// `sync`
    Sync,
    /// `flush`
    Flush,
    /// `step`, twice: what waits is appended and handed to the system.
    Step,
    /// Batches until the log goes on in another segment.
    Rotate,
    /// Blocks until they go to another chunk.
    SealChunk,
    /// `close`, then open again.
    Reopen,
    /// The process dies, and is started again.
    Kill,
    /// The power fails, nothing unsynced survives, and the store is opened again.
    Cut,
}

impl Op {
    /// All operations, with their letters.
    pub const ALL: [(char, Op); 10] = [
        ('w', Op::Write),
        ('b', Op::Batch),
        ('s', Op::Sync),
        ('f', Op::Flush),
        ('t', Op::Step),
        ('r', Op::Rotate),
        ('c', Op::SealChunk),
        ('o', Op::Reopen),
        ('k', Op::Kill),
        ('x', Op::Cut),
    ];

    fn letter(self) -> char {
        Op::ALL.iter().find(|(_, op)| *op == self).expect("`ALL` has every operation").0
    }
}

/// The limits of a store, as far as stories differ in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Geometry {
    /// What the engine takes for the sectors of its disk, in bytes.
    pub sector_bytes: u64,
    /// Two log streams, not one.
    pub two_streams: bool,
    /// Frames wait in memory until a sync, and are not handed to the system one by one.
    pub staged: bool,
}

impl Default for Geometry {
    fn default() -> Geometry {
        Geometry { sector_bytes: 512, two_streams: false, staged: false }
    }
}

/// Operations, and the store that they are performed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Story {
    /// Which store.
    pub geometry: Geometry,
    /// In this order.
    pub ops: Vec<Op>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ops.iter().try_for_each(|op| write!(f, "{}", op.letter()))
    }
}

impl FromStr for Story {
    type Err = String;

    fn from_str(text: &str) -> Result<Story, String> {
        let op = |letter: char| {
            let known = Op::ALL.iter().find(|(known, _)| *known == letter);
            known.map(|(_, op)| *op).ok_or_else(|| format!("no operation has the letter {letter}"))
        };
        Ok(Story { ops: text.chars().map(op).collect::<Result<_, _>>()?, ..Story::default() })
    }
}

impl Story {
    /// Draws a story. It ends with the first 0, or with the tape's operations.
    pub fn draw(chooser: &mut Chooser, sector_bytes: u64) -> Story {
        let geometry = Geometry {
            sector_bytes,
            two_streams: chooser.below(Concern::Shape, 2) == 1,
            staged: chooser.below(Concern::Shape, 2) == 1,
        };
        let op = || {
            if !chooser.begin_operation() {
                return None;
            }
            let number = chooser.below(Concern::Ops, Op::ALL.len() as u32 + 1) as usize;
            Some(Op::ALL[number.checked_sub(1)?].1)
        };
        Story { geometry, ops: std::iter::from_fn(op).take(LONGEST).collect() }
    }

    /// The decisions that draw it.
    pub fn tape(&self) -> Tape {
        let mut tape = Tape::default();
        let Geometry { two_streams, staged, .. } = self.geometry;
        tape.of_mut(Concern::Shape).extend([two_streams, staged].map(u32::from));
        for op in &self.ops {
            let number =
                Op::ALL.iter().position(|(_, known)| known == op).expect("`ALL` has every operation");
            tape.of_mut(Concern::Ops).push(number as u32 + 1);
        }
        tape
    }
}

/// Operations in a story that is drawn.
const LONGEST: usize = 64;

/// Points of a full batch: a frame of them crosses a sector.
const BATCH: usize = 60;

const TAGS: u32 = 2;

impl Geometry {
    /// The engine's limits.
    pub fn config(self) -> Config {
        let sector_bytes = self.sector_bytes;
        Config {
            durability: Durability::Batched,
            batch_points: BATCH,
            block_points: 2 * BATCH,
            backlog_points: 4 * BATCH,
            buffer_bytes: 2400,
            shards: 1,
            inbox_points: 0,
            wal_streams: if self.two_streams { 2 } else { 1 },
            segment_bytes: 4 * sector_bytes,
            segments: 2,
            segments_max: 3,
            staging_bytes: if self.staged { 4096 } else { 1 },
            sector_bytes,
            chunk_bytes: sector_bytes + 2 * 1536_u64.next_multiple_of(sector_bytes),
            manifest_bytes: 1024,
            cache_bytes: 0,
            flush_workers: 1,
            flush_delay_ms: None,
        }
    }
}

/// What a crash owes: the truth at that moment, and what is known of the store.
#[derive(Clone, Debug)]
pub struct Duty {
    /// What was acked, and what may be there.
    pub model: Model,
    /// An opening has succeeded: there is a store.
    pub exists: bool,
    /// The engine was closed, and nothing has happened since.
    pub closed: bool,
    /// What the engine has called durable.
    pub durable_lsn: u64,
}

impl Duty {
    /// That of a directory in which there was never a store.
    pub fn none() -> Duty {
        Duty { model: Model::new(TAGS), exists: false, closed: false, durable_lsn: 0 }
    }

    /// The same for two duties that ask the same of a recovery.
    pub fn digest(&self) -> u128 {
        let rest = u128::from(self.durable_lsn) << 2 | u128::from(self.exists) << 1 | u128::from(self.closed);
        self.model.digest().rotate_left(1) ^ rest.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }
}

/// A state in which the power could have failed.
pub struct CrashPoint {
    /// The changing I/O that would not have happened, counted from 1 over the whole story.
    pub change: u64,
    /// What was on the disk.
    pub snapshot: Snapshot,
}

/// Whom a story tells where the power could have failed.
pub trait Listener {
    /// During a call, or after it; and what it would have owed.
    ///
    /// # Errors
    /// The promise that would have broken.
    fn could_crash(&mut self, at: CrashPoint, duty: &Duty) -> Step;
}

/// Nobody listens: the story goes on.
pub struct Deaf;

impl Listener for Deaf {
    fn could_crash(&mut self, _at: CrashPoint, _duty: &Duty) -> Step {
        Ok(())
    }
}

/// A story being performed.
pub struct Play {
    config: Config,
    persistence: Persistence,
    plant: Option<Bug>,
    /// The disk of the present life.
    pub disk: SimDisk,
    engine: Option<Engine>,
    /// What a crash now would owe.
    pub duty: Duty,
    timeline: Timeline,
    written: u32,
    /// Changing I/Os before the present disk's first.
    changes_before: u64,
    /// The power fails before this changing I/O of the story; 0 is never.
    cut_at: u64,
}

impl Play {
    /// Before the first operation; `cut_at` is the changing I/O, counted from 1, that the power fails at.
    pub fn new(
        geometry: Geometry,
        persistence: Persistence,
        cut_at: u64,
        plant: Option<Bug>,
        timeline: Timeline,
    ) -> Play {
        let disk = SimDisk::new(timeline.clone());
        let mut play = Play {
            config: geometry.config(),
            persistence,
            plant,
            disk,
            engine: None,
            duty: Duty::none(),
            timeline,
            written: 0,
            changes_before: 0,
            cut_at,
        };
        play.arm();
        play
    }

    fn arm(&mut self) {
        if self.cut_at > self.changes_before {
            self.disk.arm_crash((self.cut_at - self.changes_before - 1) as u32, When::Before);
        }
    }

    /// Changing I/Os so far.
    pub fn changes(&self) -> u64 {
        self.changes_before + self.disk.changes()
    }

    /// Whether the power has failed.
    pub fn is_over(&self) -> bool {
        self.disk.is_dead()
    }

    /// The engine is gone, as it is after a crash.
    pub fn end(&mut self) {
        self.engine = None;
    }

    /// Makes the store; before the first operation.
    pub fn begin(&mut self, listener: &mut dyn Listener) -> Step {
        self.open(listener)
    }

    /// Performs an operation, and tells the listener where it could have crashed.
    pub fn perform(&mut self, op: Op, listener: &mut dyn Listener) -> Step {
        self.timeline.note(&[op as u64], || format!("{op:?}"));
        match op {
            Op::Write => self.write(1, 1, listener),
            Op::Batch => self.write(2, BATCH, listener),
            Op::Sync => self.durably("sync", Engine::sync, listener),
            Op::Flush => self.durably("flush", Engine::flush, listener),
            Op::Step => (0..2).try_for_each(|_| self.call("step", &[], Engine::step, listener).map(drop)),
            Op::Rotate => {
                let before = self.rotations();
                self.until(|play| play.rotations() > before, |play| play.write(2, BATCH, listener))
            }
            Op::SealChunk => {
                let before = self.chunks();
                self.until(
                    |play| play.chunks() > before,
                    |play| {
                        play.write(2, BATCH, listener)?;
                        play.durably("flush", Engine::flush, listener)
                    },
                )
            }
            Op::Reopen => {
                self.durably("close", Engine::close, listener)?;
                if self.is_over() {
                    return Ok(());
                }
                self.duty.closed = true;
                self.engine = None;
                self.open(listener)
            }
            Op::Kill => {
                self.engine = None;
                self.timeline.record(|| Event::Killed);
                self.open(listener)
            }
            Op::Cut => {
                self.engine = None;
                self.changes_before += self.disk.changes();
                let before = self.disk.snapshot();
                let crashed = before.crash(self.persistence);
                let mut nothing = Chooser::from_tape(Tape::default());
                self.disk = crashed.settled(&before, &mut nothing, self.timeline.clone());
                self.arm();
                self.open(listener)
            }
        }
    }

    fn until(&mut self, done: impl Fn(&Play) -> bool, mut act: impl FnMut(&mut Play) -> Step) -> Step {
        for _ in 0..32 {
            act(self)?;
            if self.is_over() || done(self) {
                return Ok(());
            }
        }
        Err(Violation::new(Verdict::Stuck, "rotation and sealing", "32 batches were not enough"))
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is open between operations")
    }

    fn rotations(&self) -> u64 {
        self.engine().stats().rotations
    }

    fn chunks(&self) -> usize {
        self.disk.files().iter().filter(|(name, _)| name.starts_with("chunk")).count()
    }

    fn write(&mut self, tag: u32, count: usize, listener: &mut dyn Listener) -> Step {
        let points: Vec<Point> = (0..count).map(|_| self.point(tag)).collect();
        // While the call runs they may reach the disk.
        points.iter().for_each(|point| self.duty.model.accept(point));
        self.call("write_batch", &points, |engine| engine.write_batch(&points), listener).map(drop)
    }

    /// Each point can be told from every other; every fifth takes the time of the one before it, and its place.
    fn point(&mut self, tag: u32) -> Point {
        self.written += 1;
        let time = self.written - u32::from(self.written.is_multiple_of(5));
        // All bits of it, so that no codec makes a frame of them fit into a sector.
        let value = u64::from(self.written).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Point::new(tag, i64::from(time) * 10, f64::from_bits(value))
    }

    /// A call that makes everything durable.
    fn durably(
        &mut self,
        name: &'static str,
        call: impl Fn(&Engine) -> tidewall::Result<()>,
        listener: &mut dyn Listener,
    ) -> Step {
        let number = self.call(name, &[], call, listener)?;
        if self.is_over() {
            return Ok(());
        }
        self.timeline.record(|| Event::Promised { call: number, tags: None });
        self.duty.model.ack();
        if name != "close" {
            let stats = self.engine().stats();
            let marks = [stats.checkpoint_lsn.0, stats.durable_lsn.0, stats.appended_lsn.0];
            self.timeline.record(|| Event::Watermarks(marks));
            self.duty.durable_lsn = stats.durable_lsn.0;
        }
        self.tell(vec![self.disk.snapshot()], listener)
    }

    fn tell(&self, at: Vec<Snapshot>, listener: &mut dyn Listener) -> Step {
        let mut crash = |snapshot: Snapshot| {
            let change = self.changes_before + snapshot.at + 1;
            listener.could_crash(CrashPoint { change, snapshot }, &self.duty)
        };
        at.into_iter().try_for_each(&mut crash)
    }

    fn call(
        &mut self,
        name: &'static str,
        points: &[Point],
        call: impl Fn(&Engine) -> tidewall::Result<()>,
        listener: &mut dyn Listener,
    ) -> Result<u64, Violation> {
        self.duty.closed = false;
        let number = self.timeline.called(|| "client".into(), name, points.iter().map(Key::from));
        self.timeline.record(|| Event::Detail(Box::new(Detail::Written(points.into()))));
        let result = call(self.engine());
        if !self.is_over() {
            self.timeline.returned(number, &result);
            result.map_err(|error| stuck(name, &error))?;
            self.tell(self.disk.take_snapshots(), listener)?;
        }
        Ok(number)
    }

    fn open(&mut self, listener: &mut dyn Listener) -> Step {
        self.disk.keep_crash_points(self.persistence);
        findings::record(&self.timeline, &self.disk, self.plant);
        let opened = recover(&self.disk, &self.config, &self.duty, &self.timeline);
        if self.is_over() {
            return Ok(());
        }
        let recovered = opened?;
        self.tell(self.disk.take_snapshots(), listener)?;
        self.duty = recovered.duty;
        self.engine = Some(recovered.engine);
        self.tell(vec![self.disk.snapshot()], listener)
    }
}

/// A store that was opened after a crash, or for the first time, and found to be right.
pub struct Recovered {
    /// Open.
    pub engine: Engine,
    /// What it shows, in one number.
    pub state: u128,
    /// What a crash owes from now on: everything that it shows is durable.
    pub duty: Duty,
}

/// Opens the store and compares what it shows with what it owes.
pub fn recover(
    disk: &SimDisk,
    config: &Config,
    duty: &Duty,
    timeline: &Timeline,
) -> Result<Recovered, Violation> {
    let shown = reopen(disk, config, duty, timeline)?;
    let survived = shown.judge(duty)?;
    shown.check_watermarks(duty)?;
    timeline.note(&[shown.state as u64], || format!("     recovered up to {}", shown.durable_lsn()));
    Ok(Recovered { duty: shown.duty(duty, &survived), state: shown.state, engine: shown.engine })
}

/// An open store and all that it shows.
pub(super) struct Shown {
    engine: Engine,
    /// By tag.
    found: Vec<Vec<Point>>,
    /// That, in one number.
    pub(super) state: u128,
}

/// How many of the points that may be there are there, by tag.
pub(super) type Survived = Arc<[usize]>;

/// Opens the store and asks for everything in it.
pub(super) fn reopen(
    disk: &SimDisk,
    config: &Config,
    duty: &Duty,
    timeline: &Timeline,
) -> Result<Shown, Violation> {
    timeline.note(&[], || "open".into());
    timeline.record(|| {
        let (exists, durable_lsn) = (duty.exists, duty.durable_lsn);
        let opening = Opening { config: config.clone(), model: duty.model.clone(), exists, durable_lsn };
        Event::Detail(Box::new(Detail::Opening(opening)))
    });
    let opened = Engine::open_with(Arc::new(disk.clone()), config.clone(), Box::new(InOrder));
    if !disk.is_dead() {
        timeline.record(|| {
            let report = |engine: &Engine| findings::recovery!(engine.recovery_report());
            Event::Opened(opened.as_ref().map(report).map_err(ToString::to_string))
        });
    }
    let engine = match opened {
        Ok(engine) => engine,
        Err(error @ tidewall::Error::Corrupt(_)) => {
            let story = format!("opening refuses a disk on which nothing was damaged: {error}");
            return Err(Violation::new(Verdict::Lost, "I6", story));
        }
        Err(error) => return Err(stuck("open", &error)),
    };
    check_opening(engine.recovery_report(), duty.exists, duty.closed)?;
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    let mut found = Vec::new();
    let mut shown = Vec::new();
    for tag in duty.model.all_tags() {
        let points = engine.query(tag, ..).map_err(|error| stuck("query after recovery", &error))?;
        timeline.record(|| Event::Shown { tag, points: points.len() as u64 });
        hash.update(&(points.len() as u64).to_le_bytes());
        for point in &points {
            let (time, value) = (point.ts_us.to_le_bytes(), point.value.to_bits().to_le_bytes());
            let mut bytes = [point.quality; 17];
            bytes[..8].copy_from_slice(&time);
            bytes[8..16].copy_from_slice(&value);
            hash.update(&bytes);
        }
        shown.extend((!points.is_empty()).then_some(tag));
        found.push(points);
    }
    model::lists(&engine.tags().map_err(|error| stuck("tags", &error))?, &shown)?;
    Ok(Shown { engine, found, state: hash.digest128() })
}

impl Shown {
    /// Compares it with what is owed. The same state and the same duty give the same answer.
    pub(super) fn judge(&self, duty: &Duty) -> Result<Survived, Violation> {
        duty.model.all_tags().zip(&self.found).map(|(tag, found)| duty.model.judge(tag, found)).collect()
    }

    /// I7: nothing is durable that was not, and the log has no other end.
    pub(super) fn check_watermarks(&self, duty: &Duty) -> Step {
        check_durable(&self.engine.stats(), duty.durable_lsn)
    }

    fn durable_lsn(&self) -> u64 {
        self.engine.stats().durable_lsn.0
    }

    /// Number of points.
    pub(super) fn points(&self) -> u64 {
        self.found.iter().map(|points| points.len() as u64).sum()
    }

    /// What a crash owes from now on.
    pub(super) fn duty(&self, before: &Duty, survived: &[usize]) -> Duty {
        let mut model = before.model.clone();
        before.model.all_tags().zip(survived).for_each(|(tag, survived)| model.recovered(tag, *survived));
        Duty { model, exists: true, closed: false, durable_lsn: self.durable_lsn() }
    }
}
