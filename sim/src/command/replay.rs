//! `sim replay`: one run again.

use super::{Run, SettingArgs, Unusable, held, save};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tidewall_sim::drivers;
use tidewall_sim::scenario::Setting;

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
    let (run, trace) = Run::load(&args.what, &args.setting)?;
    let setting = Setting { with_lines: !args.json, ..run.setting(trace.as_ref())? };
    let outcome = drivers::run(run.chooser.clone(), setting);
    if let Some(path) = &args.save {
        save(path, &run.story_of(&outcome), &run.args, &outcome)?;
    }
    let (hash, verdict) = (format!("{:016x}", outcome.hash.0), outcome.verdict());
    if args.json {
        let violation = outcome.violation.as_ref().map(ToString::to_string);
        println!(
            "{}",
            json!({
                "kind": "replay",
                "result": verdict,
                "violation": violation,
                "counts": outcome.counts,
                "events": outcome.events,
                "trace_hash": hash,
            })
        );
    } else {
        outcome.lines.iter().for_each(|line| println!("{line}"));
        match &outcome.violation {
            None => println!("{}; trace hash {hash}", held(verdict)),
            Some(violation) => println!("{violation}\ntrace hash {hash}"),
        }
    }
    Ok(verdict.exit_code())
}
