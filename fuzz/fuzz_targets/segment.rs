#![no_main]

use tidewall_sim::fuzz::{Target, ask_or_panic};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ask_or_panic(Target::Segment, bytes));
