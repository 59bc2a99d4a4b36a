//! Many runs, one report; and the control: the same runs on a disk that ignores every sync, one of which must fail.

use super::Subject;
use super::run::{Counts, Outcome, run};
use crate::choice::{Chooser, Tape};
use crate::disk::{IoKind, Lie, Profile};
use crate::fault::{Fault, FaultCounts};
use crate::model::{Verdict, Violation};
use crate::runner::{processors, quiet_panics};
use crate::shrink::{Candidate, Made, Reason, Reducer};
use crate::watchdog::{Jobs, watch};
use parking_lot::Mutex;
use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a campaign is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Runs; each is the run of a seed.
    pub runs: u64,
    /// The first seed.
    pub start: u64,
    /// No new run is begun after this.
    pub time: Option<Duration>,
    /// Operations of a run, at most.
    pub operations: u32,
    /// What the disk promises about what was not synced. Take what the store's documentation takes.
    pub profile: Profile,
    /// Calls of the disk that may fail. Empty: the power fails, and nothing else.
    pub errors: &'static [IoKind],
    /// Space runs out, and comes back.
    pub no_space: bool,
    /// A crash that is set up strikes within this many I/Os that change something: about what two operations do.
    pub crash_within: u32,
    /// Of the seeds this many in a hundred are run twice, to see that a run is a function of its tape.
    pub recheck_percent: u64,
    /// Stop soon after the first run that fails.
    pub first_only: bool,
    /// Runs of the control: the same on a disk that ignores syncs. 0: there is none, and the campaign measures nothing.
    pub control_runs: u64,
    /// Runs that the first failure may be shrunk in.
    pub shrink_runs: u64,
    /// Threads.
    pub jobs: NonZero<usize>,
    /// A disk that does not keep its own promises.
    pub lie: Option<Lie>,
}

impl Default for Plan {
    /// A thousand runs in which the power fails and nothing else does, on a disk on which a write that is interrupted may
    /// stop at any byte and damages nothing that it does not write.
    fn default() -> Plan {
        Plan {
            runs: 1000,
            start: 0,
            time: None,
            operations: 40,
            profile: Profile::Byte,
            errors: &[],
            no_space: false,
            crash_within: 12,
            recheck_percent: 5,
            first_only: true,
            control_runs: 1000,
            shrink_runs: 5000,
            jobs: processors(),
            lie: None,
        }
    }
}

impl Plan {
    /// Besides, any call fails, a failed sync is never made good, space runs out.
    pub fn with_errors() -> Plan {
        Plan { errors: &IoKind::ALL, no_space: true, ..Plan::default() }
    }

    /// Everything that a disk can do: besides, a sector whose write is interrupted may hold zeros or noise, in all of it.
    pub fn harsh() -> Plan {
        Plan { profile: Profile::Any, ..Plan::with_errors() }
    }
}

/// A run in which a promise broke.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its seed.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
    /// The smallest run that breaks the same, if it was looked for.
    pub shrunk: Option<Outcome>,
}

/// What a campaign did and found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The store, by its type.
    pub store: &'static str,
    /// The disk.
    pub profile: Profile,
    /// Runs.
    pub runs: u64,
    /// What was done and checked.
    pub counts: Counts,
    /// Which faults were armed and fired.
    pub faults: FaultCounts,
    /// Runs in which a promise broke.
    pub failing: u64,
    /// The first of them.
    pub first: Option<Found>,
    /// Seeds that gave two different runs.
    pub diverged: Vec<u64>,
    /// Where the runs of the first of them part, in words.
    pub difference: Option<String>,
    /// How the control broke, and at which seed.
    pub control: Option<Found>,
    /// Why the campaign says nothing, if that is so.
    pub not_measured: Vec<String>,
    /// Wall-clock time.
    pub seconds: f64,
}

impl Report {
    /// How it ended.
    pub fn verdict(&self) -> Verdict {
        match &self.first {
            _ if !self.diverged.is_empty() => Verdict::HarnessBroken,
            Some(found) => found.violation.verdict,
            None if !self.not_measured.is_empty() => Verdict::NotMeasured,
            None => Verdict::Survived,
        }
    }

    /// The exit status that says so: 0 all held, 1 a promise broke, 2 nothing was measured.
    pub fn exit_code(&self) -> u8 {
        self.verdict().exit_code()
    }
}

/// What runs add up to.
#[derive(Default)]
struct Sum {
    runs: u64,
    counts: Counts,
    faults: FaultCounts,
    failing: u64,
    first: Option<Found>,
    diverged: Vec<u64>,
}

impl Sum {
    fn merge(&mut self, other: Sum) {
        self.runs += other.runs;
        self.counts.add(&other.counts);
        self.faults.add(&other.faults);
        self.failing += other.failing;
        self.diverged.extend(other.diverged);
        let firsts = [self.first.take(), other.first];
        self.first = firsts.into_iter().flatten().min_by_key(|found| found.seed);
    }
}

