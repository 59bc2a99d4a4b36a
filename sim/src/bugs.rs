//! How hard each planted bug is to find: the measure of the bed.
//!
//! A *hunt* is one campaign for one bug: the driver that is for it runs seed after seed until one fails. How many it took is
//! a matter of luck, so there are several hunts with seeds of their own, and their median counts. The seeds are fixed: the
//! same commit gives the same table, on however many threads.
//!
//! `sim/bugs.csv` has the medians of [`HUNTS_RECORDED`] hunts. A bug that has become more than [`HARDER`] times harder to
//! find than that is one that the bed is about to miss. Medians of a few hunts go up and down by themselves, every time that
//! a change makes the seeds mean something else. So one that is too high is not believed before as many hunts say so as
//! made the record; and below [`NOISE`] runs nothing is compared, since whether a bug takes three runs or twenty says
//! which seeds came first and no more.

use crate::drivers::{self, Driver};
use crate::model::Violation;
use crate::runner::{quiet_panics, run_seed};
use crate::scenario::Setting;
use crate::watchdog::watch;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tidewall::plant::Bug;

/// A hunt gives up after so many runs: the standard campaign.
pub const RUNS_MAX: u64 = 20_000;
/// Hunts whose median is recorded.
pub const HUNTS_RECORDED: u64 = 25;
/// A bug may become so many times harder to find.
pub const HARDER: u64 = 4;
/// Medians below this count as this.
pub const NOISE: u64 = 25;

/// Seeds of one hunt are so far from those of the next.
const APART: u64 = 1_000_000;

const TABLE: &str = include_str!("../bugs.csv");

/// Classes of the catalogue of the original's defects after which no bug is named: what they are, and where they went.
pub const ELSEWHERE: [(&str, &str); 2] = [
    (
        "W14",
        "a reference kept across growth of the ring: Rust refuses it; C8 works on a copied list of files",
    ),
    (
        "F23",
        "a timeout is reported while the work goes on: no wait of the engine has a time limit; L1 gives one to a wait",
    ),
];

/// One campaign for one bug.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// How many runs it took, and what broke in the last one; `None` if nothing did in [`RUNS_MAX`].
    pub caught: Option<(u64, Violation)>,
    /// How long that took.
    pub seconds: f64,
}

/// What came of all hunts for one bug.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The bug.
    pub bug: Bug,
    /// Who hunts it; `None`: the models of loom.
    pub driver: Option<Driver>,
    /// In the order of their seeds.
    pub hunts: Vec<Hunt>,
}

impl Finding {
    fn new(bug: Bug) -> Finding {
        Finding { bug, driver: drivers::of(bug), hunts: Vec::new() }
    }

    /// The hunt in the middle; `None` where it caught nothing.
    pub fn median(&self) -> Option<&(u64, Violation)> {
        let mut hunts: Vec<_> = self.hunts.iter().map(|hunt| hunt.caught.as_ref()).collect();
        hunts.sort_by_key(|caught| caught.map_or(u64::MAX, |(runs, _)| *runs));
        hunts.get(self.hunts.len().saturating_sub(1) / 2).copied().flatten()
    }

    /// The median that is on record.
    pub fn recorded(&self) -> Option<u64> {
        recorded(TABLE).find(|(name, _)| *name == self.bug.name()).map(|(_, runs)| runs)
    }

    /// How many runs it may take.
    pub fn limit(&self) -> Option<u64> {
        self.recorded().map(|runs| HARDER * runs.max(NOISE))
    }

    /// What is to be said against it; nothing against one that loom hunts.
    pub fn complaint(&self) -> Option<&'static str> {
        self.driver?;
        match (self.median(), self.limit()) {
            (None, _) => Some("SURVIVES"),
            (Some(_), None) => Some("NOT IN THE TABLE"),
            (Some((runs, _)), Some(limit)) if *runs > limit => Some("HARDER TO FIND"),
            _ => None,
        }
    }

    /// Processor time, or nearly: each hunt is one thread's.
    pub fn seconds(&self) -> f64 {
        self.hunts.iter().map(|hunt| hunt.seconds).sum()
    }
}

