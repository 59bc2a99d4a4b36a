//! The engine's calls: recorded on a real directory, done again to a simulated disk.

use super::wrong::{Mistake, WrongDisk};
use super::{Comparison, empty_sim};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidewall::disk::{Disk, RealDisk};
use tidewall::{Engine, InOrder, Stats};
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::recorder::{Call, Outcome, Recorder, Witness};
use tidewall_sim::workload::{Op, Shape, Source};

const SEEDS: u64 = 24;

/// A comparison that notes which calls there were.
struct Seen {
    comparison: Comparison,
    kinds: BTreeSet<String>,
}

impl Witness for Seen {
    fn ended(&mut self, call: &Call, outcome: &Outcome) {
        let line = format!("{call:?}");
        let kind = line.split(' ').next().unwrap_or_default().to_owned();
        self.kinds.insert(if outcome.is_ok() { kind } else { format!("{kind} that fails") });
        self.comparison.ended(call, outcome);
    }
}

/// What runs of the engine came to.
#[derive(Default)]
struct Tally {
    calls: u64,
    kinds: BTreeSet<String>,
    reopenings: u64,
    kills: u64,
    rotations: u64,
    blocks: u64,
    chunks: u64,
}

impl Tally {
    fn add(&mut self, stats: &Stats) {
        self.rotations += stats.rotations;
        self.blocks += stats.blocks_written;
    }
}

/// The workload of the campaigns, without their faults, on a real directory; the first difference to a model.
fn run(seed: u64, model: Arc<dyn Disk>, tally: &mut Tally) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen { comparison: Comparison::new(dir.path(), model), kinds: BTreeSet::new() };
    let disk = Recorder::new(Arc::new(RealDisk::new(dir.path()).unwrap()), seen);
    let mut chooser = Chooser::from_seed(seed);
    let shape = Shape::draw(&mut chooser);
    let mut source = Source::new(&shape, None, &mut chooser);
    let open = || Engine::open_with(Arc::new(disk.clone()), shape.config.clone(), Box::new(InOrder)).unwrap();
    let mut engine = open();
    for _ in 0..shape.ops {
        match shape.op(&mut chooser) {
            Op::Write => engine.write(source.points(&shape, 1, &mut chooser)[0]).unwrap(),
            Op::WriteBatch => {
                let count = source.batch_len(&shape, &mut chooser);
                engine.write_batch(&source.points(&shape, count, &mut chooser)).unwrap();
            }
            Op::Sync => engine.sync().unwrap(),
            Op::Flush => engine.flush().unwrap(),
            Op::Step => engine.step().unwrap(),
            Op::Query | Op::CheckAll => drop(engine.query(1, ..).unwrap()),
            Op::Reopen => {
                engine.close().unwrap();
                tally.add(&engine.stats());
                drop(engine);
                engine = open();
                tally.reopenings += 1;
            }
            // As if the process had died: what it handed to the system is there.
            Op::Kill | Op::CrashNow => {
                tally.add(&engine.stats());
                drop(engine);
                engine = open();
                tally.kills += 1;
            }
            // What needs a disk that fails.
            Op::Refused | Op::ArmError | Op::Space | Op::ArmCrash => {}
        }
    }
    engine.close().unwrap();
    tally.add(&engine.stats());
    drop(engine);
    let names = disk.list().unwrap();
    tally.chunks += names.iter().filter(|name| name.starts_with("chunk")).count() as u64;
    disk.with_witness(|seen| {
        tally.calls += seen.comparison.calls;
        tally.kinds.append(&mut seen.kinds);
        seen.comparison.difference.take()
    })
}

#[test]
fn the_simulated_disk_holds_what_the_engine_made_of_a_real_directory() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        assert_eq!(run(seed, empty_sim(), &mut tally), None, "seed {seed}");
    }
    println!(
        "{SEEDS} runs, {} calls compared; {} reopenings, {} kills, {} rotations, {} blocks, {} chunks",
        tally.calls, tally.reopenings, tally.kills, tally.rotations, tally.blocks, tally.chunks
    );
    let kinds = ["drop", "len", "list", "open", "read", "rename", "set_len", "sync", "sync_dir", "write"];
    for kind in kinds {
        assert!(tally.kinds.contains(kind), "no run made a {kind}: {:?}", tally.kinds);
    }
    let each = [tally.reopenings, tally.kills, tally.rotations, tally.blocks, tally.chunks];
    assert!(each.iter().all(|times| *times >= SEEDS / 2), "a part of the engine was not used: {each:?}");
}

/// Of the mistakes, those that the engine's own calls bring to light.
#[test]
fn the_engine_s_calls_tell_a_disk_with_a_mistake_from_a_real_one() {
    for mistake in [Mistake::NeverGrows, Mistake::RenameLeavesOld, Mistake::RenameKeepsTarget] {
        let wrong = || Arc::new(WrongDisk::new(empty_sim(), mistake));
        let found = (0..SEEDS).find_map(|seed| run(seed, wrong(), &mut Tally::default()));
        println!("{mistake:?}: {}", found.unwrap_or_else(|| panic!("{mistake:?} goes through")));
    }
}
