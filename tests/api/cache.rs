//! Blocks that queries have read are kept, so that the next short query need not read them.

use crate::support::{Op, Store, assert_holds, point, points, roomy};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidewall::{Config, Engine};

/// Ten blocks of 20 points of tag 1; and how often a chunk has been read.
fn ten_blocks(cache_bytes: u64) -> (Store, Engine, Arc<AtomicU64>) {
    let store = Store::new(Config { cache_bytes, ..roomy() });
    let (engine, reads) = store.open_counting(Op::Read, "chunk-");
    for points in points(1, 200).chunks(20) {
        engine.write_batch(points).unwrap();
        engine.flush().unwrap();
    }
    (store, engine, reads)
}

/// The points of two blocks, in part.
fn short(engine: &Engine) {
    assert_eq!(engine.query(1, 30_000..50_000).unwrap(), points(1, 50)[30..]);
}

#[test]
fn a_short_query_reads_its_blocks_once() {
    let (_store, engine, reads) = ten_blocks(1 << 20);
    assert_eq!(engine.stats().cached_bytes, 0);
    for _ in 0..3 {
        short(&engine);
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    }
    let each = engine.stats().block_bytes / 10;
    let cached = engine.stats().cached_bytes;
    assert!((each..4 * each).contains(&cached), "{cached} bytes of two blocks of about {each}");
    // What comes later is in other blocks, or in memory.
    engine.write(point(1, 200)).unwrap();
    assert_holds(&engine, 1, &points(1, 201));
}

#[test]
fn a_long_query_leaves_what_others_have_read() {
    let (_store, engine, reads) = ten_blocks(1 << 20);
    short(&engine);
    let cached = engine.stats().cached_bytes;
    assert_eq!(engine.query(1, ..).unwrap(), points(1, 200));
    assert_eq!(engine.scan(1, ..).unwrap().count(), 200);
    assert_eq!(reads.load(Ordering::SeqCst), 2 + 10 + 10);
    assert_eq!(engine.stats().cached_bytes, cached);
    short(&engine);
    assert_eq!(reads.load(Ordering::SeqCst), 2 + 10 + 10);
}

#[test]
fn without_room_each_query_reads_its_blocks() {
    let (_store, engine, reads) = ten_blocks(0);
    for n in 1..=3 {
        short(&engine);
        assert_eq!((reads.load(Ordering::SeqCst), engine.stats().cached_bytes), (2 * n, 0));
    }
}
