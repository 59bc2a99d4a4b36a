//! The calls that the threads of a life make, and what is noted of each.

use super::disk::{Disk, Failed, Owed};
use super::history::{Fate, Latest, Read, Write, view};
use super::script::{End, Life, Op, TAGS};
use super::{Told, World};
use crate::disk::SimDisk;
use crate::drivers::Step;
use crate::drivers::findings;
use crate::model::{Verdict, Violation};
use crate::record::{Call, Event, Key};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidewall_shuttle::{Durability, Engine, Error, Point, Stats};

/// The life itself, as shuttle's main thread.
pub(super) fn live(world: &Arc<World>, disk: &SimDisk, life: &Life) {
    let seam = Arc::new(Disk::new(disk.clone(), world.clone()));
    let caller = Caller { world: world.clone(), disk: disk.clone(), durability: life.config.durability };
    let engine = match Engine::open(seam, life.config.clone()) {
        Ok(engine) => engine,
        Err(error) => return caller.excuse("open", &error),
    };
    world.lock().calls += 1;
    world.timeline.record(|| Event::Opened(Ok(findings::recovery!(engine.recovery_report()))));
    let start = |(number, script): (usize, &Vec<Op>)| {
        let (caller, engine, script) = (caller.clone(), engine.clone(), script.clone());
        let name = format!("caller-{number}");
        let body = move || caller.perform(&engine, number as u64, &script);
        shuttle::thread::Builder::new().name(name).spawn(body).expect("the checker gives us a thread")
    };
    let threads: Vec<_> = life.threads.iter().enumerate().map(start).collect();
    for thread in threads {
        thread.join().expect("a panic of a thread ends the run");
    }
    disk.end_stalls();
    if life.settle {
        caller.settle(&engine, life);
    }
    if life.end == End::Close {
        disk.heal();
        caller.sync_in_time(&engine);
        // What the background threads have run into is heard first: an error of each stream's logger and flush.
        for _ in 0..2 * life.config.wal_streams + 2 {
            if !world.lock().closed && world.lock().violation.is_none() {
                caller.call(&engine, &Op::Close, 0);
            }
        }
        let sound = !disk.is_dead() && !world.lock().failed.iter().any(|failed| failed.owed == Owed::Final);
        if sound && !world.lock().closed {
            let story = "the disk is sound again, and each close fails";
            world.violate(Violation::new(Verdict::Stuck, "an error is reported once", story));
        }
    }
    let closed = world.lock().closed;
    if closed && !disk.is_dead() {
        // Handles answer `Closed` from then on.
        let key = (life.config.wal_streams as u32, 0);
        for op in [Op::Write(vec![key]), Op::Sync, Op::Flush, Op::Step, Op::Query(1), Op::Tags, Op::Close] {
            caller.call(&engine, &op, 0);
        }
    }
    let stats = engine.stats();
    let left = (stats.buffered_points, stats.sealed_buffers, stats.backlog_points, stats.busy_segments);
    if closed && left != (0, 0, 0, 0) {
        let story = format!("points, sealed buffers, backlog and busy segments after a close: {left:?}");
        world.violate(Violation::new(Verdict::Stuck, "close", story));
    }
    let marks = [stats.checkpoint_lsn, stats.durable_lsn];
    if closed && marks.iter().any(|mark| *mark != stats.appended_lsn) {
        let story = format!("checkpoint and durable are {marks:?} of {} after a close", stats.appended_lsn);
        world.violate(Violation::new(Verdict::Stuck, "close", story));
    }
    caller.note_durable(stats.durable_lsn.0);
    // What a caller ran into has been made known by now: all of them have returned.
    let is_final = |failed: &Failed| failed.owed == Owed::Final && failed.background.is_none();
    if !disk.is_dead() && world.lock().failed.iter().any(is_final) {
        let story = match engine.sync() {
            Ok(()) => Some("a sync returns Ok".to_string()),
            Err(Error::Closed) => Some("a close returned Ok".to_string()),
            Err(_) => None,
        };
        if let Some(story) = story.filter(|_| !disk.is_dead()) {
            world.violate(Violation::new(Verdict::Lost, "I8", format!("{story} after a failed sync")));
        }
    }
    let mut told = world.lock();
    (told.rotations, told.blocks) = (stats.rotations, stats.blocks_written);
}

