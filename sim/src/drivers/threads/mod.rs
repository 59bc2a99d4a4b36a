//! The whole engine with all its threads, where every switch between them is a choice on the tape.
//!
//! The engine's own sources are compiled again (`tidewall-shuttle`) with locks, atomics and threads that shuttle switches
//! between: each lock operation, each atomic and each I/O is a point at which another thread may go on. Two to four
//! writers and, each now and then, a syncer, up to two readers, a keeper of time and closers work on one engine, with its
//! loggers, flusher and pool, on the simulated disk. The tape decides the schedule *and* the crash: one seed, one story.
//!
//! A run has one to three lives of the machine. In each the engine is opened (with its threads, so recovery is scheduled
//! too), used, and ends by a power cut at some I/O, a kill, or a close. What survives is then opened once more by the plain
//! engine and judged by what each thread had been told (`history`).
//!
//! | file | subject |
//! |---|---|
//! | `script` | what each thread will do: drawn before they start |
//! | `schedule` | who runs next: random, sticky and PCT, drawn from the tape |
//! | `disk` | the simulated disk as the scheduled engine sees it |
//! | `workers` | the calls, and what becomes of them |
//! | `history` | the oracle of concurrent calls |
//! | this one | lives, crashes, judging |

mod disk;
pub mod event;
mod history;
mod schedule;
mod script;
mod workers;

use super::{Step, check_durable, check_opening, findings, stuck, watched};
use crate::choice::{Chooser, Concern};
use crate::coverage::{Coverage, StateHash};
use crate::disk::{Armed, Effect, IoKind, SimDisk, When};
use crate::fault::{Fault, FaultCounts};
use crate::forged;
use crate::model::{Verdict, Violation, Witness};
use crate::record::Event;
use crate::scenario::{Counts, Events, Outcome, Setting};
use crate::timeline::Timeline;
use disk::{Failed, Owed, Seen};
use history::{Fate, Latest, Read, TagHistory, View, Write, view};
use parking_lot::{Mutex, MutexGuard};
use schedule::TapeScheduler;
use script::{End, Life, TAGS};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tidewall::plant::Bug;
use tidewall::{Config, Durability, Engine, InOrder, inspect};
use tidewall_shuttle as scheduled;

/// A life that takes more scheduling steps than this does not end.
const STEPS_MAX: usize = 200_000;

/// Stack of each scheduled thread: recovery keeps no large values on it.
const STACK_BYTES: usize = 256 << 10;

/// Errors that are set up for one life.
const ERRORS_MAX: usize = 3;
const ERRORS: [IoKind; 8] = [
    IoKind::Write,
    IoKind::Sync,
    IoKind::SyncDir,
    IoKind::Open,
    IoKind::SetLen,
    IoKind::Sync,
    IoKind::Rename,
    IoKind::Read,
];

/// What the threads of a run share, outside of what is scheduled. Its locks are never held at a scheduling point.
struct World {
    chooser: Mutex<Chooser>,
    timeline: Timeline,
    clock: AtomicU64,
    /// Scheduling steps.
    steps: AtomicU64,
    told: Mutex<Told>,
    events: Mutex<Events>,
    /// A close of this life has returned Ok: no thread of the engine may run any more.
    ended: AtomicBool,
}

/// What the threads of one life were told.
#[derive(Default)]
struct Told {
    writes: Vec<Write>,
    reads: Vec<Read>,
    latest: Vec<Latest>,
    /// Lists of tags: when they were asked for and given, and what they said.
    lists: Vec<(u64, u64, Vec<u32>)>,
    /// Calls that make everything durable and returned Ok.
    syncs: u64,
    /// The highest durable LSN that was seen.
    durable_lsn: u64,
    /// Calls that could report an error of a background thread: when they began and ended, and whether they failed.
    reports: Vec<(u64, u64, bool)>,
    failed: Vec<Failed>,
    background_io: Vec<Seen>,
    /// A close began.
    closing: bool,
    /// A close returned Ok.
    closed: bool,
    /// When.
    closed_at: u64,
    /// When a call was first told that the engine is read-only.
    read_only_at: Option<u64>,
    violation: Option<Violation>,
    calls: u64,
    rotations: u64,
    blocks: u64,
}

impl World {
    /// The next moment.
    fn stamp(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock()
    }

    fn count(&self, event: &'static str, times: u64) {
        *self.events.lock().entry(event).or_default() += times;
    }

    fn violate(&self, violation: Violation) {
        self.timeline.record(|| Event::Broken(violation.clone()));
        self.lock().violation.get_or_insert(violation);
    }
}

