//! What was never reached is named: crashes that are confined leave holes in the table, and the summary says which.

use std::collections::BTreeSet;
use tidewall_sim::choice::Chooser;
use tidewall_sim::coverage::{Coverage, CoverageSummary, Decision, During, known, triple_name};
use tidewall_sim::drivers;
use tidewall_sim::scenario::{Outcome, Setting};

const SEEDS: u64 = 400;

fn run(chooser: Chooser) -> Outcome {
    let outcome = drivers::run(chooser, Setting::default());
    assert_eq!(outcome.violation, None);
    outcome
}

/// What seeds reach, and what the same runs reach when every decision about where a crash strikes is the plainest: then none
/// strikes in a recovery.
fn covered() -> (Coverage, Coverage) {
    let (mut all, mut confined) = (Coverage::default(), Coverage::default());
    for seed in 0..SEEDS {
        let outcome = run(Chooser::from_seed(seed));
        all.add(&outcome.coverage);
        let text = outcome.tape.to_text();
        let without: Vec<_> = text.lines().filter(|line| !line.starts_with("crash:")).collect();
        let tape = without.join("\n").parse().expect("a tape without a concern is a tape");
        confined.add(&run(Chooser::from_tape(tape)).coverage);
    }
    (all, confined)
}

#[test]
fn crashes_that_never_strike_in_a_recovery_are_missed_by_name() {
    let (all, confined) = covered();
    let interrupted = |coverage: &Coverage| {
        coverage.triples().filter(|((_, _, decision), _)| *decision == Decision::Interrupted).count()
    };
    let in_open = |coverage: &Coverage| {
        let sited = |during, site: bool| during == During::Open && site;
        coverage.triples().filter(|((point, ..), _)| sited(point.during, point.site.is_some())).count()
    };
    assert!(interrupted(&all) > 50 && in_open(&all) > 200);
    assert_eq!(interrupted(&confined), 0);
    let hole = "write of wal during open | lost | interrupted";
    let missing = |coverage: &Coverage| known::compare(coverage).missing;
    assert!(known::all().contains(hole), "the table has it");
    assert!(!missing(&all).contains(&hole), "reached when crashes strike anywhere");
    assert!(missing(&confined).contains(&hole), "missed when they do not");
    assert!(missing(&confined).len() > missing(&all).len() + 50);
    let summary = CoverageSummary::new(&confined, SEEDS);
    assert_eq!(summary.missing(), missing(&confined).len());
    assert!(summary.notices().contains("never reached:"));
    let json = serde_json::to_value(&summary).unwrap();
    assert!(json["never_reached"].as_array().unwrap().iter().any(|name| name == hole), "by name");
    assert!(json["distinct_images"].as_u64() > Some(SEEDS));
}

#[test]
fn shards_reach_together_what_the_whole_reaches() {
    let cover = |seeds: &mut dyn Iterator<Item = u64>| {
        let mut coverage = Coverage::default();
        seeds.for_each(|seed| coverage.add(&run(Chooser::from_seed(seed)).coverage));
        coverage
    };
    let whole = cover(&mut (0..40));
    let mut shards = cover(&mut (0..40).step_by(2));
    shards.add(&cover(&mut (1..40).step_by(2)));
    assert_eq!(shards.by_name(), whole.by_name());
    assert_eq!(shards.images.count(), whole.images.count());
    assert_eq!(shards.states.count(), whole.states.count());
}

#[test]
fn the_table_is_in_order_and_leaves_no_decision_out() {
    let decisions: BTreeSet<_> = Decision::ALL.iter().map(|decision| decision.name()).collect();
    assert!(known::all().len() > 500, "{} known triples", known::all().len());
    let decided: BTreeSet<_> = known::all().iter().map(|name| name.rsplit(" | ").next().unwrap()).collect();
    assert_eq!(decided, decisions);
    assert!(known::all().iter().all(|name| name.split(" | ").count() == 3));
    // Each line once, and as `write` would have it: a new table differs from it where something has changed.
    let table = include_str!("../src/coverage/known.txt");
    assert!(table.lines().is_sorted());
    let outcome = run(Chooser::from_seed(1));
    let reached: BTreeSet<_> = outcome.coverage.triples().map(|(triple, _)| triple_name(triple)).collect();
    let written = known::write(&outcome.coverage, 1);
    assert!(written.lines().skip(1).is_sorted() && !written.contains("(rare)"), "of one run nothing is rare");
    let of_one_run: usize = written.lines().skip(1).map(|line| line.matches(", ").count() + 1).sum();
    assert_eq!(of_one_run, reached.len());
}
