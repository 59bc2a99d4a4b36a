//! One run: a store is opened, does what the tape says, and the power fails.
//!
//! Everything is drawn from one [`Chooser`]: the operations, where a call fails, where the power fails, what survives, and
//! the same again in each opening. A crash in an operation leaves it in doubt; after each opening, and now and then between
//! operations, all that the store shows is compared with what it may show.

use super::oracle::{Oracle, Since, short};
use super::plug::{Plug, PowerFailed};
use super::{Draw, Ending, Failure, Plan, Subject};
use crate::choice::{Chooser, Concern, Mark, Tape};
use crate::disk::{Armed, Effect, SimDisk, When};
use crate::drivers::{self, Step, watched};
use crate::fault::{Fault, FaultCounts};
use crate::model::{Verdict, Violation};
use crate::timeline::{Timeline, TraceHash};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Crashes in an opening, in the opening after that, and in the one after that.
const DEPTH: u32 = 3;

/// A crash that is set up as soon as the store is open strikes within this many I/Os that change something.
const SOON: u32 = 4;

/// Times that an opening may fail because a call of the disk did.
const RETRIES: u32 = 2;

/// What was done and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations performed, those that failed included.
    pub operations: u64,
    /// Power cuts, those in openings included.
    pub crashes: u64,
    /// Times that the store was opened after a power cut, to the end.
    pub recoveries: u64,
    /// Times that all of the store was compared with what it may show.
    pub dumps: u64,
    /// Operations that had to survive a power cut and were looked for after it.
    pub acked_checked: u64,
    /// Calls of the disk.
    pub io_ops: u64,
    /// Recoveries that changed something on the disk: the power can fail in them.
    pub writing_recoveries: u64,
}

impl Counts {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Counts) {
        let pairs = [
            (&mut self.operations, other.operations),
            (&mut self.crashes, other.crashes),
            (&mut self.recoveries, other.recoveries),
            (&mut self.dumps, other.dumps),
            (&mut self.acked_checked, other.acked_checked),
            (&mut self.io_ops, other.io_ops),
            (&mut self.writing_recoveries, other.writing_recoveries),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
    }
}

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first promise that broke, if one did.
    pub violation: Option<Violation>,
    /// What was done and checked.
    pub counts: Counts,
    /// Which faults were armed and fired.
    pub faults: FaultCounts,
    /// Everything that happened, in one number.
    pub hash: TraceHash,
    /// Every decision.
    pub tape: Tape,
    /// Where the parts of the run began on it.
    pub marks: Vec<Mark>,
    /// What happened, line by line, if that was asked for.
    pub lines: Vec<String>,
    /// The hash behind each line. What is written is in it, and not in the line.
    pub hashes: Vec<TraceHash>,
}

impl Outcome {
    /// How it ended: `NotMeasured` where nothing broke and no store was opened after a crash.
    pub fn verdict(&self) -> Verdict {
        Verdict::of_run(self.violation.as_ref(), self.counts.recoveries)
    }
}

/// Runs one tape.
pub fn run<S: Subject>(chooser: Chooser, plan: &Plan, with_lines: bool) -> Outcome {
    let timeline = if with_lines { Timeline::with_lines() } else { Timeline::default() };
    let mut run: Run<'_, S> = Run::new(chooser, plan, timeline.clone());
    let ended = watched(None, || {
        let ended = run.all();
        // Here, where a panic of its destructor is not printed.
        run.leave();
        ended
    });
    let violation = ended.err();
    if let Some(violation) = &violation {
        timeline.note(&[violation.verdict as u64], || format!("VIOLATION  {violation}"));
    }
    run.take_counts();
    Outcome {
        violation,
        counts: run.counts,
        faults: run.faults,
        hash: timeline.hash(),
        tape: run.chooser.made().clone(),
        marks: run.chooser.marks().to_vec(),
        lines: timeline.lines(),
        hashes: timeline.hashes(),
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Apply,
    Look,
    ArmCrash,
    CrashNow,
    Kill,
    Close,
    ArmError,
    Space,
}

/// With their weights.
const ACTS: [(Act, u32); 8] = [
    (Act::Apply, 180),
    (Act::Look, 12),
    (Act::ArmCrash, 24),
    (Act::CrashNow, 6),
    (Act::Kill, 4),
    (Act::Close, 6),
    (Act::ArmError, 14),
    (Act::Space, 6),
];

/// How a call of the store ended.
enum Ended<R> {
    Returned(Result<R, Failure>),
    PowerFailed,
    Panicked(String),
}

/// An open store and the disk of this life of it.
struct Life<S> {
    store: S,
    plug: Plug,
}

struct Run<'a, S: Subject> {
    chooser: Chooser,
    plan: &'a Plan,
    timeline: Timeline,
    disk: SimDisk,
    life: Option<Life<S>>,
    oracle: Oracle<S>,
    /// A call of the disk has failed since the store was opened.
    failed: bool,
    drawn: u64,
    counts: Counts,
    faults: FaultCounts,
}

