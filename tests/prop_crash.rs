//! The engine against the model, through crashes: proptest fills the tape that `sim` otherwise fills from a seed.
//!
//! The same scenario, the same oracle; proptest shrinks the bytes, and 0 is the plainest of all decisions.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall_sim::choice::Chooser;
use tidewall_sim::drivers::sequential;
use tidewall_sim::scenario::Setting;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::default() })]

    #[test]
    fn every_promise_holds_on_any_tape(bytes in vec(any::<u8>(), 0..20_000)) {
        let length = bytes.len();
        let outcome = sequential::run(Chooser::from_bytes(bytes), Setting::default());
        prop_assert_eq!(outcome.violation, None, "tape:\n{}", outcome.tape.to_text());
        // A short tape is a short run: its shape takes some fifty bytes.
        prop_assert!(outcome.counts.operations > 0 || length < 100);
    }
}
