//! What the fuzzer asks, asked on stable: of the saved corpus, and of bytes that a small generator makes of it.
//!
//! And who watches the questions: with a planted bug the same bytes must turn each target red.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidewall::plant::Bug;
use tidewall_sim::fuzz::mutate::Mutator;
use tidewall_sim::fuzz::{Target, ask, corpus, quiet_panics};

fn corpus_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn inputs(target: Target) -> Vec<Vec<u8>> {
    let inputs = corpus::load(&corpus_dir(), target).expect("the corpus is part of the repository");
    inputs.into_iter().map(|(_, bytes)| bytes).collect()
}

/// How many inputs a plain test makes of a corpus.
fn tries(target: Target) -> usize {
    match target {
        Target::Frame | Target::Block | Target::Manifest => 20_000,
        Target::Segment => 5_000,
        Target::Open => 3_000,
        Target::Crash => 400,
    }
}

/// The first input, of the corpus and then of those made of it, that turns a target red; with how many went before.
fn first_finding(target: Target, plant: Option<Bug>) -> Option<(usize, String, Vec<u8>)> {
    quiet_panics();
    let corpus = inputs(target);
    let mut mutator = Mutator::new(&corpus, 2026);
    let made = std::iter::repeat_with(|| mutator.next_input(4096)).take(tries(target));
    for (tried, bytes) in corpus.iter().cloned().chain(made).enumerate() {
        if let Err(violation) = ask(target, &bytes, plant) {
            return Some((tried, violation.to_string(), bytes));
        }
    }
    None
}

#[test]
fn the_corpus_and_what_is_made_of_it_is_read_right_or_refused() {
    for (name, target) in Target::ALL {
        if let Some((tried, violation, bytes)) = first_finding(target, None) {
            let file = std::env::temp_dir().join(format!("tidewall-fuzz-{name}"));
            std::fs::write(&file, bytes).expect("the directory for temporary files can be written to");
            panic!("{name}, input {tried}, saved as {}: {violation}", file.display());
        }
    }
}

#[test]
fn a_planted_bug_turns_each_target_red() {
    for (name, target) in Target::ALL {
        let bug = target.planted();
        let found = first_finding(target, Some(bug));
        let (tried, violation, _) =
            found.unwrap_or_else(|| panic!("{name} does not see {}: {}", bug.name(), bug.what()));
        println!("{name} finds {} with input {tried}: {violation}", bug.name());
    }
}

#[test]
fn the_corpus_is_small_and_holds_the_first_inputs() {
    let mut total = 0;
    for (name, target) in Target::ALL {
        let saved = corpus::load(&corpus_dir(), target).expect("the corpus is part of the repository");
        total += saved.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let names: BTreeMap<_, _> =
            saved.iter().map(|(path, bytes)| (path.file_name().unwrap().to_str().unwrap(), bytes)).collect();
        for (seed, _) in corpus::seeds(target) {
            assert!(names.contains_key(&seed[..]), "{name}/{seed}: run the example `seed_corpus`");
        }
    }
    assert!(total < 200_000, "{total} bytes");
}

#[test]
fn the_bytes_of_a_run_replay_in_any_process() {
    let corpus = corpus::load(&corpus_dir(), Target::Crash).expect("the corpus is part of the repository");
    let mut survived = 0;
    for (path, _) in corpus.iter().filter(|(_, bytes)| !bytes.is_empty()).take(8) {
        let replay = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
            command.arg("replay").arg(path).output().expect("the command starts")
        };
        let (first, second) = (replay(), replay());
        // In a short run nothing may crash: then nothing is measured.
        assert!(matches!(first.status.code(), Some(0 | 2)), "{}", path.display());
        survived += u64::from(first.status.success());
        assert_eq!(first.stdout, second.stdout, "byte for byte");
        assert!(String::from_utf8_lossy(&first.stdout).contains("trace hash "), "{}", path.display());
    }
    assert!(survived > 0, "none of them crashes");
}
