//! The whole engine.

use super::disk::MemDisk;
use super::log::config;
use super::{Model, Twin, bounded, together};
use crate::config::Config;
use crate::engine::Engine;
use crate::exec::InOrder;
use crate::plant::Bug;
use crate::point::Point;
use std::sync::{Arc, Mutex};

/// A new store.
pub(super) fn open(disk: &MemDisk, config: Config) -> Engine {
    Engine::open_with(Arc::new(disk.clone()), config, Box::new(InOrder)).expect("a new store")
}

/// The store that a crash has left.
pub(super) fn reopened(disk: &MemDisk, config: Config) -> Engine {
    Engine::open_with(Arc::new(disk.clone()), config, Box::new(InOrder))
        .expect("a crash leaves nothing corrupt")
}

/// The times of a tag's points.
pub(super) fn query(engine: &Engine, tag: u32) -> Vec<i64> {
    engine.query(tag, ..).expect("blocks are whole").iter().map(|point| point.ts_us).collect()
}

/// The first thread takes all locks on the way down, the second one on the way of a reader.
pub(super) const LOCK_ORDER: Model = Model {
    name: "lock_order",
    question: "Do all calls take shard, log, manifest and store in this order, so that no two can block each other?",
    body: |threads| {
        let engine = open(&MemDisk::new(), config());
        engine.write(Point::new(1, 0, 0.5)).expect("accepted");
        together(threads, move |number| match number {
            0 => engine.flush().expect("the disk is whole"),
            1 => {
                assert_eq!(query(&engine, 1), [0]);
                assert!(engine.stats().buffered_points <= 1);
            }
            _ => engine.step().expect("the disk is whole"),
        });
    },
    sizes: &[bounded(2, 3), bounded(3, 1)],
    twins: &[Twin { bug: Bug::C9, size: bounded(2, 3), reason: "lock order: Shard taken while holding Wal" }],
};

const LOST: &str = "a durable point did not survive (I2)";
const HOLE: &str = "what survived is no prefix of what was accepted (I2)";

/// Each thread writes to a tag of its own: at two threads two points, at three one. The first one syncs after each,
/// the second flushes at its end. What a crash would leave at each of these moments is opened at the end.
pub(super) const ENGINE: Model = Model {
    name: "engine",
    question: "Does every point that was synced or flushed survive a crash at that moment, and a prefix of the others?",
    body: |threads| {
        let disk = MemDisk::new();
        let engine = open(&disk, config());
        let points = if threads == 2 { 2 } else { 1 };
        // Crash images, with the tag and the count of what must be in them.
        let images = Arc::new(Mutex::new(Vec::new()));
        let seen = (engine.clone(), disk.clone(), images.clone());
        together(threads, move |number| {
            let (engine, disk, images) = &seen;
            let tag = number as u32 + 1;
            let acked = |count| {
                images.lock().expect("nothing panics under it").push((disk.crashed(), tag, count));
            };
            for ts_us in 0..points {
                engine.write(Point::new(tag, ts_us, 0.5)).expect("accepted");
                if number == 0 {
                    engine.sync().expect("the disk is whole");
                    acked(ts_us + 1);
                }
            }
            if number == 1 {
                engine.flush().expect("the disk is whole");
                acked(points);
            }
            assert_eq!(query(engine, tag).len() as i64, points);
        });
        drop(engine);
        let mut images = images.lock().expect("nothing panics under it");
        for (image, acked_tag, acked) in images.drain(..) {
            let engine = reopened(&image, config());
            for tag in 1..=threads as u32 {
                let found = query(&engine, tag);
                let least = if tag == acked_tag { acked } else { 0 };
                assert!(found.len() as i64 >= least, "{LOST}: tag {tag}, {found:?} of {least}");
                assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>(), "{HOLE}");
            }
        }
    },
    // A hundred thousand executions, each with three recoveries, are for a release build.
    sizes: &[bounded(2, 2), bounded(3, if cfg!(debug_assertions) { 1 } else { 2 })],
    twins: &[
        Twin { bug: Bug::F1, size: bounded(2, 2), reason: LOST },
        Twin { bug: Bug::C11, size: bounded(2, 2), reason: super::DEADLOCK },
    ],
};
