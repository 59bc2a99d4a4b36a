//! A campaign, a replay or a certificate as a program: what the `main` of a store's tests calls.

use super::{Certificate, Plan, Subject, campaign, certify, replay, story};
use crate::disk::{Persistence, Profile};
use crate::model::{Verdict, Violation};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

/// Puts this store on tidewall's test bed: the power fails in many runs, and what survives is compared.
///
/// Exit status: 0 every promise held; 1 one broke; 2 nothing was measured, or the arguments are wrong.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    asked: Asked,
    #[command(subcommand)]
    instead: Option<Instead>,
}

#[derive(Subcommand)]
enum Instead {
    /// One run again, I/O by I/O
    Replay {
        /// Its seed; repeat the other options of the campaign
        seed: u64,
    },
    /// Every crash of short stories, every image that may survive it, and the same in the openings after that
    Certify {
        /// This many stories, drawn from the seeds 0, 1, …
        #[arg(long, default_value_t = 20)]
        stories: u64,
        /// Operations of a story
        #[arg(long, default_value_t = 3)]
        length: u64,
        /// Crashes in the opening after a crash, in the one after that, and so on
        #[arg(long, default_value_t = 1)]
        depth: u32,
    },
}

/// What is to be other than in the program's own plan.
#[derive(Args)]
struct Asked {
    /// Runs; each is the run of a seed
    #[arg(long, global = true)]
    runs: Option<u64>,
    /// The first seed
    #[arg(long, global = true, value_name = "SEED")]
    start: Option<u64>,
    /// No new run is begun after this many seconds
    #[arg(long, global = true, value_name = "SECONDS")]
    time: Option<u64>,
    /// Threads
    #[arg(long, global = true)]
    jobs: Option<NonZero<usize>>,
    /// What happens besides power cuts
    #[arg(long, global = true, value_name = "WHAT")]
    plan: Option<Faults>,
    /// What the disk promises about unsynced writes: any, sector, byte, garbage, or atom/torn/names/size/order, such as
    /// 512/garbage/independent/any/none
    #[arg(long, global = true)]
    profile: Option<Profile>,
    /// Operations of a run, at most
    #[arg(long, global = true)]
    operations: Option<u32>,
    /// A crash that is set up strikes within this many I/Os
    #[arg(long, global = true, value_name = "N")]
    crash_within: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Faults {
    /// The power fails, and nothing else does
    Default,
    /// Any call may fail, too, a failed sync is never made good, and space may run out
    Errors,
    /// As `errors`; an interrupted write may also leave zeros or noise in all of its sector
    Harsh,
}

impl Asked {
    /// The program's plan with what was asked for.
    fn plan(&self, own: &Plan) -> Plan {
        let mut plan = *own;
        if let Some(faults) = self.plan {
            let Plan { errors, no_space, profile, .. } = match faults {
                Faults::Default => Plan::default(),
                Faults::Errors => Plan::with_errors(),
                Faults::Harsh => Plan::harsh(),
            };
            plan = Plan { errors, no_space, profile, ..plan };
        }
        plan.runs = self.runs.unwrap_or(plan.runs);
        plan.start = self.start.unwrap_or(plan.start);
        plan.time = self.time.map(Duration::from_secs).or(plan.time);
        plan.jobs = self.jobs.unwrap_or(plan.jobs);
        plan.profile = self.profile.unwrap_or(plan.profile);
        plan.operations = self.operations.unwrap_or(plan.operations);
        plan.crash_within = self.crash_within.unwrap_or(plan.crash_within);
        plan
    }

    /// The one disk that certificates are about; nothing of a campaign was asked for besides.
    fn certifiable(&self, profile: Profile) -> Result<Persistence, String> {
        let Asked { runs, start, time, jobs, plan, profile: _, operations, crash_within } = self;
        let of_campaigns = [runs.is_some(), start.is_some(), time.is_some(), jobs.is_some(), plan.is_some()];
        if of_campaigns.contains(&true) || operations.is_some() || crash_within.is_some() {
            return Err("of the options of a campaign a certificate has --profile only".into());
        }
        match profile.points()[..] {
            [disk] if disk.is_piecemeal() => Ok(disk),
            _ => Err(format!(
                "a certificate is about one disk on which each sector, name and length has a fate of its own, as with \
                 --profile sector; {profile} is not one"
            )),
        }
    }

