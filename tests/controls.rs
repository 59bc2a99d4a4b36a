//! Who watches the oracle: each planted bug and each lying disk must turn a campaign red.
//!
//! A checker that has not been caught catching is not trusted. The first test is the control of the others: without a
//! bug and with an honest disk the same seeds are green.

use tidewall::plant::Bug;
use tidewall_sim::bugs;
use tidewall_sim::disk::Lie;
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::fault::Fault;
use tidewall_sim::model::Verdict;
use tidewall_sim::runner::{self, Campaign, Sum};
use tidewall_sim::scenario::Setting;

fn campaign(seeds: u64, setting: Setting<'static>) -> Sum {
    runner::run(&Campaign::first(seeds, setting), |_| {}, |seed| panic!("seed {seed} does not end"))
}

#[test]
fn an_honest_disk_and_a_sound_engine_survive_and_every_fault_strikes() {
    let sum = campaign(2000, Setting::default());
    assert_eq!(sum.failures.first().map(|failure| failure.violation.to_string()), None);
    assert_eq!((sum.seeds, sum.diverged.len()), (2000, 0));
    assert!(sum.rechecked >= 150, "{} seeds ran twice", sum.rechecked);
    assert!(sum.counts.crashes >= 5 * sum.seeds, "{} crashes", sum.counts.crashes);
    assert!(sum.counts.acked_points_checked > 1_000_000);
    assert_eq!(unfired(Driver::Sequential, &sum), []);
}

#[test]
fn the_engine_with_all_its_threads_survives_and_every_fault_strikes() {
    let sum = campaign(1500, Setting { driver: Driver::Threads, ..Setting::default() });
    assert_eq!(sum.failures.first().map(|failure| failure.violation.to_string()), None);
    assert_eq!(unfired(Driver::Threads, &sum), []);
}

/// Faults that a driver was asked for and that never struck.
fn unfired(driver: Driver, sum: &Sum) -> Vec<Fault> {
    let never = |fault: &Fault| driver.strikes_with(*fault) && sum.faults.of(*fault).fired == 0;
    Fault::ALL.iter().copied().filter(never).collect()
}

/// Whatever a schedule does, a wait of two hundred looks is not over while another thread's I/O is on time.
#[test]
fn a_wait_that_gives_up_is_found_by_an_i_o_that_is_late() {
    let setting = Setting { driver: Driver::Threads, plant: Some(Bug::L1), ..Setting::default() };
    let fails = |seed: u64| {
        let outcome = runner::run_seed(seed, setting);
        outcome.violation.map(|violation| (seed, violation, outcome.faults.of(Fault::Stall).fired))
    };
    let found: Vec<_> = (0..10_000).filter_map(fails).take(3).collect();
    assert!(!found.is_empty(), "no stall was long enough");
    for (seed, violation, stalls) in found {
        assert!(stalls > 0, "seed {seed} needs no stall: {violation}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        // The others are caught by the models of tests/loom; and the rarer ones are left to `sim bugs`, where they take seconds.
        let Some(driver) = drivers::of(*bug).filter(|_| bugs::recorded(*bug) < Some(150)) else { continue };
        let setting = Setting { driver, plant: Some(*bug), ..Setting::default() };
        let sum = campaign(20_000, setting);
        let found = sum.failures.first().unwrap_or_else(|| panic!("{} survives: {}", bug.name(), bug.what()));
        println!("{:<4} seed {:>4}: {}", bug.name(), found.seed, found.violation);
    }
}

#[test]
fn a_disk_that_ignores_sync_is_found_out() {
    assert_found(Lie::IgnoresSync, &[Verdict::Lost]);
}

#[test]
fn a_disk_that_forgets_names_is_found_out() {
    assert_found(Lie::ForgetsNames, &[Verdict::Lost, Verdict::Stuck]);
}

/// The engine refuses what it reads wrongly, so the oracle sees calls fail that have no reason to.
#[test]
fn a_disk_that_flips_bits_is_found_out() {
    assert_found(Lie::FlipsBits, &[Verdict::Lost, Verdict::Stuck]);
}

fn assert_found(lie: Lie, verdicts: &[Verdict]) {
    let sum = campaign(200, Setting { lie: Some(lie), ..Setting::default() });
    let found = sum.failures.first().unwrap_or_else(|| panic!("{lie:?} survives"));
    println!("{lie:?} seed {}: {}", found.seed, found.violation);
    assert!(verdicts.contains(&found.violation.verdict), "{}", found.violation);
}
