//! One thread, crashes at any I/O: the fastest driver.
//!
//! A run opens an engine on a simulated disk and performs some two hundred operations. Crashes come in three ways: in
//! the middle of an operation, after which the run goes on from what survived; as a kill of the process alone; and *on
//! the side*, from a snapshot of the disk at some I/O, which is recovered and judged while the run itself goes on. Each
//! recovery can crash again, three deep, and meet errors of its own.

use crate::choice::{Chooser, Concern, SplitMix};
use crate::damage::{self, Expected};
use crate::disk::{Armed, Effect, IoKind, SimDisk, Snapshot, When};
use crate::fault::{Fault, FaultCounts};
use crate::model::{Model, Verdict, Violation};
use crate::scenario::{Counts, Outcome, Setting};
use crate::timeline::Timeline;
use crate::workload::{Op, Shape, Source};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidewall::{
    Config, Corruption, Durability, Engine, Error, Exec, Inspection, Point, Task, inspect, plant,
};

/// Crashes in a recovery, in the recovery from that, and in that again.
const DEPTH: u32 = 3;

type Step = Result<(), Violation>;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a run: a panic here is a finding and need not be printed as it happens.
pub fn is_running() -> bool {
    RUNNING.get()
}

/// Runs one tape.
pub fn run(chooser: Chooser, setting: Setting<'_>) -> Outcome {
    let timeline = if setting.with_lines { Timeline::with_lines() } else { Timeline::default() };
    let mut run = Run::new(chooser, setting, timeline.clone());
    plant::set(setting.plant);
    RUNNING.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| run.all()));
    RUNNING.set(false);
    plant::set(None);
    let violation = match ended {
        Ok(ended) => ended.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            let story = format!("panic: {}", text.unwrap_or_default());
            Some(Violation::new(Verdict::Stuck, "no panic", story))
        }
    };
    if let Some(violation) = &violation {
        timeline.note(&[violation.verdict as u64], || format!("VIOLATION  {violation}"));
    }
    let disk = run.disk.clone();
    run.take_counts(&disk);
    Outcome {
        violation,
        counts: run.counts,
        faults: run.faults,
        hash: timeline.hash(),
        tape: run.chooser.made().clone(),
        lines: timeline.lines(),
    }
}

struct Run<'a> {
    chooser: Chooser,
    setting: Setting<'a>,
    shape: Shape,
    source: Source<'a>,
    disk: SimDisk,
    engine: Option<Engine>,
    model: Model,
    timeline: Timeline,
    counts: Counts,
    faults: FaultCounts,
    /// The last open returned and no other has succeeded before it: until then there is no store to lose.
    exists: bool,
    /// The engine was closed, and nothing has happened since.
    closed: bool,
    /// A sync has failed: the engine must accept nothing more (I8).
    read_only: bool,
    /// An error has struck since the engine was opened: some tails may be longer than a batch.
    troubled: bool,
    /// The log's end when the engine was opened, and what was accepted since.
    base_lsn: u64,
    accepted: u64,
    /// The engine cannot have accepted more than that.
    count_is_exact: bool,
    longest_write: u64,
    /// A step has handed everything to the operating system since the last write: it survives the process.
    handed: bool,
    /// The recovery to come must find everything that was accepted.
    must_keep_all: bool,
    marks: [u64; 3],
    /// Log segments and blocks that the engine's counters have shown, to be added when it goes.
    progress: (u64, u64),
}

/// Runs the tasks of a flush in an order drawn from the tape.
struct Shuffled(AtomicU64);

impl Exec for Shuffled {
    fn run(&self, mut tasks: Vec<Task>) {
        let mut random = SplitMix::new(self.0.fetch_add(1, Ordering::Relaxed), 0);
        while !tasks.is_empty() {
            tasks.swap_remove(random.below(tasks.len() as u32) as usize)();
        }
    }
}

