//! Bytes that nobody wrote. Damage to durable bytes is reported with file and offset, never skipped in silence (I6),
//! and an opening that refuses a store leaves every byte of it for the person who has to repair it.

use crate::support::{
    Store, assert_holds, assert_refused, corruption, point, points, roomy, small, tag_of_each,
};
use std::fs;
use tidewall::wal::frame::{self, FrameHeader};
use tidewall::wal::scan::FrameAt;
use tidewall::{Config, Error, Lsn, inspect};

/// Three tags in blocks of several chunks, and 40 points of each in two segments of the log only.
fn store_with_data() -> Store {
    // Nothing but a full ring and a call flushes.
    let store = Store::new(Config { buffer_bytes: 1 << 20, segments: 4, ..small() });
    let engine = store.open();
    for n in 0..900 {
        for tag in 1..=3 {
            engine.write(point(tag, n)).unwrap();
        }
    }
    engine.flush().unwrap();
    for n in 900..940 {
        for tag in 1..=3 {
            engine.write(point(tag, n)).unwrap();
        }
        // Every third point a sync, and with it a sector: that fills a segment.
        if n % 3 == 0 {
            engine.sync().unwrap();
        }
    }
    engine.sync().unwrap();
    drop(engine);
    let inspection = store.inspect_sound();
    assert!(inspection.segments.iter().filter(|segment| !segment.live.is_empty()).count() >= 2);
    assert!(store.names("chunk-").len() > 2);
    store
}

#[test]
fn the_store_that_these_tests_damage_is_sound() {
    let store = store_with_data();
    let engine = store.open();
    for tag in 1..=3 {
        assert_holds(&engine, tag, &points(tag, 940));
    }
}

#[test]
fn a_damaged_block_is_an_error_of_its_tag_alone_and_never_a_shorter_answer() {
    // All points of a tag are appended at a stretch, so they are sealed and cut together.
    let store = Store::new(Config { staging_bytes: 64 << 10, ..roomy() });
    let engine = store.open();
    for tag in 1..=3 {
        engine.write_batch(&points(tag, 100)).unwrap();
    }
    engine.flush().unwrap();
    let chunk = &store.inspect_sound().chunks[0];
    assert_eq!(
        (chunk.file.as_str(), chunk.blocks.len()),
        ("chunk-00000000.tw", 9),
        "blocks of 40, 40, 20 points"
    );

    // The second block of tag 2: its first byte, one of its header, some of its points, its last one.
    let (block, _) = chunk.blocks[4];
    assert_eq!((block.tag.get(), block.count, block.first_ts, block.last_ts), (2, 40, 40_000, 79_000));
    for at in [0, 20, 79, 80, 120, 300, u64::from(block.len) - 1] {
        store.flip(&chunk.file, block.offset + at);
        let found = corruption(engine.query(2, ..));
        assert_eq!((found.file.as_str(), found.offset), ("chunk-00000000.tw", block.offset), "byte {at}");
        assert_eq!(found.expected, "an intact block");
        corruption(engine.query(2, 79_000..));
        // A range that needs no point of the damaged block is answered; so are the other tags.
        assert_eq!(engine.query(2, ..40_000).unwrap(), points(2, 40));
        assert_eq!(engine.query(2, 79_001..).unwrap(), points(2, 100)[80..]);
        assert_holds(&engine, 1, &points(1, 100));
        assert_holds(&engine, 3, &points(3, 100));

        let inspection = inspect(&store.disk()).unwrap();
        let damage: Vec<_> = inspection.damage.iter().map(|damage| (&*damage.file, damage.offset)).collect();
        assert_eq!(damage, [("chunk-00000000.tw", block.offset)]);
        store.flip(&chunk.file, block.offset + at);
    }
    assert_holds(&engine, 2, &points(2, 100));
}

#[test]
fn an_intact_block_in_the_place_of_another_one_is_corrupt_too() {
    let store = Store::new(roomy());
    let engine = store.open();
    for tag in [1, 2] {
        engine.write_batch(&points(tag, 40)).unwrap();
    }
    engine.flush().unwrap();
    let chunk = &store.inspect_sound().chunks[0];
    let [(one, _), (two, _)] = chunk.blocks[..] else { panic!("two blocks") };
    assert_eq!(one.len, two.len);
    let mut bytes = fs::read(store.path(&chunk.file)).unwrap();
    bytes.copy_within(one.offset as usize..(one.offset + u64::from(one.len)) as usize, two.offset as usize);
    fs::write(store.path(&chunk.file), bytes).unwrap();
    let found = corruption(engine.query(2, ..));
    assert_eq!((found.file.as_str(), found.offset), ("chunk-00000000.tw", two.offset));
    assert_eq!(found.expected, "the block that the manifest names, not another one");
    assert_holds(&engine, 1, &points(1, 40));
}

