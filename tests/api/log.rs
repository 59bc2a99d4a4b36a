//! What batching, group commit, the ring and its backpressure save and bound, read off `Stats` and counted at the disk.

use crate::support::{Op, Store, assert_holds, point, points, roomy, small};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use tidewall::{Config, Engine, Error};

#[test]
fn there_are_a_hundred_times_fewer_log_appends_than_points() {
    let config =
        Config { segment_bytes: 8 << 20, chunk_bytes: 8 << 20, flush_delay_ms: None, ..Config::default() };
    assert_eq!(config.batch_points, 100, "the default");
    let store = Store::new(config);
    let engine = store.open();
    for n in 0..1000 {
        for tag in 1..=10 {
            engine.write(point(tag, n)).unwrap();
        }
    }
    engine.sync().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.appended_points, stats.frames), (10_000, 100));
    assert_eq!(stats.log_syncs, 1);
    // Nor is its lock taken for each point: once for each frame, and a few times for the sync.
    assert!((100..300).contains(&stats.log_lock_acquisitions), "{stats:?}");
    // Written once, in one piece. The values have 53 bits each, times and framing take next to nothing.
    assert_eq!((stats.log_writes, stats.log_written_bytes % 4096), (1, 0));
    assert!((70_000..95_000).contains(&stats.log_written_bytes), "{stats:?}");
    let engine = store.reopen(engine);
    assert_eq!(engine.recovery_report().frames_replayed, 100);
    for tag in 1..=10 {
        assert_holds(&engine, tag, &points(tag, 1000));
    }
}

/// A gate that the first sync of a log segment stops at, once armed.
#[derive(Default)]
struct Gate {
    armed: AtomicBool,
    log_syncs: AtomicU64,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        if self.log_syncs.fetch_add(1, Ordering::SeqCst) == 0 {
            self.opened.wait_while(&mut self.open.lock(), |open| !*open);
        }
    }

    fn open(&self) {
        *self.open.lock() = true;
        self.opened.notify_all();
    }
}

const CALLERS: u32 = 8;

