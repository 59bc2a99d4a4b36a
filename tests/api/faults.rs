//! A disk that fails. A failed write loses nothing and can be repeated (I9); a failed sync is final (I8).

use crate::support::{
    Fault, Op, Store, assert_holds, assert_io, assert_prefix, assert_read_only, point, points, roomy, small,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tidewall::disk::OpenMode;
use tidewall::{Config, Engine, Error};

#[test]
fn a_log_without_space_refuses_points_after_a_bound_and_loses_none_that_it_accepted() {
    let store = Store::new(Config { staging_bytes: 1, ..roomy() });
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    engine.write_batch(&points(1, 20)).unwrap();
    engine.sync().unwrap();

    fault.arm(Op::Write, "wal-");
    let mut accepted = 20;
    while accepted < 1_000 && engine.write(point(1, accepted)).is_ok() {
        accepted += 1;
    }
    assert_eq!(accepted, 40, "a batch in a frame that cannot be written, a batch in memory, and no more");
    for _ in 0..3 {
        assert_io(engine.write(point(1, accepted)), "write", "wal-000.log");
        assert_io(engine.write_batch(&points(2, 5)), "write", "wal-000.log");
        assert_io(engine.sync(), "write", "wal-000.log");
        assert_io(engine.flush(), "write", "wal-000.log");
        assert_io(engine.close(), "write", "wal-000.log");
        assert_holds(&engine, 1, &points(1, accepted));
        assert_eq!(engine.tags().unwrap(), [1], "nothing of a refused call was accepted");
    }
    assert_eq!(engine.stats().durable_lsn.0, 20);

    fault.disarm();
    engine.write(point(1, accepted)).unwrap();
    engine.sync().unwrap();
    assert_holds(&engine, 1, &points(1, accepted + 1));
    let engine = store.reopen(engine);
    assert_holds(&engine, 1, &points(1, accepted + 1));
    assert_eq!(engine.recovery_report().points_replayed, accepted as u64 + 1);
}

#[test]
fn a_crash_while_the_log_has_no_space_keeps_what_was_durable() {
    let store = Store::new(roomy());
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    engine.write_batch(&points(1, 25)).unwrap();
    engine.sync().unwrap();
    engine.write_batch(&points(1, 45)[25..]).unwrap();
    fault.arm(Op::Write, "wal-");
    assert_io(engine.sync(), "write", "wal-000.log");
    // Half of the staged bytes have been written: one whole frame of 10 points, and the beginning of another.
    let engine = store.reopen(engine);
    assert_holds(&engine, 1, &points(1, 35));
    assert_eq!(engine.recovery_report().torn_tails, [("wal-000.log".into(), 512 + 160)]);
}

#[test]
fn a_flush_that_fails_at_any_write_can_be_repeated_and_has_lost_nothing() {
    let places = [
        (Op::Open(OpenMode::Create), "chunk-", "create", "chunk-00000001.tw"),
        (Op::Write, "chunk-00000001", "write", "chunk-00000001.tw"),
        (Op::Write, "chunk-00000000", "write", "chunk-00000000.tw"),
        (Op::Write, "MANIFEST", "write", "MANIFEST"),
        (Op::Write, "wal-", "write", "wal-000.log"),
    ];
    for (failing, prefix, op, file) in places {
        let config = Config { backlog_points: 10_000, chunk_bytes: 8192, flush_workers: 1, ..roomy() };
        let store = Store::new(config);
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        engine.write_batch(&points(1, 100)).unwrap();
        engine.flush().unwrap();
        for tag in 1..=3 {
            engine.write_batch(&points(tag, 400)[100 * usize::from(tag == 1)..]).unwrap();
        }

        fault.arm(failing, prefix);
        let before = engine.stats();
        for _ in 0..3 {
            assert_io(engine.flush(), op, file);
            assert_io(engine.close(), op, file);
            for tag in 1..=3 {
                assert_holds(&engine, tag, &points(tag, 400));
            }
        }
        let stats = engine.stats();
        assert_eq!(
            (stats.blocks_written, stats.flushes),
            (before.blocks_written, before.flushes),
            "{op} {file}"
        );
        assert_eq!(stats.checkpoint_lsn, before.checkpoint_lsn);
        if prefix != "wal-" {
            // Only blocks fail: the log goes on.
            engine.write(point(1, 400)).unwrap();
            engine.sync().unwrap();
            assert_eq!(engine.stats().durable_lsn.0, 1201);
        } else {
            // Nor does memory care, up to its bound.
            engine.write(point(1, 400)).unwrap();
        }

        fault.disarm();
        engine.flush().unwrap();
        assert_eq!(engine.stats().checkpoint_lsn.0, 1201);
        engine.close().unwrap();
        store.inspect_sound();
        let engine = store.open();
        assert_eq!(engine.recovery_report().points_replayed, 0);
        assert_eq!(engine.recovery_report().block_points, 1201);
        assert_holds(&engine, 1, &points(1, 401));
        for tag in 2..=3 {
            assert_holds(&engine, tag, &points(tag, 400));
        }
    }
}

#[test]
fn a_crash_after_a_failed_flush_finds_every_point_once() {
    // Half of a failed write has been written. Of the first edit that is enough, and then it has happened; of the
    // second, whose twenty blocks take three sectors, it is not.
    let cases = [("chunk-", 100, 0, 1), ("MANIFEST", 100, 3, 0), ("MANIFEST", 800, 0, 1)];
    for (prefix, count, blocks, orphans) in cases {
        let store = Store::new(Config { staging_bytes: 64 << 10, ..roomy() });
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        engine.write_batch(&points(1, count)).unwrap();
        fault.arm(Op::Write, prefix);
        engine.flush().unwrap_err();
        let engine = store.reopen(engine);
        let report = engine.recovery_report();
        assert_eq!((report.blocks, report.orphans_removed), (blocks, orphans), "{prefix} {count}");
        assert_eq!(report.block_points + report.points_replayed, count as u64);
        assert_eq!(report.manifest_torn_bytes > 0, count == 800);
        assert_holds(&engine, 1, &points(1, count));
        assert_eq!(store.names("chunk-").len(), usize::from(blocks > 0), "orphans are gone");
        engine.close().unwrap();
        assert_holds(&store.open(), 1, &points(1, count));
    }
}

#[test]
fn a_ring_that_cannot_grow_for_want_of_space_makes_do_with_what_it_has() {
    for failing in [Op::Open(OpenMode::Create), Op::SetLen] {
        let store = Store::new(Config { buffer_bytes: 1 << 20, ..small() });
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        fault.arm(failing, "wal-");
        for n in 0..2_000 {
            engine.write(point(1, n)).unwrap();
        }
        let stats = engine.stats();
        assert_eq!((stats.segments, stats.grown_segments), (2, 0));
        assert!(fault.fired() > 0 && stats.backpressure_waits > 0);
        assert_holds(&engine, 1, &points(1, 2_000));
        assert!(!store.path("wal-002.log").exists(), "what could not be made takes no space");

        // Space comes back: the ring grows when it next wants to.
        fault.disarm();
        let mut n = 2_000;
        while engine.stats().grown_segments == 0 && n < 10_000 {
            engine.write(point(1, n)).unwrap();
            n += 1;
        }
        assert_eq!(engine.stats().segments, 3);
        engine.sync().unwrap();
        assert_holds(&store.reopen(engine), 1, &points(1, n));
    }
}

#[test]
fn a_manifest_that_cannot_be_replaced_for_want_of_space_goes_on_being_used() {
    let store = Store::new(Config { manifest_bytes: 1, ..roomy() });
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    fault.arm(Op::Open(OpenMode::Create), "MANIFEST.next");
    for n in 0..50 {
        engine.write(point(1, n)).unwrap();
        engine.flush().unwrap();
    }
    assert!(fault.fired() > 40);
    assert_eq!(store.inspect_sound().manifest_records.len(), 51);
    fault.disarm();
    engine.write(point(1, 50)).unwrap();
    engine.flush().unwrap();
    assert_eq!(store.inspect_sound().manifest_records.len(), 1, "replaced as soon as it can be");
    assert_holds(&store.reopen(engine), 1, &points(1, 51));
}

#[test]
fn the_first_failed_sync_is_final_on_every_file() {
    let places = [
        (Op::Sync, "wal-", "sync of wal-000.log: injected"),
        (Op::Sync, "chunk-", "sync of chunk-00000000.tw: injected"),
        (Op::SyncDir, "", "sync of the names of chunks: injected"),
        (Op::Sync, "MANIFEST", "sync of MANIFEST: injected"),
        (Op::Rename, "MANIFEST", "rename of MANIFEST.next: injected"),
    ];
    for (failing, prefix, cause) in places {
        let store = Store::new(Config { manifest_bytes: 1, ..roomy() });
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        engine.write_batch(&points(1, 25)).unwrap();
        engine.sync().unwrap();
        engine.write_batch(&points(1, 55)[25..]).unwrap();
        fault.arm(failing, prefix);
        assert_read_only(engine.flush(), cause);
        assert_eq!(fault.fired(), 1);

        // The disk says that it is well again. It is not to be believed: what it dropped, no later sync brings back.
        fault.disarm();
        let before = store.files();
        for _ in 0..2 {
            assert_read_only(engine.write(point(1, 55)), cause);
            assert_read_only(engine.write_batch(&points(2, 50)), cause);
            assert_read_only(engine.sync(), cause);
            assert_read_only(engine.flush(), cause);
            assert_read_only(engine.step(), cause);
            assert_read_only(engine.close(), cause);
            assert_holds(&engine, 1, &points(1, 55));
            assert_eq!(engine.tags().unwrap(), [1]);
        }
        assert!(store.files() == before, "{cause}: a read-only engine wrote");
        let marks = engine.stats();
        assert_eq!(marks.durable_lsn.0, if prefix == "wal-" { 25 } else { 55 }, "{cause}: I1");

        // All that was written is in the system's cache here, so all of it comes back; what was durable must.
        let engine = store.reopen(engine);
        assert_holds(&engine, 1, &points(1, 55));
        engine.write(point(1, 55)).unwrap();
        engine.close().unwrap();
        store.inspect_sound();
        assert_holds(&store.open(), 1, &points(1, 56));
    }
}

#[test]
fn a_failed_sync_of_the_background_step_is_heard_by_the_next_call() {
    let store = Store::new(Config { buffer_bytes: 800, ..roomy() });
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    engine.write_batch(&points(1, 40)).unwrap();
    fault.arm(Op::Sync, "wal-");
    assert_read_only(engine.step(), "sync of wal-000.log: injected");
    let stats = engine.stats();
    assert_eq!((stats.sealed_buffers, stats.blocks_written, stats.durable_lsn.0), (1, 0, 0), "I1, I3");
    assert_read_only(engine.write(point(1, 40)), "sync of wal-000.log: injected");
    assert_read_only(engine.sync(), "sync of wal-000.log: injected");
    assert_holds(&engine, 1, &points(1, 40));
}

#[test]
fn a_disk_that_panics_under_a_caller_leaves_a_read_only_engine_and_no_false_promise() {
    for (failing, prefix) in
        [(Op::Write, "wal-"), (Op::Sync, "wal-"), (Op::Write, "MANIFEST"), (Op::Sync, "MANIFEST")]
    {
        let store = Store::new(roomy());
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        engine.write_batch(&points(1, 25)).unwrap();
        engine.sync().unwrap();
        engine.write_batch(&points(1, 45)[25..]).unwrap();
        fault.arm_panic(failing, prefix);
        catch_unwind(AssertUnwindSafe(|| engine.flush())).unwrap_err();
        for _ in 0..2 {
            // Whatever is promised from here on would rest upon a write that nobody knows the end of.
            for refused in
                [engine.write(point(1, 45)), engine.sync(), engine.flush(), engine.step(), engine.close()]
            {
                assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{failing:?} {prefix}: {refused:?}");
            }
            assert_holds(&engine, 1, &points(1, 45));
        }
        let engine = store.reopen(engine);
        assert_prefix(&engine, 1, if prefix == "wal-" { 25 } else { 45 });
    }
}

#[test]
fn a_query_on_a_disk_that_cannot_read_errs_and_recovers_with_it() {
    let store = Store::new(roomy());
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    engine.write_batch(&points(1, 100)).unwrap();
    engine.flush().unwrap();
    engine.write_batch(&points(2, 100)).unwrap();
    fault.arm(Op::Read, "chunk-");
    assert_io(engine.query(1, ..), "read", "chunk-00000000.tw");
    assert_holds(&engine, 2, &points(2, 100));
    fault.disarm();
    assert_holds(&engine, 1, &points(1, 100));
}

#[test]
fn an_opening_that_fails_half_way_can_be_tried_again() {
    let store = Store::new(roomy());
    let engine = store.open();
    engine.write_batch(&points(1, 100)).unwrap();
    engine.flush().unwrap();
    engine.write_batch(&points(1, 130)[100..]).unwrap();
    engine.step().unwrap();
    drop(engine);
    let places = [
        (Op::List, ""),
        (Op::Read, "MANIFEST"),
        (Op::Read, "wal-"),
        (Op::Read, "chunk-"),
        (Op::Open(OpenMode::Write), "wal-"),
        (Op::Open(OpenMode::Create), "MANIFEST.next"),
        (Op::Write, "MANIFEST.next"),
        (Op::Sync, "MANIFEST.next"),
        (Op::Rename, "MANIFEST"),
        (Op::SyncDir, ""),
        (Op::Write, "wal-"),
        (Op::Sync, "wal-"),
    ];
    for (failing, prefix) in places {
        let fault = Fault::new();
        fault.arm(failing, prefix);
        for _ in 0..3 {
            let outcome = store.try_open_hooked(fault.hook());
            assert!(
                matches!(outcome, Err(Error::Io { .. } | Error::ReadOnly { .. })),
                "{failing:?} {prefix}"
            );
            store.inspect_sound();
        }
        // Segments are read at the same time, so all of them have failed when the opening does.
        let each = if (failing, prefix) == (Op::Read, "wal-") { store.config.segments as u64 } else { 1 };
        assert_eq!(fault.fired(), 3 * each, "{failing:?} {prefix}");
    }
    let engine: Engine = store.open();
    assert_holds(&engine, 1, &points(1, 130));
}

#[test]
fn a_segment_that_could_not_be_made_does_not_keep_the_store_from_opening() {
    let store = Store::new(small());
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    fault.arm(Op::SetLen, "wal-");
    engine.write_batch(&points(1, 2_000)).unwrap();
    engine.close().unwrap();
    assert!(fault.fired() > 0);
    // Still no space for a third segment; but this store was well with two.
    let engine = store.open_hooked(fault.hook());
    assert_holds(&engine, 1, &points(1, 2_000));
}
