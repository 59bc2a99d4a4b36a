//! Engines that tidewall did not write, on its test bed. `adapters/run` builds this program once for each set of versions.
//!
//! `adapters [--runs N] [--time SECONDS] [--start SEED] [--verbose] [ENGINE…]` prints one row of the table for each engine;
//! `adapters replay SEED ENGINE` one run, I/O by I/O. With `--expect bad` the exit status is 0 if each engine fails; else it is 0 if
//! none does and 1 if one does. 2, always: something was not measured, or was asked for and is not here.

#[cfg(feature = "raft-engine")]
mod raft;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "turso")]
mod turso;

use std::process::ExitCode;
use std::time::Duration;
use tidewall_sim::subject::{Outcome, Plan, Report, Subject, campaign, replay};

/// An engine at one version.
struct Engine {
    name: &'static str,
    version: &'static str,
    plan: Plan,
    campaign: fn(&Plan) -> Report,
    replay: fn(u64, &Plan) -> Outcome,
}

impl Engine {
    fn of<S: Subject>(name: &'static str, version: &'static str, plan: Plan) -> Engine {
        Engine { name, version, plan, campaign: campaign::<S>, replay: replay::<S> }
    }
}

fn engines() -> Vec<Engine> {
    vec![
        #[cfg(feature = "redb")]
        Engine::of::<redb::Store>("redb", env!("VERSION_REDB"), redb::plan()),
        #[cfg(feature = "raft-engine")]
        Engine::of::<raft::Store>("raft-engine", env!("VERSION_RAFT_ENGINE"), raft::plan()),
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
                given.must_fail = match words.next().as_deref() {
                    Some("bad") => true,
                    Some("fixed" | "current") => false,
                    _ => return Err("--expect needs bad, fixed or current".into()),
                };
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
    let mut engines = engines();
    if let Some(unknown) = args.only.iter().find(|name| engines.iter().all(|engine| engine.name != **name)) {
        eprintln!("{unknown} is not built in");
        return ExitCode::from(2);
    }
    engines.retain(|engine| args.only.is_empty() || args.only.iter().any(|name| name == engine.name));
    // Without an engine there is nothing to measure.
    let mut worst = if engines.is_empty() { 2 } else { 0 };
    for engine in engines {
        if let Some(seed) = args.replay {
            let outcome = (engine.replay)(seed, &engine.plan);
            outcome.lines.iter().for_each(|line| println!("{line}"));
            worst = worst.max(outcome.verdict().exit_code());
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