/// Far more scheduling steps than a sync of some tags takes, other threads' included.
const SYNC_STEPS_MAX: u64 = 20_000;

fn in_time(steps: u64) -> Step {
    if steps <= SYNC_STEPS_MAX {
        return Ok(());
    }
    let story = format!("a sync on a disk that is sound again took {steps} steps");
    Err(Violation::new(Verdict::Stuck, "liveness", story))
}

/// Times that the engine's threads are let go first before they count as asleep.
const SETTLE_MAX: u32 = 400;

#[derive(Clone)]
struct Caller {
    world: Arc<World>,
    disk: SimDisk,
    durability: Durability,
}

impl Caller {
    fn perform(&self, engine: &Engine, thread: u64, script: &[Op]) {
        let mut marks = [0; 3];
        for op in script {
            if self.disk.is_dead() || self.world.lock().violation.is_some() {
                return;
            }
            match op {
                Op::Stats => self.watch(&mut marks, &engine.stats()),
                op => self.call(engine, op, thread),
            }
        }
    }

    /// Waits until the background threads have done what they were woken for: the calls are over, so where nothing has
    /// failed there is no full batch left that somebody rang for, and no more in memory than the flusher leaves there.
    fn settle(&self, engine: &Engine, life: &Life) {
        let config = &life.config;
        if config.flush_delay_ms.is_none() {
            return;
        }
        let failures = self.world.lock().failed.len();
        let is_final = self.world.lock().failed.iter().any(|failed| failed.owed == Owed::Final);
        if is_final || self.disk.is_dead() || self.world.lock().closed {
            return;
        }
        let wake = config.wake_points();
        let streams = config.wal_streams as u64;
        let most = (wake - 1) * streams;
        if failures > 0 {
            // Errors end no thread: on a disk that is sound again, a ring in each stream is answered.
            self.disk.heal();
            let count = config.batch_points * (wake as usize).div_ceil(config.batch_points);
            // And more than wait in an inbox, where they make no batch full.
            let count = count.min(8).max(config.inbox_points + 1);
            for tag in TAGS {
                let keys: Vec<_> = (0..count).map(|index| (tag, -1 - index as i64)).collect();
                for _ in 0..2 * config.wal_streams + 2 {
                    let refused = self.world.lock().reports.iter().filter(|(_, _, erred)| *erred).count();
                    self.call(engine, &Op::Write(keys.clone()), 0);
                    let told = self.world.lock();
                    if told.reports.iter().filter(|(_, _, erred)| *erred).count() == refused {
                        break;
                    }
                }
            }
        }
        let mut left = (0, 0);
        for _ in 0..SETTLE_MAX {
            let told = self.world.lock();
            let excused = self.disk.is_dead() || told.failed.len() > failures || told.violation.is_some();
            drop(told);
            let stats = engine.stats();
            left = (stats.backlog_points, stats.buffered_bytes);
            if excused || (left.0 <= most && left.1 < config.buffer_bytes.div_ceil(2).max(streams)) {
                return;
            }
            shuttle::thread::yield_now();
        }
        let story = format!("backlog and bytes in memory that no thread works on: {left:?}");
        self.world.violate(Violation::new(Verdict::Stuck, "a ring is never lost", story));
    }

    /// The faults have stopped: a sync returns, whatever it says, after a bounded number of steps.
    fn sync_in_time(&self, engine: &Engine) {
        let steps = || self.world.steps.load(Ordering::Relaxed);
        let before = steps();
        self.call(engine, &Op::Sync, 0);
        if let Err(violation) = in_time(steps() - before) {
            self.world.violate(violation);
        }
    }

