//! Engines that tidewall did not write, on its test bed. `adapters/run` builds this program once for each set of versions.
//!
//! `adapters [--runs N] [--time SECONDS] [--start SEED] [--verbose] [ENGINE…]` prints one row of the table for each engine;
//! `adapters replay SEED ENGINE` one run, I/O by I/O. With `--expect bad` the exit status is 0 if each engine fails, with
//! `--expect fixed` if none does, and without it, 1 if one does.

#[cfg(feature = "raft-engine")]
mod raft;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "turso")]
mod turso;

use std::process::ExitCode;
use std::time::Duration;
use tidewall_sim::subject::{Plan, Report, Subject, campaign, replay};

/// An engine at one version.
struct Engine {
    name: &'static str,
    version: &'static str,
    plan: Plan,
    campaign: fn(&Plan) -> Report,
    replay: fn(u64, &Plan) -> Vec<String>,
}

impl Engine {
    fn of<S: Subject>(name: &'static str, version: &'static str, plan: Plan) -> Engine {
        let replay = |seed, plan: &Plan| replay::<S>(seed, plan).lines;
        Engine { name, version, plan, campaign: campaign::<S>, replay }
    }
}

fn engines() -> Vec<Engine> {
    vec![
        #[cfg(feature = "redb")]
        Engine::of::<redb::Store>("redb", env!("VERSION_REDB"), redb::plan()),
        #[cfg(feature = "raft-engine")]
        Engine::of::<raft::Store<false>>("raft-engine", env!("VERSION_RAFT_ENGINE"), raft::plan()),
        #[cfg(feature = "raft-engine")]
        Engine::of::<raft::Store<true>>("raft-engine-lazy", env!("VERSION_RAFT_ENGINE"), raft::plan()),
        #[cfg(feature = "turso")]
        Engine::of::<turso::Store>("turso_core", env!("VERSION_TURSO"), turso::plan()),
    ]
}

#[derive(Default)]
struct Args {
    runs: Option<u64>,
    time: Option<u64>,
    start: Option<u64>,
    replay: Option<u64>,
    verbose: bool,
    must_fail: bool,
    only: Vec<String>,
}

fn args() -> Result<Args, String> {
    let mut given = Args::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let field = match word.as_str() {
            "--runs" => &mut given.runs,
            "--time" => &mut given.time,
            "--start" => &mut given.start,
            "replay" => &mut given.replay,
            "--verbose" => {
                given.verbose = true;
                continue;
            }
            "--expect" => {
                given.must_fail = words.next().as_deref() == Some("bad");
                continue;
            }
            _ => {
                given.only.push(word);
                continue;
            }
        };
        let number = words.next().and_then(|number| number.parse().ok());
        *field = Some(number.ok_or_else(|| format!("{word} needs a number"))?);
    }
    Ok(given)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    // A panic is a finding, which the report tells, or comes after the power has failed, and nobody listens.
    std::panic::set_hook(Box::new(|_| {}));
    let mut worst = 0;
    for engine in engines() {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == engine.name) {
            continue;
        }
        if let Some(seed) = args.replay {
            (engine.replay)(seed, &engine.plan).iter().for_each(|line| println!("{line}"));
            continue;
        }
        let plan = Plan {
            runs: args.runs.unwrap_or(20_000),
            start: args.start.unwrap_or(0),
            time: args.time.map(Duration::from_secs),
            // How many runs fail is a column of the table.
            first_only: false,
            shrink_runs: if args.verbose { 2000 } else { 0 },
            control_runs: 200,
            recheck_percent: 2,
            ..engine.plan
        };
        let report = (engine.campaign)(&plan);
        if args.verbose {
            println!("{report}\n");
        }
        println!("{}", row(&engine, &report));
        let status = report.exit_code();
        worst = worst.max(match (args.must_fail, status) {
            (true, 0) => 1,
            (true, 1) => 0,
            _ => status,
        });
    }
    ExitCode::from(worst)
}

fn row(engine: &Engine, report: &Report) -> String {
    let first = report.first.as_ref().map_or("-".into(), |found| (found.seed + 1).to_string());
    let what = report.first.as_ref().map_or(String::new(), |found| {
        let story: String =
            found.violation.story.lines().next().unwrap_or_default().chars().take(100).collect();
        format!(": {story}")
    });
    format!(
        "| {} | {} | `{}` | {} | {} | {} | {} | {}{what} | {:.0} |",
        engine.name,
        engine.version,
        report.profile,
        report.runs,
        report.counts.crashes,
        first,
        report.failing,
        report.verdict(),
        report.seconds
    )
}
