//! Who may open a store, with which configuration; what is left of a closed one. (`lock.rs` has the other processes.)

use crate::support::{Fault, Op, Store, assert_holds, assert_read_only, point, points, roomy, small};
use parking_lot::Mutex;
use std::fs;
use std::io;
use std::sync::Arc;
use tidewall::disk::{Disk, OpenMode};
use tidewall::store::block::BlockRef;
use tidewall::store::version::{Edit, StreamEdit};
use tidewall::store::{block, chunk, manifest};
use tidewall::{Config, Engine, Entry, Error, Lsn, Point, Progress, TagId};

#[test]
fn a_second_open_is_refused_until_the_first_engine_is_dropped() {
    let store = Store::new(small());
    let engine = store.open();
    engine.write_batch(&points(1, 12)).unwrap();
    engine.sync().unwrap();
    for _ in 0..3 {
        assert!(matches!(store.try_open(), Err(Error::Locked)));
    }
    let clone = engine.clone();
    drop(engine);
    assert!(matches!(store.try_open(), Err(Error::Locked)), "a clone is the same engine, and still there");
    clone.write(point(1, 12)).unwrap();
    clone.sync().unwrap();
    drop(clone);
    assert_holds(&store.open(), 1, &points(1, 13));
}

#[test]
fn a_closed_engine_answers_closed_and_its_directory_is_free_for_another() {
    let store = Store::new(small());
    let old = store.open();
    let clone = old.clone();
    old.write_batch(&points(1, 12)).unwrap();
    old.close().unwrap();

    let new = store.open();
    new.write(point(1, 12)).unwrap();
    for handle in [&old, &clone] {
        assert!(matches!(handle.write(point(1, 99)), Err(Error::Closed)));
        assert!(matches!(handle.write_batch(&points(1, 50)), Err(Error::Closed)));
        assert!(matches!(handle.write_batch(&[]), Err(Error::Closed)));
        assert!(matches!(handle.sync(), Err(Error::Closed)));
        assert!(matches!(handle.flush(), Err(Error::Closed)));
        assert!(matches!(handle.step(), Err(Error::Closed)));
        assert!(matches!(handle.query(1, ..), Err(Error::Closed)));
        assert!(matches!(handle.tags(), Err(Error::Closed)));
        assert!(matches!(handle.close(), Err(Error::Closed)));
        assert_eq!(handle.stats().appended_lsn.0, 12, "the counters stay readable");
    }
    assert!(matches!(store.try_open(), Err(Error::Locked)), "by the new engine");
    // Neither the refused calls nor the end of the old handles reaches the store.
    drop((old, clone));
    assert!(matches!(store.try_open(), Err(Error::Locked)));
    assert_holds(&new, 1, &points(1, 13));
    new.close().unwrap();
    assert_holds(&store.open(), 1, &points(1, 13));
}

#[test]
fn another_geometry_is_refused_by_name_and_with_both_values() {
    let mut store = Store::new(small());
    store.open().close().unwrap();
    let before = store.files();
    let others = [
        ("segment_bytes", 4096, 8192, Config { segment_bytes: 8192, ..small() }),
        ("sector_bytes", 512, 1024, Config { sector_bytes: 1024, ..small() }),
        ("chunk_bytes", 8192, 16_384, Config { chunk_bytes: 16_384, ..small() }),
        ("wal_streams", 1, 2, Config { wal_streams: 2, ..small() }),
        ("wal_streams", 1, 16, Config { wal_streams: 16, ..small() }),
    ];
    for (name, was, is, other) in others {
        store.config = other;
        match store.try_open() {
            Err(Error::Geometry { field, stored, configured }) => {
                assert_eq!((field, stored, configured), (name, was, is));
            }
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => panic!("{name}: opened"),
        }
        assert!(store.files() == before, "a refused opening changed a file");
    }
    store.config = small();
    store.open();
}

