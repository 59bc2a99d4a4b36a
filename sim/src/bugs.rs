//! How hard each planted bug is to find: the measure of the bed.
//!
//! A *hunt* is one campaign for one bug: the driver that is for it runs seed after seed until one fails. How many it took is
//! a matter of luck, so there are several hunts with seeds of their own, and their median counts. The seeds are fixed: the
//! same commit gives the same table, on however many threads.
//!
//! `sim/bugs.csv` has the medians of earlier hunts (`sim bugs --campaigns 3 --write`). A bug that has become more than [`HARDER`] times harder to
//! find than that is one that the bed is about to miss. Medians of a few hunts go up and down by themselves, every time that
//! a change makes the seeds mean something else. So one that is too high is not believed before [`HUNTS_TO_BE_SURE`]
//! hunts say so; and below [`NOISE`] runs nothing is compared, since whether a bug takes three runs or twenty says
//! which seeds came first and no more.

use crate::drivers::{self, Driver};
use crate::model::{Verdict, Violation};
use crate::runner::{quiet_panics, run_seed};
use crate::scenario::Setting;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::fmt::Write as _;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tidewall::plant::Bug;

/// A hunt gives up after this many runs: the standard campaign.
pub const RUNS_MAX: u64 = 20_000;
/// Hunts after which a median is believed that is too high.
pub const HUNTS_TO_BE_SURE: u64 = 25;
/// A bug may become this many times harder to find.
pub const HARDER: u64 = 4;
/// Medians below this count as this.
pub const NOISE: u64 = 25;

/// Seeds of one hunt are so far from those of the next.
const APART: u64 = 1_000_000;

/// What is said against a bug that is not caught.
pub const SURVIVES: &str = "SURVIVES";
const HARDER_TO_FIND: &str = "HARDER TO FIND";

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
        recorded(self.bug)
    }

    /// How many runs it may take.
    pub fn limit(&self) -> Option<u64> {
        self.recorded().map(|runs| HARDER * runs.max(NOISE))
    }

    /// What is to be said against it; nothing against one that loom hunts.
    pub fn complaint(&self) -> Option<&'static str> {
        self.driver?;
        match (self.median(), self.limit()) {
            (None, _) => Some(SURVIVES),
            (Some(_), None) => Some("NOT IN THE TABLE"),
            (Some((runs, _)), Some(limit)) if *runs > limit => Some(HARDER_TO_FIND),
            _ => None,
        }
    }

    /// Processor time, or nearly: each hunt is one thread's.
    pub fn seconds(&self) -> f64 {
        // An empty sum of floats is -0.
        self.hunts.iter().map(|hunt| hunt.seconds).sum::<f64>().abs()
    }
}