/// `CALLERS` threads write a point each and call `sync`; the first sync that gets to the disk waits there until all
/// other threads wait for it, and then fails or not. Returns what each thread heard, and how many syncs of log segments
/// reached the disk.
fn sync_together(store: &Store, fails: bool) -> (Engine, Vec<Result<(), Error>>, u64) {
    let gate = Arc::new(Gate::default());
    let at_disk = gate.clone();
    let engine = store.open_hooked(move |op, file: &str| {
        if !at_disk.armed.load(Ordering::SeqCst) || op != Op::Sync || !file.starts_with("wal-") {
            return Ok(());
        }
        at_disk.pass();
        if fails { Err(std::io::Error::other("injected")) } else { Ok(()) }
    });
    gate.armed.store(true, Ordering::SeqCst);
    let log_syncs = || gate.log_syncs.load(Ordering::SeqCst);
    let caller = |tag| {
        let engine = engine.clone();
        move || {
            engine.write(point(tag, 0)).unwrap();
            engine.sync()
        }
    };
    let heard = thread::scope(|scope| {
        let mut threads = vec![scope.spawn(caller(1))];
        // A thread that has its answer before the gate is open has been told of a sync that did not happen.
        let waits = |threads: &[ScopedJoinHandle<_>]| !threads.iter().any(|thread| thread.is_finished());
        while log_syncs() == 0 && waits(&threads) {
            thread::yield_now();
        }
        threads.extend((2..=CALLERS).map(|tag| scope.spawn(caller(tag))));
        while engine.stats().log_sync_waits < u64::from(CALLERS) - 1 && waits(&threads) {
            thread::yield_now();
        }
        let all_waited = waits(&threads);
        gate.open();
        assert!(all_waited, "a caller had its answer before the sync had ended");
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    (engine.clone(), heard, log_syncs())
}

#[test]
fn callers_of_sync_share_two_disk_syncs_however_many_they_are() {
    let store = Store::new(roomy());
    let (engine, heard, log_syncs) = sync_together(&store, false);
    for outcome in heard {
        outcome.unwrap();
    }
    // The one that was in flight when the others came cannot cover them; one more covers all seven.
    assert_eq!((log_syncs, engine.stats().log_syncs), (2, 2));
    assert_eq!(engine.stats().durable_lsn.0, u64::from(CALLERS));
    let engine = store.reopen(engine);
    for tag in 1..=CALLERS {
        assert_holds(&engine, tag, &points(tag, 1));
    }
}

#[test]
fn every_waiter_hears_of_a_failed_sync_and_nobody_tries_another() {
    let store = Store::new(roomy());
    let (engine, heard, log_syncs) = sync_together(&store, true);
    for outcome in heard {
        match outcome {
            Err(Error::ReadOnly { cause }) => assert_eq!(&*cause, "sync of wal-000.log: injected"),
            other => panic!("I8: a waiter heard {other:?}"),
        }
    }
    assert_eq!((log_syncs, engine.stats().log_syncs), (1, 1));
    assert_eq!(engine.stats().durable_lsn.0, 0, "I1");
    for tag in 1..=CALLERS {
        assert_holds(&engine, tag, &points(tag, 1));
    }
}

#[test]
fn the_ring_is_used_round_and_round_without_growing() {
    let store = Store::new(Config { segments_max: 2, ..small() });
    let mut engine = store.open();
    let mut rotations = 0;
    let mut written = 0;
    while rotations < 100 {
        assert!(written < 100_000, "{rotations} rotations");
        for _ in 0..500 {
            engine.write(point(1 + written as u32 % 3, written / 3)).unwrap();
            written += 1;
        }
        engine.sync().unwrap();
        let stats = engine.stats();
        assert_eq!((stats.segments, stats.grown_segments), (2, 0));
        assert!(stats.checkpoint_lsn <= stats.durable_lsn && stats.durable_lsn <= stats.appended_lsn, "I7");
        if written % 4_000 == 0 {
            rotations += stats.rotations;
            engine.close().unwrap();
            engine = store.open();
        }
    }
    let per_tag = |tag| (written + 3 - tag) / 3;
    for tag in 1..=3 {
        assert_holds(&engine, tag as u32, &points(tag as u32, per_tag(tag)));
    }
    engine.close().unwrap();
    assert_eq!(store.names("wal-"), ["wal-000.log", "wal-001.log"]);
    let engine = store.open();
    for tag in 1..=3 {
        assert_holds(&engine, tag as u32, &points(tag as u32, per_tag(tag)));
    }
}

#[test]
fn a_segment_that_is_durable_is_left_without_another_sync() {
    let store = Store::new(Config { buffer_bytes: 1 << 20, segments: 4, ..small() });
    let engine = store.open();
    let mut syncs = 0;
    while engine.stats().rotations < 3 {
        engine.write_batch(&points(1, 10 * (syncs + 1))[10 * syncs..]).unwrap();
        engine.sync().unwrap();
        syncs += 1;
        engine.sync().unwrap();
        assert!(syncs < 100, "the log does not go on");
    }
    assert_eq!(engine.stats().log_syncs, syncs as u64);
}

#[test]
fn when_all_segments_are_busy_writers_wait_for_a_flush_and_do_not_fail() {
    // Nothing is ever sealed by its size here, so that only the full ring makes anybody flush.
    let store = Store::new(Config { block_points: 300, buffer_bytes: 1 << 30, ..small() });
    let engine = store.open();
    let mut n = 0;
    while engine.stats().flushes == 0 {
        for tag in 1..=3 {
            engine.write(point(tag, n)).unwrap();
        }
        n += 1;
        assert!(n < 1_000, "the ring never gets full");
    }
    let stats = engine.stats();
    assert_eq!((stats.segments, stats.grown_segments), (4, 2), "the ring grows to its maximum first");
    assert_eq!(store.names("wal-").len(), 4);
    assert!(stats.backpressure_waits > 0 && stats.blocks_written > 0);
    assert!(stats.busy_segments < 4, "one was freed");

    while n < 2_000 {
        for tag in 1..=3 {
            engine.write(point(tag, n)).unwrap();
        }
        n += 1;
    }
    let stats = engine.stats();
    assert_eq!((stats.segments, stats.grown_segments), (4, 2), "and not beyond it");
    assert!(stats.flushes > 1 && stats.rotations > 20);
    for tag in 1..=3 {
        assert_holds(&engine, tag, &points(tag, 2_000));
    }
    engine.sync().unwrap();
    let engine = store.reopen(engine);
    // One more if all were busy: the tail that nothing proves goes there.
    assert!((4..=5).contains(&engine.stats().segments), "what the ring grew to, it keeps");
    for tag in 1..=3 {
        assert_holds(&engine, tag, &points(tag, 2_000));
    }
}

#[test]
fn a_step_frees_the_segment_that_the_log_needs_next_before_anybody_waits_for_it() {
    // Nothing is sealed by its size, so only the ring can be why a step flushes.
    let store = Store::new(Config { block_points: 300, buffer_bytes: 1 << 30, segments_max: 2, ..small() });
    let engine = store.open();
    let (mut n, mut flushes) = (0, 0);
    for _ in 0..10 {
        while engine.stats().busy_segments == 0 {
            engine.write(point(1 + n as u32 % 40, n / 40)).unwrap();
            n += 1;
        }
        assert_eq!(engine.stats().flushes, flushes, "only steps flush");
        engine.step().unwrap();
        assert_eq!(engine.stats().busy_segments, 0);
        flushes = engine.stats().flushes;
    }
    assert_eq!(engine.stats().segments, 2);
    for tag in 1..=40 {
        assert_holds(&engine, tag, &points(tag, (n + 40 - tag as usize) / 40));
    }
}

#[test]
fn encoded_points_in_memory_are_bounded() {
    let store = Store::new(Config { buffer_bytes: 2_000, ..roomy() });
    let engine = store.open();
    let mut most = 0;
    for n in 0..1_000 {
        engine.write(point(1, n)).unwrap();
        most = most.max(engine.stats().buffered_bytes);
    }
    // Ten points of 64 bits take less than two hundred bytes.
    assert!((1_000..2_200).contains(&most), "a writer who finds memory full flushes: {most}");
    let stats = engine.stats();
    assert_eq!(
        (stats.appended_points, stats.backlog_points),
        (990, 10),
        "one batch waits for the next writer"
    );
    assert!(stats.blocks_written >= 24 && stats.buffered_points < 300, "{stats:?}");
    assert_holds(&engine, 1, &points(1, 1_000));
}

#[test]
fn one_worker_and_four_write_the_same_blocks() {
    let run = |flush_workers| {
        let store = Store::new(Config { flush_workers, ..small() });
        let engine = store.open();
        for round in 0..20 {
            for tag in 1..=9 {
                let from = 17 * round;
                engine.write_batch(&points(tag, from + 17)[from..]).unwrap();
            }
            if round % 3 == 2 {
                engine.flush().unwrap();
            }
        }
        engine.close().unwrap();
        let engine = store.open();
        for tag in 1..=9 {
            assert_holds(&engine, tag, &points(tag, 340));
        }
        drop(engine);
        store.files()
    };
    let (alone, four) = (run(1), run(4));
    assert!(alone.keys().eq(four.keys()));
    assert!(alone.keys().filter(|name| name.starts_with("chunk-")).count() > 3);
    for (name, bytes) in &alone {
        assert!(four[name] == *bytes, "{name} differs");
    }
}