#[test]
fn a_chunk_that_the_manifest_names_must_be_there() {
    let store = store_with_data();
    let names = store.names("chunk-");
    for name in &names {
        let bytes = fs::read(store.path(name)).unwrap();
        fs::remove_file(store.path(name)).unwrap();
        assert_refused(&store, name, 0, "a chunk that the manifest names");

        fs::write(store.path(name), &bytes[..700]).unwrap();
        let needed = format!("blocks up to offset {}", block_end(&store, name));
        assert_refused(&store, name, 700, &needed);

        fs::write(store.path(name), &bytes).unwrap();
        store.flip(name, 9);
        assert_refused(&store, name, 0, "the header of this chunk");
        store.flip(name, 9);
        // An intact one, but another chunk's.
        let other = fs::read(store.path(names.iter().find(|other| *other != name).unwrap())).unwrap();
        fs::write(store.path(name), [&other[..32], &bytes[32..]].concat()).unwrap();
        assert_refused(&store, name, 0, "the header of this chunk");
        fs::write(store.path(name), &bytes).unwrap();
    }
    let engine = store.open();
    for tag in 1..=3 {
        assert_holds(&engine, tag, &points(tag, 940));
    }
}

/// Behind the last block that the manifest names in a chunk.
fn block_end(store: &Store, name: &str) -> u64 {
    let inspection = inspect(&store.disk()).unwrap();
    let chunk = inspection.chunks.iter().find(|chunk| chunk.file == name).unwrap();
    chunk.blocks.iter().map(|(block, _)| block.offset + u64::from(block.len)).max().unwrap()
}

#[test]
fn a_manifest_that_cannot_be_read_is_never_taken_for_a_new_store() {
    let store = store_with_data();
    let whole = fs::read(store.path("MANIFEST")).unwrap();
    let garbage =
        [b"".to_vec(), vec![0; 512], b"hello".to_vec(), whole[..60].to_vec(), whole[512..].to_vec()];
    for bytes in garbage {
        fs::write(store.path("MANIFEST"), &bytes).unwrap();
        let expected = match bytes.starts_with(b"TWM1") && bytes.len() >= 512 {
            true => "a first record that holds a whole version",
            false => "an intact first record",
        };
        assert_refused(&store, "MANIFEST", 0, expected);
    }
    fs::write(store.path("MANIFEST"), &whole).unwrap();
    for at in [0, 4, 8, 12, 16, 24, 25, 40] {
        store.flip("MANIFEST", at);
        assert_refused(&store, "MANIFEST", 0, "an intact first record");
        store.flip("MANIFEST", at);
    }
    let engine = store.open();
    for tag in 1..=3 {
        assert_holds(&engine, tag, &points(tag, 940));
    }
}

#[test]
fn a_damaged_edit_before_a_sound_one_is_corruption_and_not_a_torn_end() {
    let store = Store::new(roomy());
    let engine = store.open();
    for n in 0..3 {
        engine.write(point(1, n)).unwrap();
        engine.flush().unwrap();
    }
    drop(engine);
    // Records 1 to 4 lie in sectors 0 to 3; the last one may be torn, the others were synced before it was written.
    assert_eq!(fs::read(store.path("MANIFEST")).unwrap().len(), 4 * 512);
    for record in [1, 2] {
        store.flip("MANIFEST", record * 512 + 30);
        assert_refused(&store, "MANIFEST", record * 512, "an intact record before a later one");
        store.flip("MANIFEST", record * 512 + 30);
    }
    assert_holds(&store.open(), 1, &points(1, 3));
}

