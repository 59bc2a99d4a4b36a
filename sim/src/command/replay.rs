//! `sim replay`: one run again.

use super::{SettingArgs, Unusable, save};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tidewall_sim::choice::Chooser;
use tidewall_sim::drivers;
use tidewall_sim::scenario::Setting;
use tidewall_sim::tape_file::TapeFile;

#[derive(Args)]
pub struct ReplayArgs {
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

pub fn replay(args: &ReplayArgs) -> Result<u8, Unusable> {
    let (chooser, seed, setting_args) = source(&args.what, &args.setting)?;
    let plant = setting_args.plant()?;
    let trace = setting_args.load_trace()?;
    let setting = Setting {
        driver: setting_args.driver()?,
        profile: setting_args.profile()?,
        trace: trace.as_ref(),
        plant,
        with_lines: !args.json,
        ..Setting::default()
    };
    let outcome = drivers::run(chooser, setting);
    if let Some(path) = &args.save {
        save(path, seed.unwrap_or(0), &setting_args, &outcome)?;
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
                "events": outcome.events,
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

/// The decisions that a seed or a file stands for, the seed if it is one, and the words for how to run them: the given
/// ones, and those that a saved tape brings along.
pub fn source(what: &str, given: &SettingArgs) -> Result<(Chooser, Option<u64>, SettingArgs), Unusable> {
    let mut words = given.clone();
    if let Ok(seed) = what.parse::<u64>() {
        return Ok((Chooser::from_seed(seed), Some(seed), words));
    }
    let bytes = std::fs::read(what).map_err(|error| {
        Unusable(format!("{what} is neither a seed nor a file that can be read: {error}"))
    })?;
    // Any other file is the input of a fuzzer: its bytes are the decisions.
    let Some(file) = TapeFile::parse(&bytes) else { return Ok((Chooser::from_bytes(bytes), None, words)) };
    let file = file.map_err(|why| Unusable(format!("{what}: {why}")))?;
    words.set_driver(&file.driver)?;
    words.profile = file.profile;
    words.plant = words.plant.or(file.plant);
    if words.trace.is_empty() {
        words.trace = file.trace.iter().map(PathBuf::from).collect();
    }
    Ok((Chooser::from_tape(file.tape), None, words))
}
