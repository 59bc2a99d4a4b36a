//! The engine's own threads: what they do without being asked, and that whatever they run into is heard.
//!
//! Each of these tests waits for something that only a background thread does, by asking again and again.

use crate::support::{
    Fault, Op, Store, assert_holds, assert_io, assert_read_only, point, points, small, tag_of_each, until,
    with_threads,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use tidewall::{Config, Engine, Error, Result, inspect};

/// No segment and no chunk ever gets full.
fn roomy_with_threads(wal_streams: usize) -> Config {
    Config { segment_bytes: 1 << 20, chunk_bytes: 1 << 20, ..with_threads(wal_streams) }
}

#[test]
fn half_full_batches_and_old_ones_reach_the_log_without_any_call() {
    for streams in [1, 3] {
        let store = Store::new(roomy_with_threads(streams));
        let engine = store.open();
        let tags = tag_of_each(streams);
        for tag in &tags {
            engine.write_batch(&points(*tag, 5)).unwrap();
            engine.write(point(tag + 1_000, 0)).unwrap();
        }
        let written = 6 * streams as u64;
        until("batches appended", || engine.stats().appended_points == written);
        // Not only to the log's memory: to the system, where they survive the death of the process.
        until("batches written", || inspect(&store.disk()).unwrap().end_lsn().0 == written);
        assert_eq!(engine.stats().log_syncs, 0, "which is not to say that they are durable");
        assert_eq!(engine.stats().backpressure_waits, 0);
        let engine = store.reopen(engine);
        for tag in &tags {
            assert_holds(&engine, *tag, &points(*tag, 5));
            assert_holds(&engine, tag + 1_000, &points(tag + 1_000, 1));
        }
    }
}

#[test]
fn many_full_batches_reach_the_log_long_before_the_next_tick() {
    // A minute until the next step, so only the bell can be it: the backlog has come to half of what writers wait at.
    let store =
        Store::new(Config { flush_delay_ms: Some(60_000), backlog_points: 1_000, ..roomy_with_threads(2) });
    let engine = store.open();
    for tag in tag_of_each(2) {
        engine.write_batch(&points(tag, 500)).unwrap();
    }
    until("full batches appended", || engine.stats().appended_points == 1_000);
    assert_eq!((engine.stats().backlog_points, engine.stats().backpressure_waits), (0, 0));
    // They were sealed on the way, which rings for the flusher.
    until("sealed buffers flushed", || engine.stats().sealed_buffers == 0);
    assert!(engine.stats().blocks_written > 0);
}

#[test]
fn sealed_buffers_become_blocks_in_the_background_and_no_query_ever_misses_a_point() {
    for streams in [1, 3] {
        let store = Store::new(Config { segments_max: 100, ..with_threads(streams) });
        let engine = store.open();
        let tags = tag_of_each(streams);
        let (accepted, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let readers: Vec<_> = tags
                .iter()
                .map(|tag| {
                    let (engine, accepted, ended) = (&engine, &accepted, &ended);
                    scope.spawn(move || {
                        let mut reads = 0;
                        while !ended.load(Ordering::Acquire) {
                            let least = accepted.load(Ordering::Acquire);
                            let found = engine.query(*tag, ..).unwrap();
                            assert!(
                                found.len() >= least,
                                "C3: of {least} points {} are visible",
                                found.len()
                            );
                            assert!(found == points(*tag, found.len()), "not a prefix");
                            reads += 1;
                        }
                        reads
                    })
                })
                .collect();
            let end = SetOnDrop(&ended);
            let mut n = 0;
            while engine.stats().blocks_written < 60 && !readers.iter().any(|reader| reader.is_finished()) {
                assert!(n < 100_000, "nobody flushes: {:?}", engine.stats());
                for tag in &tags {
                    engine.write_batch(&points(*tag, n + 10)[n..]).unwrap();
                }
                n += 10;
                accepted.store(n, Ordering::Release);
                thread::yield_now();
            }
            let unasked = engine.stats().flushes;
            drop(end);
            for reader in readers {
                assert!(reader.join().unwrap() > 0);
            }
            assert!(unasked > 0);
            for tag in &tags {
                assert_holds(&engine, *tag, &points(*tag, n));
            }
            engine.sync().unwrap();
        });
        let n = accepted.into_inner();
        let engine = store.reopen(engine);
        assert!(engine.recovery_report().blocks >= 60);
        for tag in &tags {
            assert_holds(&engine, *tag, &points(*tag, n));
        }
    }
}

