//! A write touches memory only, until the log has fallen behind by a bound: then the writer appends, or is refused.

use crate::support::{
    Fault, Op, Store, assert_holds, assert_io, open_sim, point, points, roomy, stream_of, tag_of_each,
};
use tidewall::{Config, Error, Point};
use tidewall_sim::disk::SimDisk;
use tidewall_sim::timeline::Timeline;

/// Nothing is gathered in the log's own memory: each frame is written when the next one comes.
fn config(backlog_points: usize) -> Config {
    Config { backlog_points, staging_bytes: 1, ..roomy() }
}

#[test]
fn writes_below_the_backlog_make_no_disk_call_and_the_next_one_appends_it() {
    for backlog_points in [10, 100, 5_000] {
        let disk = SimDisk::new(Timeline::default());
        let engine = open_sim(&disk, &config(backlog_points));
        disk.take_io_ops();
        let mut n = 0;
        while engine.stats().backlog_points < backlog_points as u64 {
            engine.write(point(1 + n as u32 % 3, n / 3)).unwrap();
            n += 1;
            assert!(n < backlog_points + 4 * 10, "full batches are not counted");
        }
        let stats = engine.stats();
        assert_eq!(disk.take_io_ops(), 0, "{n} points");
        assert_eq!((stats.frames, stats.backpressure_waits), (0, 0));
        assert_eq!((stats.buffered_points, stats.backlog_points), (n as u64, backlog_points as u64));

        engine.write(point(4, 0)).unwrap();
        let after = engine.stats();
        assert_eq!((after.backlog_points, after.backpressure_waits), (0, 1));
        assert_eq!((after.frames, after.appended_points), (stats.backlog_points / 10, stats.backlog_points));
        assert_eq!(after.log_syncs, 0, "appended is not durable");
        // All frames but the last one, which is staged.
        assert_eq!(disk.take_io_ops(), after.frames - 1);

        engine.write(point(4, 1)).unwrap();
        assert_eq!((disk.take_io_ops(), engine.stats().backpressure_waits), (0, 1), "and then memory again");
        for tag in 1..=3 {
            assert_holds(&engine, tag, &points(tag, (n + 3 - tag as usize) / 3));
        }
        assert_holds(&engine, 4, &points(4, 2));
    }
}

#[test]
fn points_of_a_batch_that_is_not_full_wait_for_no_writer() {
    let disk = SimDisk::new(Timeline::default());
    let engine = open_sim(&disk, &config(10));
    disk.take_io_ops();
    for tag in 1..=100 {
        engine.write_batch(&points(tag, 9)).unwrap();
    }
    assert_eq!((disk.take_io_ops(), engine.stats().backlog_points, engine.stats().frames), (0, 0, 0));
    engine.sync().unwrap();
    assert_eq!((engine.stats().frames, engine.stats().durable_lsn.0), (100, 900));
}

#[test]
fn the_backlog_is_bounded_whatever_a_call_brings() {
    // A call is admitted or refused as a whole, so the bound is that of the calls before it.
    let store = Store::new(Config { backlog_points: 50, ..roomy() });
    let engine = store.open();
    let mut n = 0;
    for size in [1, 7, 50, 49, 130, 1, 9, 10, 90].into_iter().cycle().take(200) {
        let before = engine.stats().backlog_points;
        engine.write_batch(&points(1, n + size)[n..]).unwrap();
        n += size;
        let after = engine.stats().backlog_points;
        assert!(after < 50 + size as u64 + 10, "{before} before, {size} points more, {after}");
        assert!(before < 50 || after < size as u64 + 10, "{before} before, {size} points more, {after}");
    }
    assert_holds(&engine, 1, &points(1, n));
    engine.sync().unwrap();
    assert_eq!(engine.stats().backlog_points, 0);
    assert_holds(&store.reopen(engine), 1, &points(1, n));
}

