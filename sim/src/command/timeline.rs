//! `sim timeline`: one run as a picture.

use super::replay::source;
use super::{SettingArgs, Unusable};
use clap::Args;
use std::path::PathBuf;
use tidewall_sim::drivers;
use tidewall_sim::picture::{self, Subject};
use tidewall_sim::scenario::Setting;

#[derive(Args)]
pub struct TimelineArgs {
    /// A seed, or a file with a saved tape
    what: String,
    #[command(flatten)]
    setting: SettingArgs,
    /// The page to write
    #[arg(short, long, value_name = "HTML")]
    out: PathBuf,
}

pub fn timeline(args: &TimelineArgs) -> Result<u8, Unusable> {
    let (chooser, seed, words) = source(&args.what, &args.setting)?;
    let (plant, trace) = (words.plant()?, words.load_trace()?);
    let (driver, profile) = (words.driver()?, words.profile()?);
    let setting =
        Setting { driver, profile, trace: trace.as_ref(), plant, with_lines: true, ..Setting::default() };
    let outcome = drivers::run(chooser, setting);
    let page = picture::html(&Subject {
        what: seed.map_or_else(|| args.what.clone(), |seed| format!("seed {seed}")),
        driver: driver.name(),
        profile: &words.profile,
        plant,
        replay: format!("cargo sim replay {}{}", args.what, args.setting.to_words()),
        trace_hash: format!("{:016x}", outcome.hash.0),
        violation: outcome.violation.as_ref(),
        record: &outcome.record,
    });
    std::fs::write(&args.out, page)
        .map_err(|error| Unusable(format!("cannot write {}: {error}", args.out.display())))?;
    match &outcome.violation {
        None => println!("every promise held; the picture is in {}", args.out.display()),
        Some(violation) => println!("{violation}\nthe picture is in {}", args.out.display()),
    }
    Ok(u8::from(outcome.violation.is_some()))
}
