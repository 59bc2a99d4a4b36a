//! Points of small calls wait in front of the buffers of their tags; nobody sees a difference.

use crate::support::{Store, assert_holds, open_sim, point, points, power_cut, roomy};
use std::thread;
use tidewall::{Config, Point};
use tidewall_sim::disk::SimDisk;
use tidewall_sim::timeline::Timeline;

/// One inbox in front of all tags. Calls with one or two points go there.
fn config() -> Config {
    Config { inbox_points: 16, shards: 1, backlog_points: 1 << 20, ..roomy() }
}

#[test]
fn points_in_an_inbox_are_seen_by_query_latest_tags_and_stats() {
    let disk = SimDisk::new(Timeline::default());
    let engine = open_sim(&disk, &config());
    disk.take_io_ops();
    for n in 0..4 {
        for tag in 1..=3 {
            engine.write(point(tag, n)).unwrap();
        }
    }
    for tag in 1..=3 {
        assert_holds(&engine, tag, &points(tag, 4));
        assert_eq!(engine.query(tag, 1_000..3_000).unwrap(), points(tag, 3)[1..]);
        assert_eq!(engine.latest(tag).unwrap(), Some(point(tag, 3)));
    }
    assert_eq!(engine.tags().unwrap(), [1, 2, 3]);
    assert_eq!((engine.stats().buffered_points, disk.take_io_ops()), (12, 0));
}

#[test]
fn the_last_accepted_write_wins_whichever_way_it_took() {
    let store = Store::new(config());
    let engine = store.open();
    let at_five = |value: f64| Point::new(1, 5_000, value);
    let shown = |engine: &tidewall::Engine| engine.query(1, 5_000..=5_000).unwrap();
    // Through the inbox, then straight to the buffer, and again.
    engine.write(at_five(1.0)).unwrap();
    let mut batch = points(1, 9);
    batch.push(at_five(2.0));
    engine.write_batch(&batch).unwrap();
    assert_eq!(shown(&engine), [at_five(2.0)]);
    engine.write(at_five(3.0)).unwrap();
    assert_eq!(shown(&engine), [at_five(3.0)]);
    batch[9] = at_five(4.0);
    engine.write_batch(&batch).unwrap();
    engine.write_batch(&[at_five(5.0), at_five(6.0)]).unwrap();
    assert_eq!(shown(&engine), [at_five(6.0)]);
    engine.sync().unwrap();
    assert_eq!(shown(&store.reopen(engine)), [at_five(6.0)]);
}

#[test]
fn an_inbox_that_is_full_is_brought_to_the_tag_buffers_and_makes_batches_there() {
    let engine = Store::new(config()).open();
    for n in 0..14 {
        engine.write(point(1, n)).unwrap();
        assert_eq!(engine.stats().backlog_points, 0, "{n}");
    }
    // No room for two more: the next call could bring them.
    engine.write(point(1, 14)).unwrap();
    assert_eq!(engine.stats().backlog_points, 10, "a batch of the fifteen");
    assert_holds(&engine, 1, &points(1, 15));
}

#[test]
fn synced_points_survive_though_they_came_through_an_inbox() {
    let disk = SimDisk::new(Timeline::default());
    let engine = open_sim(&disk, &config());
    for tag in 1..=5 {
        engine.write(point(tag, 0)).unwrap();
    }
    engine.sync().unwrap();
    // Accepted later, and never synced.
    engine.write(point(6, 0)).unwrap();
    let left = open_sim(&power_cut(&disk, 1), &config());
    for tag in 1..=5 {
        assert_holds(&left, tag, &points(tag, 1));
    }
    assert_holds(&left, 6, &[]);
}

#[test]
fn a_call_with_points_of_many_tags_is_as_if_they_came_one_by_one() {
    // More points than are sorted at a time, on more shards than its bins, in one stream and in three; a long run in between.
    for (wal_streams, shards, inbox_points) in [(1, 1, 16), (3, 8, 0), (1, 64, 64), (3, 256, 16)] {
        let store = Store::new(Config { wal_streams, shards, inbox_points, ..config() });
        let engine = store.open();
        let tags = 1..=97_u32;
        let mut call: Vec<Point> = (0..9).flat_map(|n| tags.clone().map(move |tag| point(tag, n))).collect();
        call.splice(400..400, (100..180).map(|n| point(5, n)));
        // Two with one key, near each other and far apart: the later one wins.
        call.insert(20, Point::new(9, -1, 1.0));
        call.insert(24, Point::new(9, -1, 2.0));
        call.push(Point::new(9, -1, 3.0));
        for points in [&call[..7], &call[7..30], &call[30..]] {
            engine.write_batch(points).unwrap();
        }
        let check = |engine: &tidewall::Engine| {
            for tag in tags.clone() {
                let mut expected = points(tag, 9);
                match tag {
                    5 => expected.extend((100..180).map(|n| point(5, n))),
                    9 => expected.insert(0, Point::new(9, -1, 3.0)),
                    _ => {}
                }
                assert_holds(engine, tag, &expected);
            }
        };
        check(&engine);
        engine.sync().unwrap();
        check(&store.reopen(engine));
    }
}

