//! What a query answers: the last accepted write of each time, in order of time, bit for bit.

use crate::support::{Store, assert_holds, point, points, roomy, small};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::RangeBounds;
use tidewall::{Engine, Error, Point};

/// What may happen to points between two writes.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Buffered,
    Synced,
    Flushed,
    Killed,
    Closed,
}

const FATES: [Fate; 5] = [Fate::Buffered, Fate::Synced, Fate::Flushed, Fate::Killed, Fate::Closed];

fn undergo(store: &Store, engine: Engine, fate: Fate) -> Engine {
    match fate {
        Fate::Buffered => return engine,
        Fate::Synced => engine.sync().unwrap(),
        Fate::Flushed => engine.flush().unwrap(),
        Fate::Killed => {
            engine.sync().unwrap();
            return store.reopen(engine);
        }
        Fate::Closed => {
            engine.close().unwrap();
            return store.reopen(engine);
        }
    }
    engine
}

#[test]
fn the_last_accepted_write_of_a_time_wins_wherever_the_earlier_ones_are() {
    for (first, second) in FATES.iter().flat_map(|first| FATES.map(|second| (*first, second))) {
        let store = Store::new(small());
        let mut engine = store.open();
        engine.write_batch(&[5, 6, 7].map(|ts| Point::new(1, ts, 1.0))).unwrap();
        engine = undergo(&store, engine, first);
        engine.write_batch(&[7, 5].map(|ts| Point::new(1, ts, 2.0))).unwrap();
        engine = undergo(&store, engine, second);
        engine.write(Point { quality: 0, ..Point::new(1, 5, 3.0) }).unwrap();

        let expected =
            [Point { quality: 0, ..Point::new(1, 5, 3.0) }, Point::new(1, 6, 1.0), Point::new(1, 7, 2.0)];
        for fate in FATES {
            assert_eq!(engine.query(1, ..).unwrap(), expected, "{first:?}, {second:?}, then {fate:?}");
            engine = undergo(&store, engine, fate);
        }
        assert_eq!(engine.query(1, ..).unwrap(), expected, "{first:?}, {second:?}, then closed");
    }
}

#[test]
fn the_last_of_equal_times_in_one_call_wins() {
    let store = Store::new(small());
    let engine = store.open();
    let calls: Vec<_> = (0..100).map(|n| Point::new(1, n % 3, n as f64)).collect();
    engine.write_batch(&calls).unwrap();
    let expected = [Point::new(1, 0, 99.0), Point::new(1, 1, 97.0), Point::new(1, 2, 98.0)];
    assert_eq!(engine.query(1, ..).unwrap(), expected);
    engine.close().unwrap();
    assert_eq!(store.open().query(1, ..).unwrap(), expected);
}

#[test]
fn points_that_arrive_out_of_order_come_out_in_order_of_time() {
    let store = Store::new(small());
    let mut engine = store.open();
    // 389 is prime to 500: each of 0..500 comes once, far from its neighbours, through all of log, blocks and chunks.
    let arrival = (0..500).map(|n| point(1, n * 389 % 500));
    for (n, point) in arrival.enumerate() {
        engine.write(point).unwrap();
        match n {
            123 => engine.flush().unwrap(),
            222 => engine.sync().unwrap(),
            333 => {
                engine.sync().unwrap();
                engine = store.reopen(engine);
            }
            _ => {}
        }
    }
    assert_holds(&engine, 1, &points(1, 500));
    engine.close().unwrap();
    assert_holds(&store.open(), 1, &points(1, 500));
}

#[test]
fn the_first_and_the_last_time_there_are_keep_their_points() {
    let times = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let all: Vec<_> = times.iter().map(|ts| Point::new(1, *ts, *ts as f64)).collect();
    let store = Store::new(small());
    let mut engine = store.open();
    engine.write_batch(&all.iter().rev().copied().collect::<Vec<_>>()).unwrap();
    for fate in FATES {
        engine = undergo(&store, engine, fate);
        assert_eq!(engine.query(1, ..).unwrap(), all, "{fate:?}");
        assert_eq!(engine.query(1, i64::MIN..=i64::MAX).unwrap(), all, "{fate:?}");
        assert_eq!(engine.query(1, i64::MIN..i64::MAX).unwrap(), all[..6], "{fate:?}");
        assert_eq!(engine.query(1, (Excluded(i64::MIN), Unbounded)).unwrap(), all[1..], "{fate:?}");
        assert_eq!(engine.query(1, i64::MAX..).unwrap(), all[6..], "{fate:?}");
        assert_eq!(engine.query(1, ..=i64::MIN).unwrap(), all[..1], "{fate:?}");
        assert_eq!(engine.query(1, (Excluded(i64::MAX), Unbounded)).unwrap(), [], "{fate:?}");
        assert_eq!(engine.query(1, ..i64::MIN).unwrap(), [], "{fate:?}");
    }
}