/// Runs one tape.
pub fn run(chooser: Chooser, setting: Setting<'_>) -> Outcome {
    let timeline = if setting.with_lines { Timeline::with_lines() } else { Timeline::default() };
    let world = Arc::new(World {
        chooser: Mutex::new(chooser),
        timeline: timeline.clone(),
        clock: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        told: Mutex::default(),
        events: Mutex::default(),
        ended: AtomicBool::new(false),
    });
    let disk = SimDisk::new(timeline.clone());
    disk.set_lie(setting.lie);
    disk.set_profile(setting.profile);
    let mut run = Run {
        world: world.clone(),
        setting,
        disk,
        base: TAGS.iter().map(|tag| (*tag, View::new())).collect(),
        exists: false,
        counts: Counts::default(),
        faults: FaultCounts::default(),
        coverage: Coverage::default(),
    };
    let ended = watched(setting.plant, || {
        scheduled::plant::set(setting.plant.and_then(same_bug));
        run.all()
    });
    scheduled::plant::set(None);
    if let Err(violation) = &ended {
        timeline.note(&[violation.verdict as u64], || format!("VIOLATION  {violation}"));
    }
    run.take_counts();
    let chooser = world.chooser.lock();
    let (tape, marks) = (chooser.made().clone(), chooser.marks().to_vec());
    drop(chooser);
    Outcome {
        violation: ended.err(),
        counts: run.counts,
        faults: run.faults,
        events: std::mem::take(&mut *world.events.lock()),
        coverage: run.coverage,
        hash: timeline.hash(),
        tape,
        marks,
        lines: timeline.lines(),
        record: timeline.take_record(),
    }
}

/// The bug in the other build of the engine.
fn same_bug(bug: Bug) -> Option<scheduled::plant::Bug> {
    scheduled::plant::Bug::named(bug.name())
}

struct Run<'a> {
    world: Arc<World>,
    setting: Setting<'a>,
    disk: SimDisk,
    /// What the last recovery found, by tag.
    base: BTreeMap<u32, View>,
    /// An open has returned: there is a store to lose.
    exists: bool,
    counts: Counts,
    faults: FaultCounts,
    coverage: Coverage,
}

