//! A campaign, a replay or a shrunk run as a program: what the `main` of a store's tests calls.

use super::{Plan, Subject, campaign, replay};
use std::process::ExitCode;
use std::time::Duration;

/// With no argument a campaign; `--runs N`, `--start S`, `--time SECONDS` change it; `replay SEED` shows one run, I/O by I/O.
///
/// The exit status is 0 if every promise held, 1 if one broke, 2 if nothing was measured or the arguments are wrong.
pub fn main<S: Subject>(plan: &Plan) -> ExitCode {
    match command(std::env::args().skip(1), plan) {
        Ok(Command::Campaign(plan)) => {
            let report = campaign::<S>(&plan);
            println!("{report}");
            if let Some(found) = &report.first {
                println!("replay {}", found.seed);
            }
            ExitCode::from(report.exit_code())
        }
        Ok(Command::Replay(seed)) => {
            let outcome = replay::<S>(seed, plan);
            outcome.lines.iter().for_each(|line| println!("{line}"));
            ExitCode::from(outcome.verdict().exit_code())
        }
        Ok(Command::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

const USAGE: &str = "usage: [--runs N] [--start SEED] [--time SECONDS] | replay SEED | --help";

enum Command {
    Campaign(Plan),
    Replay(u64),
    Help,
}

fn command(mut args: impl Iterator<Item = String>, plan: &Plan) -> Result<Command, String> {
    let mut plan = *plan;
    while let Some(name) = args.next() {
        if matches!(name.as_str(), "--help" | "-h") {
            return Ok(Command::Help);
        }
        let number = args.next().and_then(|number| number.parse::<u64>().ok());
        let number = number.ok_or_else(|| format!("{name} needs a number"))?;
        match name.as_str() {
            "replay" => return Ok(Command::Replay(number)),
            "--runs" => plan.runs = number,
            "--start" => plan.start = number,
            "--time" => plan.time = Some(Duration::from_secs(number)),
            _ => return Err(format!("what is {name}?")),
        }
    }
    Ok(Command::Campaign(plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Command, String> {
        command(args.iter().map(|arg| arg.to_string()), &Plan::default())
    }

    #[test]
    fn arguments_change_the_plan() {
        let Ok(Command::Campaign(plan)) = parsed(&["--runs", "7", "--start", "3", "--time", "2"]) else {
            panic!("these are the arguments of a campaign")
        };
        assert_eq!((plan.runs, plan.start, plan.time), (7, 3, Some(Duration::from_secs(2))));
        assert!(matches!(parsed(&["replay", "9"]), Ok(Command::Replay(9))));
        assert!(matches!(parsed(&["--runs", "7", "--help"]), Ok(Command::Help)));
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        assert!(parsed(&["--runs"]).is_err());
        assert!(parsed(&["replay", "x"]).is_err());
        assert!(parsed(&["--wish", "1"]).is_err());
    }
}