/// The median that is on record for a bug.
pub fn recorded(bug: Bug) -> Option<u64> {
    let mut lines = TABLE.lines().skip(1).map(|line| line.split(','));
    let mut line = lines.find_map(|mut fields| (fields.next() == Some(bug.name())).then_some(fields))?;
    line.nth(1)?.parse().ok()
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

/// Hunts bugs, this many times each, in this many threads. `tick` is called after each hunt.
pub fn hunt(bugs: &[Bug], hunts: u64, jobs: NonZero<usize>, tick: impl Fn()) -> Vec<Finding> {
    let mut findings: Vec<_> = bugs.iter().map(|bug| Finding::new(*bug)).collect();
    more(&mut findings, |_| hunts, jobs, tick);
    findings
}

/// Hunts those that seem to have become harder to find as often as it takes to be sure.
pub fn make_sure(findings: &mut [Finding], jobs: NonZero<usize>) {
    let is_suspect = |finding: &Finding| finding.complaint() == Some(HARDER_TO_FIND);
    more(findings, |finding| if is_suspect(finding) { HUNTS_TO_BE_SURE } else { 0 }, jobs, || ());
}

/// Goes on until there are as many hunts of each as `wanted` says.
fn more(findings: &mut [Finding], wanted: impl Fn(&Finding) -> u64, jobs: NonZero<usize>, tick: impl Fn()) {
    let mut tasks = Vec::new();
    for finding in findings.iter() {
        let Some(driver) = finding.driver else { continue };
        let wanted = wanted(finding);
        let task = |number| Task { bug: finding.bug, driver, number, of: wanted };
        tasks.extend((finding.hunts.len() as u64..wanted).map(task));
    }
    // The longest first, so that no thread is left with one at the end.
    tasks.sort_by_cached_key(|task| (Reverse(recorded(task.bug)), task.number));
    let mut made = all(tasks, jobs, tick);
    made.sort_by_key(|(task, _)| task.number);
    for (task, hunt) in made {
        let finding = findings.iter_mut().find(|finding| finding.bug == task.bug);
        finding.expect("a task is about one of them").hunts.push(hunt);
    }
}

#[derive(Clone, Copy)]
struct Task {
    bug: Bug,
    driver: Driver,
    /// Which of the bug's hunts.
    number: u64,
    /// How many there are to be.
    of: u64,
}

/// What a thread is at: its task, the run, and since when.
type Post = Arc<Mutex<Option<(Task, u64, Instant)>>>;

/// Does all tasks. A run that does not end cannot be stopped: it counts as caught, its thread is left to itself and another
/// one takes its place. The other hunts for its bug are left out, since they would end alike; and so are those for a bug that
/// most of its hunts have missed.
fn all(tasks: Vec<Task>, jobs: NonZero<usize>, tick: impl Fn()) -> Vec<(Task, Hunt)> {
    quiet_panics();
    let mut left = tasks.into_iter();
    let mut settled: Vec<Bug> = Vec::new();
    let mut made: Vec<(Task, Hunt)> = Vec::new();
    let (ended, hunts) = channel();
    let start = |task: Task| {
        let (post, ended) = (Post::default(), ended.clone());
        let own = post.clone();
        std::thread::spawn(move || {
            let hunt = one(task, &own);
            // A thread that was given up meets nobody at the other end.
            let _ = ended.send((task, hunt));
        });
        (task, post)
    };
    let mut posts: Vec<(Task, Post)> = Vec::new();
    loop {
        while posts.len() < jobs.get()
            && let Some(task) = left.find(|task| !settled.contains(&task.bug))
        {
            posts.push(start(task));
        }
        if posts.is_empty() {
            return made;
        }
        let is_at = |task: &Task, bug, number| (task.bug, task.number) == (bug, number);
        if let Ok((task, hunt)) = hunts.recv_timeout(Duration::from_secs(1)) {
            let before = posts.len();
            posts.retain(|(other, _)| !is_at(other, task.bug, task.number));
            if posts.len() < before {
                made.push((task, hunt));
                tick();
            }
            let missed = |(other, hunt): &&(Task, Hunt)| other.bug == task.bug && hunt.caught.is_none();
            if 2 * made.iter().filter(missed).count() as u64 > task.of {
                settled.push(task.bug);
            }
        }
        posts.retain(|(_, post)| {
            let late = post.lock().filter(|(_, _, since)| since.elapsed() > HUNG);
            let Some((task, run, since)) = late else { return true };
            let violation = Violation::new(Verdict::Stuck, "every call ends", "the run does not end");
            let hunt = Hunt { caught: Some((run + 1, violation)), seconds: since.elapsed().as_secs_f64() };
            settled.push(task.bug);
            made.push((task, hunt));
            tick();
            false
        });
    }
}

/// A run that takes longer does not end; most take milliseconds.
const HUNG: Duration = Duration::from_secs(20);

fn one(task: Task, post: &Post) -> Hunt {
    let since = Instant::now();
    let setting = Setting { driver: task.driver, plant: Some(task.bug), ..Setting::default() };
    let caught = (0..RUNS_MAX).find_map(|run| {
        *post.lock() = Some((task, run, Instant::now()));
        let violation = run_seed(task.number * APART + run, setting).violation?;
        Some((run + 1, violation))
    });
    Hunt { caught, seconds: since.elapsed().as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(runs: &[Option<u64>]) -> Finding {
        let violation = Violation::new(Verdict::Lost, "", "");
        let hunt =
            |runs: &Option<u64>| Hunt { caught: runs.map(|runs| (runs, violation.clone())), seconds: 0.0 };
        Finding { hunts: runs.iter().map(hunt).collect(), ..Finding::new(Bug::F1) }
    }

    #[test]
    fn the_hunt_in_the_middle_counts_and_one_that_caught_nothing_is_the_longest() {
        let median = |runs: &[Option<u64>]| finding(runs).median().map(|(runs, _)| *runs);
        assert_eq!(median(&[Some(9), Some(1), Some(5)]), Some(5));
        assert_eq!(median(&[Some(9), None, Some(5)]), Some(9));
        assert_eq!(median(&[None, Some(2), None]), None);
        assert_eq!(median(&[Some(4), Some(3)]), Some(3));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_bug_that_survives_or_has_become_much_harder_to_find_is_complained_of() {
        let complaint = |runs| finding(&[runs]).complaint();
        assert!(recorded(Bug::F1) <= Some(NOISE), "found in a few runs");
        assert_eq!(complaint(Some(HARDER * NOISE)), None);
        assert_eq!(complaint(Some(HARDER * NOISE + 1)), Some(HARDER_TO_FIND));
        assert_eq!(complaint(None), Some(SURVIVES));
        assert_eq!(Finding::new(Bug::R1).complaint(), None, "loom's");
    }
}
