//! The suites of the report that this project starts from, by name and size. There they printed "passed" whatever the
//! store held; here each ends in a comparison of every point.

use crate::support::{Store, assert_holds, point, points};
use tidewall::{Config, inspect};

fn config() -> Config {
    Config {
        backlog_points: 100,
        inbox_points: 0,
        segment_bytes: 1 << 20,
        chunk_bytes: 256 << 10,
        flush_delay_ms: None,
        ..Config::default()
    }
}

#[test]
fn basic_writes() {
    let store = Store::new(config());
    let engine = store.open();
    for n in 0..1_000 {
        engine.write(point(1, n)).unwrap();
    }
    assert_holds(&engine, 1, &points(1, 1_000));
    engine.flush().unwrap();
    assert_holds(&engine, 1, &points(1, 1_000));
    engine.close().unwrap();
    assert_holds(&store.open(), 1, &points(1, 1_000));
}

#[test]
fn batches_and_flush_at_threshold() {
    let store = Store::new(config());
    let engine = store.open();
    assert_eq!(store.config.batch_points, 100);
    for n in 0..99 {
        engine.write(point(1, n)).unwrap();
    }
    assert_eq!(engine.stats().backlog_points, 0, "99 points are no batch");
    engine.write(point(1, 99)).unwrap();
    assert_eq!(
        (engine.stats().frames, engine.stats().backlog_points),
        (0, 100),
        "100 are, and wait for the log"
    );
    engine.write(point(1, 100)).unwrap();
    let stats = engine.stats();
    assert_eq!(
        (stats.frames, stats.appended_points, stats.backlog_points),
        (1, 100, 0),
        "for the next writer here"
    );
    engine.write_batch(&points(1, 349)[101..]).unwrap();
    engine.write(point(1, 349)).unwrap();
    assert_eq!((engine.stats().frames, engine.stats().appended_points), (3, 300));
    engine.sync().unwrap();
    assert_eq!((engine.stats().frames, engine.stats().appended_points), (4, 350), "a sync takes the rest");
    assert_holds(&store.reopen(engine), 1, &points(1, 350));
}

#[test]
fn auto_rolling_178_500_points_over_255_blocks() {
    const BLOCK_POINTS: usize = 700;
    const BLOCKS: usize = 255;
    let store = Store::new(Config { block_points: BLOCK_POINTS, buffer_bytes: 100_000, ..config() });
    let engine = store.open();
    let all = points(1, BLOCK_POINTS * BLOCKS);
    assert_eq!(all.len(), 178_500);
    for point in &all {
        engine.write(*point).unwrap();
    }
    let written = engine.stats().blocks_written;
    assert!((230..255).contains(&written), "as memory filled up, without any call to flush: {written}");
    assert_holds(&engine, 1, &all);
    engine.close().unwrap();
    assert_eq!(engine.stats().blocks_written, 255);

    let inspection = store.inspect_sound();
    let blocks = || inspection.chunks.iter().flat_map(|chunk| &chunk.blocks);
    assert_eq!(blocks().count(), BLOCKS);
    assert!(blocks().all(|(block, intact)| *intact && block.count == BLOCK_POINTS as u32));
    // A chunk of 256 KiB takes blocks until the next one has no room.
    let in_chunk = |chunk: &tidewall::ChunkInfo| chunk.blocks.iter().map(|(block, _)| block.len).sum::<u32>();
    let (_, full) = inspection.chunks.split_last().unwrap();
    assert!(full.len() > 4 && full.iter().all(|chunk| in_chunk(chunk) > (256 << 10) - (16 << 10)));

    let engine = store.open();
    assert_holds(&engine, 1, &all);
    // A range across blocks and chunks reads what it must and no more.
    assert_eq!(engine.query(1, all[69_950].ts_us..all[140_050].ts_us).unwrap(), all[69_950..140_050]);
    assert_eq!(inspect(&store.disk()).unwrap().version.unwrap().tags.len(), 1);
}

#[test]
fn several_tags() {
    let store = Store::new(config());
    let engine = store.open();
    for n in 0..500 {
        for tag in 1..=20 {
            engine.write(point(tag, n)).unwrap();
        }
    }
    engine.flush().unwrap();
    for tag in 1..=20 {
        assert_holds(&engine, tag, &points(tag, 500));
    }
    engine.close().unwrap();
    let engine = store.open();
    assert_eq!(engine.tags().unwrap(), (1..=20).collect::<Vec<_>>());
    for tag in 1..=20 {
        assert_holds(&engine, tag, &points(tag, 500));
    }
}

#[test]
fn restart_consistency() {
    const CYCLES: usize = 12;
    let store = Store::new(config());
    for cycle in 0..CYCLES {
        let engine = store.open();
        for tag in 1..=5 {
            assert_holds(&engine, tag, &points(tag, 1_000 * cycle));
            engine.write_batch(&points(tag, 1_000 * (cycle + 1))[1_000 * cycle..]).unwrap();
        }
        engine.flush().unwrap();
        // No close: a restart must not need one. Once in four it gets one all the same.
        if cycle % 4 == 3 {
            engine.close().unwrap();
        }
    }
    let engine = store.open();
    assert_eq!(engine.recovery_report().points_replayed, 0);
    for tag in 1..=5 {
        assert_holds(&engine, tag, &points(tag, 1_000 * CYCLES));
    }
    assert_eq!(engine.recovery_report().block_points, 5_000 * CYCLES as u64, "each point once");
}