/// Bugs and their runs.
fn recorded(table: &str) -> impl Iterator<Item = (&str, u64)> {
    table.lines().skip(1).map(|line| {
        let mut fields = line.split(',');
        let (name, runs) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        (name, runs.parse().unwrap_or_else(|_| panic!("no number of runs in bugs.csv: {line}")))
    })
}

/// The table of these findings.
pub fn table(findings: &[Finding]) -> String {
    let mut table = String::from("bug,driver,runs,verdict\n");
    for finding in findings {
        let (Some(driver), Some((runs, violation))) = (finding.driver, finding.median()) else { continue };
        writeln!(table, "{},{},{runs},{:?}", finding.bug.name(), driver.name(), violation.verdict)
            .expect("a string takes everything");
    }
    table
}

/// Hunts bugs, so many times each. `hung` is told which run does not end, and should end the process.
pub fn hunt(
    bugs: &[Bug],
    hunts: u64,
    jobs: NonZero<usize>,
    tick: impl Fn() + Sync,
    hung: impl Fn(Bug, u64) + Sync,
) -> Vec<Finding> {
    let mut findings: Vec<_> = bugs.iter().map(|bug| Finding::new(*bug)).collect();
    more(&mut findings, |_| hunts, jobs, &tick, &hung);
    findings
}

/// Hunts those that seem to have become harder to find as often as it takes to be sure.
pub fn make_sure(
    findings: &mut [Finding],
    jobs: NonZero<usize>,
    tick: impl Fn() + Sync,
    hung: impl Fn(Bug, u64) + Sync,
) {
    let suspected = |finding: &Finding| {
        if finding.complaint().is_some_and(|why| why == "HARDER TO FIND") { HUNTS_RECORDED } else { 0 }
    };
    more(findings, suspected, jobs, &tick, &hung);
}

/// Goes on until there are as many hunts of each as `wanted` says.
fn more(
    findings: &mut [Finding],
    wanted: impl Fn(&Finding) -> u64,
    jobs: NonZero<usize>,
    tick: &(impl Fn() + Sync),
    hung: &(impl Fn(Bug, u64) + Sync),
) {
    let mut tasks: Vec<(usize, u64)> = Vec::new();
    for (index, finding) in findings.iter().enumerate().filter(|(_, finding)| finding.driver.is_some()) {
        tasks.extend((finding.hunts.len() as u64..wanted(finding)).map(|number| (index, number)));
    }
    // The longest first, so that no thread is left with one at the end.
    tasks.sort_by_key(|(index, number)| (std::cmp::Reverse(findings[*index].recorded()), *number));
    let made: Vec<Mutex<Vec<(u64, Hunt)>>> = findings.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    quiet_panics();
    let known = &*findings;
    watch(
        jobs.get(),
        |run| hung(known[(run / RUN_NUMBERS) as usize].bug, run % RUN_NUMBERS),
        |watched| {
            std::thread::scope(|scope| {
                for job in 0..jobs.get() {
                    let (tasks, made, next) = (&tasks, &made, &next);
                    scope.spawn(move || {
                        while let Some((index, number)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let begin = |seed| watched.begin(job, *index as u64 * RUN_NUMBERS + seed);
                            let hunt = one(&known[*index], *number, begin);
                            made[*index].lock().push((*number, hunt));
                            tick();
                        }
                        watched.end(job);
                    });
                }
            });
        },
    );
    for (finding, made) in findings.iter_mut().zip(made) {
        let mut made = made.into_inner();
        made.sort_by_key(|(number, _)| *number);
        finding.hunts.extend(made.into_iter().map(|(_, hunt)| hunt));
    }
}

/// What the watchdog is told: a bug's place times this, and the seed, which is smaller.
const RUN_NUMBERS: u64 = 1 << 32;

fn one(finding: &Finding, number: u64, begin: impl Fn(u64)) -> Hunt {
    let since = Instant::now();
    let driver = finding.driver.expect("loom's bugs are not hunted");
    let setting = Setting { driver, plant: Some(finding.bug), ..Setting::default() };
    let caught = (0..RUNS_MAX).find_map(|run| {
        begin(number * APART + run);
        let violation = run_seed(number * APART + run, setting).violation?;
        Some((run + 1, violation))
    });
    Hunt { caught, seconds: since.elapsed().as_secs_f64() }
}
