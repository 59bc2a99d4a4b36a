//! The service driver: that it is there, that it is a function of its tape, that it survives, and that it finds bugs.

use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().expect("the command starts")
}

/// The tests below are gone when the flags are: this one says so.
#[cfg(not(madsim))]
#[test]
fn the_flag_that_makes_the_service_driver_deterministic_is_there() {
    panic!("{}", tidewall_sim::drivers::service::UNAVAILABLE);
}

#[cfg(not(madsim))]
#[test]
fn without_the_flag_the_command_refuses_to_run_it() {
    for args in [&["run", "--driver", "service", "--seeds", "1"][..], &["replay", "1", "--driver", "service"]]
    {
        let output = sim(args);
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{why}");
        assert!(why.contains("--cfg madsim") && why.contains("RUSTFLAGS"), "{why}");
    }
}

#[cfg(madsim)]
mod with_the_flag {
    use super::sim;
    use serde_json::Value;
    use tidewall::plant::Bug;
    use tidewall_sim::choice::Chooser;
    use tidewall_sim::disk::Lie;
    use tidewall_sim::drivers::{self, Driver};
    use tidewall_sim::model::Verdict;
    use tidewall_sim::runner::{self, Campaign, Sum};
    use tidewall_sim::scenario::Setting;

    fn setting() -> Setting<'static> {
        Setting { driver: Driver::Service, ..Setting::default() }
    }

    fn campaign(seeds: u64, setting: Setting<'static>) -> Sum {
        let campaign = Campaign { recheck_percent: 100, ..Campaign::first(seeds, setting) };
        runner::run(&campaign, |_| {}, |seed| panic!("seed {seed} does not end"))
    }

    #[test]
    fn every_acknowledged_batch_survives_kills_power_cuts_and_partitions() {
        let sum = campaign(150, setting());
        assert_eq!(sum.failures.first().map(|failure| failure.violation.to_string()), None);
        assert_eq!((sum.seeds, sum.rechecked, sum.diverged.len()), (150, 150, 0), "each ran twice, the same");
        for (event, times) in &sum.events {
            assert!(*times > 0, "{event} never came about");
        }
        assert_eq!(sum.events["batches"], sum.events["acknowledged"], "each is acknowledged in the end");
        assert!(sum.events["group_commits"] < sum.events["committed"], "a commit is for several clients");
        assert!(sum.counts.acked_points_checked > 10_000, "{}", sum.counts.acked_points_checked);
    }

    #[test]
    fn a_collector_that_acknowledges_before_it_syncs_is_found() {
        assert_found(Setting { plant: Some(Bug::SV1), ..setting() });
    }

    #[test]
    fn a_collector_that_forgets_what_it_has_applied_is_found() {
        assert_found(Setting { plant: Some(Bug::SV2), ..setting() });
    }

    #[test]
    fn a_disk_that_ignores_sync_is_found_out() {
        assert_found(Setting { lie: Some(Lie::IgnoresSync), ..setting() });
    }

    fn assert_found(setting: Setting<'static>) {
        let sum = campaign(200, setting);
        let found = sum.failures.first().expect("it survives");
        println!("seed {}: {}", found.seed, found.violation);
        assert_eq!(found.violation.verdict, Verdict::Lost, "{}", found.violation);
    }

    #[test]
    fn a_recorded_tape_replays_its_run() {
        let first = drivers::run(Chooser::from_seed(7), setting());
        let again = drivers::run(Chooser::from_tape(first.tape.clone()), setting());
        assert_eq!((first.hash, first.counts, first.events), (again.hash, again.counts, again.events));
    }

    #[test]
    fn any_bytes_are_a_tape() {
        for bytes in [vec![], vec![0xff; 4000], (0..4000).map(|n| (n * 37 % 251) as u8).collect()] {
            let outcome = drivers::run(Chooser::from_bytes(bytes), setting());
            assert_eq!(outcome.violation, None);
        }
    }

    #[test]
    fn the_summary_counts_what_was_done_to_the_service() {
        let output = sim(&["run", "--driver", "service", "--seeds", "120", "--json"]);
        let text = String::from_utf8(output.stdout).expect("the output is text");
        let summary: Value =
            serde_json::from_str(text.lines().last().expect("a summary")).expect("an object");
        assert_eq!((output.status.code(), summary["driver"].as_str()), (Some(0), Some("service")));
        for field in ["kills", "power_cuts", "restarts", "partitions", "acknowledged", "acked_points_checked"]
        {
            assert!(summary[field].as_u64().expect(field) > 0, "{field}");
        }
    }

    #[test]
    fn a_failure_exits_1_and_its_last_line_replays_it() {
        let output = sim(&["run", "--driver", "service", "--plant", "SV1", "--seeds", "200"]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).expect("the output is text");
        let replay: Vec<_> = text.lines().last().expect("a line").split(' ').collect();
        assert_eq!(replay[..3], ["cargo", "sim", "replay"]);
        let replays = [0, 1].map(|_| sim(&replay[2..]));
        assert_eq!(replays[0].status.code(), Some(1));
        assert_eq!(replays[0].stdout, replays[1].stdout, "byte for byte");
    }

    #[test]
    fn a_saved_tape_knows_its_driver() {
        let dir = tempfile::tempdir().unwrap();
        let tape = dir.path().join("seed.tape");
        let tape = tape.to_str().unwrap();
        let saved = sim(&["replay", "12", "--driver", "service", "--json", "--save", tape]);
        let replayed = sim(&["replay", tape, "--json"]);
        assert_eq!((saved.status.code(), saved.stdout), (Some(0), replayed.stdout));
    }

    #[test]
    fn it_takes_no_recorded_data() {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/pump.csv");
        assert_eq!(sim(&["run", "--driver", "service", "--trace", data]).status.code(), Some(2));
    }
}