/// Ends the other threads' loops even when this one panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn segments_become_free_without_any_call() {
    // Nothing is ever sealed by its size, so only the ring can be why anybody flushes.
    let store = Store::new(Config { block_points: 300, ..with_threads(2) });
    let engine = store.open();
    let tags = tag_of_each(2);
    let mut n = 0;
    while engine.stats().rotations < 40 {
        for tag in &tags {
            engine.write_batch(&points(*tag, n + 10)[n..]).unwrap();
        }
        n += 10;
        assert!(n < 1_000_000, "the log does not go on: {:?}", engine.stats());
        let marks = engine.stats();
        assert!(marks.segments <= 8, "{marks:?}");
        thread::yield_now();
    }
    // Writing has stopped. The next segment of each ring is made free all the same, before anybody needs it.
    until("a segment freed", || {
        let stats = engine.stats();
        stats.backlog_points == 0 && stats.busy_segments < 2 * 3
    });
    let stats = engine.stats();
    assert!(stats.flushes > 0 && stats.checkpoint_lsn.0 > 0);
    for tag in &tags {
        assert_holds(&engine, *tag, &points(*tag, n));
    }
}

type Call = fn(&Engine) -> Result<()>;

/// The calls that may report an error of a background thread. The write brings nothing.
const REPORTERS: [(&str, Call); 5] = [
    ("write", |engine| engine.write_batch(&[])),
    ("sync", Engine::sync),
    ("flush", Engine::flush),
    ("step", Engine::step),
    ("close", Engine::close),
];

#[test]
fn an_error_that_only_a_background_thread_has_met_is_reported_by_exactly_one_call() {
    let places = [(Op::Write, "chunk-", "chunk-00000000.tw"), (Op::Write, "MANIFEST", "MANIFEST")];
    for (failing, prefix, file) in places {
        for (name, call) in REPORTERS {
            let store = Store::new(roomy_with_threads(1));
            let fault = Fault::new();
            let engine = store.open_hooked(fault.hook());
            fault.arm_once(failing, prefix);
            engine.write_batch(&points(1, 40)).unwrap();
            until("a background flush", || fault.fired() == 1);
            // It has been tried again, so the first attempt has ended and left its error.
            until("the next attempt", || engine.stats().flushes == 1);
            assert_holds(&engine, 1, &points(1, 40));
            assert_eq!(engine.tags().unwrap(), [1], "queries do not report it");
            assert_io(call(&engine), "write", file);
            for _ in 0..3 {
                for (other, call) in &REPORTERS[..4] {
                    call(&engine).unwrap_or_else(|error| panic!("{other} after {name}: {error}"));
                }
            }
            assert_holds(&engine, 1, &points(1, 40));
            engine.close().unwrap();
            let engine = store.open();
            assert_eq!(engine.recovery_report().block_points, 40);
            assert_holds(&engine, 1, &points(1, 40));
        }
    }
}

#[test]
fn a_write_that_reports_an_error_of_a_background_thread_accepts_nothing() {
    let store = Store::new(roomy_with_threads(2));
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    let tags = tag_of_each(2);
    fault.arm_once(Op::Write, "wal-01-");
    engine.write_batch(&points(tags[1], 10)).unwrap();
    until("a background append", || fault.fired() == 1);
    until("the next attempt", || inspect(&store.disk()).unwrap().end_lsn().0 == 10);
    // A write for any stream may be the one.
    assert_io(engine.write(point(tags[0], 0)), "write", "wal-01-000.log");
    assert_eq!(engine.tags().unwrap(), [tags[1]]);
    engine.write(point(tags[0], 0)).unwrap();
    engine.sync().unwrap();
    let engine = store.reopen(engine);
    assert_holds(&engine, tags[0], &points(tags[0], 1));
    assert_holds(&engine, tags[1], &points(tags[1], 10));
}

#[test]
fn a_disk_that_fails_for_a_while_is_reported_and_made_good_without_any_call() {
    let store = Store::new(roomy_with_threads(1));
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    fault.arm(Op::Write, "wal-");
    engine.write_batch(&points(1, 10)).unwrap();
    until("some attempts", || fault.fired() >= 3);
    fault.disarm();
    until("the attempt that succeeds", || inspect(&store.disk()).unwrap().end_lsn().0 == 10);
    // Of all these errors the first is kept, for one call.
    assert_io(engine.sync(), "write", "wal-000.log");
    engine.sync().unwrap();
    assert_holds(&store.reopen(engine), 1, &points(1, 10));
}

