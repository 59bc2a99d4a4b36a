//! A campaign: many seeds, several threads, one sum.

use crate::choice::Chooser;
use crate::coverage::{Coverage, known};
use crate::disk::Profile;
use crate::drivers::{self, Driver};
use crate::fault::FaultCounts;
use crate::model::Violation;
use crate::scenario::{Counts, Events, Outcome, Setting};
use crate::timeline::TraceHash;
use crate::watchdog::{Jobs, watch};
use parking_lot::Mutex;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which seeds to run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Campaign<'a> {
    /// What all runs have in common.
    pub setting: Setting<'a>,
    /// Number of seeds over all shards; `None` is until the time is over.
    pub seeds: Option<u64>,
    /// The first seed.
    pub start: u64,
    /// No new seed is begun after this.
    pub time: Option<Duration>,
    /// Threads.
    pub jobs: NonZero<usize>,
    /// This shard and the number of shards: shard `i` of `n` runs every `n`-th seed.
    pub shard: (u64, u64),
    /// Share of the seeds that are run twice, in percent, to see that a run is a function of its tape.
    pub recheck_percent: u64,
}

impl<'a> Campaign<'a> {
    /// The first seeds of a setting, on two threads: what a test runs.
    pub fn first(seeds: u64, setting: Setting<'a>) -> Campaign<'a> {
        Campaign {
            setting,
            seeds: Some(seeds),
            start: 0,
            time: None,
            jobs: NonZero::<usize>::MIN.saturating_add(1),
            shard: (0, 1),
            recheck_percent: 10,
        }
    }

    /// Whether its runs are those of the default campaign, or begin with them.
    fn is_of_default_seeds(&self) -> bool {
        let Setting { driver, profile, sector_bytes, trace, plant, lie, .. } = self.setting;
        let plain = sector_bytes.is_none() && trace.is_none() && plant.is_none() && lie.is_none();
        (driver, profile) == (Driver::Sequential, Profile::Any)
            && plain
            && (self.start, self.shard) == (0, (0, 1))
    }
}

/// A seed whose run broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
}

/// What a campaign did and found.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Seeds run.
    pub seeds: u64,
    /// Of these, run twice with the same result.
    pub rechecked: u64,
    /// What was done and checked.
    pub counts: Counts,
    /// Which faults were armed and fired.
    pub faults: FaultCounts,
    /// What else the driver counts.
    pub events: Events,
    /// What the crashes reached.
    pub coverage: Coverage,
    /// These are the default seeds, or more: they must reach every known triple.
    pub coverage_demanded: bool,
    /// All traces in one number that does not depend on the order of the seeds.
    pub trace_hash: TraceHash,
    /// The failing seeds, lowest first; a campaign stops soon after the first.
    pub failures: Vec<Failure>,
    /// Seeds that gave two different traces: the run is not a function of its tape, and nothing else counts.
    pub diverged: Vec<u64>,
    /// Wall-clock time.
    pub seconds: f64,
    /// Processor time of the process meanwhile, all threads.
    pub cpu_seconds: f64,
}

/// Runs one seed.
pub fn run_seed(seed: u64, setting: Setting<'_>) -> Outcome {
    drivers::run(Chooser::from_seed(seed), setting)
}