    fn call(&self, engine: &Engine, op: &Op, thread: u64) {
        self.world.lock().calls += 1;
        let begin = self.world.stamp();
        self.world.timeline.note(&[begin, thread], || format!("{begin:>5}  thread {thread} {op:?}"));
        self.world.timeline.record(|| Event::Called(called(op, begin, thread)));
        match op {
            Op::Write(keys) => self.write(engine, begin, keys),
            Op::Sync => self.durable("sync", begin, engine.sync()),
            Op::Flush => self.durable("flush", begin, engine.flush()),
            Op::Step => {
                let result = engine.step();
                self.note("step", begin, &result);
            }
            Op::Query(tag) => {
                self.query(engine, begin, *tag);
                self.latest(engine, *tag);
            }
            Op::Tags => self.tags(engine, begin),
            Op::Close => self.close(engine, begin),
            Op::Space if self.disk.has_no_space() => self.disk.make_space(),
            Op::Space => self.disk.arm_no_space(0),
            Op::Stats => unreachable!("watched by the caller"),
        }
    }

    /// The end of a call that returned; `None` if the power had failed by then: nobody was told anything.
    fn ended(&self) -> Option<u64> {
        (!self.disk.is_dead()).then(|| self.world.stamp())
    }

    /// Notes a call that could report an error of a background thread; judges the error.
    fn note<T>(&self, call: &'static str, begin: u64, result: &Result<T, Error>) -> Option<u64> {
        let end = self.ended()?;
        let erred = result.is_err();
        if !matches!(result, Err(Error::Closed)) {
            self.world.lock().reports.push((begin, end, erred));
        }
        self.returned(begin, result);
        let outcome = if erred { "fails" } else { "Ok" };
        self.world.timeline.note(&[end, erred.into()], || format!("{end:>5}  {call} of {begin}: {outcome}"));
        self.judge_order(call, begin, end, result.as_ref().err());
        if let Err(error) = result {
            self.excuse(call, error);
        }
        Some(end)
    }

    fn returned<T>(&self, begin: u64, result: &Result<T, Error>) {
        self.world.timeline.returned(begin, result);
    }

    /// Some answers bind all calls that begin after them: `Ok` of a close, and `ReadOnly`.
    fn judge_order(&self, call: &'static str, begin: u64, end: u64, error: Option<&Error>) {
        let mut told = self.world.lock();
        if let Some(Error::ReadOnly { .. }) = error {
            told.read_only_at.get_or_insert(end);
        }
        let closed = told.closed && begin > told.closed_at;
        let read_only = !matches!(call, "query" | "tags") && told.read_only_at.is_some_and(|at| begin > at);
        drop(told);
        if closed && !matches!(error, Some(Error::Closed)) {
            let story = format!("{call} of {begin} after a close: {error:?}");
            self.world.violate(Violation::new(Verdict::Stuck, "all handles answer Closed", story));
        }
        if read_only && error.is_none() {
            let story = format!("{call} of {begin} returned Ok after another call had been told ReadOnly");
            self.world.violate(Violation::new(Verdict::Lost, "I8", story));
        }
    }

    /// A call failed: there must be a reason.
    fn excuse(&self, call: &'static str, error: &Error) {
        self.must_be(call, error, |told| match error {
            Error::Closed => told.closing,
            Error::Io { .. } => !told.failed.is_empty(),
            Error::ReadOnly { .. } => told.failed.iter().any(|failed| failed.owed == Owed::Final),
            _ => false,
        });
    }

    /// A question failed. Neither a failed write nor a failed sync is a reason (I9): they leave queries working.
    fn excuse_look(&self, call: &'static str, error: &Error) {
        self.must_be(call, error, |told| match error {
            Error::Closed => told.closing,
            Error::Io { .. } => told.failed.iter().any(|failed| failed.owed == Owed::Look),
            _ => false,
        });
    }

