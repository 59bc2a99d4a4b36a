//! Who may open a store, with which configuration; what is left of a closed one. (`lock.rs` has the other processes.)

use crate::support::{Store, assert_holds, point, points, small};
use std::fs;
use tidewall::{Config, Error};

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
