//! `cargo sim`: the command.

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tidewall::disk::RealDisk;
use tidewall::plant::Bug;
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::Profile;
use tidewall_sim::drivers::sequential;
use tidewall_sim::model::{Verdict, Violation};
use tidewall_sim::report::{Header, Summary};
use tidewall_sim::runner::{self, Campaign, Failure};
use tidewall_sim::scenario::{Outcome, Setting};
use tidewall_sim::tape_file::TapeFile;
use tidewall_sim::trace::Trace;

/// Exit status for bad usage, and for a campaign that measured nothing.
const UNUSABLE: u8 = 2;

/// Watches simulated power cuts hit a real storage engine.
///
/// Without a command: the standard campaign, `run --seeds 20000`.
///
/// Exit status: 0 all promises held; 1 one broke, and the last line replays it; 2 bad usage, or nothing was measured.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// A campaign: many seeds, each a run of some two hundred operations with several crashes.
    Run(RunArgs),
    /// One run again, printing its timeline: the same bytes each time.
    Replay(ReplayArgs),
    /// A real directory read without opening it: segments, frames, blocks, manifest, every checksum.
    Inspect(InspectArgs),
    /// The planted bugs.
    Bugs,
}

#[derive(Args)]
struct RunArgs {
    /// Number of seeds over all shards [default: 20000, or no limit with --time]
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Begin no new seed after so many seconds
    #[arg(long, value_name = "SECS")]
    time: Option<u64>,
    /// Threads [default: one for each processor]
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Run part I of N (counted from 0) of the seeds
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(u64, u64)>,
    /// Percentage of the seeds that run twice, and must give the same trace
    #[arg(long, value_name = "PERCENT", default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=100))]
    recheck: u64,
    #[command(flatten)]
    setting: SettingArgs,
    /// One JSON object a line; the last one is the summary
    #[arg(long)]
    json: bool,
    /// Where to save the tape of a failing seed
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

#[derive(Args)]
struct SettingArgs {
    /// How runs are scheduled
    #[arg(long, default_value = "sequential", value_parser = ["sequential"])]
    driver: String,
    /// What a power cut can do inside a sector
    #[arg(long, default_value = "any", value_parser = ["any", "sector", "byte", "garbage"])]
    profile: String,
    /// Recorded sensor data as the workload; may be given several times
    #[arg(long, value_name = "CSV")]
    trace: Vec<PathBuf>,
    /// Switch on one planted bug, which must be found
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
}

#[derive(Args)]
struct ReplayArgs {
    /// A seed, or a file with a saved tape
    what: String,
    #[command(flatten)]
    setting: SettingArgs,
    /// Save the tape of the run
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The outcome only, as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct InspectArgs {
    /// The directory
    dir: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parsed =
        text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match parsed {
        Some((index, count)) if index < count => Ok((index, count)),
        _ => Err("must be I/N with I below N, such as 0/4".into()),
    }
}

/// The command cannot be carried out; the text says why.
struct Unusable(String);

impl<E: std::error::Error> From<E> for Unusable {
    fn from(error: E) -> Unusable {
        Unusable(error.to_string())
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => run(&Cli::parse_from(["sim", "run"]).run_args()),
        Some(Command::Run(args)) => run(&args),
        Some(Command::Replay(args)) => replay(&args),
        Some(Command::Inspect(args)) => inspect(&args),
        Some(Command::Bugs) => {
            for bug in Bug::ALL {
                println!("{:<5} {}", bug.name(), bug.what());
            }
            Ok(0)
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Unusable(why)) => {
            eprintln!("sim: {why}");
            ExitCode::from(UNUSABLE)
        }
    }
}

impl Cli {
    fn run_args(self) -> RunArgs {
        match self.command {
            Some(Command::Run(args)) => args,
            _ => unreachable!("parsed from `run`"),
        }
    }
}

impl SettingArgs {
    fn plant(&self) -> Result<Option<Bug>, Unusable> {
        let Some(name) = &self.plant else { return Ok(None) };
        match Bug::ALL.iter().find(|bug| bug.name() == name) {
            Some(bug) => Ok(Some(*bug)),
            None => {
                let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
                Err(Unusable(format!("no planted bug is called {name}; there are {}", names.join(", "))))
            }
        }
    }

    fn profile(&self) -> Profile {
        runner::profile(&self.profile).expect("clap knows the same names")
    }

    fn load_trace(&self) -> Result<Option<Trace>, Unusable> {
        if self.trace.is_empty() {
            return Ok(None);
        }
        let trace = Trace::load(&self.trace)?;
        for row in trace.bad_rows.iter().take(20) {
            eprintln!("sim: {row}");
        }
        if trace.bad_total > 20 {
            eprintln!("sim: and {} more rows that could not be used", trace.bad_total - 20);
        }
        Ok(Some(trace))
    }

    fn trace_files(&self) -> Vec<String> {
        self.trace.iter().map(|path| path.display().to_string()).collect()
    }