    /// The arguments that make a seed the run that it is.
    fn of_a_run(&self) -> String {
        let plan = self.plan.and_then(|faults| faults.to_possible_value());
        [
            plan.map(|plan| format!(" --plan {}", plan.get_name())),
            self.profile.map(|profile| format!(" --profile {profile}")),
            self.operations.map(|operations| format!(" --operations {operations}")),
            self.crash_within.map(|within| format!(" --crash-within {within}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// With no argument a campaign of this plan; `--help` says what arguments change of it, and what can be done instead.
///
/// The exit status is 0 if every promise held, 1 if one broke, 2 if nothing was measured or the arguments are wrong.
pub fn main<S: Subject>(plan: &Plan) -> ExitCode {
    let Command { asked, instead } = Command::parse();
    let plan = asked.plan(plan);
    ExitCode::from(match instead {
        None => {
            let report = campaign::<S>(&plan);
            println!("{report}");
            if let Some(found) = &report.first {
                println!("replay {}{}", found.seed, asked.of_a_run());
            }
            report.exit_code()
        }
        Some(Instead::Replay { seed }) => {
            let outcome = replay::<S>(seed, &plan);
            outcome.lines.iter().for_each(|line| println!("{line}"));
            outcome.verdict().exit_code()
        }
        Some(Instead::Certify { stories, length, depth }) => match asked.certifiable(plan.profile) {
            Ok(disk) => certified::<S>(disk, stories, length, depth),
            Err(wrong) => {
                eprintln!("{wrong}");
                2
            }
        },
    })
}

fn certified<S: Subject>(disk: Persistence, stories: u64, length: u64, depth: u32) -> u8 {
    let mut sum = Certificate::default();
    for seed in 0..stories {
        match certify::<S>(&story::<S>(seed, length), disk, depth) {
            Ok(certificate) => sum.add(&certificate),
            Err(violation) => {
                println!("{}", counterexample::<S>(seed, length, &violation));
                return violation.verdict.exit_code();
            }
        }
    }
    println!("{}, on a disk that promises {disk}", std::any::type_name::<S>());
    println!("  {stories} stories of {length} operations: {sum}");
    // Of a store that acknowledges nothing, nothing is owed.
    let is_measured = sum.crashes > 0 && sum.acked_checked > 0;
    let verdict = if is_measured { Verdict::Survived } else { Verdict::NotMeasured };
    println!("{}", verdict.to_string().to_uppercase());
    verdict.exit_code()
}

fn counterexample<S: Subject>(seed: u64, length: u64, violation: &Violation) -> String {
    let mut text = format!("story {seed} breaks a promise\n");
    for (number, op) in story::<S>(seed, length).iter().enumerate() {
        text += &format!("  {number:>4} {}\n", super::oracle::short(&format!("{op:?}")));
    }
    text + &format!("  {violation}\n{}", violation.verdict.to_string().to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<(Plan, Command), clap::Error> {
        let command = Command::try_parse_from(std::iter::once("crash").chain(args.split_whitespace()))?;
        Ok((command.asked.plan(&Plan { runs: 77, ..Plan::default() }), command))
    }

    #[test]
    fn arguments_change_the_plan_and_leave_the_rest_as_it_is() {
        let (plan, command) =
            parsed("--start 3 --time 2 --jobs 1 --plan harsh --operations 9").expect("arguments");
        let harsh = Plan { start: 3, time: Some(Duration::from_secs(2)), runs: 77, ..Plan::harsh() };
        let harsh = Plan { jobs: NonZero::<usize>::MIN, operations: 9, ..harsh };
        assert_eq!(format!("{plan:?}"), format!("{harsh:?}"));
        assert!(command.instead.is_none());
        let (plan, _) = parsed("--plan errors --profile sector").expect("arguments");
        assert_eq!((plan.errors, plan.profile), (Plan::with_errors().errors, Profile::Sector));
    }

    #[test]
    fn what_a_campaign_says_to_replay_is_the_same_run() {
        let campaign = "--runs 5 --plan errors --profile garbage --operations 9 --crash-within 40";
        let (plan, Command { asked, .. }) = parsed(campaign).expect("arguments");
        let (again, command) = parsed(&format!("replay 12{}", asked.of_a_run())).expect("arguments");
        assert!(matches!(command.instead, Some(Instead::Replay { seed: 12 })));
        assert_eq!(format!("{:?}", Plan { runs: 5, ..again }), format!("{plan:?}"));
        assert_eq!(parsed("").expect("none").1.asked.of_a_run(), "");
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for wrong in ["--runs", "replay x", "replay", "--wish 1", "--plan kind", "--profile soft", "--jobs 0"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_certificate_is_about_one_disk_that_can_be_decided_piece_by_piece() {
        let disk = |args: &str| {
            let (plan, command) = parsed(args).expect("arguments");
            command.asked.certifiable(plan.profile)
        };
        assert_eq!(disk("certify --profile sector"), Ok(Persistence::SECTOR));
        assert!(disk("certify --profile any").is_err());
        assert!(disk("certify --profile 512/old/in-order/with/ordered").is_err());
        assert!(disk("certify --profile sector --runs 7").is_err(), "a certificate has no runs");
    }
}