    fn must_be(&self, call: &'static str, error: &Error, expected: impl FnOnce(&Told) -> bool) {
        if !self.disk.is_dead() && !expected(&self.world.lock()) {
            let story = format!("{call}: {error}");
            self.world.violate(Violation::new(Verdict::Stuck, "calls succeed on a sound disk", story));
        }
    }

    fn write(&self, engine: &Engine, begin: u64, keys: &[(u32, i64)]) {
        let mut points = Vec::new();
        let first = {
            let mut told = self.world.lock();
            let first = told.writes.len();
            for (index, (tag, ts_us)) in (0..).zip(keys) {
                // The clock never stands still, so no two points of a run have one number.
                let value = f64::from(begin as u32 * 8 + index);
                points.push(Point::new(*tag, *ts_us, value));
                told.writes.push(Write {
                    tag: *tag,
                    ts_us: *ts_us,
                    value: value.into(),
                    call: begin as u32,
                    index,
                    begin,
                    end: u64::MAX,
                    fate: Fate::InDoubt,
                    acked: false,
                });
            }
            first
        };
        let result = match &points[..] {
            [one] => engine.write(*one),
            many => engine.write_batch(many),
        };
        let Some(end) = self.note("write", begin, &result) else { return };
        let one_run = keys.iter().all(|(tag, _)| *tag == keys[0].0);
        let fate = match result {
            Ok(()) => Fate::Accepted,
            // A close may cut a call of several tags short; an immediate write may have been accepted and not synced.
            Err(Error::Closed) if !one_run => Fate::InDoubt,
            Err(_) if self.durability == Durability::Immediate => Fate::InDoubt,
            Err(_) => Fate::Refused,
        };
        let immediate = self.durability == Durability::Immediate && fate == Fate::Accepted;
        if immediate {
            let tags = keys.iter().map(|(tag, _)| *tag).collect();
            self.world.timeline.record(|| Event::Promised { call: begin, tags: Some(tags) });
        }
        for write in &mut self.world.lock().writes[first..first + keys.len()] {
            *write = Write {
                end: if fate == Fate::Accepted { end } else { u64::MAX },
                fate,
                acked: immediate,
                ..*write
            };
        }
    }

    /// A call that makes durable what was accepted before it has returned.
    fn durable(&self, call: &'static str, begin: u64, result: Result<(), Error>) {
        let end = self.note(call, begin, &result);
        if let (Some(_), Ok(())) = (end, result) {
            self.world.timeline.record(|| Event::Promised { call: begin, tags: None });
            let mut told = self.world.lock();
            told.syncs += 1;
            told.writes.iter_mut().filter(|write| write.end < begin).for_each(|write| write.acked = true);
        }
    }

    fn close(&self, engine: &Engine, begin: u64) {
        self.world.lock().closing = true;
        let result = engine.close();
        let end = self.note("close", begin, &result);
        if let (Some(end), Ok(())) = (end, result) {
            self.world.timeline.record(|| Event::Promised { call: begin, tags: None });
            // Whatever any call was told was accepted has been flushed: no point can be accepted any more.
            let mut told = self.world.lock();
            told.closed_at = end;
            if std::mem::replace(&mut told.closed, true) {
                told.violation.get_or_insert(Violation::new(
                    Verdict::Stuck,
                    "close",
                    "two closes returned Ok",
                ));
            }
            self.world.ended.store(true, Ordering::Relaxed);
            told.writes
                .iter_mut()
                .filter(|write| write.fate == Fate::Accepted)
                .for_each(|write| write.acked = true);
        }
    }

    fn query(&self, engine: &Engine, begin: u64, tag: u32) {
        let result = match tag % 2 {
            0 => engine.scan(tag, ..).and_then(Iterator::collect),
            _ => engine.query(tag, ..),
        };
        let Some(end) = self.ended() else { return };
        self.returned(begin, &result);
        self.judge_order("query", begin, end, result.as_ref().err());
        match result {
            Ok(points) => {
                let shown = points.iter().map(|point| (point.tag, point.ts_us, point.value, point.quality));
                let view = match view(tag, shown) {
                    Ok(view) => view,
                    Err(violation) => return self.world.violate(violation),
                };
                self.world.timeline.note(&[end, view.len() as u64], || {
                    format!("{end:>5}  query of {begin}: {} points", view.len())
                });
                self.world.lock().reads.push(Read { tag, begin, end, view });
            }
            Err(error) => self.excuse_look("query", &error),
        }
    }