#[test]
fn data_without_a_manifest_is_refused() {
    let with_chunks = store_with_data();
    fs::remove_file(with_chunks.path("MANIFEST")).unwrap();
    let before = with_chunks.files();
    let found = corruption(with_chunks.try_open());
    assert_eq!((found.file.as_str(), found.offset), ("MANIFEST", 0));
    assert_eq!(found.expected, "a manifest, since chunk-00000000.tw is there");
    assert!(with_chunks.files() == before);

    let with_frames = Store::new(small());
    let engine = with_frames.open();
    engine.write_batch(&points(1, 5)).unwrap();
    engine.sync().unwrap();
    drop(engine);
    fs::remove_file(with_frames.path("MANIFEST")).unwrap();
    let before = with_frames.files();
    let found = corruption(with_frames.try_open());
    assert_eq!((found.file.as_str(), found.offset), ("MANIFEST", 0));
    assert_eq!(found.expected, "a manifest, since a frame in wal-000.log is there");
    assert!(with_frames.files() == before);

    // The first frame is lost as well, and what is behind it is not.
    let mut bytes = fs::read(with_frames.path("wal-000.log")).unwrap();
    let (first, second) = bytes.split_at_mut(512);
    second[..512].copy_from_slice(first);
    first[20] ^= 1;
    fs::write(with_frames.path("wal-000.log"), bytes).unwrap();
    let found = corruption(with_frames.try_open());
    assert_eq!(found.expected, "a manifest, since a frame in wal-000.log is there");
}

#[test]
fn without_a_manifest_the_log_of_any_number_of_streams_is_data() {
    // Nothing but the manifest says how many streams there were, so the configuration can be another one.
    for (streams, opened_with) in [(1, 2), (2, 1), (2, 16), (16, 2)] {
        for tag in tag_of_each(streams) {
            let mut store = Store::new(Config { wal_streams: streams, shards: 16, ..small() });
            let engine = store.open();
            engine.write_batch(&points(tag, 5)).unwrap();
            engine.sync().unwrap();
            drop(engine);
            fs::remove_file(store.path("MANIFEST")).unwrap();
            let before = store.files();
            store.config.wal_streams = opened_with;
            let found = corruption(store.try_open());
            assert_eq!((found.file.as_str(), found.offset), ("MANIFEST", 0));
            assert!(found.expected.starts_with("a manifest, since a frame in wal-"), "{}", found.expected);
            assert!(store.files() == before);
        }
    }
}

#[test]
fn a_hole_in_the_log_below_what_was_durable_is_corruption_and_not_a_tail() {
    let store = store_with_data();
    let inspection = store.inspect_sound();
    let frames: Vec<_> = inspection
        .segments
        .iter()
        .flat_map(|segment| segment.frames.iter().map(move |frame| (segment.file.clone(), *frame)))
        .filter(|(_, frame)| {
            frame.header.first_lsn >= inspection.version.as_ref().unwrap().streams[0].checkpoint_lsn
        })
        .collect();
    assert_eq!(
        frames.iter().map(|(_, frame)| frame.header.count).sum::<u32>(),
        3 * 40,
        "what is in the log only"
    );

    let (mut holes, mut tails) = (0, 0);
    for (file, frame) in &frames {
        let first_lsn = frame.header.first_lsn;
        store.flip(file, frame.offset + 60);
        if first_lsn < inspection.proven_lsn() {
            let expected = format!(
                "a frame at LSN {first_lsn}, since everything below LSN {} was durable",
                inspection.proven_lsn()
            );
            let before = store.files();
            let found = corruption(store.try_open());
            assert_eq!(found.expected, expected);
            assert!(store.files() == before);
            holes += 1;
        } else {
            // Nothing in the store proves that this frame was ever synced.
            assert_eq!(inspect(&store.disk()).unwrap().damage, []);
            tails += 1;
        }
        store.flip(file, frame.offset + 60);
    }
    assert!(holes > 3 && tails > 0, "{holes} holes, {tails} tails");
    let engine = store.open();
    for tag in 1..=3 {
        assert_holds(&engine, tag, &points(tag, 940));
    }
}

