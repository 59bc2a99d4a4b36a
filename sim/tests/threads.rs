//! The threads driver: the whole engine under a schedule that the tape draws.

use std::panic::catch_unwind;
use tidewall_sim::choice::Chooser;
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::fault::FaultCounts;
use tidewall_sim::scenario::{Counts, Events, Outcome, Setting};

const SETTING: Setting<'_> = Setting {
    driver: Driver::Threads,
    sector_bytes: None,
    profile: tidewall_sim::disk::Profile::Any,
    trace: None,
    plant: None,
    blind: None,
    lie: None,
    with_lines: true,
};

fn run(seed: u64) -> Outcome {
    drivers::run(Chooser::from_seed(seed), SETTING)
}

#[test]
fn durable_points_survive_every_schedule_and_crash_of_some_seeds() {
    let (mut counts, mut events, mut faults) = (Counts::default(), Events::new(), FaultCounts::default());
    for seed in 0..300 {
        let outcome = run(seed);
        assert_eq!(outcome.violation, None, "seed {seed}");
        counts.add(&outcome.counts);
        faults.add(&outcome.faults);
        for (event, times) in outcome.events {
            *events.entry(event).or_default() += times;
        }
    }
    println!("{counts:?}\n{events:?}");
    assert!(counts.crashes > 200 && counts.acked_points_checked > 5_000 && counts.rotations > 100);
    for event in Driver::Threads.demanded_events() {
        assert!(events[event] > 0, "{event} never came about");
    }
    assert!(events["preemptions"] > 10_000, "threads hardly ever switched");
}

#[test]
fn one_seed_is_one_story_and_its_tape_tells_it_again() {
    for seed in [3, 7, 11] {
        let (first, second) = (run(seed), run(seed));
        assert!(first.lines.len() > 50);
        assert_eq!((first.hash, &first.lines, &first.tape), (second.hash, &second.lines, &second.tape));
        let replayed = drivers::run(Chooser::from_tape(first.tape.clone()), SETTING);
        assert_eq!((replayed.hash, replayed.lines), (first.hash, first.lines), "seed {seed} from its tape");
    }
    assert_ne!(run(3).hash, run(4).hash);
}

/// The guard of the cfg: an engine with the machine's own locks would open here, and no schedule would be explored.
#[test]
fn the_scheduled_engine_cannot_run_without_a_scheduler() {
    let opened = catch_unwind(|| drop(tidewall_shuttle::Pool::new(1)));
    assert!(opened.is_err(), "tidewall-shuttle was built without cfg(shuttle)");
}