impl Run<'_> {
    fn all(&mut self) -> Step {
        let (lives, geometry) = {
            let mut chooser = self.world.chooser.lock();
            (chooser.pick(Concern::Shape, &[1, 2, 3]), script::geometry(&mut chooser))
        };
        let mut clock = 10;
        for number in 0..lives {
            if number > 0 && !self.world.chooser.lock().begin_operation() {
                break;
            }
            let life = Life::draw(&mut self.world.chooser.lock(), &geometry, &mut clock);
            self.world.timeline.note(&[number], || format!("LIFE {number}  {life:?}"));
            self.live(&life)?;
            self.end(&life);
            self.judge(&life.config)?;
        }
        Ok(())
    }

    /// One execution: the engine is opened, its threads work, it is closed or dropped.
    fn live(&mut self, life: &Life) -> Step {
        self.arm();
        *self.world.lock() = Told::default();
        self.world.ended.store(false, Ordering::Relaxed);
        let (world, disk, script) = (self.world.clone(), self.disk.clone(), life.clone());
        let mut config = shuttle::Config::new();
        config.stack_size = STACK_BYTES;
        config.failure_persistence = shuttle::FailurePersistence::None;
        config.max_steps = shuttle::MaxSteps::FailAfter(STEPS_MAX);
        config.silence_warnings = true;
        findings::record(&self.world.timeline, &self.disk, self.setting.plant);
        let runner = shuttle::Runner::new(TapeScheduler::new(self.world.clone()), config);
        runner.run(move || workers::live(&world, &disk, &script));
        let told = self.world.lock();
        self.world.count(event::LIVES, 1);
        self.counts.operations += told.calls;
        self.counts.rotations += told.rotations;
        self.counts.blocks += told.blocks;
        self.counts.points_written += told.writes.len() as u64;
        self.world.count(event::BACKGROUND_IO, told.background_io.len() as u64);
        self.world.count(event::CLOSES, told.closed.into());
        self.world.count(event::QUERIES, told.reads.len() as u64);
        self.world.count(event::SYNCS, told.syncs);
        told.violation.clone().map_or(Ok(()), Err)
    }

    /// Sets up what will go wrong.
    fn arm(&mut self) {
        let mut chooser = self.world.chooser.lock();
        if chooser.chance(Concern::Crash, 160) {
            let when = chooser.pick(Concern::Crash, &[When::Before, When::After]);
            let reach = chooser.pick(Concern::Crash, &[64, 24, 160]);
            self.disk.arm_crash(chooser.below(Concern::Crash, reach), when);
        }
        // One error, or some that may meet.
        let faults = Concern::Faults;
        for _ in 0..ERRORS_MAX {
            if !chooser.chance(faults, 96) {
                break;
            }
            let kind = chooser.pick(faults, &ERRORS);
            let effect = Effect::draw(&mut chooser, kind);
            let only = chooser.pick(faults, &["MANIFEST", "wal", "chunk", "MANIFEST", ""]);
            let after = chooser.below(faults, 12);
            self.disk.arm_also(Armed { kind, only, after, sticky: chooser.chance(faults, 48), effect });
        }
        if chooser.chance(Concern::Faults, 64) {
            let after = chooser.below(Concern::Faults, 48);
            self.disk.arm_stall(after, chooser.pick(Concern::Faults, &[40, 400, 2000]));
        }
    }

    /// The life is over; what is on the disk now?
    fn end(&mut self, life: &Life) {
        if self.disk.is_dead() || life.end == End::PowerCut {
            self.counts.crashes += 1;
            let survivor = self.disk.power_cut(&mut self.world.chooser.lock(), self.setting.profile);
            self.take_counts();
            self.coverage.images.insert(survivor.image_hash());
            self.disk = survivor;
        } else {
            if life.end == End::Kill {
                self.faults.count(Fault::Kill, true);
                self.world.timeline.record(|| Event::Killed);
            }
            self.disk.heal();
        }
    }

    /// The plain engine opens what survived; every thread's word is held against it.
    fn judge(&mut self, config: &scheduled::Config) -> Step {
        let told = std::mem::take(&mut *self.world.lock());
        self.exists |= told.calls > 0;
        if self.exists {
            let inspection = inspect(&self.disk).map_err(|error| stuck("inspect", &error))?;
            self.counts.inspections += 1;
            if let Some(damage) = inspection.damage.first() {
                findings::record(&self.world.timeline, &self.disk, self.setting.plant);
                let story = format!("the disk that was left is damaged: {damage}");
                let violation = Violation::new(Verdict::Lost, "I4", story);
                return Err(violation.about(Witness::place(damage)));
            }
        }
        background_errors(&told)?;
        self.world.timeline.in_thread(|| "oracle".into());
        findings::record(&self.world.timeline, &self.disk, self.setting.plant);
        let engine = Engine::open_with(Arc::new(self.disk.clone()), plain(config), Box::new(InOrder))
            .map_err(|error| stuck("open", &error))?;
        self.counts.recoveries += u64::from(!told.closed);
        let report = engine.recovery_report();
        self.world.timeline.record(|| Event::Opened(Ok(findings::recovery!(report))));
        check_opening(report, self.exists, told.closed)?;
        self.exists = true;
        check_durable(&engine.stats(), told.durable_lsn)?;
        let tags = engine.tags().map_err(|error| stuck("tags", &error))?;
        if let Some(tag) = tags.iter().find(|tag| !TAGS.contains(tag)) {
            return Err(Violation::new(Verdict::Invented, "I5", format!("nobody wrote to tag {tag}")));
        }
        let mut state = StateHash::default();
        for tag in TAGS {
            let points = engine.query(tag, ..).map_err(|error| stuck("query after recovery", &error))?;
            points.iter().for_each(|point| state.add(point));
            let shown = points.iter().map(|point| (point.tag, point.ts_us, point.value, point.quality));
            let view = view(tag, shown)?;
            self.counts.points_checked += view.len() as u64;
            self.world.timeline.record(|| Event::Shown { tag, points: view.len() as u64 });
            let history = tag_history(&told, tag, &self.base[&tag]);
            self.counts.acked_points_checked +=
                history.writes.iter().filter(|write| write.acked).count() as u64 + history.base.len() as u64;
            history.judge(&view, |write| write.acked, "after recovery")?;
            self.forge(&history, &view)?;
            let reads: Vec<&Read> = told.reads.iter().filter(|read| read.tag == tag).collect();
            for read in &reads {
                self.counts.points_checked += read.view.len() as u64;
                let owed = |write: &Write| write.fate == Fate::Accepted && write.end < read.begin;
                let judged = history.judge(&read.view, owed, "a query while threads were at work");
                judged.map_err(|violation| violation.seen_by(read.begin))?;
            }
            history.registers(&reads, &view)?;
            let mut latest = told.latest.iter().filter(|latest| latest.tag == tag);
            latest.try_for_each(|latest| history.judge_latest(latest))?;
            judge_lists(&told, &history)?;
            self.base.insert(tag, view);
        }
        self.coverage.states.insert(state.finish());
        Ok(())
    }

    /// Tries the oracle on what a broken store could show.
    fn forge(&self, history: &TagHistory<'_>, view: &View) -> Step {
        let try_it = |mistake, forged: &View| {
            let refused = history.judge(forged, |write| write.acked, "forged").is_err();
            forged::refused(mistake, refused, &mut self.world.events.lock())
        };
        if let Some(acked) = history.writes.iter().find(|write| write.acked) {
            let mut shorter = view.clone();
            shorter.remove(&acked.ts_us);
            try_it(forged::LOSS, &shorter)?;
        }
        let mut longer = view.clone();
        longer.insert(i64::MAX, 0.5.into());
        try_it(forged::INVENTION, &longer)
    }

    fn take_counts(&mut self) {
        self.faults.add(&self.disk.take_counts());
        self.counts.io_ops += self.disk.take_io_ops();
    }
}