#[test]
fn everything_but_the_geometry_may_change_between_openings() {
    let changes: [fn(&mut Config); 12] = [
        |config| config.batch_points = 33,
        |config| config.batch_points = 1,
        |config| config.block_points = 7,
        |config| config.shards = 1,
        |config| (config.segments, config.segments_max) = (5, 9),
        |config| (config.segments, config.segments_max) = (2, 2),
        |config| config.staging_bytes = 1,
        |config| config.flush_workers = 1,
        |config| config.buffer_bytes = 1,
        |config| config.manifest_bytes = 1,
        |config| config.backlog_points = 1,
        |config| config.backlog_points = 1 << 20,
    ];
    let mut store = Store::new(small());
    for (opening, change) in changes.iter().cycle().take(3 * changes.len()).enumerate() {
        store.config = small();
        change(&mut store.config);
        let engine = store.open();
        assert_holds(&engine, 1, &points(1, 95 * opening));
        engine.write_batch(&points(1, 95 * (opening + 1))[95 * opening..]).unwrap();
        // Each change once behind a flush, once behind a sync, once behind a close: 12 openings are a multiple of 3.
        match (opening + opening / changes.len()) % 3 {
            0 => engine.flush().unwrap(),
            1 => engine.sync().unwrap(),
            _ => engine.close().unwrap(),
        }
        drop(engine);
        store.inspect_sound();
    }
    assert_holds(&store.open(), 1, &points(1, 95 * 3 * changes.len()));
}

