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
    let mut setting_args = args.setting.clone();
    let (chooser, seed) = match args.what.parse::<u64>() {
        Ok(seed) => (Chooser::from_seed(seed), seed),
        Err(_) => {
            let bytes = std::fs::read(&args.what).map_err(|error| {
                Unusable(format!("{} is neither a seed nor a file that can be read: {error}", args.what))
            })?;
            match TapeFile::parse(&bytes) {
                Some(file) => {
                    let file = file.map_err(|why| Unusable(format!("{}: {why}", args.what)))?;
                    setting_args.set_driver(&file.driver)?;
                    setting_args.profile = file.profile;
                    setting_args.set_sector_bytes(file.sector_bytes);
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
    let setting = Setting {
        driver: setting_args.driver()?,
        profile: setting_args.profile()?,
        sector_bytes: setting_args.sector_bytes(),
        trace: trace.as_ref(),
        plant,
        with_lines: !args.json,
        ..Setting::default()
    };
    let outcome = drivers::run(chooser, setting);
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
