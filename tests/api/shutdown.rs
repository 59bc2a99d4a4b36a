//! The end of an engine among threads: `close` ends what runs and keeps what was accepted, dropping ends what runs.

use crate::support::{
    Alive, Fault, Op, Store, assert_holds, assert_io, point, points, small, tag_of_each, until, with_threads,
};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use tidewall::disk::OpenMode;
use tidewall::{Config, Durability, Engine, Error, Result};

/// An engine of three streams whose threads have all been at the disk, and who of them is still there.
fn engine_with_live_threads(store: &Store, alive: &[Alive], calls: &Arc<AtomicU64>) -> Engine {
    let (seen, counted) = (alive.to_vec(), calls.clone());
    let engine = store.open_hooked(move |_, _: &str| {
        seen.iter().for_each(Alive::come_by);
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mut n = 0;
    until("all threads at the disk", || {
        for tag in tag_of_each(3) {
            engine.write_batch(&points(tag, n + 40)[n..]).unwrap();
        }
        n += 40;
        let flushes = engine.stats().flushes;
        until("a flush", || engine.stats().flushes > flushes);
        alive.iter().all(|alive| alive.count() > 0) && engine.stats().log_writes > 3
    });
    engine
}

#[test]
fn a_close_from_any_handle_ends_the_background_threads_before_it_returns() {
    let store = Store::new(with_threads(3));
    let alive = ["tidewall-log-0", "tidewall-log-1", "tidewall-log-2", "tidewall-flush"].map(Alive::named);
    let calls = Arc::new(AtomicU64::new(0));
    let engine = engine_with_live_threads(&store, &alive, &calls);
    let others = [engine.clone(), engine.clone()];
    others[0].close().unwrap();
    assert_eq!(alive.each_ref().map(Alive::count), [0; 4], "threads that outlive the close");
    let after = calls.load(Ordering::SeqCst);
    for handle in others.iter().chain([&engine]) {
        assert!(matches!(handle.write(point(1, 0)), Err(Error::Closed)));
        assert!(matches!(handle.step(), Err(Error::Closed)));
        assert!(matches!(handle.close(), Err(Error::Closed)));
    }
    let second = store.open();
    assert_eq!(second.recovery_report().points_replayed, 0);
    drop((engine, others));
    assert_eq!(calls.load(Ordering::SeqCst), after, "a call to the disk after the close");
}

#[test]
fn dropping_the_last_handle_ends_every_thread_and_lets_go_of_the_disk() {
    for close_fails in [false, true] {
        let store = Store::new(with_threads(3));
        let alive = [Alive::named("tidewall-")];
        let calls = Arc::new(AtomicU64::new(0));
        let engine = engine_with_live_threads(&store, &alive, &calls);
        let other = engine.clone();
        drop(engine);
        // One handle less is not the end: what is written is still appended without any call.
        let before = other.stats().appended_points;
        other.write(point(7_777, 0)).unwrap();
        until("a batch appended", || other.stats().appended_points > before);
        if close_fails {
            other.close().unwrap();
        }
        drop(other);
        assert_eq!(alive[0].count(), 0, "threads that outlive the engine");
        assert_eq!(Arc::strong_count(&calls), 1, "somebody holds the disk");
        store.open();
    }
}

#[test]
fn what_was_synced_is_there_after_a_drop_in_the_middle_of_background_work() {
    let store = Store::new(with_threads(3));
    let mut synced = 0;
    for round in 0..30 {
        let engine = store.open();
        let mut counts = Vec::new();
        for tag in tag_of_each(3) {
            let count = engine.query(tag, ..).unwrap().len();
            assert!(count >= synced, "of {synced} synced points of tag {tag} {count} are there");
            assert_holds(&engine, tag, &points(tag, count));
            counts.push(count);
        }
        let next = counts.iter().max().unwrap() + 45;
        for (tag, count) in tag_of_each(3).into_iter().zip(counts) {
            engine.write_batch(&points(tag, next)[count..]).unwrap();
        }
        engine.sync().unwrap();
        synced = next;
        for tag in tag_of_each(3) {
            engine.write_batch(&points(tag, next + 60 + round)[next..]).unwrap();
        }
    }
}

/// Runs `call` until it says `Closed`; nothing but that and `Ok` may come. Returns how often it was `Ok`.
fn until_closed(mut call: impl FnMut(usize) -> Result<()>) -> usize {
    for n in 0.. {
        match call(n) {
            Ok(()) => {}
            Err(Error::Closed) => return n,
            Err(other) => panic!("neither Ok nor Closed: {other}"),
        }
    }
    unreachable!("it is closed some time")
}

#[test]
fn a_close_among_calls_of_every_kind_keeps_exactly_what_was_accepted() {
    for round in 0..12 {
        let durability = if round % 3 == 2 { Durability::Immediate } else { Durability::Batched };
        let flush_delay_ms = (round % 2 == 0).then_some(1);
        let store = Store::new(Config { durability, flush_delay_ms, wal_streams: 1 + round % 3, ..small() });
        let (closed, late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_closed, came_late) = (closed.clone(), late.clone());
        let engine = store.open_hooked(move |op, _: &str| {
            // A query in flight may still read.
            let reads = matches!(op, Op::Read | Op::Open(OpenMode::Read));
            came_late.fetch_add(u64::from(!reads && is_closed.load(Ordering::SeqCst)), Ordering::SeqCst);
            Ok(())
        });
        let written = AtomicUsize::new(0);
        let accepted: Vec<usize> = thread::scope(|scope| {
            let (engine, written) = (&engine, &written);
            let writers: Vec<_> = (1..=3)
                .map(|tag| {
                    scope.spawn(move || {
                        until_closed(|n| {
                            engine.write(point(tag, n))?;
                            written.fetch_add(1, Ordering::Relaxed);
                            Ok(())
                        })
                    })
                })
                .collect();
            // Points of one tag in one call are accepted together.
            let batches =
                scope.spawn(move || 7 * until_closed(|n| engine.write_batch(&points(4, 7 * n + 7)[7 * n..])));
            scope.spawn(move || until_closed(|_| engine.sync()));
            scope.spawn(move || until_closed(|_| engine.flush()));
            scope.spawn(move || until_closed(|_| engine.step()));
            scope.spawn(move || until_closed(|_| engine.query(1, ..).map(drop)));
            scope.spawn(move || until_closed(|_| engine.tags().map(drop)));
            until("some writes", || written.load(Ordering::Relaxed) > 200);
            engine.close().unwrap();
            closed.store(true, Ordering::SeqCst);
            writers.into_iter().chain([batches]).map(|thread| thread.join().unwrap()).collect()
        });
        let second = store.open();
        drop(engine);
        assert_eq!(late.load(Ordering::SeqCst), 0, "calls to the disk after the close");
        assert_eq!(second.recovery_report().points_replayed, 0);
        for (tag, count) in (1..).zip(accepted) {
            assert_holds(&second, tag, &points(tag, count));
        }
    }
}

#[test]
fn of_several_closes_at_once_one_succeeds_and_the_others_hear_that_it_is_closed() {
    for round in 0..20 {
        let store = Store::new(with_threads(1 + round % 3));
        let engine = store.open();
        engine.write_batch(&points(1, 95)).unwrap();
        let barrier = Barrier::new(4);
        let outcomes: Vec<Result<()>> = thread::scope(|scope| {
            let close = |_| {
                let (engine, barrier) = (engine.clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    engine.close()
                })
            };
            let threads: Vec<_> = (0..4).map(close).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let succeeded = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let closed = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Closed))).count();
        assert_eq!((succeeded, closed), (1, 3), "{outcomes:?}");
        let engine = store.open();
        assert_eq!(engine.recovery_report().points_replayed, 0);
        assert_holds(&engine, 1, &points(1, 95));
    }
}