#[test]
fn an_invalid_configuration_is_refused_before_any_file_is_touched() {
    let store = Store::new(Config { batch_points: 0, ..small() });
    match store.try_open() {
        Err(Error::InvalidConfig { field, reason }) => {
            assert_eq!(field, "batch_points");
            assert_eq!(reason, "is 0, must be 1 to 65536");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
    assert!(store.files().is_empty());
}

#[test]
fn what_a_crash_left_of_a_creation_opens_as_a_new_store() {
    // Files in the order in which a first opening makes them; the manifest's name comes last.
    let steps: [(&str, &[u8]); 5] = [
        ("LOCK", b""),
        ("wal-000.log", b""),
        ("wal-000.log", &[0; 4096]),
        ("wal-001.log", &[0; 100]),
        ("MANIFEST.next", b"TWM1 torn"),
    ];
    for cut in 0..=steps.len() {
        let store = Store::new(small());
        for (file, bytes) in &steps[..cut] {
            fs::write(store.path(file), bytes).unwrap();
        }
        let engine = store.open();
        assert!(engine.recovery_report().created, "cut at {cut}");
        engine.write_batch(&points(1, 55)).unwrap();
        engine.sync().unwrap();
        let engine = store.reopen(engine);
        assert!(!engine.recovery_report().created, "cut at {cut}");
        assert_holds(&engine, 1, &points(1, 55));
        store.inspect_sound();
    }
}

/// What an opening asks of the disk, but for reading: segments that it makes, syncs of the directory, and the manifest's name.
fn steps_of_opening(store: &Store) -> Vec<String> {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let at_disk = steps.clone();
    let engine = store.open_hooked(move |op, file: &str| {
        match op {
            Op::Open(OpenMode::Create) if file.starts_with("wal-") => {
                at_disk.lock().push(format!("create {file}"))
            }
            Op::SyncDir => at_disk.lock().push("sync of the directory".into()),
            Op::Rename => at_disk.lock().push(format!("rename to {file}")),
            _ => {}
        }
        Ok(())
    });
    drop(engine);
    Arc::into_inner(steps).unwrap().into_inner()
}

#[test]
fn segments_that_an_opening_makes_have_durable_names_before_the_manifest_counts_them() {
    let mut store = Store::new(small());
    store.open().close().unwrap();
    let (sync, rename) = ("sync of the directory", "rename to MANIFEST");
    assert_eq!(steps_of_opening(&store), [rename, sync], "none is made: nothing but the new manifest");
    (store.config.segments, store.config.segments_max) = (4, 4);
    let made = ["create wal-002.log", "create wal-003.log", sync, rename, sync];
    assert_eq!(steps_of_opening(&store), made);
    assert_eq!(steps_of_opening(&store), [rename, sync], "they are there now");
}

#[test]
fn runs_of_one_point_that_a_restart_leaves_make_no_block_too_long_for_its_chunk() {
    // Each sync logs one point; behind a restart each of these frames is a run of its own, and long ones follow.
    let store = Store::new(Config {
        batch_points: 40,
        block_points: 40,
        chunk_bytes: 1536,
        staging_bytes: 1 << 20,
        ..roomy()
    });
    let engine = store.open();
    for n in 0..40 {
        engine.write(point(1, n)).unwrap();
        engine.sync().unwrap();
    }
    let engine = store.reopen(engine);
    engine.write_batch(&points(1, 1040)[40..]).unwrap();
    engine.close().unwrap();
    store.inspect_sound();
    assert_holds(&store.open(), 1, &points(1, 1040));
}

#[test]
fn a_segment_whose_name_a_failed_sync_may_have_dropped_is_another_file() {
    let mut store = Store::new(Config { buffer_bytes: 1 << 20, ..small() });
    let made_anew = |store: &Store| {
        let (dir, made) = (store.path(""), Arc::new(Mutex::new(Vec::new())));
        let at_disk = made.clone();
        let opened = store.try_open_hooked(move |op, file: &str| {
            if op == Op::Open(OpenMode::Create) && dir.join(file).exists() {
                at_disk.lock().push(file.to_string());
            }
            Ok(())
        });
        drop(opened.unwrap());
        Arc::into_inner(made).unwrap().into_inner()
    };
    let fails_to_sync_names =
        |op, _: &str| if op == Op::SyncDir { Err(io::Error::other("injected")) } else { Ok(()) };
    // The first opening of all, and one that adds two segments to the ring.
    assert_read_only(store.try_open_hooked(fails_to_sync_names), "sync of the names of segments: injected");
    assert_eq!(made_anew(&store), ["wal-000.log", "wal-001.log"]);
    assert!(made_anew(&store).is_empty(), "the manifest counts them");
    (store.config.segments, store.config.segments_max) = (4, 5);
    assert_read_only(store.try_open_hooked(fails_to_sync_names), "sync of the names of segments: injected");
    assert_eq!(made_anew(&store), ["wal-002.log", "wal-003.log"]);
    assert!(made_anew(&store).is_empty(), "they are counted, too");

    // The fifth is not, but a frame is in it, and was put there when its name was durable.
    let engine = store.open();
    for n in 0.. {
        if engine.stats().segments == 5 {
            break;
        }
        engine.write(point(1, n)).unwrap();
    }
    engine.sync().unwrap();
    drop(engine);
    assert!(made_anew(&store).is_empty());
}

#[test]
fn the_report_counts_segments_that_were_made_or_completed() {
    let mut store = Store::new(Config { wal_streams: 2, shards: 16, ..small() });
    let made = |store: &Store| {
        let engine = store.open();
        let report = (engine.recovery_report().created, engine.recovery_report().segments_made);
        engine.close().unwrap();
        report
    };
    assert_eq!(made(&store), (true, 0), "all of them are new, which says nothing");
    assert_eq!(made(&store), (false, 0));
    (store.config.segments, store.config.segments_max) = (5, 5);
    assert_eq!(made(&store), (false, 6), "three of each stream");
    fs::write(store.path("wal-001.log"), [0; 100]).unwrap();
    fs::write(store.path("wal-01-000.log"), [0; 4095]).unwrap();
    assert_eq!(made(&store), (false, 2), "two are not whole");
    assert_eq!(made(&store), (false, 0));
}

#[test]
fn what_the_ring_has_grown_to_is_kept_and_what_it_could_not_grow_to_is_not() {
    // Two segments of the log as configured, and one that it has grown by; all of them free.
    let store = Store::new(Config { buffer_bytes: 1 << 20, ..small() });
    let engine = store.open();
    let mut n = 0;
    while engine.stats().segments == 2 {
        engine.write(point(1, n)).unwrap();
        n += 1;
    }
    engine.close().unwrap();
    let engine = store.open();
    assert_eq!((engine.stats().segments, engine.stats().busy_segments), (3, 0));
    engine.close().unwrap();

    // There was no space for the fourth; the points that are in the log are in another one.
    fs::write(store.path("wal-003.log"), [0; 100]).unwrap();
    let engine = store.open();
    engine.write_batch(&points(1, n + 20)[n..]).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let engine = store.open();
    assert_eq!((engine.stats().segments, engine.recovery_report().segments_made), (3, 0));
    assert_eq!(fs::metadata(store.path("wal-003.log")).unwrap().len(), 100);
    assert_holds(&engine, 1, &points(1, n + 20));
}

#[test]
fn a_segment_that_was_never_full_is_one_of_the_ring_all_the_same() {
    let store = Store::new(Config { batch_points: 500, backlog_points: 500, ..roomy() });
    let engine = store.open();
    let mut n = 0;
    while engine.stats().segments == 2 {
        engine.write_batch(&(n..n + 500).map(|n| point(1, n)).collect::<Vec<_>>()).unwrap();
        n += 500;
    }
    engine.close().unwrap();
    // Most of it is reserved, and no data as far as the file system knows: it is not read.
    let last = store.disk().open("wal-002.log", OpenMode::Read).unwrap();
    println!("{} bytes of data in {}", last.data_len().unwrap(), last.len().unwrap());
    let engine = store.open();
    assert_eq!(engine.stats().segments, 3);
    assert_eq!(engine.query(1, ..).unwrap().len(), n);
}

#[test]
fn segments_of_streams_that_the_store_does_not_have_are_not_even_read() {
    let store = Store::new(small());
    store.open().close().unwrap();
    fs::copy(store.path("wal-000.log"), store.path("wal-01-000.log")).unwrap();
    let fault = Fault::new();
    fault.arm(Op::Read, "wal-01-");
    let engine = store.open_hooked(fault.hook());
    assert_eq!((fault.fired(), engine.recovery_report().segments), (0, 2));
}

#[test]
fn of_a_frame_that_a_block_holds_the_first_points_of_only_the_others_come_back() {
    // Ten points in a frame, and four of them in a block besides: what this engine never leaves, and may find. A query says
    // the same if all ten come back, but what the block has of a time may be newer than what the frame has of it.
    let store = Store::new(roomy());
    let engine = store.open();
    engine.write_batch(&points(1, 10)).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let newest = Point { value: -1.0, ..point(1, 2) };
    let of_block = [point(1, 0), point(1, 1), newest, point(1, 3)]
        .map(|Point { ts_us, value, quality, .. }| Entry { ts_us, value, quality });
    let mut named = BlockRef {
        tag: TagId::new(1).unwrap(),
        chunk: 0,
        offset: 512,
        len: 0,
        crc: 0,
        count: 0,
        first_lsn: Lsn(0),
        end_lsn: Lsn(4),
        first_ts: 0,
        last_ts: 0,
    };
    let mut bytes = chunk::encode_header(0, store.config.chunk_bytes, 512);
    bytes.extend(block::encode(&mut named, &of_block));
    fs::write(store.path(&chunk::name(0)), bytes).unwrap();
    let mut records = fs::read(store.path("MANIFEST")).unwrap();
    let loaded = manifest::load(&records).unwrap();
    let stream = StreamEdit { watermarks: Some((Lsn(4), Lsn(10))), ..StreamEdit::default() };
    let edit = Edit { streams: vec![stream], blocks: vec![named], ..Edit::default() };
    records.extend(manifest::encode(&edit, loaded.next_number, 512));
    fs::write(store.path("MANIFEST"), records).unwrap();

    let engine = store.open();
    let report = engine.recovery_report();
    assert_eq!((report.points_skipped, report.points_replayed), (4, 6));
    assert_eq!(engine.stats().buffered_points, 6);
    let mut expected = points(1, 10);
    expected[2] = newest;
    assert_holds(&engine, 1, &expected);
}

#[test]
fn who_waits_for_an_opening_is_told_of_each_segment_once() {
    for wal_streams in [1, 3] {
        let store = Store::new(Config {
            wal_streams,
            segments: 5,
            segments_max: 5,
            buffer_bytes: 1 << 30,
            ..small()
        });
        let engine = store.open();
        engine.write_batch(&points(1, 600)).unwrap();
        engine.sync().unwrap();
        let rotations = engine.stats().rotations;
        assert!(rotations >= 1, "the log is in several segments");
        drop(engine);

        let told = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let hears = told.clone();
        let engine = Engine::open_watched(Arc::new(store.disk()), store.config.clone(), move |progress| {
            let mut told = hears.lock();
            match progress {
                Progress::Read { segments, of } => told.0.push((segments, of)),
                Progress::Replayed { segments, of } => told.1.push((segments, of)),
                _ => {}
            }
        })
        .unwrap();
        let report = engine.recovery_report();
        let each = |of: u64| (1..=of).map(|segments| (segments, of)).collect::<Vec<_>>();
        let mut told = told.lock();
        told.0.sort_unstable();
        assert_eq!(told.0, each(report.segments));
        assert_eq!(told.1, each(report.segments - report.stale_segments));
        assert_eq!(told.1.len() as u64, rotations + 1);
        assert_holds(&engine, 1, &points(1, 600));
    }
}
