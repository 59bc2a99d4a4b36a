//! Any sequence of calls.

use super::wrong::{Mistake, WrongDisk};
use super::{contents_by, empty_sim, first_difference};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestError, TestRunner};
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use tidewall::disk::{Disk, MemDisk, OpenMode};
use tidewall_sim::disk::recorder::{Answer, Call, Handle, Player};

const NAMES: [&str; 3] = ["a", "b.log", "MANIFEST"];
/// Files that were opened for reading go by the first two numbers only: the engine never writes through such a handle, and
/// one of the simulated disk does not know how it was opened.
const READERS: Range<Handle> = 0..2;
const WRITERS: Range<Handle> = 2..4;

fn call() -> impl Strategy<Value = Call> {
    let name = || (0..NAMES.len()).prop_map(|name| NAMES[name].to_owned());
    let any_handle = || READERS.start..WRITERS.end;
    let mode = prop_oneof![Just(OpenMode::Create), Just(OpenMode::Write)];
    prop_oneof![
        3 => (name(), READERS)
            .prop_map(|(name, handle)| Call::Open { name, mode: OpenMode::Read, handle }),
        5 => (name(), mode, WRITERS).prop_map(|(name, mode, handle)| Call::Open { name, mode, handle }),
        1 => WRITERS.prop_map(|handle| Call::Open { name: "LOCK".into(), mode: OpenMode::Lock, handle }),
        1 => any_handle().prop_map(|handle| Call::Drop { handle }),
        6 => (WRITERS, 0..3000u64, 0..1500usize, any::<u8>())
            .prop_map(|(handle, offset, len, fill)| Call::Write { handle, offset, bytes: vec![fill; len] }),
        6 => (any_handle(), 0..3000u64, 0..1500usize)
            .prop_map(|(handle, offset, len)| Call::Read { handle, offset, len }),
        4 => (WRITERS, 0..4000u64).prop_map(|(handle, len)| Call::SetLen { handle, len }),
        2 => any_handle().prop_map(|handle| Call::Len { handle }),
        2 => any_handle().prop_map(|handle| Call::Sync { handle }),
        3 => (name(), name()).prop_map(|(from, to)| Call::Rename { from, to }),
        1 => name().prop_map(|name| Call::Remove { name }),
        1 => Just(Call::List),
        1 => Just(Call::SyncDir),
    ]
}

/// Looks for a sequence that tells a model from a real directory; the shortest that was found, with what it shows.
fn search(cases: u32, model: impl Fn() -> Arc<dyn Disk>) -> Option<(Vec<Call>, String)> {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(2026),
        ..Default::default()
    };
    let run = |calls: Vec<Call>| match first_difference(model(), &calls) {
        None => Ok(()),
        Some(difference) => Err(TestCaseError::fail(difference)),
    };
    match TestRunner::new(config).run(&vec(call(), 1..60), run) {
        Ok(()) => None,
        Err(TestError::Fail(difference, calls)) => Some((calls, difference.to_string())),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn all_disks_answer_every_sequence_of_calls_alike() {
    assert_eq!(search(1000, empty_sim), None);
    assert_eq!(search(1000, || Arc::new(MemDisk::new())), None);
}

#[test]
fn a_disk_with_a_mistake_is_told_from_a_real_one() {
    for mistake in Mistake::ALL {
        let found = search(1000, || Arc::new(WrongDisk::new(empty_sim(), mistake)));
        let (calls, difference) = found.unwrap_or_else(|| panic!("{mistake:?} goes through"));
        println!("{mistake:?}: {} calls; {difference}", calls.len());
        assert!(calls.len() <= 8, "{mistake:?} takes so many calls: {calls:?}");
    }
}

/// What the comparison rests on: a model that makes the mistakes of no disk sees contents, lengths, names and errors.
#[test]
fn the_simulated_disk_answers_as_the_contract_says() {
    let open = |name: &str, mode| Call::Open { name: name.into(), mode, handle: 0 };
    let script = [
        (open("a", OpenMode::Read), Err(ErrorKind::NotFound)),
        (open("a", OpenMode::Write), Err(ErrorKind::NotFound)),
        (open("a", OpenMode::Create), Ok(Answer::Done)),
        (Call::Write { handle: 0, offset: 510, bytes: vec![7; 4] }, Ok(Answer::Done)),
        (Call::Read { handle: 0, offset: 508, len: 6 }, Ok(Answer::Bytes(vec![0, 0, 7, 7, 7, 7]))),
        (Call::Read { handle: 0, offset: 512, len: 3 }, Err(ErrorKind::UnexpectedEof)),
        (Call::Read { handle: 0, offset: 999, len: 0 }, Ok(Answer::Bytes(vec![]))),
        (Call::SetLen { handle: 0, len: 511 }, Ok(Answer::Done)),
        (Call::SetLen { handle: 0, len: 513 }, Ok(Answer::Done)),
        (Call::Read { handle: 0, offset: 509, len: 4 }, Ok(Answer::Bytes(vec![0, 7, 0, 0]))),
        (Call::Rename { from: "a".into(), to: "b".into() }, Ok(Answer::Done)),
        (Call::Rename { from: "a".into(), to: "b".into() }, Err(ErrorKind::NotFound)),
        (Call::List, Ok(Answer::Names(vec!["b".into()]))),
        // The file is open under its old name.
        (Call::Len { handle: 0 }, Ok(Answer::Len(513))),
        (open("c", OpenMode::Create), Ok(Answer::Done)),
        (Call::Rename { from: "c".into(), to: "b".into() }, Ok(Answer::Done)),
        (Call::List, Ok(Answer::Names(vec!["b".into()]))),
        (open("b", OpenMode::Read), Ok(Answer::Done)),
        (Call::Len { handle: 0 }, Ok(Answer::Len(0))),
        (Call::Remove { name: "a".into() }, Err(ErrorKind::NotFound)),
        (Call::Remove { name: "b".into() }, Ok(Answer::Done)),
        (Call::List, Ok(Answer::Names(vec![]))),
    ];
    let sim = empty_sim();
    let mut player = Player::new(sim.clone());
    for (call, expected) in &script {
        assert_eq!(player.play(call), *expected, "{call:?}");
    }
    assert!(contents_by(&*sim).is_empty());
    let calls: Vec<_> = script.into_iter().map(|(call, _)| call).collect();
    assert_eq!(first_difference(empty_sim(), &calls), None);
}
