//! `sim exhaust`: the certificate.

use super::setting::sector_bytes;
use super::{Unusable, planted, write};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::num::NonZero;
use std::path::PathBuf;
use tidewall_sim::disk::{Persistence, Profile};
use tidewall_sim::drivers::exhaustive::{Bounds, CRASH_STATES, certify};
use tidewall_sim::runner;
use tidewall_sim::tape_file::TapeFile;

#[derive(Args)]
pub struct ExhaustArgs {
    /// Operations of the longer stories
    #[arg(long, value_name = "N", default_value_t = 6)]
    ops: usize,
    /// Crashes inside recoveries, one in the other
    #[arg(long, value_name = "D", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=8))]
    depth: u32,
    /// Explore every story of this many operations and fewer
    #[arg(long, value_name = "N", default_value_t = 3)]
    short: usize,
    /// Number of longer stories, drawn from a fixed seed: each rotates the log, seals a chunk and restarts
    #[arg(long, value_name = "N", default_value_t = 50)]
    stories: usize,
    /// The disk: sector, byte, garbage, or one such as 512/garbage/independent/any/none, whose lengths and names wait for nothing
    #[arg(long, default_value = "sector", value_parser = persistence)]
    profile: Persistence,
    /// What the engine takes for the sectors of the disk
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = sector_bytes())]
    sector_bytes: u64,
    /// Different crashes to remember for each group of stories that begin alike: about a hundred bytes each, for each thread
    #[arg(long, value_name = "N", default_value_t = CRASH_STATES)]
    crash_states: usize,
    /// Switch on one planted bug
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
    /// Threads [default: one for each processor]
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// The certificate as one JSON object
    #[arg(long)]
    json: bool,
    /// Where to save the tape of a counterexample
    #[arg(long, value_name = "FILE", default_value = "target/counterexample.tape")]
    save: PathBuf,
}

fn persistence(text: &str) -> Result<Persistence, String> {
    match &text.parse::<Profile>()?.points()[..] {
        [disk] if disk.is_piecemeal() => Ok(*disk),
        [disk] => {
            Err(format!("on {disk} lengths or names wait for data; what holds on */any/none holds there"))
        }
        _ => Err("one disk at a time".into()),
    }
}

pub fn exhaust(args: &ExhaustArgs) -> Result<u8, Unusable> {
    let bounds = Bounds {
        ops: args.ops,
        short: args.short,
        stories: args.stories,
        depth: args.depth,
        persistence: args.profile,
        sector_bytes: args.sector_bytes,
        crash_states: args.crash_states,
        plant: args.plant.as_deref().map(planted).transpose()?,
        jobs: args.jobs.unwrap_or_else(runner::processors),
    };
    if !args.json {
        println!(
            "tidewall, exhaustive: every crash of short stories, every image that may survive it, and every"
        );
        println!("crash of the recovery from each, {} deep.", args.depth);
        if let Some(bug) = bounds.plant {
            println!("Planted bug {}: {}.", bug.name(), bug.what());
        }
        println!();
    }
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} stories, {eta} left");
    bar.set_style(style.expect("the template is a constant"));
    let certificate = certify(&bounds, |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let mut replay = None;
    if let Some(found) = &certificate.counterexample {
        let file = TapeFile {
            story: format!("after {:?}: {}", found.story.to_string(), found.violation),
            driver: "exhaustive".into(),
            profile: Profile::Exactly(args.profile).to_string(),
            sector_bytes: Some(args.sector_bytes).filter(|bytes| *bytes != 512),
            plant: args.plant.clone(),
            tape: found.tape.clone(),
            ..TapeFile::default()
        };
        write(&args.save, &file)?;
        replay = Some(format!("cargo sim replay {}", args.save.display()));
    }
    if args.json {
        let mut object = certificate.to_json(&bounds);
        object["replay"] = replay.into();
        println!("{object}");
    } else {
        print!("{}", certificate.to_text(&bounds));
        if let Some(replay) = replay {
            println!("{replay}");
        }
    }
    Ok(certificate.result().exit_code())
}
