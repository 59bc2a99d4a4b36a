//! One thread, crashes at any I/O: the fastest driver.
//!
//! A run opens an engine on a simulated disk and performs some two hundred operations, or as many as its tape has. Crashes come in three ways: in
//! the middle of an operation, after which the run goes on from what survived; as a kill of the process alone; and *on
//! the side*, from a snapshot of the disk at some I/O, which is recovered and judged while the run itself goes on. Each
//! recovery can crash again, three deep, and meet errors of its own.
//!
//! | file | subject |
//! |---|---|
//! | this one | the run: its state, its operations in turn, its end |
//! | `operations` | what each operation does and checks |
//! | `crashes` | power cuts and kills, and opening again through crashes and errors |
//! | `judging` | what must be true after a recovery, and at a snapshot |
//! | `damaged` | what must be true after damage at rest |
//! | `checks` | what must be true at any time; whether a failed call has an excuse |

mod checks;
mod crashes;
mod damaged;
mod judging;
mod operations;

use super::{Step, check_durable, check_opening, findings, stuck, watched};
use crate::blind::{self, Blind};
use crate::choice::{Chooser, Concern, SplitMix};
use crate::coverage::{Coverage, Crash, Decision, During};
use crate::disk::{Armed, IoKind, SimDisk, Snapshot, When};
use crate::fault::{Fault, FaultCounts};
use crate::forged;
use crate::model::{self, Model, Verdict, Violation, Witness};
use crate::record::{Detail, Event, Key, Opening};
use crate::scenario::{Counts, Events, Outcome, Setting};
use crate::timeline::Timeline;
use crate::workload::{Op, Shape, Source};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidewall::{Config, Durability, Engine, Error, Exec, InOrder, Inspection, Point, Task, inspect};

/// Crashes in a recovery, in the recovery from that, and in that again.
const DEPTH: u32 = 3;

/// Runs one tape.
pub fn run(chooser: Chooser, setting: Setting<'_>) -> Outcome {
    let timeline = if setting.with_lines { Timeline::with_lines() } else { Timeline::default() };
    let mut run = Run::new(chooser, setting, timeline.clone());
    let violation = watched(setting.plant, || run.all()).err();
    if let Some(violation) = &violation {
        timeline.note(&[violation.verdict as u64], || format!("VIOLATION  {violation}"));
    }
    let disk = run.disk.clone();
    run.take_counts(&disk);
    Outcome {
        violation,
        counts: run.counts,
        faults: run.faults,
        events: run.events,
        coverage: run.coverage,
        hash: timeline.hash(),
        tape: run.chooser.made().clone(),
        marks: run.chooser.marks().to_vec(),
        lines: timeline.lines(),
        record: timeline.take_record(),
    }
}

