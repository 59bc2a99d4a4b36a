//! The calls that the threads of a life make, and what is noted of each.

use super::World;
use super::disk::Disk;
use super::history::{Fate, Read, View, Write};
use super::script::{End, Life, Op};
use crate::disk::SimDisk;
use crate::drivers::Step;
use crate::model::{Verdict, Violation};
use std::sync::Arc;
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
    if life.end == End::Close {
        disk.heal();
        // What a background thread has run into is heard first.
        for _ in 0..2 {
            if !world.lock().closing || !world.lock().closed {
                caller.call(&engine, &Op::Close, 0);
            }
        }
    }
    let stats = engine.stats();
    let left = (stats.buffered_points, stats.sealed_buffers, stats.backlog_points, stats.busy_segments);
    if world.lock().closed && left != (0, 0, 0, 0) {
        let story = format!("points, sealed buffers, backlog and busy segments after a close: {left:?}");
        world.violate(Violation::new(Verdict::Stuck, "close", story));
    }
    let mut told = world.lock();
    (told.rotations, told.blocks) = (stats.rotations, stats.blocks_written);
}

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

    fn call(&self, engine: &Engine, op: &Op, thread: u64) {
        self.world.lock().calls += 1;
        let begin = self.world.stamp();
        self.world.timeline.note(&[begin, thread], || format!("{begin:>5}  thread {thread} {op:?}"));
        match op {
            Op::Write(keys) => self.write(engine, begin, keys),
            Op::Sync => self.durable("sync", begin, engine.sync()),
            Op::Flush => self.durable("flush", begin, engine.flush()),
            Op::Step => {
                let result = engine.step();
                self.note("step", begin, &result);
            }
            Op::Query(tag) => self.query(engine, begin, *tag),
            Op::Close => self.close(engine, begin),
            Op::Space => self.disk.set_no_space(!self.disk.has_no_space()),
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
        let outcome = if erred { "fails" } else { "Ok" };
        self.world.timeline.note(&[end, erred.into()], || format!("{end:>5}  {call} of {begin}: {outcome}"));
        if let Err(error) = result {
            self.excuse(call, error);
        }
        Some(end)
    }

    /// A call failed: there must be a reason.
    fn excuse(&self, call: &'static str, error: &Error) {
        if self.disk.is_dead() {
            return;
        }
        let told = self.world.lock();
        let expected = match error {
            Error::Closed => told.closing,
            Error::Io { .. } => !told.failed.is_empty(),
            Error::ReadOnly { .. } => told.failed.iter().any(|failed| failed.is_final),
            _ => false,
        };
        drop(told);
        if !expected {
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
        if let (Some(end), Ok(())) = (end, result) {
            let mut told = self.world.lock();
            told.syncs.push((begin, end));
            told.writes.iter_mut().filter(|write| write.end < begin).for_each(|write| write.acked = true);
        }
    }

    fn close(&self, engine: &Engine, begin: u64) {
        self.world.lock().closing = true;
        let result = engine.close();
        let end = self.note("close", begin, &result);
        if end.is_some() && result.is_ok() {
            // Whatever any call was told was accepted has been flushed: no point can be accepted any more.
            let mut told = self.world.lock();
            told.closed = true;
            told.writes
                .iter_mut()
                .filter(|write| write.fate == Fate::Accepted)
                .for_each(|write| write.acked = true);
        }
    }

    fn query(&self, engine: &Engine, begin: u64, tag: u32) {
        let result = engine.query(tag, ..);
        let Some(end) = self.ended() else { return };
        match result {
            Ok(points) => {
                let view: View = points.iter().map(|point| (point.ts_us, point.value.into())).collect();
                self.world.timeline.note(&[end, view.len() as u64], || {
                    format!("{end:>5}  query of {begin}: {} points", view.len())
                });
                self.world.lock().reads.push(Read { tag, begin, end, view });
            }
            Err(error) => self.excuse("query", &error),
        }
    }

    /// I7, as this thread sees it.
    fn watch(&self, before: &mut [u64; 3], stats: &Stats) {
        let marks = [stats.checkpoint_lsn.0, stats.durable_lsn.0, stats.appended_lsn.0];
        let judged = self.judge_marks(before, &marks);
        *before = marks;
        if let Err(violation) = judged {
            self.world.violate(violation);
        }
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
