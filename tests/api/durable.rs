//! What each way to end a run leaves for the next opening. Dropping the engine without `close` is, to the store, the
//! same as killing the process: nothing is written any more.

use crate::support::{Store, assert_holds, point, points, roomy, small};
use tidewall::{Config, Durability, RecoveryReport};

#[test]
fn durable_points_survive_a_drop_without_close() {
    let store = Store::new(roomy());
    let engine = store.open();
    for tag in 1..=3 {
        engine.write_batch(&points(tag, 25)).unwrap();
    }
    engine.sync().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.appended_lsn.0, stats.durable_lsn.0, stats.checkpoint_lsn.0), (75, 75, 0));

    let engine = store.reopen(engine);
    for tag in 1..=3 {
        assert_holds(&engine, tag, &points(tag, 25));
    }
    let report = engine.recovery_report();
    assert!(!report.created);
    assert_eq!((report.frames_replayed, report.points_replayed, report.points_skipped), (9, 75, 0));
    assert_eq!((report.blocks, report.torn_tails.len()), (0, 0));
    let stats = engine.stats();
    assert_eq!((stats.appended_lsn.0, stats.durable_lsn.0, stats.checkpoint_lsn.0), (75, 75, 0));
}

#[test]
fn what_survives_of_points_never_synced_is_a_prefix_of_each_tag() {
    // A staging buffer of one byte: each frame is written when the next one comes, and the last one never.
    let store = Store::new(Config { staging_bytes: 1, ..roomy() });
    let engine = store.open();
    for n in 0..25 {
        engine.write_batch(&[point(1, n), point(2, n)]).unwrap();
    }
    assert_eq!(engine.stats().frames, 4, "two full batches of each tag; five points of each are in no frame");
    let engine = store.reopen(engine);
    assert_holds(&engine, 1, &points(1, 20));
    assert_holds(&engine, 2, &points(2, 10));
    // It was shown once, so it must stay: recovery has written the unproven tail anew and synced it.
    assert_eq!(engine.recovery_report().points_rewritten, 30);
    assert_eq!(engine.stats().durable_lsn.0, 30);
}

#[test]
fn opening_again_and_again_changes_nothing() {
    let store = Store::new(roomy());
    let engine = store.open();
    for n in 0..24 {
        engine.write_batch(&[point(1, n), point(2, n)]).unwrap();
    }
    // Written, not synced: a killed process leaves them in the system's cache. Four points of each are in no frame.
    engine.step().unwrap();
    drop(engine);
    for opening in 0..20 {
        let engine = store.open();
        assert_holds(&engine, 1, &points(1, 20));
        assert_holds(&engine, 2, &points(2, 20));
        let report = engine.recovery_report();
        assert_eq!((report.frames_replayed, report.points_replayed, report.points_skipped), (4, 40, 0));
        assert_eq!(report.points_rewritten, if opening == 0 { 40 } else { 0 }, "opening {opening}");
        store.inspect_sound();
    }
}

#[test]
fn a_flush_leaves_the_log_free() {
    let store = Store::new(Config { segments_max: 8, buffer_bytes: 1 << 30, ..small() });
    let engine = store.open();
    let mut count = 0;
    while engine.stats().busy_segments < 5 {
        engine.write(point(1, count)).unwrap();
        count += 1;
        assert!(count < 10_000, "{:?}", engine.stats());
    }
    assert_eq!(engine.stats().buffered_points, count as u64);
    engine.flush().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.busy_segments, stats.buffered_points, stats.sealed_buffers), (0, 0, 0));
    assert_eq!(stats.appended_lsn.0, count as u64);
    assert_eq!((stats.durable_lsn, stats.checkpoint_lsn), (stats.appended_lsn, stats.appended_lsn));

    let engine = store.reopen(engine);
    assert_holds(&engine, 1, &points(1, count));
    let report = engine.recovery_report();
    assert_eq!((report.frames_replayed, report.points_replayed), (0, 0));
    assert_eq!(report.block_points, count as u64);
}

#[test]
fn a_flush_of_nothing_writes_nothing() {
    let store = Store::new(small());
    let engine = store.open();
    engine.write_batch(&points(1, 3)).unwrap();
    engine.flush().unwrap();
    let (before, stats) = (store.files(), engine.stats());
    engine.flush().unwrap();
    engine.sync().unwrap();
    engine.step().unwrap();
    assert!(store.files() == before, "a file changed");
    assert_eq!((engine.stats().flushes, engine.stats().log_syncs), (stats.flushes, stats.log_syncs));
}

#[test]
fn a_manifest_that_has_grown_is_replaced_by_one_that_says_the_same() {
    let store = Store::new(roomy());
    let engine = store.open();
    let mut longest = 0;
    for n in 0..300 {
        engine.write(point(1, n)).unwrap();
        engine.flush().unwrap();
        longest = longest.max(store.files()["MANIFEST"].len());
    }
    // 300 edits of a sector each would be 150 KB; 300 blocks in one record are 20 KB, and twice that is the limit.
    assert!(longest < 45_000, "{longest}");
    let engine = store.reopen(engine);
    assert_eq!((engine.recovery_report().blocks, engine.recovery_report().points_replayed), (300, 0));
    assert_holds(&engine, 1, &points(1, 300));
}

#[test]
fn after_a_close_nothing_is_replayed() {
    let store = Store::new(small());
    let engine = store.open();
    assert!(engine.recovery_report().created);
    for tag in 1..=5 {
        engine.write_batch(&points(tag, 33)).unwrap();
    }
    engine.close().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.busy_segments, stats.buffered_points), (0, 0));
    assert_eq!(stats.checkpoint_lsn, stats.appended_lsn);

    let engine = store.open();
    let report = engine.recovery_report();
    assert_eq!((report.created, report.frames_replayed, report.points_replayed), (false, 0, 0));
    assert_eq!((report.points_skipped, report.points_rewritten, report.orphans_removed), (0, 0, 0));
    assert_eq!((report.manifest_torn_bytes, report.torn_tails.len()), (0, 0));
    assert_eq!(report.block_points, 5 * 33);
    for tag in 1..=5 {
        assert_holds(&engine, tag, &points(tag, 33));
    }
}

