//! What is done at the same time - streams synced, blocks written and read, edits in one record - and that nobody can
//! tell by the result.
//!
//! That two calls are at the disk at the same time is shown by a disk in which the first waits for the second.

use crate::support::{
    Fault, Hook, Op, Store, assert_holds, assert_io, corruption, point, points, roomy, small, tag_of_each,
    until,
};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use tidewall::{Config, Engine, Error, Point, Result};

/// Once armed, the first `count` calls of one kind wait at the disk for each other.
struct Rendezvous {
    armed: AtomicBool,
    count: u64,
    arrived: AtomicU64,
}

impl Rendezvous {
    fn of(count: u64) -> Arc<Rendezvous> {
        Arc::new(Rendezvous { armed: AtomicBool::new(false), count, arrived: AtomicU64::new(0) })
    }

    fn hook(self: &Arc<Rendezvous>, kind: Op, prefix: &'static str) -> impl Hook {
        let it = self.clone();
        move |op, name: &str| {
            if op == kind && name.starts_with(prefix) && it.armed.load(Ordering::SeqCst) {
                it.arrived.fetch_add(1, Ordering::SeqCst);
                until("another call at the same time", || it.arrived.load(Ordering::SeqCst) >= it.count);
            }
            Ok(())
        }
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::SeqCst)
    }
}

#[test]
fn one_sync_has_all_streams_at_the_disk_at_the_same_time() {
    for streams in [2, 4, 16] {
        let together = Rendezvous::of(streams as u64);
        let store = Store::new(Config { wal_streams: streams, ..roomy() });
        let engine = store.open_hooked(together.hook(Op::Sync, "wal-"));
        for tag in tag_of_each(streams) {
            engine.write_batch(&points(tag, 12)).unwrap();
        }
        together.arm();
        engine.sync().unwrap();
        assert_eq!(together.arrived(), streams as u64);
        assert_eq!(engine.stats().durable_lsn.0, 12 * streams as u64);
    }
}

#[test]
fn the_blocks_of_one_flush_are_written_at_the_same_time() {
    let together = Rendezvous::of(3);
    let store = Store::new(roomy());
    let engine = store.open_hooked(together.hook(Op::Write, "chunk-00000000"));
    for tag in 1..=10 {
        engine.write_batch(&points(tag, 40)).unwrap();
    }
    engine.flush().unwrap();
    for tag in 1..=10 {
        engine.write_batch(&points(tag, 80)[40..]).unwrap();
    }
    // Two workers, and the caller.
    together.arm();
    engine.flush().unwrap();
    assert_eq!(together.arrived(), 10);
    for tag in 1..=10 {
        assert_holds(&engine, tag, &points(tag, 80));
    }
}

#[test]
fn the_blocks_of_one_long_query_are_read_at_the_same_time() {
    let together = Rendezvous::of(3);
    let store = Store::new(roomy());
    let engine = store.open_hooked(together.hook(Op::Read, "chunk-"));
    for n in 0..20 {
        engine.write_batch(&points(1, 40 * n + 40)[40 * n..]).unwrap();
        engine.flush().unwrap();
    }
    together.arm();
    assert_holds(&engine, 1, &points(1, 800));
    assert_eq!(together.arrived(), engine.stats().blocks_written, "each block once");
}

/// Forty rounds of forty points of one tag at times that come again and again, in blocks, log and memory. The value says
/// which write it was; what the key rule makes of them is returned.
fn overlapping_points(engine: &Engine) -> BTreeMap<i64, Point> {
    let mut expected = BTreeMap::new();
    let mut random = 7u64;
    for round in 0..40 {
        let batch: Vec<_> = (0..40)
            .map(|n| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                Point {
                    quality: (random >> 40) as u8,
                    ..Point::new(1, (random >> 33) as i64 % 700, (40 * round + n).into())
                }
            })
            .collect();
        engine.write_batch(&batch).unwrap();
        expected.extend(batch.iter().map(|point| (point.ts_us, *point)));
        match round {
            38 => engine.sync().unwrap(),
            39 => {}
            _ => engine.flush().unwrap(),
        }
    }
    expected
}

#[test]
fn a_long_query_answers_the_same_with_any_number_of_workers() {
    for (flush_workers, wal_streams) in [(1, 1), (2, 1), (8, 1), (1, 4)] {
        let store = Store::new(Config { flush_workers, wal_streams, ..roomy() });
        let engine = store.open();
        let expected = overlapping_points(&engine);
        assert!(engine.stats().blocks_written >= 38 && engine.stats().buffered_points > 40);
        let ranges = [
            (Bound::Unbounded, Bound::Unbounded),
            (Bound::Included(0), Bound::Excluded(350)),
            (Bound::Excluded(349), Bound::Unbounded),
            (Bound::Included(100), Bound::Included(100)),
            (Bound::Included(101), Bound::Included(600)),
            (Bound::Included(700), Bound::Unbounded),
        ];
        for round in 0..30 {
            let range = ranges[round % ranges.len()];
            let answer = engine.query(1, range).unwrap();
            let right: Vec<_> = expected.range(range).map(|(_, point)| *point).collect();
            assert!(answer == right, "{flush_workers} workers, {wal_streams} streams, {range:?}");
        }
        engine.close().unwrap();
        let all: Vec<_> = expected.into_values().collect();
        assert!(store.open().query(1, ..).unwrap() == all);
    }
}

