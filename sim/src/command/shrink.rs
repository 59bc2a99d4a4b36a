//! `sim shrink`: the smallest run that fails for the same reason, as a tape and as a plain `#[test]`.

use super::{Run, SettingArgs, Unusable, held, save, write_text};
use clap::Args;
use std::path::{Path, PathBuf};
use tidewall_sim::choice::Tape;
use tidewall_sim::drivers;
use tidewall_sim::plain::{self, PlainTest};
use tidewall_sim::shrink;

#[derive(Args)]
pub struct ShrinkArgs {
    /// A seed, or a file with a saved tape, that fails
    what: String,
    #[command(flatten)]
    setting: SettingArgs,
    /// At most this many runs
    #[arg(long, value_name = "RUNS", default_value_t = 20_000)]
    budget: u64,
    /// Where to save its tape
    #[arg(short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where to write its test, which needs the engine only; it is printed as well
    #[arg(long, value_name = "FILE.rs")]
    test: Option<PathBuf>,
}

pub fn shrink(args: &ShrinkArgs) -> Result<u8, Unusable> {
    let (run, trace) = Run::load(&args.what, &args.setting)?;
    let setting = run.setting(trace.as_ref())?;
    let outcome = drivers::run(run.chooser.clone(), setting);
    let verdict = outcome.verdict();
    let hung = |tape: &Tape| {
        eprintln!("sim: a candidate does not end. The last failing tape before it:\n{}", tape.to_text());
        std::process::exit(1);
    };
    let Some(shrunk) = shrink::shrink(outcome.tape, setting, args.budget, hung) else {
        println!("{}: there is nothing to shrink", held(verdict));
        return Ok(verdict.exit_code());
    };
    println!("{shrunk}");
    if let Some(out) = &args.out {
        save(out, &run.story_of(&shrunk.outcome), &run.args, &shrunk.outcome)?;
        println!("its tape replays it: cargo sim replay {}", out.display());
    }
    match plain::of_tape(&shrunk.outcome.tape, setting, &run.name) {
        Ok(test) => print(&test, args.test.as_deref())?,
        Err(why) => {
            println!("There is no plain #[test]: {why}.");
            if args.out.is_none() {
                println!("-o tests/tapes/NAME.tape saves the tape, which tests/regressions.rs replays.");
            }
        }
    }
    Ok(verdict.exit_code())
}

fn print(test: &PlainTest, file: Option<&Path>) -> Result<(), Unusable> {
    println!("As a plain #[test] ({}), for a file in tests/:\n\n{}", test.form, test.text);
    match file {
        Some(file) => write_text(file, &test.text),
        None => Ok(()),
    }
}
