//! The files that a flush writes and a query reads: how many there are, and how often each is opened, begun or replaced.

use crate::support::{Op, Store, assert_holds, assert_io, assert_read_only, point, points, roomy, small};
use parking_lot::Mutex;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tidewall::disk::{OpenMode, RealDisk};
use tidewall::{Config, Engine};

#[test]
fn a_chunk_is_opened_once_however_often_it_is_read() {
    // Of two that read at the same time each may find that it is not open yet.
    let store = Store::new(Config { flush_workers: 1, ..small() });
    let (engine, opened) = store.open_counting(Op::Open(OpenMode::Read), "chunk-");
    engine.write_batch(&points(1, 2_000)).unwrap();
    engine.flush().unwrap();
    let chunks = store.names("chunk-").len() as u64;
    assert!(chunks > 2);
    for _ in 0..5 {
        assert_holds(&engine, 1, &points(1, 2_000));
    }
    assert_eq!(opened.load(Ordering::SeqCst), chunks);
}

#[test]
fn flushes_that_fail_take_no_room_and_leave_no_trail_of_files() {
    let store = Store::new(roomy());
    // Blocks cannot be written; the header of a chunk, with which a new file begins, can.
    let (fails, is_new) = (Arc::new(AtomicBool::new(true)), Mutex::new(false));
    let at_disk = fails.clone();
    let engine = store.open_hooked(move |op, file: &str| {
        if !file.starts_with("chunk-") {
            return Ok(());
        }
        let mut is_new = is_new.lock();
        match op {
            Op::Open(OpenMode::Create) => *is_new = true,
            Op::Write if std::mem::take(&mut *is_new) => {}
            Op::Write if at_disk.load(Ordering::SeqCst) => return Err(Error::other("injected")),
            _ => {}
        }
        Ok(())
    });
    engine.write_batch(&points(1, 40)).unwrap();
    for _ in 0..5 {
        assert_io(engine.flush(), "write", "chunk-00000000.tw");
    }
    fails.store(false, Ordering::SeqCst);
    engine.flush().unwrap();
    assert_eq!(store.names("chunk-"), ["chunk-00000000.tw"]);
    let chunks = store.inspect_sound().chunks;
    assert_eq!(chunks[0].blocks[0].0.offset, 512, "right behind the header");
}

#[test]
fn a_manifest_at_least_doubles_before_it_is_replaced() {
    let store = Store::new(Config { manifest_bytes: 1, ..roomy() });
    let replaced = Arc::new(AtomicU64::new(0));
    let at_disk = replaced.clone();
    let engine = store.open_hooked(move |op, _: &str| {
        at_disk.fetch_add(u64::from(op == Op::Rename), Ordering::SeqCst);
        Ok(())
    });
    for n in 0..100 {
        engine.write(point(1, n)).unwrap();
        engine.flush().unwrap();
    }
    // Each edit takes a sector. A file that begins with n of them is replaced n edits later, and seven blocks take one.
    assert_eq!(engine.stats().manifest_edits, 100);
    let replaced = replaced.load(Ordering::SeqCst);
    assert!((10..35).contains(&replaced), "{replaced} replacements");
}

#[test]
fn a_rename_without_space_has_not_happened_and_is_not_final() {
    let store = Store::new(Config { manifest_bytes: 1, ..roomy() });
    let (full, tried) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let at_disk = (full.clone(), tried.clone());
    let hook = move |op, _: &str| {
        if op != Op::Rename || !at_disk.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        at_disk.1.fetch_add(1, Ordering::SeqCst);
        Err(Error::new(ErrorKind::StorageFull, "injected"))
    };
    assert_io(store.try_open_hooked(hook.clone()), "rename", "MANIFEST.next");
    full.store(false, Ordering::SeqCst);
    let engine = store.open_hooked(hook);
    full.store(true, Ordering::SeqCst);
    for n in 0..10 {
        // The file should be replaced at each of these, and goes on being used.
        engine.write(point(1, n)).unwrap();
        engine.flush().unwrap();
    }
    assert!(tried.load(Ordering::SeqCst) > 5);
    let engine = store.reopen(engine);
    assert_holds(&engine, 1, &points(1, 10));
}

#[test]
fn a_replacement_of_the_manifest_begins_in_a_file_of_its_own() {
    let store = Store::new(roomy());
    store.open().close().unwrap();
    let hook = |op, file: &str| match op {
        Op::Open(OpenMode::Create) if file == "MANIFEST.next" => Err(Error::other("injected")),
        _ => Ok(()),
    };
    assert_io(store.try_open_hooked(hook), "create", "MANIFEST.next");
    // Any other error of a rename leaves it open which file has the name.
    let hook = |op, _: &str| if op == Op::Rename { Err(Error::other("injected")) } else { Ok(()) };
    assert_read_only(store.try_open_hooked(hook), "rename of MANIFEST.next: injected");
    store.open();
}

#[test]
fn a_store_of_links_is_the_store_that_they_lead_to() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = || Engine::open(Arc::new(RealDisk::new(dir.path()).unwrap()), small()).unwrap();
    let engine = open();
    engine.write_batch(&points(1, 50)).unwrap();
    engine.sync().unwrap();
    drop(engine);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let link = entry.unwrap().path();
        let file = elsewhere.path().join(link.file_name().unwrap());
        std::fs::rename(&link, &file).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
    }
    std::os::unix::fs::symlink(elsewhere.path().join("nothing"), dir.path().join("chunk-00000077.tw"))
        .unwrap();
    let engine = open();
    assert!(!engine.recovery_report().created);
    assert_holds(&engine, 1, &points(1, 50));
}
