//! `sim shrink`: the smallest run that fails for the same reason.

use super::{Run, SettingArgs, Unusable, save};
use clap::Args;
use std::path::PathBuf;
use tidewall_sim::choice::Tape;
use tidewall_sim::drivers;
use tidewall_sim::shrink;

#[derive(Args)]
pub struct ShrinkArgs {
    /// A seed, or a file with a saved tape, that fails
    what: String,
    #[command(flatten)]
    setting: SettingArgs,
    /// At most so many runs
    #[arg(long, value_name = "RUNS", default_value_t = 20_000)]
    budget: u64,
    /// Where to save its tape
    #[arg(short, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn shrink(args: &ShrinkArgs) -> Result<u8, Unusable> {
    let (run, trace) = Run::load(&args.what, &args.setting)?;
    let setting = run.setting(trace.as_ref())?;
    let tape = drivers::run(run.chooser.clone(), setting).tape;
    let hung = |tape: &Tape| {
        eprintln!("sim: a candidate does not end. The smallest failing tape before it:\n{}", tape.to_text());
        std::process::exit(1);
    };
    let Some(shrunk) = shrink::shrink(tape, setting, args.budget, hung) else {
        println!("every promise held: there is nothing to shrink");
        return Ok(0);
    };
    println!("{shrunk}");
    if let Some(out) = &args.out {
        save(out, &run.story_of(&shrunk.outcome), &run.args, &shrunk.outcome)?;
    }
    Ok(1)
}