/// The tag's part of what the threads were told in this life.
fn tag_history<'a>(told: &'a Told, tag: u32, base: &'a View) -> TagHistory<'a> {
    TagHistory { tag, base, writes: told.writes.iter().filter(|write| write.tag == tag).collect() }
}

/// A list of tags has those whose points were accepted before it was asked for, and none to which nobody wrote.
fn judge_lists(told: &Told, history: &TagHistory<'_>) -> Step {
    for (begin, end, tags) in &told.lists {
        let owed = !history.base.is_empty()
            || history.writes.iter().any(|write| write.fate == Fate::Accepted && write.end < *begin);
        let may =
            owed || history.writes.iter().any(|write| write.fate != Fate::Refused && write.begin < *end);
        let there = tags.contains(&history.tag);
        if there != owed && there != may {
            let verdict = if there { Verdict::Invented } else { Verdict::Lost };
            let story = format!("the tags from {begin} to {end} are {tags:?}: tag {}", history.tag);
            return Err(Violation::new(verdict, "accepted points are visible", story));
        }
    }
    Ok(())
}

/// An error that struck a background thread is reported by the next call that can.
fn background_errors(told: &Told) -> Step {
    for failed in told.failed.iter().filter(|failed| failed.owed != Owed::Spare) {
        let Some(Seen { thread, block, .. }) = &failed.background else { continue };
        // The thread has noted its error before it begins another round: the blocks of one flush are all tried, anything
        // else and the same block again come later. Calls that begin after that must know.
        let own = told.background_io.iter().filter(|seen| seen.thread == *thread);
        let mut later = own.filter(|seen| seen.stamp > failed.stamp);
        let Some(noted) = later.find(|seen| seen.block.is_none() || seen.block == *block) else { continue };
        let noted = noted.stamp;
        let passed = told.reports.iter().filter(|(begin, _, _)| *begin > noted);
        let Some((_, first_end, _)) = passed.filter(|(_, _, erred)| !erred).min_by_key(|(_, end, _)| *end)
        else {
            continue;
        };
        // It takes the error at some moment between its beginning and its end, so it may return later than the one that
        // found none left.
        let heard =
            told.reports.iter().any(|(begin, end, erred)| *erred && *end > failed.stamp && begin < first_end);
        if !heard {
            let story = format!(
                "an I/O of {thread} failed at {}, and the calls after it all returned Ok",
                failed.stamp
            );
            return Err(Violation::new(Verdict::Lost, "no error of a background thread is lost", story));
        }
    }
    Ok(())
}

/// The same limits for the plain engine.
fn plain(config: &scheduled::Config) -> Config {
    Config {
        durability: Durability::Batched,
        batch_points: config.batch_points,
        block_points: config.block_points,
        backlog_points: config.backlog_points,
        buffer_bytes: config.buffer_bytes,
        shards: config.shards,
        inbox_points: config.inbox_points,
        wal_streams: config.wal_streams,
        segment_bytes: config.segment_bytes,
        segments: config.segments,
        segments_max: config.segments_max,
        staging_bytes: config.staging_bytes,
        sector_bytes: config.sector_bytes,
        chunk_bytes: config.chunk_bytes,
        manifest_bytes: config.manifest_bytes,
        cache_bytes: config.cache_bytes,
        flush_workers: 1,
        flush_delay_ms: None,
    }
}
