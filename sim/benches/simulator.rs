//! How much the test bed judges in a second of processor time, driver by driver.
//!
//! ```text
//! cargo bench -p tidewall-sim --bench simulator [-- --seeds 2000 --rounds 3]
//! ```
//!
//! Here and not in `benches/`, because the test bed compiles the planted bugs in, and what they cost (a load and a branch at
//! each) shall be in no other figure. Campaigns take turns, round after round; medians. Recorded data is what
//! `TIDEWALL_TRACES` names, or else the files of `../shared/data`, or else the tests' own. A broken promise ends the bench.

use tidewall_benches::data::recorded_files;
use tidewall_benches::{argument, median, size};
use tidewall_sim::disk::{Persistence, Profile};
use tidewall_sim::drivers::Driver;
use tidewall_sim::drivers::exhaustive::{Bounds, CRASH_STATES, certify};
use tidewall_sim::runner::{self, Campaign};
use tidewall_sim::scenario::Setting;
use tidewall_sim::trace::Trace;

/// Of one campaign, for each second of processor time.
struct Rates {
    seeds: f64,
    images: f64,
    recoveries: f64,
    points: f64,
}

fn main() {
    let trace = Trace::load(&recorded_files()).expect("recorded data can be read");
    let plain = Setting::default();
    let with = |driver| Setting { driver, ..plain };
    let mut campaigns = vec![
        ("sequential", 2000, plain),
        ("sequential, recorded data", 2000, Setting { trace: Some(&trace), ..plain }),
        ("threads", 1000, with(Driver::Threads)),
    ];
    if Driver::Service.unavailable().is_none() {
        campaigns.push(("service", 200, with(Driver::Service)));
    }
    let mut rows: Vec<Vec<Rates>> = campaigns.iter().map(|_| Vec::new()).collect();
    let mut exhaustive = Vec::new();
    for _ in 0..argument("rounds", 3) {
        for ((_, seeds, setting), row) in campaigns.iter().zip(&mut rows) {
            row.push(campaign(size("seeds", *seeds) as u64, *setting));
        }
        exhaustive.push(certificate());
    }
    println!("medians of {}, for each second of processor time", exhaustive.len());
    println!(
        "{:<28} {:>10} {:>16} {:>12} {:>16}",
        "driver", "seeds", "crash images", "recoveries", "points compared"
    );
    let names = campaigns.iter().map(|(name, ..)| *name).chain(["exhaustive (seeds: stories)"]);
    for (name, row) in names.zip(rows.iter().chain([&exhaustive])) {
        let of = |part: fn(&Rates) -> f64| median(row.iter().map(part).collect());
        println!(
            "{name:<28} {:>10.0} {:>16.0} {:>12.0} {:>16.0}",
            of(|rates| rates.seeds),
            of(|rates| rates.images),
            of(|rates| rates.recoveries),
            of(|rates| rates.points)
        );
    }
}

fn campaign(seeds: u64, setting: Setting<'_>) -> Rates {
    let campaign = Campaign { recheck_percent: 0, ..Campaign::first(seeds, setting) };
    let sum = runner::run(&campaign, |_| {}, |seed| panic!("seed {seed} does not end"));
    assert!(sum.failures.is_empty() && sum.diverged.is_empty(), "a promise broke: {:?}", sum.failures);
    let each = |count: u64| count as f64 / sum.cpu_seconds.max(1e-3);
    Rates {
        seeds: each(sum.seeds),
        images: each(sum.counts.crashes),
        recoveries: each(sum.counts.recoveries),
        points: each(sum.counts.points_checked),
    }
}

/// A certificate of short stories. Images are counted exactly, most of them without a recovery of their own.
fn certificate() -> Rates {
    let sector = "sector".parse::<Profile>().expect("a profile's name");
    let persistence: Persistence = *sector.points().first().expect("a profile is of some disk");
    let bounds = Bounds {
        ops: 6,
        short: 2,
        stories: size("stories", 4),
        depth: 2,
        persistence,
        sector_bytes: 512,
        plant: None,
        jobs: runner::processors(),
        crash_states: CRASH_STATES,
    };
    let found = certify(&bounds, |_, _| {});
    assert!(found.counterexample.is_none(), "a promise broke");
    let each = |count: f64| count / found.cpu_seconds.max(1e-3);
    let images = &found.tally.images + &found.tally.images_in_recovery;
    Rates {
        seeds: each(found.stories as f64),
        images: each(images.to_string().parse().expect("an integer")),
        recoveries: each(found.tally.runs as f64),
        points: each(found.tally.points_checked as f64),
    }
}