#[test]
fn a_close_without_space_leaves_an_engine_that_goes_on_threads_included() {
    for (prefix, file) in [("wal-", "wal-000.log"), ("chunk-", "chunk-00000000.tw"), ("MANIFEST", "MANIFEST")]
    {
        let store = Store::new(with_threads(1));
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        fault.arm(Op::Write, prefix);
        engine.write_batch(&points(1, 9)).unwrap();
        for _ in 0..3 {
            assert_io(engine.close(), "write", file);
            assert_holds(&engine, 1, &points(1, 9));
        }
        fault.disarm();
        // One error that a background thread has met meanwhile may still be waiting to be told.
        let _ = engine.write_batch(&[]);
        let before = engine.stats();
        engine.write_batch(&points(1, 15)[9..]).unwrap();
        until("a batch appended", || engine.stats().appended_points == 15);
        assert!(engine.stats().log_writes >= before.log_writes);
        engine.write_batch(&points(1, 80)[15..]).unwrap();
        until("a background flush", || engine.stats().flushes > before.flushes);
        assert_holds(&engine, 1, &points(1, 80));
        engine.close().unwrap();
        assert!(matches!(engine.close(), Err(Error::Closed)));
        let engine = store.open();
        assert_eq!(engine.recovery_report().points_replayed, 0);
        assert_holds(&engine, 1, &points(1, 80));
    }
}

#[test]
fn a_close_after_a_failed_sync_fails_and_dropping_it_frees_the_directory() {
    let store = Store::new(with_threads(3));
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    for tag in tag_of_each(3) {
        engine.write_batch(&points(tag, 25)).unwrap();
    }
    engine.sync().unwrap();
    fault.arm_once(Op::Sync, "wal-02-");
    engine.write(point(tag_of_each(3)[2], 25)).unwrap();
    for _ in 0..3 {
        assert!(matches!(engine.close(), Err(Error::ReadOnly { .. })));
    }
    assert!(matches!(store.try_open(), Err(Error::Locked)), "it is not closed");
    drop(engine);
    let engine = store.open();
    for tag in tag_of_each(3) {
        assert!(engine.query(tag, ..).unwrap().len() >= 25);
    }
}
