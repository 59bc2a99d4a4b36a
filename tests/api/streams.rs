//! Several log streams: each tag has one, each stream a ring of its own, and what becomes of one is not felt in another.

use crate::support::{
    Fault, Op, Store, assert_holds, assert_io, assert_prefix, assert_refused, corruption, open_sim, point,
    points, power_cut, roomy, small, stream_of, tag_of_each,
};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidewall::{Config, Durability, Engine, Error, Stats, inspect};
use tidewall_sim::disk::SimDisk;
use tidewall_sim::timeline::Timeline;

/// Three tags for each of three streams: 2, 5, 7 in stream 0; 1, 4, 9 in stream 1; 3, 6, 8 in stream 2.
const TAGS: std::ops::RangeInclusive<u32> = 1..=9;

fn three() -> Config {
    Config { wal_streams: 3, ..small() }
}

/// The stream whose segment has this name.
fn stream_of_segment(file: &str) -> usize {
    let numbers = file.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".log")).expect("a segment");
    numbers.split_once('-').map_or(0, |(stream, _)| stream.parse().expect("a number"))
}

/// The point `n` of each tag for `n` in a range, tag by tag in turn.
fn write_each(engine: &Engine, range: std::ops::Range<usize>) {
    for n in range {
        for tag in TAGS {
            engine.write(point(tag, n)).unwrap();
        }
    }
}

/// Blocks and checkpoints of three streams, and behind them 40 points of each tag in the log only.
fn store_with_data() -> Store {
    let store = Store::new(Config { segments_max: 6, ..three() });
    let engine = store.open();
    write_each(&engine, 0..100);
    engine.flush().unwrap();
    for n in 100..140 {
        write_each(&engine, n..n + 1);
        // Every tenth point a sync, and with it a sector.
        if n % 10 == 0 {
            engine.sync().unwrap();
        }
    }
    engine.sync().unwrap();
    drop(engine);
    store.inspect_sound();
    store
}

#[test]
fn every_frame_is_in_its_tag_s_stream_and_stays_there_across_reopenings() {
    for streams in [2, 3, 16] {
        let store = Store::new(Config { wal_streams: streams, ..small() });
        let mut engine = store.open();
        let mut frames = 0;
        for round in 0..6 {
            write_each(&engine, 15 * round..15 * (round + 1));
            engine.sync().unwrap();
            let inspection = store.inspect_sound();
            assert_eq!(inspection.streams.len(), streams);
            assert_eq!(inspection.end_lsn().0, 9 * 15 * (round as u64 + 1), "the sum over the streams");
            for segment in &inspection.segments {
                assert_eq!(segment.stream, stream_of_segment(&segment.file), "{}", segment.file);
                for frame in &segment.frames {
                    let tag = frame.header.tag.get();
                    assert_eq!(segment.stream, stream_of(tag, streams), "tag {tag} in {}", segment.file);
                    frames += 1;
                }
            }
            match round {
                1 | 3 => engine = store.reopen(engine),
                2 => engine.flush().unwrap(),
                4 => {
                    engine.close().unwrap();
                    engine = store.reopen(engine);
                }
                _ => {}
            }
        }
        assert!(frames > 100, "{frames}");
        for tag in TAGS {
            assert_holds(&engine, tag, &points(tag, 90));
        }
    }
}

