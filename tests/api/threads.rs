//! One handle, many threads.

use crate::support::{Store, assert_holds, point, points, small};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use tidewall::{Config, Durability, Engine};

const POINTS: usize = 3_000;

#[test]
fn every_point_of_four_threads_on_one_handle_is_there_afterwards() {
    // With the engine's own thread, as in production: it steps at moments of its own.
    let store = Store::new(Config { flush_delay_ms: Some(1), ..small() });
    let engine = store.open();
    thread::scope(|scope| {
        for thread in 0..4 {
            let engine = engine.clone();
            scope.spawn(move || {
                // A tag of its own, point by point, and every fourth point of one that all four write to.
                for n in 0..POINTS {
                    engine.write(point(1 + thread, n)).unwrap();
                    engine.write(point(9, 4 * n + thread as usize)).unwrap();
                    match n % 500 {
                        200 => engine.sync().unwrap(),
                        400 => engine.flush().unwrap(),
                        _ => {}
                    }
                }
                engine.sync().unwrap();
            });
        }
    });
    let everything_is_there = |engine: &Engine| {
        for tag in 1..=4 {
            assert_holds(engine, tag, &points(tag, POINTS));
        }
        assert_holds(engine, 9, &points(9, 4 * POINTS));
    };
    everything_is_there(&engine);
    let engine = store.reopen(engine);
    everything_is_there(&engine);
    engine.close().unwrap();
    everything_is_there(&store.open());
}

#[test]
fn a_reader_sees_a_growing_prefix_while_points_move_from_memory_to_blocks() {
    let store = Store::new(small());
    let engine = store.open();
    let (reads, written) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            loop {
                let last = written.load(Ordering::Acquire);
                let found = engine.query(1, ..).unwrap();
                assert!(found.len() >= seen, "of {seen} points that were seen, {} are left", found.len());
                assert!(found == points(1, found.len()), "not a prefix");
                seen = found.len();
                reads.fetch_add(1, Ordering::AcqRel);
                if last {
                    return seen;
                }
            }
        });
        let end = SetOnDrop(&written);
        for n in 0..POINTS {
            engine.write(point(1, n)).unwrap();
            if n % 100 == 99 {
                engine.flush().unwrap();
                // Not so fast that the reader sees the end only.
                while reads.load(Ordering::Acquire) < n / 100 && !reader.is_finished() {
                    thread::yield_now();
                }
            }
        }
        drop(end);
        assert_eq!(reader.join().unwrap(), POINTS);
    });
}

/// Ends the other thread's loop even when this one panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn concurrent_immediate_writers_share_syncs_and_all_their_points_survive() {
    let store = Store::new(Config { durability: Durability::Immediate, ..small() });
    let engine = store.open();
    thread::scope(|scope| {
        for tag in 1..=4 {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..100 {
                    engine.write(point(tag, n)).unwrap();
                    let marks = engine.stats();
                    assert!(
                        marks.durable_lsn.0 > n as u64,
                        "at least the {n} points before this one, and this one"
                    );
                }
            });
        }
    });
    let stats = engine.stats();
    assert_eq!((stats.appended_points, stats.durable_lsn.0), (400, 400));
    let engine = store.reopen(engine);
    for tag in 1..=4 {
        assert_holds(&engine, tag, &points(tag, 100));
    }
}

#[test]
fn a_close_among_writers_keeps_exactly_what_each_of_them_was_told_was_accepted() {
    let store = Store::new(small());
    let engine = store.open();
    let accepted = thread::scope(|scope| {
        let writers: Vec<_> = (1..=3)
            .map(|tag| {
                let engine = &engine;
                scope.spawn(move || (0..).take_while(|n| engine.write(point(tag, *n)).is_ok()).count())
            })
            .collect();
        while engine.stats().flushes < 3 && !writers.iter().any(|writer| writer.is_finished()) {
            thread::yield_now();
        }
        engine.close().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    let engine = store.open();
    assert_eq!(engine.recovery_report().frames_replayed, 0);
    for (tag, count) in (1..).zip(accepted) {
        assert_holds(&engine, tag, &points(tag, count));
    }
}