/// Runs a campaign; `tick` is told the number of seeds done. A thread that is caught in a run cannot be stopped, so a seed
/// that does not end is given to `hung`, which should report it and end the process.
pub fn run(campaign: &Campaign<'_>, tick: impl Fn(u64) + Sync, hung: impl Fn(u64) + Sync) -> Sum {
    let begin = Instant::now();
    let cpu_begin = cpu_seconds();
    let (shard, shards) = campaign.shard;
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    quiet_panics();
    let work = |jobs: &Jobs, job: usize| {
        let mut own = Sum::default();
        while !stop.load(Ordering::Relaxed) && campaign.time.is_none_or(|time| begin.elapsed() < time) {
            let index = next.fetch_add(1, Ordering::Relaxed) * shards + shard;
            if campaign.seeds.is_some_and(|seeds| index >= seeds) {
                break;
            }
            let seed = campaign.start.wrapping_add(index);
            jobs.begin(job, seed);
            own.add_seed(campaign, seed);
            if !own.failures.is_empty() || !own.diverged.is_empty() {
                stop.store(true, Ordering::Relaxed);
            }
            tick(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        jobs.end(job);
        sum.lock().merge(own);
    };
    watch(campaign.jobs.get(), hung, |jobs| {
        std::thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> =
                (0..campaign.jobs.get()).map(|job| scope.spawn(move || work(jobs, job))).collect();
            for worker in workers {
                worker.join().expect("a run's panic is caught and reported as its outcome");
            }
        });
    });
    let mut sum = sum.into_inner();
    sum.failures.sort_by_key(|failure| failure.seed);
    sum.diverged.sort_unstable();
    sum.coverage_demanded = campaign.is_of_default_seeds() && sum.seeds >= known::DEMANDED_SEEDS;
    sum.seconds = begin.elapsed().as_secs_f64();
    sum.cpu_seconds = cpu_seconds() - cpu_begin;
    sum
}

impl Sum {
    /// How many of the failing seeds broke a promise of the engine: in the others the test bed went wrong.
    pub fn violations(&self) -> u64 {
        self.failures.iter().filter(|failure| failure.violation.verdict.is_broken_promise()).count() as u64
    }

    fn add_seed(&mut self, campaign: &Campaign<'_>, seed: u64) {
        let outcome = run_seed(seed, campaign.setting);
        self.seeds += 1;
        self.counts.add(&outcome.counts);
        self.faults.add(&outcome.faults);
        self.add_events(&outcome.events);
        self.coverage.add(&outcome.coverage);
        self.trace_hash.0 = self.trace_hash.0.wrapping_add(seed_hash(seed, outcome.hash));
        if seed.wrapping_mul(37) % 100 < campaign.recheck_percent {
            if run_seed(seed, campaign.setting).hash == outcome.hash {
                self.rechecked += 1;
            } else {
                self.diverged.push(seed);
            }
        }
        if let Some(violation) = outcome.violation {
            self.failures.push(Failure { seed, violation });
        }
    }

    fn add_events(&mut self, events: &Events) {
        for (name, times) in events {
            *self.events.entry(name).or_default() += times;
        }
    }

    fn merge(&mut self, other: Sum) {
        self.seeds += other.seeds;
        self.rechecked += other.rechecked;
        self.counts.add(&other.counts);
        self.faults.add(&other.faults);
        self.add_events(&other.events);
        self.coverage.add(&other.coverage);
        self.trace_hash.0 = self.trace_hash.0.wrapping_add(other.trace_hash.0);
        self.failures.extend(other.failures);
        self.diverged.extend(other.diverged);
    }
}

fn seed_hash(seed: u64, hash: TraceHash) -> u64 {
    let mut chained = hash;
    chained.mix(seed);
    chained.0
}

/// A panic in a run is a finding, which the report tells; the default message, with a backtrace if the environment asks
/// for one, would drown it. Only threads that are in a run are silenced; where they panic is noted, since one of the test bed's
/// own is no finding.
pub fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if drivers::is_running() {
                drivers::note_panic(info.location());
            } else {
                default(info);
            }
        }));
    });
}

/// One thread for each processor.
pub fn processors() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Processor seconds that this process has used, from /proc; 0 where there is none.
pub fn cpu_seconds() -> f64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return 0.0 };
    // Fields 14 and 15, counted from 1; the second one, a name in brackets, may hold blanks. In ticks of 1/100 s on
    // every Linux there is.
    let ticks: Vec<f64> = match stat.rsplit_once(')') {
        Some((_, rest)) => {
            rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect()
        }
        None => Vec::new(),
    };
    ticks.iter().sum::<f64>() / 100.0
}