#[test]
fn a_store_has_the_segments_of_each_stream_from_the_beginning() {
    let store = Store::new(three());
    drop(store.open());
    let expected = [
        "wal-000.log",
        "wal-001.log",
        "wal-01-000.log",
        "wal-01-001.log",
        "wal-02-000.log",
        "wal-02-001.log",
    ];
    assert_eq!(store.names("wal-"), expected);
    let version = store.inspect_sound().version.unwrap();
    assert_eq!(version.geometry.wal_streams, 3);
    assert_eq!(version.streams.iter().map(|stream| stream.segments).collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn another_number_of_streams_is_refused_and_nothing_is_changed() {
    let mut store = store_with_data();
    let before = store.files();
    for configured in [1, 2, 4, 16] {
        store.config.wal_streams = configured;
        match store.try_open() {
            Err(Error::Geometry { field, stored, configured: is }) => {
                assert_eq!((field, stored, is), ("wal_streams", 3, configured as u64));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened with {configured} streams"),
        }
        assert!(store.files() == before, "a refused opening changed a file");
    }
    store.config.wal_streams = 3;
    let engine = store.open();
    for tag in TAGS {
        assert_holds(&engine, tag, &points(tag, 140));
    }
}

#[test]
fn synced_points_of_every_stream_survive_every_power_cut() {
    for streams in [1, 2, 3, 16] {
        let config = Config { wal_streams: streams, ..small() };
        for seed in 0..40 {
            let mut disk = SimDisk::new(Timeline::default());
            let mut acked = 0;
            // Again and again: what one crash leaves must survive the next.
            for life in 0..4 {
                let engine = open_sim(&disk, &config);
                let counts: Vec<_> = TAGS.map(|tag| assert_prefix(&engine, tag, acked)).collect();
                let longest = *counts.iter().max().unwrap();
                acked = longest + 15 + seed as usize % 7;
                for (tag, count) in TAGS.zip(&counts) {
                    engine.write_batch(&points(tag, acked)[*count..]).unwrap();
                }
                match life {
                    1 => engine.flush().unwrap(),
                    _ => engine.sync().unwrap(),
                }
                // And some that nobody was promised.
                write_each(&engine, acked..acked + 13);
                engine.step().unwrap();
                disk = power_cut(&disk, 1000 * life + seed);
            }
            let engine = open_sim(&disk, &config);
            let counts = TAGS.map(|tag| assert_prefix(&engine, tag, acked)).collect::<Vec<_>>();
            // What has been shown once stays, whatever the next crash takes.
            let again = open_sim(&power_cut(&disk, seed), &config);
            for (tag, count) in TAGS.zip(counts) {
                assert_holds(&again, tag, &points(tag, count));
            }
        }
    }
}

#[test]
fn restart_consistency_with_1_2_and_16_streams() {
    for streams in [1, 2, 16] {
        let store = Store::new(Config { wal_streams: streams, ..small() });
        for cycle in 0..24 {
            let engine = store.open();
            for tag in TAGS {
                assert_holds(&engine, tag, &points(tag, 33 * cycle));
            }
            write_each(&engine, 33 * cycle..33 * (cycle + 1));
            match cycle % 3 {
                0 => engine.sync().unwrap(),
                1 => engine.flush().unwrap(),
                _ => engine.close().unwrap(),
            }
        }
        let engine = store.open();
        let report = engine.recovery_report();
        assert_eq!(
            (report.points_replayed, report.block_points),
            (0, 9 * 33 * 24),
            "each point once, in blocks"
        );
        for tag in TAGS {
            assert_holds(&engine, tag, &points(tag, 33 * 24));
        }
        assert_eq!(engine.tags().unwrap(), TAGS.collect::<Vec<_>>());
    }
}

#[test]
fn a_missing_segment_of_any_stream_is_damage_with_its_name() {
    let store = store_with_data();
    for name in store.names("wal-") {
        let counted =
            store.names("wal-").iter().filter(|n| stream_of_segment(n) == stream_of_segment(&name)).count();
        let bytes = fs::read(store.path(&name)).unwrap();
        fs::remove_file(store.path(&name)).unwrap();
        // The ring may have grown since the manifest was last written whole: it counts what was there then.
        let stored =
            inspect(&store.disk()).unwrap().version.unwrap().streams[stream_of_segment(&name)].segments;
        assert!(stored as usize <= counted);
        let slot: u32 = name[name.len() - 7..name.len() - 4].parse().unwrap();
        if slot < stored {
            assert_refused(&store, &name, 0, &format!("a log segment, since the manifest counts {stored}"));
        } else {
            assert_eq!(stream_of_segment(&corruption(store.try_open()).file), stream_of_segment(&name));
        }
        fs::write(store.path(&name), bytes).unwrap();
    }
    let engine = store.open();
    for tag in TAGS {
        assert_holds(&engine, tag, &points(tag, 140));
    }
}

#[test]
fn what_an_inspection_takes_for_the_log_are_the_segments_of_all_streams_and_no_others() {
    let store = store_with_data();
    let found = |store: &Store| -> Vec<(String, usize)> {
        let inspection = inspect(&store.disk()).unwrap();
        inspection.segments.into_iter().map(|segment| (segment.file, segment.frames.len())).collect()
    };
    let sound = found(&store);
    assert_eq!(sound.iter().map(|(file, _)| file.clone()).collect::<Vec<_>>(), store.names("wal-"));
    // The manifest knows of three streams.
    let segment = sound.iter().find(|(_, frames)| *frames > 0).unwrap();
    fs::copy(store.path(&segment.0), store.path("wal-03-000.log")).unwrap();
    assert_eq!(found(&store), sound);
    fs::remove_file(store.path("wal-03-000.log")).unwrap();
    // Without one the names tell how many there are.
    fs::remove_file(store.path("MANIFEST")).unwrap();
    assert_eq!(found(&store), sound);
}

#[test]
fn a_damaged_frame_is_damage_of_its_own_stream_and_takes_nothing_durable_with_it_in_silence() {
    let store = store_with_data();
    let inspection = store.inspect_sound();
    let checkpoints: Vec<_> =
        inspection.version.as_ref().unwrap().streams.iter().map(|stream| stream.checkpoint_lsn).collect();
    let (mut refused, mut tails) = ([0; 3], [0; 3]);
    for segment in &inspection.segments {
        for frame in &segment.frames {
            let (stream, first_lsn) = (segment.stream, frame.header.first_lsn);
            let copy = store.copy();
            copy.flip(&segment.file, frame.offset + 60);
            match copy.try_open() {
                Err(Error::Corrupt(found)) => {
                    assert_eq!(stream_of_segment(&found.file), stream, "{found}");
                    let damage = inspect(&copy.disk()).unwrap().damage;
                    assert!(damage.contains(&found), "{damage:?}");
                    refused[stream] += 1;
                }
                Err(other) => panic!("{other}"),
                Ok(engine) => {
                    let provable = first_lsn < inspection.streams[stream].proven_lsn;
                    assert!(
                        !provable || first_lsn < checkpoints[stream],
                        "{}: LSN {first_lsn}",
                        segment.file
                    );
                    for tag in TAGS {
                        // The last sync of the stream is proven by nothing behind it.
                        let own_tail = !provable && stream_of(tag, 3) == stream;
                        assert_prefix(&engine, tag, if own_tail { 131 } else { 140 });
                    }
                    tails[stream] += usize::from(!provable);
                }
            }
        }
    }
    assert!(refused.iter().chain(&tails).all(|count| *count > 0), "{refused:?} refused, {tails:?} tails");
}

#[test]
fn a_segment_in_another_one_s_place_is_reported() {
    let store = store_with_data();
    let names = store.names("wal-");
    let sound = store.inspect_sound();
    let (mut refused, mut opened) = (0, 0);
    for (from, to) in names.iter().flat_map(|from| names.iter().map(move |to| (from, to))) {
        if from == to {
            continue;
        }
        let copy = store.copy();
        fs::copy(store.path(from), copy.path(to)).unwrap();
        match copy.try_open() {
            Err(Error::Corrupt(found)) => {
                assert_eq!(
                    stream_of_segment(&found.file),
                    stream_of_segment(to),
                    "{from} over {to}: {found}"
                );
                refused += 1;
            }
            Err(other) => panic!("{from} over {to}: {other}"),
            Ok(engine) => {
                // Frames in a place that is not theirs are evidence; zeros are as good as a segment never written to.
                let written = sound.segments.iter().find(|segment| segment.file == *from).unwrap();
                assert!(written.frames.is_empty(), "{from} over {to} was not noticed");
                let overwritten = stream_of_segment(to);
                for tag in TAGS {
                    // The other streams have lost nothing; this one nothing that is provable without the lost segment.
                    let own = stream_of(tag, 3) == overwritten;
                    assert_prefix(&engine, tag, if own { 100 } else { 140 });
                }
                opened += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} refused, {opened} opened: {sound}");
}

#[test]
fn each_stream_has_a_tail_of_its_own() {
    let config = Config { wal_streams: 3, ..roomy() };
    let tags = tag_of_each(3);
    let store = Store::new(config);
    let engine = store.open();
    for tag in &tags {
        engine.write_batch(&points(*tag, 20)).unwrap();
    }
    engine.sync().unwrap();
    for tag in &tags {
        engine.write_batch(&points(*tag, 30)[20..]).unwrap();
    }
    engine.step().unwrap();
    drop(engine);

    // The unsynced frame of streams 0 and 2 is torn; that of stream 1 is whole.
    for file in ["wal-000.log", "wal-02-000.log"] {
        let inspection = store.inspect_sound();
        let segment = inspection.segments.iter().find(|segment| segment.file == file).unwrap();
        assert_eq!((segment.frames.len(), segment.frames[2].offset), (3, 512));
        store.flip(file, 512 + 60);
    }
    let engine = store.open();
    let report = engine.recovery_report();
    let expected = [("wal-000.log".to_owned(), 2 * 160), ("wal-02-000.log".to_owned(), 2 * 160)];
    assert_eq!(report.torn_tails, expected);
    // With their last frame the torn streams have lost the proof that their synced points were durable.
    assert_eq!((report.points_replayed, report.points_rewritten), (70, 20 + 10 + 20));
    for (tag, count) in tags.iter().zip([20, 30, 20]) {
        assert_holds(&engine, *tag, &points(*tag, count));
    }
    // The next writers go on where each tail was cut off.
    for (tag, count) in tags.iter().zip([20, 30, 20]) {
        engine.write_batch(&points(*tag, 45)[count..]).unwrap();
    }
    engine.sync().unwrap();
    let engine = store.reopen(engine);
    assert_eq!(engine.recovery_report().torn_tails, []);
    for tag in &tags {
        assert_holds(&engine, *tag, &points(*tag, 45));
    }
}

#[test]
fn one_sync_is_one_disk_sync_of_each_stream_that_has_something_to_sync() {
    for streams in [1, 3, 16] {
        for durability in [Durability::Batched, Durability::Immediate] {
            let store = Store::new(Config { wal_streams: streams, durability, ..roomy() });
            let syncs = Arc::new(AtomicU64::new(0));
            let at_disk = syncs.clone();
            let engine = store.open_hooked(move |op, file: &str| {
                at_disk.fetch_add(u64::from(op == Op::Sync && file.starts_with("wal-")), Ordering::SeqCst);
                Ok(())
            });
            let tags = tag_of_each(streams);
            let cost = |call: &dyn Fn()| {
                let before = syncs.load(Ordering::SeqCst);
                call();
                syncs.load(Ordering::SeqCst) - before
            };
            let all: Vec<_> = tags.iter().flat_map(|tag| points(*tag, 25)).collect();
            let written = cost(&|| engine.write_batch(&all).unwrap());
            let synced = cost(&|| engine.sync().unwrap());
            let expected = match durability {
                Durability::Batched => (0, streams as u64),
                Durability::Immediate => (streams as u64, 0),
            };
            assert_eq!((written, synced), expected, "{streams} streams, {durability:?}");
            assert_eq!(engine.stats().durable_lsn.0, 25 * streams as u64);
            // A point of one stream is no business of the others.
            let last = *tags.last().unwrap();
            assert_eq!(cost(&|| engine.write(point(last, 25)).unwrap()), expected.0.min(1));
            assert_eq!(cost(&|| engine.sync().unwrap()), expected.1.min(1));
            assert_eq!(cost(&|| engine.sync().unwrap()), 0, "there is nothing left to sync");
            let engine = store.reopen(engine);
            for tag in tags {
                assert_holds(&engine, tag, &points(tag, 25 + usize::from(tag == last)));
            }
        }
    }
}

#[test]
fn a_flush_frees_the_segments_of_every_stream() {
    let store = Store::new(Config { segments_max: 8, buffer_bytes: 1 << 30, block_points: 300, ..three() });
    let engine = store.open();
    let mut n = 0;
    while engine.stats().busy_segments < 9 {
        write_each(&engine, n..n + 1);
        n += 1;
        assert!(n < 10_000, "{:?}", engine.stats());
    }
    assert_eq!(engine.stats().flushes, 0);
    engine.flush().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.busy_segments, stats.buffered_points, stats.flushes), (0, 0, 3));
    assert_eq!(stats.checkpoint_lsn.0, 9 * n as u64);
    let engine = store.reopen(engine);
    assert_eq!(engine.recovery_report().points_replayed, 0);
    for tag in TAGS {
        assert_holds(&engine, tag, &points(tag, n));
    }
}

#[test]
fn a_stream_whose_segments_cannot_be_written_holds_up_no_other_stream() {
    let store = Store::new(Config { wal_streams: 3, staging_bytes: 1, ..roomy() });
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    let tags = tag_of_each(3);
    fault.arm(Op::Write, "wal-02-");
    let mut accepted = [0; 3];
    for _ in 0..200 {
        for (tag, count) in tags.iter().zip(&mut accepted) {
            *count += usize::from(engine.write(point(*tag, *count)).is_ok());
        }
    }
    assert_eq!(
        accepted,
        [200, 200, 20],
        "a batch in a frame that cannot be written, a batch in memory, and no more"
    );
    assert_io(engine.write(point(tags[2], 20)), "write", "wal-02-000.log");
    // A call that brings points for that stream, too, is refused as a whole.
    assert_io(engine.write_batch(&[point(tags[0], 200), point(tags[2], 20)]), "write", "wal-02-000.log");
    assert_io(engine.sync(), "write", "wal-02-000.log");
    assert_eq!(engine.stats().durable_lsn.0, 400, "the other streams are durable all the same");
    for (tag, count) in tags.iter().zip(accepted) {
        assert_holds(&engine, *tag, &points(*tag, count));
    }

    // A process that dies now has lost what was never durable, of that stream alone.
    let copy = store.copy();
    let other = copy.open();
    for (tag, least) in tags.iter().zip([200, 200, 0]) {
        assert_prefix(&other, *tag, least);
    }

    fault.disarm();
    engine.write(point(tags[2], 20)).unwrap();
    engine.close().unwrap();
    let engine = store.open();
    for (tag, count) in tags.iter().zip([200, 200, 21]) {
        assert_holds(&engine, *tag, &points(*tag, count));
    }
}

#[test]
fn a_failed_sync_of_one_stream_makes_the_whole_engine_read_only() {
    let store = Store::new(Config { wal_streams: 3, ..roomy() });
    let fault = Fault::new();
    let engine = store.open_hooked(fault.hook());
    write_each(&engine, 0..20);
    engine.sync().unwrap();
    write_each(&engine, 20..30);
    fault.arm_once(Op::Sync, "wal-01-");
    for _ in 0..3 {
        let heard = engine.sync();
        assert!(
            matches!(&heard, Err(Error::ReadOnly { cause }) if &**cause == "sync of wal-01-000.log: injected"),
            "{heard:?}"
        );
        for tag in TAGS {
            assert!(matches!(engine.write(point(tag, 30)), Err(Error::ReadOnly { .. })), "I8: tag {tag}");
        }
    }
    assert_eq!(fault.fired(), 1);
    for tag in TAGS {
        assert_holds(&engine, tag, &points(tag, 30));
    }
    let engine = store.reopen(engine);
    for tag in TAGS {
        assert_prefix(&engine, tag, 20);
    }
}

/// All figures that add up.
fn figures(stats: &Stats) -> [(&'static str, u64); 23] {
    [
        ("frames", stats.frames),
        ("appended_points", stats.appended_points),
        ("log_lock_acquisitions", stats.log_lock_acquisitions),
        ("log_syncs", stats.log_syncs),
        ("log_writes", stats.log_writes),
        ("log_written_bytes", stats.log_written_bytes),
        ("rotations", stats.rotations),
        ("grown_segments", stats.grown_segments),
        ("segments", stats.segments),
        ("busy_segments", stats.busy_segments),
        ("backpressure_waits", stats.backpressure_waits),
        ("backlog_points", stats.backlog_points),
        ("flushes", stats.flushes),
        ("blocks_written", stats.blocks_written),
        ("block_bytes", stats.block_bytes),
        ("manifest_edits", stats.manifest_edits),
        ("manifest_records", stats.manifest_records),
        ("buffered_points", stats.buffered_points),
        ("buffered_bytes", stats.buffered_bytes),
        ("sealed_buffers", stats.sealed_buffers),
        ("appended_lsn", stats.appended_lsn.0),
        ("durable_lsn", stats.durable_lsn.0),
        ("checkpoint_lsn", stats.checkpoint_lsn.0),
    ]
}

#[test]
fn the_figures_of_a_store_are_the_sums_of_those_of_its_streams() {
    let config = Config { backlog_points: 25, buffer_bytes: 30_000, manifest_bytes: 1 << 20, ..three() };
    let stores = [(); 5].map(|()| Store::new(config.clone()));
    // Nothing is written to the last one: what it counts are the looks at it.
    let [all, first, second, third, idle] = stores.each_ref().map(Store::open);
    let tags = tag_of_each(3);
    let mut seen = figures(&idle.stats()).map(|_| false);
    for engine in [&all, &first, &second, &third] {
        engine.stats();
    }
    for n in 0..1_500 {
        for (tag, alone) in tags.iter().zip([&first, &second, &third]) {
            all.write(point(*tag, n)).unwrap();
            alone.write(point(*tag, n)).unwrap();
        }
        let [all, first, second, third, idle] =
            [&all, &first, &second, &third, &idle].map(|engine| figures(&engine.stats()));
        for (at, (name, of_all)) in all.into_iter().enumerate() {
            let sum = first[at].1 + second[at].1 + third[at].1;
            assert_eq!(of_all, sum - 2 * idle[at].1, "{name} after {n} points a tag");
            seen[at] |= of_all > 0;
        }
    }
    let never: Vec<_> = figures(&all.stats())
        .iter()
        .zip(seen)
        .filter(|(_, seen)| !seen)
        .map(|((name, _), _)| *name)
        .collect();
    assert_eq!(never, [] as [&str; 0], "some figures have shown nothing");
    let bytes: u64 = stores[0]
        .inspect_sound()
        .chunks
        .iter()
        .flat_map(|it| &it.blocks)
        .map(|(it, _)| u64::from(it.len))
        .sum();
    assert_eq!(all.stats().block_bytes, bytes);
    assert!(all.stats().backpressure_ns > 0);
}