    fn latest(&self, engine: &Engine, tag: u32) {
        let begin = self.world.stamp();
        let result = engine.latest(tag);
        let Some(end) = self.ended() else { return };
        self.judge_order("query", begin, end, result.as_ref().err());
        match result {
            Ok(latest) => {
                let point = latest.map(|point| (point.ts_us, point.value.into()));
                self.world.timeline.note(&[end], || format!("{end:>5}  latest of {begin}: {point:?}"));
                self.world.lock().latest.push(Latest { tag, begin, point });
            }
            Err(error) => self.excuse_look("latest", &error),
        }
    }

    fn tags(&self, engine: &Engine, begin: u64) {
        let result = engine.tags();
        let Some(end) = self.ended() else { return };
        self.returned(begin, &result);
        self.judge_order("tags", begin, end, result.as_ref().err());
        match result {
            Ok(tags) => self.world.lock().lists.push((begin, end, tags)),
            Err(error) => self.excuse_look("tags", &error),
        }
    }

    /// I7, as this thread sees it; and no counter has gone below zero.
    fn watch(&self, before: &mut [u64; 3], stats: &Stats) {
        let written = self.world.lock().writes.len() as u64;
        if stats.backlog_points > written || stats.sealed_buffers > 1 << 32 {
            let story = format!(
                "{} points wait for the log, of {written} written, and {} sealed buffers",
                stats.backlog_points, stats.sealed_buffers
            );
            self.world.violate(Violation::new(Verdict::Stuck, "what waits is counted", story));
        }
        let marks = [stats.checkpoint_lsn.0, stats.durable_lsn.0, stats.appended_lsn.0];
        self.world.timeline.record(|| Event::Watermarks(marks));
        let judged = self.judge_marks(before, &marks);
        *before = marks;
        self.note_durable(marks[1]);
        if let Err(violation) = judged {
            self.world.violate(violation);
        }
    }

    /// The recovery to come must find the log as long as that.
    fn note_durable(&self, durable_lsn: u64) {
        let mut told = self.world.lock();
        told.durable_lsn = told.durable_lsn.max(durable_lsn);
    }

    fn judge_marks(&self, before: &[u64; 3], marks: &[u64; 3]) -> Step {
        let ordered = marks[0] <= marks[1] && marks[1] <= marks[2];
        if ordered && before.iter().zip(marks).all(|(before, now)| before <= now) {
            return Ok(());
        }
        let story = format!("checkpoint, durable, appended were {before:?} and are {marks:?}");
        Err(Violation::new(Verdict::Lost, "I7", story))
    }
}

/// The call as the record has it.
fn called(op: &Op, begin: u64, thread: u64) -> Call {
    let (name, points) = match op {
        Op::Write(keys) => ("write", &keys[..]),
        Op::Sync => ("sync", &[][..]),
        Op::Flush => ("flush", &[][..]),
        Op::Step => ("step", &[][..]),
        Op::Query(_) => ("query", &[][..]),
        Op::Tags => ("tags", &[][..]),
        Op::Close => ("close", &[][..]),
        Op::Space => ("space", &[][..]),
        Op::Stats => ("stats", &[][..]),
    };
    let points = points.iter().map(|(tag, ts_us)| Key { tag: *tag, ts_us: *ts_us }).collect();
    Call { id: begin, caller: format!("caller {thread}"), name: name.into(), points }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_takes_too_many_steps_is_stuck() {
        assert_eq!(in_time(SYNC_STEPS_MAX), Ok(()));
        assert_eq!(in_time(SYNC_STEPS_MAX + 1).unwrap_err().verdict, Verdict::Stuck);
    }
}
