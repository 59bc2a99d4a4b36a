//! `sim run`: a campaign.

use super::{SettingArgs, Unusable, save, story};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;
use tidewall_sim::coverage::known;
use tidewall_sim::merge::{Part, SOURCES, parse_shard};
use tidewall_sim::model::{Verdict, Violation};
use tidewall_sim::report::{Header, Summary};
use tidewall_sim::runner::{self, Campaign, Failure};
use tidewall_sim::scenario::Setting;

#[derive(Args)]
pub struct RunArgs {
    /// Number of seeds over all shards [default: 20000, or no limit with --time]
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Begin no new seed after this many seconds
    #[arg(long, value_name = "SECS")]
    time: Option<u64>,
    /// Threads [default: one for each processor]
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Run part I of N (counted from 0) of the seeds
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    shard: Option<(u64, u64)>,
    /// Percentage of the seeds that run twice, and must give the same trace
    #[arg(long, value_name = "PERCENT", default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=100))]
    recheck: u64,
    #[command(flatten)]
    setting: SettingArgs,
    /// One JSON object a line; the last one is the summary
    #[arg(long)]
    json: bool,
    /// Write the table of known crash triples anew, from what this campaign reaches
    #[arg(long, value_name = "FILE", hide = true)]
    write_known: Option<PathBuf>,
    /// Where to save the tape of a failing seed
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub fn run(args: &RunArgs) -> Result<u8, Unusable> {
    let driver = args.setting.driver()?;
    let plant = args.setting.plant()?;
    let trace = args.setting.load_trace()?;
    let seeds = match (args.seeds, args.time) {
        (None, None) => Some(20_000),
        (seeds, _) => seeds,
    };
    let shard = args.shard.unwrap_or((0, 1));
    let setting = Setting {
        driver,
        profile: args.setting.profile()?,
        sector_bytes: args.setting.sector_bytes,
        trace: trace.as_ref(),
        plant,
        blind: args.setting.blind,
        ..Setting::default()
    };
    let campaign = Campaign {
        setting,
        seeds,
        start: args.start,
        time: args.time.map(Duration::from_secs),
        jobs: args.jobs.unwrap_or_else(runner::processors),
        shard,
        recheck_percent: args.recheck,
    };
    if !args.json {
        println!("tidewall, {} driver: {}.", driver.name(), driver.what());
        if let Some(bug) = plant {
            println!("Planted bug {}: {}.", bug.name(), bug.what());
        }
        println!();
    }
    let bar = progress(args, seeds.map(|seeds| seeds.div_ceil(shard.1)));
    let tick = |done: u64| {
        if done.is_multiple_of(64) {
            bar.set_position(done);
        }
    };
    let hung = |seed: u64| {
        let violation = Violation::new(Verdict::Stuck, "every call ends", "the run does not end");
        print_failure(args, &Failure { seed, violation });
        if !args.json {
            println!("{}", replay_line(args, seed));
        }
        std::process::exit(1);
    };
    let sum = runner::run(&campaign, tick, hung);
    bar.finish_and_clear();

    let trace_files = args.setting.trace_files();
    let header = Header {
        driver,
        profile: &args.setting.profile,
        sector_bytes: setting.sector_bytes,
        plant: args.setting.plant.as_deref(),
        trace_files: &trace_files,
        trace_bad_rows: trace.as_ref().map_or(0, |trace| trace.bad_total),
        part: &Part {
            sources: SOURCES.into(),
            start: args.start,
            seeds_asked: seeds,
            time_asked: args.time,
            recheck_percent: args.recheck,
            shard: format!("{}/{}", shard.0, shard.1),
        },
    };
    let summary = Summary::new(header, &sum);
    for failure in &sum.failures {
        print_failure(args, failure);
    }
    if let (Some(path), Some(failure)) = (&args.save, sum.failures.first()) {
        let outcome = runner::run_seed(failure.seed, setting);
        save(path, &story(&format!("seed {}", failure.seed), &outcome), &args.setting, &outcome)?;
    }
    if let Some(path) = &args.write_known {
        std::fs::write(path, known::write(&sum.coverage, sum.seeds))?;
    }
    let broke = sum.failures.iter().find(|failure| failure.violation.verdict.is_broken_promise());
    let shrink = broke.map(|failure| shrink_line(args, failure.seed));
    let replay = sum.failures.iter().map(|failure| failure.seed).chain(sum.diverged.iter().copied()).next();
    let replay = replay.map(|seed| replay_line(args, seed));
    if args.json {
        let mut object = serde_json::to_value(&summary)?;
        object["replay"] = json!(replay);
        object["shrink"] = json!(shrink);
        println!("{object}");
    } else {
        print!("{}", summary.to_text());
        if let Some(shrink) = shrink {
            println!("Made small, with a plain #[test] where there is one, and replayed:\n{shrink}");
        }
        if let Some(replay) = replay {
            println!("{replay}");
        }
    }
    Ok(summary.result().exit_code())
}

fn print_failure(args: &RunArgs, failure: &Failure) {
    if !args.json {
        return println!("seed {}: {}", failure.seed, failure.violation);
    }
    // What the test bed did wrong is no violation, for whoever adds these up.
    let kind = if failure.violation.verdict.is_broken_promise() { "violation" } else { "harness_broken" };
    let object = json!({
        "kind": kind,
        "seed": failure.seed,
        "verdict": failure.violation.verdict,
        "promise": failure.violation.promise,
        "story": failure.violation.story,
    });
    println!("{object}");
}

fn replay_line(args: &RunArgs, seed: u64) -> String {
    format!("cargo sim replay {seed}{}", args.setting.to_words())
}

fn shrink_line(args: &RunArgs, seed: u64) -> String {
    format!("cargo sim shrink {seed}{}", args.setting.to_words())
}

fn progress(args: &RunArgs, seeds: Option<u64>) -> ProgressBar {
    // Draws on a terminal only.
    let bar = match seeds {
        _ if args.json => return ProgressBar::hidden(),
        Some(seeds) => ProgressBar::new(seeds),
        None => ProgressBar::new_spinner(),
    };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {per_sec}, {eta} left");
    bar.set_style(style.expect("the template is a constant"));
    bar
}