#[test]
fn a_failed_sync_in_the_background_is_final_and_every_later_call_says_so() {
    let places = [
        (Op::Sync, "wal-", "sync of wal-000.log: injected"),
        (Op::Sync, "chunk-", "sync of chunk-00000000.tw: injected"),
        (Op::Sync, "MANIFEST", "sync of MANIFEST: injected"),
    ];
    for (failing, prefix, cause) in places {
        let store = Store::new(roomy_with_threads(1));
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        fault.arm(failing, prefix);
        engine.write_batch(&points(1, 40)).unwrap();
        until("a background flush", || fault.fired() > 0);
        until("a refused write", || engine.write_batch(&[]).is_err());
        let before = store.files();
        for _ in 0..20 {
            assert_read_only(engine.write(point(1, 40)), cause);
            for (_, call) in REPORTERS {
                assert_read_only(call(&engine), cause);
            }
            thread::yield_now();
        }
        assert_eq!(fault.fired(), 1, "I8: nobody has tried another one");
        assert!(store.files() == before, "a read-only engine wrote");
        assert_holds(&engine, 1, &points(1, 40));
        // It still ends, and what was handed to the system is there.
        let engine = store.reopen(engine);
        assert_holds(&engine, 1, &points(1, 40));
    }
}

#[test]
fn a_panic_in_a_background_thread_makes_the_engine_read_only_and_hangs_nobody() {
    let places = [
        (Op::Sync, "wal-"),
        (Op::Write, "wal-"),
        (Op::Write, "chunk-"),
        (Op::Sync, "chunk-"),
        (Op::Sync, "MANIFEST"),
    ];
    for streams in [1, 3, 8] {
        for (failing, prefix) in places {
            // The 40 points of a stream take 538 bytes: enough for the flusher, and too little for a writer to flush.
            let buffer_bytes = 1_000 * streams as u64;
            let store = Store::new(Config { buffer_bytes, ..roomy_with_threads(streams) });
            let fault = Fault::new();
            let engine = store.open_hooked(fault.hook());
            let tags = tag_of_each(streams);
            for tag in &tags {
                engine.write_batch(&points(*tag, 10)).unwrap();
            }
            engine.sync().unwrap();
            fault.arm_panic(failing, prefix);
            // As soon as some of it is in, the panic may be there, and the rest is refused whole.
            let mut accepted = Vec::new();
            for tag in &tags {
                accepted.push(match engine.write_batch(&points(*tag, 40)[10..]) {
                    Ok(()) => 40,
                    Err(Error::ReadOnly { .. }) => 10,
                    Err(error) => panic!("{streams} streams, {failing:?} {prefix}: {error}"),
                });
            }
            until("a panic in the background", || fault.fired() == 1);
            until("a refused write", || engine.write_batch(&[]).is_err());
            let mut heard = 0;
            for (name, call) in REPORTERS.into_iter().cycle().take(25) {
                let outcome = call(&engine);
                // What was met before the panic may be reported once, as ever.
                let read_only = matches!(outcome, Err(Error::ReadOnly { .. }));
                assert!(read_only, "{streams} streams, {failing:?} {prefix}, {name}: {outcome:?}");
                heard += 1;
            }
            assert_eq!(heard, 25);
            for (tag, accepted) in tags.iter().zip(accepted) {
                assert_holds(&engine, *tag, &points(*tag, accepted));
            }
            // What was durable is there when it is opened again, and nothing is there that was not written.
            let engine = store.reopen(engine);
            for tag in &tags {
                let count = engine.query(*tag, ..).unwrap().len();
                assert!(count >= 10, "{count} points of tag {tag}");
                assert_holds(&engine, *tag, &points(*tag, count));
            }
        }
    }
}

#[test]
fn background_threads_and_callers_of_step_do_not_get_in_each_other_s_way() {
    let store = Store::new(Config { flush_delay_ms: Some(1), wal_streams: 3, ..small() });
    let engine = store.open();
    thread::scope(|scope| {
        for tag in 1..=6 {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..600 {
                    engine.write(point(tag, n)).unwrap();
                    match n % 97 {
                        13 => engine.step().unwrap(),
                        50 => engine.sync().unwrap(),
                        90 => engine.flush().unwrap(),
                        _ => {}
                    }
                }
            });
        }
    });
    for tag in 1..=6 {
        assert_holds(&engine, tag, &points(tag, 600));
    }
    engine.sync().unwrap();
    let engine = store.reopen(engine);
    for tag in 1..=6 {
        assert_holds(&engine, tag, &points(tag, 600));
    }
}