#[test]
fn many_long_queries_at_once_answer_right_while_points_are_flushed() {
    let store = Store::new(Config { wal_streams: 3, ..roomy() });
    let engine = store.open();
    for n in 0..15 {
        for tag in 1..=6 {
            engine.write_batch(&points(tag, 40 * n + 40)[40 * n..]).unwrap();
        }
        engine.flush().unwrap();
    }
    thread::scope(|scope| {
        for tag in 1..=6 {
            let engine = &engine;
            scope.spawn(move || {
                for n in 600..630 {
                    engine.write(point(tag, n)).unwrap();
                    engine.flush().unwrap();
                    assert_holds(engine, tag, &points(tag, n + 1));
                    let other = engine.query(1 + tag % 6, ..600_000).unwrap();
                    assert!(other == points(1 + tag % 6, 600));
                }
            });
        }
    });
    let stats = engine.stats();
    assert!(0 < stats.manifest_records && stats.manifest_records <= stats.manifest_edits, "{stats:?}");
    assert_eq!(stats.flushes, stats.manifest_edits);
}

#[test]
fn a_damaged_block_fails_the_whole_of_a_long_query_and_the_first_one_is_named() {
    for flush_workers in [1, 4] {
        let store = Store::new(Config { flush_workers, ..roomy() });
        let engine = store.open();
        for n in 0..22 {
            engine.write_batch(&points(1, 40 * n + 40)[40 * n..]).unwrap();
            engine.flush().unwrap();
        }
        let chunk = &store.inspect_sound().chunks[0];
        let offsets: Vec<_> = chunk.blocks.iter().map(|(block, _)| block.offset).collect();
        assert!(offsets.len() >= 22);
        for (index, offset) in offsets.iter().enumerate() {
            store.flip(&chunk.file, offset + 90);
            let found = corruption(engine.query(1, ..));
            assert_eq!((found.file.as_str(), found.offset), (chunk.file.as_str(), *offset));
            // Whoever reads a later one sooner.
            for later in &offsets[index + 1..] {
                store.flip(&chunk.file, later + 90);
            }
            assert_eq!(corruption(engine.query(1, ..)).offset, *offset);
            for later in &offsets[index..] {
                let mended = if later == offset { continue } else { later + 90 };
                store.flip(&chunk.file, mended);
            }
            store.flip(&chunk.file, offset + 90);
        }
        assert_holds(&engine, 1, &points(1, 880));
    }
}

#[test]
fn a_read_error_in_one_block_fails_the_whole_of_a_long_query_and_the_next_one_is_whole() {
    for flush_workers in [1, 4] {
        let store = Store::new(Config { flush_workers, ..roomy() });
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        for n in 0..20 {
            engine.write_batch(&points(1, 40 * n + 40)[40 * n..]).unwrap();
            engine.flush().unwrap();
        }
        for _ in 0..10 {
            fault.arm_once(Op::Read, "chunk-");
            assert_io(engine.query(1, ..), "read", "chunk-00000000.tw");
            assert_holds(&engine, 1, &points(1, 800));
        }
        assert_eq!(fault.fired(), 10);
    }
}

/// A gate that the first sync of the manifest stops at, once armed, and what the second one does.
struct Gate {
    armed: AtomicBool,
    open: AtomicBool,
    syncs: AtomicU64,
    second: fn() -> io::Result<()>,
}

impl Gate {
    fn new(second: fn() -> io::Result<()>) -> Arc<Gate> {
        Arc::new(Gate {
            armed: AtomicBool::new(false),
            open: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            second,
        })
    }

    fn hook(self: &Arc<Gate>) -> impl Hook {
        let gate = self.clone();
        move |op, name: &str| {
            // The file was opened under the name that it had before it became the manifest.
            if op != Op::Sync || !name.starts_with("MANIFEST") || !gate.armed.load(Ordering::SeqCst) {
                return Ok(());
            }
            match gate.syncs.fetch_add(1, Ordering::SeqCst) {
                0 => until("the gate is opened", || gate.open.load(Ordering::SeqCst)),
                1 => return (gate.second)(),
                _ => {}
            }
            Ok(())
        }
    }
}