/// Runs a campaign, its control, and shrinks what it finds.
pub fn campaign<S: Subject>(plan: &Plan) -> Report {
    let begin = Instant::now();
    let mut sum = runs::<S>(plan);
    sum.diverged.sort_unstable();
    if let Some(found) = sum.first.as_mut().filter(|_| sum.diverged.is_empty() && plan.shrink_runs > 0) {
        let tape = run::<S>(Chooser::from_seed(found.seed), plan, false).tape;
        found.shrunk = shrink::<S>(tape, plan);
    }
    let mut report = Report {
        store: std::any::type_name::<S>(),
        profile: plan.profile,
        runs: sum.runs,
        counts: sum.counts,
        faults: sum.faults,
        failing: sum.failing,
        first: sum.first,
        difference: sum.diverged.first().map(|seed| difference::<S>(*seed, plan)),
        diverged: sum.diverged,
        control: None,
        not_measured: Vec::new(),
        seconds: 0.0,
    };
    if report.first.is_none() {
        let lying = Plan { lie: Some(Lie::IgnoresSync), recheck_percent: 0, first_only: true, ..*plan };
        report.control = runs::<S>(&Plan { runs: plan.control_runs, ..lying }).first;
        report.not_measured = not_measured(&report, plan);
    }
    report.seconds = begin.elapsed().as_secs_f64();
    report
}

/// What a campaign in which nothing broke has not tried.
fn not_measured(report: &Report, plan: &Plan) -> Vec<String> {
    let mut missing = Vec::new();
    if report.control.is_none() {
        let runs = plan.control_runs;
        missing.push(format!("on a disk that ignores every sync, {runs} runs survived as well"));
    }
    if report.counts.acked_checked == 0 {
        missing.push("after no power cut was there anything that had to be there".into());
    }
    // Of a store that only reads when it is opened, a crash then is the crash before it once more.
    let in_recovery = (report.counts.writing_recoveries > 0).then_some(Fault::CrashRecovery);
    for fault in [Fault::Lost].into_iter().chain(in_recovery) {
        if report.faults.of(fault).fired == 0 {
            missing.push(format!("this never happened: {}", fault.what()));
        }
    }
    let fired = |faults: &[Fault]| faults.iter().any(|fault| report.faults.of(*fault).fired > 0);
    let sync = [Fault::SyncError, Fault::SyncExt4, Fault::SyncXfs, Fault::SyncBtrfs];
    if !plan.errors.is_empty() && !fired(&sync) && !fired(&[Fault::WriteError]) {
        missing.push("errors were asked for, and no write or sync failed".into());
    }
    if plan.no_space && !fired(&[Fault::NoSpaceWrite, Fault::NoSpaceGrow, Fault::NoSpaceCreate]) {
        missing.push("space never ran out".into());
    }
    missing
}

/// The run of a seed again, with its lines.
pub fn replay<S: Subject>(seed: u64, plan: &Plan) -> Outcome {
    quiet_panics();
    run::<S>(Chooser::from_seed(seed), plan, true)
}

/// Runs of a seed that may be needed to see it differ once more.
const TRIALS: usize = 20;

/// Where two runs of a seed part: the first line that is not the same, or that looks the same and is about other bytes.
fn difference<S: Subject>(seed: u64, plan: &Plan) -> String {
    let one = replay::<S>(seed, plan);
    let Some(other) = (0..TRIALS).map(|_| replay::<S>(seed, plan)).find(|other| other.hash != one.hash)
    else {
        return format!("in {TRIALS} more runs of seed {seed} it did not differ again");
    };
    let same = |at: &usize| {
        one.lines.get(*at) == other.lines.get(*at) && one.hashes.get(*at) == other.hashes.get(*at)
    };
    let steps = one.lines.len().max(other.lines.len());
    let at = (0..steps).find(|at| !same(at)).expect("a hash is that of the steps");
    let told = |run: &Outcome| run.lines.get(at).map_or("the end".to_owned(), |line| line.trim().to_owned());
    let (first, second) = (told(&one), told(&other));
    let behind =
        at.checked_sub(1).map_or(String::new(), |last| format!(", behind `{}`", one.lines[last].trim()));
    if first == second {
        return format!("in step {at} of seed {seed}{behind}, `{first}` has other bytes in each");
    }
    format!("in step {at} of seed {seed}{behind}, one run has `{first}` and the other `{second}`")
}

