//! Who runs the engine: one module for each way to schedule it. All use the same disk, tape and oracle.

pub mod exhaustive;
mod findings;
pub mod sequential;
pub mod service;
pub mod threads;

use crate::blind;
use crate::choice::Chooser;
use crate::damage;
use crate::disk::ENDLESS;
use crate::fault::Fault;
use crate::forged;
use crate::model::{Verdict, Violation, Witness};
use crate::scenario::{Outcome, Setting};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use tidewall::Error;
use tidewall::plant::{self, Bug};
use tidewall::{RecoveryReport, Stats};

/// A way to schedule the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// One thread, crashes at any I/O.
    #[default]
    Sequential,
    /// The whole engine with all its threads, under shuttle.
    Threads,
    /// A collector and its clients under madsim.
    Service,
    /// One way through the tree that `sim exhaust` walks: a short story, a crash in it, crashes in its recovery.
    Exhaustive,
}

impl Driver {
    /// All drivers, with the names that the command line takes.
    pub const ALL: [(&str, Driver); 4] = [
        ("sequential", Driver::Sequential),
        ("threads", Driver::Threads),
        ("service", Driver::Service),
        ("exhaustive", Driver::Exhaustive),
    ];

    /// The name in reports, in tapes and on the command line.
    pub fn name(self) -> &'static str {
        let known = Driver::ALL.iter().find(|(_, driver)| *driver == self);
        known.expect("`ALL` has every driver").0
    }

    /// The driver with this name.
    pub fn named(name: &str) -> Option<Driver> {
        Driver::ALL.iter().find(|(known, _)| *known == name).map(|(_, driver)| *driver)
    }

    /// Why this build cannot run it, if that is so.
    pub fn unavailable(self) -> Option<&'static str> {
        match self {
            Driver::Service if !service::AVAILABLE => Some(service::UNAVAILABLE),
            _ => None,
        }
    }

    /// Whether it lets this fault happen often enough that a campaign without it has not measured it.
    pub fn strikes_with(self, fault: Fault) -> bool {
        use Fault::{
            BitRot, CrashNested, CrashRecovery, FileCut, FileGone, LatentSector, LenError, ListError,
            LostWrite, Misdirected, NoSpaceGrow, NoSpaceRename, ReadError, RemoveError, RemoveKept,
            RemoveLost, RenameError, SetLenError, StaleRead, Stall,
        };
        let at_rest =
            matches!(fault, BitRot | FileCut | FileGone | LatentSector | LostWrite | Misdirected | StaleRead);
        match self {
            // Where one thread does everything, late is on time.
            Driver::Sequential => fault != Stall,
            // Its faults are all in what survives, and it tries all of them.
            Driver::Exhaustive => false,
            // Threads meet the errors of a running engine. A crash in an opening is one among the others.
            Driver::Threads => {
                !at_rest
                    && !matches!(
                        fault,
                        CrashNested
                            | CrashRecovery
                            | LenError
                            | ListError
                            | NoSpaceGrow
                            | NoSpaceRename
                            | ReadError
                            | RemoveError
                            | RemoveKept
                            | RemoveLost
                            | RenameError
                            | SetLenError
                    )
            }
            // Damage at rest is not the collector's business, and its store hardly ever removes or resizes a file. For
            // madsim a synchronous call is one event: it cannot be late.
            Driver::Service => {
                !at_rest && !matches!(fault, RemoveError | RemoveKept | RemoveLost | SetLenError | Stall)
            }
        }
    }

    /// What else must have come about.
    pub fn demanded_events(self) -> &'static [&'static str] {
        match self {
            Driver::Sequential => {
                use damage::UNHARMED;
                use forged::{DAMAGE, INVENTION, LOSS, ORDER, QUALITY, QUERY, VALUE};
                &[LOSS, INVENTION, ORDER, VALUE, QUALITY, QUERY, DAMAGE, UNHARMED]
            }
            Driver::Exhaustive => &[],
            Driver::Threads => {
                use forged::{INVENTION, LOSS};
                use threads::event::{
                    BACKGROUND_IO, CLOSES, PCT, PREEMPTIONS, QUERIES, RANDOM, STICKY, SYNCS,
                };
                &[BACKGROUND_IO, CLOSES, INVENTION, LOSS, PCT, PREEMPTIONS, QUERIES, RANDOM, STICKY, SYNCS]
            }
            Driver::Service => {
                use service::event::{DELAYS, DUPLICATES, KILLS, PARTITIONS, POWER_CUTS, RESTARTS, RETRIES};
                &[KILLS, POWER_CUTS, RESTARTS, PARTITIONS, DELAYS, DUPLICATES, RETRIES]
            }
        }
    }

    /// What a campaign with it is, in one sentence.
    pub fn what(self) -> &'static str {
        match self {
            Driver::Sequential => "an engine on a simulated disk, and the power fails",
            Driver::Threads => {
                "an engine with all its threads, every switch between them a choice, and the power fails"
            }
            Driver::Service => {
                "clients, a collector that owns an engine, and a network and a machine that fail"
            }
            Driver::Exhaustive => {
                "a short story, one crash of all that it can have, and what follows from there"
            }
        }
    }
}