#[test]
fn every_bit_of_a_value_and_of_a_quality_comes_back() {
    let bits: [u64; 12] = [
        0x7ff8_0000_0000_0000, // the usual NaN
        0x7ff8_dead_beef_cafe, // one with a payload
        0xfff8_0000_0000_0001, // a negative one
        0x7ff0_0000_0000_0001, // a signalling one
        0x7ff0_0000_0000_0000, // infinity
        0xfff0_0000_0000_0000, // and its negative
        0x8000_0000_0000_0000, // -0.0
        0x0000_0000_0000_0000, // 0.0
        0x0000_0000_0000_0001, // the smallest subnormal
        0x800f_ffff_ffff_ffff, // the largest negative one
        0x7fef_ffff_ffff_ffff, // f64::MAX
        0x3fb9_9999_9999_999a, // 0.1
    ];
    let written = |tag: u64| -> Vec<(i64, u64, u8)> {
        let all_qualities =
            (0..=255).map(|quality| (i64::from(quality), bits[usize::from(quality) % 12], quality));
        all_qualities.map(|(ts, bits, quality)| (ts, bits ^ (tag - 1), quality)).collect()
    };
    let store = Store::new(small());
    let mut engine = store.open();
    for tag in [1, 2] {
        for (ts_us, bits, quality) in written(tag) {
            let value = f64::from_bits(bits);
            engine.write(Point { tag: tag as u32, ts_us, value, quality }).unwrap();
        }
    }
    for fate in FATES {
        engine = undergo(&store, engine, fate);
        for tag in [1, 2] {
            let found = engine.query(tag as u32, ..).unwrap();
            // The bits themselves, not `==` of points: this test does not lean on that.
            let found: Vec<_> =
                found.iter().map(|point| (point.ts_us, point.value.to_bits(), point.quality)).collect();
            assert_eq!(found, written(tag), "tag {tag}, {fate:?}");
        }
    }
}

#[test]
fn a_call_with_tag_0_is_refused_as_a_whole_and_harms_no_other_point() {
    let store = Store::new(small());
    let engine = store.open();
    engine.write_batch(&points(1, 7)).unwrap();

    // More than a batch of valid points stands before the invalid one: nothing of them may be accepted either.
    let mut call: Vec<_> = (7..30).map(|n| point(1, n)).collect();
    call.insert(15, Point::new(0, 1, 1.0));
    call.push(Point::new(0, 2, 2.0));
    let refusal = engine.write_batch(&call).unwrap_err();
    assert!(matches!(refusal, Error::InvalidTag { index: 15 }), "{refusal}");
    assert!(matches!(engine.write(Point::new(0, 1, 1.0)), Err(Error::InvalidTag { index: 0 })));
    assert!(matches!(engine.query(0, ..), Err(Error::InvalidTag { index: 0 })));

    assert_holds(&engine, 1, &points(1, 7));
    assert_eq!(engine.tags().unwrap(), [1]);
    engine.write_batch(&[point(1, 7), point(2, 0)]).unwrap();
    engine.close().unwrap();
    let engine = store.open();
    assert_holds(&engine, 1, &points(1, 8));
    assert_holds(&engine, 2, &points(2, 1));
}