#[test]
fn a_point_that_a_block_holds_is_not_replayed_a_second_time() {
    // Memory is half full with all points, and no more so without those of the full buffer.
    let store = Store::new(Config { buffer_bytes: 1_200, ..roomy() });
    let engine = store.open();
    // Tag 2 is the oldest in the log and keeps the checkpoint at 0, while the full buffer of tag 1 goes into a block.
    engine.write_batch(&points(2, 10)).unwrap();
    engine.write_batch(&points(1, 40)).unwrap();
    engine.step().unwrap();
    engine.write_batch(&points(1, 55)[40..]).unwrap();
    engine.step().unwrap();
    engine.sync().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.blocks_written, stats.checkpoint_lsn.0, stats.durable_lsn.0), (1, 0, 65));

    let mut engine = store.reopen(engine);
    // Once more: what a first recovery leaves must say the same to the second.
    for _ in 0..2 {
        let report = engine.recovery_report();
        assert_eq!((report.block_points, report.points_skipped, report.points_replayed), (40, 40, 25));
        assert_holds(&engine, 1, &points(1, 55));
        assert_holds(&engine, 2, &points(2, 10));
        assert_eq!(engine.stats().buffered_points, 25);
        engine = store.reopen(engine);
    }
    engine.close().unwrap();
    let engine = store.open();
    assert_eq!(engine.recovery_report().block_points, 65);
    assert_holds(&engine, 1, &points(1, 55));
}

#[test]
fn with_immediate_durability_every_write_is_durable_on_return() {
    let store = Store::new(Config { durability: Durability::Immediate, ..small() });
    let mut engine = store.open();
    for n in 0..30 {
        engine.write(point(1, n)).unwrap();
        let stats = engine.stats();
        assert_eq!((stats.appended_lsn.0, stats.durable_lsn.0), (n as u64 + 1, n as u64 + 1));
        if n % 7 == 0 {
            engine = store.reopen(engine);
            assert_holds(&engine, 1, &points(1, n + 1));
        }
    }
    engine.write_batch(&[point(1, 30), point(2, 0), point(1, 31)]).unwrap();
    let engine = store.reopen(engine);
    assert_holds(&engine, 1, &points(1, 32));
    assert_holds(&engine, 2, &points(2, 1));
}

#[test]
fn a_store_that_is_killed_again_and_again_before_any_flush_still_opens() {
    // Each opening writes the unproven tail anew, into a segment that no flush has freed yet: kills must not use up the
    // ring, however small it is and however little is written between them.
    for config in
        [small(), Config { segments_max: 2, ..small() }, Config { flush_delay_ms: None, ..Config::default() }]
    {
        let store = Store::new(Config { segment_bytes: 64 << 10, chunk_bytes: 128 << 10, ..config });
        for n in 0..25 {
            let engine = store.open();
            assert_holds(&engine, 1, &points(1, n));
            engine.write(point(1, n)).unwrap();
            engine.sync().unwrap();
        }
        assert_holds(&store.open(), 1, &points(1, 25));
    }
}

#[test]
fn a_step_appends_a_half_full_batch_at_once_and_a_smaller_one_the_next_time() {
    let store = Store::new(roomy());
    let engine = store.open();
    engine.write_batch(&points(1, 5)).unwrap();
    engine.write_batch(&points(2, 4)).unwrap();
    assert_eq!((engine.stats().frames, engine.stats().log_writes), (0, 0));

    engine.step().unwrap();
    assert_eq!((engine.stats().frames, engine.stats().appended_points), (1, 5), "five of ten are half");
    assert_eq!(engine.stats().log_writes, 1, "what is in a frame is handed to the system");
    engine.step().unwrap();
    assert_eq!((engine.stats().frames, engine.stats().appended_points), (2, 9), "four have waited a step");
    engine.step().unwrap();
    assert_eq!((engine.stats().frames, engine.stats().log_writes), (2, 2), "nothing is left to do");
    assert_eq!(engine.stats().log_syncs, 0, "a step makes nothing durable");

    // A process may die now: what a step wrote is the system's.
    let engine = store.reopen(engine);
    assert_holds(&engine, 1, &points(1, 5));
    assert_holds(&engine, 2, &points(2, 4));
}

#[test]
fn a_tail_that_grows_between_steps_still_waits_for_two_of_them_at_most() {
    let store = Store::new(roomy());
    let engine = store.open();
    for n in 0..12 {
        // One point before each step: never half a batch, yet each second step appends what is there.
        engine.write(point(1, n)).unwrap();
        engine.step().unwrap();
        assert_eq!(engine.stats().appended_points, 2 * (n as u64 + 1).div_euclid(2), "after step {n}");
    }
}

#[test]
fn the_first_opening_says_that_it_made_a_new_store_and_no_other_does() {
    let store = Store::new(small());
    let engine = store.open();
    let mut report = engine.recovery_report().clone();
    assert!(std::mem::take(&mut report.created));
    assert_eq!(report, RecoveryReport::default(), "nothing else was found");
    let engine = store.reopen(engine);
    let report = engine.recovery_report();
    assert_eq!((report.created, report.manifest_records, report.segments), (false, 1, 2));
    assert_eq!((report.stale_segments, report.frames_replayed, report.block_points), (2, 0, 0));
}