#[test]
fn points_of_a_tag_that_many_threads_take_turns_on_stay_in_order() {
    // Each thread has its own inboxes, and a tag moves from one's to the other's when it is the other that writes to it: with
    // inboxes of 16, at every second call. Half of the tags stay with one thread. In between, longer runs take another way.
    for shards in [1, 8] {
        let store = Store::new(Config { shards, ..config() });
        let engine = store.open();
        for turn in 0..120 {
            thread::scope(|scope| {
                scope.spawn(|| {
                    for tag in (1..=12).filter(|tag| tag % 2 == 0 || turn % 3 == 0) {
                        engine.write(point(tag, turn)).unwrap();
                        // The last of all writes to this key.
                        engine.write(Point::new(tag, -1, turn as f64)).unwrap();
                    }
                    if turn % 10 == 9 {
                        let long: Vec<_> = (0..5).map(|n| Point::new(13, -1, f64::from(n))).collect();
                        engine.write_batch(&long).unwrap();
                        engine.write(Point::new(13, -1, turn as f64)).unwrap();
                    }
                });
            });
        }
        let check = |engine: &tidewall::Engine| {
            for tag in 1..=12 {
                let turns = (0..120).filter(|turn| tag % 2 == 0 || turn % 3 == 0);
                let last = if tag % 2 == 0 { 119.0 } else { 117.0 };
                let expected: Vec<_> = [Point::new(tag, -1, last)]
                    .into_iter()
                    .chain(turns.map(|turn| point(tag, turn)))
                    .collect();
                assert_holds(engine, tag, &expected);
            }
            assert_holds(engine, 13, &[Point::new(13, -1, 119.0)]);
        };
        check(&engine);
        engine.sync().unwrap();
        check(&store.reopen(engine));
    }
}

#[test]
fn tags_that_share_an_owner_are_handed_over_together() {
    // With one shard, 7038 has the entry of tag 1 in the table of owners; with two, 4264 would if entries were not found by the bits
    // that shards are.
    for (shards, other_tag) in [(1, 7038), (2, 4264)] {
        let store = Store::new(Config { shards, inbox_points: 64, ..config() });
        let engine = store.open();
        thread::scope(|scope| {
            scope.spawn(|| [1, other_tag].map(|tag| engine.write(Point::new(tag, 0, 1.0)).unwrap()));
        });
        // This thread takes the entry over with tag 1.
        for n in 1..=40 {
            engine.write(Point::new(1, n, 1.0)).unwrap();
        }
        assert_eq!(engine.query(other_tag, ..).unwrap(), [Point::new(other_tag, 0, 1.0)]);
        assert_eq!(engine.query(1, ..).unwrap().len(), 41);
    }
}

/// A sync finds a point each of many tags: they share a frame, from where they wait, and are as durable as any.
#[test]
fn a_sync_logs_an_inbox_from_where_it_is_and_a_flush_takes_it_from_there() {
    for flushes in [false, true] {
        let disk = SimDisk::new(Timeline::default());
        let engine = open_sim(&disk, &config());
        let write_each = |n| (1..=7).for_each(|tag| engine.write(point(tag, n)).unwrap());
        // The first sync learns how many tags there are.
        for n in 0..2 {
            write_each(n);
            let frames = engine.stats().frames;
            engine.sync().unwrap();
            assert_eq!(engine.stats().frames, frames + 1);
        }
        write_each(2);
        (1..=7).for_each(|tag| assert_holds(&engine, tag, &points(tag, 3)));
        if flushes {
            engine.flush().unwrap();
            assert_eq!(engine.stats().buffered_points, 0);
        }
        let survivor = open_sim(&power_cut(&disk, 7), &config());
        let kept = if flushes { 3 } else { 2 };
        for tag in 1..=7 {
            assert!(survivor.query(tag, ..).unwrap().starts_with(&points(tag, kept)), "tag {tag}");
        }
        assert_eq!(survivor.recovery_report().points_replayed == 0, flushes);
    }
}