    /// The words that make `replay` run the same thing.
    fn to_words(&self) -> String {
        let mut words = String::new();
        if self.profile != "any" {
            words += &format!(" --profile {}", self.profile);
        }
        for path in &self.trace {
            words += &format!(" --trace {}", path.display());
        }
        if let Some(plant) = &self.plant {
            words += &format!(" --plant {plant}");
        }
        words
    }
}

fn run(args: &RunArgs) -> Result<u8, Unusable> {
    let plant = args.setting.plant()?;
    let trace = args.setting.load_trace()?;
    let seeds = match (args.seeds, args.time) {
        (None, None) => Some(20_000),
        (seeds, _) => seeds,
    };
    let shard = args.shard.unwrap_or((0, 1));
    let setting =
        Setting { profile: args.setting.profile(), trace: trace.as_ref(), plant, ..Setting::default() };
    let campaign = Campaign {
        setting,
        seeds,
        start: args.start,
        time: args.time.map(Duration::from_secs),
        jobs: args
            .jobs
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZero::<usize>::MIN),
        shard,
        recheck_percent: args.recheck,
    };
    if !args.json {
        println!("tidewall, sequential driver: an engine on a simulated disk, and the power fails.");
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
        profile: &args.setting.profile,
        plant: args.setting.plant.as_deref(),
        trace_files: &trace_files,
        trace_bad_rows: trace.as_ref().map_or(0, |trace| trace.bad_total),
    };
    let summary = Summary::new(header, &sum);
    for failure in &sum.failures {
        print_failure(args, failure);
    }
    if let (Some(path), Some(failure)) = (&args.save, sum.failures.first()) {
        save(path, failure.seed, &args.setting, &runner::run_seed(failure.seed, setting))?;
    }
    let replay = sum.failures.iter().map(|failure| failure.seed).chain(sum.diverged.iter().copied()).next();
    let replay = replay.map(|seed| replay_line(args, seed));
    if args.json {
        let mut object = serde_json::to_value(&summary)?;
        object["replay"] = json!(replay);
        println!("{object}");
    } else {
        print!("{}", summary.to_text());
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
    let object = json!({
        "kind": "violation",
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

fn save(path: &Path, seed: u64, setting: &SettingArgs, outcome: &Outcome) -> Result<(), Unusable> {
    let story = match &outcome.violation {
        Some(violation) => format!("seed {seed}: {violation}"),
        None => format!("seed {seed}"),
    };
    let file = TapeFile {
        story,
        profile: setting.profile.clone(),
        plant: setting.plant.clone(),
        trace: setting.trace_files(),
        tape: outcome.tape.clone(),
    };
    std::fs::write(path, file.to_text())
        .map_err(|error| Unusable(format!("cannot write {}: {error}", path.display())))
}

fn replay(args: &ReplayArgs) -> Result<u8, Unusable> {
    let mut setting_args = SettingArgs {
        driver: args.setting.driver.clone(),
        profile: args.setting.profile.clone(),
        trace: args.setting.trace.clone(),
        plant: args.setting.plant.clone(),
    };
    let (chooser, seed) = match args.what.parse::<u64>() {
        Ok(seed) => (Chooser::from_seed(seed), seed),
        Err(_) => {
            let bytes = std::fs::read(&args.what).map_err(|error| {
                Unusable(format!("{} is neither a seed nor a file that can be read: {error}", args.what))
            })?;
            match TapeFile::parse(&bytes) {
                Some(file) => {
                    let file = file.map_err(|why| Unusable(format!("{}: {why}", args.what)))?;
                    setting_args.profile = file.profile;
                    setting_args.plant = setting_args.plant.or(file.plant);
                    if setting_args.trace.is_empty() {
                        setting_args.trace = file.trace.iter().map(PathBuf::from).collect();
                    }
                    (Chooser::from_tape(file.tape), 0)
                }
                // Any other file is the input of a fuzzer: its bytes are the decisions.
                None => (Chooser::from_bytes(bytes), 0),
            }
        }
    };
    let plant = setting_args.plant()?;
    let trace = setting_args.load_trace()?;
    let profile = runner::profile(&setting_args.profile)
        .ok_or_else(|| Unusable(format!("no profile is called {}", setting_args.profile)))?;
    let setting =
        Setting { profile, trace: trace.as_ref(), plant, with_lines: !args.json, ..Setting::default() };
    let outcome = sequential::run(chooser, setting);
    if let Some(path) = &args.save {
        save(path, seed, &setting_args, &outcome)?;
    }
    let hash = format!("{:016x}", outcome.hash.0);
    if args.json {
        let violation = outcome.violation.as_ref().map(ToString::to_string);
        println!(
            "{}",
            json!({
                "kind": "replay",
                "violation": violation,
                "counts": outcome.counts,
                "trace_hash": hash,
            })
        );
    } else {
        outcome.lines.iter().for_each(|line| println!("{line}"));
        match &outcome.violation {
            None => println!("every promise held; trace hash {hash}"),
            Some(violation) => println!("{violation}\ntrace hash {hash}"),
        }
    }
    Ok(u8::from(outcome.violation.is_some()))
}

fn inspect(args: &InspectArgs) -> Result<u8, Unusable> {
    let disk = RealDisk::existing(&args.dir)
        .map_err(|error| Unusable(format!("{} is not a directory: {error}", args.dir.display())))?;
    let inspection = tidewall::inspect(&disk)?;
    if args.json {
        let damage: Vec<_> = inspection
            .damage
            .iter()
            .map(|damage| json!({"file": damage.file, "offset": damage.offset, "expected": damage.expected}))
            .collect();
        let blocks: usize = inspection.chunks.iter().map(|chunk| chunk.blocks.len()).sum();
        println!(
            "{}",
            json!({
                "kind": "inspection",
                "sound": damage.is_empty(),
                "manifest_records": inspection.manifest_records.len(),
                "segments": inspection.segments.len(),
                "frames_to_replay": inspection.segments.iter().map(|segment| segment.live.len()).sum::<usize>(),
                "chunks": inspection.chunks.len(),
                "blocks": blocks,
                "end_lsn": inspection.end_lsn().0,
                "proven_lsn": inspection.proven_lsn().0,
                "unknown_files": inspection.unknown_files,
                "damage": damage,
            })
        );
    } else {
        print!("{inspection}");
    }
    Ok(u8::from(!inspection.damage.is_empty()))
}
