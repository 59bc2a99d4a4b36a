//! Memory follows the bytes that are there, never a number that stands in them.
//!
//! A binary of its own with one test: the allocator counts for the whole process.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::path::Path;
use tidewall_sim::fuzz::mutate::Mutator;
use tidewall_sim::fuzz::{Target, ask, corpus};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes allocated while something ran, each allocation counted, freed or not.
fn allocated(run: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    run();
    region.change().bytes_allocated
}

/// What a question may allocate: the engine's part, and what the question itself takes to judge the answer.
fn limit(target: Target, len: usize) -> usize {
    match target {
        // A store is opened five times over, and its files are read each time.
        Target::Open => 4 << 20,
        Target::Frame | Target::Segment | Target::Block => {
            // Thirty-three bytes can be a run of as many points as there are, and a question decodes each up to four times.
            let points = (len / 33 + 1) * (1 << 16);
            (64 << 10) + 400 * len + 4 * 24 * points
        }
        _ => (64 << 10) + 400 * len,
    }
}

#[test]
fn no_decoder_allocates_by_a_number_that_it_has_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in Target::ALL.into_iter().filter(|(_, target)| *target != Target::Crash) {
        let corpus = corpus::load(&dir, target).expect("the corpus is part of the repository");
        let corpus: Vec<_> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
        let mut mutator = Mutator::new(&corpus, 7);
        let tries = if target == Target::Open { 500 } else { 5000 };
        // What is made once, and kept, is made here.
        ask(target, &corpus[0], None).expect("the corpus is read right");
        let mut most = 0;
        for bytes in corpus.clone().into_iter().chain((0..tries).map(|_| mutator.next_input(4096))) {
            let took = allocated(|| ask(target, &bytes, None).expect("nothing is planted"));
            assert!(took <= limit(target, bytes.len()), "{name}: {took} bytes for {} of input", bytes.len());
            most = most.max(took);
        }
        println!("{name}: at most {most} bytes");
    }
    // And the measure is awake: a decoder that trusts a count.
    let trusting = allocated(|| drop(Vec::<u8>::with_capacity(u32::MAX as usize)));
    assert!(trusting > limit(Target::Open, 4096), "{trusting} bytes were not seen");
}
