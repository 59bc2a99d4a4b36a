//! Who tests the tester: with each blind spot a campaign on a sound engine turns red, and says why.

use tidewall_sim::blind::Blind;
use tidewall_sim::drivers::Driver;
use tidewall_sim::merge::{Part, SOURCES};
use tidewall_sim::report::{Header, Result, Summary};
use tidewall_sim::runner::{self, Campaign};
use tidewall_sim::scenario::Setting;

/// From this many on a fault that never fires counts.
const SEEDS: u64 = 1000;

/// What a campaign came to, and what it says for it.
fn campaign(driver: Driver, blind: Option<Blind>) -> (Result, String) {
    let campaign = Campaign::first(SEEDS, Setting { driver, blind, ..Setting::default() });
    let sum = runner::run(&campaign, |_| {}, |seed| panic!("seed {seed} does not end"));
    let part = Part {
        sources: SOURCES.into(),
        start: 0,
        seeds_asked: Some(SEEDS),
        time_asked: None,
        recheck_percent: 10,
        shard: "0/1".into(),
    };
    let summary = Summary::new(Header::plain(driver, &part), &sum);
    let json = serde_json::to_value(&summary).expect("a summary is JSON");
    let broken = sum.failures.first().map(|failure| failure.violation.story.clone());
    (summary.result(), broken.unwrap_or_else(|| json["not_measured"].to_string()))
}

#[test]
fn a_bed_that_sees_measures_everything() {
    assert_eq!(campaign(Driver::Sequential, None), (Result::Survived, "[]".into()));
}

#[test]
fn each_blind_spot_turns_a_campaign_red() {
    use Blind::*;
    for blind in Blind::ALL {
        let (result, why) = campaign(Driver::Sequential, Some(*blind));
        println!("{:<18} {result:?}: {why}", blind.name());
        let (expected, word) = match blind {
            NeverReorders => (Result::NotMeasured, "reordered"),
            NeverTears => (Result::NotMeasured, "torn_inside_sector"),
            KeepsNames => (Result::NotMeasured, "create_lost"),
            KeepsPages => (Result::NotMeasured, "sync_error_xfs"),
            KeepsSizes => (Result::NotMeasured, "size_lost"),
            SparesRecoveries => (Result::NotMeasured, "crash_in_that_again"),
            AlwaysHasSpace => (Result::NotMeasured, "no_space_write"),
            AcceptsLoss => (Result::HarnessBroken, "forged_loss"),
            AcceptsInvention => (Result::HarnessBroken, "forged_"),
            IgnoresOrder => (Result::HarnessBroken, "forged_order"),
            IgnoresValues => (Result::HarnessBroken, "forged_value"),
            IgnoresQuality => (Result::HarnessBroken, "forged_quality"),
            IgnoresQueries => (Result::HarnessBroken, "forged_query"),
            IgnoresDamage => (Result::HarnessBroken, "forged_opening"),
        };
        assert_eq!(result, expected, "{}: {why}", blind.name());
        assert!(why.contains(word), "{}: {why}", blind.name());
    }
}

#[test]
fn the_oracle_of_the_threads_is_tried_as_well() {
    for (blind, word) in [(Blind::AcceptsLoss, "forged_loss"), (Blind::AcceptsInvention, "forged_invention")]
    {
        let (result, why) = campaign(Driver::Threads, Some(blind));
        assert_eq!(result, Result::HarnessBroken, "{}: {why}", blind.name());
        assert!(why.contains(word), "{}: {why}", blind.name());
    }
}
