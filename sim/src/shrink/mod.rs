//! From a failing run to the smallest one that fails for the same reason. One shrinker for all drivers: it changes the
//! tape and looks at the verdict.
//!
//! | file | subject |
//! |---|---|
//! | this one | runs candidates, and tells one reason from another |
//! | `reduce` | which candidates to try |

mod reduce;

pub use reduce::{Candidate, Made, Rank, Reducer};

use crate::choice::{Chooser, Tape};
use crate::drivers::{self, Driver};
use crate::model::{Verdict, Violation};
use crate::runner::quiet_panics;
use crate::scenario::{Outcome, Setting};
use crate::watchdog::{Jobs, watch};
use parking_lot::Mutex;
use std::fmt;

/// What makes two failures the same: the verdict and the promise, and of a panic also what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    verdict: Verdict,
    promise: &'static str,
    panic: Option<String>,
}

impl Reason {
    /// The reason of a violation.
    pub fn of(violation: &Violation) -> Reason {
        // Numbers and names of threads differ from run to run of one mistake.
        let words = |text: &str| {
            let line = text.lines().next().unwrap_or_default();
            line.split(|c: char| c.is_ascii_digit() || c == '[').next().unwrap_or_default().to_owned()
        };
        let panic = violation.story.strip_prefix("panic: ").map(words);
        Reason { verdict: violation.verdict, promise: violation.promise, panic }
    }

    /// Whether it is this promise that is broken.
    pub fn is_about(&self, promise: &str) -> bool {
        self.promise == promise
    }
}

/// What came of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest run that was found; its tape is in normal form: run again, it makes itself.
    pub outcome: Outcome,
    /// What breaks in it.
    pub violation: Violation,
    /// Operations of the run that was given.
    pub operations_before: u64,
    /// Runs that it took.
    pub runs: u64,
}

/// Schedules to try for each operation that cannot be taken away under the present one.
const REDRAWS: u64 = 6;

/// Shrinks a failing tape in at most `budget` runs. `None` if the tape does not fail. Deterministic: the same tape gives
/// the same result on every machine.
///
/// Should a candidate never end, `hung` gets the last tape that failed; it should report it and end the process.
pub fn shrink(tape: Tape, setting: Setting<'_>, budget: u64, hung: impl Fn(&Tape) + Sync) -> Option<Shrunk> {
    quiet_panics();
    let best = Mutex::new(tape.clone());
    watch(1, |_| hung(&best.lock()), |jobs| shrink_watched(tape, setting, budget, &best, jobs))
}

fn shrink_watched(
    tape: Tape,
    setting: Setting<'_>,
    budget: u64,
    best: &Mutex<Tape>,
    jobs: &Jobs,
) -> Option<Shrunk> {
    let setting = Setting { with_lines: false, ..setting };
    let first = drivers::run(Chooser::from_tape(tape), setting);
    let reason = Reason::of(first.violation.as_ref()?);
    let start = Made { tape: first.tape, marks: first.marks };
    // Who runs next is a choice of its own in these; without an operation the rest of the schedule leads elsewhere.
    let redraws = if matches!(setting.driver, Driver::Threads | Driver::Service) { REDRAWS } else { 0 };
    let check = |candidate: Candidate| {
        jobs.begin(0, 0);
        let outcome = drivers::run(candidate.chooser(), setting);
        let same = Reason::of(outcome.violation.as_ref()?) == reason;
        same.then(|| {
            best.lock().clone_from(&outcome.tape);
            Made { tape: outcome.tape, marks: outcome.marks }
        })
    };
    let (made, runs) = Reducer::new(start, budget, redraws, check).reduce();
    let outcome = drivers::run(Chooser::from_tape(made.tape), setting);
    jobs.end(0);
    let violation = outcome.violation.clone().expect("a run is a function of its tape");
    assert_eq!(Reason::of(&violation), reason, "a run is a function of its tape");
    Some(Shrunk { violation, outcome, operations_before: first.counts.operations, runs: runs + 2 })
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, before) = (self.outcome.counts.operations, self.operations_before);
        write!(f, "shrunk from {before} operations to {now} in {} runs: {}", self.runs, self.violation)
    }
}
