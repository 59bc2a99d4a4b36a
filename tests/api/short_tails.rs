//! A few points each of many tags: they share a frame, and are kept apart in everything else.

use crate::support::{Store, assert_holds, point, points, roomy};
use tidewall::{Config, Engine};

/// Tags of one log stream, each with less than half a batch.
const TAGS: u32 = 100;

/// Writes point `n` of each tag.
fn write_each(engine: &Engine, n: usize) {
    (1..=TAGS).for_each(|tag| engine.write(point(tag, n)).unwrap());
}

fn assert_each_holds(engine: &Engine, count: usize) {
    (1..=TAGS).for_each(|tag| assert_holds(engine, tag, &points(tag, count)));
}

/// What a sync appends: (frames, bytes).
fn appended(engine: &Engine) -> (u64, u64) {
    let before = engine.stats();
    engine.sync().unwrap();
    let after = engine.stats();
    (after.frames - before.frames, after.log_written_bytes - before.log_written_bytes)
}

#[test]
fn a_sync_of_a_point_each_of_many_tags_is_a_few_frames_and_few_bytes() {
    let store = Store::new(Config { shards: 64, ..roomy() });
    let engine = store.open();
    write_each(&engine, 0);
    let (frames, bytes) = appended(&engine);
    // No frame is for more than sixteen shards, and the sector is filled up.
    assert!((1..=5).contains(&frames), "{frames} frames");
    assert!(bytes < u64::from(TAGS) * 17, "{bytes} bytes");
    assert_each_holds(&engine, 1);
    let engine = store.reopen(engine);
    assert_eq!(engine.recovery_report().frames_replayed, frames);
    assert_each_holds(&engine, 1);
}

#[test]
fn a_tag_alone_has_frames_of_its_own() {
    let store = Store::new(roomy());
    let engine = store.open();
    engine.write(point(7, 0)).unwrap();
    engine.sync().unwrap();
    let inspection = store.inspect_sound();
    let frames: Vec<_> = inspection.segments.iter().flat_map(|segment| segment.live()).collect();
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].header.tag.get(), frames[0].header.tags, frames[0].header.count), (7, 1, 1));
}

#[test]
fn points_synced_one_by_one_become_one_run_in_memory_and_in_their_block() {
    let store = Store::new(roomy());
    let engine = store.open();
    // More than a batch, less than a block.
    for n in 0..25 {
        write_each(&engine, n);
        engine.sync().unwrap();
        assert_each_holds(&engine, n + 1);
    }
    engine.flush().unwrap();
    assert_each_holds(&engine, 25);
    let stats = engine.stats();
    assert_eq!((stats.buffered_points, stats.blocks_written), (0, u64::from(TAGS)));
    // Three runs a tag with 33 bytes of header each, and not twenty-five: these points have some eight bytes each.
    let bytes: u64 = store
        .inspect_sound()
        .chunks
        .iter()
        .flat_map(|chunk| &chunk.blocks)
        .map(|(block, _)| u64::from(block.len))
        .sum();
    let of_a_tag = bytes / u64::from(TAGS);
    assert!((25 * 8..25 * 8 + 300).contains(&of_a_tag), "{of_a_tag} bytes a tag");
    let engine = store.reopen(engine);
    assert_each_holds(&engine, 25);
}

#[test]
fn a_tag_that_is_flushed_leaves_the_others_of_its_frames_in_the_log() {
    // Half of it is not much more than the short tails take.
    let store = Store::new(Config { buffer_bytes: 5_400, ..roomy() });
    let engine = store.open();
    write_each(&engine, 0);
    engine.sync().unwrap();
    // Tag 1 grows to a block, and the step flushes what has.
    let many = points(1, 35);
    engine.write_batch(&many[1..]).unwrap();
    engine.sync().unwrap();
    engine.step().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.flushes, stats.blocks_written), (1, 1));
    let engine = store.reopen(engine);
    let report = engine.recovery_report();
    assert_eq!(report.blocks, 1);
    assert_eq!(
        report.points_skipped, report.block_points,
        "the first of them shares a frame with the other tags"
    );
    assert_eq!(report.points_replayed, u64::from(TAGS) + 34 - report.block_points);
    assert_holds(&engine, 1, &many);
    (2..=TAGS).for_each(|tag| assert_holds(&engine, tag, &points(tag, 1)));
}

#[test]
fn a_frame_of_several_tags_that_finds_no_room_is_appended_to_the_next_segment() {
    // Two sectors: a sync fills one, and a segment is left every other time.
    let store = Store::new(Config { segment_bytes: 2048, sector_bytes: 512, segments_max: 2, ..roomy() });
    let engine = store.open();
    for n in 0..30 {
        write_each(&engine, n);
        engine.sync().unwrap();
    }
    assert!(engine.stats().rotations > 10, "{:?}", engine.stats());
    assert_each_holds(&engine, 30);
    let engine = store.reopen(engine);
    assert_each_holds(&engine, 30);
}