/// Runs one tape.
pub fn run(chooser: Chooser, setting: Setting<'_>) -> Outcome {
    let run: fn(Chooser, Setting<'_>) -> Outcome = match setting.driver {
        Driver::Sequential => sequential::run,
        Driver::Threads => threads::run,
        Driver::Service => service::run,
        Driver::Exhaustive => exhaustive::run,
    };
    blind::set(setting.blind);
    let outcome = run(chooser, setting);
    blind::set(None);
    outcome
}

/// The driver that finds this planted bug; `None` for one that shows in weak memory only, or so rarely that loom's models
/// are the place to look.
pub fn of(bug: Bug) -> Option<Driver> {
    use Bug::{
        B10, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, H2, L1, R1, R2, R3, R4, R5, R6, R7,
        R8, R9, R10, R11, SV1, SV2, T1, T2, T4, T5, T6, T7, W16, W17, W20,
    };
    match bug {
        SV1 | SV2 => Some(Driver::Service),
        C1 | C2 | C3 | C4 | C5 | C6 | C7 | C8 | C9 | C10 | C11 | C12 | C14 | L1 | R2 | R3 | R4 | R5 | R7
        | R8 | R9 | T1 | T2 | T5 | T6 | T7 | W16 | W17 | W20 => Some(Driver::Threads),
        B10 | C13 | H2 | R1 | R6 | R10 | R11 | T4 => None,
        _ => Some(Driver::Sequential),
    }
}

/// How a step of a run ends.
pub(crate) type Step = Result<(), Violation>;

/// What an opening says that it has found: a store that `exists` is not a new one, and after a close there is nothing to replay.
pub(crate) fn check_opening(report: &RecoveryReport, exists: bool, closed: bool) -> Step {
    if report.created && exists {
        return Err(Violation::new(Verdict::Lost, "I5", "the store was taken for a new one"));
    }
    if closed && (report.frames_replayed, report.points_replayed) != (0, 0) {
        let story = format!("{} points were replayed after a clean close", report.points_replayed);
        return Err(Violation::new(Verdict::Invented, "close: reopening replays nothing", story));
    }
    Ok(())
}