#[test]
fn no_damaged_frame_anywhere_in_the_log_takes_durable_points_with_it_in_silence() {
    let store = store_with_data();
    let inspection = store.inspect_sound();
    let (mut refused, mut harmless, mut tails) = (0, 0, 0);
    for segment in &inspection.segments {
        for frame in &segment.frames {
            let copy = store.copy();
            copy.flip(&segment.file, frame.offset + 60);
            match copy.try_open() {
                Err(Error::Corrupt(_)) => refused += 1,
                Err(other) => panic!("{other}"),
                // No later frame proves the last sync, which was one frame of all tags: what it covered may be taken for torn, and nothing before it.
                Ok(engine) if frame.header.first_lsn >= inspection.proven_lsn() => {
                    for tag in 1..=3 {
                        let count = engine.query(tag, ..).unwrap().len();
                        assert!(count >= 937, "tag {tag}: {count} points");
                        assert_holds(&engine, tag, &points(tag, count));
                    }
                    tails += 1;
                }
                Ok(engine) => {
                    for tag in 1..=3 {
                        assert_holds(&engine, tag, &points(tag, 940));
                    }
                    harmless += 1;
                }
            }
        }
    }
    assert!(
        refused > 10 && harmless > 5 && tails == 1,
        "{refused} refused, {harmless} harmless, {tails} tails"
    );
}

#[test]
fn a_lost_segment_below_what_was_durable_is_corruption() {
    let store = store_with_data();
    let inspection = store.inspect_sound();
    let live = inspection.segments.iter().filter(|segment| !segment.live.is_empty());
    let first = live.min_by_key(|segment| segment.generation).unwrap();
    fs::remove_file(store.path(&first.file)).unwrap();
    let before = store.files();
    let found = corruption(store.try_open());
    assert_eq!(found.file, first.file);
    assert!(found.expected.starts_with("a log segment,"), "{found}");
    assert!(store.files() == before);
}

#[test]
fn a_torn_tail_is_cut_off_reported_and_written_over() {
    let store = Store::new(roomy());
    let engine = store.open();
    engine.write_batch(&points(1, 10)).unwrap();
    engine.sync().unwrap();
    engine.write_batch(&points(1, 20)[10..]).unwrap();
    // Two frames behind what was synced, of which the first is torn: the second may not come back without it.
    engine.write_batch(&points(2, 10)).unwrap();
    engine.step().unwrap();
    drop(engine);
    let torn_at = store.inspect_sound().segments[0].frames[1].offset;
    assert_eq!(torn_at, 512, "a synced sector is never written again");
    store.flip("wal-000.log", torn_at + 50);
    store.inspect_sound();

    let engine = store.open();
    let report = engine.recovery_report();
    assert_eq!(report.torn_tails, [("wal-000.log".into(), 160)], "behind the last frame that counts");
    assert_eq!((report.frames_replayed, report.points_replayed), (1, 10));
    assert_holds(&engine, 1, &points(1, 10));
    assert_eq!(engine.tags().unwrap(), [1]);
    engine.write(point(1, 10)).unwrap();
    engine.sync().unwrap();
    let engine = store.reopen(engine);
    assert_holds(&engine, 1, &points(1, 11));
    assert_holds(&engine, 2, &[]);
}

/// Rewrites what a frame says about itself, checksum and all.
fn rewrite(store: &Store, at: &FrameAt, change: impl FnOnce(&mut FrameHeader)) {
    let path = store.path("wal-000.log");
    let mut bytes = fs::read(&path).unwrap();
    let (offset, mut header) = (at.offset as usize, at.header);
    change(&mut header);
    let frame = frame::decode(&bytes[offset..]).unwrap();
    let (shares, entries) = (frame.shares().collect::<Vec<_>>(), frame.entries());
    let mut crafted = Vec::new();
    frame::encode(&mut crafted, &header, &shares, &entries);
    bytes[offset..offset + crafted.len()].copy_from_slice(&crafted);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_frame_that_is_proven_durable_in_part_is_corrupt_and_no_opening_waits_for_the_rest() {
    // No engine writes one: a sync covers whole frames (I1). Of the first frame, LSN 0 to 10, the second one says that half
    // was durable, as a part of the log or as a frame of another use of the segment.
    for is_stale in [false, true] {
        let store = Store::new(roomy());
        let engine = store.open();
        engine.write_batch(&points(1, 20)).unwrap();
        engine.sync().unwrap();
        drop(engine);
        let frames = store.inspect_sound().segments.swap_remove(0).frames;
        assert_eq!(frames.len(), 2);
        rewrite(&store, &frames[1], |header| {
            header.durable_lsn = Lsn(5);
            header.generation.seq += u32::from(is_stale);
        });
        let expected = "no frame from LSN 0 to 10: what was durable, or a segment, ends inside it";
        assert_refused(&store, "wal-000.log", 0, expected);
    }
}
