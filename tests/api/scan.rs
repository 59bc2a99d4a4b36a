//! A scan is a query whose answer comes piece by piece.

use crate::support::{Op, Store, point, points, roomy};
use std::io::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidewall::{Engine, Error as StoreError, Point};

fn scanned(engine: &Engine, tag: u32) -> Vec<Point> {
    engine.scan(tag, ..).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Tag 1 in five blocks, of which the second reaches over the third and the fifth is older than all, and in memory, with
/// times that are in blocks already.
fn overlapping(engine: &Engine) {
    let times: [&[i64]; 5] = [&[100, 110, 120], &[200, 210, 400], &[220, 230, 240], &[390, 410], &[5, 10]];
    for (n, times) in times.into_iter().enumerate() {
        let points: Vec<_> = times.iter().map(|ts| Point::new(1, *ts, n as f64)).collect();
        engine.write_batch(&points).unwrap();
        engine.flush().unwrap();
    }
    engine
        .write_batch(&[(110, -1.0), (230, -2.0), (1000, -3.0), (0, -4.0)].map(|(ts, v)| Point::new(1, ts, v)))
        .unwrap();
}

#[test]
fn a_scan_shows_what_a_query_does_also_where_blocks_overlap() {
    let store = Store::new(roomy());
    let engine = store.open();
    overlapping(&engine);
    let all = engine.query(1, ..).unwrap();
    assert_eq!(all.len(), 15);
    assert_eq!(scanned(&engine, 1), all);
    let ends = [-1, 0, 5, 100, 110, 111, 200, 225, 240, 390, 400, 410, 1000, 1001];
    for from in ends {
        for to in ends {
            let scan = engine.scan(1, from..=to).unwrap();
            let found: Vec<_> = scan.collect::<Result<_, _>>().unwrap();
            assert_eq!(found, engine.query(1, from..=to).unwrap(), "{from}..={to}");
        }
    }
    assert_eq!(scanned(&engine, 2), []);
    assert!(matches!(engine.scan(0, ..), Err(StoreError::InvalidTag { .. })));
}

#[test]
fn a_scan_reads_no_block_before_it_comes_to_it() {
    let store = Store::new(roomy());
    let (engine, reads) = store.open_counting(Op::Read, "chunk-");
    // Ten blocks, in order of time.
    for n in 0..10 {
        engine.write_batch(&points(1, 200)[20 * n..20 * (n + 1)]).unwrap();
        engine.flush().unwrap();
    }
    let mut scan = engine.scan(1, ..).unwrap();
    assert_eq!(reads.load(Ordering::SeqCst), 0);
    assert_eq!(scan.next().unwrap().unwrap(), point(1, 0));
    assert_eq!(reads.load(Ordering::SeqCst), 1);
    assert!(scan.by_ref().take(20).all(|point| point.is_ok()));
    assert_eq!(reads.load(Ordering::SeqCst), 2);
    assert_eq!(scan.count(), 200 - 21);
    assert_eq!(reads.load(Ordering::SeqCst), 10);
}

#[test]
fn a_scan_shows_the_moment_of_its_call_whatever_comes_later() {
    let store = Store::new(roomy());
    let engine = store.open();
    overlapping(&engine);
    let before = engine.query(1, ..).unwrap();
    let scan = engine.scan(1, ..).unwrap();
    engine.write_batch(&[Point::new(1, 5, 9.0), Point::new(1, 300, 9.0)]).unwrap();
    engine.close().unwrap();
    assert_eq!(scan.collect::<Result<Vec<_>, _>>().unwrap(), before);
    assert!(matches!(engine.scan(1, ..), Err(StoreError::Closed)));
}

#[test]
fn a_block_that_cannot_be_read_is_the_end_of_a_scan_and_not_a_gap_in_it() {
    let store = Store::new(roomy());
    let fails = Arc::new(AtomicBool::new(false));
    let at_disk = fails.clone();
    let engine = store.open_hooked(move |op, file: &str| {
        match op == Op::Read && file.starts_with("chunk-") && at_disk.load(Ordering::SeqCst) {
            true => Err(Error::other("injected")),
            false => Ok(()),
        }
    });
    overlapping(&engine);
    let mut scan = engine.scan(1, ..).unwrap();
    let first = scan.next().unwrap().unwrap();
    assert_eq!((first.ts_us, first.value), (0, -4.0));
    fails.store(true, Ordering::SeqCst);
    let rest: Vec<_> = scan.by_ref().collect();
    assert!(matches!(rest.last(), Some(Err(StoreError::Io { op: "read", .. }))), "{rest:?}");
    assert!(rest[..rest.len() - 1].iter().all(|point| point.is_ok()));
    fails.store(false, Ordering::SeqCst);
    assert!(scan.next().is_none());
}