impl<'a> Run<'a> {
    fn new(mut chooser: Chooser, setting: Setting<'a>, timeline: Timeline) -> Run<'a> {
        let shape = Shape::draw(&mut chooser);
        let source = Source::new(&shape, setting.trace, &mut chooser);
        let disk = SimDisk::new(timeline.clone());
        disk.set_lie(setting.lie);
        Run {
            model: Model::new(shape.tags),
            source,
            disk,
            engine: None,
            timeline,
            counts: Counts::default(),
            faults: FaultCounts::default(),
            exists: false,
            closed: false,
            read_only: false,
            troubled: false,
            base_lsn: 0,
            accepted: 0,
            count_is_exact: true,
            longest_write: 0,
            handed: false,
            must_keep_all: false,
            marks: [0; 3],
            progress: (0, 0),
            chooser,
            setting,
            shape,
        }
    }

    fn all(&mut self) -> Step {
        self.timeline.note(&[], || format!("SHAPE    {:?}", self.shape));
        self.recover()?;
        for number in 0..self.shape.ops {
            let op = self.next_op();
            self.counts.operations += 1;
            self.timeline.note(&[number.into(), op as u64], || format!("{number:>4} {op:?}"));
            if !self.disk.awaits_snapshot() {
                let away = self.chooser.below(Concern::Crash, self.shape.snapshot_every);
                let when = self.when();
                self.disk.arm_snapshot(away, when);
            }
            self.perform(op)?;
            self.judge_snapshots()?;
            if self.disk.is_dead() {
                self.crash()?;
            }
        }
        self.end()
    }

    fn next_op(&mut self) -> Op {
        // Some states are left sooner than by chance: little can be done in them.
        if self.read_only && self.chooser.chance(Concern::Ops, 64) {
            return self.chooser.pick(Concern::Ops, &[Op::CrashNow, Op::Kill]);
        }
        if self.disk.has_no_space() && self.chooser.chance(Concern::Ops, 40) {
            return Op::Space;
        }
        self.shape.op(&mut self.chooser)
    }

    fn when(&mut self) -> When {
        self.chooser.pick(Concern::Crash, &[When::Before, When::After])
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is open between operations")
    }

    fn perform(&mut self, op: Op) -> Step {
        match op {
            Op::Write => self.write(1),
            Op::WriteBatch => {
                let count = self.source.batch_len(&self.shape, &mut self.chooser);
                self.write(count)
            }
            Op::Sync => {
                let result = self.engine().sync();
                self.acknowledge("sync", result)?;
                self.check_watermarks()
            }
            Op::Flush => {
                let result = self.engine().flush();
                if self.acknowledge("flush", result)? {
                    self.check_flushed()?;
                }
                self.check_watermarks()
            }
            Op::Step => self.step(),
            Op::Query => self.query(),
            Op::CheckAll => self.check_all(),
            Op::Reopen => self.reopen(),
            Op::Refused => self.refused(),
            Op::ArmError => {
                let armed = self.draw_error();
                self.timeline.note(&[], || format!("         {armed:?}"));
                self.disk.arm(armed);
                Ok(())
            }
            Op::Space => {
                self.disk.set_no_space(!self.disk.has_no_space());
                Ok(())
            }
            Op::ArmCrash => {
                let (away, when) = (self.chooser.below(Concern::Crash, 12), self.when());
                self.disk.arm_crash(away, when);
                Ok(())
            }
            Op::CrashNow => self.crash(),
            Op::Kill => self.kill(),
        }
    }

    // ---- operations ----

    fn write(&mut self, count: u32) -> Step {
        let points = self.source.points(&self.shape, count, &mut self.chooser);
        let result = match &points[..] {
            [one] => self.engine().write(*one),
            many => self.engine().write_batch(many),
        };
        let accepted = match &result {
            Ok(()) if self.read_only => {
                return Err(Violation::new(Verdict::Lost, "I8", "write returned Ok after a failed sync"));
            }
            Ok(()) => true,
            Err(error) => {
                self.excuse("write", error)?;
                self.shape.config.durability == Durability::Immediate && self.was_accepted(&points)
            }
        };
        if accepted {
            self.longest_write = self.longest_write.max(points.len() as u64);
            self.handed = false;
            points.iter().for_each(|point| self.model.accept(point));
            self.counts.points_written += points.len() as u64;
            self.accepted += points.len() as u64;
        }
        if self.shape.config.durability == Durability::Immediate && result.is_ok() {
            self.acknowledge("write", result)?;
        }
        self.note_trouble();
        // Now and then: reading the counters takes longer than a write.
        if self.counts.operations.is_multiple_of(4) { self.check_watermarks() } else { Ok(()) }
    }

    /// Whether a write that could not be made durable was accepted: the contract allows both.
    fn was_accepted(&mut self, points: &[Point]) -> bool {
        if self.disk.is_dead() {
            // In doubt until recovery; a prefix that includes it, or one that does not.
            return true;
        }
        let last: BTreeMap<(u32, i64), &Point> =
            points.iter().map(|point| ((point.tag, point.ts_us), point)).collect();
        let differs =
            |point: &&Point| self.model.range(point.tag, point.ts_us, point.ts_us).next() != Some(**point);
        let Some(point) = last.into_values().find(differs) else {
            // The same bits are there already: accepted or not, nothing shows it but the length of the log.
            self.count_is_exact = false;
            return false;
        };
        self.disk.heal_reads();
        let seen = self.engine().query(point.tag, point.ts_us..=point.ts_us);
        matches!(seen.as_deref(), Ok([seen]) if seen == point)
    }

    /// A call that makes everything durable has returned.
    fn acknowledge(&mut self, call: &'static str, result: tidewall::Result<()>) -> Result<bool, Violation> {
        let fired = self.disk.take_fired();
        let final_fault = fired.iter().copied().find(|fault| is_final(*fault));
        self.troubled |= !fired.is_empty();
        match result {
            Ok(()) if final_fault.is_some() => {
                let story = format!(
                    "{call} returned Ok although a {} struck during it",
                    final_fault.expect("checked").name()
                );
                Err(Violation::new(Verdict::Lost, "I8", story))
            }
            Ok(()) => {
                if self.read_only {
                    let story = format!("{call} returned Ok after a failed sync");
                    return Err(Violation::new(Verdict::Lost, "I8", story));
                }
                // What was snapped during the call is judged by what was promised before it returned.
                self.judge_snapshots()?;
                self.model.ack();
                Ok(true)
            }
            Err(error) => {
                self.read_only |= final_fault.is_some();
                self.excuse_fired(call, &error, &fired)?;
                Ok(false)
            }
        }
    }

    fn step(&mut self) -> Step {
        // Twice: what the first one finds too young and too small, the second one finds old.
        for _ in 0..2 {
            if let Err(error) = self.engine().step() {
                return self.excuse("step", &error);
            }
        }
        self.note_trouble();
        let expected = self.base_lsn + self.accepted;
        let appended = self.engine().stats().appended_lsn.0;
        if appended != expected && self.count_is_exact && !self.disk.is_dead() {
            let story = format!("after two steps {appended} points are in the log, of {expected} accepted");
            return Err(Violation::new(Verdict::Stuck, "step", story));
        }
        self.handed = !self.disk.is_dead();
        self.check_watermarks()
    }

    fn query(&mut self) -> Step {
        let tag = self.chooser.between(Concern::Data, 1, self.shape.tags);
        let mut bound = |_| {
            let at = i64::from(tag) * 1000 + i64::from(self.chooser.below(Concern::Data, 4000)) - 500;
            match self.chooser.below(Concern::Data, 4) {
                0 => Bound::Unbounded,
                1 => Bound::Excluded(at),
                _ => Bound::Included(at),
            }
        };
        let (start, end) = (bound(0), bound(1));
        let low = match start {
            Bound::Included(at) => at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => i64::MIN,
        };
        let high = match end {
            Bound::Included(at) => at,
            Bound::Excluded(at) => at - 1,
            Bound::Unbounded => i64::MAX,
        };
        match self.engine().query(tag, (start, end)) {
            Ok(found) => {
                self.counts.points_checked += found.len() as u64;
                if found.iter().copied().eq(self.model.range(tag, low, high)) {
                    return Ok(());
                }
                let wanted = self.model.range(tag, low, high).count();
                let story =
                    format!("tag {tag} in {low}..={high}: {} points, not the {wanted} accepted", found.len());
                Err(Violation::new(Verdict::Lost, "accepted points are visible", story))
            }
            Err(error) => self.excuse("query", &error),
        }
    }

    /// Every tag shows exactly what was accepted.
    fn check_all(&mut self) -> Step {
        for tag in self.model.all_tags() {
            match self.engine().query(tag, ..) {
                Ok(found) => {
                    self.counts.points_checked += found.len() as u64;
                    if !found.iter().copied().eq(self.model.range(tag, i64::MIN, i64::MAX)) {
                        let wanted = self.model.range(tag, i64::MIN, i64::MAX).count();
                        let story = format!("tag {tag}: {} points, not the {wanted} accepted", found.len());
                        return Err(Violation::new(Verdict::Lost, "accepted points are visible", story));
                    }
                }
                Err(error) => self.excuse("query", &error)?,
            }
        }
        let tags = self.engine().tags().map_err(|error| stuck("tags", &error))?;
        if tags != self.model.tags() {
            let story = format!("tags() is {tags:?}, written were {:?}", self.model.tags());
            return Err(Violation::new(Verdict::Lost, "accepted points are visible", story));
        }
        Ok(())
    }

    fn reopen(&mut self) -> Step {
        let result = self.engine().close();
        if self.acknowledge("close", result)? {
            self.closed = true;
            if self.engine().query(1, ..).is_ok() || self.engine().write(Point::new(1, 0, 0.0)).is_ok() {
                return Err(Violation::new(Verdict::Stuck, "close", "a closed engine answers"));
            }
            if self.chooser.chance(Concern::Ops, 64) {
                let other =
                    Config { chunk_bytes: self.shape.config.chunk_bytes + 512, ..self.shape.config.clone() };
                match Engine::open(Arc::new(self.disk.clone()), other) {
                    Err(Error::Geometry { field: "chunk_bytes", .. }) => {}
                    Err(_) if !self.disk.take_fired().is_empty() || self.disk.is_dead() => {}
                    other => {
                        let story = format!("opened with another geometry: {:?}", other.err());
                        return Err(Violation::new(Verdict::Stuck, "geometry is compared", story));
                    }
                }
            }
            self.retire_engine();
            if self.disk.is_dead() { self.crash() } else { self.recover() }
        } else {
            Ok(())
        }
    }

    fn refused(&mut self) -> Step {
        let mut points = self.source.points(&self.shape, 2, &mut self.chooser);
        points[1].tag = 0;
        let wrong = |call: &str, got: String| {
            Err(Violation::new(
                Verdict::Stuck,
                "refusals",
                format!("{call} was not refused as it must be: {got}"),
            ))
        };
        match self.engine().write_batch(&points) {
            Err(Error::InvalidTag { index: 1 }) => {}
            other => return wrong("tag 0", format!("{other:?}")),
        }
        match self.engine().query(0, ..) {
            Err(Error::InvalidTag { .. }) => {}
            other => return wrong("a query of tag 0", format!("{other:?}")),
        }
        let again = Engine::open(Arc::new(self.disk.clone()), self.shape.config.clone());
        match again {
            Err(Error::Locked) => Ok(()),
            Err(error) => self.excuse("a second open", &error),
            Ok(_) => wrong("a second open", "it succeeded".into()),
        }
    }

    // ---- crashes ----

    /// The power fails, or has failed; the run goes on from what survives.
    fn crash(&mut self) -> Step {
        self.retire_engine();
        self.counts.crashes += 1;
        self.disk = self.cut(&self.disk.clone());
        self.recover()
    }

    /// The process dies; the machine does not.
    fn kill(&mut self) -> Step {
        self.retire_engine();
        self.must_keep_all = self.handed && !self.read_only;
        self.faults.count(Fault::Kill, true);
        self.disk.heal();
        self.recover()
    }

    fn cut(&mut self, disk: &SimDisk) -> SimDisk {
        let survivor = disk.power_cut(&mut self.chooser, self.setting.profile);
        self.take_counts(disk);
        survivor
    }

    fn retire_engine(&mut self) {
        self.engine = None;
        self.counts.rotations += std::mem::take(&mut self.progress.0);
        self.counts.blocks += std::mem::take(&mut self.progress.1);
    }

    fn take_counts(&mut self, disk: &SimDisk) {
        self.faults.add(&disk.take_counts());
        self.counts.io_ops += disk.take_io_ops();
    }

    fn recover(&mut self) -> Step {
        let closed = std::mem::take(&mut self.closed);
        let must_keep_all = std::mem::take(&mut self.must_keep_all);
        let crashes = self.counts.crashes;
        let (engine, disk) = self.open(self.disk.clone())?;
        let must_keep_all = must_keep_all && self.counts.crashes == crashes;
        self.disk = disk;
        // What was snapped while recovery was at work is judged by what was promised before.
        self.judge_snapshots()?;
        let report = engine.recovery_report().clone();
        if report.created && self.exists {
            return Err(Violation::new(Verdict::Lost, "I5", "the store was taken for a new one"));
        }
        self.exists = true;
        if closed && (report.frames_replayed, report.points_replayed) != (0, 0) {
            let story = format!("{} points were replayed after a clean close", report.points_replayed);
            return Err(Violation::new(Verdict::Invented, "close: reopening replays nothing", story));
        }
        let mut model = std::mem::take(&mut self.model);
        let judged = self.judge(&engine, &model, None);
        let survived = judged?;
        let lost = model.all_tags().zip(&survived).find(|(tag, survived)| **survived < model.maybes(*tag));
        if let Some((tag, _)) = lost.filter(|_| must_keep_all) {
            let story =
                format!("tag {tag}: a step had handed everything to the system, and the process died alone");
            return Err(Violation::new(Verdict::Lost, "step", story));
        }
        model.all_tags().zip(survived).for_each(|(tag, survived)| model.recovered(tag, survived));
        self.model = model;
        let stats = engine.stats();
        self.base_lsn = stats.appended_lsn.0;
        self.accepted = 0;
        let durable_before = self.marks[1];
        self.marks = [stats.checkpoint_lsn.0, stats.durable_lsn.0, stats.appended_lsn.0];
        if stats.durable_lsn != stats.appended_lsn || stats.durable_lsn.0 < durable_before {
            let story = format!(
                "durable {durable_before} before, {} of {} after",
                stats.durable_lsn, stats.appended_lsn
            );
            return Err(Violation::new(Verdict::Lost, "I7", story));
        }
        self.read_only = false;
        self.troubled = false;
        self.handed = false;
        self.count_is_exact = true;
        self.engine = Some(engine);
        if self.chooser.chance(Concern::Crash, 48) { self.inspect_recovered() } else { Ok(()) }
    }

    /// After a recovery the disk alone proves all of the log to be durable, and what is in memory is what is in the log
    /// and in no block: each point once (I5).
    fn inspect_recovered(&mut self) -> Step {
        let inspection = self.inspect(&self.disk.clone())?;
        let stats = self.engine().stats();
        let Some(version) = &inspection.version else {
            return Err(Violation::new(Verdict::Lost, "I4", "an open store has no manifest"));
        };
        if (inspection.proven_lsn, inspection.end_lsn) != (stats.durable_lsn, stats.durable_lsn) {
            let story = format!(
                "after recovery the log ends at {} and is proven up to {}, but {} is called durable",
                inspection.end_lsn, inspection.proven_lsn, stats.durable_lsn
            );
            return Err(Violation::new(Verdict::Lost, "I6", story));
        }
        let live = inspection.segments.iter().flat_map(|segment| segment.live());
        let unflushed = live.filter(|frame| {
            version.tags.get(&frame.header.tag).is_none_or(|tag| tag.flushed_lsn <= frame.header.first_lsn)
        });
        let points: u64 = unflushed.map(|frame| u64::from(frame.header.count)).sum();
        if points != stats.buffered_points {
            let story =
                format!("{points} points are in the log only, {} are in memory", stats.buffered_points);
            return Err(Violation::new(Verdict::Invented, "I5", story));
        }
        Ok(())
    }

    /// Opens the store on a disk, through crashes and errors on the way.
    fn open(&mut self, mut disk: SimDisk) -> Result<(Engine, SimDisk), Violation> {
        let (mut depth, mut retries) = (0, 0);
        loop {
            if depth < DEPTH && self.chooser.chance(Concern::Crash, 40) {
                let (away, when) = (self.chooser.below(Concern::Crash, 20), self.when());
                disk.arm_crash(away, when);
                self.faults.arm(if depth == 0 { Fault::CrashRecovery } else { Fault::CrashNested });
            } else if retries < 2 && self.chooser.chance(Concern::Faults, 40) {
                let armed = self.draw_error_at_open();
                disk.arm(armed);
            }
            let exec = Box::new(Shuffled(AtomicU64::new(self.chooser.below(Concern::Order, 1 << 16).into())));
            self.timeline.note(&[depth.into()], || "   open".into());
            let result = Engine::open_with(Arc::new(disk.clone()), self.shape.config.clone(), exec);
            let fired = disk.take_fired();
            if disk.is_dead() {
                drop(result);
                self.faults.fire(if depth == 0 { Fault::CrashRecovery } else { Fault::CrashNested });
                self.counts.crashes += 1;
                depth += 1;
                disk = self.cut(&disk);
                continue;
            }
            match result {
                Ok(engine) => {
                    disk.heal();
                    self.counts.recoveries += 1;
                    return Ok((engine, disk));
                }
                Err(Error::Io { .. } | Error::ReadOnly { .. }) if !fired.is_empty() => {
                    retries += 1;
                    disk.heal();
                }
                Err(error @ Error::Corrupt(_)) => {
                    let story = format!("opening refuses a disk on which nothing was damaged: {error}");
                    return Err(Violation::new(Verdict::Lost, "I6", story));
                }
                Err(error) => return Err(stuck("open", &error)),
            }
        }
    }

    /// What every tag shows after a recovery is what was acked, and a prefix of the maybes; their number by tag.
    fn judge(&mut self, engine: &Engine, model: &Model, fails: Option<u32>) -> Result<Vec<usize>, Violation> {
        let mut survived = Vec::new();
        for tag in model.all_tags() {
            match engine.query(tag, ..) {
                Ok(found) if fails == Some(tag) => {
                    let story = format!(
                        "tag {tag} answers with {} points although a block of it is damaged",
                        found.len()
                    );
                    return Err(Violation::new(Verdict::Invented, "I6", story));
                }
                Ok(found) => {
                    self.counts.points_checked += found.len() as u64;
                    survived.push(model.judge(tag, &found)?);
                }
                Err(Error::Corrupt(_)) if fails == Some(tag) => {}
                Err(error) => return Err(stuck("query after recovery", &error)),
            }
        }
        self.counts.acked_points_checked += model.acked_points();
        Ok(survived)
    }

    /// Recovers from crashes at the snapshots that were taken, on the side.
    fn judge_snapshots(&mut self) -> Step {
        for snapshot in self.disk.take_snapshots() {
            self.judge_snapshot(&snapshot)?;
        }
        Ok(())
    }

    fn judge_snapshot(&mut self, snapshot: &Snapshot) -> Step {
        self.timeline
            .note(&[snapshot.at], || format!("   on the side: the power fails at change {}", snapshot.at));
        let image = self.disk.from_snapshot(snapshot, &mut self.chooser, self.setting.profile);
        self.counts.crashes += 1;
        if self.chooser.chance(Concern::Crash, 64) {
            self.inspect(&image)?;
        }
        if self.exists && self.chooser.chance(Concern::Faults, 72) {
            return self.judge_damage(&image);
        }
        let (engine, disk) = self.open(image)?;
        let model = std::mem::take(&mut self.model);
        let judged = self.judge(&engine, &model, None);
        self.model = model;
        drop(engine);
        self.take_counts(&disk);
        judged?;
        self.timeline.note(&[snapshot.at], || "   back to the run".into());
        Ok(())
    }

    /// Something at rest is damaged on a crashed disk: the store must notice, or not be harmed.
    fn judge_damage(&mut self, image: &SimDisk) -> Step {
        let inspection = self.inspect(image)?;
        let Some(strike) = damage::draw(&mut self.chooser, &inspection, &image.files()) else {
            return Ok(());
        };
        let image = image.copy();
        image.damage(strike.fault, &strike.file, strike.change);
        let before = image.contents();
        let story = |what: &str| format!("{what} after damage to {}: {:?}", strike.file, strike.change);
        let owed = matches!(strike.expected, Expected::Refusal | Expected::TagFails(_));
        let seen = inspect(&image).map_err(|error| stuck("inspect", &error))?;
        if owed && seen.damage.is_empty() {
            return Err(Violation::new(Verdict::Lost, "I6", story("inspect finds everything sound")));
        }
        let opened = Engine::open(Arc::new(image.clone()), self.shape.config.clone());
        self.counts.recoveries += 1;
        let judged = match opened {
            Err(Error::Corrupt(Corruption { .. })) => {
                let changed =
                    image.contents().into_iter().find(|(name, content)| before.get(name) != Some(content));
                match changed {
                    // The lock file is made by whoever opens first.
                    Some((name, _)) if name != "LOCK" => {
                        let story = story(&format!("opening was refused, but changed {name},"));
                        Err(Violation::new(Verdict::Lost, "I6", story))
                    }
                    _ => Ok(()),
                }
            }
            Err(error) => Err(stuck(&story("open"), &error)),
            Ok(_) if strike.expected == Expected::Refusal => {
                Err(Violation::new(Verdict::Lost, "I6", story("the store opened")))
            }
            Ok(_) if strike.expected == Expected::MayLoseTail => Ok(()),
            Ok(engine) => {
                let fails = if let Expected::TagFails(tag) = strike.expected { Some(tag) } else { None };
                let model = std::mem::take(&mut self.model);
                let judged = self.judge(&engine, &model, fails);
                self.model = model;
                judged.map(drop)
            }
        };
        self.take_counts(&image);
        judged
    }

    /// A crash damages nothing: every checksum and every reference of the surviving disk holds.
    fn inspect(&mut self, disk: &SimDisk) -> Result<Inspection, Violation> {
        let inspection = inspect(disk).map_err(|error| stuck("inspect", &error))?;
        self.counts.inspections += 1;
        let blocks = inspection.chunks.iter().flat_map(|chunk| &chunk.blocks);
        if blocks.clone().any(|(block, _)| block.count as usize > self.shape.config.block_points) {
            return Err(Violation::new(
                Verdict::Stuck,
                "block_points",
                "a block holds more points than it may",
            ));
        }
        // Before the first open has ended there may be no manifest.
        match inspection.damage.first() {
            Some(damage) if self.exists => {
                let story = format!("the disk that a crash left is damaged: {damage}");
                Err(Violation::new(Verdict::Lost, "I4", story))
            }
            _ => Ok(inspection),
        }
    }

    // ---- the end ----

    /// The faults stop: everything must work again, and nothing may be missing.
    fn end(&mut self) -> Step {
        self.timeline.note(&[], || " END the faults stop".into());
        self.disk.heal();
        if self.read_only {
            self.kill()?;
        }
        self.check_all()?;
        let synced = self.engine().sync();
        self.acknowledge("sync", synced)?;
        let closed = self.engine().close();
        self.acknowledge("close", closed)?;
        self.closed = true;
        let inspection = self.inspect(&self.disk.clone())?;
        self.counts.chunks += inspection.chunks.len() as u64;
        self.retire_engine();
        self.recover()?;
        self.disk.heal();
        self.check_all()?;
        self.retire_engine();
        Ok(())
    }

    // ---- checks ----

    /// I7, and that a tag's tail is bounded.
    fn check_watermarks(&mut self) -> Step {
        if self.engine.is_none() || self.disk.is_dead() {
            return Ok(());
        }
        let stats = self.engine().stats();
        self.progress = (stats.rotations, stats.blocks_written);
        let marks = [stats.checkpoint_lsn.0, stats.durable_lsn.0, stats.appended_lsn.0];
        let ordered = marks[0] <= marks[1] && marks[1] <= marks[2];
        let rising = marks.iter().zip(&self.marks).all(|(now, before)| now >= before);
        if !ordered || !rising {
            let story = format!("checkpoint, durable, appended were {:?} and are {marks:?}", self.marks);
            return Err(Violation::new(Verdict::Lost, "I7", story));
        }
        self.marks = marks;
        // Recovery may take one more than appends may.
        if stats.segments > self.shape.config.segments_max as u64 + 1 {
            let story = format!("{} segments, {} may be", stats.segments, self.shape.config.segments_max);
            return Err(Violation::new(Verdict::Stuck, "segments_max", story));
        }
        let waiting = (self.base_lsn + self.accepted).saturating_sub(marks[2]);
        let tails = u64::from(self.shape.tags) * (self.shape.config.batch_points as u64 - 1);
        // A call whose batches could not be appended has succeeded; the next one must append them or fail.
        let most = tails + if self.troubled { self.longest_write } else { 0 };
        if waiting > most {
            let story = format!("{waiting} accepted points are in no frame, {most} may be");
            return Err(Violation::new(Verdict::Stuck, "batching", story));
        }
        Ok(())
    }

    fn check_flushed(&mut self) -> Step {
        let stats = self.engine().stats();
        let all = if self.count_is_exact { self.base_lsn + self.accepted } else { stats.appended_lsn.0 };
        let state = (stats.appended_lsn.0, stats.durable_lsn.0, stats.checkpoint_lsn.0);
        if state != (all, all, all)
            || (stats.buffered_points, stats.sealed_buffers, stats.busy_segments) != (0, 0, 0)
        {
            let story = format!("{all} points accepted, but after a flush {stats:?}");
            return Err(Violation::new(Verdict::Stuck, "flush", story));
        }
        Ok(())
    }

    /// A call failed: there must be a reason.
    fn excuse(&mut self, call: &'static str, error: &Error) -> Step {
        let fired = self.disk.take_fired();
        self.excuse_fired(call, error, &fired)
    }

    fn excuse_fired(&mut self, call: &'static str, error: &Error, fired: &[Fault]) -> Step {
        self.timeline.note(&[fired.len() as u64], || format!("         {call}: {error}"));
        self.troubled = true;
        let expected = match error {
            Error::ReadOnly { .. } => self.read_only || fired.iter().any(|fault| is_final(*fault)),
            Error::Io { .. } => !fired.is_empty(),
            _ => false,
        };
        self.read_only |= fired.iter().any(|fault| is_final(*fault));
        if expected || self.disk.is_dead() { Ok(()) } else { Err(stuck(call, error)) }
    }

    /// Faults may strike in a call that returns `Ok`, when what failed is a later call's to report.
    fn note_trouble(&mut self) {
        let fired = self.disk.take_fired();
        self.troubled |= !fired.is_empty();
        self.read_only |= fired.iter().any(|fault| is_final(*fault));
    }

    /// An error for some call to come.
    fn draw_error(&mut self) -> Armed {
        let kind = if self.chooser.chance(Concern::Faults, 128) {
            self.chooser.pick(Concern::Faults, &[IoKind::Write, IoKind::Sync])
        } else {
            self.chooser.pick(Concern::Faults, &IoKind::ALL)
        };
        self.draw_error_of(kind, 6)
    }

    /// An error for a call of an opening, which makes some kinds of call seldom and others nowhere else.
    fn draw_error_at_open(&mut self) -> Armed {
        let rare = [IoKind::Remove, IoKind::SetLen, IoKind::Rename, IoKind::List, IoKind::SyncDir];
        if self.chooser.chance(Concern::Faults, 128) {
            let kind = self.chooser.pick(Concern::Faults, &rare);
            return self.draw_error_of(kind, 1);
        }
        let kind = self.chooser.pick(Concern::Faults, &IoKind::ALL);
        self.draw_error_of(kind, 6)
    }

    fn draw_error_of(&mut self, kind: IoKind, within: u32) -> Armed {
        let faults = Concern::Faults;
        let effect = match kind {
            IoKind::Sync => {
                self.chooser.pick(faults, &[Effect::None, Effect::PagesDropped, Effect::PagesClean])
            }
            _ => Effect::Part(self.chooser.below(faults, 256) as u8),
        };
        // Often one kind of file: what follows from a manifest that cannot be written is seen only if the rest can.
        let only = self.chooser.pick(faults, &["", "MANIFEST", "chunk", "wal"]);
        Armed {
            kind,
            only,
            after: self.chooser.below(faults, within),
            sticky: self.chooser.chance(faults, 64),
            effect,
        }
    }
}

fn stuck(call: &str, error: &Error) -> Violation {
    Violation::new(Verdict::Stuck, "calls succeed on a sound disk", format!("{call}: {error}"))
}

/// After these nobody knows what is on the disk (I8).
fn is_final(fault: Fault) -> bool {
    matches!(fault, Fault::SyncError | Fault::SyncDirError | Fault::RenameError)
}