struct Run<'a> {
    chooser: Chooser,
    setting: Setting<'a>,
    shape: Shape,
    /// The limits that the store is opened with: those of the shape, or lower ones.
    config: Config,
    source: Source<'a>,
    disk: SimDisk,
    engine: Option<Engine>,
    model: Model,
    timeline: Timeline,
    counts: Counts,
    faults: FaultCounts,
    /// Forged answers that were refused.
    events: Events,
    coverage: Coverage,
    /// The call of the engine that a crash would interrupt.
    during: During,
    /// An open has succeeded: there is a store to lose.
    exists: bool,
    /// The engine was closed, and nothing has happened since.
    closed: bool,
    /// Its process was killed, and it has not been opened since.
    killed: bool,
    /// A sync has failed: the engine must accept nothing more (I8).
    read_only: bool,
    /// An error has struck since the engine was opened: some tails may be longer than a batch.
    troubled: bool,
    /// The last opening could not remove everything that it wanted to.
    spared: bool,
    /// The log's end when the engine was opened, and what was accepted since.
    base_lsn: u64,
    accepted: u64,
    /// `accepted` is exact. Not so once a write failed that may or may not have been accepted.
    count_is_exact: bool,
    longest_write: u64,
    /// A step has handed everything to the operating system since the last write: it survives the process.
    handed: bool,
    /// The recovery to come must find everything that was accepted.
    must_keep_all: bool,
    marks: [u64; 3],
    /// Durable LSN before the operation that is being performed: a crash in it owes no less.
    durable_before: u64,
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
        let shape = setting.sector_bytes.map_or(shape.clone(), |bytes| shape.with_sectors(bytes));
        let source = Source::new(&shape, setting.trace, &mut chooser);
        let disk = SimDisk::new(timeline.clone());
        disk.set_lie(setting.lie);
        disk.set_profile(setting.profile);
        Run {
            model: Model::new(shape.tags),
            config: shape.config.clone(),
            source,
            disk,
            engine: None,
            timeline,
            counts: Counts::default(),
            faults: FaultCounts::default(),
            events: Events::new(),
            coverage: Coverage::default(),
            during: During::Open,
            exists: false,
            closed: false,
            killed: false,
            read_only: false,
            troubled: false,
            spared: false,
            base_lsn: 0,
            accepted: 0,
            count_is_exact: true,
            longest_write: 0,
            handed: false,
            must_keep_all: false,
            marks: [0; 3],
            durable_before: 0,
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
            if !self.chooser.begin_operation() {
                break;
            }
            let op = self.next_op();
            self.counts.operations += 1;
            self.timeline.note(&[number.into(), op as u64], || format!("{number:>4} {op:?}"));
            if !self.disk.awaits_snapshot() {
                // Counted from the far end: the plainest choice is the one that disturbs a short run least.
                let every = self.shape.snapshot_every;
                let away = every - 1 - self.chooser.below(Concern::Crash, every);
                let when = self.when();
                self.disk.arm_snapshot(away, when);
            }
            self.during = during(op);
            self.durable_before = self.marks[1];
            let (was_read_only, changes) = (self.read_only, self.disk.changes());
            self.perform(op)?;
            // A second engine, which is refused, tries to lock.
            if was_read_only && self.read_only && op != Op::Refused {
                self.check_untouched(changes)?;
            }
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

    /// Calls the engine, on the record; which call it was, and what it returned.
    fn call<R>(
        &self,
        name: &'static str,
        points: &[Point],
        call: impl FnOnce(&Engine) -> tidewall::Result<R>,
    ) -> (u64, tidewall::Result<R>) {
        let number = self.timeline.called(|| "client".into(), name, points.iter().map(Key::from));
        self.detail(|| Detail::Written(points.into()));
        let result = call(self.engine());
        if !self.disk.is_dead() {
            self.timeline.returned(number, &result);
        }
        (number, result)
    }

    /// Records what a plain test of the run needs.
    fn detail(&self, detail: impl FnOnce() -> Detail) {
        self.timeline.record(|| Event::Detail(Box::new(detail())));
    }

    /// Records something that the test bed does.
    fn disturbed(&self, what: impl FnOnce() -> String) {
        self.timeline.record(|| Event::Note { who: "test bed".into(), what: what() });
    }

    fn perform(&mut self, op: Op) -> Step {
        match op {
            Op::Write => self.write(1),
            Op::WriteBatch => {
                let count = self.source.batch_len(&self.shape, &mut self.chooser);
                self.write(count)
            }
            Op::Sync => {
                let called = self.call("sync", &[], Engine::sync);
                self.acknowledge("sync", called)?;
                self.check_watermarks()
            }
            Op::Flush => {
                let checkpoint = self.engine().stats().checkpoint_lsn;
                let troubled = std::mem::take(&mut self.troubled);
                let called = self.call("flush", &[], Engine::flush);
                if self.acknowledge("flush", called)? {
                    self.check_flushed()?;
                }
                // With an edit of the manifest, and no fault in it, it has made up for what had failed before.
                self.troubled |= troubled && self.engine().stats().checkpoint_lsn == checkpoint;
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
                self.disturbed(|| armed.to_string());
                self.disk.arm(armed);
                Ok(())
            }
            Op::Space => self.space(),
            Op::ArmCrash => {
                let (away, when) = (self.chooser.below(Concern::Crash, 12), self.when());
                self.disk.arm_crash(away, when);
                Ok(())
            }
            Op::CrashNow => self.crash(),
            Op::Kill => self.kill(),
        }
    }

    /// The faults stop: everything must work again, and nothing may be missing.
    fn end(&mut self) -> Step {
        self.chooser.mark();
        self.timeline.note(&[], || " END the faults stop".into());
        self.disturbed(|| "the faults stop: everything must work again".into());
        self.disk.heal();
        if self.read_only {
            self.kill()?;
        }
        self.check_all()?;
        self.during = During::Sync;
        let synced = self.call("sync", &[], Engine::sync);
        self.acknowledge("sync", synced)?;
        self.during = During::Close;
        let closed = self.call("close", &[], Engine::close);
        self.acknowledge("close", closed)?;
        self.closed = true;
        let inspection = self.inspect(&self.disk.clone())?;
        self.counts.chunks += inspection.chunks.len() as u64;
        self.check_manifest(&inspection)?;
        self.retire_engine();
        self.recover()?;
        self.disk.heal();
        self.check_all()?;
        self.retire_engine();
        Ok(())
    }
}

/// The call of the engine that an operation makes, if it makes one.
fn during(op: Op) -> During {
    match op {
        Op::Write | Op::WriteBatch => During::Write,
        Op::Sync => During::Sync,
        Op::Flush => During::Flush,
        Op::Step => During::Step,
        Op::Reopen => During::Close,
        Op::Query | Op::CheckAll | Op::Refused => During::Read,
        Op::ArmError | Op::Space | Op::ArmCrash | Op::CrashNow | Op::Kill => During::Open,
    }
}
