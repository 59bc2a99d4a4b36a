//! `cargo sim`: the command.

mod command;

use clap::{Parser, Subcommand};
use command::{
    AssumeArgs, BugsArgs, ExhaustArgs, InspectArgs, MergeArgs, ReplayArgs, RunArgs, ShrinkArgs, TimelineArgs,
    Unusable,
};
use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit status for bad usage, for a campaign that measured too little, and if the test bed itself went wrong.
const UNUSABLE: u8 = 2;

/// Watches simulated power cuts hit a real storage engine.
///
/// Without a command: the standard campaign, `run --seeds 20000`.
///
/// Exit status: 0 all promises held; 1 one broke, and the last line replays it; 2 bad usage, too little
/// was measured, or the test bed itself went wrong.
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
    /// The smallest run that fails for the same reason, as a tape and as a plain #[test].
    Shrink(ShrinkArgs),
    /// One run as a picture: an HTML file that shows what was promised, what survived, and where they differ.
    Timeline(TimelineArgs),
    /// A real directory read without opening it: segments, frames, blocks, manifest, every checksum.
    Inspect(InspectArgs),
    /// The certificate: within bounds, every crash of short stories, every image that may survive it, every crash of its recovery.
    Exhaust(ExhaustArgs),
    /// Adds up the summaries of a campaign's shards; fails if one failed, refuses if one is missing.
    Merge(MergeArgs),
    /// On which disks every promise holds: a table, and the weakest of them.
    Assume(AssumeArgs),
    /// How hard each planted bug is to find: which are caught, after how many runs.
    Bugs(BugsArgs),
}

fn main() -> ExitCode {
    tidewall_sim::runner::quiet_panics();
    let result = match Cli::parse().command {
        None => command::run(&Cli::parse_from(["sim", "run"]).run_args()),
        Some(Command::Run(args)) => command::run(&args),
        Some(Command::Replay(args)) => command::replay(&args),
        Some(Command::Shrink(args)) => command::shrink(&args),
        Some(Command::Timeline(args)) => command::timeline(&args),
        Some(Command::Inspect(args)) => command::inspect(&args),
        Some(Command::Exhaust(args)) => command::exhaust(&args),
        Some(Command::Merge(args)) => command::merge(&args),
        Some(Command::Assume(args)) => command::assume(&args),
        Some(Command::Bugs(args)) => command::bugs(&args),
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
