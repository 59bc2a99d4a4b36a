//! `sim timeline`: one run as a picture.

use super::{Run, SettingArgs, Unusable, held};
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
    let (run, trace) = Run::load(&args.what, &args.setting)?;
    let setting = Setting { with_lines: true, ..run.setting(trace.as_ref())? };
    let outcome = drivers::run(run.chooser.clone(), setting);
    let page = picture::html(&Subject {
        what: run.name,
        driver: setting.driver.name(),
        profile: &run.args.profile,
        plant: setting.plant,
        replay: format!("cargo sim replay {}{}", args.what, args.setting.to_words()),
        trace_hash: format!("{:016x}", outcome.hash.0),
        violation: outcome.violation.as_ref(),
        record: &outcome.record,
    });
    std::fs::write(&args.out, page)
        .map_err(|error| Unusable(format!("cannot write {}: {error}", args.out.display())))?;
    match &outcome.violation {
        None => println!("{}; the picture is in {}", held(outcome.verdict()), args.out.display()),
        Some(violation) => println!("{violation}\nthe picture is in {}", args.out.display()),
    }
    Ok(outcome.verdict().exit_code())
}