/// I7: when a store has been opened nothing is durable that was not, and the log has no other end.
pub(crate) fn check_durable(stats: &Stats, durable_before: u64) -> Step {
    let (durable, appended) = (stats.durable_lsn.0, stats.appended_lsn.0);
    if durable == appended && durable >= durable_before {
        return Ok(());
    }
    let story = format!("durable {durable_before} before, {durable} of {appended} after");
    let witness = Witness::Position { durable: durable_before, found: durable };
    Err(Violation::new(Verdict::Lost, "I7", story).about(witness))
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    /// File and line of the first panic of the run.
    static PANICKED_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// Whether this thread is in a run: a panic here is a finding and need not be printed as it happens.
pub fn is_running() -> bool {
    RUNNING.get()
}

/// Notes where a run panics. Of several the first counts: who waits for a thread that panicked panics, too.
pub(crate) fn note_panic(at: Option<&Location<'_>>) {
    let first = PANICKED_AT.take();
    PANICKED_AT.set(first.or(at.map(|at| format!("{}:{}", at.file(), at.line()))));
}

/// The place of the panic that was noted, if it is in the test bed: then it says nothing of the store.
pub(crate) fn panicked_in_here() -> Option<String> {
    let sources = file!().strip_suffix("drivers/mod.rs").expect("the name of this file");
    let at = PANICKED_AT.take();
    PANICKED_AT.set(at.clone());
    at.filter(|at| at.starts_with(sources))
}

/// What there is to say of a panic of the store. The next one is the first again.
pub(crate) fn panic_story(text: &str) -> String {
    match PANICKED_AT.take() {
        Some(at) => format!("panic: {text}, at {at}"),
        None => format!("panic: {text}"),
    }
}

/// What a panic said.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default()
}

/// Runs with a planted bug switched on for this thread. A panic of the engine is a violation, one of the test bed makes the run
/// `HarnessBroken`.
pub(crate) fn watched(bug: Option<Bug>, run: impl FnOnce() -> Step) -> Step {
    plant::set(bug);
    PANICKED_AT.set(None);
    RUNNING.set(true);
    let ended = catch_unwind(AssertUnwindSafe(run));
    RUNNING.set(false);
    plant::set(None);
    ended.unwrap_or_else(|panic| {
        let text = text_of(&*panic);
        Err(match panicked_in_here() {
            Some(_) if text.starts_with(ENDLESS) => Violation::new(Verdict::Stuck, "every call ends", text),
            Some(at) => {
                let story = format!("panic: {text}, at {at}");
                Violation::new(Verdict::HarnessBroken, "the test bed does not panic", story)
            }
            None => Violation::new(Verdict::Stuck, "no call panics", panic_story(&text)),
        })
    })
}

/// A call failed although nothing on the disk was wrong.
pub(crate) fn stuck(call: &str, error: &Error) -> Violation {
    let story = format!("{call}: {error}");
    match error {
        Error::Corrupt(damage) => {
            let violation = Violation::new(Verdict::Lost, "I6: only damage is called damage", story);
            violation.about(Witness::place(damage))
        }
        _ => Violation::new(Verdict::Stuck, "calls succeed on a sound disk", story),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;
    use crate::runner::quiet_panics;
    use crate::timeline::Timeline;
    use tidewall::disk::{Disk, MemDisk};

    fn verdict(run: impl FnOnce()) -> Verdict {
        quiet_panics();
        let run = || {
            run();
            Ok(())
        };
        watched(None, run).expect_err("it panics").verdict
    }

    #[test]
    fn an_engine_that_goes_round_in_circles_is_stuck_and_not_the_test_bed() {
        let disk = SimDisk::new(Timeline::default());
        let ended = verdict(|| while disk.list().is_ok() {});
        assert_eq!(ended, Verdict::Stuck);
    }

    #[test]
    fn a_panic_of_the_engine_is_a_finding_and_one_of_the_test_bed_is_not() {
        assert_eq!(verdict(|| panic!("in sim/src")), Verdict::HarnessBroken);
        let engine = || MemDisk::new().damage("no such file", |_| ());
        assert_eq!(verdict(engine), Verdict::Stuck, "that was in the engine's sources");
        // Who waits for a thread that has panicked panics, too: the first one counts.
        let waits = || std::panic::catch_unwind(engine).expect("the thread ends");
        assert_eq!(verdict(waits), Verdict::Stuck);
        assert_eq!(Verdict::Stuck.exit_code(), 1);
        assert_eq!(Verdict::HarnessBroken.exit_code(), 2);
    }
}