#[test]
fn a_log_without_space_refuses_whole_calls_beyond_the_backlog_and_goes_on_when_space_comes_back() {
    for backlog_points in [10, 30, 200] {
        let store = Store::new(config(backlog_points));
        let fault = Fault::new();
        let engine = store.open_hooked(fault.hook());
        fault.arm(Op::Write, "wal-");
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..1_000 {
            match engine.write(point(1, accepted)) {
                Ok(()) => accepted += 1,
                Err(Error::Io { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(accepted, backlog_points + 10, "the backlog, and a frame that cannot be written");
        let waits = engine.stats().backpressure_waits;
        assert!(waits >= refused, "{waits} waits, {refused} refusals");
        assert_io(engine.write_batch(&[point(2, 0), point(3, 0)]), "write", "wal-000.log");
        assert_eq!(engine.stats().backpressure_waits, waits + 1);
        // I9: queries go on, and see what was accepted and nothing else.
        assert_eq!(engine.tags().unwrap(), [1]);
        assert_holds(&engine, 1, &points(1, accepted));
        assert_eq!(engine.query(1, 3_000..5_000).unwrap(), points(1, 5)[3..]);
        assert_io(engine.step(), "write", "wal-000.log");
        assert_io(engine.sync(), "write", "wal-000.log");
        assert_eq!(engine.stats().durable_lsn.0, 0, "I1");

        fault.disarm();
        engine.write_batch(&[point(2, 0), point(1, accepted)]).unwrap();
        assert_eq!(engine.stats().backlog_points, 0);
        engine.sync().unwrap();
        let engine = store.reopen(engine);
        assert_holds(&engine, 1, &points(1, accepted + 1));
        assert_holds(&engine, 2, &points(2, 1));
    }
}

#[test]
fn the_backlog_of_one_stream_is_no_business_of_another_one_s_writers() {
    let config = Config { wal_streams: 3, ..config(40) };
    let tags = tag_of_each(3);
    let disk = SimDisk::new(Timeline::default());
    let engine = open_sim(&disk, &config);
    engine.write_batch(&points(tags[2], 40)).unwrap();
    disk.take_io_ops();
    for n in 0..39 {
        engine.write_batch(&[point(tags[0], n), point(tags[1], n)]).unwrap();
    }
    assert_eq!((disk.take_io_ops(), engine.stats().backpressure_waits), (0, 0));
    let third = (1..).find(|tag| stream_of(*tag, 3) == 2 && *tag != tags[2]).unwrap();
    // One point of another tag of the full stream is enough, wherever it stands in the call.
    engine.write_batch(&[point(tags[0], 39), point(third, 0)]).unwrap();
    assert_eq!(
        (disk.take_io_ops(), engine.stats().backpressure_waits),
        (3, 1),
        "four frames, one of them staged"
    );
    assert_holds(&engine, tags[2], &points(tags[2], 40));
}

#[test]
fn a_call_is_refused_before_any_of_its_points_is_accepted() {
    let store = Store::new(Config { wal_streams: 16, ..config(10) });
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    let tags = tag_of_each(16);
    fault.arm(Op::Write, "wal-07-");
    engine.write_batch(&points(tags[7], 20)).unwrap();
    let call: Vec<Point> = tags.iter().flat_map(|tag| points(*tag, 3)).collect();
    for _ in 0..3 {
        assert_io(engine.write_batch(&call), "write", "wal-07-000.log");
        assert_eq!(engine.tags().unwrap(), [tags[7]]);
        assert_holds(&engine, tags[7], &points(tags[7], 20));
    }
}

#[test]
fn full_memory_makes_the_writer_flush_its_own_stream_only() {
    let store = Store::new(Config { wal_streams: 2, buffer_bytes: 1_000, block_points: 10, ..roomy() });
    let engine = store.open();
    let tags = tag_of_each(2);
    for n in 0..1_000 {
        engine.write(point(tags[1], n)).unwrap();
        engine.write_batch(&points(tags[0], 9)).unwrap();
        // Each stream may have 500 and a batch of less than two hundred.
        assert!(engine.stats().buffered_bytes < 1_400);
    }
    let stats = engine.stats();
    assert!(stats.blocks_written > 90 && stats.backpressure_waits > 40, "{stats:?}");
    assert_holds(&engine, tags[1], &points(tags[1], 1_000));
    assert_holds(&engine, tags[0], &points(tags[0], 9));
}