#[test]
fn a_range_holds_what_its_bounds_say() {
    let store = Store::new(roomy());
    let engine = store.open();
    // Times 0, 10 … 90: three blocks of three points, and the last one in memory.
    for n in 0..10 {
        engine.write(Point::new(1, 10 * n, n as f64)).unwrap();
        if n % 3 == 2 {
            engine.flush().unwrap();
        }
    }
    assert_eq!((engine.stats().blocks_written, engine.stats().buffered_points), (3, 1));

    let all = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90];
    assert_eq!(times(&engine, ..), all);
    assert_eq!(times(&engine, 20..50), [20, 30, 40]);
    assert_eq!(times(&engine, 20..=50), [20, 30, 40, 50]);
    assert_eq!(times(&engine, (Excluded(20), Included(50))), [30, 40, 50]);
    assert_eq!(times(&engine, (Excluded(20), Excluded(50))), [30, 40]);
    assert_eq!(times(&engine, 19..21), [20]);
    assert_eq!(times(&engine, 20..=20), [20]);
    assert_eq!(times(&engine, ..20), [0, 10]);
    assert_eq!(times(&engine, ..=20), [0, 10, 20]);
    assert_eq!(times(&engine, 70..), [70, 80, 90]);
    assert_eq!(times(&engine, (Excluded(70), Unbounded)), [80, 90]);
    assert_eq!(times(&engine, -100..1000), all);
    // Empty: between two points, of no width, turned round, outside.
    assert!(times(&engine, 21..29).is_empty());
    assert!(times(&engine, 20..20).is_empty());
    assert!(times(&engine, (Excluded(20), Excluded(20))).is_empty());
    assert!(times(&engine, (Included(50), Included(20))).is_empty());
    assert!(times(&engine, 91..).is_empty());
    assert!(times(&engine, ..0).is_empty());
    assert_eq!(engine.query(2, ..).unwrap(), [], "a tag that has no points");
}

fn times(engine: &Engine, range: impl RangeBounds<i64>) -> Vec<i64> {
    engine.query(1, range).unwrap().iter().map(|point| point.ts_us).collect()
}

#[test]
fn a_query_sees_every_point_as_soon_as_it_is_accepted() {
    let store = Store::new(small());
    let engine = store.open();
    // 100 points are ten batches and two sealed buffers: each point is seen as tail, in a frame, sealed, in a block.
    for n in 0..100 {
        engine.write(point(1, n)).unwrap();
        assert_holds(&engine, 1, &points(1, n + 1));
        if n == 70 {
            engine.step().unwrap();
            assert_eq!(engine.stats().blocks_written, 1);
            assert_holds(&engine, 1, &points(1, n + 1));
        }
    }
    assert_eq!(engine.stats().durable_lsn.0, 70, "nothing but that step has synced anything");
}

#[test]
fn tags_are_listed_in_rising_order_wherever_their_points_are() {
    let store = Store::new(roomy());
    let engine = store.open();
    assert_eq!(engine.tags().unwrap(), [] as [u32; 0]);
    for tag in [u32::MAX, 7, 300] {
        engine.write(point(tag, 0)).unwrap();
    }
    engine.flush().unwrap();
    for tag in [8, 300, 1] {
        engine.write(point(tag, 1)).unwrap();
    }
    let all = [1, 7, 8, 300, u32::MAX];
    assert_eq!(engine.tags().unwrap(), all);
    engine.sync().unwrap();
    let engine = store.reopen(engine);
    assert_eq!(engine.tags().unwrap(), all);
    engine.close().unwrap();
    assert_eq!(store.open().tags().unwrap(), all);
}

#[test]
fn the_latest_point_is_the_one_of_the_latest_time_wherever_it_is() {
    let store = Store::new(roomy());
    let engine = store.open();
    assert_eq!(engine.latest(1).unwrap(), None);
    assert!(matches!(engine.latest(0), Err(Error::InvalidTag { .. })));
    let at = |ts_us, value| Point::new(1, ts_us, value);
    // In the tail, in a frame, in a block; an earlier time that comes later, and the same time again.
    engine.write(at(50, 1.0)).unwrap();
    assert_eq!(engine.latest(1).unwrap(), Some(at(50, 1.0)));
    engine.sync().unwrap();
    engine.write(at(40, 2.0)).unwrap();
    assert_eq!(engine.latest(1).unwrap(), Some(at(50, 1.0)));
    engine.flush().unwrap();
    engine.write(at(-7, 3.0)).unwrap();
    assert_eq!(engine.latest(1).unwrap(), Some(at(50, 1.0)));
    engine.write(at(50, 4.0)).unwrap();
    assert_eq!(engine.latest(1).unwrap(), Some(at(50, 4.0)));
    engine.write(at(i64::MAX, 5.0)).unwrap();
    engine.close().unwrap();
    assert_eq!(store.open().latest(1).unwrap(), Some(at(i64::MAX, 5.0)));
}