impl<'a, S: Subject> Run<'a, S> {
    fn new(chooser: Chooser, plan: &'a Plan, timeline: Timeline) -> Run<'a, S> {
        let disk = SimDisk::new(timeline.clone());
        disk.set_profile(plan.profile);
        disk.set_lie(plan.lie);
        Run {
            chooser,
            plan,
            timeline,
            disk,
            life: None,
            oracle: Oracle::default(),
            failed: false,
            drawn: 0,
            counts: Counts::default(),
            faults: FaultCounts::default(),
        }
    }

    fn all(&mut self) -> Step {
        self.open(Since::Restart)?;
        for number in 0..self.plan.operations {
            if !self.chooser.begin_operation() {
                break;
            }
            let act = self.next_act();
            if act != Act::Apply {
                self.timeline.note(&[number.into(), act as u64], || format!("{number:>4} {act:?}"));
            }
            self.act(number, act)?;
        }
        self.chooser.mark();
        self.timeline.note(&[], || " END the faults stop".into());
        self.disk.heal();
        if self.failed {
            self.kill()?;
        }
        self.look()?;
        self.close()?;
        self.cut_power()
    }

    fn next_act(&mut self) -> Act {
        let weights = ACTS.map(|(act, weight)| match act {
            Act::ArmError if self.plan.errors.is_empty() => 0,
            Act::Space if !self.plan.no_space => 0,
            _ => weight,
        });
        let act = ACTS[self.chooser.weighted(Concern::Ops, &weights)].0;
        // Little can be done with a store that has given up; and what is in doubt is multiplied by each failure.
        let leave = self.failed && self.chooser.chance(Concern::Ops, 96);
        if (leave || self.oracle.is_vague()) && act == Act::Apply { Act::Kill } else { act }
    }

    fn act(&mut self, number: u32, act: Act) -> Step {
        match act {
            Act::Apply => return self.apply(number),
            Act::Look => return self.look(),
            Act::ArmCrash => self.arm_crash(self.plan.crash_within),
            Act::CrashNow => return self.cut_power(),
            Act::Kill => return self.kill(),
            Act::Close => return self.close(),
            Act::ArmError => {
                let armed = self.draw_error();
                self.timeline.note(&[], || format!("         {armed}"));
                self.disk.arm(armed);
            }
            Act::Space if self.disk.has_no_space() => self.disk.make_space(),
            Act::Space => {
                let after = self.chooser.below(Concern::Faults, 4);
                self.disk.arm_no_space(after);
            }
        }
        Ok(())
    }

    /// The power will fail at one of this many I/Os that change something, before or after it.
    fn arm_crash(&mut self, within: u32) {
        let away = self.chooser.below(Concern::Crash, within);
        let when = self.chooser.pick(Concern::Crash, &[When::Before, When::After]);
        self.disk.arm_crash(away, when);
    }

    fn draw_error(&mut self) -> Armed {
        let kind = self.chooser.pick(Concern::Faults, self.plan.errors);
        let effect = Effect::draw(&mut self.chooser, kind);
        let after = self.chooser.below(Concern::Faults, 4);
        Armed { kind, only: "", after, sticky: self.chooser.chance(Concern::Faults, 48), effect }
    }

    /// Makes a call of the store. What it returns after the power has failed, nobody hears.
    fn call<R>(&mut self, call: impl FnOnce(&mut S) -> Result<R, Failure>) -> Ended<R> {
        let life = self.life.as_mut().expect("the store is open between operations");
        let ended = ended(&self.disk, || call(&mut life.store));
        self.failed |= !self.disk.take_fired().is_empty();
        ended
    }

    fn apply(&mut self, number: u32) -> Step {
        let mut draw = Draw { chooser: &mut self.chooser, number: self.drawn };
        let op = S::draw(&mut draw, self.oracle.now());
        self.drawn += 1;
        self.counts.operations += 1;
        self.timeline.note(&[number.into()], || format!("{number:>4} {}", short(&format!("{op:?}"))));
        match self.call(|store| store.apply(&op)) {
            Ended::Returned(Ok(ack)) => {
                self.timeline.note(&[ack as u64], || format!("       {ack:?}"));
                self.oracle.performed(&op, ack);
                Ok(())
            }
            Ended::Returned(Err(error)) => {
                self.oracle.in_doubt(&op);
                self.excuse("apply", &error)
            }
            Ended::PowerFailed => {
                self.oracle.in_doubt(&op);
                self.cut_power()
            }
            Ended::Panicked(text) => {
                self.oracle.in_doubt(&op);
                self.after_panic("apply", &text)
            }
        }
    }

    /// Compares everything that the store shows.
    fn look(&mut self) -> Step {
        match self.call(S::dump) {
            Ended::Returned(Ok(state)) => {
                self.counts.dumps += 1;
                let since = if self.failed { Since::Error } else { Since::Nothing };
                self.oracle.judge(&state, since)
            }
            Ended::Returned(Err(error)) => self.excuse("dump", &error),
            Ended::PowerFailed => self.cut_power(),
            Ended::Panicked(text) => self.after_panic("dump", &text),
        }
    }

    fn close(&mut self) -> Step {
        let life = self.life.take().expect("the store is open between operations");
        let ended = ended(&self.disk, || life.store.close());
        self.failed |= !self.disk.take_fired().is_empty();
        life.plug.pull();
        match ended {
            Ended::Returned(Ok(ack)) => {
                self.timeline.note(&[ack as u64], || format!("       {ack:?}"));
                self.oracle.closed(ack);
            }
            Ended::Returned(Err(error)) => self.excuse("close", &error)?,
            Ended::PowerFailed => return self.cut_power(),
            Ended::Panicked(text) => return self.after_panic("close", &text),
        }
        self.open(Since::Restart)
    }

    /// The process ends; the machine goes on.
    fn kill(&mut self) -> Step {
        self.faults.count(Fault::Kill, true);
        self.leave();
        self.open(Since::Restart)
    }

    /// The power fails, or has failed.
    fn cut_power(&mut self) -> Step {
        self.leave();
        self.lose_power();
        self.open(Since::PowerCut)
    }

    fn lose_power(&mut self) {
        self.counts.crashes += 1;
        self.take_counts();
        let survivor = self.disk.power_cut(&mut self.chooser, self.plan.profile);
        self.take_counts();
        self.disk = survivor;
    }

    fn take_counts(&mut self) {
        self.faults.add(&self.disk.take_counts());
        self.counts.io_ops += self.disk.take_io_ops();
    }

    /// Leaves the store as it is.
    fn leave(&mut self) {
        let Some(life) = self.life.take() else { return };
        life.plug.pull();
        end(life.store);
    }

    /// Opens the store, through crashes and errors on the way, and compares what it shows.
    fn open(&mut self, mut since: Since) -> Step {
        let (mut depth, mut retries) = (0, 0);
        loop {
            self.disk.heal();
            if depth < DEPTH && self.chooser.chance(Concern::Crash, 40) {
                self.arm_crash(self.plan.crash_within);
                self.faults.arm(if depth == 0 { Fault::CrashRecovery } else { Fault::CrashNested });
            } else if retries < RETRIES
                && !self.plan.errors.is_empty()
                && self.chooser.chance(Concern::Faults, 40)
            {
                let armed = self.draw_error();
                self.timeline.note(&[], || format!("         {armed}"));
                self.disk.arm(armed);
            }
            self.timeline.note(&[depth.into()], || "   open".into());
            let plug = Plug::into(&self.disk, S::ENDING);
            let untouched = self.disk.changes();
            let ended = ended(&self.disk, || S::open(Arc::new(plug.clone())));
            let fired = !self.disk.take_fired().is_empty();
            match ended {
                Ended::Returned(Ok(store)) => {
                    let writes = since == Since::PowerCut && self.disk.changes() > untouched;
                    self.counts.writing_recoveries += u64::from(writes);
                    self.life = Some(Life { store, plug });
                    break;
                }
                Ended::PowerFailed => {
                    plug.pull();
                    self.faults.fire(if depth == 0 { Fault::CrashRecovery } else { Fault::CrashNested });
                    depth += 1;
                    self.lose_power();
                    since = Since::PowerCut;
                }
                // What it did before is in the page cache at best.
                Ended::Returned(Err(_)) if fired => (retries, since) = (retries + 1, Since::Restart),
                Ended::Panicked(_) if fired && S::PANICS_ON_ERRORS => {
                    plug.pull();
                    (retries, since) = (retries + 1, Since::Restart);
                }
                Ended::Returned(Err(error)) => {
                    let story = format!("on what a crash has left, open fails: {error}");
                    return Err(Violation::new(Verdict::Stuck, "it opens after any crash", story));
                }
                Ended::Panicked(text) => return Err(panicked("open", &text)),
            }
        }
        self.disk.heal();
        self.failed = false;
        let acked = self.oracle.acked();
        match self.call(S::dump) {
            Ended::Returned(Ok(state)) => {
                self.counts.dumps += 1;
                if since == Since::PowerCut {
                    self.counts.recoveries += 1;
                    self.counts.acked_checked += acked;
                }
                self.oracle.judge(&state, since)?;
                // Until somebody syncs, what the opening has done is in danger, and so is what comes first.
                if self.chooser.chance(Concern::Crash, 40) {
                    self.arm_crash(SOON);
                }
                Ok(())
            }
            Ended::Returned(Err(error)) => Err(on_sound_disk("dump", &error)),
            Ended::PowerFailed => unreachable!("no crash is set up"),
            Ended::Panicked(text) => Err(panicked("dump", &text)),
        }
    }

    /// A call failed: is it for a reason?
    fn excuse(&mut self, call: &str, error: &Failure) -> Step {
        self.timeline.note(&[], || format!("       {call} fails: {error}"));
        if self.failed { Ok(()) } else { Err(on_sound_disk(call, error)) }
    }

    fn after_panic(&mut self, call: &str, text: &str) -> Step {
        if !(self.failed && S::PANICS_ON_ERRORS) {
            return Err(panicked(call, text));
        }
        self.timeline.note(&[], || format!("       {call} panics: {text}"));
        self.kill()
    }
}

fn on_sound_disk(call: &str, error: &Failure) -> Violation {
    let story = format!("{call} fails, and no call of the disk has: {error}");
    Violation::new(Verdict::Stuck, "calls succeed on a sound disk", story)
}

fn panicked(call: &str, text: &str) -> Violation {
    Violation::new(Verdict::Stuck, "no call panics", format!("in {call}: {text}"))
}

/// Makes a call that may never return.
fn ended<R>(disk: &SimDisk, call: impl FnOnce() -> Result<R, Failure>) -> Ended<R> {
    let result = catch_unwind(AssertUnwindSafe(call));
    match result {
        // Also where a thread of the store met the power cut, and the caller did not.
        _ if disk.is_dead() => {
            if let Ok(result) = result {
                std::mem::forget(result);
            }
            Ended::PowerFailed
        }
        Ok(result) => Ended::Returned(result),
        Err(payload) if payload.is::<PowerFailed>() => Ended::PowerFailed,
        // One of our own says nothing of the store.
        Err(payload) if drivers::panicked_in_here().is_some() => resume_unwind(payload),
        Err(payload) => Ended::Panicked(drivers::panic_story(&drivers::text_of(&*payload))),
    }
}

/// A store whose process is no more.
pub(super) fn end<S: Subject>(store: S) {
    match S::ENDING {
        Ending::Leak => std::mem::forget(store),
        Ending::Drop | Ending::Fail => drop(catch_unwind(AssertUnwindSafe(|| drop(store)))),
    }
}