fn runs<S: Subject>(plan: &Plan) -> Sum {
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let last = AtomicU64::new(plan.runs);
    let sum = Mutex::new(Sum::default());
    quiet_panics();
    let work = |jobs: &Jobs, job: usize| {
        let mut own = Sum::default();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            // All before the first that fails are run, whatever the number of threads: which one it is depends on nothing.
            if index >= last.load(Ordering::Relaxed) || plan.time.is_some_and(|time| begin.elapsed() > time) {
                break;
            }
            let seed = plan.start.wrapping_add(index);
            jobs.begin(job, seed);
            let outcome = run::<S>(Chooser::from_seed(seed), plan, false);
            if seed.wrapping_mul(37) % 100 < plan.recheck_percent
                && run::<S>(Chooser::from_seed(seed), plan, false).hash != outcome.hash
            {
                own.diverged.push(seed);
            }
            let failed = outcome.violation.is_some();
            own.merge(Sum {
                runs: 1,
                counts: outcome.counts,
                faults: outcome.faults,
                failing: u64::from(failed),
                first: outcome.violation.map(|violation| Found { seed, violation, shrunk: None }),
                diverged: Vec::new(),
            });
            if plan.first_only && (failed || !own.diverged.is_empty()) {
                last.fetch_min(index, Ordering::Relaxed);
            }
        }
        jobs.end(job);
        sum.lock().merge(own);
    };
    watch(
        plan.jobs.get(),
        |seed| hung::<S>(&format!("the run of seed {seed}")),
        |jobs| {
            std::thread::scope(|scope| {
                let work = &work;
                let workers: Vec<_> =
                    (0..plan.jobs.get()).map(|job| scope.spawn(move || work(jobs, job))).collect();
                for worker in workers {
                    worker.join().expect("a run's panic is caught and reported as its outcome");
                }
            });
        },
    );
    sum.into_inner()
}

/// A thread that is caught in a run cannot be stopped, but it can be named.
fn hung<S: Subject>(what: &str) {
    eprintln!("{}: {what} does not end", std::any::type_name::<S>());
    std::process::exit(1);
}

/// The smallest run that fails for the same reason as this tape's. `None` if that does not fail.
pub fn shrink<S: Subject>(tape: Tape, plan: &Plan) -> Option<Outcome> {
    quiet_panics();
    let first = run::<S>(Chooser::from_tape(tape), plan, false);
    let reason = Reason::of(first.violation.as_ref()?);
    let start = Made { tape: first.tape, marks: first.marks };
    let check = |candidate: Candidate| {
        let outcome = run::<S>(candidate.chooser(), plan, false);
        let same = Reason::of(outcome.violation.as_ref()?) == reason;
        same.then_some(Made { tape: outcome.tape, marks: outcome.marks })
    };
    let (made, _) = watch(
        1,
        |_| hung::<S>("a candidate of the shrinker"),
        |jobs| {
            let check = |candidate| {
                jobs.begin(0, 0);
                check(candidate)
            };
            let made = Reducer::new(start, plan.shrink_runs, 0, check).reduce();
            jobs.end(0);
            made
        },
    );
    let outcome = run::<S>(Chooser::from_tape(made.tape), plan, true);
    outcome.violation.is_some().then_some(outcome)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { crashes, recoveries, dumps, acked_checked, io_ops, .. } = self.counts;
        let (runs, seconds) = (self.runs, self.seconds);
        writeln!(f, "{}, on a disk that promises {}", self.store, self.profile)?;
        writeln!(f, "  runs        {runs} in {seconds:.1} s, {io_ops} calls of the disk")?;
        writeln!(f, "  power cuts  {crashes}, {recoveries} recoveries to the end")?;
        writeln!(
            f,
            "  compared    {dumps} states, {acked_checked} acknowledged operations looked for after a power cut"
        )?;
        let struck = |fault: &&Fault| self.faults.of(**fault).fired > 0;
        let fired = Fault::ALL
            .iter()
            .filter(struck)
            .map(|fault| format!("{} {}", fault.name(), self.faults.of(*fault).fired));
        writeln!(f, "  struck      {}", fired.collect::<Vec<_>>().join(", "))?;
        if let Some(control) = &self.control {
            let (seed, verdict) = (control.seed, control.violation.verdict);
            writeln!(f, "  control     a disk that ignores syncs fails at seed {seed}: {verdict:?}")?;
        }
        for reason in &self.not_measured {
            writeln!(f, "  NOT MEASURED: {reason}")?;
        }
        if !self.diverged.is_empty() {
            let seeds = &self.diverged;
            writeln!(
                f,
                "  HARNESS BROKEN: these seeds gave two different runs, the store is not a function of its calls: {seeds:?}"
            )?;
            if let Some(difference) = &self.difference {
                writeln!(f, "  {difference}")?;
            }
        }
        if let Some(found) = &self.first {
            writeln!(f, "  seed {} broke a promise ({} runs did)", found.seed, self.failing)?;
            writeln!(f, "  {}", found.violation)?;
            if let Some(shrunk) = &found.shrunk {
                writeln!(f, "  the shortest run that was found to do so:")?;
                shrunk.lines.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
            }
        }
        write!(f, "{}", self.verdict().to_string().to_uppercase())
    }
}