/// Flushes 25 points of a tag of each stream, while the first record that comes to the disk waits there for the edits of
/// all other streams. What the call answers is the thread's.
fn flush_behind_a_gate(store: &Store, gate: &Arc<Gate>) -> (Engine, thread::Result<Result<()>>) {
    let engine = store.open_hooked(gate.hook());
    let streams = store.config.wal_streams;
    for tag in tag_of_each(streams) {
        engine.write_batch(&points(tag, 25)).unwrap();
    }
    gate.armed.store(true, Ordering::SeqCst);
    let flusher = engine.clone();
    let flushing = thread::spawn(move || flusher.flush());
    until("the first record", || gate.syncs.load(Ordering::SeqCst) == 1);
    until("the other edits", || engine.stats().manifest_edits == streams as u64);
    assert_eq!(engine.stats().manifest_records, 1);
    gate.open.store(true, Ordering::SeqCst);
    until("the end of the flush", || flushing.is_finished());
    (engine, flushing.join())
}

#[test]
fn edits_that_come_while_a_record_is_synced_share_the_next_one() {
    for streams in [2, 3, 8, 16] {
        let store = Store::new(Config { wal_streams: streams, ..roomy() });
        let gate = Gate::new(|| Ok(()));
        let (engine, outcome) = flush_behind_a_gate(&store, &gate);
        outcome.unwrap().unwrap();
        let stats = engine.stats();
        assert_eq!((stats.manifest_edits, stats.manifest_records), (streams as u64, 2));
        assert_eq!((gate.syncs.load(Ordering::SeqCst), stats.flushes), (2, streams as u64));
        assert_eq!(stats.checkpoint_lsn.0, 25 * streams as u64);
        drop(engine);
        let inspection = store.inspect_sound();
        assert_eq!(inspection.manifest_records.len(), 3, "the first, one edit, and all others in one");
        let engine = store.open();
        assert_eq!(engine.recovery_report().points_replayed, 0);
        for tag in tag_of_each(streams) {
            assert_holds(&engine, tag, &points(tag, 25));
        }
    }
}

/// Every tag's points are there, and there again after a crash.
fn assert_nothing_is_lost(store: &Store, engine: Engine) {
    let holds = |engine: &Engine| {
        for tag in tag_of_each(8) {
            assert_holds(engine, tag, &points(tag, 25));
        }
    };
    holds(&engine);
    holds(&store.reopen(engine));
}

#[test]
fn a_failed_sync_of_a_shared_record_publishes_none_of_its_edits() {
    let store = Store::new(Config { wal_streams: 8, ..roomy() });
    let gate = Gate::new(|| Err(io::Error::other("injected")));
    let (engine, outcome) = flush_behind_a_gate(&store, &gate);
    let heard = outcome.unwrap();
    assert!(
        matches!(&heard, Err(Error::ReadOnly { cause }) if &**cause == "sync of MANIFEST: injected"),
        "{heard:?}"
    );
    let stats = engine.stats();
    assert_eq!((stats.manifest_edits, stats.manifest_records, stats.flushes), (8, 2, 1));
    assert_eq!(stats.checkpoint_lsn.0, 25, "I4: nothing is retired but what the first record names");
    assert_eq!(stats.buffered_points, 7 * 25);
    assert_nothing_is_lost(&store, engine);
}

#[test]
fn a_panic_under_a_shared_record_hangs_none_of_the_flushes_that_wait_for_it() {
    let store = Store::new(Config { wal_streams: 8, ..roomy() });
    let gate = Gate::new(|| panic!("planted in this test"));
    let (engine, outcome) = flush_behind_a_gate(&store, &gate);
    outcome.unwrap_err();
    // Nobody knows what of the record is on the disk, so nothing more is written.
    assert!(matches!(engine.flush(), Err(Error::ReadOnly { .. })));
    assert!(matches!(engine.write(point(1, 0)), Err(Error::ReadOnly { .. })));
    assert_nothing_is_lost(&store, engine);
}

#[test]
fn flushes_of_many_threads_write_no_more_records_than_edits_and_lose_nothing() {
    let store = Store::new(Config { wal_streams: 8, flush_workers: 4, ..small() });
    let engine = store.open();
    thread::scope(|scope| {
        for tag in 1..=8 {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..50 {
                    engine.write_batch(&points(tag, 10 * n + 10)[10 * n..]).unwrap();
                    engine.flush().unwrap();
                    let stats = engine.stats();
                    assert!(
                        stats.checkpoint_lsn <= stats.durable_lsn && stats.durable_lsn <= stats.appended_lsn,
                        "I7"
                    );
                }
            });
        }
    });
    let stats = engine.stats();
    assert!(stats.manifest_records <= stats.manifest_edits, "{stats:?}");
    assert_eq!((stats.buffered_points, stats.checkpoint_lsn.0), (0, 4_000));
    let engine = store.reopen(engine);
    assert_eq!(engine.recovery_report().block_points, 4_000);
    for tag in 1..=8 {
        assert_holds(&engine, tag, &points(tag, 500));
    }
}
